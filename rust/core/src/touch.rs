//! What an operation of a patch touches, and when two of them exclude each other.

use crate::error::{Error, Result};
use crate::field::Field;
use crate::json::{members, slice};
use crate::patch::{Operation, Verb};
use crate::state::State;
use crate::{pointer, text};

/// What an operation changes: the value at a path, or the end of the array there.
#[derive(Debug)]
pub(crate) struct Touch {
    path: String,
    appends: bool,
}

impl Touch {
    fn whole(path: &str) -> Self {
        Self { path: path.to_owned(), appends: false }
    }

    /// An edit of a list of records: of its end, or else of all of it.
    pub(crate) fn of_records(name: &str, appends: bool) -> Self {
        Self { path: path_of(name), appends }
    }

    /// Whether it adds to the end of the field at this pointer.
    pub(crate) fn extends(&self, field: &str) -> bool {
        self.appends && self.path == field
    }

    /// Whether it is the field at this pointer, or in it.
    pub(crate) fn is_in(&self, field: &str) -> bool {
        self.path.is_empty() || leads_into(field, &self.path)
    }

    /// The longer of both paths, if the two exclude each other.
    pub(crate) fn meets<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let (short, long) = if self.path.len() < other.path.len() { (self, other) } else { (other, self) };
        let both_append = self.appends && other.appends && self.path == other.path;
        (!both_append && leads_into(&short.path, &long.path)).then_some(&long.path)
    }
}

/// Whether a pointer leads to a value, or into it. A token has one spelling, so texts are compared.
fn leads_into(value: &str, path: &str) -> bool {
    path.strip_prefix(value).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The pointer to a field.
pub(crate) fn path_of(name: &str) -> String {
    let mut path = Vec::new();
    pointer::push(&mut path, name.as_bytes());
    String::from_utf8(path).unwrap_or_default()
}

/// Appends what an operation touches. Its path is looked up in a state before all operations of its side: where an
/// earlier one has changed the kind of a container, that one touches the container as a whole.
pub(crate) fn touches(state: &State, op: &Operation<'_>, out: &mut Vec<Touch>) -> Result<()> {
    if op.verb != Verb::Test {
        out.push(touch(state, op.verb, &op.path)?);
        // What is copied must be what was there.
        if let Some(from) = &op.from {
            out.push(touch(state, Verb::Remove, from)?);
        }
    }
    Ok(())
}

fn touch(state: &State, verb: Verb, path: &str) -> Result<Touch> {
    let malformed = || Error::Patch { problem: "malformed pointer", operation: 0, path: path.to_owned() };
    let tokens = pointer::tokens(path).ok_or_else(malformed)?;
    let Some((name, rest)) = tokens.split_first() else { return Ok(Touch::whole("")) };
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    let mut value = match state.get(name) {
        Some(Field::Records(_)) => Some(b"[".as_slice()),
        Some(Field::Value(value)) => Some(value.text()),
        None => None,
    };
    for (number, (token, end)) in rest.iter().zip(ends).enumerate() {
        let parent = path.get(..end).unwrap_or_default();
        match value {
            Some([b'{', ..]) => value = child(value.unwrap_or_default(), token)?,
            Some([b'[', ..]) => {
                let appends = verb == Verb::Add && token == "-" && number + 1 == rest.len();
                return Ok(Touch { appends, ..Touch::whole(parent) });
            }
            _ => return Ok(Touch::whole(parent)),
        }
    }
    Ok(Touch::whole(path))
}

fn child<'a>(object: &'a [u8], key: &str) -> Result<Option<&'a [u8]>> {
    for found in members(object, 0)? {
        let (name, value) = found?;
        if text::equals(slice(object, name)?, key)? {
            return slice(object, value).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch;

    fn touched(patch: &str) -> Vec<Touch> {
        let document = r#"[{"op":"add","path":"","value":{"h":[{}],"d":{"-":1,"0":[2,[3]],"a/b":{}},"s":"x"}}]"#;
        let state = State::default().apply(&patch::parse(document.as_bytes()).unwrap(), &|name| name == "h").unwrap();
        let mut out = Vec::new();
        patch::parse(patch.as_bytes()).unwrap().iter().try_for_each(|op| touches(&state, op, &mut out)).unwrap();
        out
    }

    #[test]
    fn containers_tell_keys_from_indexes() {
        for (op, path, appends) in [
            (r#"{"op":"add","path":"/h/-","value":{}}"#, "/h", true),
            (r#"{"op":"add","path":"/h/1","value":{}}"#, "/h", false),
            (r#"{"op":"replace","path":"/h/0/role","value":1}"#, "/h", false),
            (r#"{"op":"replace","path":"/d/-","value":1}"#, "/d/-", false),
            (r#"{"op":"add","path":"/d/0/-","value":1}"#, "/d/0", true),
            (r#"{"op":"add","path":"/d/0/1/-","value":1}"#, "/d/0", false),
            (r#"{"op":"remove","path":"/d/a~1b/x"}"#, "/d/a~1b/x", false),
            (r#"{"op":"add","path":"/d/new/x/y","value":1}"#, "/d/new", false),
            (r#"{"op":"add","path":"/new/x","value":1}"#, "/new", false),
            (r#"{"op":"add","path":"/s/x","value":1}"#, "/s", false),
            (r#"{"op":"add","path":"","value":{}}"#, "", false),
        ] {
            let found = touched(&format!("[{op}]"));
            assert_eq!((found[0].path.as_str(), found[0].appends, found.len()), (path, appends, 1), "{op}");
        }
        assert!(touched(r#"[{"op":"test","path":"/s","value":1}]"#).is_empty());
        assert_eq!(touched(r#"[{"op":"move","from":"/h/0","path":"/d/x"}]"#).len(), 2);
    }

    #[test]
    fn paths_exclude_each_other_by_whole_tokens() {
        for (a, b, meets) in [("/d", "/d/x", true), ("/d", "/dx", false), ("", "/d", true), ("/d/x", "/d/y", false)] {
            assert_eq!(Touch::whole(a).meets(&Touch::whole(b)), meets.then_some(b));
            assert_eq!(Touch::whole(b).meets(&Touch::whole(a)), meets.then_some(b));
        }
        let end = |path| Touch { appends: true, ..Touch::whole(path) };
        assert_eq!(end("/h").meets(&end("/h")), None);
        assert_eq!(end("/h").meets(&Touch::whole("/h")), Some("/h"));
        assert_eq!(end("/h/x").meets(&end("/h")), Some("/h/x"));
    }
}
