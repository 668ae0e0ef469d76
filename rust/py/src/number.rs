//! JSON numbers to Python's: integers of any size, floats as the nearest to what is written.

use num_bigint::BigInt;
use pyo3::ffi;
use pyo3::prelude::*;

/// So many digits fit into an i64, whatever they are.
const SMALL: usize = 18;
/// From here on a number is split in two: reading digit by digit takes the square of their number.
const SPLIT: u32 = 1024;

/// The powers of ten that a float holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

const INVALID: &str = "invalid number";

/// A number and its length in the text; or what is wrong, and at which byte.
type Read<'py> = Result<(PyResult<Bound<'py, PyAny>>, usize), (&'static str, usize)>;

/// Digits as they are read: their value as far as it fits, and how many there are.
struct Digits {
    value: u64,
    count: usize,
}

/// The digits at the start, behind others: eight at a time, then one by one.
#[inline]
fn digits(src: &[u8], before: u64) -> Digits {
    let (mut value, mut count) = (before, 0);
    while let Some(eight) = src.get(count..).and_then(<[u8]>::first_chunk).and_then(|chunk| eight_digits(*chunk)) {
        value = value.wrapping_mul(100_000_000).wrapping_add(eight);
        count += 8;
    }
    while let Some(digit) = src.get(count).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        value = value.wrapping_mul(10).wrapping_add(digit.into());
        count += 1;
    }
    Digits { value, count }
}

/// The value of eight digits, if that is what they are (D. Lemire, "Quickly parsing eight digits", 2018).
#[inline]
fn eight_digits(chunk: [u8; 8]) -> Option<u64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let word = u64::from_le_bytes(chunk);
    let high = 0xf0f0_f0f0_f0f0_f0f0;
    if word & high != ZEROS || word.wrapping_add(0x0606_0606_0606_0606) & high != ZEROS {
        return None;
    }
    let ones = word - ZEROS;
    let twos = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos * 100 + (twos >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff)
}

/// The number at the start of `src`.
#[inline]
pub fn read<'py>(py: Python<'py>, src: &[u8]) -> Read<'py> {
    let is_negative = src.first() == Some(&b'-');
    let start = usize::from(is_negative);
    let whole = digits(src.get(start..).unwrap_or_default(), 0);
    let end = start + whole.count;
    if whole.count == 0 || whole.count > 1 && src.get(start) == Some(&b'0') {
        return Err((INVALID, start));
    }
    if let Some(b'.' | b'e' | b'E') = src.get(end) {
        return float(py, src, is_negative, whole, end);
    }
    if whole.count <= SMALL {
        let value = whole.value.cast_signed();
        // SAFETY: a new reference, or null with an exception.
        let made = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyLong_FromLongLong(if is_negative { -value } else { value }))
        };
        return Ok((made, end));
    }
    Ok((integer(py, src.get(start..end).unwrap_or_default(), is_negative), end))
}

fn float<'py>(py: Python<'py>, src: &[u8], is_negative: bool, whole: Digits, mut end: usize) -> Read<'py> {
    let mut mantissa = Digits { ..whole };
    let mut exponent = 0_i64;
    if src.get(end) == Some(&b'.') {
        let fraction = digits(src.get(end + 1..).unwrap_or_default(), whole.value);
        end += 1 + fraction.count;
        if fraction.count == 0 {
            return Err((INVALID, end));
        }
        exponent = -i64::try_from(fraction.count).unwrap_or(i64::MAX);
        mantissa = Digits { value: fraction.value, count: whole.count + fraction.count };
    }
    if let Some(b'e' | b'E') = src.get(end) {
        let sign = src.get(end + 1).copied();
        end += 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
        let power = digits(src.get(end..).unwrap_or_default(), 0);
        end += power.count;
        if power.count == 0 {
            return Err((INVALID, end));
        }
        // What is larger is far beyond the exact way, which is all that this is for.
        let value = if power.count > 4 { 99_999 } else { power.value.cast_signed() };
        exponent += if sign == Some(b'-') { -value } else { value };
    }
    let value = match exact(&mantissa, exponent).or_else(|| in_integers(&mantissa, exponent)) {
        Some(value) => {
            if is_negative {
                -value
            } else {
                value
            }
        }
        None => nearest(src.get(..end).unwrap_or_default()),
    };
    if !value.is_finite() {
        return Err(("a number that no float can hold", 0));
    }
    // SAFETY: a new reference, or null with an exception.
    Ok((unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyFloat_FromDouble(value)) }, end))
}

/// A value whose digits and power of ten are floats themselves: one rounding gives the nearest (W. Clinger, "How to Read
/// Floating Point Numbers Accurately", 1990).
#[inline]
#[allow(clippy::cast_precision_loss)]
fn exact(mantissa: &Digits, exponent: i64) -> Option<f64> {
    if mantissa.count > 19 || mantissa.value > 1 << 53 {
        return None;
    }
    let power = *POWERS.get(usize::try_from(exponent.unsigned_abs()).ok()?)?;
    let digits = mantissa.value as f64;
    Some(if exponent < 0 { digits / power } else { digits * power })
}

/// The largest power of ten that 64 bits hold.
const MOST: i64 = 19;

/// A value of up to 19 digits, near enough to 1 that it can be divided or multiplied in whole numbers: what is left over
/// only matters for rounding.
fn in_integers(mantissa: &Digits, exponent: i64) -> Option<f64> {
    if mantissa.count > 19 || mantissa.value == 0 || exponent.abs() > MOST {
        return None;
    }
    let power = u128::from(10_u64.pow(exponent.unsigned_abs().try_into().ok()?));
    if exponent >= 0 {
        return Some(rounded(u128::from(mantissa.value) * power, false, 0));
    }
    // So that the quotient has 64 bits or 65.
    let shift = mantissa.value.leading_zeros() + 128 - power.leading_zeros();
    let (numerator, divisor) = (u128::from(mantissa.value) << shift, power);
    let quotient = numerator / divisor;
    Some(rounded(quotient, quotient * divisor != numerator, shift))
}

/// The float nearest to `value / 2^shift`, or a little more than that if something is left over.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn rounded(value: u128, is_more: bool, shift: u32) -> f64 {
    let dropped = 64_u32.saturating_sub(value.leading_zeros());
    let top = (value >> dropped) as u64;
    let is_more = is_more || u128::from(top) << dropped != value;
    // The lowest of 64 bits only tells on which side of the middle between two floats the value lies.
    let nearest = (top | u64::from(is_more)) as f64;
    nearest * f64::from_bits(u64::from(1023 + dropped - shift) << 52)
}

fn nearest(text: &[u8]) -> f64 {
    // SAFETY: it was just read: digits, signs, a point and an exponent. To look again takes a tenth of the time.
    unsafe { std::str::from_utf8_unchecked(text) }.parse().unwrap_or(f64::NAN)
}

/// A long integer.
#[cold]
fn integer<'py>(py: Python<'py>, digits: &[u8], is_negative: bool) -> PyResult<Bound<'py, PyAny>> {
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
