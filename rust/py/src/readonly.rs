//! The read-only containers of `swisper_ctx.readonly`, made and recognised here.

use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

struct Types {
    dict: Py<PyType>,
    list: Py<PyType>,
    /// Whether their objects lie in memory as those of their bases do.
    are_alike: bool,
}

fn types(py: Python<'_>) -> PyResult<&Types> {
    static TYPES: PyOnceLock<Types> = PyOnceLock::new();
    TYPES.get_or_try_init(py, || {
        let module = py.import("swisper_ctx.readonly")?;
        let class = |name: &str| -> PyResult<Py<PyType>> { Ok(module.getattr(name)?.cast_into::<PyType>()?.unbind()) };
        let (dict, list) = (class("ReadOnlyDict")?, class("ReadOnlyList")?);
        let are_alike =
            is_alike(dict.bind(py), &py.get_type::<PyDict>()) && is_alike(list.bind(py), &py.get_type::<PyList>());
        Ok(Types { dict, list, are_alike })
    })
}

/// Whether a class adds nothing to the memory of its base.
fn is_alike(class: &Bound<'_, PyType>, base: &Bound<'_, PyType>) -> bool {
    let layout = |class: &Bound<'_, PyType>| {
        let names = ["__basicsize__", "__itemsize__", "__dictoffset__", "__weakrefoffset__"];
        names.map(|name| class.getattr(name).and_then(|size| size.extract::<isize>()).unwrap_or(-1))
    };
    layout(class) == layout(base)
}

/// Whether plain dicts and lists can be made read-only.
pub fn can_freeze(py: Python<'_>) -> bool {
    types(py).is_ok_and(|types| types.are_alike)
}

/// Makes a plain dict read-only.
///
/// # Safety
/// `can_freeze` said yes; it is an exact dict that nobody has seen yet.
pub unsafe fn freeze_dict(py: Python<'_>, dict: NonNull<ffi::PyObject>) {
    // SAFETY: the caller's promise.
    let _ = types(py).map(|types| unsafe { become_one_of(dict, &types.dict) });
}

/// Makes a plain list read-only.
///
/// # Safety
/// As of `freeze_dict`, of a list.
pub unsafe fn freeze_list(py: Python<'_>, list: NonNull<ffi::PyObject>) {
    // SAFETY: the caller's promise.
    let _ = types(py).map(|types| unsafe { become_one_of(list, &types.list) });
}

/// # Safety
/// The object is of the base of the class, laid out as its objects are, and nobody has seen it yet.
unsafe fn become_one_of(object: NonNull<ffi::PyObject>, class: &Py<PyType>) {
    // SAFETY: what an assignment to `__class__` does. The base is no class of a heap, so that its objects hold no
    // reference to it; those of the class do.
    unsafe { (*object.as_ptr()).ob_type = ffi::Py_NewRef(class.as_ptr()).cast() };
}

/// An empty read-only dict, to be filled by the interpreter's own functions, which ask no method of it.
pub fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    Ok(empty(types(py)?.dict.bind(py))?.cast_into()?)
}

/// An empty read-only list, likewise.
pub fn list(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    Ok(empty(types(py)?.list.bind(py))?.cast_into()?)
}

/// A new object of a class that has neither `__new__` nor `__init__` of its own, which a call would look for.
fn empty<'py>(class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let type_object = class.as_type_ptr();
    // SAFETY: the type is alive; its `tp_new` is that of dict or list, which takes an empty tuple and no keywords, and
    // gives a new reference, or null with an exception set.
    unsafe {
        match (*type_object).tp_new {
            Some(new) => {
                Bound::from_owned_ptr_or_err(py, new(type_object, PyTuple::empty(py).as_ptr(), std::ptr::null_mut()))
            }
            None => class.call0(),
        }
    }
}

/// The value as a dict if it is a plain or a read-only one, and no other subclass.
pub fn as_dict<'a, 'py>(value: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyDict>> {
    let dict = value.cast::<PyDict>().ok()?;
    let is_ours = || types(value.py()).is_ok_and(|types| value.get_type().is(&types.dict));
    (dict.is_exact_instance_of::<PyDict>() || is_ours()).then_some(dict)
}

/// The value as a list, likewise.
pub fn as_list<'a, 'py>(value: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyList>> {
    let list = value.cast::<PyList>().ok()?;
    let is_ours = || types(value.py()).is_ok_and(|types| value.get_type().is(&types.list));
    (list.is_exact_instance_of::<PyList>() || is_ours()).then_some(list)
}
