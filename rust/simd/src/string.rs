//! JSON strings from bytes of ASCII or UTF-8: copied while they are looked at, and escaped where they must be.

use crate::escape::{is_special, put_escape};
use crate::level::{Level, level};
use crate::sink::Sink;
#[cfg(target_arch = "x86_64")]
use crate::x86;

/// More room than any kernel writes behind the end of what it appends.
pub(crate) const SLACK: usize = 64;
/// How much is escaped at once: room is made for the worst that may come of it.
pub(crate) const PIECE: usize = 1024;
/// The longest escape: `\u0000`.
pub(crate) const WORST: usize = 6;

/// The longest string that any kind of processor takes for a short one.
pub const SHORT: usize = 32;

/// How strings are copied in a loop that is compiled for one kind of processor.
pub trait Kernels {
    /// No longer ones are copied by `short`.
    const SHORT: usize;

    /// Copies a short string; whether it has no byte that must be escaped.
    ///
    /// # Safety
    /// `to` has room for `SLACK` bytes, and the processor is of that kind.
    unsafe fn short(bytes: &[u8], to: *mut u8) -> bool;

    /// Copies a longer one up to a byte that must be escaped, or up to some place before it; gives how many bytes.
    ///
    /// # Safety
    /// `to` has room for the bytes and `SLACK` more, and the processor is of that kind.
    unsafe fn long(bytes: &[u8], to: *mut u8) -> usize;
}

/// The kernels that the processor has, chosen at each call.
#[derive(Debug, Clone, Copy)]
pub struct Chosen;

impl Kernels for Chosen {
    const SHORT: usize = if cfg!(target_arch = "x86_64") { SHORT } else { 16 };

    // Keys, roles and small values: what is compiled in place costs less than a call to a better kernel.
    #[inline]
    unsafe fn short(bytes: &[u8], to: *mut u8) -> bool {
        match bytes.len() {
            // SAFETY: the room is the caller's promise, and the lengths are what the functions ask for.
            0..8 => unsafe { tiny(bytes, to) },
            // SAFETY: likewise.
            8..=16 => unsafe { halves(bytes, to) },
            // SAFETY: likewise.
            #[cfg(target_arch = "x86_64")]
            _ => unsafe { x86::two_blocks(bytes, to) },
            // SAFETY: likewise.
            #[cfg(not(target_arch = "x86_64"))]
            _ => unsafe { scalar(bytes, to) == bytes.len() },
        }
    }

    #[inline]
    unsafe fn long(bytes: &[u8], to: *mut u8) -> usize {
        #[cfg(target_arch = "x86_64")]
        {
            let level = level();
            // SAFETY: the level tells what the processor has, and longer ones are long enough for all; the room is the
            // caller's promise.
            return unsafe {
                if level >= Level::Avx512 {
                    x86::copy_avx512(bytes, to)
                } else if level >= Level::Avx2 {
                    x86::copy_avx2(bytes, to)
                } else {
                    x86::copy_sse2(bytes, to)
                }
            };
        }
        // SAFETY: the room is the caller's promise.
        #[allow(unreachable_code)]
        unsafe {
            scalar(bytes, to)
        }
    }
}

/// Appends bytes of ASCII or UTF-8 as a JSON string with its quotes, and `after` behind it: a colon, if it is the name of
/// a member, or a comma.
#[inline]
pub fn push_string(out: &mut impl Sink, bytes: &[u8], after: Option<u8>) {
    let to = out.room(bytes.len() + 3 + SLACK);
    // SAFETY: the room holds the quotes, one byte behind them, the bytes and the slack that kernels may write into; no
    // more is counted than was written. These kernels are every processor's.
    unsafe {
        to.write(b'"');
        let plain = if bytes.len() <= Chosen::SHORT {
            if Chosen::short(bytes, to.add(1)) { bytes.len() } else { 0 }
        } else {
            Chosen::long(bytes, to.add(1))
        };
        if plain == bytes.len() {
            to.add(plain + 1).cast::<[u8; 2]>().write([b'"', after.unwrap_or(0)]);
            out.wrote(plain + 2 + usize::from(after.is_some()));
        } else {
            out.wrote(plain + 1);
            escaped(out, bytes.get(plain..).unwrap_or_default(), after);
        }
    }
}

/// The rest of a string, from a byte on that must be escaped.
#[cold]
#[inline(never)]
pub(crate) fn escaped(out: &mut impl Sink, bytes: &[u8], after: Option<u8>) {
    for piece in bytes.chunks(PIECE) {
        let to = out.room(WORST * piece.len() + SLACK);
        // SAFETY: the room is what the kernels ask for, and what they say they wrote is counted.
        unsafe {
            let end = escape(piece, to);
            out.wrote(end.offset_from_unsigned(to));
        }
    }
    finish(out, after);
}

/// The closing quote, and what stands behind it.
#[inline]
pub(crate) fn finish(out: &mut impl Sink, after: Option<u8>) {
    out.append_padded(&[b'"', after.unwrap_or(0)], 1 + usize::from(after.is_some()));
}

/// Writes bytes with their escapes; gives the end of what was written.
///
/// # Safety
/// `to` has room for `WORST` times the bytes and `SLACK` more.
unsafe fn escape(bytes: &[u8], to: *mut u8) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    {
        let level = level();
        // SAFETY: the level tells what the processor has; the room is the caller's promise.
        return unsafe {
            if level >= Level::Avx512 {
                x86::escape_avx512(bytes, to)
            } else if level >= Level::Avx2 {
                x86::escape_avx2(bytes, to)
            } else {
                x86::escape_sse2(bytes, to)
            }
        };
    }
    // SAFETY: the room is the caller's promise.
    #[allow(unreachable_code)]
    unsafe {
        escape_scalar(bytes, to)
    }
}

/// # Safety
/// As for `escape`.
pub(crate) unsafe fn escape_scalar(bytes: &[u8], mut to: *mut u8) -> *mut u8 {
    for &byte in bytes {
        // SAFETY: no byte becomes more than `WORST`, and an escape is written within the slack.
        unsafe {
            if is_special(byte) {
                to = put_escape(to, byte);
            } else {
                to.write(byte);
                to = to.add(1);
            }
        }
    }
    to
}

/// For fewer than 8 bytes; 4 and more as two halves of a word, which overlap.
///
/// # Safety
/// `to` has room for `bytes`.
#[inline]
unsafe fn tiny(bytes: &[u8], to: *mut u8) -> bool {
    let (from, length) = (bytes.as_ptr(), bytes.len());
    if length >= 4 {
        // SAFETY: both halves lie inside the slice, and in the room at the same places.
        unsafe {
            let (first, last) =
                (from.cast::<u32>().read_unaligned(), from.add(length - 4).cast::<u32>().read_unaligned());
            to.cast::<u32>().write_unaligned(first);
            to.add(length - 4).cast::<u32>().write_unaligned(last);
            return !has_special(u64::from(first) | u64::from(last) << 32);
        }
    }
    if length == 0 {
        return true;
    }
    // As a loop it would become a call.
    [0, length / 2, length - 1].iter().fold(true, |plain, &at| {
        // SAFETY: the places of one to three bytes.
        let byte = unsafe { from.add(at).read() };
        // SAFETY: likewise, and the room is there.
        unsafe { to.add(at).write(byte) };
        plain & !is_special(byte)
    })
}

#[cfg(target_arch = "x86_64")]
use crate::x86::halves;

#[cfg(not(target_arch = "x86_64"))]
use two_words as halves;

/// For 8 to 16 bytes, as two words that overlap.
///
/// # Safety
/// `to` has room for `bytes`, which are 8 to 16.
#[cfg(any(test, not(target_arch = "x86_64")))]
unsafe fn two_words(bytes: &[u8], to: *mut u8) -> bool {
    let (from, last) = (bytes.as_ptr(), bytes.len() - 8);
    // SAFETY: both words lie inside the slice, and in the room at the same places.
    unsafe {
        let (a, b) = (from.cast::<u64>().read_unaligned(), from.add(last).cast::<u64>().read_unaligned());
        to.cast::<u64>().write_unaligned(a);
        to.add(last).cast::<u64>().write_unaligned(b);
        !has_special(a) && !has_special(b)
    }
}

/// # Safety
/// `to` has room for `bytes`.
unsafe fn scalar(bytes: &[u8], to: *mut u8) -> usize {
    // SAFETY: the source is a slice, the room is the caller's promise, and they are not the same memory.
    unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    let (words, rest) = bytes.as_chunks::<8>();
    let is_plain =
        !words.iter().any(|word| has_special(u64::from_le_bytes(*word))) && !rest.iter().any(|&byte| is_special(byte));
    if is_plain { bytes.len() } else { 0 }
}

/// Whether any of eight bytes must be escaped (S. E. Anderson, "Bit Twiddling Hacks": a byte less than n).
fn has_special(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let below = |x: u64, n: u64| x.wrapping_sub(ONES * n) & !x;
    let found = below(word, 0x20) | below(word ^ (ONES * 0x22), 1) | below(word ^ (ONES * 0x5c), 1);
    found & (ONES << 7) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 14] = [0, 8, 0x1f, b'"', b'\\', b'\n', 0x20, 0x21, 0x5d, 0x7f, 0x80, 0xa2, 0xdc, 0xff];

    type Copy = unsafe fn(&[u8], *mut u8) -> usize;
    type Short = unsafe fn(&[u8], *mut u8) -> bool;
    type Escape = unsafe fn(&[u8], *mut u8) -> *mut u8;

    /// The kernels that this processor has, with the least length for each.
    fn copies() -> Vec<(&'static str, usize, Copy)> {
        let mut all: Vec<(&str, usize, Copy)> =
            vec![("scalar", 0, scalar), ("chosen", Chosen::SHORT + 1, Chosen::long)];
        #[cfg(target_arch = "x86_64")]
        {
            all.push(("sse2", 16, x86::copy_sse2));
            if is_x86_feature_detected!("avx2") {
                all.push(("avx2", 32, x86::copy_avx2));
            }
            if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
                all.push(("avx512", 0, x86::copy_avx512));
            }
        }
        all
    }

    fn shorts() -> Vec<(&'static str, usize, Short)> {
        let mut all: Vec<(_, _, Short)> = vec![("chosen", Chosen::SHORT, Chosen::short)];
        #[cfg(target_arch = "x86_64")]
        if level() >= Level::Avx512 {
            all.push(("avx512", x86::Avx512::SHORT, x86::Avx512::short));
        }
        all
    }

    fn escapes() -> Vec<(&'static str, Escape)> {
        let mut all: Vec<(&str, Escape)> = vec![("scalar", escape_scalar), ("chosen", escape)];
        #[cfg(target_arch = "x86_64")]
        {
            all.push(("sse2", x86::escape_sse2));
            if is_x86_feature_detected!("avx2") {
                all.push(("avx2", x86::escape_avx2));
            }
            if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
                all.push(("avx512", x86::escape_avx512));
            }
        }
        all
    }

    fn check_copies(bytes: &[u8]) {
        let special = bytes.iter().position(|&byte| is_special(byte));
        for (name, least, kernel) in copies() {
            if bytes.len() < least {
                continue;
            }
            let mut out = vec![0xee; bytes.len() + SLACK];
            // SAFETY: the room is there, and the length fits.
            let plain = unsafe { kernel(bytes, out.as_mut_ptr()) };
            assert_eq!(&out[..plain], &bytes[..plain], "{name} copies");
            match special {
                Some(at) => assert!(plain <= at, "{name}: {plain} of {at}"),
                None => assert_eq!(plain, bytes.len(), "{name}"),
            }
        }
        #[cfg(target_arch = "x86_64")]
        if (16..=32).contains(&bytes.len()) {
            let mut out = vec![0xee; bytes.len() + SLACK];
            // SAFETY: as above.
            assert_eq!(unsafe { x86::two_blocks(bytes, out.as_mut_ptr()) }, special.is_none());
            assert_eq!(&out[..bytes.len()], bytes);
        }
        for (name, longest, kernel) in shorts() {
            if bytes.len() <= longest {
                let mut out = vec![0xee; bytes.len() + SLACK];
                // SAFETY: as above.
                assert_eq!(unsafe { kernel(bytes, out.as_mut_ptr()) }, special.is_none(), "{name}");
                assert_eq!(&out[..bytes.len()], bytes, "{name}");
            }
        }
        for halves in [halves as unsafe fn(&[u8], *mut u8) -> bool, two_words] {
            if (8..=16).contains(&bytes.len()) {
                let mut out = vec![0xee; bytes.len() + SLACK];
                // SAFETY: as above.
                assert_eq!(unsafe { halves(bytes, out.as_mut_ptr()) }, special.is_none());
            }
        }
    }

    fn check_escapes(bytes: &[u8]) {
        let expected: Vec<u8> = bytes.iter().flat_map(|&byte| one(byte)).collect();
        for (name, kernel) in escapes() {
            let mut out = vec![0xee; WORST * bytes.len() + SLACK];
            // SAFETY: the room is there.
            let length = unsafe { kernel(bytes, out.as_mut_ptr()).offset_from_unsigned(out.as_ptr()) };
            assert_eq!(&out[..length], expected, "{name}: {bytes:?}");
        }
    }

    fn one(byte: u8) -> Vec<u8> {
        match byte {
            b'"' | b'\\' => vec![b'\\', byte],
            b'\n' => b"\\n".to_vec(),
            b'\r' => b"\\r".to_vec(),
            b'\t' => b"\\t".to_vec(),
            8 => b"\\b".to_vec(),
            12 => b"\\f".to_vec(),
            0..0x20 => format!("\\u{byte:04x}").into_bytes(),
            _ => vec![byte],
        }
    }

    #[test]
    fn every_kernel_finds_each_special_byte_at_each_place() {
        for length in 0..200 {
            let mut bytes: Vec<u8> = (0..length).map(|n| b'a' + n % 26).collect();
            check_copies(&bytes);
            check_escapes(&bytes);
            for at in 0..bytes.len() {
                let before = bytes[at];
                for byte in BYTES {
                    bytes[at] = byte;
                    check_copies(&bytes);
                    check_escapes(&bytes);
                }
                bytes[at] = before;
            }
        }
    }

    #[test]
    fn many_specials_are_escaped() {
        for byte in 0..=255 {
            for length in [1, 15, 16, 33, 64, 65, 200] {
                check_escapes(&vec![byte; length]);
            }
        }
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        check_escapes(&all);
    }

    #[test]
    fn appends_what_belongs_behind_a_string() {
        let mut out = b"[".to_vec();
        push_string(&mut out, "Zürich".as_bytes(), None);
        push_string(&mut out, b"a \" quote", None);
        push_string(&mut out, b"", None);
        push_string(&mut out, b"name", Some(b':'));
        push_string(&mut out, b"back\\slash", Some(b':'));
        push_string(&mut out, b"x", Some(b','));
        push_string(&mut out, b"\n", Some(b','));
        assert_eq!(out, "[\"Zürich\"\"a \\\" quote\"\"\"\"name\":\"back\\\\slash\":\"x\",\"\\n\",".as_bytes());
    }

    #[test]
    fn long_strings_are_escaped_in_pieces() {
        for length in [PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 3] {
            let bytes: Vec<u8> = (0..length).map(|n| if n % 7 == 0 { b'"' } else { b'x' }).collect();
            let mut out = Vec::new();
            push_string(&mut out, &bytes, None);
            let expected: Vec<u8> = bytes.iter().flat_map(|&byte| one(byte)).collect();
            assert_eq!(&out[1..out.len() - 1], expected);
        }
    }
}
