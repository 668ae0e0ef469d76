//! Choosing the vector kernels, for measurements and tests.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use swisper_simd::{Level, limit};

const NAMES: [(&str, Level); 4] =
    [("baseline", Level::Baseline), ("avx2", Level::Avx2), ("avx512", Level::Avx512), ("vbmi2", Level::Vbmi2)];

/// See `_core.pyi`.
#[pyfunction]
pub fn choose_kernels(most: &str) -> PyResult<&'static str> {
    let wanted = NAMES.iter().find(|(name, _)| *name == most);
    let (_, level) = wanted.ok_or_else(|| PyValueError::new_err("baseline, avx2, avx512 or vbmi2"))?;
    let chosen = limit(*level);
    Ok(NAMES.iter().find(|(_, level)| *level == chosen).map_or("baseline", |(name, _)| name))
}
