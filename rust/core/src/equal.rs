//! Strict equality of JSON text: by value and type, so `1`, `1.0` and `true` all differ; members in any order.

use std::collections::HashMap;

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

/// Of a key that stands twice in `b`, the first counts.
fn objects(a: &[u8], b: &[u8]) -> Result<bool> {
    let (mut others, mut count) = (HashMap::new(), 0_usize);
    for found in members(b, 0)? {
        let (key, value) = found?;
        others.entry(text::unescape(slice(b, key)?)?).or_insert(value);
        count += 1;
    }
    for found in members(a, 0)? {
        let (key, value) = found?;
        let Some(other) = others.get(&text::unescape(slice(a, key)?)?) else { return Ok(false) };
        if count == 0 || !json(slice(a, value)?, slice(b, other.clone())?)? {
            return Ok(false);
        }
        count -= 1;
    }
    Ok(count == 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_in_another_order_take_no_longer() {
        let object = |keys: &mut dyn Iterator<Item = u32>| {
            let members: Vec<_> = keys.map(|n| format!("\"key {n}\":{n}")).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        };
        // Each key against each other would be 40 thousand million comparisons.
        let (a, b) = (object(&mut (0..200_000)), object(&mut (0..200_000).rev()));
        assert!(super::json(&a, &b).unwrap());
        assert!(!super::json(&a, &object(&mut (1..200_001).rev())).unwrap());
    }

    #[test]
    fn text_that_is_cut_short_is_an_error_on_either_side() {
        let whole = br#"{"a":1,"b":[2]}"#;
        for end in 1..whole.len() {
            assert!(super::json(&whole[..end], whole).is_err(), "cut at {end}");
            assert!(super::json(whole, &whole[..end]).is_err(), "cut at {end}");
        }
    }

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
