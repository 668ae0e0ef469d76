//! Contexts and record lists as documents: what they hold now, saved or not, and what a patch makes of that.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use swisper_core::delta::Change;
use swisper_core::error::Error;
use swisper_core::field::Field;
use swisper_core::list::List;
use swisper_core::operations::Operations;
use swisper_core::state::State;

use crate::decode;
use crate::error::{patch_error, raise};
use crate::record_list::RecordList;
use crate::snapshot::Snapshot;

/// The name under which a list is patched by itself.
const LIST: &str = "list";

/// What a context holds.
pub struct Content<'py> {
    context: Bound<'py, PyAny>,
    saved: Bound<'py, Snapshot>,
    pub state: State,
}

/// The content of a context; None for any other object.
pub fn content<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Content<'py>>> {
    let py = value.py();
    let Some(position) = value.getattr_opt(intern!(py, "_position"))? else { return Ok(None) };
    let Ok(saved) = position.getattr(intern!(py, "snapshot"))?.cast_into::<Snapshot>() else { return Ok(None) };
    let touched = if saved.get().state.is_empty() {
        value.call_method0(intern!(py, "_touched"))?
    } else {
        value.getattr(intern!(py, "__dict__"))?
    };
    let state = current(saved.get(), touched.cast::<PyDict>()?)?;
    Ok(Some(Content { context: value.clone(), saved, state }))
}

/// The state that a save would lead to.
fn current(saved: &Snapshot, touched: &Bound<'_, PyDict>) -> PyResult<State> {
    let mut state = saved.state.clone();
    for change in saved.values(touched, |_| true)? {
        if let Change::Value(name, value) = change {
            state.set(&name, Field::Value(value));
        }
    }
    for (name, value) in touched {
        let Ok(list) = value.cast_exact::<RecordList>() else { continue };
        let (name, list) = (name.extract::<&str>()?, list.try_borrow()?);
        if list.is_changed() || state.get(name).is_none() {
            state.set(name, Field::Records(list.list().clone()));
        }
    }
    Ok(state)
}

impl<'py> Content<'py> {
    pub fn raise(&self, py: Python<'_>, error: &Error) -> PyErr {
        self.saved.get().raise(py, error)
    }

    /// A context that stands where this one does, with the patched content.
    pub fn patched(&self, py: Python<'py>, operations: &Operations) -> PyResult<Bound<'py, PyAny>> {
        let saved = self.saved.get();
        let is_records = |name: &str| saved.is_records(name);
        let next = operations.apply_to_state(&self.state, &is_records).map_err(|error| self.raise(py, &error))?;
        if let Some((name, _)) = self.state.iter().find(|(name, _)| next.get(name).is_none()) {
            return Err(patch_error(py, "a context keeps all its fields", &format!("/{name}")));
        }
        let changed = PyDict::new(py);
        for (name, field) in next.iter() {
            if let Some(value) = self.changed(py, name, field)? {
                changed.set_item(name, value)?;
            }
        }
        self.context.call_method1(intern!(py, "_patched"), (changed,))
    }

    /// A field as an object, if it is not as it was saved.
    fn changed(&self, py: Python<'py>, name: &str, field: &Field) -> PyResult<Option<Bound<'py, PyAny>>> {
        let saved = self.saved.get();
        match (field, saved.state.get(name)) {
            (Field::Value(_), _) if saved.is_records(name) => {
                Err(patch_error(py, "a list of records stays one", &format!("/{name}")))
            }
            (Field::Value(new), Some(Field::Value(old))) if old.text() == new.text() => Ok(None),
            (Field::Value(new), _) => decode::value(py, new.text()).map(Some),
            (Field::Records(new), old) => {
                let Some(list) = saved.record_list(name) else { return Ok(None) };
                let list = Bound::new(py, list)?;
                let changed = take_over(&list, new, &format!("/{name}"))?;
                Ok((changed || old.is_none()).then(|| list.into_any()))
            }
        }
    }
}

/// Edits a list until it is like another one, all of whose records are objects; tells whether it was not.
fn take_over(list: &Bound<'_, RecordList>, target: &List, path: &str) -> PyResult<bool> {
    let py = list.py();
    let mut list = list.try_borrow_mut()?;
    let apart = list.list().apart(target).map_err(|error| raise(py, &error, None))?;
    for (at, record) in apart.others.iter().enumerate() {
        check_record(py, record.text(), &format!("{path}/{}", apart.start + at))?;
    }
    list.lead_to(py, target)
}

/// What a list of records becomes: a new one.
pub fn patched_list<'py>(list: &Bound<'py, RecordList>, operations: &Operations) -> PyResult<Bound<'py, PyAny>> {
    let py = list.py();
    let own = list.try_borrow()?;
    let mut state = State::default();
    state.set(LIST, Field::Records(own.list().clone()));
    let below = operations.below(&format!("/{LIST}"));
    let failed = |error: Error| raise(py, &error.from_within(LIST.len() + 1), None);
    let next = below.apply_to_state(&state, &|_| true).map_err(failed)?;
    let Some(Field::Records(next)) = next.get(LIST) else {
        return Err(patch_error(py, "a list of records stays one", ""));
    };
    let patched = Bound::new(py, RecordList::over(own.list().clone(), own.class(), None))?;
    take_over(&patched, next, "")?;
    Ok(patched.into_any())
}

/// A record is an object.
pub fn check_record(py: Python<'_>, text: &[u8], path: &str) -> PyResult<()> {
    if text.first() == Some(&b'{') { Ok(()) } else { Err(patch_error(py, "a record stays an object", path)) }
}
