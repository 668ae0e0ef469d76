//! A field of a snapshot as it is stored: its text is copied, not read.

use std::sync::Arc;

use pyo3::prelude::*;
use swisper_core::field::Field;

/// See `_core.pyi`.
#[pyclass(frozen, module = "swisper_ctx._core")]
#[derive(Debug)]
pub struct Stored {
    pub field: Field,
    /// Named where stored bytes are at fault.
    pub session_id: Option<Arc<str>>,
}

#[pymethods]
impl Stored {
    fn __repr__(&self) -> String {
        format!("<Stored of {} bytes>", self.field.size())
    }
}
