//! Short strings that are shared: keys, which come again and again, and values of a fixed list.
//!
//! Their characters are kept beside them as a number: whether one is the same takes no look at the object.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use swisper_simd::{Characters, padded};

use crate::attached::Attached;
use crate::text::made;

/// Values that are shared: roles, kinds of parts and tool calls, how a pipeline ended.
const SHARED: [&[u8]; 15] = [
    b"user",
    b"assistant",
    b"system",
    b"developer",
    b"tool",
    b"function",
    b"text",
    b"image_url",
    b"input_text",
    b"output_text",
    b"tool_use",
    b"tool_result",
    b"thinking",
    b"completed",
    b"failed",
];

/// A string in the place that its characters say: an owned reference; null where there is none.
#[derive(Clone, Copy)]
struct Kept {
    characters: Characters,
    object: *mut ffi::PyObject,
}

// SAFETY: strings are only touched through `Attached`, by one thread at a time.
unsafe impl Send for Kept {}

/// Two places for the same characters, so that hardly any two keys drive each other out in turns.
type Pair = [Attached<Kept>; 2];

/// Its characters are none of ASCII.
const NONE: Kept = Kept { characters: Characters { first: u64::MAX, last: u64::MAX }, object: std::ptr::null_mut() };
static KEYS: [Pair; 512] = [const { [const { Attached::new(NONE) }; 2] }; 512];
static VALUES: [Pair; 64] = [const { [const { Attached::new(NONE) }; 2] }; 64];

/// Makes the values that are shared.
pub fn install(py: Python<'_>) -> PyResult<()> {
    SHARED.iter().try_for_each(|value| keep(pair(&VALUES, padded(value)), py, padded(value), value).map(drop))
}

/// A string of fewer than 16 characters of ASCII, none of which is zero: they are given in both ways.
#[inline]
pub fn string<'py, const KEY: bool>(
    py: Python<'py>,
    characters: Characters,
    content: &[u8],
) -> PyResult<Bound<'py, PyString>> {
    let pair = if KEY { pair(&KEYS, characters) } else { pair(&VALUES, characters) };
    for place in pair {
        let kept = place.get(py);
        if kept.characters == characters {
            // SAFETY: it is a str, which the place owns, as these are its characters.
            return Ok(unsafe { Bound::from_borrowed_ptr(py, kept.object).cast_into_unchecked() });
        }
    }
    if KEY { keep(pair, py, characters, content) } else { made(py, content) }
}

#[inline]
fn pair(pairs: &[Pair], characters: Characters) -> &[Attached<Kept>] {
    let mixed = (characters.first ^ characters.last.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let at = ((mixed >> 32) * pairs.len() as u64) >> 32;
    pairs.get(usize::try_from(at).unwrap_or_default()).map_or(&[], |pair| pair)
}

/// A new string, which takes the first of both places; what was there takes the second.
#[inline(never)]
fn keep<'py>(
    pair: &[Attached<Kept>],
    py: Python<'py>,
    characters: Characters,
    content: &[u8],
) -> PyResult<Bound<'py, PyString>> {
    let fresh = made(py, content)?;
    let mut moved = Kept { characters, object: fresh.clone().into_ptr() };
    for place in pair {
        moved = place.replace(py, moved);
    }
    // SAFETY: the second place owned it, and has just given it up.
    drop(unsafe { Bound::from_owned_ptr_or_opt(py, moved.object) });
    Ok(fresh)
}
