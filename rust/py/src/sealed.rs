//! Stored bodies as Python passes them: bytes, or an object that is opened when it is needed.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use swisper_core::body::{Body, Opener};
use swisper_core::error::Result;

use crate::error::{opener_failed, wrong_type};

/// An object whose method `open` gives the bytes of the envelope.
struct Sealed {
    object: Py<PyAny>,
    size: usize,
}

impl Opener for Sealed {
    fn open(&self) -> Result<Vec<u8>> {
        Python::attach(|py| {
            let opened = self.object.bind(py).call_method0("open").map_err(opener_failed)?;
            let bytes = opened.cast::<PyBytes>().map_err(|error| opener_failed(error.into()))?;
            Ok(bytes.as_bytes().to_vec())
        })
    }

    fn size(&self) -> usize {
        self.size
    }
}

/// A body that was read from a store.
pub fn stored_body(body: &Bound<'_, PyAny>) -> PyResult<Body> {
    if body.is_instance_of::<PyBytes>() {
        return Ok(Body::new(body.extract::<PyBackedBytes>()?));
    }
    let size =
        body.getattr_opt(intern!(body.py(), "size"))?.ok_or_else(|| wrong_type("bytes or a sealed body", body))?;
    Ok(Body::sealed(Sealed { size: size.extract()?, object: body.clone().unbind() }))
}
