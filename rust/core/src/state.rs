//! The content of a session at one version: its fields, each a JSON text or a list of records.

use std::sync::Arc;

pub use crate::content::Names;
use crate::content::{Content, FEW};
use crate::error::{Error, Result};
use crate::field::{Field, Value, field};
use crate::json::{members, slice};
use crate::list::List;
use crate::patch::{self, Copied, Operation, Verb};
use crate::{equal, pointer, text, write};

/// See the module. Immutable; a clone is one more reference.
#[derive(Debug, Clone, Default)]
pub struct State {
    content: Arc<Content>,
}

impl State {
    /// Of fields, each with its name, which all differ.
    #[must_use]
    pub fn new(names: Names, fields: Vec<Field>) -> Self {
        Self { content: Arc::new(Content { names, shared: Arc::new(fields), latest: Vec::new() }) }
    }

    #[must_use]
    pub fn names(&self) -> &Names {
        &self.content.names
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.content.shared.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Field)> {
        let fields = self.content.shared.iter().enumerate().map(|(at, field)| self.latest_at(at).unwrap_or(field));
        self.content.names.iter().map(|name| &**name).zip(fields)
    }

    /// Its fields, each with that of another state.
    pub fn beside<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a str, &'a Field, Option<&'a Field>)> {
        let alike = Arc::ptr_eq(&self.content.names, &other.content.names);
        self.iter()
            .enumerate()
            .map(move |(at, (name, field))| (name, field, if alike { other.at(at) } else { other.get(name) }))
    }

    fn latest_at(&self, place: usize) -> Option<&Field> {
        self.content.latest.iter().find(|(at, _)| *at == place).map(|(_, field)| field)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.content.names.place(name)
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.entry(name).map(|(_, field)| field)
    }

    /// A field by a name that is most likely shared with this state.
    pub(crate) fn of(&self, name: &Arc<str>) -> Option<&Field> {
        self.at(self.content.names.place_of(name)?)
    }

    fn at(&self, place: usize) -> Option<&Field> {
        self.latest_at(place).or_else(|| self.content.shared.get(place))
    }

    /// A field with its name as it is shared.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<(&Arc<str>, &Field)> {
        let place = self.place(name)?;
        self.at(place).and_then(|field| Some((self.content.names.get(place)?, field)))
    }

    /// Puts a field in its place, or behind the others if it is new.
    pub fn set(&mut self, name: &str, field: Field) {
        let place = self.place(name);
        let content = Arc::make_mut(&mut self.content);
        let Some(place) = place else {
            content.push(name, field);
            return;
        };
        let shrinks = content.shrinks(place, &field);
        match content.latest.iter_mut().find(|(at, _)| *at == place) {
            Some((_, before)) => *before = field,
            None => content.latest.push((place, field)),
        }
        content.settle_if(shrinks);
    }

    /// The state in which these fields, each given once, are others. Those that were set last are not copied first.
    #[must_use]
    pub fn with<'a>(&self, fields: impl Iterator<Item = (&'a Arc<str>, Field)>) -> Self {
        let Content { names, shared, latest: before } = &*self.content;
        let latest = Vec::with_capacity(FEW);
        let (mut next, mut shrinks) = (Content { names: Arc::clone(names), shared: Arc::clone(shared), latest }, false);
        for (name, field) in fields {
            if let Some(place) = next.names.place_of(name) {
                shrinks |= next.shrinks(place, &field);
                next.latest.push((place, field));
            } else {
                next.push(name, field);
            }
        }
        let given = next.latest.len();
        for (at, field) in before {
            if !next.latest.iter().take(given).any(|(place, _)| place == at) {
                next.latest.push((*at, field.clone()));
            }
        }
        next.settle_if(shrinks);
        Self { content: Arc::new(next) }
    }

    fn unset(&mut self, name: &str) {
        if let Some(at) = self.place(name) {
            let content = Arc::make_mut(&mut self.content);
            content.settle_if(true);
            Arc::make_mut(&mut content.names).remove(at);
            Arc::make_mut(&mut content.shared).remove(at);
        }
    }

    /// The bytes of the JSON texts of its fields.
    #[must_use]
    pub fn size(&self) -> usize {
        self.iter().map(|(_, field)| field.size()).sum()
    }

    /// The length of their JSON object, but for names that need escapes and segments that are still sealed.
    #[must_use]
    pub fn likely_size(&self) -> usize {
        // With its quotes, its colon, and a comma or a brace.
        2 + self.iter().map(|(name, field)| name.len() + 4 + field.size()).sum::<usize>().saturating_sub(1)
    }

    /// Appends the JSON object of all fields.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.pieces(&mut |piece| out.extend_from_slice(piece))
    }

    /// Gives the JSON object of all fields to `write`, piece by piece, so that it is copied once.
    pub fn pieces(&self, write: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut key = Vec::with_capacity(128);
        key.push(b'{');
        for (name, field) in self.iter() {
            write::string(&mut key, name);
            key.push(b':');
            write(&key);
            field.pieces(write)?;
            key.clear();
            key.push(b',');
        }
        write(if self.is_empty() { b"{}" } else { b"}" });
        Ok(())
    }

    /// The JSON object of those fields that are no lists of records, in their order, as far as they fit into `most` bytes.
    #[must_use]
    pub fn excerpt(&self, most: usize) -> Vec<u8> {
        let mut out = b"{".to_vec();
        for (name, field) in self.iter() {
            let Field::Value(value) = field else { continue };
            let text = value.text();
            // With its quotes, its colon, a comma and the last bracket.
            if out.len().saturating_add(name.len()).saturating_add(text.len()).saturating_add(5) > most {
                continue;
            }
            if out.len() > 1 {
                out.push(b',');
            }
            write::string(&mut out, name);
            out.push(b':');
            out.extend_from_slice(text);
        }
        out.push(b'}');
        out
    }

    /// The state after a patch; `is_records` tells which fields are lists of records when they first appear.
    pub fn apply(&self, operations: &[Operation<'_>], is_records: &dyn Fn(&str) -> bool) -> Result<Self> {
        let (mut state, mut copied) = (self.clone(), Copied::default());
        for (number, op) in operations.iter().enumerate() {
            state.apply_next(op, &mut copied, is_records).map_err(|error| match error {
                Error::Patch { problem, path, .. } => Error::Patch { problem, operation: number, path },
                other => other,
            })?;
        }
        Ok(state)
    }

    fn apply_next(&mut self, op: &Operation<'_>, copied: &mut Copied, is_records: &dyn Fn(&str) -> bool) -> Result<()> {
        let (Verb::Move | Verb::Copy, Some(from)) = (op.verb, &op.from) else { return self.apply_one(op, is_records) };
        patch::check_move(op.verb, from, &op.path).map_err(|problem| misfit(op, problem))?;
        let text = self.text_at(from)?.ok_or_else(|| misfit(op, "nothing stands there"))?;
        copied.count(op.verb, text.len()).map_err(|problem| misfit(op, problem))?;
        if op.verb == Verb::Move {
            if *from == op.path {
                return Ok(());
            }
            self.apply_one(&Operation { verb: Verb::Remove, path: from.clone(), from: None, value: None }, is_records)?;
        }
        let add = Operation { verb: Verb::Add, path: op.path.clone(), from: None, value: Some(&text) };
        self.apply_one(&add, is_records)
    }

    fn apply_one(&mut self, op: &Operation<'_>, is_records: &dyn Fn(&str) -> bool) -> Result<()> {
        let tokens = pointer::tokens(&op.path).ok_or_else(|| misfit(op, "malformed pointer"))?;
        match tokens.as_slice() {
            [] => self.apply_to_all(op, is_records),
            [name] => self.apply_to_field(op, name, is_records(name)),
            [name, rest @ ..] => match self.get(name).cloned() {
                None => Err(misfit(op, "the parent does not exist")),
                Some(Field::Value(value)) => {
                    let mut text = value.text().to_vec();
                    patch::apply(&mut text, &[below(op, 1)])?;
                    if op.verb != Verb::Test {
                        self.set(name, Field::Value(Value::new(&text)));
                    }
                    Ok(())
                }
                Some(Field::Records(mut list)) => {
                    let is_own_place = rest.len() == 1 && op.verb != Verb::Test;
                    let index = rest.first().map_or("", |token| token);
                    (if is_own_place { place_record } else { patch_record })(&mut list, op, index)?;
                    self.set(name, Field::Records(list));
                    Ok(())
                }
            },
        }
    }

    fn apply_to_all(&mut self, op: &Operation<'_>, is_records: &dyn Fn(&str) -> bool) -> Result<()> {
        let given = op.value.unwrap_or_default();
        match op.verb {
            Verb::Add | Verb::Replace => {
                let mut state = Self::default();
                for found in members(given, 0)? {
                    let (key, value) = found?;
                    let name = text::unescape(slice(given, key)?)?;
                    state.set(&name, field(slice(given, value)?, is_records(&name))?);
                }
                *self = state;
                Ok(())
            }
            Verb::Test => {
                let mut own = Vec::new();
                self.encode(&mut own)?;
                holds(op, &own)
            }
            _ => Err(misfit(op, "the whole document cannot be removed")),
        }
    }

    fn apply_to_field(&mut self, op: &Operation<'_>, name: &str, records: bool) -> Result<()> {
        let own = self.get(name);
        if own.is_none() && op.verb != Verb::Add {
            return Err(misfit(op, "nothing stands there"));
        }
        let records = records || matches!(own, Some(Field::Records(_)));
        match op.verb {
            Verb::Test => {
                let mut text = Vec::new();
                own.map(|field| field.encode(&mut text)).transpose()?;
                holds(op, &text)?;
            }
            Verb::Remove => self.unset(name),
            _ => self.set(name, field(op.value.unwrap_or_default(), records)?),
        }
        Ok(())
    }

    /// The text that a pointer leads to.
    pub fn text_at(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        let Some(mut tokens) = pointer::tokens(path) else { return Ok(None) };
        if tokens.is_empty() {
            self.encode(&mut text)?;
            return Ok(Some(text));
        }
        let Some(field) = self.get(&tokens.remove(0)) else { return Ok(None) };
        let rest = |tokens: usize| path.match_indices('/').nth(tokens).map_or("", |(at, _)| path.split_at(at).1);
        let found = match (field, tokens.first()) {
            (Field::Records(list), Some(index)) => match pointer::index(index).filter(|&at| at < list.len()) {
                Some(at) => patch::at(list.get(at)?.text(), rest(2))?.map(<[u8]>::to_vec),
                None => None,
            },
            (Field::Value(value), _) => patch::at(value.text(), rest(1))?.map(<[u8]>::to_vec),
            (Field::Records(list), None) => {
                list.encode(&mut text)?;
                Some(text)
            }
        };
        Ok(found)
    }
}

fn misfit(op: &Operation<'_>, problem: &'static str) -> Error {
    Error::Patch { problem, operation: 0, path: op.path.clone().into_owned() }
}

fn holds(op: &Operation<'_>, own: &[u8]) -> Result<()> {
    if equal::json(own, op.value.unwrap_or_default())? { Ok(()) } else { Err(misfit(op, "the test does not hold")) }
}

/// The operation with the first tokens of its path left out.
fn below<'a>(op: &Operation<'a>, tokens: usize) -> Operation<'a> {
    let start = op.path.match_indices('/').nth(tokens).map_or(op.path.len(), |(at, _)| at);
    Operation { path: op.path.get(start..).unwrap_or_default().to_owned().into(), ..op.clone() }
}

/// An operation on a record as a whole.
fn place_record(list: &mut List, op: &Operation<'_>, token: &str) -> Result<()> {
    let given = op.value.unwrap_or_default();
    if op.verb == Verb::Add && token == "-" {
        list.push(given);
        return Ok(());
    }
    let index = pointer::index(token).ok_or_else(|| misfit(op, "no such place in the array"))?;
    let (range, new): (_, &[&[u8]]) = match op.verb {
        Verb::Add => (index..index, &[given]),
        Verb::Remove => (index..index + 1, &[]),
        _ => (index..index + 1, &[given]),
    };
    list.splice(range, new).map_err(|error| match error {
        Error::OutOfRange => misfit(op, "no such place in the array"),
        other => other,
    })
}

/// An operation inside a record, or a test of one.
fn patch_record(list: &mut List, op: &Operation<'_>, token: &str) -> Result<()> {
    let index = pointer::index(token).filter(|&n| n < list.len()).ok_or_else(|| misfit(op, "nothing stands there"))?;
    let mut text = list.get(index)?.text().to_vec();
    patch::apply(&mut text, &[below(op, 2)])?;
    if op.verb == Verb::Test {
        return Ok(());
    }
    list.splice(index..index + 1, &[&text])
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"{"h":[{"id":"a","n":1},{"id":"b"}],"d":{"x":{"y":1}},"s":"idle"}"#;

    fn state(document: &str) -> State {
        let patch = format!(r#"[{{"op":"add","path":"","value":{document}}}]"#);
        State::default().apply(&patch::parse(patch.as_bytes()).unwrap(), &|name| name == "h").unwrap()
    }

    fn encoded(state: &State) -> String {
        let mut out = Vec::new();
        state.encode(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// A list of records takes the same patches as the text of the same document.
    #[test]
    fn fields_set_together_are_those_set_one_by_one() {
        let mut seed = 5_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below
        };
        let names: Vec<Arc<str>> = (0..12).map(|n| format!("field {n}").into()).collect();
        let (mut together, mut single) = (State::default(), State::default());
        for _ in 0..3000 {
            let before = (together.clone(), encoded(&together));
            let first = random(names.len());
            let chosen = names.iter().cycle().skip(first).take(1 + random(7));
            let fields: Vec<_> =
                chosen.map(|name| (name, Field::Value(Value::new("1".repeat(1 + random(9)).as_bytes())))).collect();
            together = together.with(fields.iter().map(|(name, field)| (*name, field.clone())));
            for (name, field) in fields {
                single.set(name, field);
            }
            assert_eq!((encoded(&together), together.size()), (encoded(&single), single.size()));
            assert!(together.content.latest.len() <= FEW);
            assert_eq!(encoded(&before.0), before.1);
        }
    }

    #[test]
    fn applies_like_the_text_of_the_document() {
        assert_eq!(encoded(&state(START)), START);
        for ops in [
            r#"{"op":"add","path":"/h/-","value":{"id":"c"}}"#,
            r#"{"op":"add","path":"/h/0","value":{"id":"c"}}"#,
            r#"{"op":"add","path":"/h/2","value":{"id":"c"}}"#,
            r#"{"op":"add","path":"/h/3","value":{"id":"c"}}"#,
            r#"{"op":"remove","path":"/h/1"}"#,
            r#"{"op":"remove","path":"/h/2"}"#,
            r#"{"op":"test","path":"/h/0/id","value":"a"},{"op":"replace","path":"/h/0","value":{}}"#,
            r#"{"op":"test","path":"/h/0/id","value":"b"}"#,
            r#"{"op":"replace","path":"/h/0/n","value":1.0}"#,
            r#"{"op":"replace","path":"/h","value":[]}"#,
            r#"{"op":"add","path":"/new","value":[1]}"#,
            r#"{"op":"replace","path":"/new","value":[1]}"#,
            r#"{"op":"replace","path":"/d/x/y","value":[]}"#,
            r#"{"op":"remove","path":"/d"}"#,
            r#"{"op":"move","from":"/h/0","path":"/d/x/z"}"#,
            r#"{"op":"move","from":"/h/0","path":"/h/0/x"}"#,
            r#"{"op":"move","from":"/h","path":"/h"}"#,
            r#"{"op":"copy","from":"/d","path":"/h/0"}"#,
            r#"{"op":"copy","from":"/h/1","path":"/h/1"}"#,
            r#"{"op":"test","path":"/s","value":"busy"}"#,
            r#"{"op":"test","path":"/d","value":{"x":{"y":1}}}"#,
            r#"{"op":"add","path":"/gone/x","value":1}"#,
        ] {
            let patch = format!("[{ops}]");
            let operations = patch::parse(patch.as_bytes()).unwrap();
            let mut document = START.as_bytes().to_vec();
            let expected = patch::apply(&mut document, &operations).map(|()| String::from_utf8(document).unwrap());
            let found = state(START).apply(&operations, &|_| false).map(|state| encoded(&state));
            assert_eq!(found.is_ok(), expected.is_ok(), "{ops}");
            if let Ok(found) = found {
                assert_eq!(found, expected.unwrap(), "{ops}");
            }
        }
    }

    #[test]
    fn the_size_is_that_of_the_texts() {
        let names = r#"{"h":,"d":,"s":}"#.len();
        assert_eq!(state(START).size() + names, START.len());
        assert_eq!(State::default().size(), 0);
        assert_eq!((state(START).likely_size(), State::default().likely_size()), (START.len(), 2));
    }

    #[test]
    fn fields_stay_in_their_places_however_many_are_set() {
        let names: Vec<_> = ('a'..='j').map(String::from).collect();
        let of = |n: usize| Field::Value(Value::new(n.to_string().as_bytes()));
        let mut state = State::default();
        for name in &names {
            state.set(name, of(0));
        }
        let mut model = vec![0; names.len()];
        for n in 1..500 {
            let (before, expected) = (state.clone(), encoded(&state));
            let at = n * n % names.len();
            state.set(&names[at], of(n));
            model[at] = n;
            let members: Vec<_> = names.iter().zip(&model).map(|(name, n)| format!("\"{name}\":{n}")).collect();
            assert_eq!(encoded(&state), format!("{{{}}}", members.join(",")));
            assert_eq!(encoded(&before), expected);
        }
        state.set("d", of(7));
        assert!(state.content.latest.is_empty());
        state.unset("c");
        assert!(state.get("c").is_none());
        assert_eq!(state.iter().count(), names.len() - 1);
    }

    #[test]
    fn a_large_text_is_not_held_beside_the_one_that_follows_it() {
        let text = |digit| Field::Value(Value::new(&vec![digit; 64 * 1024]));
        let mut state = State::default();
        for digit in [b'1', b'2'] {
            state.set("d", text(digit));
            assert!(state.content.latest.is_empty());
        }
        let next = state.with(std::iter::once((&Arc::from("d"), text(b'3'))));
        assert!(next.content.latest.is_empty() && next.size() == state.size());
    }

    #[test]
    fn applying_leaves_the_state_before_as_it_was() {
        let before = state(START);
        let patch = br#"[{"op":"add","path":"/h/-","value":{}},{"op":"replace","path":"/s","value":"x"}]"#;
        before.apply(&patch::parse(patch).unwrap(), &|_| false).unwrap();
        assert_eq!(encoded(&before), START);
    }
}
