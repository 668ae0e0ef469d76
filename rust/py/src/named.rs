//! The named tuples of `swisper_ctx.log` that every save makes.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use crate::attached::Attached;

static ETAG: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static CHANGE: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Whether a tuple may be filled in its memory.
static DIRECTLY: Attached<bool> = Attached::new(false);

/// `allowed` on an interpreter for which that was tested, see `layouts`.
pub fn choose(py: Python<'_>, allowed: bool) {
    DIRECTLY.replace(py, allowed);
}

/// `Etag` of these two.
pub fn etag<'py>(py: Python<'py>, parts: [Bound<'py, PyAny>; 2]) -> PyResult<Bound<'py, PyTuple>> {
    make(class(py, &ETAG, "Etag")?, parts)
}

/// `Change` of all its members.
pub fn change<'py>(py: Python<'py>, parts: [Bound<'py, PyAny>; 12]) -> PyResult<Bound<'py, PyTuple>> {
    make(class(py, &CHANGE, "Change")?, parts)
}

fn class<'a>(py: Python<'a>, kept: &'a PyOnceLock<Py<PyType>>, name: &str) -> PyResult<&'a Bound<'a, PyType>> {
    kept.import(py, "swisper_ctx.log", name)
}

fn make<'py, const N: usize>(
    class: &Bound<'py, PyType>,
    parts: [Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyTuple>> {
    if DIRECTLY.get(class.py()) { filled(class, parts) } else { copied(class, parts) }
}

/// Past the class's own `__new__`, which is a Python function and takes a tuple to copy it: 1,500 instructions of 4,000
/// that were spent on both.
fn filled<'py, const N: usize>(
    class: &Bound<'py, PyType>,
    parts: [Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyTuple>> {
    let py = class.py();
    let size = ffi::Py_ssize_t::try_from(N)?;
    // SAFETY: the class is a tuple of named places and adds nothing to its memory, nor does a tuple of this version have
    // anything but its items. Its allocator gives a new instance with room for so many, all null, or null with an
    // exception; each is given its own reference.
    unsafe {
        let made = Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(class.as_type_ptr(), size))?;
        for (at, part) in (0..size).zip(parts) {
            ffi::PyTuple_SET_ITEM(made.as_ptr(), at, part.into_ptr());
        }
        Ok(made.cast_into_unchecked())
    }
}

/// As the interpreter makes it: from 3.14 on a tuple also keeps its hash, which is to be unknown at first.
fn copied<'py, const N: usize>(
    class: &Bound<'py, PyType>,
    parts: [Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyTuple>> {
    let py = class.py();
    let made = py.get_type::<PyTuple>().call_method1(intern!(py, "__new__"), (class, PyTuple::new(py, parts)?))?;
    Ok(made.cast_into()?)
}
