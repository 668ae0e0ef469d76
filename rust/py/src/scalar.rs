//! JSON text of Python's strings and numbers.

use num_bigint::BigInt;
use pyo3::ffi;
use pyo3::prelude::*;
use swisper_simd::{Chosen, Kernels, Sink, push_float, push_integer, push_string_with, push_units};

use crate::encode::{Outcome, Refusal};
use crate::small_int;

/// Appends a str, or one of a subclass, and `after` behind it. No UTF-8 copy stays in the str.
#[inline]
pub fn string(out: &mut impl Sink, text: &Bound<'_, PyAny>, after: Option<u8>) -> Outcome {
    // SAFETY: this kind is every processor's.
    unsafe { string_with::<Chosen>(out, text, after) }
}

/// The same with given kernels.
///
/// # Safety
/// The processor is of that kind.
#[allow(clippy::inline_always)] // Else it is not compiled for that kind.
#[inline(always)]
pub unsafe fn string_with<K: Kernels>(out: &mut impl Sink, text: &Bound<'_, PyAny>, after: Option<u8>) -> Outcome {
    let object = text.as_ptr();
    // SAFETY: `object` is a str. A compact ASCII one holds its characters behind its header, as many bytes as it has
    // code points, for as long as it lives (PEP 393).
    unsafe {
        if ffi::PyUnicode_IS_COMPACT_ASCII(object) == 0 {
            return other_string(out, text, after);
        }
        let length = usize::try_from(ffi::PyUnicode_GET_LENGTH(object)).unwrap_or_default();
        push_string_with::<K>(out, std::slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(object), length), after);
    }
    Ok(())
}

#[inline(never)]
fn other_string(out: &mut impl Sink, text: &Bound<'_, PyAny>, after: Option<u8>) -> Outcome {
    let object = text.as_ptr();
    // SAFETY: `object` is a str; once it is ready, its characters lie there with as many bytes each as its kind says.
    let written = unsafe {
        if ffi::PyUnicode_READY(object) != 0 {
            return Err(PyErr::fetch(text.py()).into());
        }
        let length = usize::try_from(ffi::PyUnicode_GET_LENGTH(object)).unwrap_or_default();
        let data = ffi::PyUnicode_DATA(object);
        match ffi::PyUnicode_KIND(object) {
            1 => push_units(out, std::slice::from_raw_parts(data.cast::<u8>(), length), after),
            2 => push_units(out, std::slice::from_raw_parts(data.cast::<u16>(), length), after),
            _ => push_units(out, std::slice::from_raw_parts(data.cast::<u32>(), length), after),
        }
    };
    if written { Ok(()) } else { Err(Refusal::new("a string with a lone surrogate")) }
}

/// Appends an int, or one of a subclass, and a comma.
#[inline]
pub fn integer(out: &mut impl Sink, number: &Bound<'_, PyAny>) -> Outcome {
    // SAFETY: `number` is an int.
    if let Some(value) = unsafe { small_int::value(number) } {
        push_integer(out, value, b',');
        return Ok(());
    }
    large(out, number)
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
