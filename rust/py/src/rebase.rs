//! `rebase`: what others have saved, under all that a context has not saved yet.

use std::collections::HashSet;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use swisper_core::delta::{self, Change};
use swisper_core::edits::Edits;
use swisper_core::field::Field;
use swisper_core::rebase::{self as merging, BARRIERS, Failure, Theirs};
use swisper_core::state::State;

use crate::decode;
use crate::delta::Delta;
use crate::record_list::RecordList;
use crate::snapshot::{Snapshot, array};

/// See `_core.pyi`.
#[pyclass(frozen, module = "swisper_ctx._core")]
#[derive(Debug)]
pub struct Conflict(merging::Conflict);

#[pymethods]
impl Conflict {
    #[getter]
    fn reason(&self) -> &'static str {
        self.0.reason.name()
    }

    #[getter]
    fn paths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.0.paths)
    }

    fn __repr__(&self) -> String {
        format!("<Conflict: {}>", self.reason())
    }
}

/// See `_core.pyi`.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn rebase<'py>(
    py: Python<'py>,
    base: &Snapshot,
    saves: Vec<Bound<'py, Delta>>,
    touched: &Bound<'py, PyDict>,
    session_id: &str,
    epochs: (u32, u32),
    etag: (u64, Bound<'py, PyBytes>),
    frames: Vec<(u64, Option<Bound<'py, PyBytes>>)>,
) -> PyResult<Bound<'py, PyAny>> {
    let etag = (etag.0, array(etag.1.as_bytes(), "a token")?);
    let frames: Vec<_> =
        frames.iter().map(|(version, body)| (*version, body.as_ref().map(PyBytesMethods::as_bytes))).collect();
    let is_records = |name: &str| base.is_records(name);
    let theirs = match Theirs::follow(&base.state, session_id, epochs, etag, &frames, &is_records) {
        Ok(theirs) => theirs,
        Err(failure) => return refused(py, base, failure),
    };
    let last = saves.last().map_or(&base.state, |save| save.get().delta.next());
    let unsaved = unsaved(&base.at(last.clone()), &theirs, touched)?;
    let mut deltas = Vec::new();
    for ours in saves.iter().map(|save| &save.get().delta).chain(unsaved.as_ref()) {
        let onto = deltas.last().map_or(theirs.state(), delta::Delta::next);
        match theirs.rebase(ours, onto, &is_records) {
            Ok(delta) => deltas.push(delta),
            Err(failure) => return refused(py, base, failure),
        }
    }
    let still_unsaved = unsaved.and_then(|_| deltas.pop());
    let now = still_unsaved.as_ref().or(deltas.last()).map_or(theirs.state(), delta::Delta::next);
    show(&base.at(now.clone()), &|name| theirs.touch(name), still_unsaved.as_ref(), touched)?;
    let deltas: PyResult<Vec<_>> = deltas.into_iter().map(|delta| Bound::new(py, Delta::new(base, delta))).collect();
    Ok((base.at(theirs.state().clone()), deltas?).into_pyobject(py)?.into_any())
}

/// See `_core.pyi`.
#[pyfunction]
pub fn reset(snapshot: &Snapshot, touched: &Bound<'_, PyDict>) -> PyResult<()> {
    show(snapshot, &|_| true, None, touched)
}

fn refused<'py>(py: Python<'py>, base: &Snapshot, failure: Failure) -> PyResult<Bound<'py, PyAny>> {
    match failure {
        Failure::Conflict(conflict) => Ok(Bound::new(py, Conflict(conflict))?.into_any()),
        Failure::Error(error) => Err(base.raise(py, &error)),
    }
}

/// What the context has changed since `last` that theirs could be at odds with: all of it, if they are a barrier.
fn unsaved(last: &Snapshot, theirs: &Theirs, touched: &Bound<'_, PyDict>) -> PyResult<Option<delta::Delta>> {
    let is_barrier = BARRIERS.iter().any(|name| theirs.touch(name));
    let values = last.values(touched, |name| is_barrier || theirs.touch(name) || BARRIERS.contains(&name))?;
    let mut changes: Vec<_> = values.into_iter().map(|(_, change)| change).collect();
    for (name, list) in lists(touched) {
        let list = list.try_borrow()?;
        if (is_barrier || theirs.touch(name.to_str()?)) && list.is_changed() {
            changes.push(Change::Records(name.to_string().into(), list.unsaved(), list.class().schema().id_key));
        }
    }
    Ok((!changes.is_empty()).then(|| delta::Delta::new(last.state.clone(), changes)))
}

fn lists<'py>(touched: &Bound<'py, PyDict>) -> impl Iterator<Item = (Bound<'py, PyString>, Bound<'py, RecordList>)> {
    let both = |(key, value): (Bound<'py, PyAny>, Bound<'py, PyAny>)| {
        Some((key.cast_into_exact::<PyString>().ok()?, value.cast_into_exact::<RecordList>().ok()?))
    };
    touched.iter().filter_map(both)
}

/// Makes the fields of a context that others have changed what they are now, in the containers that are there.
fn show(
    now: &Snapshot,
    is_changed: &dyn Fn(&str) -> bool,
    unsaved: Option<&delta::Delta>,
    touched: &Bound<'_, PyDict>,
) -> PyResult<()> {
    // Decoding comes first: where it fails, nothing has been changed.
    let (mut values, mut kept) = (Vec::new(), Vec::new());
    for (key, value) in touched {
        let name = key.cast::<PyString>()?.to_str()?;
        if !is_changed(name) {
            kept.push(value);
        } else if !value.is_exact_instance_of::<RecordList>() {
            values.push((value, decoded(touched.py(), &now.state, name)?, key));
        }
    }
    for (name, list) in lists(touched) {
        if is_changed(name.to_str()?) {
            list.try_borrow_mut()?.rebase(edits(now, unsaved, name.to_str()?));
        }
    }
    let mut seen = if values.is_empty() { HashSet::new() } else { containers(kept) };
    for (old, new, key) in values {
        match new {
            Some(new) if is_refilled(&old, &new) => touched.set_item(key, refill(&old, new, &mut seen)?)?,
            // Anything but a container is forgotten, and decoded when it is read again.
            _ => touched.del_item(key)?,
        }
    }
    Ok(())
}

fn decoded<'py>(py: Python<'py>, state: &State, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    match state.get(name) {
        Some(Field::Value(value)) => decode::value(py, value.text()).map(Some),
        _ => Ok(None),
    }
}

fn edits(now: &Snapshot, unsaved: Option<&delta::Delta>, name: &str) -> Edits {
    let own = unsaved.and_then(|delta| delta.changes().iter().find(|change| change.name() == name));
    if let Some(Change::Records(_, edits, _)) = own {
        return edits.clone();
    }
    let list = now.list(name);
    let length = list.len();
    Edits::appended(list, length)
}

fn is_refilled(old: &Bound<'_, PyAny>, new: &Bound<'_, PyAny>) -> bool {
    (old.is_exact_instance_of::<PyDict>() && new.is_exact_instance_of::<PyDict>())
        || (old.is_exact_instance_of::<PyList>() && new.is_exact_instance_of::<PyList>())
}

/// The dicts and lists in these values, by their addresses.
fn containers(mut values: Vec<Bound<'_, PyAny>>) -> HashSet<usize> {
    let mut found = HashSet::new();
    while let Some(value) = values.pop() {
        let parts = match (value.cast_exact::<PyDict>(), value.cast_exact::<PyList>()) {
            (Ok(dict), _) => dict.values(),
            (_, Ok(list)) => list.clone(),
            _ => continue,
        };
        if found.insert(value.as_ptr() as usize) {
            values.extend(parts);
        }
    }
    found
}

/// The new value, in the old container where both are of one kind. One that stands in two places keeps the first, and
/// a place in a field that stays as it is comes before all others.
fn refill<'py>(
    old: &Bound<'py, PyAny>,
    new: Bound<'py, PyAny>,
    seen: &mut HashSet<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    if !is_refilled(old, &new) || !seen.insert(old.as_ptr() as usize) {
        return Ok(new);
    }
    if let (Ok(own), Ok(new)) = (old.cast_exact::<PyDict>(), new.cast_exact::<PyDict>()) {
        for (key, value) in new.copy()? {
            if let Some(part) = own.get_item(&key)? {
                new.set_item(key, refill(&part, value, seen)?)?;
            }
        }
        own.clear();
        own.update(new.as_mapping())?;
    } else if let (Ok(own), Ok(new)) = (old.cast_exact::<PyList>(), new.cast_exact::<PyList>()) {
        for at in 0..own.len().min(new.len()) {
            new.set_item(at, refill(&own.get_item(at)?, new.get_item(at)?, seen)?)?;
        }
        own.set_slice(0, own.len(), new)?;
    }
    Ok(old.clone())
}
