//! Vector kernels, chosen by what the processor has when they run; each has a scalar twin that gives the same answer.
//!
//! `unsafe` is here for loads and stores through pointers, within lengths and capacities that were just checked, and
//! for calls into code that is compiled for a processor feature, right behind the test for that feature.

#[cfg(target_arch = "x86_64")]
mod x86;

/// More room than any kernel writes behind the end of what it appends.
const SLACK: usize = 64;

/// Appends `bytes` as a JSON string with its quotes, if none of them needs an escape; else appends nothing and says so.
///
/// It looks at the bytes while it copies them, so a long text with an early escape costs little.
#[must_use]
#[inline]
pub fn push_plain(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    push_quoted(out, bytes, 0)
}

/// The same with a colon behind it: the name of a member.
#[must_use]
#[inline]
pub fn push_plain_name(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    push_quoted(out, bytes, 1)
}

#[inline]
fn push_quoted(out: &mut Vec<u8>, bytes: &[u8], colons: usize) -> bool {
    out.reserve(bytes.len() + 3 + SLACK);
    let start = out.len();
    // SAFETY: the reserved room holds the quotes, the colon, the bytes and the slack that kernels may write into; the
    // length is set only after that many bytes have been written.
    unsafe {
        let to = out.as_mut_ptr().add(start);
        to.write(b'"');
        if !copy_plain(bytes, to.add(1)) {
            return false;
        }
        to.add(bytes.len() + 1).cast::<[u8; 2]>().write(*b"\":");
        out.set_len(start + bytes.len() + 2 + colons);
    }
    true
}

/// Appends `bytes` as they are, if none of them needs an escape in a JSON string; else appends nothing and says so.
#[must_use]
pub fn append_plain(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    out.reserve(bytes.len() + SLACK);
    // SAFETY: the reserved room is what the kernel asks for; the length is set after the bytes have been written.
    unsafe {
        let plain = copy_plain(bytes, out.as_mut_ptr().add(out.len()));
        if plain {
            out.set_len(out.len() + bytes.len());
        }
        plain
    }
}

/// # Safety
/// `to` has room for `bytes` and `SLACK` more.
#[inline]
unsafe fn copy_plain(bytes: &[u8], to: *mut u8) -> bool {
    // Keys, roles and small values: what is compiled in place costs less than a call to a better kernel.
    match bytes.len() {
        // SAFETY: the room is the caller's promise, and the lengths are what the functions ask for.
        0..8 => unsafe { tiny(bytes, to) },
        // SAFETY: likewise.
        8..=16 => unsafe { halves(bytes, to) },
        // SAFETY: likewise.
        _ => unsafe { copy_long(bytes, to) },
    }
}

/// # Safety
/// `to` has room for `bytes` and `SLACK` more.
unsafe fn copy_long(bytes: &[u8], to: *mut u8) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the feature was just found; the room is the caller's promise.
            return unsafe { x86::avx512(bytes, to) };
        }
        if bytes.len() >= 32 && is_x86_feature_detected!("avx2") {
            // SAFETY: as above, and the length is what the function asks for.
            return unsafe { x86::avx2(bytes, to) };
        }
        if bytes.len() >= 16 {
            // SAFETY: every x86-64 processor has SSE2; the length is what the function asks for.
            return unsafe { x86::sse2(bytes, to) };
        }
    }
    // SAFETY: the room is the caller's promise.
    unsafe { scalar(bytes, to) }
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
    let mut plain = true;
    for (at, &byte) in bytes.iter().enumerate() {
        // SAFETY: the room is there.
        unsafe { to.add(at).write(byte) };
        plain &= byte >= 0x20 && byte != b'"' && byte != b'\\';
    }
    plain
}

#[cfg(target_arch = "x86_64")]
use x86::halves;

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
unsafe fn scalar(bytes: &[u8], to: *mut u8) -> bool {
    // SAFETY: the source is a slice, the room is the caller's promise, and they are not the same memory.
    unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    let (words, rest) = bytes.as_chunks::<8>();
    !words.iter().any(|word| has_special(u64::from_le_bytes(*word)))
        && !rest.iter().any(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

/// Whether any of eight bytes must be escaped (S. E. Anderson, "Bit Twiddling Hacks": a byte less than n).
fn has_special(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let below = |x: u64, n: u64| x.wrapping_sub(ONES * n) & !x;
    let found = below(word, 0x20) | below(word ^ (ONES * 0x22), 1) | below(word ^ (ONES * 0x5c), 1);
    found & (ONES << 7) != 0
}

/// The plain bytes at the start of some others: what stands in a JSON string before its end or an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain {
    /// How many there are before the first quote, backslash or control character.
    pub length: usize,
    /// Whether all of those are ASCII.
    pub is_ascii: bool,
}

/// Looks for the first byte that does not stand for itself in a JSON string.
#[must_use]
#[inline]
pub fn plain_prefix(bytes: &[u8]) -> Plain {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the feature was just found.
            return unsafe { x86::prefix_avx512(bytes) };
        }
        with_sse2(bytes)
    }
    #[cfg(not(target_arch = "x86_64"))]
    prefix_scalar(bytes, 0, true)
}

#[cfg(target_arch = "x86_64")]
fn with_sse2(bytes: &[u8]) -> Plain {
    // SAFETY: every x86-64 processor has SSE2.
    let (blocks, is_ascii) = unsafe { x86::plain_blocks(bytes) };
    prefix_scalar(bytes.get(blocks..).unwrap_or_default(), blocks, is_ascii)
}

/// How long the JSON container is that starts with the first byte. None if its end is not found, if there is a backslash
/// on the way, or where this processor has no kernel for it: then a walk byte by byte must tell.
#[must_use]
#[inline]
pub fn container_length(bytes: &[u8]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("popcnt")
    {
        // SAFETY: the features were just found.
        return unsafe { x86::container_avx512(bytes) };
    }
    None
}

/// `before` bytes were looked at already.
fn prefix_scalar(bytes: &[u8], before: usize, was_ascii: bool) -> Plain {
    let length = bytes.iter().take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\').count();
    let is_ascii = was_ascii && bytes.get(..length).is_some_and(<[u8]>::is_ascii);
    Plain { length: before + length, is_ascii }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies with every kernel that this processor has: (its name, whether it found the bytes plain).
    fn kernels(bytes: &[u8]) -> Vec<(&'static str, bool)> {
        let mut found = Vec::new();
        let mut run = |name, kernel: unsafe fn(&[u8], *mut u8) -> bool| {
            let mut out = vec![0xee; bytes.len() + SLACK];
            // SAFETY: the room is there; the callers below look for the feature and the length.
            let plain = unsafe { kernel(bytes, out.as_mut_ptr()) };
            assert!(!plain || &out[..bytes.len()] == bytes, "{name} copies");
            found.push((name, plain));
        };
        run("scalar", scalar);
        run("chosen", copy_plain);
        run("chosen for more", copy_long);
        if (8..=16).contains(&bytes.len()) {
            run("two words", two_words);
            run("halves", halves);
        }
        #[cfg(target_arch = "x86_64")]
        {
            if bytes.len() >= 16 {
                run("sse2", x86::sse2);
            }
            if bytes.len() >= 32 && is_x86_feature_detected!("avx2") {
                run("avx2", x86::avx2);
            }
            if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
                run("avx512", x86::avx512);
            }
        }
        found
    }

    #[test]
    fn every_kernel_finds_each_special_byte_at_each_place() {
        for length in 0..200 {
            let mut bytes: Vec<u8> = (0..length).map(|n| b'a' + n % 26).collect();
            assert!(kernels(&bytes).iter().all(|(_, plain)| *plain), "length {length}");
            for at in 0..bytes.len() {
                let before = bytes[at];
                for byte in [0, 0x1f, b'"', b'\\', 0x20, 0x21, 0x5d, 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                    bytes[at] = byte;
                    let plain = byte >= 0x20 && byte != b'"' && byte != b'\\';
                    for (kernel, found) in kernels(&bytes) {
                        assert_eq!(found, plain, "{kernel}: {byte} at {at} of {length}");
                    }
                }
                bytes[at] = before;
            }
        }
    }

    #[test]
    fn every_scan_stops_at_the_first_special_byte() {
        for length in 0..140 {
            let plain: Vec<u8> = (0..length).map(|n| b'a' + n % 26).collect();
            let whole = Plain { length: plain.len(), is_ascii: true };
            assert_eq!((plain_prefix(&plain), prefix_scalar(&plain, 0, true)), (whole, whole));
            for at in 0..plain.len() {
                let mut bytes = plain.clone();
                for byte in [0, 0x1f, b'"', b'\\', 0x20, 0x21, 0x5d, 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                    bytes[at] = byte;
                    // What stands behind the first special byte is not looked at.
                    for (behind, other) in [(at + 1, 0x80), (at + 70, b'"')] {
                        let mut bytes = bytes.clone();
                        if let Some(place) = bytes.get_mut(behind) {
                            *place = other;
                        }
                        let special = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
                        let length = bytes.iter().position(special).unwrap_or(bytes.len());
                        let expected = Plain { length, is_ascii: bytes[..length].is_ascii() };
                        assert_eq!(plain_prefix(&bytes), expected, "{byte} at {at}");
                        assert_eq!(prefix_scalar(&bytes, 0, true), expected, "scalar: {byte} at {at}");
                        #[cfg(target_arch = "x86_64")]
                        assert_eq!(with_sse2(&bytes), expected, "sse2: {byte} at {at}");
                    }
                }
            }
        }
    }

    /// Byte by byte.
    fn length_of_container(bytes: &[u8]) -> Option<usize> {
        let (mut depth, mut inside) = (0_usize, false);
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\\' => return None,
                b'"' => inside = !inside,
                b'{' | b'[' if !inside => depth += 1,
                b'}' | b']' if !inside => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(at + 1);
            }
        }
        None
    }

    #[test]
    fn the_end_of_a_container_is_found_across_blocks() {
        let mut seed = 11_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let pieces =
            ["{", "}", "[", "]", "\"", "\"x}\"", "12345", "\"long text [{ in a string, long text\"", ":", ",", "{}"];
        let mut found = 0;
        for _ in 0..20_000 {
            let mut text = String::from(if random(2) == 0 { "{" } else { "[" });
            for _ in 0..random(40) {
                text.push_str(pieces[usize::try_from(random(pieces.len() as u64)).unwrap()]);
            }
            let expected = length_of_container(text.as_bytes());
            if let Some(length) = container_length(text.as_bytes()) {
                assert_eq!(Some(length), expected, "{text}");
                found += 1;
            } else if is_x86_feature_detected!("avx512bw") {
                assert_eq!(expected, None, "{text}");
            }
            text.push_str(r#""\\""#);
            assert!(container_length(text.as_bytes()).is_none_or(|length| Some(length) == expected), "{text}");
        }
        assert!(found > 1000 || !is_x86_feature_detected!("avx512bw"));
    }

    #[test]
    fn appends_a_whole_string_or_nothing() {
        let mut out = b"[".to_vec();
        assert!(push_plain(&mut out, "Zürich".as_bytes()));
        assert!(!push_plain(&mut out, b"a \" quote"));
        assert!(push_plain(&mut out, b""));
        assert!(push_plain_name(&mut out, b"name"));
        assert!(!push_plain_name(&mut out, b"back\\slash"));
        assert_eq!(out, "[\"Zürich\"\"\"\"name\":".as_bytes());
    }
}
