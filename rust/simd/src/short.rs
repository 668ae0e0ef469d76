//! Short strings of a JSON text, read in one step.

#[cfg(target_arch = "x86_64")]
use crate::x86_short;

/// What `short_string` looks at.
pub const BLOCK: usize = 16;

/// At most 16 characters with zeros behind them, as two words of little-endian bytes: an array would lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Characters {
    pub first: u64,
    pub last: u64,
}

/// The characters of a string that ends in these bytes, which begin behind its opening quote; and how many they are. None if it is longer, or if there is something else in it than plain ASCII.
#[must_use]
#[inline]
pub fn short_string(bytes: &[u8; BLOCK]) -> Option<(Characters, usize)> {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE2.
    return unsafe { x86_short::short_string(bytes) };
    #[cfg(not(target_arch = "x86_64"))]
    scalar(bytes)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn scalar(bytes: &[u8; BLOCK]) -> Option<(Characters, usize)> {
    let length = bytes.iter().position(|&byte| byte == b'"')?;
    let content = bytes.get(..length)?;
    let is_plain = content.iter().all(|&byte| byte.is_ascii() && byte >= 0x20 && byte != b'\\');
    is_plain.then(|| (padded(content), length))
}

/// The first 16 characters of a text.
#[must_use]
#[inline]
pub fn padded(content: &[u8]) -> Characters {
    let word = |bytes: &[u8]| bytes.iter().take(8).rev().fold(0, |all, &byte| all << 8 | u64::from(byte));
    match content.split_first_chunk() {
        Some((first, rest)) => Characters { first: u64::from_le_bytes(*first), last: word(rest) },
        None => Characters { first: word(content), last: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_string_is_read_as_far_as_its_quote() {
        assert_eq!(short_string(b"role\":\"user\",\"co"), Some((padded(b"role"), 4)));
        assert_eq!(short_string(b"\"0123456789abcde"), Some((padded(b""), 0)));
        assert_eq!(short_string(b"0123456789abcde\""), Some((padded(b"0123456789abcde"), 15)));
        assert_eq!(short_string(b"0123456789abcdef"), None);
    }

    #[test]
    fn every_byte_at_every_place_is_seen_as_by_the_scalar() {
        for length in 0..=BLOCK {
            for at in 0..BLOCK {
                for byte in 0..=255 {
                    let mut bytes = *b"abcdefghijklmnop";
                    bytes[at] = byte;
                    if let Some(quote) = bytes.get_mut(length) {
                        *quote = b'"';
                    }
                    assert_eq!(short_string(&bytes), scalar(&bytes), "{bytes:?}");
                }
            }
        }
    }
}
