//! Reading JSON strings.

use std::borrow::Cow;

use crate::error::{Error, Kind, Result};

const BAD: Error = Error::Codec { kind: Kind::InvalidString, index: 0 };

/// The content of a JSON string (given with its quotes).
pub fn unescape(raw: &[u8]) -> Result<Cow<'_, str>> {
    let inner = raw.strip_prefix(b"\"").and_then(|r| r.strip_suffix(b"\"")).ok_or(BAD)?;
    unescape_inner(inner)
}

/// The same of a string that is given without its quotes.
pub fn unescape_inner(inner: &[u8]) -> Result<Cow<'_, str>> {
    let inner = std::str::from_utf8(inner).map_err(|_| BAD)?;
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        rest = push_escape(&mut out, escape)?;
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// Appends what the escape (without its backslash) stands for; gives what follows it.
fn push_escape<'a>(out: &mut String, escape: &'a str) -> Result<&'a str> {
    let mut chars = escape.chars();
    out.push(match chars.next().ok_or(BAD)? {
        c @ ('"' | '\\' | '/') => c,
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => return push_unicode(out, chars.as_str()),
        _ => return Err(BAD),
    });
    Ok(chars.as_str())
}

fn push_unicode<'a>(out: &mut String, digits: &'a str) -> Result<&'a str> {
    let (high, rest) = unit(digits)?;
    if let Some(c) = char::from_u32(high) {
        out.push(c);
        return Ok(rest);
    }
    let (low, rest) = unit(rest.strip_prefix("\\u").ok_or(BAD)?)?;
    let paired = (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low);
    let code = if paired { 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00) } else { u32::MAX };
    out.push(char::from_u32(code).ok_or(BAD)?);
    Ok(rest)
}

/// Four hexadecimal digits, and what follows them.
fn unit(text: &str) -> Result<(u32, &str)> {
    let digits = text.get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit())).ok_or(BAD)?;
    let value = u32::from_str_radix(digits, 16).map_err(|_| BAD)?;
    Ok((value, text.get(4..).unwrap_or_default()))
}

/// Appends the character of an escape by number, which is given from behind its `\\u`; gives the length of what stood
/// there, or says what is wrong.
pub fn push_numbered(out: &mut Vec<u8>, digits: &[u8]) -> std::result::Result<usize, &'static str> {
    const LONE: &str = "a lone surrogate";
    let high = hexadecimal(digits)?;
    let (code, length) = match high {
        0xd800..0xdc00 => match digits.get(4..) {
            Some([b'\\', b'u', digits @ ..]) => match hexadecimal(digits)? {
                low @ 0xdc00..0xe000 => (0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), 10),
                _ => return Err(LONE),
            },
            _ => return Err(LONE),
        },
        _ => (high, 4),
    };
    let character = char::from_u32(code).ok_or(LONE)?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(length)
}

fn hexadecimal(digits: &[u8]) -> std::result::Result<u32, &'static str> {
    let digits = digits.first_chunk::<4>().ok_or("unexpected end")?;
    digits.iter().try_fold(0, |code, &digit| {
        let value = char::from(digit).to_digit(16).ok_or("an escape that is no number of four digits")?;
        Ok(code << 4 | value)
    })
}

/// Whether a JSON string (given with its quotes) says `text`.
pub fn equals(raw: &[u8], text: &str) -> Result<bool> {
    if raw.contains(&b'\\') {
        return Ok(unescape(raw)? == text);
    }
    Ok(raw.len() == text.len() + 2 && raw.get(1..=text.len()) == Some(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescapes() {
        assert_eq!(unescape(br#""a\n\u00e9\ud83d\ude00\/\"""#).unwrap(), "a\né😀/\"");
        for bad in [r#""\ud83d""#, r#""\ude00x""#, r#""\u12""#, r#""\x""#, r#""\u+123""#, "\"", "x"] {
            assert!(unescape(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn equality_ignores_how_it_is_escaped() {
        assert!(equals(br#""\u0061b""#, "ab").unwrap());
        assert!(equals(b"\"ab\"", "ab").unwrap());
        assert!(!equals(b"\"abc\"", "ab").unwrap());
    }
}
