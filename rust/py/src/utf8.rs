//! UTF-8 to Python strings, whose characters have one, two or four bytes each (PEP 393).

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use swisper_simd::latin1_of_utf8;

use crate::attached::Attached;
use crate::text::Bad;

/// The first byte of a character that Latin-1 does not have.
const BEYOND_LATIN1: u8 = 0xc4;
/// The first byte of a character that two bytes cannot hold.
const BEYOND_TWO_BYTES: u8 = 0xf0;

/// A longer text is not copied once more.
const LONGEST_LATIN1: usize = 64 * 1024;

static SCRATCH: Attached<Vec<u8>> = Attached::new(Vec::new());

/// The string that a text in Latin-1 stands for; None if there is another way to go.
fn latin1<'py>(py: Python<'py>, content: &[u8]) -> Option<PyResult<Bound<'py, PyString>>> {
    let mut characters = SCRATCH.replace(py, Vec::new());
    // SAFETY: a new str with room for so many characters of one byte, one of which at least is not ASCII, belongs to
    // nobody else yet; all of them are written before it is seen.
    let made = latin1_of_utf8(&mut characters, content).then(|| unsafe {
        let object = ffi::PyUnicode_New(characters.len().try_into()?, 0xff);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let to = ffi::PyUnicode_1BYTE_DATA(object.as_ptr());
        to.copy_from_nonoverlapping(characters.as_ptr(), characters.len());
        Ok(object.cast_into_unchecked())
    });
    SCRATCH.replace(py, characters);
    made
}

/// The string that this text stands for, which is not all ASCII.
pub fn string<'py>(py: Python<'py>, content: &[u8]) -> Result<Bound<'py, PyString>, Bad> {
    if content.len() <= LONGEST_LATIN1
        && let Some(text) = latin1(py, content)
    {
        return Ok(text?);
    }
    let text =
        std::str::from_utf8(content).map_err(|error| Bad::Text("bytes that are not UTF-8", error.valid_up_to()))?;
    let count = content.iter().filter(|byte| byte.cast_signed() >= -64).count();
    let widest = content.iter().copied().max().unwrap_or_default();
    let most = match widest {
        BEYOND_TWO_BYTES.. => 0x10_ffff,
        BEYOND_LATIN1.. => 0xffff,
        0x80.. => 0xff,
        _ => 0x7f,
    };
    // SAFETY: a new str with room for so many characters, each as wide as the widest, belongs to nobody else yet; all of
    // them are written before it is seen.
    unsafe {
        let object = ffi::PyUnicode_New(count.try_into().map_err(PyErr::from)?, most);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let to = ffi::PyUnicode_DATA(object.as_ptr());
        match most {
            0x7f | 0xff => fill(text, std::slice::from_raw_parts_mut(to.cast::<u8>(), count)),
            0xffff => fill(text, std::slice::from_raw_parts_mut(to.cast::<u16>(), count)),
            _ => fill(text, std::slice::from_raw_parts_mut(to.cast::<u32>(), count)),
        }
        Ok(object.cast_into_unchecked())
    }
}

/// A character as a string has it.
trait Unit: Copy + From<u8> {
    fn of(code: u32) -> Self;
}

macro_rules! unit {
    ($($unit:ty),*) => {
        $(impl Unit for $unit {
            #[inline]
            #[allow(clippy::cast_possible_truncation)]
            fn of(code: u32) -> Self {
                code as Self
            }
        })*
    };
}

unit!(u8, u16, u32);

/// How many ASCII characters are copied at once.
const RUN: usize = 16;

/// Writes the characters of a text, of which there are so many.
fn fill<U: Unit>(text: &str, to: &mut [U]) {
    let (mut rest, mut at) = (text, 0);
    while !rest.is_empty() {
        if let (Some(run), Some(place)) = (rest.as_bytes().first_chunk::<RUN>(), to.get_mut(at..at + RUN))
            && run.is_ascii()
        {
            for (unit, byte) in place.iter_mut().zip(run) {
                *unit = U::from(*byte);
            }
            (rest, at) = (rest.get(RUN..).unwrap_or_default(), at + RUN);
            continue;
        }
        let mut characters = rest.chars();
        for character in characters.by_ref().take(RUN) {
            if let Some(unit) = to.get_mut(at) {
                *unit = U::of(character.into());
            }
            at += 1;
        }
        rest = characters.as_str();
    }
}
