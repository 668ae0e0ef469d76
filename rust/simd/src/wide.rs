//! JSON strings from the characters of Python's strings, which have one, two or four bytes each (PEP 393).
//!
//! They are written as UTF-8 straight from where they lie, so that no copy of them stays in the string.

use crate::escape::{is_special, put_escape};
use crate::level::{Level, level};
use crate::sink::Sink;
use crate::string::{PIECE, SLACK, WORST, finish};
#[cfg(target_arch = "x86_64")]
use crate::x86_wide;

/// A character of a Python string.
pub trait Unit: Copy + Into<u32> + sealed::Kernels {}

impl Unit for u8 {}
impl Unit for u16 {}
impl Unit for u32 {}

mod sealed {
    pub trait Kernels: Sized {
        /// # Safety
        /// `to` has room for `WORST` times the characters and `SLACK` more, and the level is one that the processor has.
        unsafe fn write(units: &[Self], to: *mut u8, level: crate::Level) -> Option<*mut u8>;
    }
}

macro_rules! kernels {
    ($unit:ty, $vbmi2:ident, $avx2:ident) => {
        impl sealed::Kernels for $unit {
            #[inline]
            unsafe fn write(units: &[Self], to: *mut u8, level: Level) -> Option<*mut u8> {
                #[cfg(target_arch = "x86_64")]
                if level >= Level::Vbmi2 {
                    // SAFETY: the caller's promise.
                    return unsafe { x86_wide::$vbmi2(units, to) };
                } else if level >= Level::Avx2 {
                    // SAFETY: the caller's promise.
                    return unsafe { $avx2(units, to) };
                }
                // SAFETY: the caller's promise.
                unsafe { blocks(units, to) }
            }
        }

        /// The portable way, compiled for more.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        unsafe fn $avx2(units: &[$unit], to: *mut u8) -> Option<*mut u8> {
            // SAFETY: the caller's promise.
            unsafe { blocks(units, to) }
        }
    };
}

kernels!(u8, latin1, latin1_avx2);
kernels!(u16, two_bytes, two_bytes_avx2);
kernels!(u32, four_bytes, four_bytes_avx2);

/// Appends characters as a JSON string with its quotes, and `after` behind it. False for a surrogate, which UTF-8 cannot
/// hold: then what was appended is of no use.
#[must_use]
pub fn push_units<U: Unit>(out: &mut impl Sink, units: &[U], after: Option<u8>) -> bool {
    out.put(b'"');
    let level = level();
    for piece in units.chunks(PIECE) {
        let to = out.room(WORST * piece.len() + SLACK);
        // SAFETY: the room is what the kernels ask for, and what they say they wrote is counted.
        unsafe {
            let Some(end) = U::write(piece, to, level) else { return false };
            out.wrote(end.offset_from_unsigned(to));
        }
    }
    finish(out, after);
    true
}

/// How many characters are looked at together.
const BLOCK: usize = 16;

/// Blocks of plain ASCII are copied as a whole, others go character by character.
///
/// # Safety
/// As for `write`.
#[allow(clippy::inline_always)] // It is compiled anew for each kernel.
#[inline(always)]
unsafe fn blocks<U: Unit>(units: &[U], mut to: *mut u8) -> Option<*mut u8> {
    let (blocks, rest) = units.as_chunks::<BLOCK>();
    for block in blocks {
        if block.iter().fold(true, |all, &unit| all & is_plain(unit.into())) {
            // SAFETY: a block of characters of one byte each.
            unsafe {
                to.cast::<[u8; BLOCK]>().write(block.map(|unit| low_byte(unit.into())));
                to = to.add(BLOCK);
            }
        } else {
            // SAFETY: the caller's promise.
            to = unsafe { one_by_one(block, to) }?;
        }
    }
    // SAFETY: the caller's promise.
    unsafe { one_by_one(rest, to) }
}

#[allow(clippy::needless_bitwise_bool)] // Without branches it becomes vector code.
#[inline]
fn is_plain(unit: u32) -> bool {
    (unit.wrapping_sub(0x20) < 0x60) & (unit != 0x22) & (unit != 0x5c)
}

#[inline]
fn low_byte(unit: u32) -> u8 {
    unit.to_le_bytes()[0]
}

/// # Safety
/// As for `write`.
#[inline]
unsafe fn one_by_one<U: Unit>(units: &[U], mut to: *mut u8) -> Option<*mut u8> {
    for &unit in units {
        // SAFETY: the caller's promise.
        to = unsafe { put(to, unit.into()) }?;
    }
    Some(to)
}

/// Writes one character; gives the end of it.
///
/// # Safety
/// `to` has room for 8 bytes.
#[inline]
pub(crate) unsafe fn put(to: *mut u8, unit: u32) -> Option<*mut u8> {
    let low = low_byte(unit);
    // SAFETY: a character has 4 bytes at most, an escape 8.
    unsafe {
        if unit < 0x80 {
            if is_special(low) {
                return Some(put_escape(to, low));
            }
            to.write(low);
            return Some(to.add(1));
        }
        let mut bytes = [0; 4];
        let length = char::from_u32(unit)?.encode_utf8(&mut bytes).len();
        to.cast::<[u8; 4]>().write(bytes);
        Some(to.add(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> Vec<Level> {
        let best = level();
        [Level::Baseline, Level::Avx2, Level::Avx512, Level::Vbmi2].into_iter().filter(|own| *own <= best).collect()
    }

    fn expected(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        crate::push_string(&mut out, text.as_bytes(), Some(b','));
        out
    }

    fn written<U: Unit>(units: &[U], level: Level) -> Option<Vec<u8>> {
        let mut out = vec![0xee; WORST * units.len() + SLACK];
        // SAFETY: the room is there, and the processor has the level.
        let length = unsafe { U::write(units, out.as_mut_ptr(), level)?.offset_from_unsigned(out.as_ptr()) };
        out.truncate(length);
        Some(out)
    }

    fn check(text: &str) {
        let whole = expected(text);
        let inner = &whole[1..whole.len() - 2];
        let four: Vec<u32> = text.chars().map(u32::from).collect();
        let two: Option<Vec<u16>> = four.iter().map(|&unit| unit.try_into().ok()).collect();
        let one: Option<Vec<u8>> = four.iter().map(|&unit| unit.try_into().ok()).collect();
        for level in levels() {
            assert_eq!(written(&four, level).as_deref(), Some(inner), "{level:?}: {text:?}");
            if let Some(two) = &two {
                assert_eq!(written(two, level).as_deref(), Some(inner), "{level:?}: {text:?}");
            }
            if let Some(one) = &one {
                assert_eq!(written(one, level).as_deref(), Some(inner), "{level:?}: {text:?}");
            }
        }
        let mut out = Vec::new();
        assert!(push_units(&mut out, &four, Some(b',')));
        assert_eq!(out, whole);
    }

    const OTHERS: [char; 16] = [
        '\0', '\n', '"', '\\', '\u{7f}', '\u{80}', 'ü', 'ÿ', '\u{100}', '\u{7ff}', '\u{800}', '€', '\u{d7ff}',
        '\u{e000}', '\u{ffff}', '😀',
    ];

    #[test]
    fn every_character_is_written_at_every_place() {
        for length in (1..70).chain([PIECE - 1, PIECE, PIECE + 1]) {
            let plain: Vec<char> = ('a'..='z').cycle().take(length).collect();
            check(&plain.iter().collect::<String>());
            for at in (0..length).filter(|at| *at < 70 || *at > length - 3) {
                for other in OTHERS {
                    let mut text = plain.clone();
                    text[at] = other;
                    check(&text.iter().collect::<String>());
                }
            }
        }
    }

    #[test]
    fn mixed_characters_are_written() {
        let mut seed = 7_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below
        };
        for _ in 0..3000 {
            let kinds = 1 + random(OTHERS.len());
            let rare = 1 + random(8);
            let one = |random: &mut dyn FnMut(usize) -> usize| {
                if random(rare) == 0 { OTHERS[random(kinds)] } else { char::from(*b"abcdefgh".get(random(8)).unwrap()) }
            };
            let length = random(200);
            check(&(0..length).map(|_| one(&mut random)).collect::<String>());
        }
    }

    #[test]
    fn surrogates_are_refused() {
        for length in 1..100 {
            for at in 0..length {
                for surrogate in [0xd800_u16, 0xdbff, 0xdc00, 0xdfff] {
                    let mut two = vec![0xe9_u16; length];
                    two[at] = surrogate;
                    let four: Vec<u32> = two.iter().map(|&unit| unit.into()).collect();
                    for level in levels() {
                        assert_eq!(written(&two, level), None, "{level:?}");
                        assert_eq!(written(&four, level), None, "{level:?}");
                    }
                }
            }
        }
    }
}
