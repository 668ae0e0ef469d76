//! UTF-8 to Latin-1, the form in which Python keeps most texts that are not ASCII.

use crate::level::{Level, level};
#[cfg(target_arch = "x86_64")]
use crate::x86_wide;

/// Puts the characters of UTF-8 text into the place of `out`, one byte for each. False if the text is not all Latin-1, or
/// where this processor has no kernel for it: then another way must tell.
#[must_use]
pub fn latin1_of_utf8(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    out.clear();
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Vbmi2 {
        out.reserve(bytes.len() + 64);
        // SAFETY: the level tells what the processor has; the room is there, and what was written is counted.
        unsafe {
            let Some(count) = x86_wide::latin1_of_utf8(bytes, out.as_mut_ptr()) else { return false };
            out.set_len(count);
        }
        return true;
    }
    let _ = (bytes, level() >= Level::Vbmi2);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) {
        let expected = std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<_>>>());
        let mut out = vec![1, 2, 3];
        let is_latin1 = latin1_of_utf8(&mut out, bytes);
        if is_latin1 {
            assert_eq!(Some(out), expected, "{bytes:?}");
        } else if level() >= Level::Vbmi2 {
            assert_eq!(expected, None, "{bytes:?}");
        }
    }

    #[test]
    fn only_latin1_is_read() {
        let bytes = [b'a', b'z', 0xc2, 0xc3, 0x80, 0xbf, 0x9f, 0xc0, 0xc1, 0xc4, 0xe2, 0xff, 0x7f, 0];
        let mut seed = 9_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below
        };
        for _ in 0..100_000 {
            let kinds = 2 + random(bytes.len() - 1);
            let text: Vec<u8> = (0..random(6)).map(|_| bytes[random(kinds)]).collect();
            for before in [0, 1, 60, 61, 62, 63, 64, 126, 127] {
                check(&[&vec![b'x'; before], text.as_slice(), b"end"].concat());
                check(&[&vec![b'x'; before], text.as_slice()].concat());
            }
        }
        for length in 0..200 {
            check("äÿ\u{80}é".repeat(length).as_bytes());
            check(format!("{}x{}", "a".repeat(length), "ü".repeat(200 - length)).as_bytes());
        }
    }
}
