//! The change from one state to the next, and its patch.

use std::sync::Arc;

use crate::diff;
use crate::edits::Edits;
use crate::error::Result;
use crate::field::{Field, Value};
use crate::patch::Writer;
use crate::state::State;
use crate::{pointer, write};

/// Fields whose change is a transition: the patch first tests what it departs from.
const TRANSITIONS: [&str; 1] = ["current_state"];

/// A new value of one field.
#[derive(Debug, Clone)]
pub enum Change {
    Value(Arc<str>, Value),
    Records(Arc<str>, Edits, &'static str),
}

impl Change {
    #[must_use]
    pub fn name(&self) -> &str {
        let (Self::Value(name, _) | Self::Records(name, ..)) = self;
        name
    }

    /// Whether it edits a record that has no id to be known by.
    pub(crate) fn edits_unidentified(&self) -> bool {
        matches!(self, Self::Records(_, edits, _) if edits.meet_unidentified())
    }

    /// The bytes that it adds to what the field was before, nearly.
    fn growth(&self, own: Option<&Field>) -> usize {
        let before = own.map_or(0, Field::size);
        match self {
            // What is not written takes time whatever stood there before.
            Self::Value(_, value) if value.is_unwritten() => value.size(),
            Self::Value(_, value) => value.size().saturating_sub(before),
            Self::Records(_, edits, _) => edits.growth(before),
        }
    }

    /// The change that leads from `base` to `next`, of which this one was the last part.
    pub(crate) fn moved(&self, base: &State, next: &State) -> Self {
        match (self, base.get(self.name()), next.get(self.name())) {
            (Self::Records(name, _, id_key), Some(Field::Records(own)), Some(Field::Records(list))) => {
                Self::Records(Arc::clone(name), Edits::appended(list.clone(), own.len()), id_key)
            }
            (Self::Value(name, _), _, Some(Field::Value(value))) => Self::Value(Arc::clone(name), value.clone()),
            _ => self.clone(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Delta {
    base: State,
    next: State,
    changes: Vec<Change>,
}

impl Delta {
    #[must_use]
    pub fn new(base: State, changes: Vec<Change>) -> Self {
        let next = base.with(changes.iter().map(|change| match change {
            Change::Value(name, value) => (name, Field::Value(value.clone())),
            Change::Records(name, edits, _) => (name, Field::Records(edits.list.clone())),
        }));
        Self { base, next, changes }
    }

    #[must_use]
    pub fn base(&self) -> &State {
        &self.base
    }

    #[must_use]
    pub fn next(&self) -> &State {
        &self.next
    }

    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The bytes that it adds, nearly: its patch has them all.
    #[must_use]
    pub fn growth(&self) -> usize {
        self.changes.iter().map(|change| change.growth(self.base.get(change.name()))).sum()
    }

    /// The JSON Patch that leads from the base to the next state; that of the first state adds the whole document.
    pub fn patch(&self) -> Result<Vec<u8>> {
        self.written(Writer::default())
    }

    /// Appends the patch to a buffer. After an error nothing that was in it is there any more.
    pub fn append_patch(&self, out: &mut Vec<u8>) -> Result<()> {
        *out = self.written(Writer::behind(std::mem::take(out)))?;
        Ok(())
    }

    fn written(&self, mut out: Writer) -> Result<Vec<u8>> {
        if self.base.is_empty() {
            let mut document = Vec::new();
            self.next.encode(&mut document)?;
            out.add(b"", &document);
            return Ok(out.finish());
        }
        let mut path = Vec::with_capacity(64);
        for change in &self.changes {
            self.write(change, &mut path, &mut out)?;
        }
        Ok(out.finish())
    }

    /// The operations of one of its changes, none for records.
    pub(crate) fn patch_of_value(&self, change: &Change) -> Result<Vec<u8>> {
        let mut out = Writer::default();
        if matches!(change, Change::Value(..)) {
            self.write(change, &mut Vec::new(), &mut out)?;
        }
        Ok(out.finish())
    }

    /// `path` is room for one.
    fn write(&self, change: &Change, path: &mut Vec<u8>, out: &mut Writer) -> Result<()> {
        let (Change::Value(name, _) | Change::Records(name, ..)) = change;
        path.clear();
        self.push_name(path, name);
        match (change, self.base.of(name)) {
            (Change::Value(_, value), None) => out.add(path, value.text()),
            (Change::Value(_, value), Some(Field::Value(own))) => {
                if TRANSITIONS.contains(&&**name) {
                    out.test(path, own.text());
                }
                diff::value(out, path, own.text(), value.text())?;
            }
            (Change::Value(_, value), Some(Field::Records(_))) => out.replace(path, value.text()),
            (Change::Records(_, edits, id_key), Some(Field::Records(_))) => edits.write(out, path, id_key)?,
            (Change::Records(_, edits, _), own) => {
                let mut text = Vec::new();
                edits.list.encode(&mut text)?;
                if own.is_some() { out.replace(path, &text) } else { out.add(path, &text) }
            }
        }
        Ok(())
    }

    /// Appends the pointer to a field, as JSON text without quotes.
    fn push_name(&self, path: &mut Vec<u8>, name: &str) {
        if self.next.names().are_plain() {
            path.push(b'/');
            path.extend_from_slice(name.as_bytes());
            return;
        }
        let mut quoted = Vec::new();
        write::string(&mut quoted, name);
        pointer::push(path, quoted.get(1..quoted.len() - 1).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edits::Tracked;
    use crate::list::List;
    use crate::patch;

    fn value(name: &str, text: &str) -> Change {
        Change::Value(name.into(), Value::new(text.as_bytes()))
    }

    fn replayed(delta: &Delta) -> String {
        let patch = delta.patch().unwrap();
        let state = delta.base().apply(&patch::parse(&patch).unwrap(), &|name| name == "history").unwrap();
        let (mut replayed, mut next) = (Vec::new(), Vec::new());
        state.encode(&mut replayed).unwrap();
        delta.next().encode(&mut next).unwrap();
        assert_eq!(replayed, next);
        let mut behind = b"x".to_vec();
        delta.append_patch(&mut behind).unwrap();
        assert_eq!(behind.strip_prefix(b"x").unwrap(), patch);
        String::from_utf8(patch).unwrap()
    }

    /// A name that is special makes those beside it no other, and goes into the patch as a pointer in a JSON string.
    #[test]
    fn fields_of_any_name_are_led_to() {
        for special in ["", "a/b", "~", "\"", "\\", "\u{1}", "é", "a b", "-"] {
            let first = Delta::new(State::default(), vec![value("plain_1", "1"), value("x", "[]")]);
            let named = Delta::new(first.next().clone(), vec![value("x", "[1]"), value(special, "{}")]);
            replayed(&named);
            let changes = vec![value(special, r#"{"k":1}"#), value("plain_1", "2")];
            replayed(&Delta::new(named.next().clone(), changes));
        }
    }

    #[test]
    fn it_grows_by_what_is_new() {
        let record = br#"{"id":"1","text":"0123456789"}"#;
        let mut list = Tracked::new(List::default(), "id");
        (0..100).for_each(|_| list.push(record));
        let records = |list: &mut Tracked| Change::Records("history".into(), list.freeze(), "id");
        let first = Delta::new(State::default(), vec![records(&mut list), value("x", "[1,2]")]);
        assert_eq!(first.growth(), 100 * (record.len() + 1) + 1 + 5);
        list.push(record);
        let appended = Delta::new(first.next().clone(), vec![records(&mut list), value("x", "[1,2,3]")]);
        assert_eq!(appended.growth(), record.len() + 1 + 2);
        list.splice(3..4, &[record]).unwrap();
        assert_eq!(
            Delta::new(appended.next().clone(), vec![records(&mut list), value("x", "[]")]).growth(),
            record.len()
        );
        list.splice(0..101, &[record, record]).unwrap();
        assert_eq!(Delta::new(appended.next().clone(), vec![records(&mut list)]).growth(), 2 * record.len() + 3);
    }

    #[test]
    fn a_first_state_is_added_whole_and_the_next_one_says_what_changed() {
        let mut list = Tracked::new(List::default(), "id");
        let first = Delta::new(
            State::default(),
            vec![Change::Records("history".into(), list.freeze(), "id"), value("current_state", "\"idle\"")],
        );
        assert_eq!(replayed(&first), r#"[{"op":"add","path":"","value":{"history":[],"current_state":"idle"}}]"#);
        list.push(br#"{"id":"1"}"#);
        let changes = vec![
            Change::Records("history".into(), list.freeze(), "id"),
            value("current_state", "\"busy\""),
            value("x", "{}"),
        ];
        assert_eq!(
            replayed(&Delta::new(first.next().clone(), changes)),
            concat!(
                r#"[{"op":"add","path":"/history/-","value":{"id":"1"}},{"op":"test","path":"/current_state","#,
                r#""value":"idle"},{"op":"replace","path":"/current_state","value":"busy"},"#,
                r#"{"op":"add","path":"/x","value":{}}]"#
            )
        );
    }
}
