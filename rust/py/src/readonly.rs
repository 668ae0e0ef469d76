//! The read-only containers of `swisper_ctx.readonly`, made and recognised here.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

struct Types {
    dict: Py<PyType>,
    list: Py<PyType>,
}

fn types(py: Python<'_>) -> PyResult<&Types> {
    static TYPES: PyOnceLock<Types> = PyOnceLock::new();
    TYPES.get_or_try_init(py, || {
        let module = py.import("swisper_ctx.readonly")?;
        let class = |name: &str| -> PyResult<Py<PyType>> { Ok(module.getattr(name)?.cast_into::<PyType>()?.unbind()) };
        Ok(Types { dict: class("ReadOnlyDict")?, list: class("ReadOnlyList")? })
    })
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
