//! JSON numbers to Python's.

use std::ptr::null_mut;

use num_bigint::BigInt;
use pyo3::ffi;
use pyo3::prelude::*;
use swisper_core::number::Number;

/// From here on a number is split in two: reading digit by digit takes the square of their number.
const SPLIT: u32 = 1024;

/// A new reference, or null with an exception. The number was read from `text`.
#[inline]
pub fn object(py: Python<'_>, number: Number, text: &[u8]) -> *mut ffi::PyObject {
    match number {
        // SAFETY: the thread is attached.
        Number::Integer(value) => unsafe { ffi::PyLong_FromLongLong(value) },
        // SAFETY: likewise.
        Number::Float(value) => unsafe { ffi::PyFloat_FromDouble(value) },
        Number::Long => long(py, text),
    }
}

#[cold]
fn long(py: Python<'_>, text: &[u8]) -> *mut ffi::PyObject {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let number = large(digits, &powers(digits.len()));
    match (if digits.len() < text.len() { -number } else { number }).into_pyobject(py) {
        Ok(number) => number.into_ptr(),
        Err(error) => {
            error.restore(py);
            null_mut()
        }
    }
}

/// 10 to the power of SPLIT, of twice that, and so on, as many as numbers of this length need.
fn powers(digits: usize) -> Vec<BigInt> {
    let mut powers = Vec::new();
    let mut length = SPLIT as usize;
    while length < digits {
        let next = powers.last().map_or_else(|| BigInt::from(10).pow(SPLIT), |last: &BigInt| last * last);
        powers.push(next);
        length *= 2;
    }
    powers
}

/// Divides the digits so that the lower part has as many as the largest power has zeros.
fn large(digits: &[u8], powers: &[BigInt]) -> BigInt {
    let Some((power, smaller)) = powers.split_last() else {
        return BigInt::parse_bytes(digits, 10).unwrap_or_default();
    };
    let lower = (SPLIT as usize) << smaller.len();
    match digits.len().checked_sub(lower).and_then(|upper| digits.split_at_checked(upper)) {
        Some((upper, lower)) if !upper.is_empty() => large(upper, smaller) * power + large(lower, smaller),
        _ => large(digits, smaller),
    }
}
