//! From the core's errors to the classes of `swisper_ctx.errors`.

use std::cell::Cell;

use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};
use swisper_core::error::Error;

thread_local! {
    /// Why the last sealed body was not opened in this thread: the core cannot carry an exception.
    static OPENER: Cell<Option<PyErr>> = const { Cell::new(None) };
}

/// The core's error for an exception of an opener, which `raise` gives back.
pub fn opener_failed(error: PyErr) -> Error {
    OPENER.set(Some(error));
    Error::Opener
}

/// A class of `swisper_ctx.errors`.
fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("swisper_ctx.errors").map(|m| m.into_any().unbind()))?;
    module.bind(py).getattr(name)
}

fn build(py: Python<'_>, name: &str, message: &str, details: &[(&str, Py<PyAny>)]) -> PyResult<PyErr> {
    let kwargs = PyDict::new(py);
    for (key, value) in details {
        kwargs.set_item(key, value)?;
    }
    let class = class(py, name)?;
    Ok(PyErr::from_value(class.cast::<PyType>()?.call((message,), Some(&kwargs))?))
}

/// The Python exception for a failure of the core. `session_id` is named where stored bytes are at fault.
pub fn raise(py: Python<'_>, error: &Error, session_id: Option<&str>) -> PyErr {
    let none = || py.None();
    let text = |s: &str| s.into_pyobject(py).map_or_else(|_| none(), |s| s.into_any().unbind());
    let number = |n: usize| n.into_pyobject(py).map_or_else(|_| none(), |n| n.into_any().unbind());
    let built = match error {
        Error::Codec { kind, index } => build(py, "DecodeError", kind.text(), &[("index", number(*index))]),
        Error::Patch { problem, operation, path } => {
            build(py, "PatchError", problem, &[("operation", number(*operation)), ("path", text(path))])
        }
        Error::Corrupt { block, problem } => {
            let session = session_id.map_or_else(none, text);
            build(py, "CorruptSessionError", problem, &[("session_id", session), ("block", text(block))])
        }
        Error::NotLoaded => {
            build(py, "NotLoadedError", "only the last records were loaded: await context.load_history()", &[])
        }
        Error::Opener => Ok(OPENER.take().unwrap_or_else(|| PyRuntimeError::new_err(error.to_string()))),
        Error::OutOfRange => Ok(PyIndexError::new_err("list index out of range")),
    };
    built.unwrap_or_else(|error| error)
}

/// An `EncodeError` whose pointer leads to the value at fault.
pub fn encode_error(py: Python<'_>, kind: &str, pointer: &str) -> PyErr {
    let pointer = pointer.into_pyobject(py).map_or_else(|_| py.None(), |s| s.into_any().unbind());
    build(py, "EncodeError", kind, &[("pointer", pointer)]).unwrap_or_else(|error| error)
}

/// A `DecodeError` of a value that is JSON, and not what is due in its place.
pub fn misplaced(py: Python<'_>, kind: &str, name: &str) -> PyErr {
    let pointer = format!("/{name}").into_pyobject(py).map_or_else(|_| py.None(), |s| s.into_any().unbind());
    build(py, "DecodeError", kind, &[("pointer", pointer)]).unwrap_or_else(|error| error)
}

/// The error of an element as that of its list: the pointer leads through the list.
pub fn within(py: Python<'_>, error: PyErr, index: usize) -> PyErr {
    if !class(py, "CodecError").is_ok_and(|class| error.is_instance(py, &class)) {
        return error;
    }
    let outer = error.value(py).call_method1(intern!(py, "_within"), (index,));
    outer.map_or_else(|failure| failure, PyErr::from_value)
}

/// A `PatchError` of a patch as a whole.
pub fn patch_error(py: Python<'_>, problem: &str, path: &str) -> PyErr {
    let path = path.into_pyobject(py).map_or_else(|_| py.None(), |s| s.into_any().unbind());
    build(py, "PatchError", problem, &[("path", path)]).unwrap_or_else(|error| error)
}

/// A `DecodeError` at a byte of a text.
pub fn decode_error(py: Python<'_>, kind: &str, src: &[u8], index: usize) -> PyErr {
    let before = src.get(..index).unwrap_or(src);
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let line = before.split(|&byte| byte == b'\n').count();
    let in_line = before.get(line_start..).unwrap_or_default();
    // Bytes that continue a character do not count.
    let column = 1 + in_line.iter().filter(|byte| byte.cast_signed() >= -64).count();
    let number = |n: usize| n.into_pyobject(py).map_or_else(|_| py.None(), |n| n.into_any().unbind());
    let details = [("index", number(index)), ("line", number(line)), ("column", number(column))];
    build(py, "DecodeError", kind, &details).unwrap_or_else(|error| error)
}

/// A `TypeError` that says what was expected.
pub fn wrong_type(expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    let name = found.get_type().name().map_or_else(|_| String::from("object"), |name| name.to_string());
    PyTypeError::new_err(format!("{expected} was expected, not {name}"))
}
