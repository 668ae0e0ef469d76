//! Strict equality of JSON text: by value and type, so `1`, `1.0` and `true` all differ; members in any order.

use std::collections::HashMap;

use crate::error::{Error, Kind, Result};
use crate::json::{MAX_DEPTH, elements, members, slice};
use crate::text;

/// Whether two texts that differ are numbers of one value.
type Numbers = fn(&[u8], &[u8]) -> bool;

/// Whether two texts stand for the same value. An error for text that is nested much deeper than anything of ours.
pub fn json(a: &[u8], b: &[u8]) -> Result<bool> {
    nested(a, b, 0, numbers)
}

/// The same, with every number written alike.
pub fn json_and_numbers_alike(a: &[u8], b: &[u8]) -> Result<bool> {
    nested(a, b, 0, |_, _| false)
}

fn nested(a: &[u8], b: &[u8], depth: usize, numbers: Numbers) -> Result<bool> {
    if a == b {
        return Ok(true);
    }
    if depth > 2 * MAX_DEPTH {
        return Err(Error::codec(Kind::TooDeep, 0));
    }
    match (a.first(), b.first()) {
        (Some(b'{'), Some(b'{')) => objects(a, b, depth + 1, numbers),
        (Some(b'['), Some(b'[')) => arrays(a, b, depth + 1, numbers),
        (Some(b'"'), Some(b'"')) => Ok(text::unescape(a)? == text::unescape(b)?),
        _ => Ok(numbers(a, b)),
    }
}

/// Whether both are floats, or both integers, of one value that is written in two ways.
fn numbers(a: &[u8], b: &[u8]) -> bool {
    let float = |text: &[u8]| {
        let is_float = text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        let value = is_float.then(|| std::str::from_utf8(text).ok()?.parse::<f64>().ok()).flatten()?;
        value.is_finite().then(|| value.to_bits())
    };
    let is_zero = |text: &[u8]| matches!(text, b"0" | b"-0");
    is_zero(a) && is_zero(b) || float(a).is_some_and(|value| Some(value) == float(b))
}

fn arrays(a: &[u8], b: &[u8], depth: usize, numbers: Numbers) -> Result<bool> {
    let (mut left, mut right) = (elements(a, 0)?, elements(b, 0)?);
    loop {
        match (left.next().transpose()?, right.next().transpose()?) {
            (None, None) => return Ok(true),
            (Some(x), Some(y)) if nested(slice(a, x.clone())?, slice(b, y.clone())?, depth, numbers)? => {}
            _ => return Ok(false),
        }
    }
}

/// Of a key that stands twice in `b`, the first counts.
fn objects(a: &[u8], b: &[u8], depth: usize, numbers: Numbers) -> Result<bool> {
    let (mut others, mut count) = (HashMap::new(), 0_usize);
    for found in members(b, 0)? {
        let (key, value) = found?;
        others.entry(text::unescape(slice(b, key)?)?).or_insert(value);
        count += 1;
    }
    for found in members(a, 0)? {
        let (key, value) = found?;
        let Some(other) = others.get(&text::unescape(slice(a, key)?)?) else { return Ok(false) };
        if count == 0 || !nested(slice(a, value)?, slice(b, other.clone())?, depth, numbers)? {
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
    fn depth_costs_no_more_stack_than_there_is() {
        let deep = |last: &str| [&*"[".repeat(100_000), last, &*"]".repeat(100_000)].concat().into_bytes();
        assert!(super::json(&deep("1"), &deep("1")).unwrap());
        assert!(super::json(&deep("1"), &deep("2")).is_err());
    }

    #[test]
    fn equality_is_strict_and_unordered() {
        for (a, b, same) in [
            (r#"{"a":1,"b":[2]}"#, r#"{"b":[2],"a":1}"#, true),
            ("1", "1.0", false),
            ("1e2", "100.0", true),
            ("1E+2", "1e02", true),
            ("100", "1e2", false),
            ("0", "-0", true),
            ("0.0", "-0.0", false),
            ("1e400", "1e401", false),
            ("true", "false", false),
            ("null", "0", false),
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
