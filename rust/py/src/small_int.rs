//! Integers of up to 60 bits, read where they lie: see `layouts`.

use pyo3::ffi;
use pyo3::prelude::*;

use crate::attached::Attached;

/// The minor version of a tested interpreter, else 0.
static MINOR: Attached<u8> = Attached::new(0);

/// The head of an int; behind it its digits of 30 bits, the lowest first.
#[repr(C)]
struct Int {
    head: ffi::PyObject,
    /// 3.11: how many digits there are, negative if the number is. Since then: three bits of the sign, then that.
    tag: isize,
    digits: [u32; 2],
}

/// The value of an int; None if it is large, or cannot be read directly.
///
/// # Safety
/// `number` is an int.
#[inline]
pub unsafe fn value(number: &Bound<'_, PyAny>) -> Option<i64> {
    let minor = MINOR.get(number.py());
    let int = number.as_ptr().cast::<Int>();
    // SAFETY: an int of a tested version. One with a single digit may have no room for a second, so the fields are
    // read one by one.
    unsafe {
        let tag = (&raw const (*int).tag).read();
        let (count, sign) = match minor {
            11 => (tag.unsigned_abs(), tag.signum() as i64),
            12.. => (tag.cast_unsigned() >> 3, 1 - (tag & 3) as i64),
            _ => return None,
        };
        let digit = |at: usize| i64::from((&raw const (*int).digits).cast::<u32>().add(at).read());
        match count {
            0 => Some(0),
            1 => Some(sign * digit(0)),
            2 => Some(sign * (digit(0) | digit(1) << 30)),
            _ => None,
        }
    }
}

/// Finds out whether ints can be read directly; `minor` is given for a tested interpreter.
pub fn probe(py: Python<'_>, minor: Option<u8>) -> PyResult<()> {
    let bits = py.import("sys")?.getattr("int_info")?.getattr("bits_per_digit")?.extract::<u32>()?;
    MINOR.replace(py, minor.filter(|_| bits == 30).unwrap_or(0));
    if !reads_alike(py)? {
        MINOR.replace(py, 0);
    }
    Ok(())
}

fn reads_alike(py: Python<'_>) -> PyResult<bool> {
    for shift in 0..64 {
        for near in [-1, 0, 1] {
            let expected = (1_i64.wrapping_shl(shift)).wrapping_add(near);
            for expected in [expected, expected.wrapping_neg()] {
                let number = expected.into_pyobject(py)?.into_any();
                // SAFETY: an int; whether it reads well is just what is found out.
                let found = unsafe { value(&number) };
                if found.is_some_and(|found| found != expected) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}
