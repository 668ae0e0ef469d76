//! JSON numbers as they are read.

use swisper_simd::short_number;

use crate::nearest::nearest;

/// So many digits fit into an i64, whatever they are.
const SMALL: usize = 18;
/// So many into a u64.
const EXACT: usize = 19;
const INVALID: &str = "invalid number";
const TOO_LARGE: &str = "a number that no float can hold";

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Integer(i64),
    /// An integer that may be too long for that.
    Long,
    /// With a point or an exponent: the nearest float.
    Float(f64),
}

/// A number and the index behind it; or what is wrong, and at which byte.
pub type Read = Result<(Number, usize), (&'static str, usize)>;

/// The number that begins at `at`, which is a digit or a minus.
#[allow(clippy::inline_always)] // A call with this many results costs a fifth of it.
#[inline(always)]
pub fn read(src: &[u8], at: usize) -> Read {
    let is_negative = src.get(at) == Some(&b'-');
    let start = at + usize::from(is_negative);
    if let Some(short) = short_number(src, start) {
        let end = start + short.length;
        if short.places == 0 {
            let value = short.digits.cast_signed();
            return Ok((Number::Integer(if is_negative { -value } else { value }), end));
        }
        if let Some(value) = nearest(short.digits, -i64::from(short.places)) {
            return Ok((Number::Float(if is_negative { -value } else { value }), end));
        }
    }
    any(src, at, start)
}

/// Any number, whose digits begin at `start`.
#[inline(never)]
fn any(src: &[u8], at: usize, start: usize) -> Read {
    let is_negative = start > at;
    let whole = digits(src, start, 0);
    let end = start + whole.count;
    if whole.count == 0 || whole.count > 1 && src.get(start) == Some(&b'0') {
        return Err((INVALID, start));
    }
    if let Some(b'.' | b'e' | b'E') = src.get(end) {
        return float(src, at, end, whole);
    }
    if whole.count > SMALL {
        return Ok((Number::Long, end));
    }
    let value = whole.value.cast_signed();
    Ok((Number::Integer(if is_negative { -value } else { value }), end))
}

/// A float, of which the digits before `end` have been read.
fn float(src: &[u8], at: usize, mut end: usize, mut mantissa: Digits) -> Read {
    let mut exponent = 0_i64;
    if src.get(end) == Some(&b'.') {
        let fraction = digits(src, end + 1, mantissa.value);
        end += 1 + fraction.count;
        if fraction.count == 0 {
            return Err((INVALID, end));
        }
        exponent = -i64::try_from(fraction.count).unwrap_or(i64::MAX);
        mantissa = Digits { value: fraction.value, count: mantissa.count + fraction.count };
    }
    if let Some(b'e' | b'E') = src.get(end) {
        let sign = src.get(end + 1).copied();
        end += 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
        let power = digits(src, end, 0);
        end += power.count;
        if power.count == 0 {
            return Err((INVALID, end));
        }
        // What is larger is far beyond the quick way, which is all that this is for.
        let value = if power.count > 4 { 99_999 } else { power.value.cast_signed() };
        exponent += if sign == Some(b'-') { -value } else { value };
    }
    let text = src.get(at..end).unwrap_or_default();
    let quick = if mantissa.count <= EXACT { nearest(mantissa.value, exponent) } else { None };
    let value = match quick {
        Some(value) if text.first() == Some(&b'-') => -value,
        Some(value) => value,
        None => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::INFINITY),
    };
    if value.is_finite() { Ok((Number::Float(value), end)) } else { Err((TOO_LARGE, at)) }
}

/// Digits as they are read: their value as far as it fits, and how many there are.
struct Digits {
    value: u64,
    count: usize,
}

/// The digits from `at` on, behind others: eight at a time, then one by one.
#[inline]
fn digits(src: &[u8], at: usize, before: u64) -> Digits {
    let src = src.get(at..).unwrap_or_default();
    let (mut value, mut count) = (before, 0);
    while let Some(eight) = src.get(count..).and_then(<[u8]>::first_chunk).copied().and_then(only_digits) {
        value = value.wrapping_mul(100_000_000).wrapping_add(eight);
        count += 8;
    }
    while let Some(digit) = src.get(count).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        value = value.wrapping_mul(10).wrapping_add(digit.into());
        count += 1;
    }
    Digits { value, count }
}

/// The value of eight digits, if that is what they are (D. Lemire, "Quickly parsing eight digits", 2018).
#[inline]
fn only_digits(chunk: [u8; 8]) -> Option<u64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let word = u64::from_le_bytes(chunk);
    let high = 0xf0f0_f0f0_f0f0_f0f0;
    if word & high != ZEROS || word.wrapping_add(0x0606_0606_0606_0606) & high != ZEROS {
        return None;
    }
    let ones = word - ZEROS;
    let twos = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos * 100 + (twos >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the standard library reads it, whatever stands behind it.
    fn check(text: &str) {
        let expected: f64 = text.parse().unwrap();
        for (before, behind) in [(0, 0), (30, 40), (30, 3)] {
            let found = read(format!("{}{text},{}", "1".repeat(before), "2".repeat(behind)).as_bytes(), before);
            if expected.is_finite() {
                let Ok((Number::Float(value), end)) = found else { panic!("{text}: {found:?}") };
                assert_eq!((value.to_bits(), end), (expected.to_bits(), before + text.len()), "{text}");
            } else {
                assert_eq!(found, Err((TOO_LARGE, before)), "{text}");
            }
        }
    }

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.0 ^ self.0 >> 29
        }

        fn below(&mut self, end: u32) -> u32 {
            u32::try_from((self.next() >> 11) % u64::from(end)).unwrap()
        }
    }

    fn rounds() -> u32 {
        if std::env::var("SWISPER_FULL").is_ok() { 5_000_000 } else { 40_000 }
    }

    #[test]
    fn floats_as_they_are_written() {
        let mut random = Random(1);
        for _ in 0..rounds() / 4 {
            let value = f64::from_bits(random.next());
            if value.is_finite() {
                check(&format!("{value:e}"));
            }
            // Near to 1, where no exponent is written.
            let value = f64::from_bits(random.next() & !(0x7ff << 52) | u64::from(1023 - 20 + random.below(80)) << 52);
            check(&format!("{value:?}"));
        }
    }

    #[test]
    fn floats_of_any_digits() {
        let mut random = Random(2);
        for _ in 0..rounds() {
            let digits = random.next() >> random.below(64);
            let places = random.below(26) as usize;
            let text = format!("{digits:0>width$}", width = places + 1);
            let (whole, fraction) = text.split_at(text.len() - places);
            let sign = ["", "-"][random.below(2) as usize];
            if places > 0 {
                check(&format!("{sign}{whole}.{fraction}"));
            }
            check(&format!("{sign}{digits}e{}", i64::from(random.below(700)) - 350));
        }
    }

    #[test]
    fn halfway_between_two_floats_and_next_to_it() {
        let mut random = Random(3);
        for _ in 0..rounds() / 10 {
            // A float with a few bits after the point, and the exact middle between it and the next one.
            let places = random.below(12);
            let odd = (random.next() >> 11 | 1 << 52) * 2 + 1;
            let scaled = u128::from(odd) * 5_u128.pow(places);
            let text = format!("{scaled:0>width$}", width = places as usize + 1);
            let (whole, fraction) = text.split_at(text.len() - places as usize);
            for fraction in [
                fraction,
                &format!("{fraction}0"),
                &format!("{fraction}00001"),
                &format!("{fraction}000000000000000000001"),
            ] {
                check(&format!("{whole}.{fraction}0"));
            }
            check(&format!("{whole}.{}9", fraction.trim_end_matches('0')));
            check(&format!("{odd}e0"));
        }
    }
}
