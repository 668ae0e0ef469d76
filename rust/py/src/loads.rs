//! `loads`: JSON text to Python values.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

use crate::decode;
use crate::error::decode_error;

/// A text from here on is read without collections of garbage in between: all that is made is alive.
const LONG: usize = 4096;

/// See `_core.pyi`.
#[pyfunction]
pub fn loads<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return value(py, bytes.as_bytes());
    }
    if let Ok(text) = data.cast::<PyString>() {
        return from_str(text);
    }
    // What can be changed is copied: another thread might be reading something into it.
    let buffer = PyBuffer::<u8>::get(data).map_err(|error| {
        let what = data.get_type().name().map_or_else(|_| String::from("object"), |name| name.to_string());
        let failed = PyTypeError::new_err(format!("JSON text is bytes, a buffer of bytes or a str, not {what}"));
        failed.set_cause(py, Some(error));
        failed
    })?;
    let is_constant =
        data.is_exact_instance_of::<PyMemoryView>() && data.getattr("obj")?.is_exact_instance_of::<PyBytes>();
    if is_constant && buffer.is_c_contiguous() {
        // SAFETY: so many bytes, which never change, lie there as long as the buffer is held.
        return value(py, unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes()) });
    }
    value(py, &buffer.to_vec(py)?)
}

fn from_str<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
    let py = text.py();
    let object = text.as_ptr();
    // SAFETY: a compact ASCII str holds its characters behind its header as long as it lives (PEP 393).
    unsafe {
        if ffi::PyUnicode_IS_COMPACT_ASCII(object) != 0 {
            let length = usize::try_from(ffi::PyUnicode_GET_LENGTH(object)).unwrap_or_default();
            return value(py, std::slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(object), length));
        }
    }
    // Not the function that leaves the bytes in the str.
    if let Ok(bytes) = text.encode_utf8() {
        return value(py, bytes.as_bytes());
    }
    let with_surrogates = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
    let bytes = with_surrogates.cast::<PyBytes>()?.as_bytes();
    let at = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), |_| 0);
    Err(decode_error(py, "a lone surrogate", bytes, at))
}

fn value<'py>(py: Python<'py>, src: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if src.starts_with(b"\xef\xbb\xbf") {
        return Err(decode_error(py, "a byte order mark", src, 0));
    }
    if src.len() < LONG {
        return decode::value(py, src);
    }
    // SAFETY: the thread is attached, and stays so.
    let was_enabled = unsafe { ffi::PyGC_Disable() } != 0;
    let made = decode::value(py, src);
    if was_enabled {
        // SAFETY: likewise.
        unsafe { ffi::PyGC_Enable() };
    }
    made
}
