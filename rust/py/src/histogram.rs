//! `Histogram`: durations counted so that percentiles can be read, by the crate `hdrhistogram`.

use hdrhistogram::Histogram as Counts;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// Two significant digits: a percentile is at most 1 % above the value that was recorded.
const DIGITS: u8 = 2;

/// See `_core.pyi`.
#[pyclass(module = "swisper_ctx._core")]
#[derive(Debug)]
pub struct Histogram {
    counts: Counts<u32>,
}

#[pymethods]
impl Histogram {
    #[new]
    fn new() -> PyResult<Self> {
        let counts = Counts::new(DIGITS).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(Self { counts })
    }

    fn record(&mut self, value: u64) -> PyResult<()> {
        self.counts.record(value).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn percentile(&self, percent: f64) -> PyResult<u64> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(PyValueError::new_err("a percentile stands between 0 and 100"));
        }
        Ok(self.counts.value_at_percentile(percent).min(self.counts.max()))
    }

    #[getter]
    fn count(&self) -> u64 {
        self.counts.len()
    }

    #[getter]
    fn max(&self) -> u64 {
        self.counts.max()
    }

    fn __repr__(&self) -> String {
        format!("<Histogram of {} values>", self.counts.len())
    }
}
