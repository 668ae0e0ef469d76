//! Decimal numbers to the nearest float.

/// The powers of ten that are kept: from this one to its inverse.
const LEAST: i64 = -38;
const COUNT: usize = 77;

/// The first 128 bits of each power of ten, rounded down.
// What could fail here would do so at compile time.
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
static POWERS: [u128; COUNT] = {
    let mut all = [0; COUNT];
    let mut at = 0;
    while at < COUNT {
        let power = at as i64 + LEAST;
        let five = 5_u128.pow(power.unsigned_abs() as u32);
        all[at] = if power < 0 { inverse(five) } else { five << five.leading_zeros() };
        at += 1;
    }
    all
};

/// The first 128 bits of `1 / divisor`, rounded down: a long division.
const fn inverse(divisor: u128) -> u128 {
    let (mut quotient, mut rest) = (0_u128, 1);
    while quotient.leading_zeros() > 0 {
        rest *= 2;
        quotient *= 2;
        if rest >= divisor {
            rest -= divisor;
            quotient += 1;
        }
    }
    quotient
}

/// The float nearest to `digits * 10^exponent`; of two that are equally near, the one whose last bit is zero (D. Lemire,
/// "Number Parsing at a Gigabyte per Second", 2021). None where the bits that are kept of the power of ten do not tell.
#[must_use]
#[inline]
#[allow(clippy::cast_possible_truncation)]
pub fn nearest(digits: u64, exponent: i64) -> Option<f64> {
    const HALF: u64 = 1 << 63;
    let power = *POWERS.get(usize::try_from(exponent.wrapping_sub(LEAST)).ok()?)?;
    if digits == 0 {
        return Some(0.0);
    }
    let zeros = digits.leading_zeros();
    let factor = u128::from(digits << zeros);
    let lower = factor * u128::from(power as u64);
    // 128 of 192 bits; the number itself may be larger by less than 2 in the last of them.
    let product = factor * (power >> 64) + (lower >> 64);
    let is_short = product >> 127 == 0;
    let product = product + (product & u128::from(is_short).wrapping_neg());
    let rest = (product >> 11) as u64;
    if rest.wrapping_sub(HALF - 2) <= 2 {
        return None;
    }
    // The exponent of the power's first bit: 217706 / 2^16 is log2(10) and very little more.
    let binary = ((exponent * 217_706) >> 16) + 1087 - i64::from(zeros) - i64::from(is_short);
    // The leading bit counts in the exponent; so does what rounding may carry.
    let bits = (binary - 1).cast_unsigned() << 52;
    Some(f64::from_bits(bits + (product >> 75) as u64 + u64::from(rest >= HALF)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_power_against_the_standard_library() {
        let (mut seed, mut untold) = (17_u64, 0);
        for exponent in LEAST..=-LEAST {
            for round in 0..2_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let digits = (seed ^ seed >> 31) >> (round % 64);
                let expected: f64 = format!("{digits}e{exponent}").parse().unwrap();
                match nearest(digits, exponent) {
                    Some(value) => assert_eq!(value.to_bits(), expected.to_bits(), "{digits}e{exponent}"),
                    None => untold += 1,
                }
            }
        }
        // Those in the middle between two floats, where the power is small and the digits are many.
        assert!(untold < COUNT * 2_000 / 100, "{untold}");
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        for (digits, exponent) in [((1 << 53) + 1, 0), ((1 << 54) + 2, 0), (90_071_992_547_409_930, -1)] {
            assert_eq!(nearest(digits, exponent), None);
        }
        for exponent in [i64::MIN, LEAST - 1, -LEAST + 1, i64::MAX] {
            assert_eq!(nearest(1, exponent), None);
        }
    }
}
