//! JSON strings to Python strings. Keys that are not long are shared, as they come again and again. No value is kept that
//! is not on a fixed list: what a session holds is gone with it.

use std::cell::RefCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use swisper_core::text::push_numbered;
use swisper_simd::{BLOCK, padded, plain_prefix, push_unescaped, short_string};

use crate::{short_text, utf8};

/// The longest key that is kept; how short ones are, see `short_text`.
const LONGEST_KEY: usize = 48;
const PLACES: usize = 1024;

/// A buffer that has grown larger is not kept.
const LARGEST_SCRATCH: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Strings that are kept: owned references, each in the place that its content says; null where there is none.
type Places = [AtomicPtr<ffi::PyObject>; PLACES];

pub struct Strings {
    keys: Places,
}

static STRINGS: Strings = Strings { keys: [const { AtomicPtr::new(null_mut()) }; PLACES] };

pub fn strings() -> &'static Strings {
    &STRINGS
}

/// Why there is no string: what is wrong at which byte, or what the interpreter raised.
pub enum Bad {
    Text(&'static str, usize),
    Raised(PyErr),
}

impl From<PyErr> for Bad {
    #[cold]
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

type Read<'py> = Result<(Bound<'py, PyString>, usize), Bad>;

impl Strings {
    /// The string that is given from behind its opening quote, and its length there with the closing one.
    #[inline]
    pub fn read<'py, const KEY: bool>(&self, py: Python<'py>, src: &[u8]) -> Read<'py> {
        if let Some(block) = src.first_chunk()
            && let Some((characters, length)) = short_string(block)
        {
            let content = src.get(..length).unwrap_or_default();
            return Ok((short_text::string::<KEY>(py, characters, content)?, length + 1));
        }
        let plain = plain_prefix(src);
        match src.split_at_checked(plain.length) {
            Some((content, [b'"', ..])) => {
                let text = if plain.is_ascii { self.ascii::<KEY>(py, content)? } else { utf8::string(py, content)? };
                Ok((text, plain.length + 1))
            }
            _ => self.escaped::<KEY>(py, src),
        }
    }

    /// One with escapes, or one that is wrong.
    fn escaped<'py, const KEY: bool>(&self, py: Python<'py>, src: &[u8]) -> Read<'py> {
        let mut content = SCRATCH.take();
        content.clear();
        let made = unescape(&mut content, src).and_then(|length| {
            let text = if content.is_ascii() {
                self.ascii::<KEY>(py, &content)?
            } else {
                // What is wrong in the content is wrong somewhere in the source.
                utf8::string(py, &content).map_err(|bad| elsewhere(bad, src))?
            };
            Ok((text, length))
        });
        if content.capacity() <= LARGEST_SCRATCH {
            SCRATCH.set(content);
        }
        made
    }

    #[inline]
    fn ascii<'py, const KEY: bool>(&self, py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyString>> {
        match content.len() {
            // A zero, which only an escape gives, is none of those behind the characters.
            0..BLOCK if !content.contains(&0) => short_text::string::<KEY>(py, padded(content), content),
            BLOCK..=LONGEST_KEY if KEY => shared(py, &self.keys, content),
            _ => made(py, content),
        }
    }
}

/// The string in its place if it is the same, else a new one, which takes that place.
fn shared<'py>(py: Python<'py>, places: &Places, content: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let Some(place) = places.get(hash(content)) else { return made(py, content) };
    let known = place.load(Ordering::Relaxed);
    // SAFETY: what stands in the place is a str made below, which the place owns. The GIL is held, and the module
    // says that it needs it, so nobody takes the reference away meanwhile.
    if let Some(known) = unsafe { Borrowed::from_ptr_or_opt(py, known) }
        && characters(&known) == content
    {
        // SAFETY: it is a str.
        return Ok(unsafe { known.to_owned().cast_into_unchecked() });
    }
    let fresh = made(py, content)?;
    let old = place.swap(fresh.clone().into_ptr(), Ordering::Relaxed);
    // SAFETY: the place owned it, and has just given it up.
    drop(unsafe { Bound::from_owned_ptr_or_opt(py, old) });
    Ok(fresh)
}

#[cold]
fn elsewhere(bad: Bad, src: &[u8]) -> Bad {
    match bad {
        Bad::Text(kind, _) => Bad::Text(kind, std::str::from_utf8(src).map_or_else(|error| error.valid_up_to(), |_| 0)),
        raised @ Bad::Raised(_) => raised,
    }
}

/// Appends what a string with escapes says; gives its length with the closing quote.
fn unescape(content: &mut Vec<u8>, src: &[u8]) -> Result<usize, Bad> {
    let mut at = 0;
    loop {
        at += push_unescaped(content, src.get(at..).unwrap_or_default());
        match src.get(at..).unwrap_or_default() {
            [b'"', ..] => return Ok(at + 1),
            [b'\\', b'u', digits @ ..] => {
                let length = push_numbered(content, digits).map_err(|kind| Bad::Text(kind, at))?;
                at += 2 + length;
            }
            [b'\\'] | [] => return Err(Bad::Text("unexpected end", src.len())),
            [b'\\', ..] => return Err(Bad::Text("an escape that JSON does not have", at)),
            _ => return Err(Bad::Text("a control character in a string", at)),
        }
    }
}

/// The place of a key of 16 bytes at least: by both of its ends and its length.
#[inline]
fn hash(content: &[u8]) -> usize {
    let word = |end: Option<&[u8; 8]>| end.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (first, last) = (word(content.first_chunk()), word(content.last_chunk()));
    let mixed = (first ^ last.rotate_left(29) ^ content.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 54).unwrap_or_default()
}

/// The characters of a string that `made` has made.
#[inline]
fn characters<'a>(text: &'a Bound<'_, PyAny>) -> &'a [u8] {
    // SAFETY: it is a compact ASCII str, whose characters stand behind its header as long as it lives (PEP 393).
    unsafe {
        let length = usize::try_from(ffi::PyUnicode_GET_LENGTH(text.as_ptr())).unwrap_or_default();
        std::slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(text.as_ptr()), length)
    }
}

#[inline]
pub fn made<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyString>> {
    debug_assert!(content.is_ascii());
    if content.len() < 2 {
        return Ok(PyString::new(py, std::str::from_utf8(content).unwrap_or_default()));
    }
    // SAFETY: a new compact ASCII str has room for so many characters and belongs to nobody else yet; all of them are
    // written before it is seen. The caller's bytes are ASCII.
    unsafe {
        let text = ffi::PyUnicode_New(content.len().try_into()?, 127);
        let text = Bound::from_owned_ptr_or_err(py, text)?;
        std::ptr::copy_nonoverlapping(content.as_ptr(), ffi::PyUnicode_1BYTE_DATA(text.as_ptr()), content.len());
        Ok(text.cast_into_unchecked())
    }
}
