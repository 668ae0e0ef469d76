//! JSON integers of any size to Python's.

use num_bigint::BigInt;
use pyo3::prelude::*;

/// So many digits fit into an i64, whatever they are.
const SMALL: usize = 18;
/// From here on a number is split in two: reading digit by digit takes the square of their number.
const SPLIT: u32 = 1024;

/// The integer that stands in `text`: an optional minus, then digits.
pub fn integer<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_negative = digits.len() < text.len();
    if digits.len() <= SMALL {
        let number = digits.iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit & 15));
        return Ok((if is_negative { -number } else { number }).into_pyobject(py)?.into_any());
    }
    let number = large(digits, &powers(digits.len()));
    Ok((if is_negative { -number } else { number }).into_pyobject(py)?.into_any())
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
