//! Short numbers as they are read: all digits at once.
//!
//! What is loaded and masked depends on how many digits there are, but no jump does: a guess of it would often fail.

#[cfg(not(target_arch = "x86_64"))]
use scalar::{decimal, digit_mask, integer};

#[cfg(target_arch = "x86_64")]
use crate::x86_number::{decimal, digit_mask, integer};

/// A number without its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// All digits, as if there were no point.
    pub digits: u64,
    /// How many stand behind the point; 0 without one.
    pub places: u32,
    /// How many bytes the number takes.
    pub length: usize,
}

/// How many bytes are loaded before the number, and from its start on.
const BEFORE: usize = 24;
const BEHIND: usize = 32;
/// The most digits an integer may have; before a point; behind it.
const MOST: usize = 16;
const WHOLE: usize = 8;
const PLACES: usize = BEFORE;

#[allow(clippy::indexing_slicing)] // What could panic would do so at compile time.
const POWERS: [u64; MOST + 1] = {
    let mut powers = [1; MOST + 1];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// The number that begins at `start`, behind its sign. None if there is none, if it has an exponent or many digits, and near
/// the ends of the text: then another way must tell.
#[must_use]
#[inline]
#[allow(clippy::cast_possible_truncation)]
pub fn short_number(src: &[u8], start: usize) -> Option<Short> {
    let window = src.get(start.checked_sub(BEFORE)?..)?.first_chunk::<{ BEFORE + BEHIND }>()?;
    let text = window.last_chunk::<BEHIND>()?;
    let others = !u64::from(digit_mask(text));
    let whole = others.trailing_zeros() as usize;
    if whole == 0 || (whole > 1) & (text.first() == Some(&b'0')) {
        return None;
    }
    let mut follows = *text.get(whole)?;
    if follows == b'.' {
        let length = (others & (others - 1)).trailing_zeros() as usize;
        follows = *text.get(length)?;
        let places = length - whole - 1;
        if whole > WHOLE || places == 0 || places > PLACES || follows | 0x20 == b'e' {
            return None;
        }
        let upper = places.saturating_sub(MOST);
        // SAFETY: so many digits stand there, and as many bytes before them as are loaded.
        let [first, second, last] = unsafe { decimal(window, BEFORE + whole, whole, BEFORE + length, places) };
        let digits =
            (first * POWERS.get(upper)? + second).checked_mul(*POWERS.get(places - upper)?)?.checked_add(last)?;
        return Some(Short { digits, places: places as u32, length });
    }
    if whole > MOST || follows | 0x20 == b'e' {
        return None;
    }
    // SAFETY: likewise.
    Some(Short { digits: unsafe { integer(window, BEFORE + whole, whole) }, places: 0, length: whole })
}

/// For other processors, and to compare with.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod scalar {
    use super::{BEFORE, BEHIND, MOST};

    type Window = [u8; BEFORE + BEHIND];

    pub fn digit_mask(text: &[u8; BEHIND]) -> u32 {
        text.iter().rev().fold(0, |mask, byte| mask << 1 | u32::from(byte.is_ascii_digit()))
    }

    pub unsafe fn integer(window: &Window, end: usize, count: usize) -> u64 {
        let digits = window.get(end - count..end).unwrap_or_default();
        digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit & 0xf))
    }

    pub unsafe fn decimal(window: &Window, point: usize, whole: usize, end: usize, places: usize) -> [u64; 3] {
        let last = places.min(MOST);
        // SAFETY: the caller's promise.
        unsafe {
            [integer(window, point, whole), integer(window, end - last, places - last), integer(window, end, last)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> Option<Short> {
        let around = format!("{}{text},{}", "7".repeat(BEFORE), "8".repeat(BEHIND));
        short_number(around.as_bytes(), BEFORE)
    }

    #[test]
    fn digits_are_told_from_all_other_bytes() {
        for byte in 0..=u8::MAX {
            for at in 0..BEHIND {
                for around in [b'0', b'9', b'.', 0, 0xff] {
                    let mut bytes = [around; BEHIND];
                    bytes[at] = byte;
                    assert_eq!(digit_mask(&bytes), scalar::digit_mask(&bytes), "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_of_all_lengths() {
        let digits = "9081726354453627189099999999999999999999";
        for first in 0..20 {
            for whole in 1..=MOST {
                let text = &digits[first..first + whole];
                let expected = Short { digits: text.parse().unwrap(), places: 0, length: whole };
                assert_eq!(short(text), (whole == 1 || !text.starts_with('0')).then_some(expected), "{text}");
                for places in 1..=PLACES.min(digits.len() - first - whole) {
                    let text = format!("{text}.{}", &digits[first + whole..first + whole + places]);
                    let value = text.replace('.', "").parse().ok();
                    let expected =
                        value.map(|digits| Short { digits, places: places.try_into().unwrap(), length: text.len() });
                    let is_short = whole <= WHOLE && text.len() < BEHIND && (whole == 1 || !text.starts_with('0'));
                    assert_eq!(short(&text), expected.filter(|_| is_short), "{text}");
                }
            }
        }
    }

    #[test]
    fn zeros_behind_the_point() {
        for places in 1..BEHIND - 2 {
            let text = format!("0.{:0>places$}", 7);
            let expected = Short { digits: 7, places: places.try_into().unwrap(), length: text.len() };
            assert_eq!(short(&text), (places <= PLACES).then_some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_short_number() {
        for text in
            ["", "-1", ".5", "5.", "01", "00", "0.", "1e5", "1E5", "1.5e5", "1.5E5", "1..5", "x", "12345678901234567"]
        {
            assert_eq!(short(text), None, "{text}");
        }
        for text in ["1", "1.5", "123456789.5"] {
            for (before, behind) in [(BEFORE - 1, BEHIND), (BEFORE, BEHIND - text.len() - 2)] {
                let around = format!("{}{text},{}", " ".repeat(before), " ".repeat(behind));
                assert_eq!(short_number(around.as_bytes(), before), None);
            }
            assert_eq!(short_number(text.as_bytes(), usize::MAX), None);
        }
    }

    #[test]
    fn all_kernels_agree() {
        let mut seed = 7_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize
        };
        for _ in 0..100_000 {
            let mut window = [0; BEFORE + BEHIND];
            window.fill_with(|| b"0123456789"[random() % 10]);
            let (whole, places) = (1 + random() % WHOLE, 1 + random() % PLACES);
            let (point, end) = (BEFORE + whole, (BEFORE + whole + 1 + places).min(window.len() - 1));
            let places = end - point - 1;
            // SAFETY: so many digits stand there.
            unsafe {
                let expected = scalar::decimal(&window, point, whole, end, places);
                assert_eq!(decimal(&window, point, whole, end, places), expected);
                let whole = 1 + random() % MOST;
                let end = BEFORE + whole;
                assert_eq!(integer(&window, end, whole), scalar::integer(&window, end, whole));
            }
        }
    }
}
