//! `Sealing`: the frame of a large change, which is made beside the event loop.

use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use swisper_core::error::Error;
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
        let made: Result<Vec<u8>, Error> = py.detach(|| {
            let (frame, mut out) = (self.frame(), Vec::new());
            frame.begin(&mut out, session_id, epoch);
            delta.delta.append_patch(&mut out)?;
            frame.finish(&mut out, session_id, epoch);
            Ok(out)
        });
        copied_apart(py, made.map_err(|error| raise(py, &error, Some(session_id)))?)
    }
}

/// The same bytes as an object, copied while other threads go on: the pages of 16 MiB alone take the kernel 8 ms.
fn copied_apart(py: Python<'_>, made: Vec<u8>) -> PyResult<Bound<'_, PyBytes>> {
    // SAFETY: a new bytes object of that size, or null with an exception set.
    let bytes = unsafe {
        let size = made.len().try_into()?;
        Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))?
    };
    // SAFETY: so much room is in the object, which nobody else has seen yet.
    let room = unsafe {
        let start = ffi::PyBytes_AS_STRING(bytes.as_ptr()).cast_mut().cast::<MaybeUninit<u8>>();
        std::slice::from_raw_parts_mut(start, made.len())
    };
    py.detach(move || {
        // SAFETY: both are as long as `made`, and the room is no part of it.
        unsafe { made.as_ptr().copy_to_nonoverlapping(room.as_mut_ptr().cast(), made.len()) };
    });
    Ok(bytes.cast_into()?)
}
