//! What pydantic asks of a class: `swisper_ctx.pydantic_schema` answers, imported only then.

use pyo3::call::PyCallArgs;
use pyo3::prelude::*;

/// The core schema that a function of that module gives.
pub fn schema<'py>(py: Python<'py>, function: &str, args: impl PyCallArgs<'py>) -> PyResult<Bound<'py, PyAny>> {
    py.import("swisper_ctx.pydantic_schema")?.getattr(function)?.call1(args)
}
