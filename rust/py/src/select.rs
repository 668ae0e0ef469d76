//! Reading some fields of many records at once.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use swisper_core::error::Error;

use crate::error::raise;
use crate::places::Walk;
use crate::record::{Class, decoded, decoded_part};
use crate::schema::MOST;

/// The fields that are read, in the order in which they are wanted.
pub struct Columns {
    class: Class,
    fields: Vec<usize>,
    is_wanted: [bool; MOST],
}

impl Columns {
    pub fn new(class: Class, names: &[String]) -> PyResult<Self> {
        let schema = class.schema();
        let position = |name: &String| {
            let found = schema.fields.iter().position(|spec| spec.name == name);
            found.ok_or_else(|| PyAttributeError::new_err(format!("{} has no field '{name}'", schema.name)))
        };
        let fields = names.iter().map(position).collect::<PyResult<Vec<_>>>()?;
        let is_wanted = std::array::from_fn(|field| fields.contains(&field));
        Ok(Self { class, fields, is_wanted })
    }

    /// The values in one record, None where it has none. The record is walked once.
    pub fn row<'py>(&self, py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
        let failed = |error: Error| raise(py, &error, None);
        let mut values: [Option<Bound<'py, PyAny>>; MOST] = Default::default();
        let mut missing = self.is_wanted.iter().filter(|&&wanted| wanted).count();
        let mut walk = Walk::new(text, self.class.keys(), 0, 0);
        while missing > 0
            && let Some(met) = walk.step().map_err(failed)?
        {
            let wanted = met.field.filter(|&field| self.is_wanted.get(field) == Some(&true));
            let place = wanted.and_then(|field| values.get_mut(field)).filter(|place| place.is_none());
            let spec = met.field.and_then(|field| self.class.schema().fields.get(field));
            let (Some(place), Some(spec)) = (place, spec) else {
                walk.skip(&met).map_err(failed)?;
                continue;
            };
            missing -= 1;
            *place = Some(match decoded_part(py, text, met.start, spec) {
                Some((value, end)) => {
                    walk.at = end;
                    value
                }
                None => decoded(py, text, walk.skip(&met).map_err(failed)?, spec)?,
            });
        }
        let value = |field: &usize| values.get(*field).cloned().flatten().unwrap_or_else(|| py.None().into_bound(py));
        PyTuple::new(py, self.fields.iter().map(value))
    }
}
