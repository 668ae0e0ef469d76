//! The difference of two values as RFC 6902 operations, per key and per list edit.
//!
//! What is written always gives exactly the target's text, key order included: where operations on the parts
//! cannot (a key that moved), or would be longer than the target, the whole part is replaced; see `FEW`.

use std::collections::HashSet;
use std::ops::Range;

use crate::error::Result;
use crate::json::{elements, members, slice};
use crate::patch::{self, Writer};
use crate::pointer;

/// So many members of an object are changed one by one even where that takes longer than the whole object, if
/// another member stays: that one may be changed by somebody else at the same time.
const FEW: usize = 4;

/// Writes what turns `source` into `target`, both standing at `path` (JSON text without quotes or escapes).
///
/// What was written is replayed before it is kept: a patch that gives anything but the target is worth nothing.
pub fn value(out: &mut Writer, path: &mut Vec<u8>, source: &[u8], target: &[u8]) -> Result<()> {
    let mark = out.mark();
    part(out, path, source, target)?;
    if out.mark() > mark && !replay(&out.since(mark), path.len(), source).is_ok_and(|given| given == target) {
        out.rewind(mark);
        out.replace(path, target);
    }
    Ok(())
}

/// What operations give whose paths begin with `root` bytes that lead to `source`.
fn replay(operations: &[u8], root: usize, source: &[u8]) -> Result<Vec<u8>> {
    let mut operations = patch::parse(operations)?;
    for op in &mut operations {
        op.path = op.path.get(root..).unwrap_or_default().to_owned().into();
    }
    let mut document = source.to_vec();
    patch::apply(&mut document, &operations)?;
    Ok(document)
}

fn part(out: &mut Writer, path: &mut Vec<u8>, source: &[u8], target: &[u8]) -> Result<()> {
    if source == target {
        return Ok(());
    }
    let mark = out.mark();
    let by_parts = match (source.first(), target.first()) {
        (Some(b'{'), Some(b'{')) => objects(out, path, source, target)?,
        (Some(b'['), Some(b'[')) => {
            arrays(out, path, source, target)?;
            Parts::IfShorter
        }
        _ => Parts::Never,
    };
    let is_longer = || out.mark() - mark > target.len() + path.len() + 32;
    if by_parts == Parts::Never || by_parts == Parts::IfShorter && is_longer() {
        out.rewind(mark);
        out.replace(path, target);
    }
    Ok(())
}

/// Whether a container is changed by operations on its parts.
#[derive(PartialEq, Eq)]
enum Parts {
    Always,
    IfShorter,
    Never,
}

/// Changes the members one by one, which cannot be when a key that stays has moved.
fn objects(out: &mut Writer, path: &mut Vec<u8>, source: &[u8], target: &[u8]) -> Result<Parts> {
    let mut new = members(target, 0)?.peekable();
    let (mut gone, mut changed, mut stays) = (None, 0, false);
    for found in members(source, 0)? {
        let (key, value) = found?;
        let raw = slice(source, key)?;
        let next = match new.peek() {
            Some(Ok((key, value))) if slice(target, key.clone())? == raw => Some(value.clone()),
            _ => None,
        };
        let Some(target_value) = next else {
            // The key was removed, or it moved behind others: the keys of the target tell.
            if gone.get_or_insert_with(|| keys(target)).as_ref().is_ok_and(|keys| keys.contains(raw)) {
                return Ok(Parts::Never);
            }
            changed += 1;
            at(path, raw, |path| out.remove(path));
            continue;
        };
        new.next();
        let (a, b) = (slice(source, value)?, slice(target, target_value)?);
        changed += usize::from(a != b);
        stays |= a == b;
        at(path, raw, |path| part(out, path, a, b))?;
    }
    for found in new {
        let (key, value) = found?;
        let added = slice(target, value)?;
        changed += 1;
        at(path, slice(target, key)?, |path| out.add(path, added));
    }
    Ok(if stays && changed <= FEW { Parts::Always } else { Parts::IfShorter })
}

fn keys(object: &[u8]) -> Result<HashSet<&[u8]>> {
    members(object, 0)?.map(|found| slice(object, found?.0)).collect()
}

/// Runs `body` with one more token, the raw key, on the path.
fn at<T>(path: &mut Vec<u8>, raw_key: &[u8], body: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let length = path.len();
    pointer::push(path, raw_key.get(1..raw_key.len() - 1).unwrap_or_default());
    let result = body(path);
    path.truncate(length);
    result
}

fn arrays(out: &mut Writer, path: &mut Vec<u8>, source: &[u8], target: &[u8]) -> Result<()> {
    let old = items(source)?;
    let new = items(target)?;
    let prefix = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (old.get(prefix..).unwrap_or_default(), new.get(prefix..).unwrap_or_default());
    let suffix = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let old = old.get(..old.len() - suffix).unwrap_or_default();
    let new = new.get(..new.len() - suffix).unwrap_or_default();
    let both = old.len().min(new.len());
    for (n, (a, b)) in old.iter().zip(new).enumerate() {
        indexed(path, prefix + n, |path| part(out, path, a, b))?;
    }
    for n in (both..old.len()).rev() {
        indexed(path, prefix + n, |path| out.remove(path));
    }
    for (n, added) in new.iter().enumerate().skip(both) {
        if suffix == 0 {
            at(path, b"\"-\"", |path| out.add(path, added));
        } else {
            indexed(path, prefix + n, |path| out.add(path, added));
        }
    }
    Ok(())
}

fn items(src: &[u8]) -> Result<Vec<&[u8]>> {
    elements(src, 0)?.map(|range: Result<Range<usize>>| slice(src, range?)).collect()
}

fn indexed<T>(path: &mut Vec<u8>, index: usize, body: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let length = path.len();
    path.push(b'/');
    path.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
    let result = body(path);
    path.truncate(length);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(source: &str, target: &str) -> String {
        let mut out = Writer::default();
        value(&mut out, &mut b"/f".to_vec(), source.as_bytes(), target.as_bytes()).unwrap();
        let ops = out.finish();
        let mut document = format!(r#"{{"f":{source}}}"#).into_bytes();
        patch::apply(&mut document, &patch::parse(&ops).unwrap()).unwrap();
        assert_eq!(String::from_utf8(document).unwrap(), format!(r#"{{"f":{target}}}"#));
        String::from_utf8(ops).unwrap()
    }

    #[test]
    fn small_changes_stay_small() {
        assert_eq!(difference(r#"{"a":1}"#, r#"{"a":1}"#), "[]");
        let filler = "x".repeat(200);
        for (source, target, expected) in [
            (r#""turns":1"#, r#""turns":2"#, r#"[{"op":"replace","path":"/f/turns","value":2}]"#),
            (r#""a/b":[1,2]"#, r#""a/b":[1,2,3]"#, r#"[{"op":"add","path":"/f/a~1b/-","value":3}]"#),
            (r#""a":[1,2,3]"#, r#""a":[1,3]"#, r#"[{"op":"remove","path":"/f/a/1"}]"#),
            (r#""a":[1,3]"#, r#""a":[1,2,3]"#, r#"[{"op":"add","path":"/f/a/1","value":2}]"#),
            (r#""a":{"k":1}"#, r#""a":{"k":true}"#, r#"[{"op":"replace","path":"/f/a/k","value":true}]"#),
        ] {
            let whole = |member: &str| format!(r#"{{"filler":"{filler}",{member}}}"#);
            assert_eq!(difference(&whole(source), &whole(target)), expected);
        }
    }

    #[test]
    fn a_member_that_stays_is_left_to_others() {
        assert_eq!(
            difference(r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"b":0,"d":4}"#),
            concat!(
                r#"[{"op":"replace","path":"/f/b","value":0},{"op":"remove","path":"/f/c"},"#,
                r#"{"op":"add","path":"/f/d","value":4}]"#
            )
        );
        let whole = r#"[{"op":"replace","path":"/f","value":{"a":2,"b":3}}]"#;
        assert_eq!(difference(r#"{"a":1,"b":2}"#, r#"{"a":2,"b":3}"#), whole);
        let many = r#"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}"#;
        assert_eq!(difference(many, r#"{"a":1}"#), r#"[{"op":"replace","path":"/f","value":{"a":1}}]"#);
    }

    #[test]
    fn key_order_is_kept_by_replacing_the_parent() {
        let ops = difference(r#"{"o":{"a":1,"b":2,"c":3},"z":1}"#, r#"{"o":{"b":2,"c":3,"a":1},"z":1}"#);
        assert_eq!(ops, r#"[{"op":"replace","path":"/f/o","value":{"b":2,"c":3,"a":1}}]"#);
        difference(r#"{"a":1,"b":2}"#, r#"{"x":0,"a":1,"b":2}"#);
        difference(r#"{"-":1,"0":2}"#, r#"{"-":[],"0":{},"":null}"#);
        difference(r#"{"\"":1}"#, r#"{"\"":2,"~/":3}"#);
        difference("[[1,[2,3]],4]", "[4,[1,[2,3]]]");
    }
}
