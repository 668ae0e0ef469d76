//! JSON text of Python's strings and numbers.

use num_bigint::BigInt;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use swisper_core::json::MAX_DEPTH;
use swisper_simd::{Chosen, Kernels, Pen, Sink, push_float, push_integer, push_units};

use crate::encode::{Outcome, Refusal};
use crate::small_int;

/// Appends a str, or one of a subclass, and `after` behind it. No UTF-8 copy stays in the str.
pub fn string(out: &mut impl Sink, text: &Bound<'_, PyAny>, after: u8) -> Outcome {
    let mut pen = Pen::new(out);
    // SAFETY: this kind is every processor's, and nothing else was written.
    let done = unsafe { string_with::<Chosen, _>(&mut pen, text, after) };
    pen.done();
    done
}

/// The same with given kernels.
///
/// # Safety
/// The processor is of that kind; for the pen see `Pen::string`.
#[allow(clippy::inline_always)] // Else it is not compiled for that kind.
#[inline(always)]
pub unsafe fn string_with<K: Kernels, S: Sink>(pen: &mut Pen<'_, S>, text: &Bound<'_, PyAny>, after: u8) -> Outcome {
    let object = text.as_ptr();
    // SAFETY: `object` is a str. A compact ASCII one holds its characters behind its header, as many bytes as it has
    // code points, for as long as it lives (PEP 393).
    unsafe {
        if ffi::PyUnicode_IS_COMPACT_ASCII(object) == 0 {
            return pen.apart(|out| other_string(out, text, after));
        }
        let length = ffi::PyUnicode_GET_LENGTH(object).cast_unsigned();
        pen.string::<K>(std::slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(object), length), after);
    }
    Ok(())
}

/// Writes a value with a comma behind it if it is a scalar; whether it was one. No Python code runs.
///
/// # Safety
/// As for `string_with`.
#[allow(clippy::inline_always)] // Else it is not compiled for that kind.
#[inline(always)]
pub unsafe fn scalar_with<K: Kernels, S: Sink>(
    pen: &mut Pen<'_, S>,
    value: &Bound<'_, PyAny>,
) -> Result<bool, Refusal> {
    let object = value.as_ptr();
    // SAFETY: only addresses are compared, and the type of an object that lives is read; the rest is the caller's promise.
    unsafe {
        let class = ffi::Py_TYPE(object);
        if class == &raw mut ffi::PyUnicode_Type {
            return string_with::<K, S>(pen, value, b',').map(|()| true);
        }
        if class == &raw mut ffi::PyLong_Type {
            return integer(pen, value).map(|()| true);
        }
        if class == &raw mut ffi::PyFloat_Type {
            return pen.apart(|out| float(out, value)).map(|()| true);
        }
        let (word, length) = if object == ffi::Py_None() {
            (b"null,\0\0\0", 5)
        } else if object == ffi::Py_True() {
            (b"true,\0\0\0", 5)
        } else if object == ffi::Py_False() {
            (b"false,\0\0", 6)
        } else {
            return Ok(false);
        };
        pen.padded(word, length);
    }
    Ok(true)
}

/// Writes a list or dict that stands in so many containers, with a comma behind it, if there is nothing in it; whether it
/// was one.
///
/// # Safety
/// As for `Pen::padded`.
#[allow(clippy::inline_always)] // For the sake of the pen.
#[inline(always)]
pub unsafe fn empty<S: Sink>(pen: &mut Pen<'_, S>, value: &Bound<'_, PyAny>, depth: usize) -> bool {
    let class = value.get_type_ptr();
    // SAFETY: the type was compared; the rest is the caller's promise.
    unsafe {
        let brackets = if class == &raw mut ffi::PyList_Type && value.cast_unchecked::<PyList>().is_empty() {
            b"[],\0"
        } else if class == &raw mut ffi::PyDict_Type && value.cast_unchecked::<PyDict>().is_empty() {
            b"{},\0"
        } else {
            return false;
        };
        if depth < MAX_DEPTH {
            pen.padded(brackets, 3);
        }
        depth < MAX_DEPTH
    }
}

#[inline(never)]
fn other_string(out: &mut impl Sink, text: &Bound<'_, PyAny>, after: u8) -> Outcome {
    let object = text.as_ptr();
    // SAFETY: `object` is a str; once it is ready, its characters lie there with as many bytes each as its kind says.
    let written = unsafe {
        if ffi::PyUnicode_READY(object) != 0 {
            return Err(PyErr::fetch(text.py()).into());
        }
        let length = usize::try_from(ffi::PyUnicode_GET_LENGTH(object)).unwrap_or_default();
        let data = ffi::PyUnicode_DATA(object);
        match ffi::PyUnicode_KIND(object) {
            1 => push_units(out, std::slice::from_raw_parts(data.cast::<u8>(), length), Some(after)),
            2 => push_units(out, std::slice::from_raw_parts(data.cast::<u16>(), length), Some(after)),
            _ => push_units(out, std::slice::from_raw_parts(data.cast::<u32>(), length), Some(after)),
        }
    };
    if written { Ok(()) } else { Err(Refusal::new("a string with a lone surrogate")) }
}

/// Appends an int, or one of a subclass, and a comma.
#[allow(clippy::inline_always)] // For the sake of the pen.
#[inline(always)]
pub fn integer<S: Sink>(pen: &mut Pen<'_, S>, number: &Bound<'_, PyAny>) -> Outcome {
    // SAFETY: `number` is an int.
    if let Some(value) = unsafe { small_int::value(number) } {
        push_integer(pen, value, b',');
        return Ok(());
    }
    pen.apart(|out| large(out, number))
}

#[cold]
fn large(out: &mut impl Sink, number: &Bound<'_, PyAny>) -> Outcome {
    let mut overflow = 0;
    // SAFETY: `number` is an int, of which this cannot fail but by overflow.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &raw mut overflow) };
    if overflow == 0 {
        push_integer(out, value, b',');
        return Ok(());
    }
    let large: BigInt = number.extract().map_err(|_| Refusal::new("an integer that cannot be read"))?;
    out.append(large.to_string().as_bytes());
    out.put(b',');
    Ok(())
}

/// Appends a float, or one of a subclass, and a comma.
#[inline]
pub fn float(out: &mut impl Sink, number: &Bound<'_, PyAny>) -> Outcome {
    // SAFETY: `number` is a float.
    let value = unsafe { ffi::PyFloat_AS_DOUBLE(number.as_ptr()) };
    if !value.is_finite() {
        return Err(Refusal::new("JSON has no NaN and no infinity"));
    }
    push_float(out, value, b',');
    Ok(())
}
