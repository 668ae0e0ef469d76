//! JSON Patch (RFC 6902): reading its operations, writing them, applying them to compact JSON text.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Kind, Result};
use crate::json::{elements, members, skip_value, slice};
use crate::{equal, pointer, text, write};

/// What the `copy` operations of one patch may copy in all, in bytes.
const MAX_COPIED: usize = 16 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

/// One operation; `value` is JSON text, verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<'a> {
    pub verb: Verb,
    pub path: Cow<'a, str>,
    pub from: Option<Cow<'a, str>>,
    pub value: Option<&'a [u8]>,
}

impl Verb {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Replace => "replace",
            Self::Move => "move",
            Self::Copy => "copy",
            Self::Test => "test",
        }
    }

    /// An operation up to its path.
    fn beginning(self) -> &'static [u8] {
        match self {
            Self::Add => br#"{"op":"add","path":""#,
            Self::Remove => br#"{"op":"remove","path":""#,
            Self::Replace => br#"{"op":"replace","path":""#,
            Self::Move => br#"{"op":"move","path":""#,
            Self::Copy => br#"{"op":"copy","path":""#,
            Self::Test => br#"{"op":"test","path":""#,
        }
    }

    /// Whether it comes with a value.
    #[must_use]
    pub fn has_value(self) -> bool {
        matches!(self, Self::Add | Self::Replace | Self::Test)
    }
}

fn verb(raw: &[u8]) -> Option<Verb> {
    Some(match raw {
        br#""add""# => Verb::Add,
        br#""remove""# => Verb::Remove,
        br#""replace""# => Verb::Replace,
        br#""move""# => Verb::Move,
        br#""copy""# => Verb::Copy,
        br#""test""# => Verb::Test,
        _ => return None,
    })
}

/// The operations of a patch document.
pub fn parse(patch: &[u8]) -> Result<Vec<Operation<'_>>> {
    let (mut out, mut at) = (Vec::new(), 1);
    if patch.first() != Some(&b'[') {
        return Err(Error::codec(Kind::ExpectedArray, 0));
    }
    loop {
        match slice(patch, at..at + 1)? {
            b"]" => break,
            b"," if !out.is_empty() => at += 1,
            _ if out.is_empty() => {}
            _ => return Err(Error::codec(Kind::ExpectedValue, at)),
        }
        let (op, end) = operation(patch, at, out.len())?;
        out.push(op);
        at = end;
    }
    if at + 1 == patch.len() { Ok(out) } else { Err(Error::codec(Kind::TrailingBytes, at + 1)) }
}

/// The operation that starts at an index, and the index behind it.
fn operation(src: &[u8], at: usize, number: usize) -> Result<(Operation<'_>, usize)> {
    let bad = |problem| Error::Patch { problem, operation: number, path: String::new() };
    let (mut op, mut path, mut from, mut value) = (None, None, None, None);
    let mut found = members(src, at).map_err(|_| bad("an operation is an object"))?;
    let pointer = |content| text::unescape(content).map_err(|_| bad("a pointer is a string"));
    for member in found.by_ref() {
        let (key, range) = member?;
        let content = slice(src, range)?;
        match slice(src, key)? {
            br#""op""# => op = Some(verb(content).ok_or(bad("unknown operation"))?),
            br#""path""# => path = Some(pointer(content)?),
            br#""from""# => from = Some(pointer(content)?),
            br#""value""# => value = Some(content),
            _ => {}
        }
    }
    let verb = op.ok_or(bad("no operation"))?;
    let path = path.ok_or(bad("no path"))?;
    let lacks_value = value.is_none() && verb.has_value();
    let lacks_from = from.is_none() && matches!(verb, Verb::Move | Verb::Copy);
    if lacks_value || lacks_from {
        return Err(bad(if lacks_value { "no value" } else { "no from" }));
    }
    Ok((Operation { verb, path, from, value }, found.end()))
}

#[derive(Debug)]
/// Writes a patch document; paths are given as JSON text without quotes.
pub struct Writer {
    out: Vec<u8>,
    /// Where the first operation begins.
    start: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self::behind(Vec::with_capacity(1024))
    }
}

impl Writer {
    /// Writes behind what stands in this buffer.
    #[must_use]
    pub fn behind(mut out: Vec<u8>) -> Self {
        out.push(b'[');
        Self { start: out.len(), out }
    }

    /// Writes an operation with its value, if it has one; tells where its path was written.
    pub fn step(&mut self, verb: Verb, path: &[u8], value: &[u8]) -> Range<usize> {
        self.out.reserve(written_size(verb, path.len(), value.len()));
        if self.out.len() > self.start {
            self.out.push(b',');
        }
        self.out.extend_from_slice(verb.beginning());
        let start = self.out.len();
        self.out.extend_from_slice(path);
        if verb.has_value() {
            self.out.extend_from_slice(br#"","value":"#);
            self.out.extend_from_slice(value);
        } else {
            self.out.push(b'"');
        }
        self.out.push(b'}');
        start..start + path.len()
    }

    /// Where the next operation goes.
    pub(crate) fn length(&self) -> usize {
        self.out.len()
    }

    /// Takes back what was written behind a place.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.out.truncate(length);
    }

    pub(crate) fn written(&self, range: Range<usize>) -> Result<&[u8]> {
        slice(&self.out, range)
    }

    pub fn add(&mut self, path: &[u8], value: &[u8]) {
        self.step(Verb::Add, path, value);
    }

    pub fn replace(&mut self, path: &[u8], value: &[u8]) {
        self.step(Verb::Replace, path, value);
    }

    pub fn test(&mut self, path: &[u8], value: &[u8]) {
        self.step(Verb::Test, path, value);
    }

    pub fn remove(&mut self, path: &[u8]) {
        self.step(Verb::Remove, path, b"");
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.len() == self.start
    }

    /// The buffer, with the document in it.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.out.push(b']');
        self.out
    }
}

/// How long an operation is when it is written behind another one.
pub(crate) fn written_size(verb: Verb, path: usize, value: usize) -> usize {
    let frame = if verb.has_value() { r#",{"op":"","path":"","value":}"# } else { r#",{"op":"","path":""}"# };
    frame.len() + verb.name().len() + path + value
}

/// Applies operations one after the other. On an error the document is what the operations before it made.
pub fn apply(document: &mut Vec<u8>, operations: &[Operation<'_>]) -> Result<()> {
    for (number, op) in operations.iter().enumerate() {
        let done = match (op.verb, &op.from) {
            (Verb::Move | Verb::Copy, Some(from)) => transfer(document, op.verb, from, &op.path),
            _ => apply_one(document, op.verb, &op.path, op.value.unwrap_or_default()),
        };
        done.map_err(|problem| problem.of(number, &op.path))?;
    }
    Ok(())
}

/// Applies one operation that has no `from`; an error names it by its number.
pub(crate) fn apply_step(document: &mut Vec<u8>, number: usize, verb: Verb, path: &str, value: &[u8]) -> Result<()> {
    apply_one(document, verb, path, value).map_err(|problem| problem.of(number, path))
}

enum Problem {
    Fit(&'static str),
    Text(Error),
}

impl Problem {
    #[cold]
    fn of(self, operation: usize, path: &str) -> Error {
        match self {
            Self::Fit(problem) => Error::Patch { problem, operation, path: path.to_owned() },
            Self::Text(error) => error,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Text(error)
    }
}

type Outcome<T> = std::result::Result<T, Problem>;

const ABSENT: Problem = Problem::Fit("nothing stands there");
const MALFORMED: Problem = Problem::Fit("malformed pointer");

fn apply_one(document: &mut Vec<u8>, verb: Verb, path: &str, given: &[u8]) -> Outcome<()> {
    match verb {
        Verb::Add => add(document, path, given),
        Verb::Remove => remove(document, path),
        Verb::Replace => replace(document, path, given),
        Verb::Test => {
            let span = find(document, path)?.ok_or(ABSENT)?;
            let same = equal::json(slice(document, span)?, given)?;
            if same { Ok(()) } else { Err(Problem::Fit("the test does not hold")) }
        }
        Verb::Move | Verb::Copy => Err(Problem::Fit("no from")),
    }
}

/// What the operations of one patch have copied so far: each could double the document.
#[derive(Debug, Default)]
pub struct Copied(usize);

impl Copied {
    /// Counts a value of this length if it is copied.
    pub fn count(&mut self, verb: Verb, length: usize) -> std::result::Result<(), &'static str> {
        self.0 += if verb == Verb::Copy { length } else { 0 };
        if self.0 > MAX_COPIED { Err("the operations of one patch copy at most 16 MiB") } else { Ok(()) }
    }
}

/// A value cannot be moved to a place within itself, even if another takes its place.
pub(crate) fn check_move(verb: Verb, from: &str, path: &str) -> std::result::Result<(), &'static str> {
    if verb == Verb::Move && path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
        return Err("a value cannot move into itself");
    }
    Ok(())
}

fn transfer(document: &mut Vec<u8>, verb: Verb, from: &str, path: &str) -> Outcome<()> {
    check_move(verb, from, path).map_err(Problem::Fit)?;
    let span = find(document, from)?.ok_or(ABSENT)?;
    let value = slice(document, span)?.to_vec();
    if verb == Verb::Move {
        if from == path {
            return Ok(());
        }
        remove(document, from)?;
    }
    add(document, path, &value)
}

/// The value that a pointer leads to.
pub fn at<'a>(document: &'a [u8], path: &str) -> Result<Option<&'a [u8]>> {
    match find(document, path) {
        Ok(span) => span.map(|span| slice(document, span)).transpose(),
        Err(Problem::Text(error)) => Err(error),
        Err(Problem::Fit(_)) => Ok(None),
    }
}

/// Where the value at a path stands.
fn find(document: &[u8], path: &str) -> Outcome<Option<Range<usize>>> {
    let mut found = None;
    for token in pointer::each(path).ok_or(MALFORMED)? {
        let at = found.map_or(0, |value: Range<usize>| value.start);
        let Some((_, value)) = child(document, at, &token.ok_or(MALFORMED)?)? else { return Ok(None) };
        found = Some(value);
    }
    Ok(Some(found.map_or_else(|| Ok(0..skip_value(document, 0)?), Result::Ok)?))
}

/// The child of the container at `at`: where its key (or, in an array, itself) starts, and its value.
fn child(document: &[u8], at: usize, token: &str) -> Outcome<Option<(usize, Range<usize>)>> {
    match document.get(at) {
        Some(b'{') => {
            for found in members(document, at)? {
                let (key, value) = found?;
                if text::equals(slice(document, key.clone())?, token)? {
                    return Ok(Some((key.start, value)));
                }
            }
            Ok(None)
        }
        Some(b'[') => {
            let Some(index) = pointer::index(token) else { return Ok(None) };
            let value = elements(document, at)?.nth(index).transpose()?;
            Ok(value.map(|value| (value.start, value)))
        }
        _ => Ok(None),
    }
}

/// Puts `parts` in the place of a range, which is one of the document.
fn splice(document: &mut Vec<u8>, range: Range<usize>, parts: &[&[u8]]) {
    let length = document.len();
    let mut at = range.start;
    let end = at + parts.iter().map(|part| part.len()).sum::<usize>();
    if end > range.end {
        document.resize(length + end - range.end, 0);
    }
    document.copy_within(range.end..length, end);
    document.truncate(length + end - range.end);
    for part in parts {
        if let Some(place) = document.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
        at += part.len();
    }
}

fn replace(document: &mut Vec<u8>, path: &str, value: &[u8]) -> Outcome<()> {
    let span = find(document, path)?.ok_or(ABSENT)?;
    splice(document, span, &[value]);
    Ok(())
}

fn add(document: &mut Vec<u8>, path: &str, value: &[u8]) -> Outcome<()> {
    let Some((parents, last)) = pointer::parent(path) else {
        if !path.is_empty() {
            return Err(MALFORMED);
        }
        splice(document, 0..document.len(), &[value]);
        return Ok(());
    };
    let last = last.ok_or(MALFORMED)?;
    let parent = find(document, parents)?.ok_or(Problem::Fit("the parent does not exist"))?;
    let close = parent.end - 1;
    let comma: &[u8] = if close == parent.start + 1 { b"" } else { b"," };
    let existing = child(document, parent.start, &last)?;
    match (document.get(parent.start), existing) {
        (Some(b'{'), Some((_, span))) => splice(document, span, &[value]),
        (Some(b'{'), None) => {
            let mut key = Vec::new();
            write::string(&mut key, &last);
            splice(document, close..close, &[comma, &key, b":", value]);
        }
        (Some(b'['), Some((start, _))) => splice(document, start..start, &[value, b","]),
        (Some(b'['), None) => {
            let at_end = last == "-" || pointer::index(&last) == Some(elements(document, parent.start)?.count());
            if !at_end {
                return Err(Problem::Fit("no such place in the array"));
            }
            splice(document, close..close, &[comma, value]);
        }
        _ => return Err(Problem::Fit("the parent is no container")),
    }
    Ok(())
}

fn remove(document: &mut Vec<u8>, path: &str) -> Outcome<()> {
    let Some((parents, last)) = pointer::parent(path) else {
        return Err(if path.is_empty() { Problem::Fit("the whole document cannot be removed") } else { MALFORMED });
    };
    let parent = find(document, parents)?.ok_or(ABSENT)?;
    let (start, value) = child(document, parent.start, &last.ok_or(MALFORMED)?)?.ok_or(ABSENT)?;
    let range = match (document.get(value.end), document.get(start - 1)) {
        (Some(b','), _) => start..value.end + 1,
        (_, Some(b',')) => start - 1..value.end,
        _ => start..value.end,
    };
    splice(document, range, &[]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(document: &str, patch: &str) -> Result<String> {
        let mut bytes = document.as_bytes().to_vec();
        apply(&mut bytes, &parse(patch.as_bytes())?)?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn each_operation() {
        for (document, patch, expected) in [
            (r"{}", r#"[{"op":"add","path":"/a","value":1}]"#, r#"{"a":1}"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/a","value":[]}]"#, r#"{"a":[]}"#),
            (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/-","value":2}]"#, r#"{"a":[1,2]}"#),
            (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/0","value":2}]"#, r#"{"a":[2,1]}"#),
            (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/1","value":2}]"#, r#"{"a":[1,2]}"#),
            (r#"{"-":1}"#, r#"[{"op":"replace","path":"/-","value":2}]"#, r#"{"-":2}"#),
            (r#"{"a":1,"b":2}"#, r#"[{"op":"remove","path":"/a"}]"#, r#"{"b":2}"#),
            (r#"{"a":1,"b":2}"#, r#"[{"op":"remove","path":"/b"}]"#, r#"{"a":1}"#),
            (r"[1]", r#"[{"op":"remove","path":"/0"}]"#, r"[]"),
            (r#"{"a/b":1}"#, r#"[{"op":"replace","path":"/a~1b","value":"x"}]"#, r#"{"a/b":"x"}"#),
            (r#"{"a":1,"b":{}}"#, r#"[{"op":"move","from":"/a","path":"/b/c"}]"#, r#"{"b":{"c":1}}"#),
            (r#"{"a":{"x":[]}}"#, r#"[{"op":"copy","from":"/a","path":"/b"}]"#, r#"{"a":{"x":[]},"b":{"x":[]}}"#),
            (r"[1,2]", r#"[{"op":"copy","from":"/1","path":"/1"}]"#, r"[1,2,2]"),
            (r"[1,2]", r#"[{"op":"move","from":"/0","path":"/0"}]"#, r"[1,2]"),
            (r"[1]", r#"[{"op":"add","path":"","value":{}}]"#, r"{}"),
            (r#"{"a":"\u00e9"}"#, r#"[{"op":"test","path":"/a","value":"é"}]"#, r#"{"a":"\u00e9"}"#),
        ] {
            assert_eq!(patched(document, patch).unwrap(), expected, "{patch}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (document, patch) in [
            (r#"{"a":1}"#, r#"[{"op":"remove","path":"/b"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"/b","value":1}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/a/b","value":1}]"#),
            (r"[1]", r#"[{"op":"add","path":"/3","value":1}]"#),
            (r"[1]", r#"[{"op":"add","path":"/01","value":1}]"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":1.0}]"#),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a","path":"/a/b/c"}]"#),
            (r"{}", r#"[{"op":"remove","path":""}]"#),
        ] {
            assert!(matches!(patched(document, patch), Err(Error::Patch { operation: 0, .. })), "{patch}");
        }
        for malformed in [
            r"{}",
            r#"[{"op":"add"}]"#,
            r#"[{"op":"add","path":"/a"}]"#,
            r#"[{"op":"x","path":""}]"#,
            "[",
            "[]]",
            "[,]",
            r#"[{"op":"remove","path":""}{"op":"remove","path":""}]"#,
            r#"[{"op":"remove","path":""}"#,
        ] {
            assert!(parse(malformed.as_bytes()).is_err(), "{malformed}");
        }
    }

    #[test]
    fn what_is_written_reads_as_what_was_to_be_written() {
        let mut writer = Writer::default();
        writer.test(b"/a", b"1");
        writer.remove(b"/a");
        writer.step(Verb::Add, b"/b/-", b"{}");
        let written = writer.finish();
        assert_eq!(
            written,
            br#"[{"op":"test","path":"/a","value":1},{"op":"remove","path":"/a"},{"op":"add","path":"/b/-","value":{}}]"#
        );
        assert_eq!(parse(&written).unwrap().len(), 3);
        let sizes = written_size(Verb::Test, 2, 1) + written_size(Verb::Remove, 2, 0) + written_size(Verb::Add, 4, 2);
        assert_eq!(written.len(), "[]".len() + sizes - ",".len());
    }
}
