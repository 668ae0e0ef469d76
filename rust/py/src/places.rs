//! Where the fields of a record stand in its text: found when they are read, and remembered.
//!
//! The text is walked once, and only as far as what is asked for. Keys are compared as they are written, and of one
//! that stands twice the first counts.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pyo3::prelude::*;
use swisper_core::error::{Error, Result};
use swisper_core::json::{members, next_key, skip_key, skip_value};

use crate::error::raise;
use crate::record::{Class, decoded, decoded_part};
use crate::schema::{FieldSpec, MOST};

const END: u32 = u32::MAX;

/// Threads that walk at the same time write the same numbers, and who sees how far another has come sees what it met.
#[derive(Debug, Default)]
pub struct Places {
    /// The index behind the last member that was met, 0 before the first, END behind all.
    walked: AtomicU32,
    /// Start and end of each field's value; 0 of one that was not met.
    values: [AtomicU64; MOST],
}

impl Places {
    /// The value of one field, None if the record does not have it.
    pub fn read<'py>(&self, py: Python<'py>, src: &[u8], class: Class, field: usize) -> PyResult<Bound<'py, PyAny>> {
        let Some(spec) = class.schema().fields.get(field) else { return Ok(py.None().into_bound(py)) };
        let walked = self.walked.load(Ordering::Acquire);
        if let Some(range) = self.get(field) {
            return decoded(py, src, range, spec);
        }
        if walked == END {
            return Ok(py.None().into_bound(py));
        }
        // Fields are mostly read in the order in which they stand.
        let mut walk = Walk::new(src, class.keys(), walked as usize, if walked == 0 { 0 } else { field });
        let found = self.walk_to(py, &mut walk, field, spec);
        self.walked.store(short(walk.at), Ordering::Release);
        found
    }

    fn walk_to<'py>(
        &self,
        py: Python<'py>,
        walk: &mut Walk<'_>,
        field: usize,
        spec: &FieldSpec,
    ) -> PyResult<Bound<'py, PyAny>> {
        let failed = |error: Error| raise(py, &error, None);
        while let Some(met) = walk.step().map_err(failed)? {
            if met.field != Some(field) {
                self.met(met.field, walk.skip(&met).map_err(failed)?);
                continue;
            }
            // Decoding finds the end of the value too.
            if let Some((value, end)) = decoded_part(py, walk.src, met.start, spec) {
                walk.at = end;
                self.met(met.field, met.start..end);
                return Ok(value);
            }
            let range = walk.skip(&met).map_err(failed)?;
            self.met(met.field, range.clone());
            return decoded(py, walk.src, range, spec);
        }
        walk.at = END as usize;
        Ok(py.None().into_bound(py))
    }

    fn get(&self, field: usize) -> Option<Range<usize>> {
        let place = self.values.get(field)?.load(Ordering::Relaxed);
        let (start, end) = (usize::try_from(place >> 32).ok()?, usize::try_from(place & u64::from(u32::MAX)).ok()?);
        (place != 0).then_some(start..end)
    }

    fn met(&self, field: Option<usize>, range: Range<usize>) {
        if let Some(place) = field.and_then(|field| self.values.get(field))
            && place.load(Ordering::Relaxed) == 0
        {
            place.store(u64::from(short(range.start)) << 32 | u64::from(short(range.end)), Ordering::Relaxed);
        }
    }
}

/// A payload has less than 4 GiB, and so has a record in it.
fn short(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(END)
}

/// A member of a record: its field, None of an unknown key, and where its value starts.
pub struct Met {
    pub field: Option<usize>,
    pub start: usize,
}

/// Goes from member to member of a record.
pub struct Walk<'a> {
    src: &'a [u8],
    /// Behind the last member.
    pub at: usize,
    keys: &'a [Key],
    guess: usize,
}

impl<'a> Walk<'a> {
    /// From a place behind a member, or 0; the field `guess` is expected next.
    pub fn new(src: &'a [u8], keys: &'a [Key], at: usize, guess: usize) -> Self {
        Self { src, at, keys, guess }
    }

    /// The next member, None behind the last. Where it ends is to be found by `skip`, or else.
    pub fn step(&mut self) -> Result<Option<Met>> {
        if self.at == 0 {
            members(self.src, 0)?;
            self.at = 1;
        }
        let Some(key) = next_key(self.src, self.at)? else { return Ok(None) };
        let rest = self.src.get(key..).unwrap_or_default();
        if let Some((field, length)) = self.field(rest) {
            self.guess = field + 1;
            return Ok(Some(Met { field: Some(field), start: key + length }));
        }
        Ok(Some(Met { field: None, start: skip_key(self.src, key)? }))
    }

    /// Which field a key names, and how long the key is with its quotes and colon.
    fn field(&self, rest: &[u8]) -> Option<(usize, usize)> {
        let start = rest.first_chunk().map(|start| u128::from_le_bytes(*start));
        let found = |(at, key): (usize, &Key)| key.begins(rest, start).then_some((at, key.length));
        let after = self.keys.iter().enumerate().skip(self.guess);
        let before = self.keys.iter().enumerate().take(self.guess);
        after.chain(before).find_map(found)
    }

    /// Where the value of a member stands; what follows is the next one.
    pub fn skip(&mut self, met: &Met) -> Result<Range<usize>> {
        let end = skip_value(self.src, met.start)?;
        self.at = end;
        Ok(met.start..end)
    }
}

/// The name of a field as it stands in a record, with quotes and colon: as one number, so that comparing is no call.
#[derive(Debug)]
pub struct Key {
    text: Vec<u8>,
    word: u128,
    mask: u128,
    length: usize,
}

impl Key {
    pub fn new(name: &str) -> Self {
        let text = format!("\"{name}\":").into_bytes();
        let (mut word, mut mask) = ([0; 16], [0; 16]);
        for ((word, mask), byte) in word.iter_mut().zip(&mut mask).zip(&text) {
            (*word, *mask) = (*byte, 0xff);
        }
        let length = text.len();
        Self { text, word: u128::from_le_bytes(word), mask: u128::from_le_bytes(mask), length }
    }

    /// Whether `rest` begins with it; `start` are the first bytes of `rest`, if it has so many.
    fn begins(&self, rest: &[u8], start: Option<u128>) -> bool {
        match start {
            Some(start) if self.length <= 16 => start & self.mask == self.word,
            _ => rest.starts_with(&self.text),
        }
    }
}
