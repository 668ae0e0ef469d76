//! Reading some fields of many records at once.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use swisper_core::json::{members, slice};

use crate::error::raise;
use crate::record::decoded;
use crate::schema::{FieldSpec, Schema};

/// A field that is read, with its name as it stands in a record.
pub struct Column {
    spec: &'static FieldSpec,
    key: String,
}

impl Column {
    pub fn new(schema: &'static Schema, name: &str) -> PyResult<Self> {
        let spec = schema.fields.iter().find(|spec| spec.name == name);
        let spec = spec.ok_or_else(|| PyAttributeError::new_err(format!("{} has no field '{name}'", schema.name)))?;
        Ok(Self { spec, key: format!("\"{name}\"") })
    }
}

/// The values of these columns in one record, None where it has none. The record is walked once.
pub fn row<'py>(py: Python<'py>, columns: &[Column], text: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
    let mut values: Vec<Option<Bound<'py, PyAny>>> = vec![None; columns.len()];
    let mut missing = columns.len();
    for found in members(text, 0).map_err(|error| raise(py, &error, None))? {
        let (key, value) = found.map_err(|error| raise(py, &error, None))?;
        let key = slice(text, key).map_err(|error| raise(py, &error, None))?;
        for (column, place) in columns.iter().zip(&mut values) {
            if place.is_none() && column.key.as_bytes() == key {
                let raw = slice(text, value.clone()).map_err(|error| raise(py, &error, None))?;
                *place = Some(decoded(py, raw, column.spec)?);
                missing -= 1;
            }
        }
        if missing == 0 {
            break;
        }
    }
    PyTuple::new(py, values.into_iter().map(|value| value.unwrap_or_else(|| py.None().into_bound(py))))
}
