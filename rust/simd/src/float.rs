//! Floats as decimal text: the fewest digits that read back as the same float, of those the nearest.
//!
//! Between 2^-16 and 2^52 a float, scaled by a power of ten, is a number of units that 64 bits hold exactly. One
//! multiplication then gives its digits and tells how it may be rounded: the candidates are those of R. Giulietti, "The
//! Schubfach way to render doubles", 2020. A crate writes all other floats.

use std::hint::select_unpredictable;
use std::mem::MaybeUninit;

use crate::digits::ZEROS;
#[cfg(not(target_arch = "x86_64"))]
use crate::layout::put_sixteen;
use crate::layout::{LAYOUTS, SMALLEST};
use crate::sink::Sink;
#[cfg(target_arch = "x86_64")]
use crate::x86_digits::put_sixteen;

/// The longest text of a float.
const LONGEST: usize = 24;
/// The same, and what is written beyond it.
const ROOM: usize = LONGEST + 8;

/// The exponent bits of 2^-16, the first power of two that is written without an exponent, and how many follow.
const LOWEST: u64 = 1023 - 16;
const SCALES: usize = 16 + 52;

/// How the floats between two powers of two are scaled: by the largest power of ten that leaves less than 1 between two
/// neighbours. The whole part then has 15 or 16 digits.
struct Scale {
    /// What is between two neighbours, in units of 2^-64.
    unit: u64,
    /// Which of the `LAYOUTS` is that of a whole part of 16 digits; the one before it is that of 15.
    layout: usize,
}

// What could panic here would do so at compile time.
#[allow(clippy::indexing_slicing)]
static TABLE: [Scale; SCALES] = {
    let mut all = [const { Scale { unit: 0, layout: 0 } }; SCALES];
    let mut at = 0;
    while at < SCALES {
        // Neighbours differ by 2^-below, and scaled by 5^power / 2^(below - power).
        let below = SCALES - at;
        let mut power = 0;
        while 5_u128.pow(power + 1) < 1 << (below - power as usize - 1) {
            power += 1;
        }
        let unit = 5_u64.pow(power) << (64 + power as usize - below);
        all[at] = Scale { unit, layout: 15 + SMALLEST - power as usize };
        at += 1;
    }
    all
};

/// Appends a finite float with the fewest digits that read back as the same float, never as an integer, and `after`
/// behind it.
#[allow(clippy::inline_always)] // A call costs a tenth of it.
#[inline(always)]
pub fn push_float(out: &mut impl Sink, value: f64, after: u8) {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = value.to_bits();
    let exponent = bits >> 52 & 0x7ff;
    let scale = usize::try_from(exponent.wrapping_sub(LOWEST)).ok().and_then(|at| TABLE.get(at));
    let Some(scale) = scale else { return push_any(out, value, after) };
    let digits = shortest(bits & FRACTION | 1 << 52, scale.unit);
    let layout = LAYOUTS.get(scale.layout.wrapping_sub(usize::from(digits.is_shorter)));
    let Some(layout) = layout else { return push_any(out, value, after) };
    let to = out.room(ROOM);
    // SAFETY: no more than a sign, 6 and 18 bytes are written, and a byte behind those that are counted.
    unsafe {
        to.write(b'-');
        let start = to.add(usize::from(value.is_sign_negative()));
        start.cast::<[u8; 8]>().write(ZEROS.to_le_bytes());
        let from = start.add(layout.before);
        let count = put_sixteen(from, digits.sixteen, layout);
        from.add(16 + layout.inside).write(b'0' + digits.last);
        start.add(layout.point).write(b'.');
        let count = if digits.last == 0 { count } else { 17 };
        let end = from.add(count.max(layout.least) + layout.inside);
        end.write(after);
        out.wrote(end.offset_from_unsigned(to) + 1);
    }
}

struct Digits {
    /// The first of which is not zero.
    sixteen: u64,
    /// The seventeenth.
    last: u8,
    /// Whether 15 stand for the whole part, not 16.
    is_shorter: bool,
}

/// The fewest digits, of those the nearest, for so many units.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn shortest(significand: u64, unit: u64) -> Digits {
    let product = u128::from(significand) * u128::from(unit);
    let (whole, rest) = ((product >> 64) as u64, product as u64);
    // The middle between two neighbours is never whole: an odd number of halves of a unit is no multiple of 2^64. Powers
    // of two, whose lower neighbour is nearer, have no rest.
    let (above, is_up) = rest.overflowing_add(unit / 2);
    let whole = whole + u64::from(is_up);
    // Nothing is lost: units are multiples of 16. Of a quarter and three quarters, which lie in the middle between two
    // tenths, the even tenth is taken.
    let tenths = (rest / 16) * 10 + (1 << 59) - u64::from(rest >> 63 == 0);
    let digit = select_unpredictable(above <= unit, 0, tenths >> 60);
    if whole >= 1_000_000_000_000_000 {
        Digits { sixteen: whole, last: digit as u8, is_shorter: false }
    } else {
        Digits { sixteen: whole * 10 + digit, last: 0, is_shorter: true }
    }
}

/// The buffer of the crate that finds the digits, and room behind it: a copy of fixed size is a few instructions.
#[repr(C)]
struct Padded {
    buffer: zmij::Buffer,
    behind: [MaybeUninit<u8>; LONGEST],
}

#[inline(never)]
fn push_any(out: &mut impl Sink, value: f64, after: u8) {
    let mut padded = Padded { buffer: zmij::Buffer::new(), behind: [MaybeUninit::uninit(); LONGEST] };
    let text = padded.buffer.format_finite(value);
    let (from, length) = (text.as_ptr(), text.len().min(LONGEST));
    let to = out.room(LONGEST + 1);
    // SAFETY: the text begins within the buffer, so that so many bytes lie there and behind it; only its own are counted.
    unsafe {
        to.cast::<[MaybeUninit<u8>; LONGEST]>().write(from.cast::<[MaybeUninit<u8>; LONGEST]>().read());
        to.add(length).write(after);
        out.wrote(length + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: f64) {
        let mut out = Vec::new();
        push_float(&mut out, value, b',');
        push_float(&mut out, -value, b']');
        let text = String::from_utf8(out).unwrap();
        let mut buffer = zmij::Buffer::new();
        let expected = buffer.format_finite(value);
        assert_eq!(text, format!("{expected},-{expected}]"));
        assert!(expected.contains(['.', 'e']), "{expected}");
        assert_eq!(expected.parse::<f64>().unwrap().to_bits(), value.to_bits());
    }

    fn effort() -> u32 {
        if std::env::var("SWISPER_FULL").is_ok() { 50 } else { 1 }
    }

    /// Random bits; every other time of a float that is written without an exponent.
    fn random_floats(count: u32) -> impl Iterator<Item = f64> {
        let mut seed = 3_u64;
        let bits = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let near_one = (1023 - 20 + seed.rotate_right(20) % 80) << 52;
            let bits = seed ^ seed >> 31;
            Some(if seed >> 63 == 0 { bits } else { bits & !(0x7ff << 52) | near_one })
        };
        std::iter::from_fn(bits)
            .take((count * effort()) as usize)
            .map(|bits| f64::from_bits(bits).abs())
            .filter(|value| value.is_finite())
    }

    #[test]
    fn random_bits() {
        random_floats(100_000).for_each(check);
    }

    #[test]
    fn all_exponents_and_what_is_next_to_powers_of_two() {
        for exponent in 0..0x7ff_u64 {
            let mut fraction = 1 << 52 >> 1;
            while fraction > 0 {
                for fraction in [0, fraction, fraction - 1, fraction + 1, (1 << 52) - fraction] {
                    check(f64::from_bits(exponent << 52 | fraction & ((1 << 52) - 1)));
                }
                fraction >>= 5;
            }
        }
    }

    #[test]
    fn few_digits() {
        for digits in 0..500 * effort() {
            for power in -12..20 {
                let value = format!("{digits}e{power}").parse::<f64>().unwrap();
                for value in [value, value.next_up(), value.next_down().abs()] {
                    check(value);
                }
            }
        }
    }

    #[test]
    fn whole_numbers_and_halves() {
        for value in random_floats(10_000).filter(|value| *value < 9e15) {
            for parts in [1.0, 2.0, 4.0, 8.0, 16.0] {
                check((value * parts).floor() / parts);
            }
        }
    }
}
