//! Blocks as Python passes them: (id, field, position, records, body or None if it was left in the store).

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyTuple};
use swisper_core::body::Body;
use swisper_core::rows::{Bodies, Rows};

use crate::sealed::stored_body;
use crate::small_int;
use crate::snapshot::array;

struct Read(Py<PyTuple>);

impl Bodies for Read {
    fn body(&self, row: usize) -> Option<Body> {
        Python::attach(|py| {
            let block = self.0.bind(py).get_item(row).ok()?.cast_into::<PyTuple>().ok()?;
            let body = block.get_borrowed_item(4).ok()?;
            (!body.is_none()).then(|| stored_body(&body).unwrap_or_else(|_| Body::wrong()))
        })
    }
}

/// What stands in clear of these blocks; their bodies are looked at when they are touched.
pub fn stored_rows(blocks: &Bound<'_, PyTuple>) -> PyResult<Rows> {
    let mut rows = Rows::with_capacity(blocks.len(), Read(blocks.clone().unbind()));
    let mut last: Option<(&Bound<'_, PyAny>, usize)> = None;
    for block in blocks.as_slice() {
        let [id, name, position, records, _] = block.cast::<PyTuple>()?.as_slice() else {
            return Err(PyValueError::new_err("a block has five parts"));
        };
        // Most blocks are of one field, whose name is one object.
        let field = match last {
            Some((known, field)) if known.is(name) => field,
            _ => rows.field(name.extract()?),
        };
        last = Some((name, field));
        let id = array(id.cast::<PyBytes>()?.as_bytes(), "a block id")?;
        rows.push(field, id, number(position)?, number(records)?.try_into()?);
    }
    Ok(rows.in_order())
}

fn number(object: &Bound<'_, PyAny>) -> PyResult<i64> {
    if object.is_exact_instance_of::<PyInt>()
        // SAFETY: it is an int.
        && let Some(number) = unsafe { small_int::value(object) }
    {
        return Ok(number);
    }
    object.extract()
}
