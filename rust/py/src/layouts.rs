//! Whether objects are read past the interpreter's public functions: only on versions on which that was tested, and
//! only after a test of the running one has shown that they are laid out as expected.

use pyo3::prelude::*;

use crate::{dict_items, instance, named, shapes, small_int, types};

const TESTED: [u8; 3] = [11, 12, 13];

/// The minor version, if it is one that was tested.
fn tested(py: Python<'_>) -> PyResult<Option<u8>> {
    let version = py.version_info();
    let has_gil = !py.import("sys")?.getattr("abiflags")?.extract::<String>()?.contains('t');
    Ok((has_gil && version.major == 3 && TESTED.contains(&version.minor)).then_some(version.minor))
}

/// Finds out how the running interpreter is to be read; to be called at import.
pub fn probe(py: Python<'_>) -> PyResult<()> {
    choose(py, true)
}

fn choose(py: Python<'_>, direct: bool) -> PyResult<()> {
    let minor = if direct { tested(py)? } else { None };
    named::choose(py, minor.is_some());
    dict_items::probe(py, minor.is_some())?;
    shapes::probe(py, minor.is_some())?;
    small_int::probe(py, minor)?;
    types::probe(py, minor)?;
    instance::probe(py, minor)
}

/// See `_core.pyi`.
#[pyfunction]
pub fn read_directly(py: Python<'_>, allowed: bool) -> PyResult<()> {
    choose(py, allowed)
}
