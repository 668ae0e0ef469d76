//! Python values to JSON text, strictly: exact builtins only, so that what is read back is equal by value and type.

use pyo3::prelude::*;
use swisper_core::pointer;
use swisper_simd::Sink;

use crate::error::encode_error;
use crate::readonly;
use crate::walk::{Policy, Walk, no_key};

/// Why a value cannot be encoded. Behind a pointer: it is handed up through every level, and seldom there.
#[derive(Debug)]
pub struct Refusal(Box<Reason>);

#[derive(Debug)]
struct Reason {
    kind: String,
    /// The way to the value, innermost token first.
    path: Vec<String>,
    /// What Python code has raised, if that is the reason.
    raised: Option<PyErr>,
}

impl Refusal {
    #[cold]
    pub fn new(kind: impl Into<String>) -> Self {
        Self(Box::new(Reason { kind: kind.into(), path: Vec::new(), raised: None }))
    }

    #[cold]
    pub fn at(mut self, token: impl Into<String>) -> Self {
        self.0.path.push(token.into());
        self
    }

    pub fn raise(self, py: Python<'_>) -> PyErr {
        if let Some(raised) = self.0.raised {
            return raised;
        }
        let mut path = Vec::new();
        for token in self.0.path.iter().rev() {
            pointer::push(&mut path, token.as_bytes());
        }
        encode_error(py, &self.0.kind, &String::from_utf8_lossy(&path))
    }
}

impl From<PyErr> for Refusal {
    #[cold]
    fn from(raised: PyErr) -> Self {
        Self(Box::new(Reason { kind: String::new(), path: Vec::new(), raised: Some(raised) }))
    }
}

pub type Outcome = Result<(), Refusal>;

/// Appends the JSON text of `value`.
pub fn value(out: &mut impl Sink, value: &Bound<'_, PyAny>) -> Outcome {
    nested(out, value, 0)
}

/// Appends the JSON text of a member of a record, which is one container deep itself.
pub fn member(out: &mut impl Sink, value: &Bound<'_, PyAny>) -> Outcome {
    nested(out, value, 1)
}

/// Appends the JSON text of a value that stands in so many containers.
pub fn nested(out: &mut impl Sink, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
    Walk { out, policy: Strict }.whole(value, depth)
}

/// Exact builtins, and what was read from a record; no Python code runs.
struct Strict;

impl Policy for Strict {
    const TUPLES: bool = false;

    fn other<S: Sink>(walk: &mut Walk<'_, S, Self>, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        if let Some(dict) = readonly::as_dict(value) {
            return walk.dict(dict, depth + 1);
        }
        if let Some(list) = readonly::as_list(value) {
            return walk.list(list, depth + 1);
        }
        Err(misfit(value, ""))
    }

    fn other_key<S: Sink>(_walk: &mut Walk<'_, S, Self>, _key: &Bound<'_, PyAny>) -> Outcome {
        Err(no_key())
    }
}

/// A value of a type that has no JSON text.
#[cold]
pub fn misfit(value: &Bound<'_, PyAny>, hint: &str) -> Refusal {
    let name = value.get_type().name().map_or_else(|_| String::from("object"), |name| name.to_string());
    Refusal::new(format!("a {name} is not a JSON type: str, int, float, bool, None, list, dict are{hint}"))
}
