//! JSON text to Python values (RFC 8259), strictly: every deviation is an error with its byte.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyList, PyString};
use swisper_core::json::{MAX_DEPTH, skip_string};
use swisper_core::text::unescape;
use swisper_simd::plain_prefix;

use crate::error::decode_error;
use crate::{number, readonly, text};

struct Decoder<'a, 'py> {
    py: Python<'py>,
    src: &'a [u8],
    at: usize,
    deepest: usize,
    frozen: bool,
}

/// The value that the whole of `src` stands for.
pub fn value<'py>(py: Python<'py>, src: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    within(py, src, MAX_DEPTH, false)
}

/// The same, with containers that cannot be changed: what is read from a record.
pub fn read_only<'py>(py: Python<'py>, src: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    within(py, src, MAX_DEPTH, true)
}

/// The value that starts at `at`, and the index behind it; read-only as above. What follows is not looked at.
pub fn part<'py>(py: Python<'py>, src: &[u8], at: usize) -> PyResult<(Bound<'py, PyAny>, usize)> {
    let mut decoder = Decoder { py, src, at, deepest: MAX_DEPTH, frozen: true };
    let value = decoder.value(0)?;
    Ok((value, decoder.at))
}

/// An array of values, each of which may be as deep as one may be alone.
pub fn values<'py>(py: Python<'py>, src: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    within(py, src, MAX_DEPTH + 1, false)
}

fn within<'py>(py: Python<'py>, src: &[u8], deepest: usize, frozen: bool) -> PyResult<Bound<'py, PyAny>> {
    let mut decoder = Decoder { py, src, at: 0, deepest, frozen };
    decoder.space();
    let value = decoder.value(0)?;
    decoder.space();
    if decoder.at == src.len() { Ok(value) } else { Err(decoder.fail("bytes after the value")) }
}

impl<'py> Decoder<'_, 'py> {
    fn fail(&self, kind: &str) -> PyErr {
        decode_error(self.py, kind, self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.src.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        match self.peek() {
            Some(b'"') => Ok(self.string()?.into_any()),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b't') => self.word("true", PyBool::new(py, true).to_owned().into_any()),
            Some(b'f') => self.word("false", PyBool::new(py, false).to_owned().into_any()),
            Some(b'n') => self.word("null", py.None().into_bound(py)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.fail("a value was expected")),
            None => Err(self.fail("unexpected end")),
        }
    }

    fn word(&mut self, word: &str, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if self.src.get(self.at..self.at + word.len()) == Some(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        Err(self.fail("a value was expected"))
    }

    fn string(&mut self) -> PyResult<Bound<'py, PyString>> {
        let rest = self.src.get(self.at + 1..).unwrap_or_default();
        let plain = plain_prefix(rest);
        let Some((content, [b'"', ..])) = rest.split_at_checked(plain.length) else {
            let Some((text, length)) = text::unescaped(self.py, rest)? else { return self.escaped() };
            self.at += length + 1;
            return Ok(text);
        };
        let text = if plain.is_ascii { Some(text::ascii(self.py, content)?) } else { text::utf8(self.py, content)? };
        let text = text.ok_or_else(|| self.fail("invalid string"))?;
        self.at += plain.length + 2;
        Ok(text)
    }

    /// A string with escapes by number, or one that is wrong.
    fn escaped(&mut self) -> PyResult<Bound<'py, PyString>> {
        let end = skip_string(self.src, self.at).map_err(|_| self.fail("unexpected end"))?;
        let raw = self.src.get(self.at..end).unwrap_or_default();
        if raw.iter().any(|&byte| byte < 0x20) {
            return Err(self.fail("a control character in a string"));
        }
        let content = unescape(raw).map_err(|_| self.fail("invalid string"))?;
        self.at = end;
        Ok(PyString::new(self.py, &content))
    }

    fn digits(&mut self) -> usize {
        let rest = self.src.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn number(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let leading_zero = self.peek() == Some(b'0');
        let digits = self.digits();
        if digits == 0 || leading_zero && digits > 1 {
            return Err(self.fail("invalid number"));
        }
        let mut is_float = false;
        if self.peek() == Some(b'.') {
            self.at += 1;
            is_float = self.digits() > 0;
            if !is_float {
                return Err(self.fail("invalid number"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            is_float = self.digits() > 0;
            if !is_float {
                return Err(self.fail("invalid number"));
            }
        }
        let text = self.src.get(start..self.at).unwrap_or_default();
        if is_float { self.float(text) } else { number::integer(self.py, text) }
    }

    fn float(&self, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        match std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()) {
            Some(number) if number.is_finite() => Ok(PyFloat::new(self.py, number).into_any()),
            _ => Err(self.fail("a number that no float can hold")),
        }
    }

    fn enter(&mut self, depth: usize) -> PyResult<()> {
        if depth > self.deepest {
            return Err(self.fail("nested deeper than 128"));
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// Behind an element: whether another one follows.
    fn more(&mut self, close: u8) -> PyResult<bool> {
        self.space();
        let found = self.peek();
        if found == Some(b',') || found == Some(close) {
            self.at += 1;
            self.space();
            return Ok(found == Some(b','));
        }
        Err(self.fail(if found.is_none() { "unexpected end" } else { "a comma or the end was expected" }))
    }

    fn array(&mut self, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        self.enter(depth)?;
        let list = if self.frozen { readonly::list(self.py)? } else { PyList::empty(self.py) };
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(list.into_any());
        }
        loop {
            list.append(self.value(depth)?)?;
            if !self.more(b']')? {
                return Ok(list.into_any());
            }
        }
    }

    fn object(&mut self, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        self.enter(depth)?;
        let dict = if self.frozen { readonly::dict(self.py)? } else { PyDict::new(self.py) };
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(dict.into_any());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.fail("a key was expected"));
            }
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.fail("a colon was expected"));
            }
            self.at += 1;
            self.space();
            dict.set_item(key, self.value(depth)?)?;
            if !self.more(b'}')? {
                return Ok(dict.into_any());
            }
        }
    }
}
