//! JSON Patch (RFC 6902): reading its operations, writing them, applying them to compact JSON text.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Kind, Result};
use crate::json::{elements, members, skip_value, slice};
use crate::{equal, pointer, text, write};

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
    let mut found = members(src, at)?;
    for member in found.by_ref() {
        let (key, range) = member?;
        let content = slice(src, range)?;
        match slice(src, key)? {
            br#""op""# => op = Some(verb(content).ok_or(bad("unknown operation"))?),
            br#""path""# => path = Some(text::unescape(content)?),
            br#""from""# => from = Some(text::unescape(content)?),
            br#""value""# => value = Some(content),
            _ => {}
        }
    }
    let verb = op.ok_or(bad("no operation"))?;
    let path = path.ok_or(bad("no path"))?;
    let lacks_value = value.is_none() && matches!(verb, Verb::Add | Verb::Replace | Verb::Test);
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

    fn begin(&mut self, op: &[u8], path: &[u8]) {
        if self.out.len() > self.start {
            self.out.push(b',');
        }
        for part in [br#"{"op":""#.as_slice(), op, br#"","path":""#, path, b"\""] {
            self.out.extend_from_slice(part);
        }
    }

    fn with_value(&mut self, op: &[u8], path: &[u8], value: &[u8]) {
        self.out.reserve(path.len() + value.len() + 40);
        self.begin(op, path);
        self.out.extend_from_slice(br#","value":"#);
        self.out.extend_from_slice(value);
        self.out.push(b'}');
    }

    pub fn add(&mut self, path: &[u8], value: &[u8]) {
        self.with_value(b"add", path, value);
    }

    pub fn replace(&mut self, path: &[u8], value: &[u8]) {
        self.with_value(b"replace", path, value);
    }

    pub fn test(&mut self, path: &[u8], value: &[u8]) {
        self.with_value(b"test", path, value);
    }

    pub fn remove(&mut self, path: &[u8]) {
        self.begin(b"remove", path);
        self.out.push(b'}');
    }

    /// How much has been written: a mark to go back to.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.out.len()
    }

    /// What was written since a mark, as a document of its own.
    #[must_use]
    pub fn since(&self, mark: usize) -> Vec<u8> {
        let written = self.out.get(mark..).unwrap_or_default();
        [b"[", written.strip_prefix(b",").unwrap_or(written), b"]"].concat()
    }

    /// Takes back what was written since a mark.
    pub fn rewind(&mut self, mark: usize) {
        self.out.truncate(mark);
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

/// Applies operations one after the other. On an error the document is what the operations before it made.
pub fn apply(document: &mut Vec<u8>, operations: &[Operation<'_>]) -> Result<()> {
    for (number, op) in operations.iter().enumerate() {
        apply_one(document, op).map_err(|problem| match problem {
            Problem::Fit(problem) => Error::Patch { problem, operation: number, path: op.path.clone().into_owned() },
            Problem::Text(error) => error,
        })?;
    }
    Ok(())
}

enum Problem {
    Fit(&'static str),
    Text(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Text(error)
    }
}

type Outcome<T> = std::result::Result<T, Problem>;

const ABSENT: Problem = Problem::Fit("nothing stands there");

fn apply_one(document: &mut Vec<u8>, op: &Operation<'_>) -> Outcome<()> {
    let path = pointer::tokens(&op.path).ok_or(Problem::Fit("malformed pointer"))?;
    let given = op.value.unwrap_or_default();
    match op.verb {
        Verb::Add => add(document, &path, given),
        Verb::Remove => remove(document, &path),
        Verb::Replace => replace(document, &path, given),
        Verb::Test => {
            let span = find(document, &path)?.ok_or(ABSENT)?;
            let same = equal::json(slice(document, span)?, given)?;
            if same { Ok(()) } else { Err(Problem::Fit("the test does not hold")) }
        }
        Verb::Move | Verb::Copy => {
            let from = op.from.as_deref().unwrap_or_default();
            if op.verb == Verb::Move && op.path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                return Err(Problem::Fit("a value cannot move into itself"));
            }
            let from = pointer::tokens(from).ok_or(Problem::Fit("malformed pointer"))?;
            let span = find(document, &from)?.ok_or(ABSENT)?;
            let value = slice(document, span)?.to_vec();
            if op.verb == Verb::Move && from != path {
                remove(document, &from)?;
            }
            if from == path { Ok(()) } else { add(document, &path, &value) }
        }
    }
}

/// The value that a pointer leads to.
pub fn at<'a>(document: &'a [u8], path: &str) -> Result<Option<&'a [u8]>> {
    let Some(path) = pointer::tokens(path) else { return Ok(None) };
    match find(document, &path) {
        Ok(span) => span.map(|span| slice(document, span)).transpose(),
        Err(Problem::Text(error)) => Err(error),
        Err(Problem::Fit(_)) => Ok(None),
    }
}

/// Where the value at a path stands.
fn find(document: &[u8], path: &[Cow<'_, str>]) -> Outcome<Option<Range<usize>>> {
    let mut at = 0;
    for token in path {
        match child(document, at, token)? {
            Some((_, value)) => at = value.start,
            None => return Ok(None),
        }
    }
    Ok(Some(at..skip_value(document, at)?))
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

fn splice(document: &mut Vec<u8>, range: Range<usize>, parts: &[&[u8]]) {
    drop(document.splice(range, parts.concat()));
}

fn replace(document: &mut Vec<u8>, path: &[Cow<'_, str>], value: &[u8]) -> Outcome<()> {
    let span = find(document, path)?.ok_or(ABSENT)?;
    splice(document, span, &[value]);
    Ok(())
}

fn add(document: &mut Vec<u8>, path: &[Cow<'_, str>], value: &[u8]) -> Outcome<()> {
    let Some((last, parents)) = path.split_last() else {
        splice(document, 0..document.len(), &[value]);
        return Ok(());
    };
    let parent = find(document, parents)?.ok_or(Problem::Fit("the parent does not exist"))?;
    let close = parent.end - 1;
    let comma: &[u8] = if close == parent.start + 1 { b"" } else { b"," };
    let existing = child(document, parent.start, last)?;
    match (document.get(parent.start), existing) {
        (Some(b'{'), Some((_, span))) => splice(document, span, &[value]),
        (Some(b'{'), None) => {
            let mut key = Vec::new();
            write::string(&mut key, last);
            splice(document, close..close, &[comma, &key, b":", value]);
        }
        (Some(b'['), Some((start, _))) => splice(document, start..start, &[value, b","]),
        (Some(b'['), None) => {
            let at_end = last == "-" || pointer::index(last) == Some(elements(document, parent.start)?.count());
            if !at_end {
                return Err(Problem::Fit("no such place in the array"));
            }
            splice(document, close..close, &[comma, value]);
        }
        _ => return Err(Problem::Fit("the parent is no container")),
    }
    Ok(())
}

fn remove(document: &mut Vec<u8>, path: &[Cow<'_, str>]) -> Outcome<()> {
    let (last, parents) = path.split_last().ok_or(Problem::Fit("the whole document cannot be removed"))?;
    let parent = find(document, parents)?.ok_or(ABSENT)?;
    let (start, value) = child(document, parent.start, last)?.ok_or(ABSENT)?;
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
    fn a_writer_can_take_back() {
        let mut writer = Writer::default();
        writer.test(b"/a", b"1");
        let mark = writer.mark();
        writer.remove(b"/a");
        assert_eq!(writer.since(mark), br#"[{"op":"remove","path":"/a"}]"#);
        writer.rewind(mark);
        writer.add(b"/b/-", b"{}");
        let written = writer.finish();
        assert_eq!(written, br#"[{"op":"test","path":"/a","value":1},{"op":"add","path":"/b/-","value":{}}]"#);
        assert_eq!(parse(&written).unwrap().len(), 2);
    }
}
