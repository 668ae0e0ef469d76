//! Integers as decimal text, eight digits at a time within one word.

use crate::sink::Sink;

pub(crate) const EIGHT: u64 = 100_000_000;
pub(crate) const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The numbers below 100, which there are the most of.
static PAIRS: [[u8; 2]; 100] = pairs();

// What could panic here would do so at compile time.
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]
const fn pairs() -> [[u8; 2]; 100] {
    let mut all = [[0; 2]; 100];
    let mut value = 0;
    while value < all.len() {
        let (tens, ones) = (b'0' + (value / 10) as u8, b'0' + (value % 10) as u8);
        all[value] = if value < 10 { [ones, 0] } else { [tens, ones] };
        value += 1;
    }
    all
}

/// Appends an integer, and `after` behind it.
#[allow(clippy::inline_always)] // For the sake of `Pen`.
#[inline(always)]
pub fn push_integer(out: &mut impl Sink, value: i64, after: u8) {
    let to = out.room(32);
    // SAFETY: the room is there, and no more is counted than was written.
    unsafe { out.wrote_up_to(write(to, value, after)) };
}

/// # Safety
/// `to` has room for 32 bytes.
#[inline]
unsafe fn write(to: *mut u8, value: i64, after: u8) -> *mut u8 {
    // SAFETY: a sign, at most three words and the byte behind them are written, of which no more is counted.
    unsafe {
        to.write(b'-');
        let end = put(to.add(usize::from(value < 0)), value.unsigned_abs());
        end.write(after);
        end.add(1)
    }
}

/// The digits that a number has, found before any of them is: where the text ends then waits for no division.
#[inline]
fn count(value: u64) -> usize {
    // What could panic here would do so at compile time.
    #[allow(clippy::indexing_slicing)]
    const POWERS: [u64; 20] = {
        let mut powers = [1; 20];
        let mut at = 1;
        while at < powers.len() {
            powers[at] = powers[at - 1] * 10;
            at += 1;
        }
        // The first is for zero, which has a digit too.
        powers[0] = 0;
        powers
    };
    // 1233 / 4096 is a little more than log 2.
    let about = (((64 - (value | 1).leading_zeros()) * 1233) >> 12) as usize;
    about + usize::from(POWERS.get(about).is_some_and(|&power| value >= power))
}

/// # Safety
/// `to` has room for 32 bytes.
#[inline]
unsafe fn put(to: *mut u8, value: u64) -> *mut u8 {
    if let Some(pair) = usize::try_from(value).ok().and_then(|value| PAIRS.get(value)) {
        // SAFETY: the caller's promise.
        unsafe {
            to.cast::<[u8; 2]>().write(*pair);
            return to.add(1 + usize::from(value >= 10));
        }
    }
    let digits = count(value);
    // SAFETY: three words at most, each of which begins within the digits.
    unsafe {
        if value < EIGHT * EIGHT {
            // Of both words whatever the number is: which of them it needs is hard to foresee.
            let both = u128::from(spread(value % EIGHT)) << 64 | u128::from(spread(value / EIGHT));
            let text = (both | u128::from(ZEROS) << 64 | u128::from(ZEROS)) >> (128 - 8 * digits);
            to.cast::<[u8; 16]>().write(text.to_le_bytes());
        } else {
            let upper = value / EIGHT;
            put_word(to, spread(upper / EIGHT) >> (192 - 8 * digits));
            put_word(to.add(digits - 16), spread(upper % EIGHT));
            put_word(to.add(digits - 8), spread(value % EIGHT));
        }
        to.add(digits)
    }
}

/// # Safety
/// `to` has room for 8 bytes.
#[inline]
unsafe fn put_word(to: *mut u8, digits: u64) {
    // SAFETY: the caller's promise.
    unsafe { to.cast::<[u8; 8]>().write((digits | ZEROS).to_le_bytes()) };
}

/// The eight digits of a number below 10^8, one in each byte, the first in the lowest: halved three times within the word
/// (after P. Khuong, "How to print integers really fast", 2017).
#[inline]
pub(crate) fn spread(value: u64) -> u64 {
    let fours = halved(value);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - 10 * tens) << 8)
}

/// Eight digits as two numbers of four, the first in the lower half.
#[inline]
pub fn halved(value: u64) -> u64 {
    (value / 10_000) | ((value % 10_000) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: i64) {
        let mut out = Vec::new();
        push_integer(&mut out, value, b',');
        assert_eq!(String::from_utf8(out).unwrap(), format!("{value},"));
    }

    #[test]
    fn integers_of_every_length() {
        let mut power = 1_i64;
        for _ in 0..19 {
            for near in -3..=3 {
                for value in [power + near, power * 3 + near, power.wrapping_mul(9).wrapping_add(near)] {
                    check(value);
                    check(value.wrapping_neg());
                }
            }
            power = power.wrapping_mul(10);
        }
        for value in [0, i64::MAX, i64::MIN, i64::MIN + 1] {
            check(value);
        }
    }

    #[test]
    fn all_numbers_of_four_digits_in_either_half() {
        for value in 0..10_000 {
            check(value);
            check(value * 10_000);
            check(value * 10_000 + 9_999 - value);
        }
    }

    #[test]
    fn random_integers() {
        let mut seed = 5_i64;
        for shift in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            check(seed >> (shift % 64));
        }
    }
}
