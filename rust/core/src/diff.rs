//! The difference of two values as RFC 6902 operations, per key and per list edit.
//!
//! What is written always gives exactly the target's text, key order included: where operations on the parts
//! cannot (a key that moved), or would be longer than the target, the whole part is replaced; see `FEW`.

use std::collections::HashSet;
use std::ops::Range;

use crate::error::Result;
use crate::json::{elements, members, slice};
use crate::patch::{self, Verb, Writer};
use crate::pointer;

/// So many members of an object are changed one by one even where that takes longer than the whole object, if
/// another member stays: that one may be changed by somebody else at the same time.
const FEW: usize = 4;

/// What an operation takes beside its path and its value: `,{"op":"replace","path":"","value":}` and a little more.
const FRAME: usize = 32;

/// Writes what turns `source` into `target`, both standing at `path` (JSON text without quotes).
///
/// What is written is proved or replayed: operations that give anything but the target are worth nothing.
pub fn value(out: &mut Writer, path: &mut Vec<u8>, source: &[u8], target: &[u8]) -> Result<()> {
    let start = out.length();
    let mut found = Found::below(out, path, source);
    part(&mut found, source, target)?;
    if !found.lead_to(target) {
        out.truncate(start);
        out.replace(path, target);
    }
    Ok(())
}

/// Operations that are written, as far as they are known to be good.
struct Found<'a> {
    out: &'a mut Writer,
    /// Where the comparison is: first the path to the root.
    path: &'a mut Vec<u8>,
    root: usize,
    source: &'a [u8],
    steps: Vec<Step<'a>>,
    /// How long all of them are.
    size: usize,
    /// Whether the path leads to the part that is compared, beyond doubt.
    is_sure: bool,
}

struct Step<'a> {
    verb: Verb,
    /// Where the path below the root was written.
    path: Range<usize>,
    value: &'a [u8],
    /// The part of the source that it replaces; None if it does something else, or if there is any doubt.
    place: Option<Range<usize>>,
}

impl<'a> Found<'a> {
    fn below(out: &'a mut Writer, path: &'a mut Vec<u8>, source: &'a [u8]) -> Self {
        let root = path.len();
        Self { out, path, root, source, steps: Vec::new(), size: 0, is_sure: true }
    }

    fn push(&mut self, verb: Verb, value: &'a [u8]) {
        self.put(verb, value, None);
    }

    fn put(&mut self, verb: Verb, value: &'a [u8], place: Option<Range<usize>>) {
        let path = self.out.step(verb, self.path, value);
        self.steps.push(Step { verb, path: path.start + self.root..path.end, value, place });
        self.size += patch::written_size(verb, self.path.len(), value.len());
    }

    fn mark(&self) -> (usize, usize, usize) {
        (self.steps.len(), self.out.length(), self.size)
    }

    /// One operation on a part of the source in the place of all that came since a mark.
    fn replace_since(&mut self, (steps, length, size): (usize, usize, usize), source: &[u8], target: &'a [u8]) {
        self.steps.truncate(steps);
        self.out.truncate(length);
        self.size = size;
        let start = source.as_ptr().addr().wrapping_sub(self.source.as_ptr().addr());
        self.put(Verb::Replace, target, self.is_sure.then_some(start..start.wrapping_add(source.len())));
    }

    /// Runs `body` with one more token, the raw key, on the path.
    fn at<T>(&mut self, raw_key: &[u8], body: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        pointer::push(self.path, raw_key.get(1..raw_key.len() - 1).unwrap_or_default());
        let result = body(self);
        self.path.truncate(length);
        result
    }

    fn indexed<T>(&mut self, index: usize, body: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push(b'/');
        self.path.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
        let result = body(self);
        self.path.truncate(length);
        result
    }

    /// Whether the operations make the target of the source.
    fn lead_to(&self, target: &[u8]) -> bool {
        if self.steps.iter().all(|step| step.place.is_some()) {
            self.replaced_in(target).is_some()
        } else {
            self.replay().is_ok_and(|given| given == target)
        }
    }

    /// Where all of them put a value in the place of another one, the target has the same text around those.
    fn replaced_in(&self, target: &[u8]) -> Option<()> {
        let (mut at, mut rest) = (0, target);
        for step in &self.steps {
            let place = step.place.as_ref()?;
            rest = rest.strip_prefix(self.source.get(at..place.start)?)?.strip_prefix(step.value)?;
            at = place.end;
        }
        (rest == self.source.get(at..)?).then_some(())
    }

    /// What the operations give when they are applied to the root.
    fn replay(&self) -> Result<Vec<u8>> {
        let mut document = Vec::with_capacity(self.source.len() + self.size);
        document.extend_from_slice(self.source);
        for (number, step) in self.steps.iter().enumerate() {
            let path = pointer::from_json(self.out.written(step.path.clone())?)?;
            patch::apply_step(&mut document, number, step.verb, &path, step.value)?;
        }
        Ok(document)
    }
}

fn part<'a>(found: &mut Found<'a>, source: &'a [u8], target: &'a [u8]) -> Result<()> {
    if source == target {
        return Ok(());
    }
    let mark = found.mark();
    let by_parts = match (source.first(), target.first()) {
        (Some(b'{'), Some(b'{')) => objects(found, source, target)?,
        (Some(b'['), Some(b'[')) => {
            arrays(found, source, target)?;
            Parts::IfShorter
        }
        _ => Parts::Never,
    };
    let is_longer = || found.size - mark.2 > target.len() + found.path.len() + FRAME;
    if by_parts == Parts::Never || by_parts == Parts::IfShorter && is_longer() {
        found.replace_since(mark, source, target);
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
fn objects<'a>(found: &mut Found<'a>, source: &'a [u8], target: &'a [u8]) -> Result<Parts> {
    let mut new = members(target, 0)?.peekable();
    let (mut gone, mut changed, mut stays) = (None, 0, false);
    for (number, member) in members(source, 0)?.enumerate() {
        let (key, value) = member?;
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
            found.at(raw, |found| found.push(Verb::Remove, b""));
            continue;
        };
        new.next();
        let (a, b) = (slice(source, value)?, slice(target, target_value)?);
        if a == b {
            stays = true;
            continue;
        }
        changed += 1;
        let was_sure = found.is_sure;
        found.is_sure = was_sure && found.steps.len() < FEW && is_first(source, number, raw)?;
        found.at(raw, |found| part(found, a, b))?;
        found.is_sure = was_sure;
    }
    for member in new {
        let (key, value) = member?;
        let added = slice(target, value)?;
        changed += 1;
        found.at(slice(target, key)?, |found| found.push(Verb::Add, added));
    }
    Ok(if stays && changed <= FEW { Parts::Always } else { Parts::IfShorter })
}

/// Whether a pointer with the raw key of a member leads there beyond doubt: none before it has that key, however it is
/// written.
fn is_first(object: &[u8], number: usize, raw: &[u8]) -> Result<bool> {
    let is_escaped = |raw: &[u8]| raw.contains(&b'\\');
    for member in members(object, 0)?.take(number) {
        let before = slice(object, member?.0)?;
        if before == raw || is_escaped(before) {
            return Ok(false);
        }
    }
    Ok(!is_escaped(raw))
}

fn keys(object: &[u8]) -> Result<HashSet<&[u8]>> {
    members(object, 0)?.map(|found| slice(object, found?.0)).collect()
}

fn arrays<'a>(found: &mut Found<'a>, source: &'a [u8], target: &'a [u8]) -> Result<()> {
    let old = items(source)?;
    let new = items(target)?;
    let prefix = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (old.get(prefix..).unwrap_or_default(), new.get(prefix..).unwrap_or_default());
    let suffix = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let old = old.get(..old.len() - suffix).unwrap_or_default();
    let new = new.get(..new.len() - suffix).unwrap_or_default();
    let both = old.len().min(new.len());
    for (n, (a, b)) in old.iter().zip(new).enumerate() {
        found.indexed(prefix + n, |found| part(found, a, b))?;
    }
    for n in (both..old.len()).rev() {
        found.indexed(prefix + n, |found| found.push(Verb::Remove, b""));
    }
    for (n, added) in new.iter().enumerate().skip(both) {
        if suffix == 0 {
            found.at(b"\"-\"", |found| found.push(Verb::Add, added));
        } else {
            found.indexed(prefix + n, |found| found.push(Verb::Add, added));
        }
    }
    Ok(())
}

fn items(src: &[u8]) -> Result<Vec<&[u8]>> {
    elements(src, 0)?.map(|range: Result<Range<usize>>| slice(src, range?)).collect()
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

    /// What is replayed is what is written: each operation, read back, is the one that was found.
    #[test]
    fn written_operations_read_as_those_that_were_found() {
        for (source, target) in [
            (r#"{"a":1,"b":[1,2,3],"c":{}}"#, r#"{"a":2,"b":[1,3,4,5],"d":"\"/~"}"#),
            (r#"{"a/b":[1,2],"\"~":1,"x":0}"#, r#"{"a/b":[1,2,{}],"\"~":[2],"x":0}"#),
            (r#"{"k":{"a":1,"b":2},"x":0}"#, r#"{"k":{"b":2,"a":1},"x":0,"\u0001é":null}"#),
            ("[1,[2,3],4]", "[1,[2],4,4]"),
        ] {
            let mut path = br#"/f~1\""#.to_vec();
            let mut out = Writer::default();
            let mut found = Found::below(&mut out, &mut path, source.as_bytes());
            part(&mut found, source.as_bytes(), target.as_bytes()).unwrap();
            assert_eq!(found.replay().unwrap(), target.as_bytes());
            let written_at = |step: &Step<'_>| found.out.written(step.path.clone()).unwrap().to_vec();
            let steps: Vec<_> =
                found.steps.iter().map(|step| (step.verb, written_at(step), step.value.to_vec())).collect();
            let written = out.finish();
            let read = patch::parse(&written).unwrap();
            assert_eq!(read.len(), steps.len());
            for (op, (verb, path, value)) in read.iter().zip(&steps) {
                let path = pointer::from_json(path).unwrap();
                assert_eq!((op.verb, &*op.path), (*verb, &*format!("/f~1\"{path}")));
                assert_eq!((op.value.unwrap_or_default(), &op.from), (&**value, &None));
            }
        }
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

    #[test]
    fn a_path_that_leads_elsewhere_is_not_taken() {
        let whole = r#"[{"op":"replace","path":"/f","value":{"a":1,"a":2,"stays":0}}]"#;
        assert_eq!(difference(r#"{"a":1,"a":1,"stays":0}"#, r#"{"a":1,"a":2,"stays":0}"#), whole);
        let first = r#"[{"op":"replace","path":"/f/a","value":2}]"#;
        assert_eq!(difference(r#"{"a":1,"a":1,"stays":0}"#, r#"{"a":2,"a":1,"stays":0}"#), first);
    }

    /// A value of few kinds and few keys, some of which are equal, or the same key written in another way.
    fn any_value(random: &mut impl FnMut(usize) -> usize, depth: usize) -> String {
        const KEYS: [&str; 6] = ["a", "\\u0061", "b", "/", "~", "\\\""];
        match random(if depth == 0 { 2 } else { 6 }) {
            0 => random(12).to_string(),
            1 => ["true", "\"}\"", "\",\"", "\"\\\"\""][random(4)].to_owned(),
            2 => format!("[{}]", (0..random(4)).map(|_| any_value(random, depth - 1)).collect::<Vec<_>>().join(",")),
            _ => {
                let members =
                    (0..random(4)).map(|_| format!("\"{}\":{}", KEYS[random(6)], any_value(random, depth - 1)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// What is proved is what a replay gives.
    #[test]
    fn a_proof_says_what_a_replay_says() {
        let mut seed = 9_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below
        };
        let (mut proved, mut refused) = (0, 0);
        for _ in 0..100_000 {
            let source = any_value(&mut random, 3);
            // Another value, or the same with one of its parts changed.
            let target = match source.char_indices().nth(random(source.len() + 8)) {
                Some((at, '0'..='9')) => format!("{}7{}", &source[..at], &source[at + 1..]),
                _ => any_value(&mut random, 3),
            };
            difference(&source, &target);
            let (mut out, mut path) = (Writer::default(), Vec::new());
            let mut found = Found::below(&mut out, &mut path, source.as_bytes());
            part(&mut found, source.as_bytes(), target.as_bytes()).unwrap();
            let replayed = found.replay().is_ok_and(|given| given == target.as_bytes());
            if found.steps.iter().all(|step| step.place.is_some()) {
                assert!(replayed, "{source} {target}");
                assert!(found.replaced_in(target.as_bytes()).is_some(), "{source} {target}");
                proved += 1;
            }
            refused += usize::from(!replayed);
        }
        assert!(proved > 30_000 && refused > 100, "{proved} {refused}");
    }
}
