//! The read-only containers of `swisper_ctx.readonly`, made and recognised here.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyType};

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
    Ok(types(py)?.dict.bind(py).call0()?.cast_into()?)
}

/// An empty read-only list, likewise.
pub fn list(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    Ok(types(py)?.list.bind(py).call0()?.cast_into()?)
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
