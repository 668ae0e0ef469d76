//! `Delta`: the change from one version of a session to the next, its patch and its frame.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swisper_core::delta::{self, Change};
use swisper_core::error::Error;
use swisper_core::frame::Frame;
use swisper_core::patch::{self, Writer};

use crate::construct::with_scratch;
use crate::error::raise;
use crate::record_list::RecordList;
use crate::snapshot::{Declared, Snapshot, array};

/// See `_core.pyi`.
#[pyclass(frozen, freelist = 16, module = "swisper_ctx._core")]
#[derive(Debug)]
pub struct Delta {
    pub delta: delta::Delta,
    fields: Arc<Declared>,
    session_id: Option<Arc<str>>,
}

impl Delta {
    /// A change of the session of a snapshot.
    pub fn new(of: &Snapshot, delta: delta::Delta) -> Self {
        Self { delta, fields: Arc::clone(&of.fields), session_id: of.session_id.clone() }
    }

    /// The frame that it becomes; its patch is written here.
    pub fn sealed<'py>(
        &self,
        py: Python<'py>,
        frame: &Frame<'_>,
        session_id: &str,
        epoch: u32,
    ) -> PyResult<Bound<'py, PyBytes>> {
        with_scratch(py, |out| {
            frame.begin(out, session_id, epoch);
            self.delta.append_patch(out).map_err(|error| raise(py, &error, Some(session_id)))?;
            frame.finish(out, session_id, epoch);
            Ok(PyBytes::new(py, out))
        })
    }

    pub fn has_change_of(&self, name: &str) -> bool {
        self.delta.changes().iter().any(|change| change.name() == name)
    }
}

#[pymethods]
impl Delta {
    #[getter]
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            state: self.delta.next().clone(),
            fields: Arc::clone(&self.fields),
            session_id: self.session_id.clone(),
        }
    }

    fn patch<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        with_scratch(py, |out| {
            self.delta.append_patch(out).map_err(|error| raise(py, &error, self.session_id.as_deref()))?;
            Ok(PyBytes::new(py, out))
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn frame<'py>(
        &self,
        py: Python<'py>,
        session_id: &str,
        epoch: u32,
        parent: &[u8],
        etag: (u64, Bound<'py, PyBytes>),
        change_id: Option<&str>,
        time: i64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.sealed(py, &frame(parent, &etag, change_id, time, &[])?, session_id, epoch)
    }

    fn restore(&self, touched: &Bound<'_, PyDict>) -> PyResult<()> {
        restore(self.delta.changes(), touched)
    }

    /// See `_core.pyi`.
    fn adopt(&self, touched: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = touched.py();
        for change in self.delta.changes() {
            let Change::Records(name, edits, _) = change else { continue };
            let Some(list) = touched.get_item(&**name)? else { continue };
            let last = edits.list.len().saturating_sub(1);
            let record = edits.list.get(last).map_err(|error| raise(py, &error, None))?;
            list.cast::<RecordList>()?.borrow_mut().insert_saved(py, record.text())?;
        }
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!("<Delta of {} fields>", self.delta.changes().len())
    }
}

/// Puts the edits that were taken out of the lists among `touched` back into them.
pub fn restore(changes: &[Change], touched: &Bound<'_, PyDict>) -> PyResult<()> {
    for change in changes {
        let Change::Records(name, edits, _) = change else { continue };
        if let Some(list) = touched.get_item(&**name)? {
            list.cast::<RecordList>()?.borrow_mut().restore(touched.py(), edits)?;
        }
    }
    Ok(())
}

fn frame<'a>(
    parent: &[u8],
    etag: &(u64, Bound<'_, PyBytes>),
    change_id: Option<&'a str>,
    time: i64,
    patch: &'a [u8],
) -> PyResult<Frame<'a>> {
    Ok(Frame {
        version: etag.0,
        parent: array(parent, "a token")?,
        token: array(etag.1.as_bytes(), "a token")?,
        change_id: change_id.unwrap_or_default(),
        time,
        patch,
    })
}

/// See `_core.pyi`.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn append_frame<'py>(
    py: Python<'py>,
    session_id: &str,
    epoch: u32,
    parent: &[u8],
    etag: (u64, Bound<'py, PyBytes>),
    change_id: Option<&str>,
    time: i64,
    field: &str,
    record: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let text = record.call_method0("to_json")?;
    let mut out = Writer::default();
    out.add(format!("/{field}/-").as_bytes(), text.cast::<PyBytes>()?.as_bytes());
    let patch = out.finish();
    Ok(PyBytes::new(py, &frame(parent, &etag, change_id, time, &patch)?.seal(session_id, epoch)))
}

/// See `_core.pyi`.
#[pyfunction]
pub fn patch_of<'py>(
    py: Python<'py>,
    session_id: &str,
    epoch: u32,
    version: u64,
    body: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let failed = |error: &Error| raise(py, error, Some(session_id));
    let payload = swisper_core::frame::open(session_id, epoch, version, body).map_err(|error| failed(&error))?;
    let frame = swisper_core::frame::parse(version, &payload).map_err(|error| failed(&error))?;
    patch::parse(frame.patch).map_err(|error| failed(&error))?;
    Ok(PyBytes::new(py, frame.patch))
}
