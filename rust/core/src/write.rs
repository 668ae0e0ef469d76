//! Writing JSON text.

use swisper_simd::{Sink, push_string};

/// Appends `text` as a JSON string, with its quotes; only what must be escaped is.
#[inline]
pub fn string(out: &mut impl Sink, text: &str) {
    push_string(out, text.as_bytes(), None);
}

/// Appends a finite float so that it reads back as the same float, never as an integer.
#[inline]
pub fn float(out: &mut impl Sink, value: f64) {
    out.append_short(zmij::Buffer::new().format_finite(value).as_bytes());
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
