//! `Unwritten`: JSON text whose long strings are written when it is first asked for, maybe beside the event loop.

use pyo3::prelude::*;
use pyo3::types::PyString;
use swisper_core::field::Source;
use swisper_core::write;

use crate::encode::ascii;

/// Stands in the text for each long string, in their order: JSON text has no such byte.
pub const HOLE: u8 = 0;
/// So long a string makes its save a large one, whose frame is made beside the event loop.
const LONG: usize = crate::save::LARGE;
/// So much is compared at once.
const PIECE: usize = 4096;

/// A string of ASCII, whose characters stay where they are for as long as it lives.
#[derive(Debug)]
pub struct Long {
    _owner: Py<PyString>,
    text: &'static str,
}

impl Long {
    /// None of what is short, is not ASCII, or is no exact str.
    #[inline]
    pub fn of(value: &Bound<'_, PyAny>) -> Option<Self> {
        let owner = value.cast_exact::<PyString>().ok()?;
        let text = ascii(owner).filter(|text| text.len() >= LONG)?;
        // SAFETY: strings do not change as long as somebody else has them, and this one is owned beside its text.
        let text = unsafe { std::mem::transmute::<&str, &'static str>(text) };
        Some(Self { _owner: owner.clone().unbind(), text })
    }

    /// What follows its text, if something begins with that.
    fn strip<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let (mut rest, mut own) = (text.strip_prefix(b"\"")?, Vec::with_capacity(2 * PIECE));
        for piece in self.text.as_bytes().chunks(PIECE) {
            own.clear();
            write::string(&mut own, std::str::from_utf8(piece).ok()?);
            rest = rest.strip_prefix(own.get(1..own.len() - 1)?)?;
        }
        rest.strip_prefix(b"\"")
    }
}

/// See the module.
#[derive(Debug)]
pub struct Unwritten {
    text: Box<[u8]>,
    long: Vec<Long>,
}

impl Unwritten {
    /// Of text with holes, and what belongs into them.
    pub fn new(text: &[u8], long: Vec<Long>) -> Self {
        Self { text: text.into(), long }
    }

    /// Whether this is what would be written.
    pub fn is(&self, text: &[u8]) -> bool {
        text.len() >= self.size() && self.strip(text).is_some_and(<[u8]>::is_empty)
    }

    fn strip<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let (mut long, mut rest) = (self.long.iter(), text);
        for piece in self.text.split(|byte| *byte == HOLE) {
            rest = rest.strip_prefix(piece)?;
            rest = long.next().map_or(Some(rest), |long| long.strip(rest))?;
        }
        Some(rest)
    }
}

impl Source for Unwritten {
    fn size(&self) -> usize {
        // Each has two quotes, where the text has a hole.
        self.text.len() + self.long.iter().map(|long| long.text.len() + 1).sum::<usize>()
    }

    fn write(&self) -> Box<[u8]> {
        let (mut long, mut out) = (self.long.iter(), Vec::with_capacity(self.size() + PIECE));
        for piece in self.text.split(|byte| *byte == HOLE) {
            out.extend_from_slice(piece);
            if let Some(long) = long.next() {
                write::string(&mut out, long.text);
            }
        }
        out.into_boxed_slice()
    }
}
