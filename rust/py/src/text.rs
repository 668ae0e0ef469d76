//! JSON strings to Python strings. Short ones, which come again and again as keys and roles, are kept and shared.

use std::cell::RefCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PyUnicodeDecodeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use swisper_simd::plain_prefix;

/// The longest string that is kept.
const LONGEST: usize = 24;
const KEPT: usize = 512;

/// A buffer that has grown larger is not kept.
const LARGEST_SCRATCH: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Owned references, each in the place that its content says; null where there is none.
static STRINGS: [AtomicPtr<ffi::PyObject>; KEPT] = [const { AtomicPtr::new(null_mut()) }; KEPT];

/// A string of ASCII characters.
pub fn ascii<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyString>> {
    // The interpreter has the shortest ones already.
    if (2..=LONGEST).contains(&content.len()) { kept(py, content) } else { made(py, content) }
}

/// A string of any characters but lone surrogates, None if it is not UTF-8.
pub fn utf8<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Option<Bound<'py, PyString>>> {
    let length = content.len().try_into()?;
    // SAFETY: so many bytes are there; the answer is a new reference, or null with an exception set.
    let found = unsafe {
        let found = ffi::PyUnicode_DecodeUTF8(content.as_ptr().cast(), length, std::ptr::null());
        Bound::from_owned_ptr_or_err(py, found)
    };
    match found {
        Ok(text) => Ok(Some(text.cast_into()?)),
        Err(error) if error.is_instance_of::<PyUnicodeDecodeError>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A string with short escapes, given from behind its opening quote, and its length there with the closing one. None
/// for what is better read by `unescape`, or wrong.
pub fn unescaped<'py>(py: Python<'py>, src: &[u8]) -> PyResult<Option<(Bound<'py, PyString>, usize)>> {
    let mut content = SCRATCH.take();
    content.clear();
    let found = match unescape_into(&mut content, src) {
        Some((length, true)) => Some((ascii(py, &content)?, length)),
        Some((length, false)) => utf8(py, &content)?.map(|text| (text, length)),
        None => None,
    };
    if content.capacity() <= LARGEST_SCRATCH {
        SCRATCH.set(content);
    }
    Ok(found)
}

/// Gives the length, and whether all is ASCII.
fn unescape_into(content: &mut Vec<u8>, src: &[u8]) -> Option<(usize, bool)> {
    let (mut at, mut is_ascii) = (0, true);
    loop {
        let rest = src.get(at..)?;
        let plain = plain_prefix(rest);
        let (text, special) = rest.split_at_checked(plain.length)?;
        content.extend_from_slice(text);
        is_ascii &= plain.is_ascii;
        at += plain.length;
        content.push(match special {
            [b'"', ..] => return Some((at + 1, is_ascii)),
            [b'\\', byte @ (b'"' | b'\\' | b'/'), ..] => *byte,
            [b'\\', b'n', ..] => b'\n',
            [b'\\', b'r', ..] => b'\r',
            [b'\\', b't', ..] => b'\t',
            [b'\\', b'b', ..] => 0x08,
            [b'\\', b'f', ..] => 0x0c,
            _ => return None,
        });
        at += 2;
    }
}

fn kept<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let Some(place) = STRINGS.get(hash(content)) else { return made(py, content) };
    let known = place.load(Ordering::Relaxed);
    // SAFETY: what stands in the place is a str made below, which the place owns. The GIL is held, and the module says
    // that it needs it, so nobody takes the reference away meanwhile.
    if let Some(known) = unsafe { Borrowed::from_ptr_or_opt(py, known) }
        && characters(&known) == content
    {
        return Ok(known.to_owned().cast_into()?);
    }
    let fresh = made(py, content)?;
    let old = place.swap(fresh.clone().into_ptr(), Ordering::Relaxed);
    // SAFETY: the place owned it, and has just given it up.
    drop(unsafe { Bound::from_owned_ptr_or_opt(py, old) });
    Ok(fresh)
}

/// The place of a string: by both of its ends and its length.
fn hash(content: &[u8]) -> usize {
    let (first, last) = match (content.first_chunk::<8>(), content.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => match (content.first_chunk::<4>(), content.last_chunk::<4>()) {
            (Some(first), Some(last)) => (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()),
            _ => (content.first().copied().unwrap_or(0).into(), content.last().copied().unwrap_or(0).into()),
        },
    };
    let mixed = (first ^ last.rotate_left(29) ^ content.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 55).unwrap_or_default()
}

/// The characters of a string that `made` has made.
fn characters<'a>(text: &'a Bound<'_, PyAny>) -> &'a [u8] {
    // SAFETY: it is a compact ASCII str, whose characters stand behind its header as long as it lives (PEP 393).
    unsafe {
        let length = usize::try_from(ffi::PyUnicode_GET_LENGTH(text.as_ptr())).unwrap_or_default();
        std::slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(text.as_ptr()), length)
    }
}

fn made<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyString>> {
    debug_assert!(content.is_ascii());
    if content.len() < 2 {
        return Ok(PyString::new(py, std::str::from_utf8(content).unwrap_or_default()));
    }
    // SAFETY: a new compact ASCII str has room for so many characters and belongs to nobody else yet; all of them are
    // written before it is seen. The caller's bytes are ASCII.
    unsafe {
        let text = ffi::PyUnicode_New(content.len().try_into()?, 127);
        let text = Bound::from_owned_ptr_or_err(py, text)?;
        std::ptr::copy_nonoverlapping(content.as_ptr(), ffi::PyUnicode_1BYTE_DATA(text.as_ptr()).cast(), content.len());
        Ok(text.cast_into_unchecked())
    }
}
