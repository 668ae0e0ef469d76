//! The operations of a patch that stands for itself: checked when they are read, applied as a whole, inverted.

use std::borrow::Cow;
use std::fmt;

use crate::compact::{self, depth};
use crate::error::{Error, Result};
use crate::json::MAX_DEPTH;
use crate::patch::{self, Copied, Operation, Verb};
use crate::state::State;
use crate::{equal, pointer, write};

/// So many characters of a value are shown to people.
const SHOWN: usize = 60;

/// An operation with all that it needs; its value is compact JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub verb: Verb,
    pub path: Box<str>,
    pub from: Option<Box<str>>,
    pub value: Option<Box<[u8]>>,
}

impl Step {
    #[must_use]
    pub fn new(verb: Verb, path: &str, value: Option<&[u8]>) -> Self {
        Self { verb, path: path.into(), from: None, value: value.map(Into::into) }
    }

    #[must_use]
    pub fn moving(from: &str, path: &str) -> Self {
        Self { verb: Verb::Move, path: path.into(), from: Some(from.into()), value: None }
    }

    fn operation(&self) -> Operation<'_> {
        let (path, from) = ((&*self.path).into(), self.from.as_deref().map(Into::into));
        Operation { verb: self.verb, path, from, value: self.value.as_deref() }
    }

    /// Appends it as a member of a patch document.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"op":""#);
        out.extend_from_slice(self.verb.name().as_bytes());
        out.push(b'"');
        for (name, pointer) in [(r#","from":"#, self.from.as_deref()), (r#","path":"#, Some(&*self.path))] {
            if let Some(pointer) = pointer {
                out.extend_from_slice(name.as_bytes());
                write::string(out, pointer);
            }
        }
        if let Some(value) = &self.value {
            out.extend_from_slice(br#","value":"#);
            out.extend_from_slice(value);
        }
        out.push(b'}');
    }

    /// The pointers are well-formed, and nothing comes to stand deeper than may be.
    fn check(&self) -> std::result::Result<(), &'static str> {
        let well_formed = |pointer: &str| pointer::tokens(pointer).map(|tokens| tokens.len());
        let place = well_formed(&self.path).ok_or("malformed pointer")?;
        if self.from.as_deref().is_some_and(|from| well_formed(from).is_none()) {
            return Err("malformed pointer");
        }
        fits(place, self.value.as_deref().unwrap_or_default())
    }

    fn is_same(&self, other: &Self) -> Result<bool> {
        if (self.verb, &self.path, &self.from) != (other.verb, &other.path, &other.from) {
            return Ok(false);
        }
        match (&self.value, &other.value) {
            (Some(a), Some(b)) => equal::json(a, b),
            (a, b) => Ok(a.is_none() && b.is_none()),
        }
    }
}

/// For people: values are shortened.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.verb {
            Verb::Add => '+',
            Verb::Remove => '-',
            Verb::Replace => '~',
            Verb::Move => '>',
            Verb::Copy => '=',
            Verb::Test => '?',
        };
        let pointer = |pointer: &str| if pointer.is_empty() { "(all)".to_owned() } else { pointer.to_owned() };
        write!(f, "{sign} ")?;
        if let Some(from) = &self.from {
            write!(f, "{} to ", pointer(from))?;
        }
        f.write_str(&pointer(&self.path))?;
        let Some(value) = &self.value else { return Ok(()) };
        let text = String::from_utf8_lossy(value);
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, ": {}…", text.get(..end).unwrap_or_default()),
            None => write!(f, ": {text}"),
        }
    }
}

fn fits(place: usize, value: &[u8]) -> std::result::Result<(), &'static str> {
    if place + depth(value) > MAX_DEPTH { Err("nested deeper than 128") } else { Ok(()) }
}

/// What the operations of one patch move and copy.
#[derive(Debug, Default)]
pub struct Transfers {
    copied: Copied,
}

impl Transfers {
    /// Whether a value may be moved or copied to the place of this operation.
    pub fn allow(&mut self, step: &Step, value: &[u8]) -> std::result::Result<(), &'static str> {
        self.copied.count(step.verb, value.len())?;
        fits(step.path.bytes().filter(|&byte| byte == b'/').count(), value)
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Operations(Vec<Step>);

impl Operations {
    /// Operations that are known to be good, as a comparison finds them.
    #[must_use]
    pub fn new(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    /// Reads a patch document, white space or not.
    pub fn parse(text: &[u8]) -> Result<Self> {
        // Of a patch document two levels are its own.
        let text = compact::within(text, MAX_DEPTH + 2)?;
        if text.first() != Some(&b'[') {
            return Err(Error::Patch { problem: "a patch is an array", operation: 0, path: String::new() });
        }
        let own = |op: Operation<'_>| Step {
            verb: op.verb,
            path: op.path.into(),
            from: op.from.filter(|_| matches!(op.verb, Verb::Move | Verb::Copy)).map(Into::into),
            value: op.value.filter(|_| op.verb.has_value()).map(Into::into),
        };
        let steps: Vec<_> = patch::parse(&text)?.into_iter().map(own).collect();
        for (number, step) in steps.iter().enumerate() {
            step.check().map_err(|problem| misfit(problem, number, step))?;
        }
        Ok(Self(steps))
    }

    /// Values of texts that were not checked: checked now, and without white space.
    pub fn checked(mut steps: Vec<Step>) -> Result<Self> {
        for value in steps.iter_mut().filter_map(|step| step.value.as_mut()) {
            let compacted = match compact::compact(value)? {
                Cow::Owned(compacted) => Some(compacted),
                Cow::Borrowed(_) => None,
            };
            if let Some(compacted) = compacted {
                *value = compacted.into();
            }
        }
        Ok(Self(steps))
    }

    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The patch document.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = b"[".to_vec();
        for (number, step) in self.0.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            step.write(&mut out);
        }
        out.push(b']');
        out
    }

    /// Whether both say the same; values are compared strictly.
    pub fn is_same(&self, other: &Self) -> Result<bool> {
        if self.0.len() != other.0.len() {
            return Ok(false);
        }
        for (a, b) in self.0.iter().zip(&other.0) {
            if !a.is_same(b)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the operations make of compact JSON text.
    pub fn apply(&self, document: &[u8]) -> Result<Vec<u8>> {
        let (mut document, mut transfers) = (document.to_vec(), Transfers::default());
        for (number, step) in self.0.iter().enumerate() {
            advance(&mut document, &mut transfers, number, step)?;
        }
        Ok(document)
    }

    /// What the operations make of a state.
    pub fn apply_to_state(&self, state: &State, is_records: &dyn Fn(&str) -> bool) -> Result<State> {
        let (mut state, mut transfers) = (state.clone(), Transfers::default());
        for (number, step) in self.0.iter().enumerate() {
            if let Some(value) = step.from.as_deref().map_or(Ok(None), |from| state.text_at(from))? {
                transfers.allow(step, &value).map_err(|problem| misfit(problem, number, step))?;
            }
            state = state.apply(&[step.operation()], is_records).map_err(|error| match error {
                // Values are known to be JSON: what is met is none that a state can hold.
                Error::Codec { .. } => misfit("the document stays an object", number, step),
                other => numbered(other, number),
            })?;
        }
        Ok(state)
    }

    /// The same operations on what stands at a pointer.
    #[must_use]
    pub fn below(&self, pointer: &str) -> Self {
        let longer = |path: &str| format!("{pointer}{path}").into();
        let moved = |step: &Step| Step {
            verb: step.verb,
            path: longer(&step.path),
            from: step.from.as_deref().map(longer),
            value: step.value.clone(),
        };
        Self(self.0.iter().map(moved).collect())
    }

    /// The operations that lead from what these make of `source`, compact JSON text, back to it.
    pub fn invert(&self, source: &[u8]) -> Result<Self> {
        let (mut document, mut transfers, mut back) = (source.to_vec(), Transfers::default(), Vec::new());
        for (number, step) in self.0.iter().enumerate() {
            let mut next = document.clone();
            advance(&mut next, &mut transfers, number, step)?;
            back.push(inverse(&document, step)?);
            document = next;
        }
        Ok(Self(back.into_iter().rev().flatten().collect()))
    }
}

/// Applies one operation of many.
fn advance(document: &mut Vec<u8>, transfers: &mut Transfers, number: usize, step: &Step) -> Result<()> {
    if let Some(value) = step.from.as_deref().map_or(Ok(None), |from| patch::at(document, from))? {
        transfers.allow(step, value).map_err(|problem| misfit(problem, number, step))?;
    }
    patch::apply(document, &[step.operation()]).map_err(|error| numbered(error, number))
}

fn misfit(problem: &'static str, operation: usize, step: &Step) -> Error {
    Error::Patch { problem, operation, path: step.path.clone().into() }
}

fn numbered(error: Error, operation: usize) -> Error {
    match error {
        Error::Patch { problem, path, .. } => Error::Patch { problem, operation, path },
        other => other,
    }
}

/// What takes back one operation that fits the document.
fn inverse(document: &[u8], step: &Step) -> Result<Vec<Step>> {
    let old = |path: &str| patch::at(document, path);
    Ok(match (step.verb, &step.from) {
        (Verb::Test, _) => vec![step.clone()],
        (Verb::Remove, _) => vec![Step::new(Verb::Add, &step.path, old(&step.path)?)],
        (Verb::Replace, _) => vec![Step::new(Verb::Replace, &step.path, old(&step.path)?)],
        (Verb::Move, Some(from)) if *from == step.path => Vec::new(),
        (Verb::Move, Some(from)) => {
            let mut without = document.to_vec();
            patch::apply(&mut without, &[Step::new(Verb::Remove, from, None).operation()])?;
            let taken_back = unadd(&without, &step.path)?;
            // Nothing may be moved into itself.
            let is_out_of_it = from.starts_with(&format!("{}/", step.path));
            match (taken_back.verb, old(from)?) {
                (Verb::Remove, _) if !is_out_of_it => vec![Step::moving(&taken_back.path, from)],
                (_, value) => vec![taken_back, Step::new(Verb::Add, from, value)],
            }
        }
        _ => vec![unadd(document, &step.path)?],
    })
}

/// What takes back that something was added at a path.
fn unadd(document: &[u8], path: &str) -> Result<Step> {
    let Some((parents, _)) = pointer::parent(path) else {
        return Ok(Step::new(Verb::Replace, path, Some(document)));
    };
    let parent = patch::at(document, parents)?.unwrap_or_default();
    if parent.first() == Some(&b'[') {
        let place = if path.ends_with("/-") {
            format!("{parents}/{}", crate::json::elements(parent, 0)?.count())
        } else {
            path.to_owned()
        };
        return Ok(Step::new(Verb::Remove, &place, None));
    }
    Ok(match patch::at(document, path)? {
        Some(old) => Step::new(Verb::Replace, path, Some(old)),
        None => Step::new(Verb::Remove, path, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(text: &str) -> Operations {
        Operations::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn each_operation_can_be_taken_back() {
        for (document, patch) in [
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":[]},{"op":"add","path":"/b/-","value":2}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/a","value":2},{"op":"remove","path":"/a"}]"#),
            ("[1,2]", r#"[{"op":"add","path":"/0","value":0},{"op":"remove","path":"/2"}]"#),
            ("[1,2]", r#"[{"op":"add","path":"","value":{}},{"op":"replace","path":"","value":0}]"#),
            (r#"{"a":{"b":[1]}}"#, r#"[{"op":"move","from":"/a/b","path":"/a"}]"#),
            (r#"{"a":{"b":[1]}}"#, r#"[{"op":"move","from":"/a","path":""}]"#),
            (r#"{"a":[[1,2],3]}"#, r#"[{"op":"move","from":"/a/0/1","path":"/a/0"}]"#),
            ("[0,[1,[2]]]", r#"[{"op":"move","from":"/1/1/0","path":"/1"}]"#),
            (r#"[1,3,{"x":2}]"#, r#"[{"op":"move","from":"/0","path":"/1/x"}]"#),
            ("[1,2,3]", r#"[{"op":"move","from":"/0","path":"/-"},{"op":"move","from":"/2","path":"/1"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"copy","from":"/a","path":"/a/-"},{"op":"copy","from":"/a","path":"/a"}]"#),
            (r#"{"a":1,"b":2}"#, r#"[{"op":"test","path":"/a","value":1},{"op":"move","from":"/a","path":"/b"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"move","from":"/a","path":"/a"},{"op":"copy","from":"/a","path":"/c"}]"#),
            ("[1,2]", r#"[{"op":"copy","from":"/1","path":"/1"},{"op":"copy","from":"/0","path":"/0"}]"#),
        ] {
            let patch = operations(patch);
            let there = patch.apply(document.as_bytes()).unwrap();
            let back = patch.invert(document.as_bytes()).unwrap().apply(&there).unwrap();
            assert!(equal::json(&back, document.as_bytes()).unwrap(), "{document} {}", String::from_utf8_lossy(&back));
        }
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        let text = r#"[{"op":"move","from":"/a~1\"","path":"/b"},{"op":"test","path":"","value":{"x":1.0}}]"#;
        let patch = operations(text);
        assert_eq!(patch.to_json(), text.as_bytes());
        let other = r#"[ {"path":"/b","from":"/a~1\"","op":"move"}, {"op":"test","path":"","value":{"x": 1}} ]"#;
        assert!(!patch.is_same(&operations(other)).unwrap());
        assert!(patch.is_same(&operations(&other.replace("1}", "1.0}"))).unwrap());
    }

    #[test]
    fn hostile_patches_are_refused() {
        let path = "/a".repeat(100);
        let value = [vec![b'['; 29], vec![b']'; 29]].concat();
        let deep = format!(r#"[{{"op":"add","path":"{path}","value":{}}}]"#, String::from_utf8(value).unwrap());
        assert!(matches!(Operations::parse(deep.as_bytes()), Err(Error::Patch { operation: 0, .. })));
        let doubling = format!("[{}]", vec![r#"{"op":"copy","from":"","path":"/-"}"#; 40].join(","));
        let document = format!("[{:?}]", "x".repeat(1000));
        assert!(matches!(operations(&doubling).apply(document.as_bytes()), Err(Error::Patch { .. })));
        assert!(matches!(operations(&doubling).invert(document.as_bytes()), Err(Error::Patch { .. })));
        // So in a state, whose patches are read from a store.
        let doubling = doubling.replace("\"\"", "\"/h\"").replace("/-", "/h/-");
        let start = br#"[{"op":"add","path":"","value":{"h":[{"x":1}]}}]"#;
        for is_records in [|_: &str| false, |_: &str| true] {
            let state = State::default().apply(&patch::parse(start).unwrap(), &is_records).unwrap();
            let doubled = state.apply(&patch::parse(doubling.as_bytes()).unwrap(), &is_records);
            assert!(matches!(doubled, Err(Error::Patch { .. })));
        }
        let nesting = format!("[{}]", vec![r#"{"op":"copy","from":"","path":"/0"}"#; 20].join(","));
        assert!(matches!(operations(&nesting).apply(b"[]"), Err(Error::Patch { .. }) | Ok(_)));
        for malformed in [r#"[{"op":"add","path":"a","value":1}]"#, r#"[{"op":"move","from":"x","path":""}]"#] {
            assert!(matches!(Operations::parse(malformed.as_bytes()), Err(Error::Patch { operation: 0, .. })));
        }
    }
}
