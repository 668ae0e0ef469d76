//! Walking over compact JSON text without building a tree.
//!
//! The text is what the encoder of this project wrote: no white space, no needless escapes. Anything else is
//! answered with an error, never with a panic, but is not searched for every fault: a decoder does that.

use std::ops::Range;

use memchr::memchr2;

use crate::error::{Error, Kind, Result};

/// How deep the containers of one value may be nested; patches and lists around it are not counted.
pub const MAX_DEPTH: usize = 128;

/// Whether the containers of a text are nested no deeper than this.
#[must_use]
pub fn is_within(src: &[u8], depth: usize) -> bool {
    // Each container has two bytes, and not every bracket is one.
    src.len() < 2 * (depth + 1)
        || src.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() <= depth
        || deepest(src) <= depth
}

fn deepest(src: &[u8]) -> usize {
    let (mut open, mut most, mut at) = (0_usize, 0, 0);
    while let Some(byte) = src.get(at) {
        match byte {
            b'"' => match skip_string(src, at) {
                Ok(end) => {
                    at = end;
                    continue;
                }
                Err(_) => return usize::MAX,
            },
            b'{' | b'[' => {
                open += 1;
                most = most.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    most
}

/// Part of a text, which must have it.
pub fn slice(src: &[u8], range: Range<usize>) -> Result<&[u8]> {
    let end = range.end;
    src.get(range).ok_or(Error::codec(Kind::UnexpectedEnd, end))
}

fn byte(src: &[u8], at: usize) -> Result<u8> {
    src.get(at).copied().ok_or(Error::codec(Kind::UnexpectedEnd, at))
}

/// The index behind the value that starts at `at`.
pub fn skip_value(src: &[u8], at: usize) -> Result<usize> {
    match byte(src, at)? {
        b'"' => skip_string(src, at),
        b'{' | b'[' => skip_container(src, at),
        b't' | b'n' => Ok(at + 4),
        b'f' => Ok(at + 5),
        b'-' | b'0'..=b'9' => Ok(skip_number(src, at)),
        _ => Err(Error::codec(Kind::ExpectedValue, at)),
    }
    .and_then(|end| if end <= src.len() { Ok(end) } else { Err(Error::codec(Kind::UnexpectedEnd, src.len())) })
}

fn skip_number(src: &[u8], at: usize) -> usize {
    let rest = src.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count()
}

/// The index behind the string whose opening quote is at `at`.
pub fn skip_string(src: &[u8], at: usize) -> Result<usize> {
    if byte(src, at)? != b'"' {
        return Err(Error::codec(Kind::ExpectedString, at));
    }
    let mut from = at + 1;
    loop {
        let rest = src.get(from..).unwrap_or_default();
        let found = from + quote_or_backslash(rest).ok_or(Error::codec(Kind::UnexpectedEnd, src.len()))?;
        if byte(src, found)? == b'"' {
            return Ok(found + 1);
        }
        from = found + 2;
    }
}

/// Where the first of them is. Most keys end within a word, where a search costs more than what it finds.
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    if let Some(word) = bytes.first_chunk() {
        let word = u64::from_le_bytes(*word);
        // The lowest bit that stands at the top of a byte is that of the first byte that is zero.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(found.trailing_zeros() as usize / 8);
        }
    }
    memchr2(b'"', b'\\', bytes)
}

fn skip_container(src: &[u8], mut at: usize) -> Result<usize> {
    if let Some(length) = swisper_simd::container_length(src.get(at..).unwrap_or_default()) {
        return Ok(at + length);
    }
    let mut depth = 0_usize;
    loop {
        match byte(src, at)? {
            b'"' => at = skip_string(src, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Ok(at);
                }
            }
            _ => at += 1,
        }
    }
}

#[derive(Debug)]
/// Iterates over the members of an object: (raw key with its quotes, value), both as ranges.
pub struct Members<'a> {
    src: &'a [u8],
    at: usize,
}

#[derive(Debug)]
/// Iterates over the elements of an array, as ranges.
pub struct Elements<'a> {
    src: &'a [u8],
    at: usize,
}

/// The members of the object that starts at `at`.
pub fn members(src: &[u8], at: usize) -> Result<Members<'_>> {
    if src.get(at) == Some(&b'{') {
        Ok(Members { src, at: at + 1 })
    } else {
        Err(Error::codec(Kind::ExpectedObject, at))
    }
}

/// Where the next key starts, from the place behind the brace or behind a value; None at the end of the object.
pub fn next_key(src: &[u8], at: usize) -> Result<Option<usize>> {
    Ok(match byte(src, at)? {
        b'}' => None,
        b',' => Some(at + 1),
        _ => Some(at),
    })
}

/// The index behind the key that starts at `at` and its colon.
pub fn skip_key(src: &[u8], at: usize) -> Result<usize> {
    let end = skip_string(src, at)?;
    if byte(src, end)? == b':' { Ok(end + 1) } else { Err(Error::codec(Kind::ExpectedObject, end)) }
}

/// The elements of the array that starts at `at`.
pub fn elements(src: &[u8], at: usize) -> Result<Elements<'_>> {
    if src.get(at) == Some(&b'[') {
        Ok(Elements { src, at: at + 1 })
    } else {
        Err(Error::codec(Kind::ExpectedArray, at))
    }
}

impl Members<'_> {
    /// The index behind the object, once all its members were given.
    #[must_use]
    pub fn end(&self) -> usize {
        self.at + 1
    }

    fn step(&mut self) -> Result<Option<(Range<usize>, Range<usize>)>> {
        let Some(start) = next_key(self.src, self.at)? else { return Ok(None) };
        let key = start..skip_key(self.src, start)? - 1;
        let value = key.end + 1..skip_value(self.src, key.end + 1)?;
        self.at = value.end;
        Ok(Some((key, value)))
    }
}

impl Iterator for Members<'_> {
    type Item = Result<(Range<usize>, Range<usize>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.step();
        if found.is_err() {
            // An error ends the walk: whoever counts or skips elements must not be given it again and again.
            *self = Self { src: b"}", at: 0 };
        }
        found.transpose()
    }
}

impl Elements<'_> {
    fn step(&mut self) -> Result<Option<Range<usize>>> {
        match byte(self.src, self.at)? {
            b']' => return Ok(None),
            b',' => self.at += 1,
            _ => {}
        }
        let value = self.at..skip_value(self.src, self.at)?;
        self.at = value.end;
        Ok(Some(value))
    }
}

impl Iterator for Elements<'_> {
    type Item = Result<Range<usize>>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.step();
        if found.is_err() {
            // An error ends the walk: whoever counts or skips elements must not be given it again and again.
            *self = Self { src: b"]", at: 0 };
        }
        found.transpose()
    }
}

/// The value of one member of the object `src`; keys are compared as they are written.
pub fn member<'a>(src: &'a [u8], raw_key: &[u8]) -> Result<Option<&'a [u8]>> {
    for found in members(src, 0)? {
        let (key, value) = found?;
        if slice(src, key)? == raw_key {
            return slice(src, value).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_members_and_elements() {
        let src = br#"{"a":[1,"]",{"b":null}],"c\"":-1.5e3}"#;
        let found: Vec<_> = members(src, 0).unwrap().map(Result::unwrap).collect();
        assert_eq!(&src[found[0].1.clone()], br#"[1,"]",{"b":null}]"#);
        assert_eq!(&src[found[1].0.clone()], br#""c\"""#);
        assert_eq!(&src[found[1].1.clone()], b"-1.5e3");
        let items: Vec<_> = elements(src, 5).unwrap().map(Result::unwrap).collect();
        assert_eq!(items.len(), 3);
        assert_eq!(member(src, b"\"a\"").unwrap().unwrap().len(), 18);
        assert_eq!(member(src, b"\"x\"").unwrap(), None);
    }

    #[test]
    fn the_end_of_a_string_is_found_wherever_it_is() {
        for length in 0..40 {
            for byte in [0, b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                let text = [b"\"".as_slice(), &vec![byte; length], b"\"\\\"\""].concat();
                assert_eq!(skip_string(&text, 0), Ok(length + 2));
                let escaped = [b"\"".as_slice(), &vec![byte; length], b"\\\"x\"\""].concat();
                assert_eq!(skip_string(&escaped, 0), Ok(length + 5));
                assert!(skip_string(&text[..=length], 0).is_err());
            }
        }
    }

    #[test]
    fn depth_is_measured() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        for depth in 1..140 {
            assert!(is_within(&nested(depth), depth));
            assert!(!is_within(&nested(depth), depth - 1));
        }
        let text = format!("[\"{}\",{}]", "[{\\\"".repeat(200), "{},".repeat(200) + "[[1]]");
        assert!(is_within(text.as_bytes(), 3));
        assert!(!is_within(text.as_bytes(), 2));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let src = br#"{"a":[1,"x",{"b":null}],"c":true}"#;
        for end in 0..src.len() {
            assert!(skip_value(&src[..end], 0).is_err(), "cut at {end}");
        }
        assert_eq!(skip_value(src, 0), Ok(src.len()));
    }

    #[test]
    fn an_error_ends_a_walk() {
        assert_eq!(elements(b"[1,~]", 0).unwrap().count(), 2);
        assert_eq!(elements(b"[1,~]", 0).unwrap().nth(usize::MAX), None);
        assert_eq!(members(br#"{"a":~}"#, 0).unwrap().count(), 1);
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        assert_eq!(skip_value(&deep, 0), Ok(200_000));
        assert!(skip_value(&deep[..150_000], 0).is_err());
    }
}
