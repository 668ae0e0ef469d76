//! Python values to JSON text, strictly: exact builtins only, so that what is read back is equal by value and type.

use num_bigint::BigInt;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use swisper_core::json::MAX_DEPTH;
use swisper_core::{pointer, write};

use crate::error::encode_error;
use crate::readonly;

/// Why a value cannot be encoded, and the way to it, innermost token first.
#[derive(Debug)]
pub struct Refusal {
    kind: String,
    path: Vec<String>,
}

impl Refusal {
    pub fn new(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), path: Vec::new() }
    }

    pub fn at(mut self, token: impl Into<String>) -> Self {
        self.path.push(token.into());
        self
    }

    pub fn raise(&self, py: Python<'_>) -> PyErr {
        let mut path = Vec::new();
        for token in self.path.iter().rev() {
            pointer::push(&mut path, token.as_bytes());
        }
        encode_error(py, &self.kind, &String::from_utf8_lossy(&path))
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
    number(out, value)
}

fn number(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> Outcome {
    if let Ok(flag) = value.cast_exact::<PyBool>() {
        out.extend_from_slice(if flag.is_true() { b"true" } else { b"false" });
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        integer(out, number)?;
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        let number = number.value();
        if !number.is_finite() {
            return Err(Refusal::new("JSON has no NaN and no infinity"));
        }
        write::float(out, number);
    } else {
        let name = value.get_type().name().map_or_else(|_| String::from("object"), |name| name.to_string());
        return Err(Refusal::new(format!("a {name} is not a JSON type: str, int, float, bool, None, list, dict are")));
    }
    Ok(())
}

fn integer(out: &mut Vec<u8>, number: &Bound<'_, PyInt>) -> Outcome {
    if let Ok(small) = number.extract::<i64>() {
        write::integer(out, small);
    } else {
        let large: BigInt = number.extract().map_err(|_| Refusal::new("an integer that cannot be read"))?;
        out.extend_from_slice(large.to_string().as_bytes());
    }
    Ok(())
}

/// Appends a string; one with lone surrogates has no UTF-8.
pub fn string(out: &mut Vec<u8>, text: &Bound<'_, PyString>) -> Outcome {
    if let Some(ascii) = ascii(text) {
        write::string(out, ascii);
        return Ok(());
    }
    let text = text.to_str().map_err(|_| Refusal::new("a string with a lone surrogate"))?;
    write::string(out, text);
    Ok(())
}

/// The text of a compact ASCII string: the common case, which needs neither a call nor a check.
fn ascii<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a str> {
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
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        nested(out, &item, depth).map_err(|refusal| refusal.at(index.to_string()))?;
    }
    out.push(b']');
    Ok(())
}

fn object(out: &mut Vec<u8>, dict: &Bound<'_, PyDict>, depth: usize) -> Outcome {
    check(depth)?;
    out.push(b'{');
    let empty = out.len();
    let mut place = 0;
    while let Some((key, item)) = next(dict, &mut place) {
        let Ok(key) = key.cast_exact::<PyString>() else {
            return Err(Refusal::new("a key that is not a str"));
        };
        string(out, &key)?;
        out.push(b':');
        nested(out, &item, depth).map_err(|refusal| refusal.at(key.to_string_lossy()))?;
        out.push(b',');
    }
    if out.len() > empty {
        out.pop();
    }
    out.push(b'}');
    Ok(())
}

/// The next member of a dict, borrowed: the iterator of the binding counts references and looks for changes, which
/// is half of what encoding a small dict costs.
fn next<'a, 'py>(
    dict: &'a Bound<'py, PyDict>,
    place: &mut ffi::Py_ssize_t,
) -> Option<(Borrowed<'a, 'py, PyAny>, Borrowed<'a, 'py, PyAny>)> {
    let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: `dict` is a dict, and nothing changes it while its members are borrowed: only exact builtins are
    // encoded, which runs no Python code, and the GIL is held.
    unsafe {
        (ffi::PyDict_Next(dict.as_ptr(), place, &raw mut key, &raw mut value) != 0)
            .then(|| (Borrowed::from_ptr(dict.py(), key), Borrowed::from_ptr(dict.py(), value)))
    }
}

fn check(depth: usize) -> Outcome {
    if depth > MAX_DEPTH { Err(Refusal::new("nested deeper than 128")) } else { Ok(()) }
}
