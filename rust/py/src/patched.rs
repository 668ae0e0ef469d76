//! Applying a patch to plain objects: what it touches is copied, the rest is shared with the document.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use swisper_core::error::Error;
use swisper_core::json::MAX_DEPTH;
use swisper_core::operations::{Step, Transfers};
use swisper_core::patch::Verb;
use swisper_core::{equal, pointer};

use crate::construct::with_scratch;
use crate::error::raise;
use crate::objects::is_deeper;
use crate::readonly::{as_dict, as_list};
use crate::{decode, encode};

const ABSENT: &str = "nothing stands there";
const MALFORMED: &str = "malformed pointer";

/// What stops an operation.
enum Problem {
    Fit(&'static str),
    Raised(PyErr),
}

impl From<PyErr> for Problem {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

type Outcome<T> = Result<T, Problem>;

struct Document<'py> {
    root: Bound<'py, PyAny>,
    /// The containers that were copied here and may be changed.
    own: BTreeMap<usize, Bound<'py, PyAny>>,
    transfers: Transfers,
}

/// What the operations make of a document, which stays as it is.
pub fn apply<'py>(document: &Bound<'py, PyAny>, steps: &[Step]) -> PyResult<Bound<'py, PyAny>> {
    let mut patched = Document { root: document.clone(), own: BTreeMap::new(), transfers: Transfers::default() };
    for (operation, step) in steps.iter().enumerate() {
        patched.apply(step).map_err(|problem| match problem {
            Problem::Fit(problem) => {
                let error = Error::Patch { problem, operation, path: step.path.clone().into() };
                raise(document.py(), &error, None)
            }
            Problem::Raised(error) => error,
        })?;
    }
    Ok(patched.root)
}

impl<'py> Document<'py> {
    fn apply(&mut self, step: &Step) -> Outcome<()> {
        let py = self.root.py();
        let given = step.value.as_deref().unwrap_or_default();
        match step.verb {
            Verb::Add => self.add(&step.path, decode::value(py, given)?),
            Verb::Remove => self.remove(&step.path).map(drop),
            Verb::Replace => self.replace(&step.path, decode::value(py, given)?),
            Verb::Test => self.test(&step.path, given),
            Verb::Move => self.shift(step),
            Verb::Copy => self.duplicate(step),
        }
    }

    fn find(&self, path: &str) -> Outcome<Bound<'py, PyAny>> {
        let mut found = self.root.clone();
        for token in pointer::each(path).ok_or(Problem::Fit(MALFORMED))? {
            found = child(&found, &token.ok_or(Problem::Fit(MALFORMED))?)?.ok_or(Problem::Fit(ABSENT))?;
        }
        Ok(found)
    }

    /// A container that may be changed in the place of this one.
    fn owned(&mut self, container: Bound<'py, PyAny>) -> Outcome<Bound<'py, PyAny>> {
        if self.own.contains_key(&(container.as_ptr() as usize)) {
            return Ok(container);
        }
        let copy = match (as_dict(&container), as_list(&container)) {
            (Some(dict), _) => dict.copy()?.into_any(),
            (_, Some(list)) => list.get_slice(0, list.len()).into_any(),
            _ => return Ok(container),
        };
        self.own.insert(copy.as_ptr() as usize, copy.clone());
        Ok(copy)
    }

    /// The container that the last token of a path is in, to be changed; None for the whole document.
    fn parent<'p>(
        &mut self,
        path: &'p str,
        absent: &'static str,
    ) -> Outcome<Option<(Bound<'py, PyAny>, Cow<'p, str>)>> {
        let Some((parents, last)) = pointer::parent(path) else {
            return if path.is_empty() { Ok(None) } else { Err(Problem::Fit(MALFORMED)) };
        };
        let last = last.ok_or(Problem::Fit(MALFORMED))?;
        // Found out before anything is copied.
        let tokens: Vec<_> = pointer::tokens(parents).ok_or(Problem::Fit(MALFORMED))?;
        self.find(parents).map_err(|problem| match problem {
            Problem::Fit(ABSENT) => Problem::Fit(absent),
            other => other,
        })?;
        let mut container = self.owned(self.root.clone())?;
        self.root = container.clone();
        for token in tokens {
            let inner = child(&container, &token)?.ok_or(Problem::Fit(absent))?;
            let owned = self.owned(inner.clone())?;
            if !owned.is(&inner) {
                put(&container, &token, &owned)?;
            }
            container = owned;
        }
        Ok(Some((container, last)))
    }

    fn add(&mut self, path: &str, value: Bound<'py, PyAny>) -> Outcome<()> {
        let Some((container, last)) = self.parent(path, "the parent does not exist")? else {
            self.root = value;
            return Ok(());
        };
        if let Ok(dict) = container.cast::<PyDict>() {
            return Ok(dict.set_item(last, value)?);
        }
        let Ok(list) = container.cast::<PyList>() else { return Err(Problem::Fit("the parent is no container")) };
        let at = if last == "-" { Some(list.len()) } else { pointer::index(&last) };
        let at = at.filter(|&at| at <= list.len()).ok_or(Problem::Fit("no such place in the array"))?;
        Ok(list.insert(at, value)?)
    }

    fn remove(&mut self, path: &str) -> Outcome<Bound<'py, PyAny>> {
        let whole = Problem::Fit("the whole document cannot be removed");
        let (container, last) = self.parent(path, ABSENT)?.ok_or(whole)?;
        let value = child(&container, &last)?.ok_or(Problem::Fit(ABSENT))?;
        if let Ok(dict) = container.cast::<PyDict>() {
            dict.del_item(last)?;
        } else if let (Ok(list), Some(at)) = (container.cast::<PyList>(), pointer::index(&last)) {
            list.del_item(at)?;
        }
        Ok(value)
    }

    fn replace(&mut self, path: &str, value: Bound<'py, PyAny>) -> Outcome<()> {
        let Some((container, last)) = self.parent(path, ABSENT)? else {
            self.root = value;
            return Ok(());
        };
        child(&container, &last)?.ok_or(Problem::Fit(ABSENT))?;
        put(&container, &last, &value)
    }

    fn test(&self, path: &str, given: &[u8]) -> Outcome<()> {
        let found = self.find(path)?;
        let same = text_of(&found, |text| Ok(equal::json(text, given)))?;
        if same == Ok(true) { Ok(()) } else { Err(Problem::Fit("the test does not hold")) }
    }

    fn shift(&mut self, step: &Step) -> Outcome<()> {
        let from = step.from.as_deref().unwrap_or_default();
        if step.path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Problem::Fit("a value cannot move into itself"));
        }
        let value = self.find(from)?;
        if from == &*step.path {
            return Ok(());
        }
        let place = step.path.bytes().filter(|&byte| byte == b'/').count();
        if is_deeper(&value, MAX_DEPTH.saturating_sub(place)) {
            return Err(Problem::Fit("nested deeper than 128"));
        }
        let value = self.remove(from)?;
        self.add(&step.path, value)
    }

    fn duplicate(&mut self, step: &Step) -> Outcome<()> {
        let value = self.find(step.from.as_deref().unwrap_or_default())?;
        let transfers = &mut self.transfers;
        let copied = text_of(&value, |text| {
            Ok(match transfers.allow(step, text) {
                Ok(()) => Ok(decode::value(value.py(), text)?),
                Err(problem) => Err(Problem::Fit(problem)),
            })
        })?;
        self.add(&step.path, copied?)
    }
}

fn text_of<T>(value: &Bound<'_, PyAny>, body: impl FnOnce(&[u8]) -> PyResult<T>) -> PyResult<T> {
    let py = value.py();
    with_scratch(py, |out| {
        encode::value(out, value).map_err(|refusal| refusal.raise(py))?;
        body(out)
    })
}

fn child<'py>(container: &Bound<'py, PyAny>, token: &str) -> Outcome<Option<Bound<'py, PyAny>>> {
    if let Some(dict) = as_dict(container) {
        return Ok(dict.get_item(token)?);
    }
    let Some(list) = as_list(container) else { return Ok(None) };
    match pointer::index(token).filter(|&at| at < list.len()) {
        Some(at) => Ok(Some(list.get_item(at)?)),
        None => Ok(None),
    }
}

/// Puts a value in the place of one that is there.
fn put(container: &Bound<'_, PyAny>, token: &str, value: &Bound<'_, PyAny>) -> Outcome<()> {
    if let Ok(dict) = container.cast::<PyDict>() {
        dict.set_item(token, value)?;
    } else if let (Ok(list), Some(at)) = (container.cast::<PyList>(), pointer::index(token)) {
        list.set_item(at, value)?;
    }
    Ok(())
}
