//! Writing JSON text.

use swisper_simd::{append_plain, push_plain, push_plain_name};

/// How much text is written at once: an escape in a long one costs only its own piece.
const PIECE: usize = 1024;

/// Appends `text` as a JSON string, with its quotes; only what must be escaped is.
#[inline]
pub fn string(out: &mut Vec<u8>, text: &str) {
    if text.len() > PIECE || !push_plain(out, text.as_bytes()) {
        in_pieces(out, text);
    }
}

/// Appends the name of a member, with the colon behind it.
#[inline]
pub fn name(out: &mut Vec<u8>, text: &str) {
    if text.len() > PIECE || !push_plain_name(out, text.as_bytes()) {
        in_pieces(out, text);
        out.push(b':');
    }
}

fn in_pieces(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    for piece in bytes.chunks(PIECE) {
        escaped(out, piece);
    }
    out.push(b'"');
}

/// Appends a piece without quotes, as it is if nothing in it must be escaped.
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if append_plain(out, bytes) {
        return;
    }
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, from_special) = rest.split_at(at);
        out.extend_from_slice(plain);
        if let Some((&byte, behind)) = from_special.split_first() {
            escape(out, byte);
            rest = behind;
        }
    }
    out.extend_from_slice(rest);
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend([byte >> 4, byte & 15].iter().filter_map(|&n| HEX.get(usize::from(n))));
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends an integer.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a finite float so that it reads back as the same float, never as an integer.
pub fn float(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_agree_with_serde_json_at_every_place() {
        for special in ["\"", "\\", "\n", "\u{0}", "\u{1f}", "\u{8}", "\u{c}", "\u{7f}", "é", "\u{2028}"] {
            for before in (0..300).chain(1000..1040) {
                let text = format!("{}{special}tail", "a".repeat(before));
                assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }

    #[test]
    fn floats_keep_their_type_and_value() {
        for value in [0.0, -0.0, 1.0, 1e16, 1e300, 5e-324, 0.1, f64::MAX] {
            let mut out = Vec::new();
            float(&mut out, value);
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains(['.', 'e']), "{text}");
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }
}
