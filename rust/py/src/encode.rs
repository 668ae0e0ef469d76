//! Python values to JSON text, strictly: exact builtins only, so that what is read back is equal by value and type.

use num_bigint::BigInt;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use swisper_core::json::MAX_DEPTH;
use swisper_core::{pointer, write};

use crate::dict_items::items;
use crate::error::encode_error;
use crate::readonly;

/// Why a value cannot be encoded. Behind a pointer: it is handed up through every level, and seldom there.
#[derive(Debug)]
pub struct Refusal(Box<Reason>);

#[derive(Debug)]
struct Reason {
    kind: String,
    /// The way to the value, innermost token first.
    path: Vec<String>,
}

impl Refusal {
    #[cold]
    pub fn new(kind: impl Into<String>) -> Self {
        Self(Box::new(Reason { kind: kind.into(), path: Vec::new() }))
    }

    #[cold]
    pub fn at(mut self, token: impl Into<String>) -> Self {
        self.0.path.push(token.into());
        self
    }

    pub fn raise(&self, py: Python<'_>) -> PyErr {
        self.raise_below(py, "")
    }

    /// The exception for a value whose way begins at a pointer.
    pub fn raise_below(&self, py: Python<'_>, pointer: &str) -> PyErr {
        let mut path = pointer.as_bytes().to_vec();
        for token in self.0.path.iter().rev() {
            pointer::push(&mut path, token.as_bytes());
        }
        encode_error(py, &self.0.kind, &String::from_utf8_lossy(&path))
    }
}

pub type Outcome = Result<(), Refusal>;

/// Appends the JSON text of `value`.
pub fn value(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> Outcome {
    nested(out, value, 0)
}

/// Appends the JSON text of a member of a record, which is one container deep itself.
pub fn member(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> Outcome {
    nested(out, value, 1)
}

fn nested(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return string(out, text);
    }
    if let Ok(number) = value.cast_exact::<PyInt>() {
        return integer(out, number);
    }
    if let Ok(flag) = value.cast_exact::<PyBool>() {
        out.extend_from_slice(if flag.is_true() { b"true" } else { b"false" });
        return Ok(());
    }
    if value.is_none() {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    if let Some(dict) = readonly::as_dict(value) {
        return object(out, dict, depth + 1);
    }
    if let Some(list) = readonly::as_list(value) {
        return array(out, list, depth + 1);
    }
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        return float(out, number.value());
    }
    let name = value.get_type().name().map_or_else(|_| String::from("object"), |name| name.to_string());
    Err(Refusal::new(format!("a {name} is not a JSON type: str, int, float, bool, None, list, dict are")))
}

fn float(out: &mut Vec<u8>, number: f64) -> Outcome {
    if !number.is_finite() {
        return Err(Refusal::new("JSON has no NaN and no infinity"));
    }
    write::float(out, number);
    Ok(())
}

fn integer(out: &mut Vec<u8>, number: &Bound<'_, PyInt>) -> Outcome {
    let mut overflow = 0;
    // SAFETY: `number` is an int, of which this cannot fail but by overflow.
    let small = unsafe { ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &raw mut overflow) };
    if overflow == 0 {
        write::integer(out, small);
        return Ok(());
    }
    let large: BigInt = number.extract().map_err(|_| Refusal::new("an integer that cannot be read"))?;
    out.extend_from_slice(large.to_string().as_bytes());
    Ok(())
}

fn string(out: &mut Vec<u8>, value: &Bound<'_, PyString>) -> Outcome {
    write::string(out, text(value)?);
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

fn array(out: &mut Vec<u8>, list: &Bound<'_, PyList>, depth: usize) -> Outcome {
    check(depth)?;
    out.push(b'[');
    let empty = out.len();
    for (index, item) in list.iter().enumerate() {
        nested(out, &item, depth).map_err(|refusal| refusal.at(index.to_string()))?;
        out.push(b',');
    }
    close(out, empty, b']');
    Ok(())
}

fn object(out: &mut Vec<u8>, dict: &Bound<'_, PyDict>, depth: usize) -> Outcome {
    check(depth)?;
    out.push(b'{');
    let empty = out.len();
    // SAFETY: only exact builtins are encoded, which runs no Python code, and the GIL is held.
    for (key, item) in unsafe { items(dict) } {
        let Ok(key) = key.cast_exact::<PyString>() else {
            return Err(Refusal::new("a key that is not a str"));
        };
        write::name(out, text(&key)?);
        nested(out, &item, depth).map_err(|refusal| refusal.at(key.to_string_lossy()))?;
        out.push(b',');
    }
    close(out, empty, b'}');
    Ok(())
}

/// Appends a key with its colon.
pub fn name(out: &mut Vec<u8>, key: &Bound<'_, PyAny>) -> Outcome {
    let key = key.cast_exact::<PyString>().map_err(|_| Refusal::new("a key that is not a str"))?;
    write::name(out, text(key)?);
    Ok(())
}

/// Ends a container: in the place of the last comma, if there is one.
fn close(out: &mut Vec<u8>, empty: usize, bracket: u8) {
    match out.get_mut(empty..).and_then(<[u8]>::last_mut) {
        Some(comma) => *comma = bracket,
        None => out.push(bracket),
    }
}

fn check(depth: usize) -> Outcome {
    if depth > MAX_DEPTH { Err(Refusal::new("nested deeper than 128")) } else { Ok(()) }
}
