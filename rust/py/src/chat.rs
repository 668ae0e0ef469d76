//! A message as chat APIs take it.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use swisper_core::error::Error;
use swisper_core::json::{members, slice};

use crate::decode;
use crate::error::{raise, wrong_type};
use crate::record::Class;

/// See `_core.pyi`. The other members are not decoded.
#[pyfunction]
pub fn chat_form<'py>(message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let py = message.py();
    let record = Class::Message.unwrap(message).ok_or_else(|| wrong_type("a Message", message))?;
    let text = record.get(py);
    let failed = |error: Error| raise(py, &error, None);
    let form = PyDict::new(py);
    for found in members(text, 0).map_err(failed)? {
        let (key, value) = found.map_err(failed)?;
        let name = match slice(text, key).map_err(failed)? {
            b"\"role\"" => intern!(py, "role"),
            b"\"content\"" => intern!(py, "content"),
            b"\"name\"" => intern!(py, "name"),
            b"\"tool_calls\"" => intern!(py, "tool_calls"),
            b"\"tool_call_id\"" => intern!(py, "tool_call_id"),
            _ => continue,
        };
        form.set_item(name, decode::value(py, slice(text, value).map_err(failed)?)?)?;
    }
    Ok(form)
}
