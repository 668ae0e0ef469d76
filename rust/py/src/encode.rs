//! Python values to JSON text, strictly: exact builtins only, so that what is read back is equal by value and type.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use swisper_core::{pointer, write};
use swisper_simd::Sink;

use crate::error::encode_error;
use crate::processor::Processor;
use crate::readonly;
use crate::unwritten::Long;
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
        self.raise_below(py, "")
    }

    /// The exception for a value whose way begins at a pointer.
    pub fn raise_below(self, py: Python<'_>, pointer: &str) -> PyErr {
        if let Some(raised) = self.0.raised {
            return raised;
        }
        let mut path = pointer.as_bytes().to_vec();
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
    Walk { out, policy: Strict::<false>::default() }.whole(value, depth)
}

/// The same, but for long strings: each leaves a hole in the text, and is kept for it.
pub fn with_holes(out: &mut impl Sink, value: &Bound<'_, PyAny>) -> Result<Vec<Long>, Refusal> {
    let mut walk = Walk { out, policy: Strict::<true>::default() };
    walk.whole(value, 0)?;
    Ok(walk.policy.kept)
}

/// Exact builtins, and what was read from a record; no Python code runs.
#[derive(Default)]
struct Strict<const KEEPS: bool> {
    kept: Vec<Long>,
}

impl<const KEEPS: bool> Policy for Strict<KEEPS> {
    const TUPLES: bool = false;

    unsafe fn other<K: Processor, S: Sink>(
        walk: &mut Walk<'_, S, Self>,
        value: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Outcome {
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

    #[inline]
    fn keeps(&mut self, value: &Bound<'_, PyAny>) -> bool {
        if !KEEPS {
            return false;
        }
        let long = Long::of(value);
        let is_long = long.is_some();
        self.kept.extend(long);
        is_long
    }
}

/// A value of a type that has no JSON text.
#[cold]
pub fn misfit(value: &Bound<'_, PyAny>, hint: &str) -> Refusal {
    let name = value.get_type().name().map_or_else(|_| String::from("object"), |name| name.to_string());
    Refusal::new(format!("a {name} is not a JSON type: str, int, float, bool, None, list, dict are{hint}"))
}

/// Appends a key with its colon.
pub fn name(out: &mut Vec<u8>, key: &Bound<'_, PyAny>) -> Outcome {
    let key = key.cast_exact::<PyString>().map_err(|_| Refusal::new("a key that is not a str"))?;
    write::string(out, text(key)?);
    out.push(b':');
    Ok(())
}

/// The text of a string; one with lone surrogates has none.
#[inline]
fn text<'a>(value: &'a Bound<'_, PyString>) -> Result<&'a str, Refusal> {
    ascii(value).map_or_else(|| value.to_str().map_err(|_| Refusal::new("a string with a lone surrogate")), Ok)
}

/// The text of a compact ASCII string: the common case, which needs neither a call nor a check.
pub fn ascii<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a str> {
    let object = text.as_ptr();
    // SAFETY: `object` is a str. A compact ASCII one holds its characters behind its header, as many bytes as it has
    // code points, all below 128, for as long as it lives (PEP 393).
    unsafe {
        (ffi::PyUnicode_IS_COMPACT_ASCII(object) != 0).then(|| {
            let length = usize::try_from(ffi::PyUnicode_GET_LENGTH(object)).unwrap_or_default();
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(object), length))
        })
    }
}
