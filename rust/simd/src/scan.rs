//! Looking for what ends a string, or a container.

#[cfg(target_arch = "x86_64")]
use crate::level::{Level, level};
#[cfg(target_arch = "x86_64")]
use crate::x86;

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
        if level() >= Level::Avx512 {
            // SAFETY: the level tells what the processor has.
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
    let (plain, is_found) = unsafe { x86::plain_blocks(bytes) };
    if is_found {
        return plain;
    }
    prefix_scalar(bytes.get(plain.length..).unwrap_or_default(), plain.length, plain.is_ascii)
}

/// How long the JSON container is that starts with the first byte. None if its end is not found, if a backslash stands
/// there outside of strings, or where this processor has no kernel for it: then a walk byte by byte must tell.
#[must_use]
#[inline]
pub fn container_length(bytes: &[u8]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx512 {
        // SAFETY: the level tells what the processor has.
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
        let (mut depth, mut inside, mut escaped) = (0_usize, false, false);
        for (at, byte) in bytes.iter().enumerate() {
            if std::mem::take(&mut escaped) {
                continue;
            }
            match byte {
                b'\\' if !inside => return None,
                b'\\' => escaped = true,
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
            ["{", "}", "[", "]", "\"", "\"x}\"", "12345", ":", ",", "{}", r#""\"]""#, r#""\\""#, r#""a\u0041b""#];
        let long = ["\"long text [{ in a string, long text\"", r#""\\\\\"{}\\""#];
        let pieces = [pieces.as_slice(), &long].concat();
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
            text.push('\\');
            assert!(container_length(text.as_bytes()).is_none_or(|length| Some(length) == expected), "{text}");
        }
        assert!(found > 1000 || !is_x86_feature_detected!("avx512bw"));
    }
}
