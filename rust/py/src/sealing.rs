//! `Sealing`: the frame of a large change, which is made beside the event loop.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use swisper_core::frame::{Frame, Token};

use crate::delta::Delta;
use crate::error::raise;

/// See `_core.pyi`.
#[pyclass(frozen, module = "swisper_ctx._core")]
pub struct Sealing {
    delta: Py<Delta>,
    session_id: String,
    epoch: u32,
    version: u64,
    parent: Token,
    token: Token,
    change_id: String,
    time: i64,
}

impl Sealing {
    /// Of a frame without its patch, which is that of the delta.
    pub fn new(delta: Py<Delta>, frame: &Frame<'_>, session_id: &str, epoch: u32) -> Self {
        Self {
            delta,
            session_id: session_id.to_owned(),
            epoch,
            version: frame.version,
            parent: frame.parent,
            token: frame.token,
            change_id: frame.change_id.to_owned(),
            time: frame.time,
        }
    }

    fn frame(&self) -> Frame<'_> {
        let Self { version, parent, token, ref change_id, time, .. } = *self;
        Frame { version, parent, token, change_id, time, patch: &[] }
    }
}

#[pymethods]
impl Sealing {
    fn __call__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let (delta, session_id, epoch) = (self.delta.get(), self.session_id.as_str(), self.epoch);
        let made = py.detach(|| {
            let (frame, mut out) = (self.frame(), Vec::new());
            frame.begin(&mut out, session_id, epoch);
            delta.delta.append_patch(&mut out)?;
            frame.finish(&mut out, session_id, epoch);
            Ok(out)
        });
        Ok(PyBytes::new(py, &made.map_err(|error| raise(py, &error, Some(session_id)))?))
    }
}
