//! Strict equality of JSON text: by value and type, so `1`, `1.0` and `true` all differ; members in any order.

use crate::error::Result;
use crate::json::{elements, members, slice};
use crate::text;

/// Whether two texts stand for the same value.
pub fn json(a: &[u8], b: &[u8]) -> Result<bool> {
    if a == b {
        return Ok(true);
    }
    match (a.first(), b.first()) {
        (Some(b'{'), Some(b'{')) => objects(a, b),
        (Some(b'['), Some(b'[')) => arrays(a, b),
        (Some(b'"'), Some(b'"')) => Ok(text::unescape(a)? == text::unescape(b)?),
        _ => Ok(false),
    }
}

fn arrays(a: &[u8], b: &[u8]) -> Result<bool> {
    let (mut left, mut right) = (elements(a, 0)?, elements(b, 0)?);
    loop {
        match (left.next().transpose()?, right.next().transpose()?) {
            (None, None) => return Ok(true),
            (Some(x), Some(y)) if json(slice(a, x.clone())?, slice(b, y.clone())?)? => {}
            _ => return Ok(false),
        }
    }
}

fn objects(a: &[u8], b: &[u8]) -> Result<bool> {
    if members(a, 0)?.count() != members(b, 0)?.count() {
        return Ok(false);
    }
    for found in members(a, 0)? {
        let (key, value) = found?;
        let name = text::unescape(slice(a, key)?)?;
        let mut same = false;
        for other in members(b, 0)? {
            let (other_key, other_value) = other?;
            if text::equals(slice(b, other_key)?, &name)? {
                same = json(slice(a, value)?, slice(b, other_value)?)?;
                break;
            }
        }
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    #[test]
    fn equality_is_strict_and_unordered() {
        for (a, b, same) in [
            (r#"{"a":1,"b":[2]}"#, r#"{"b":[2],"a":1}"#, true),
            ("1", "1.0", false),
            ("[1]", "[1,1]", false),
            (r#"{"a":1}"#, r#"{"a":true}"#, false),
            (r#"{"a":1}"#, r#"{"b":1}"#, false),
            (r#""\u0041""#, r#""A""#, true),
            ("null", "{}", false),
        ] {
            assert_eq!(super::json(a.as_bytes(), b.as_bytes()).unwrap(), same, "{a} {b}");
        }
    }
}
