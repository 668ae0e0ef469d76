//! Writing JSON text.

use swisper_simd::{Sink, push_string};

/// Appends `text` as a JSON string, with its quotes; only what must be escaped is.
#[inline]
pub fn string(out: &mut impl Sink, text: &str) {
    push_string(out, text.as_bytes(), None);
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
}
