//! Writing JSON text.

/// Appends `text` as a JSON string, with its quotes; only what must be escaped is.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_special(rest) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        if let Some((&byte, tail)) = special.split_first() {
            escape(out, byte);
            rest = tail;
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Where the first byte stands that must be escaped. Whole blocks first: the compiler turns them into vector code.
fn first_special(bytes: &[u8]) -> Option<usize> {
    let (blocks, tail) = bytes.as_chunks::<32>();
    for (n, block) in blocks.iter().enumerate() {
        if block.iter().fold(false, |any, &b| any | is_special(b)) {
            return block.iter().position(|&b| is_special(b)).map(|at| n * 32 + at);
        }
    }
    let (words, last) = tail.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        if word.iter().fold(false, |any, &b| any | is_special(b)) {
            return word.iter().position(|&b| is_special(b)).map(|at| blocks.len() * 32 + n * 8 + at);
        }
    }
    last.iter().position(|&b| is_special(b)).map(|at| bytes.len() - last.len() + at)
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
            for before in 0..70 {
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
