//! What turns one JSON value into another, as few operations as are found quickly.
//!
//! Where operations on the parts would be longer than the whole, the whole is replaced. Unlike what a session's log
//! says of its own fields, the order of members does not count here.

use crate::align;
use crate::error::{Error, Kind};
use crate::field::Field;
use crate::json::MAX_DEPTH;
use crate::list::{List, Record};
use crate::operations::Step;
use crate::patch::{Verb, written_size};
use crate::pointer;
use crate::state::State;
use crate::tree::{Shape, Text, Tree, narrow};

/// The operations found so far. After an error, `path` leads to where it happened.
#[derive(Debug, Default)]
pub struct Comparison {
    pub path: String,
    steps: Vec<Step>,
    /// How long they are when they are written.
    size: usize,
    depth: usize,
}

impl Comparison {
    #[must_use]
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// Compares two values that stand at `path`.
    pub fn values<'a, T: Tree<'a>>(&mut self, source: T, target: T) -> Result<(), T::Error> {
        match (source.shape(), target.shape()) {
            (Shape::Object, Shape::Object) => self.containers(source, target, Self::objects),
            (Shape::Array, Shape::Array) => self.containers(source, target, Self::arrays),
            _ if source.same(target)? => Ok(()),
            _ => self.push_value(Verb::Replace, target),
        }
    }

    /// Compares two texts, of which what is the same at both ends is not looked at.
    pub fn texts(&mut self, source: &[u8], target: &[u8]) -> Result<(), Error> {
        if source == target {
            return Ok(());
        }
        let outer = self.path.len();
        let (source, target) = narrow(source, target, &mut self.path)?;
        self.values(source, target)?;
        self.path.truncate(outer);
        Ok(())
    }

    /// Compares two states. Of those that have grown from one, only what differs is looked at.
    pub fn states(&mut self, source: &State, target: &State) -> Result<(), Error> {
        for (name, field, other) in
            source.beside(target).filter(|(_, field, other)| !other.is_some_and(|other| field.is_shared_with(other)))
        {
            match other {
                Some(other) => self.below(name, |own| own.fields(field, other))?,
                None => self.below(name, |own| own.push(Step::new(Verb::Remove, &own.path, None))),
            }
        }
        for (name, field) in target.iter().filter(|(name, _)| source.get(name).is_none()) {
            let mut text = Vec::new();
            field.encode(&mut text)?;
            self.below(name, |own| own.push(Step::new(Verb::Add, &own.path, Some(&text))));
        }
        Ok(())
    }

    fn fields(&mut self, source: &Field, target: &Field) -> Result<(), Error> {
        match (source, target) {
            (Field::Value(old), Field::Value(new)) if old.is_shared_with(new) => Ok(()),
            (Field::Value(old), Field::Value(new)) => self.texts(old.text(), new.text()),
            (Field::Records(old), Field::Records(new)) => self.lists(old, new),
            _ => {
                let (mut old, mut new) = (Vec::new(), Vec::new());
                source.encode(&mut old)?;
                target.encode(&mut new)?;
                self.texts(&old, &new)
            }
        }
    }

    /// Compares two lists of records.
    pub fn lists(&mut self, source: &List, target: &List) -> Result<(), Error> {
        let apart = source.apart(target)?;
        let place = Place { start: apart.start, is_inside: apart.is_inside };
        let (count, size) = (self.steps.len(), self.size);
        self.runs(&texts(&apart.own), &texts(&apart.others), place)?;
        // Records that are only added are each said, however few there were before.
        let is_rewritten = !apart.own.is_empty();
        if is_rewritten && self.size - size > written_size(Verb::Replace, self.path.len(), target.encoded_size()) {
            let mut text = Vec::new();
            target.encode(&mut text)?;
            self.replace_since(count, size, &text);
        }
        Ok(())
    }

    /// Compares what is in two containers, or replaces the one by the other if that is shorter.
    fn containers<'a, T: Tree<'a>>(
        &mut self,
        source: T,
        target: T,
        parts: impl FnOnce(&mut Self, T, T) -> Result<bool, T::Error>,
    ) -> Result<(), T::Error> {
        let (count, size) = (self.steps.len(), self.size);
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::codec(Kind::TooDeep, 0).into());
        }
        let done = parts(self, source, target)?;
        self.depth -= 1;
        let mut text = Vec::new();
        if done && self.size - size <= written_size(Verb::Replace, self.path.len(), target.least_size()) {
            return Ok(());
        }
        target.write(&mut text)?;
        if !done || self.size - size > written_size(Verb::Replace, self.path.len(), text.len()) {
            self.replace_since(count, size, &text);
        }
        Ok(())
    }

    /// One operation in the place of those that came after so many.
    fn replace_since(&mut self, count: usize, size: usize, text: &[u8]) {
        self.steps.truncate(count);
        self.size = size;
        self.push(Step::new(Verb::Replace, &self.path, Some(text)));
    }

    /// Whether the members could be compared one by one.
    fn objects<'a, T: Tree<'a>>(&mut self, source: T, target: T) -> Result<bool, T::Error> {
        let Some(members) = source.differing(target)? else { return Ok(false) };
        for member in members {
            self.below(&member.key, |own| match (member.old, member.new) {
                (Some(old), Some(new)) => own.values(old, new),
                (Some(_), None) => {
                    own.push(Step::new(Verb::Remove, &own.path, None));
                    Ok(())
                }
                (None, Some(new)) => own.push_value(Verb::Add, new),
                (None, None) => Ok(()),
            })?;
        }
        Ok(true)
    }

    fn arrays<'a, T: Tree<'a>>(&mut self, source: T, target: T) -> Result<bool, T::Error> {
        self.runs(&source.items()?, &target.items()?, Place { start: 0, is_inside: false })?;
        Ok(true)
    }

    /// Compares two runs of elements that stand at a place in an array.
    fn runs<'a, T: Tree<'a>>(&mut self, source: &[T], target: &[T], place: Place) -> Result<(), T::Error> {
        let start = count_same(source.iter().zip(target))?;
        let (old, new) = (source.get(start..).unwrap_or_default(), target.get(start..).unwrap_or_default());
        let end = count_same(old.iter().rev().zip(new.iter().rev()))?;
        let old = old.get(..old.len() - end).unwrap_or_default();
        let new = new.get(..new.len() - end).unwrap_or_default();
        let at = place.start + start;
        let aligned = align::align(old, new);
        for &index in aligned.removed.iter().rev() {
            self.at(at + index, |own| own.push(Step::new(Verb::Remove, &own.path, None)));
        }
        for &(from, to) in &aligned.moved {
            let from = self.at(at + from, |own| own.path.clone());
            self.at(at + to, |own| own.push(Step::moving(&from, &own.path)));
        }
        let last_kept = aligned.kept.last().map(|&(_, index)| index);
        let is_inside = place.is_inside || end > 0;
        for &index in &aligned.added {
            let Some(&value) = new.get(index) else { continue };
            if is_inside || last_kept.is_some_and(|last| last > index) {
                self.at(at + index, |own| own.push_value(Verb::Add, value))?;
            } else {
                self.below("-", |own| own.push_value(Verb::Add, value))?;
            }
        }
        for &(before, index) in &aligned.kept {
            let (Some(&a), Some(&b)) = (old.get(before), new.get(index)) else { continue };
            if !self.at(at + index, |_| a.same(b))? {
                self.at(at + index, |own| own.values(a, b))?;
            }
        }
        Ok(())
    }

    fn push_value<'a, T: Tree<'a>>(&mut self, verb: Verb, value: T) -> Result<(), T::Error> {
        let mut text = Vec::new();
        value.write(&mut text)?;
        self.push(Step::new(verb, &self.path, Some(&text)));
        Ok(())
    }

    fn push(&mut self, step: Step) {
        let pointers = step.path.len() + step.from.as_deref().map_or(0, |from| from.len() + r#","from":"""#.len());
        self.size += written_size(step.verb, pointers, step.value.as_deref().map_or(0, <[u8]>::len));
        self.steps.push(step);
    }

    /// Runs `body` with one more token on the path, which stays there after an error.
    fn below<R: Outcome>(&mut self, token: &str, body: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        pointer::push_token(&mut self.path, token);
        let result = body(self);
        if !result.is_error() {
            self.path.truncate(length);
        }
        result
    }

    fn at<R: Outcome>(&mut self, index: usize, body: impl FnOnce(&mut Self) -> R) -> R {
        self.below(itoa::Buffer::new().format(index), body)
    }
}

fn texts(records: &[Record]) -> Vec<Text<'_>> {
    records.iter().map(|record| Text(record.text())).collect()
}

/// Where a run stands in its array.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    /// Whether elements stand behind it.
    is_inside: bool,
}

trait Outcome {
    fn is_error(&self) -> bool {
        false
    }
}

impl Outcome for () {}
impl Outcome for String {}
impl<T, E> Outcome for Result<T, E> {
    fn is_error(&self) -> bool {
        self.is_err()
    }
}

fn count_same<'t, 'a, T: Tree<'a> + 't>(pairs: impl Iterator<Item = (&'t T, &'t T)>) -> Result<usize, T::Error> {
    let mut count = 0;
    for (a, b) in pairs {
        if !a.same(*b)? {
            break;
        }
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::equal;
    use crate::operations::Operations;
    use crate::patch;

    fn difference(source: &str, target: &str) -> String {
        let mut found = Comparison::default();
        found.texts(source.as_bytes(), target.as_bytes()).unwrap();
        assert_eq!((&*found.path, found.depth), ("", 0));
        let size = found.size;
        let patch = Operations::new(found.into_steps());
        let given = patch.apply(source.as_bytes()).unwrap();
        assert!(equal::json(&given, target.as_bytes()).unwrap(), "{source} {target} {patch:?}");
        let written = patch.to_json();
        assert!(size + 1 == written.len() || patch.steps().is_empty() || written.contains(&b'\\'), "{size}");
        assert!(patch::parse(&written).is_ok());
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn few_operations_are_found() {
        let filler = "x".repeat(200);
        let whole = |text: &str| format!(r#"{{"filler":"{filler}","a":{text}}}"#);
        for (source, target, expected) in [
            ("1", "1.0", r#"{"op":"replace","path":"/a","value":1.0}"#),
            ("[1,2,3]", "[1,3]", r#"{"op":"remove","path":"/a/1"}"#),
            ("[1,3]", "[1,2,3]", r#"{"op":"add","path":"/a/1","value":2}"#),
            ("[1]", "[1,2]", r#"{"op":"add","path":"/a/-","value":2}"#),
            (r#"{"x":1,"y":2}"#, r#"{"y":2,"x":1}"#, ""),
            (
                r#"[{"id":1,"t":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},{"id":2},{"id":3}]"#,
                r#"[{"id":2},{"id":3},{"id":1,"t":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}]"#,
                r#"{"op":"move","from":"/a/0","path":"/a/2"}"#,
            ),
            (
                r#"[{"id":1,"t":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","n":1},{"id":2,"u":"bbbbbbbbbbbbbbbbbb"}]"#,
                r#"[{"id":0},{"id":1,"t":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","n":2},{"id":2,"u":"bbbbbbbbbbbbbbbbbb"}]"#,
                r#"{"op":"add","path":"/a/0","value":{"id":0}},{"op":"replace","path":"/a/1/n","value":2}"#,
            ),
        ] {
            assert_eq!(difference(&whole(source), &whole(target)), format!("[{expected}]"));
        }
    }

    #[test]
    fn what_is_longer_than_the_whole_is_the_whole() {
        assert_eq!(difference("[1,2,3]", "[4,5,6]"), r#"[{"op":"replace","path":"","value":[4,5,6]}]"#);
        assert_eq!(difference(r#"{"a":1,"a":2}"#, r#"{"a":1}"#), r#"[{"op":"replace","path":"","value":{"a":1}}]"#);
    }

    #[test]
    fn arrays_of_every_kind_are_led_to_each_other() {
        let mut state = 7_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for round in 0..4000 {
            let mut array = |with_ids: bool| {
                let mut seen = std::collections::HashSet::new();
                let mut items = Vec::new();
                for _ in 0..draw(9) {
                    let id = draw(12);
                    if !with_ids {
                        items.push(format!("[{},{}]", id % 4, draw(2)));
                    } else if round % 5 == 0 || seen.insert(id) {
                        items.push(format!(r#"{{"id":{id},"n":{},"long":"{}"}}"#, draw(2), "x".repeat(60)));
                    }
                }
                format!("[{}]", items.join(","))
            };
            let with_ids = round % 2 == 0;
            let (source, target) = (array(with_ids), array(with_ids));
            difference(&source, &target);
        }
    }
}
