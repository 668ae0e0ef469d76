//! The one interpreter of the process that may use this module: its statics hold objects of that one.

use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

const NONE: i64 = -1;

static OWNER: AtomicI64 = AtomicI64::new(NONE);

/// Raises `ImportError` in any interpreter but the first.
pub fn claim(py: Python<'_>) -> PyResult<()> {
    // SAFETY: `py` shows that this thread is attached to an interpreter; both calls have no other condition.
    let this = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if this == NONE {
        return Err(PyErr::fetch(py));
    }
    match OWNER.compare_exchange(NONE, this, Ordering::Relaxed, Ordering::Relaxed) {
        Err(owner) if owner != this => {
            Err(PyImportError::new_err("swisper_ctx works in one interpreter of a process, and another one has it"))
        }
        _ => Ok(()),
    }
}
