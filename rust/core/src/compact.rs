//! Checking JSON text that comes from elsewhere, and taking the white space between its tokens out of it.

use std::borrow::Cow;

use swisper_simd::plain_prefix;

use crate::error::{Error, Kind, Result};
use crate::json::{MAX_DEPTH, skip_string, slice};
use crate::text;

/// The same text without white space between its tokens; an error at the first byte that is not JSON (RFC 8259).
pub fn compact(src: &[u8]) -> Result<Cow<'_, [u8]>> {
    within(src, MAX_DEPTH)
}

/// The same of text that may be nested so deep.
pub fn within(src: &[u8], deepest: usize) -> Result<Cow<'_, [u8]>> {
    let mut scan = Scan { src, at: 0, deepest, kept: None, from: 0 };
    scan.space();
    scan.value(0)?;
    scan.space();
    if scan.at < src.len() {
        return Err(scan.fail(Kind::TrailingBytes));
    }
    let Some(mut kept) = scan.kept else { return Ok(Cow::Borrowed(src)) };
    kept.extend_from_slice(src.get(scan.from..).unwrap_or_default());
    Ok(Cow::Owned(kept))
}

/// How many containers a value has inside one another; a scalar has none.
#[must_use]
pub fn depth(src: &[u8]) -> usize {
    let (mut depth, mut deepest, mut at) = (0_usize, 0, 0);
    while let Some(byte) = src.get(at) {
        match byte {
            b'"' => {
                at = skip_string(src, at).unwrap_or(src.len());
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    deepest
}

struct Scan<'a> {
    src: &'a [u8],
    at: usize,
    deepest: usize,
    /// What was kept so far, once there was white space, and from where on nothing was.
    kept: Option<Vec<u8>>,
    from: usize,
}

impl Scan<'_> {
    fn fail(&self, kind: Kind) -> Error {
        Error::codec(if self.at < self.src.len() { kind } else { Kind::UnexpectedEnd }, self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.src.get(self.at).copied()
    }

    fn space(&mut self) {
        let start = self.at;
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        if start < self.at {
            let before = self.src.get(self.from..start).unwrap_or_default();
            self.kept.get_or_insert_with(|| Vec::with_capacity(self.src.len())).extend_from_slice(before);
            self.from = self.at;
        }
    }

    fn value(&mut self, depth: usize) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.container(depth + 1, b'}'),
            Some(b'[') => self.container(depth + 1, b']'),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn container(&mut self, depth: usize, close: u8) -> Result<()> {
        if depth > self.deepest {
            return Err(Error::codec(Kind::TooDeep, self.at));
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            if close == b'}' {
                self.string()?;
                self.space();
                self.expect(b':')?;
            }
            self.value(depth)?;
            self.space();
            if self.peek() == Some(close) {
                self.at += 1;
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(self.fail(Kind::ExpectedValue));
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<()> {
        if !self.src.get(self.at..).unwrap_or_default().starts_with(word) {
            return Err(self.fail(Kind::ExpectedValue));
        }
        self.at += word.len();
        Ok(())
    }

    fn string(&mut self) -> Result<()> {
        if self.peek() != Some(b'"') {
            return Err(self.fail(Kind::ExpectedString));
        }
        let rest = self.src.get(self.at + 1..).unwrap_or_default();
        let plain = plain_prefix(rest);
        let is_plain = plain.is_ascii && rest.get(plain.length) == Some(&b'"');
        let end = if is_plain { self.at + plain.length + 2 } else { skip_string(self.src, self.at)? };
        let raw = slice(self.src, self.at..end)?;
        if !is_plain && (raw.iter().any(|&byte| byte < 0x20) || text::unescape(raw).is_err()) {
            return Err(self.fail(Kind::InvalidString));
        }
        self.at = end;
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let rest = self.src.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn number(&mut self) -> Result<()> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let leads_with_zero = self.peek() == Some(b'0');
        let digits = self.digits();
        if digits == 0 {
            let kind = if start < self.at { Kind::InvalidNumber } else { Kind::ExpectedValue };
            return Err(self.fail(kind));
        }
        let mut is_valid = !(leads_with_zero && digits > 1);
        if self.peek() == Some(b'.') {
            self.at += 1;
            is_valid &= self.digits() > 0;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            is_valid &= self.digits() > 0;
        }
        if is_valid { Ok(()) } else { Err(Error::codec(Kind::InvalidNumber, start)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_nothing_else() {
        for (text, expected) in [
            ("{}", "{}"),
            (" [ 1 , 2.5e-3 ]\n", "[1,2.5e-3]"),
            ("{ \"a b\" :\t{ \"c\\n \" : [ ] } , \"d\": null }", r#"{"a b":{"c\n ":[]},"d":null}"#),
            ("\"\u{e9} \\u00e9\"", "\"\u{e9} \\u00e9\""),
            ("-0", "-0"),
        ] {
            assert_eq!(compact(text.as_bytes()).unwrap(), expected.as_bytes());
        }
        assert!(matches!(compact(br#"{"a":[1,"x y"]}"#), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "01",
            "-",
            "1.",
            "1e",
            ".5",
            "+1",
            "nul",
            "tru",
            "\"",
            "\"\\x\"",
            "\"\u{1}\"",
            "\"\\ud800\"",
            "[1] 2",
            "[1 2]",
            "NaN",
            "\u{feff}1",
            "]",
        ] {
            assert!(compact(text.as_bytes()).is_err(), "{text}");
            // What serde_json takes differs in lone surrogates alone, which it takes in no string either.
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
        }
        assert!(compact(b"\"\xff\"").is_err());
    }

    #[test]
    fn depth_is_counted_and_bounded() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(compact(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(compact(&nested(MAX_DEPTH + 1)), Err(Error::codec(Kind::TooDeep, MAX_DEPTH)));
        assert_eq!((depth(&nested(7)), depth(b"1"), depth(br#"[{"[[":[]},[]]"#)), (7, 0, 3));
    }
}
