//! JSON Pointer (RFC 6901).

use std::borrow::Cow;

use crate::error::Result;
use crate::text;

/// The tokens of a pointer, unescaped; None if it is malformed.
#[must_use]
pub fn tokens(pointer: &str) -> Option<Vec<Cow<'_, str>>> {
    each(pointer)?.collect()
}

/// The tokens one by one, each None if it is malformed; None if the pointer has no slash before its first token.
pub fn each(pointer: &str) -> Option<impl Iterator<Item = Option<Cow<'_, str>>>> {
    let tokens = if pointer.is_empty() { None } else { Some(pointer.strip_prefix('/')?.split('/')) };
    Some(tokens.into_iter().flatten().map(unescape))
}

/// A pointer without its last token, and that token, None if it is malformed; None of the whole document.
#[must_use]
pub fn parent(pointer: &str) -> Option<(&str, Option<Cow<'_, str>>)> {
    let (parents, last) = pointer.rsplit_once('/')?;
    Some((parents, unescape(last)))
}

/// A pointer from its JSON text without quotes.
pub fn from_json(raw: &[u8]) -> Result<Cow<'_, str>> {
    text::unescape_inner(raw)
}

fn unescape(token: &str) -> Option<Cow<'_, str>> {
    if !token.contains('~') {
        return Some(Cow::Borrowed(token));
    }
    let mut out = String::with_capacity(token.len());
    let mut parts = token.split('~');
    out.push_str(parts.next()?);
    for part in parts {
        match part.as_bytes().first()? {
            b'0' => out.push('~'),
            b'1' => out.push('/'),
            _ => return None,
        }
        out.push_str(part.get(1..)?);
    }
    Some(Cow::Owned(out))
}

/// Appends one token, escaped, with its slash. `raw` may be JSON text, which has no escape for `~` or `/`.
pub fn push(out: &mut Vec<u8>, raw: &[u8]) {
    out.push(b'/');
    // Without a branch for each byte many are looked at at once.
    if raw.iter().fold(0, |any, byte| any | u8::from(matches!(byte, b'~' | b'/'))) == 0 {
        out.extend_from_slice(raw);
        return;
    }
    for &byte in raw {
        match byte {
            b'~' => out.extend_from_slice(b"~0"),
            b'/' => out.extend_from_slice(b"~1"),
            _ => out.push(byte),
        }
    }
}

/// Appends one token of a pointer that is plain text, with its slash.
pub fn push_token(out: &mut String, token: &str) {
    out.push('/');
    if token.contains(['~', '/']) {
        out.push_str(&token.replace('~', "~0").replace('/', "~1"));
    } else {
        out.push_str(token);
    }
}

/// An array index as RFC 6901 writes it: no sign, no leading zero.
#[must_use]
pub fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|b| b.is_ascii_digit()) && (token.len() == 1 || !token.starts_with('0'));
    if plain { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_the_rfc() {
        assert_eq!(tokens("").unwrap(), Vec::<Cow<str>>::new());
        assert_eq!(tokens("/").unwrap(), [""]);
        assert_eq!(tokens("/a~1b/m~0n/ ").unwrap(), ["a/b", "m~n", " "]);
        assert_eq!(tokens("/~01").unwrap(), ["~1"]);
        assert_eq!(tokens("a"), None);
        assert_eq!(tokens("/a~"), None);
        assert_eq!(tokens("/a~2"), None);
    }

    #[test]
    fn push_is_the_inverse_of_tokens() {
        let mut out = Vec::new();
        push(&mut out, b"#W2/~x");
        assert_eq!(tokens(std::str::from_utf8(&out).unwrap()).unwrap(), ["#W2/~x"]);
        let mut pointer = String::new();
        push_token(&mut pointer, "#W2/~x");
        assert_eq!(pointer.as_bytes(), out);
    }

    #[test]
    fn indexes() {
        assert_eq!(index("0"), Some(0));
        assert_eq!(index("10"), Some(10));
        for bad in ["", "01", "-1", "+1", "1.0", "-", "99999999999999999999999"] {
            assert_eq!(index(bad), None, "{bad}");
        }
    }
}
