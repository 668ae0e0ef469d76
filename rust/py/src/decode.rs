//! JSON text to Python values (RFC 8259), strictly: every deviation is an error with its byte.
//!
//! Members and elements wait on a stack until their container ends, so that it is made with its size known.

use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;
use swisper_core::json::MAX_DEPTH;
use swisper_core::number::read;

use crate::attached::Attached;
use crate::error::decode_error;
use crate::text::Strings;
use crate::{number, readonly, shapes, text};

/// An owned reference; None after a failure, which the decoder keeps.
type Made = Option<NonNull<ffi::PyObject>>;

#[derive(Debug)]
enum Failure {
    /// What is wrong, and at which byte.
    Text(&'static str, usize),
    Raised(PyErr),
}

struct Decoder<'a, 'py, const FROZEN: bool> {
    py: Python<'py>,
    src: &'a [u8],
    at: usize,
    deepest: usize,
    strings: &'static Strings,
    /// Owned references.
    waiting: Vec<NonNull<ffi::PyObject>>,
    failure: Option<Failure>,
}

/// The value that the whole of `src` stands for.
pub fn value<'py>(py: Python<'py>, src: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Decoder::<false>::new(py, src, MAX_DEPTH).whole()
}

/// The same, with containers that cannot be changed: what is read from a record.
pub fn read_only<'py>(py: Python<'py>, src: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Decoder::<true>::new(py, src, MAX_DEPTH).whole()
}

/// The value that starts at `at`, and the index behind it; read-only as above. What follows is not looked at.
pub fn part<'py>(py: Python<'py>, src: &[u8], at: usize) -> PyResult<(Bound<'py, PyAny>, usize)> {
    let mut decoder = Decoder::<true>::new(py, src, MAX_DEPTH);
    decoder.at = at;
    let value = decoder.value(0);
    Ok((decoder.given(value)?, decoder.at))
}

/// An array of values, each of which may be as deep as one may be alone.
pub fn values<'py>(py: Python<'py>, src: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Decoder::<false>::new(py, src, MAX_DEPTH + 1).whole()
}

/// The stack of the last decoder, empty: it need not grow again each time.
static WAITING: Attached<Stack> = Attached::new(Stack(Vec::new()));

/// A stack that has grown larger is not kept.
const LARGEST: usize = 32 * 1024;

#[derive(Default)]
struct Stack(Vec<NonNull<ffi::PyObject>>);

// SAFETY: it is only touched through `Attached`, by one thread at a time.
unsafe impl Send for Stack {}

impl<const FROZEN: bool> Drop for Decoder<'_, '_, FROZEN> {
    fn drop(&mut self) {
        if self.waiting.is_empty() && self.waiting.capacity() <= LARGEST {
            WAITING.replace(self.py, Stack(std::mem::take(&mut self.waiting)));
        }
        for object in self.waiting.drain(..) {
            // SAFETY: the stack owns what is left on it.
            unsafe { ffi::Py_DECREF(object.as_ptr()) };
        }
    }
}

impl<'a, 'py, const FROZEN: bool> Decoder<'a, 'py, FROZEN> {
    fn new(py: Python<'py>, src: &'a [u8], deepest: usize) -> Self {
        Self {
            py,
            src,
            at: 0,
            deepest,
            strings: text::strings(),
            waiting: WAITING.replace(py, Stack::default()).0,
            failure: None,
        }
    }

    fn whole(mut self) -> PyResult<Bound<'py, PyAny>> {
        self.space();
        let value = self.value(0);
        let value = self.given(value)?;
        self.space();
        if self.at == self.src.len() {
            return Ok(value);
        }
        self.fail("bytes after the value");
        Err(self.error())
    }

    fn given(&mut self, value: Made) -> PyResult<Bound<'py, PyAny>> {
        match value {
            // SAFETY: an owned reference, which is handed on.
            Some(value) => Ok(unsafe { Bound::from_owned_ptr(self.py, value.as_ptr()) }),
            None => Err(self.error()),
        }
    }

    fn error(&mut self) -> PyErr {
        match self.failure.take() {
            Some(Failure::Raised(error)) => error,
            Some(Failure::Text(kind, at)) => decode_error(self.py, kind, self.src, at),
            None => PyErr::fetch(self.py),
        }
    }

    #[cold]
    fn fail_at(&mut self, kind: &'static str, at: usize) -> Made {
        self.failure = Some(Failure::Text(kind, at));
        None
    }

    #[cold]
    fn fail(&mut self, kind: &'static str) -> Made {
        self.fail_at(kind, self.at)
    }

    #[cold]
    fn raised(&mut self, error: PyErr) -> Made {
        self.failure = Some(Failure::Raised(error));
        None
    }

    /// What the interpreter gave: a new reference, or null with an exception.
    #[inline]
    fn new_object(&mut self, object: *mut ffi::PyObject) -> Made {
        match NonNull::new(object) {
            Some(object) => Some(object),
            None => self.raised(PyErr::fetch(self.py)),
        }
    }

    #[inline]
    fn object<T>(&mut self, object: PyResult<Bound<'py, T>>) -> Made {
        match object {
            Ok(object) => NonNull::new(object.into_ptr()),
            Err(error) => self.raised(error),
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.src.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn value(&mut self, depth: usize) -> Made {
        match self.peek() {
            Some(b'"') => self.string::<false>(),
            Some(b'{') => self.members(depth + 1),
            Some(b'[') => self.elements(depth + 1),
            // SAFETY: these always live.
            Some(b't') => self.word(b"true", unsafe { ffi::Py_True() }),
            // SAFETY: likewise.
            Some(b'f') => self.word(b"false", unsafe { ffi::Py_False() }),
            // SAFETY: likewise.
            Some(b'n') => self.word(b"null", unsafe { ffi::Py_None() }),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.fail("a value was expected"),
            None => self.fail("unexpected end"),
        }
    }

    #[inline]
    fn word(&mut self, word: &[u8], value: *mut ffi::PyObject) -> Made {
        if !self.src.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return self.fail("a value was expected");
        }
        self.at += word.len();
        // SAFETY: a new reference to an object that lives.
        NonNull::new(unsafe { ffi::Py_NewRef(value) })
    }

    #[inline]
    fn string<const KEY: bool>(&mut self) -> Made {
        let rest = self.src.get(self.at + 1..).unwrap_or_default();
        match self.strings.read::<KEY>(self.py, rest) {
            Ok((text, length)) => {
                self.at += length + 1;
                NonNull::new(text.into_ptr())
            }
            Err(text::Bad::Raised(error)) => self.raised(error),
            Err(text::Bad::Text(kind, at)) => self.fail_at(kind, self.at + 1 + at),
        }
    }

    #[inline]
    fn number(&mut self) -> Made {
        match read(self.src, self.at) {
            Ok((value, end)) => {
                let text = self.src.get(self.at..end).unwrap_or_default();
                self.at = end;
                self.new_object(number::object(self.py, value, text))
            }
            Err((kind, at)) => self.fail_at(kind, at),
        }
    }

    #[inline]
    fn enter(&mut self, depth: usize) -> Option<()> {
        if depth > self.deepest {
            self.fail("nested deeper than 128")?;
        }
        self.at += 1;
        self.space();
        Some(())
    }

    /// Behind an element: whether another one follows.
    #[inline]
    fn more(&mut self, close: u8) -> Option<bool> {
        let mut found = self.peek();
        if found.is_some_and(|byte| byte <= b' ') {
            self.space();
            found = self.peek();
        }
        if found == Some(b',') {
            self.at += 1;
            self.space();
            return Some(true);
        }
        if found == Some(close) {
            self.at += 1;
            return Some(false);
        }
        self.fail(if found.is_none() { "unexpected end" } else { "a comma or the end was expected" })?;
        None
    }

    fn elements(&mut self, depth: usize) -> Made {
        self.enter(depth)?;
        let base = self.waiting.len();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                let value = self.element(depth)?;
                self.waiting.push(value);
                if !self.more(b']')? {
                    break;
                }
            }
        }
        self.list(base)
    }

    /// As `value` reads it; a number without its call.
    #[inline]
    fn element(&mut self, depth: usize) -> Made {
        if let Some(b'-' | b'0'..=b'9') = self.peek() { self.number() } else { self.value(depth) }
    }

    /// A list of what has waited since then.
    fn list(&mut self, base: usize) -> Made {
        if FROZEN && !(shapes::is_known(self.py) && readonly::can_freeze(self.py)) {
            return self.frozen_list(base);
        }
        let length = self.waiting.len() - base;
        // SAFETY: a new list of that size, which takes over the references; it can become a read-only one.
        unsafe {
            let list = self.new_object(ffi::PyList_New(length.cast_signed()))?;
            for (at, item) in self.waiting.drain(base..).enumerate() {
                ffi::PyList_SET_ITEM(list.as_ptr(), at.cast_signed(), item.as_ptr());
            }
            if FROZEN {
                readonly::freeze_list(self.py, list);
            }
            Some(list)
        }
    }

    fn frozen_list(&mut self, base: usize) -> Made {
        let list = match readonly::list(self.py) {
            Ok(list) => list,
            Err(error) => return self.raised(error),
        };
        for item in self.waiting.drain(base..) {
            // SAFETY: an owned reference.
            let item = unsafe { Bound::from_owned_ptr(self.py, item.as_ptr()) };
            if let Err(error) = list.append(item) {
                self.failure = Some(Failure::Raised(error));
                return None;
            }
        }
        NonNull::new(list.into_ptr())
    }

    fn members(&mut self, depth: usize) -> Made {
        self.enter(depth)?;
        let base = self.waiting.len();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.member(depth)?;
                if !self.more(b'}')? {
                    break;
                }
            }
        }
        self.dict(base)
    }

    #[inline]
    fn member(&mut self, depth: usize) -> Option<()> {
        if self.peek() != Some(b'"') {
            let is_end = self.peek().is_none();
            self.fail(if is_end { "unexpected end" } else { "a key was expected" })?;
        }
        let key = self.string::<true>()?;
        self.waiting.push(key);
        if self.peek() != Some(b':') {
            self.space();
            if self.peek() != Some(b':') {
                let is_end = self.peek().is_none();
                self.fail(if is_end { "unexpected end" } else { "a colon was expected" })?;
            }
        }
        self.at += 1;
        self.space();
        let value = self.value(depth)?;
        self.waiting.push(value);
        Some(())
    }

    /// A dict of the keys and values that have waited since then.
    fn dict(&mut self, base: usize) -> Made {
        if !FROZEN || readonly::can_freeze(self.py) {
            let (members, _) = self.waiting.get(base..).unwrap_or_default().as_chunks();
            // SAFETY: they are what `member` has made. A dict has taken over what is given up here; it can become a
            // read-only one.
            unsafe {
                if let Some(dict) = shapes::dict(self.py, members) {
                    self.waiting.set_len(base);
                    if FROZEN {
                        readonly::freeze_dict(self.py, dict);
                    }
                    return Some(dict);
                }
            }
        }
        let dict = if FROZEN {
            let dict = readonly::dict(self.py);
            self.object(dict)?
        } else {
            // SAFETY: a new dict, or null with an exception.
            self.new_object(unsafe { ffi::PyDict_New() })?
        };
        // SAFETY: the dict is ours alone until it is given away. Its keys are strs, so no Python code runs; it takes
        // references of its own.
        unsafe {
            let dict = Bound::from_owned_ptr(self.py, dict.as_ptr());
            let (pairs, _) = self.waiting.get(base..).unwrap_or_default().as_chunks::<2>();
            let is_made =
                pairs.iter().all(|[key, value]| ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) == 0);
            if !is_made {
                return self.raised(PyErr::fetch(self.py));
            }
            for object in self.waiting.drain(base..) {
                ffi::Py_DECREF(object.as_ptr());
            }
            NonNull::new(dict.into_ptr())
        }
    }
}
