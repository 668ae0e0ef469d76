//! Blocks as Python passes them: (id, field, position, records, body or None if it was left in the store).

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};
use swisper_core::body::Body;
use swisper_core::envelope::BlockId;
use swisper_core::error::{Error, Result};
use swisper_core::rows::Rows;
use swisper_core::unread::{Source, Unread};

use crate::error::raise;
use crate::sealed::stored_body;
use crate::small_int;
use crate::snapshot::array;

/// The blocks of one read.
pub struct Read(Py<PyTuple>);

impl Read {
    pub fn new(blocks: &Bound<'_, PyTuple>) -> Self {
        Self(blocks.clone().unbind())
    }
}

impl Source for Read {
    fn count(&self) -> usize {
        Python::attach(|py| self.0.bind(py).len())
    }

    fn is_values(&self, row: usize, field: &str, id: &BlockId) -> bool {
        Python::attach(|py| {
            let Some(block) = self.0.bind(py).as_slice().get(row) else { return false };
            parts(block).is_ok_and(|[own, name, _, records, _]| {
                own.cast::<PyBytes>().is_ok_and(|own| own.as_bytes() == id)
                    && name.cast::<PyString>().is_ok_and(|name| name.to_str().is_ok_and(|name| name == field))
                    && number(records).is_ok_and(|records| records == 0)
            })
        })
    }

    fn rows(&self) -> Result<Rows> {
        Python::attach(|py| stored_rows(self.0.bind(py)).map_err(|_| Error::wrong_kind()))
    }

    fn body(&self, row: usize) -> Option<Body> {
        Python::attach(|py| {
            let block = self.0.bind(py).as_slice().get(row)?;
            let [.., body] = parts(block).ok()?;
            (!body.is_none()).then(|| stored_body(body).unwrap_or_else(|_| Body::wrong()))
        })
    }

    fn is_partial(&self) -> bool {
        Python::attach(|py| {
            let blocks = self.0.bind(py).as_slice();
            blocks.iter().any(|block| parts(block).is_ok_and(|[.., body]| body.is_none()))
        })
    }
}

/// What stands in clear of these blocks; their bodies are looked at when they are touched.
pub fn stored_rows(blocks: &Bound<'_, PyTuple>) -> PyResult<Rows> {
    let mut rows = Rows::with_capacity(blocks.len());
    let mut last: Option<(&Bound<'_, PyAny>, usize)> = None;
    for block in blocks.as_slice() {
        let [id, name, position, records, _] = parts(block)?;
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

fn parts<'a, 'py>(block: &'a Bound<'py, PyAny>) -> PyResult<&'a [Bound<'py, PyAny>; 5]> {
    let parts = block.cast::<PyTuple>()?.as_slice();
    parts.try_into().map_err(|_| PyValueError::new_err("a block has five parts"))
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

/// See `_core.pyi`.
#[pyclass(frozen, module = "swisper_ctx._core")]
pub struct StoredBlocks(pub Arc<Unread>);

#[pymethods]
impl StoredBlocks {
    fn check(&self, py: Python<'_>, session_id: &str) -> PyResult<()> {
        self.0.rows().map(drop).map_err(|error| raise(py, &error, Some(session_id)))
    }
}

/// Ids of blocks, one behind the other, or those of a head whose rows were not looked at.
#[derive(FromPyObject)]
pub enum BlockIds<'py> {
    Known(Bound<'py, PyBytes>),
    Stored(Bound<'py, StoredBlocks>),
}

impl BlockIds<'_> {
    pub fn get(&self) -> PyResult<Result<Vec<BlockId>>> {
        match self {
            Self::Known(bytes) => {
                let (ids, rest) = bytes.as_bytes().as_chunks();
                if rest.is_empty() {
                    Ok(Ok(ids.to_vec()))
                } else {
                    Err(PyValueError::new_err("each block id has 16 bytes"))
                }
            }
            Self::Stored(blocks) => Ok(blocks.get().0.rows().map(|rows| rows.ids(0..rows.len()).to_vec())),
        }
    }
}
