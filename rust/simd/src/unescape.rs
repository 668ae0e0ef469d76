//! Reading a JSON string that has escapes.

use crate::scan::plain_prefix;
#[cfg(target_arch = "x86_64")]
use crate::{
    level::{Level, level},
    x86_unescape,
};

/// Appends what a string says, given from behind its opening quote, and tells up to where: its closing quote, an escape
/// with a number, whatever JSON does not have, or the end of `src`.
pub fn push_unescaped(out: &mut Vec<u8>, src: &[u8]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Vbmi2 {
        // SAFETY: the level tells what the processor has.
        return unsafe { x86_unescape::push_vbmi2(out, src) };
    }
    push_scalar(out, src)
}

/// What the letter of an escape stands for; 0 if it does not by itself.
pub static MEANING: [u8; 128] = meanings();

#[allow(clippy::indexing_slicing)] // What could panic would do so at compile time.
const fn meanings() -> [u8; 128] {
    let pairs = *b"\"\"\\\\//n\nr\rt\tb\x08f\x0c";
    let (mut table, mut at) = ([0; 128], 0);
    while at < pairs.len() {
        table[pairs[at] as usize] = pairs[at + 1];
        at += 2;
    }
    table
}

fn push_scalar(out: &mut Vec<u8>, src: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = src.get(at..).unwrap_or_default();
        let (plain, special) = rest.split_at_checked(plain_prefix(rest).length).unwrap_or_default();
        out.extend_from_slice(plain);
        at += plain.len();
        let [b'\\', letter, ..] = special else { return at };
        match MEANING.get(usize::from(*letter)) {
            None | Some(0) => return at,
            Some(meaning) => out.push(*meaning),
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(src: &[u8]) {
        let (mut expected, mut found) = (b"before".to_vec(), b"before".to_vec());
        let lengths = (push_scalar(&mut expected, src), push_unescaped(&mut found, src));
        assert_eq!((lengths.1, found), (lengths.0, expected), "{:?}", String::from_utf8_lossy(src));
    }

    #[test]
    fn escapes_are_read_up_to_what_has_another_meaning() {
        let mut out = Vec::new();
        assert_eq!(push_unescaped(&mut out, br#"a\n\"\\\/\r\t\b\f"rest"#), 17);
        assert_eq!(out, b"a\n\"\\/\r\t\x08\x0c");
        for (src, length) in [("", 0), ("ab", 2), ("a\\", 1), ("a\\u0041", 1), ("a\\x", 1), ("a\nb", 1), ("a\\\"", 3)] {
            assert_eq!(push_unescaped(&mut Vec::new(), src.as_bytes()), length, "{src}");
        }
    }

    #[test]
    fn the_kernel_reads_as_the_scalar_twin_does() {
        let mut seed = 7_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below
        };
        let pieces: [&[u8]; 14] = [
            b"\\n",
            b"\\\"",
            b"\\\\",
            b"\\/",
            b"\\b",
            b"\\f",
            b"\\r",
            b"\\t",
            b"a",
            b"word and word",
            "é€".as_bytes(),
            b"\x7f",
            b" ",
            b"\\\\\\\\\\\\",
        ];
        let ends: [&[u8]; 9] = [b"\"", b"\\u0000", b"\\", b"\\x", b"\x1f", b"\\\x1f", "\\é".as_bytes(), b"", b"\"\\n"];
        for round in 0..20_000 {
            let mut src: Vec<u8> = (0..random(90)).flat_map(|_| pieces[random(pieces.len())].to_vec()).collect();
            src.extend_from_slice(ends[round % ends.len()]);
            if round % 2 == 0 {
                src.extend((0..random(130)).flat_map(|_| pieces[random(pieces.len())].to_vec()));
            }
            check(&src);
        }
    }

    #[test]
    fn every_letter_behind_a_backslash_at_every_place() {
        for at in 0..140 {
            for letter in 0..=255 {
                let mut src = vec![b'x'; at];
                src.extend_from_slice(&[b'\\', letter]);
                src.extend_from_slice(b"tail\"");
                check(&src);
                check(&src[..=at]);
                check(&src[..at + 2]);
            }
        }
    }
}
