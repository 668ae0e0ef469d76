//! Walking through Python's containers and writing them as JSON text.
//!
//! Each value is written with a comma behind it, in the place of which the end of its container comes.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use swisper_core::json::MAX_DEPTH;
use swisper_simd::{Chosen, Kernels, Pen, Sink, prefetch};

use crate::dict_items::items;
use crate::encode::{Outcome, Refusal};
use crate::processor::{self, Processor};
use crate::scalar;
use crate::unwritten::HOLE;

/// What one way of encoding does other than the rest.
pub trait Policy: Sized {
    /// Whether a tuple is an array.
    const TUPLES: bool;

    /// A value that is no builtin; a comma behind it.
    ///
    /// # Safety
    /// The processor is of that kind.
    unsafe fn other<K: Processor, S: Sink>(
        walk: &mut Walk<'_, S, Self>,
        value: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Outcome;

    /// A key that is no exact str, with the colon behind it.
    fn other_key<S: Sink>(walk: &mut Walk<'_, S, Self>, key: &Bound<'_, PyAny>) -> Outcome;

    /// How far each level is indented; None for a text without white space.
    #[inline]
    fn indent(&self) -> Option<usize> {
        None
    }

    #[inline]
    fn sorts_keys(&self) -> bool {
        false
    }

    /// Whether this value is kept, to be written later, where a hole is left for it.
    #[inline]
    fn keeps(&mut self, _value: &Bound<'_, PyAny>) -> bool {
        false
    }
}

pub struct Walk<'a, S, P> {
    pub out: &'a mut S,
    pub policy: P,
}

impl<S: Sink, P: Policy> Walk<'_, S, P> {
    /// A value at the top: with nothing behind it. Containers around it are counted by `depth`.
    pub fn whole(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        self.value(value, depth)?;
        // SAFETY: there is the comma behind the value.
        unsafe { self.out.take_back() };
        Ok(())
    }

    #[inline]
    pub fn value(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        let mut pen = Pen::new(&mut *self.out);
        // SAFETY: this kind is every processor's, and nothing else was written.
        let is_done = unsafe { scalar_with::<Chosen, _, _>(&mut pen, &mut self.policy, value) }?;
        pen.done();
        if is_done { Ok(()) } else { self.container(value, depth) }
    }

    /// An int, or one of a subclass.
    pub fn integer(&mut self, number: &Bound<'_, PyAny>) -> Outcome {
        let mut pen = Pen::new(&mut *self.out);
        scalar::integer(&mut pen, number)?;
        pen.done();
        Ok(())
    }

    /// Anything else; Python code may run if the policy lets it.
    #[inline(never)]
    pub fn container(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        processor::container(self, value, depth)
    }

    /// The same for a kind of processor.
    ///
    /// # Safety
    /// The processor is of that kind.
    #[allow(clippy::inline_always)] // Else it is not compiled for that kind.
    #[inline(always)]
    pub unsafe fn container_with<K: Processor>(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        let class = value.get_type_ptr();
        // SAFETY: the type was compared; the rest is the caller's promise.
        unsafe {
            if class == &raw mut ffi::PyDict_Type {
                let dict = value.cast_unchecked();
                return if self.policy.sorts_keys() {
                    self.dict(dict, depth + 1)
                } else {
                    K::dict(self, dict, depth + 1)
                };
            }
            if class == &raw mut ffi::PyList_Type {
                return K::list(self, value.cast_unchecked(), depth + 1);
            }
            if P::TUPLES && class == &raw mut ffi::PyTuple_Type {
                return self.tuple(value.cast_unchecked(), depth + 1);
            }
            P::other::<K, S>(self, value, depth)
        }
    }

    /// A list, or one of a subclass.
    #[inline]
    pub fn list(&mut self, list: &Bound<'_, PyList>, depth: usize) -> Outcome {
        processor::list(self, list, depth)
    }

    /// # Safety
    /// The processor is of that kind.
    #[allow(clippy::inline_always)] // Else it is not compiled for that kind.
    #[inline(always)]
    pub unsafe fn list_with<K: Processor>(&mut self, list: &Bound<'_, PyList>, depth: usize) -> Outcome {
        let mut pen = open(&mut *self.out, b'[', depth)?;
        let (mut index, length) = (0, list.len());
        while index < list.len() {
            // SAFETY: the index is within the list, of which nothing else is done before the item is written or owned.
            let item = unsafe {
                Borrowed::<PyAny>::from_ptr(list.py(), ffi::PyList_GET_ITEM(list.as_ptr(), index.cast_signed()))
            };
            line(&mut pen, self.policy.indent(), depth);
            pen.next();
            // SAFETY: the caller's promise.
            match unsafe { scalar_with::<K, _, _>(&mut pen, &mut self.policy, &item) } {
                Ok(true) => {}
                // SAFETY: nothing else was written.
                Ok(false) if unsafe { scalar::empty(&mut pen, &item, depth) } => {}
                Ok(false) => {
                    pen.done();
                    let item = item.to_owned();
                    fetch_next(list, index);
                    // SAFETY: the caller's promise.
                    let done = unsafe { self.container_with::<K>(&item, depth) };
                    done.map_err(|refusal| refusal.at(index.to_string()))?;
                    pen = Pen::new(&mut *self.out);
                }
                Err(refusal) => return Err(refusal.at(index.to_string())),
            }
            index += 1;
        }
        if list.len() != length {
            return Err(changed());
        }
        close(pen, b']', self.policy.indent(), depth, length == 0);
        Ok(())
    }

    /// A tuple, or one of a subclass.
    pub fn tuple(&mut self, tuple: &Bound<'_, PyTuple>, depth: usize) -> Outcome {
        self.open(b'[', depth)?;
        for (index, item) in tuple.iter_borrowed().enumerate() {
            self.line(depth);
            self.value(&item, depth).map_err(|refusal| refusal.at(index.to_string()))?;
        }
        self.close(b']', depth, tuple.is_empty());
        Ok(())
    }

    /// A dict, or one of a subclass whose members are those of the dict.
    #[inline]
    pub fn dict(&mut self, dict: &Bound<'_, PyDict>, depth: usize) -> Outcome {
        if self.policy.sorts_keys() {
            return self.sorted(dict.iter().collect(), depth);
        }
        processor::dict(self, dict, depth)
    }

    /// # Safety
    /// The processor is of that kind.
    #[allow(clippy::inline_always)] // Else it is not compiled for that kind.
    #[inline(always)]
    pub unsafe fn dict_with<K: Processor>(&mut self, dict: &Bound<'_, PyDict>, depth: usize) -> Outcome {
        let mut pen = open(&mut *self.out, b'{', depth)?;
        let length = dict.len();
        // SAFETY: the members are read anew after anything that may run Python code.
        let mut members = unsafe { items(dict) };
        while let Some((key, item)) = members.next() {
            line(&mut pen, self.policy.indent(), depth);
            pen.next();
            if key.is_exact_instance_of::<PyString>() {
                // SAFETY: it is a str; the rest is the caller's promise.
                unsafe { scalar::string_with::<K, _>(&mut pen, &key, b':') }?;
            } else {
                pen.done();
                P::other_key(self, &key)?;
                pen = Pen::new(&mut *self.out);
            }
            colon(&mut pen, self.policy.indent());
            // SAFETY: likewise.
            match unsafe { scalar_with::<K, _, _>(&mut pen, &mut self.policy, &item) } {
                Ok(true) => continue,
                // SAFETY: likewise.
                Ok(false) if unsafe { scalar::empty(&mut pen, &item, depth) } => continue,
                Ok(false) => {}
                Err(refusal) => return Err(refusal.at(name(&key))),
            }
            pen.done();
            let (key, item) = (key.to_owned(), item.to_owned());
            // SAFETY: likewise.
            unsafe { self.container_with::<K>(&item, depth) }.map_err(|refusal| refusal.at(name(&key)))?;
            // They may be the last references.
            drop((key, item));
            if dict.len() != length {
                return Err(changed());
            }
            members.refresh();
            pen = Pen::new(&mut *self.out);
        }
        close(pen, b'}', self.policy.indent(), depth, length == 0);
        Ok(())
    }

    /// An object of these members, in the order of their keys.
    pub fn sorted(&mut self, mut members: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)>, depth: usize) -> Outcome {
        if members.iter().any(|(key, _)| !key.is_instance_of::<PyString>()) {
            return Err(no_key());
        }
        members.sort_by(|(a, _), (b, _)| {
            // SAFETY: both are strs.
            unsafe { ffi::PyUnicode_Compare(a.as_ptr(), b.as_ptr()) }.cmp(&0)
        });
        self.members(members, depth)
    }

    /// An object of these members.
    pub fn members(&mut self, members: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)>, depth: usize) -> Outcome {
        self.open(b'{', depth)?;
        let is_empty = members.is_empty();
        for (key, item) in members {
            self.line(depth);
            self.key(&key)?;
            self.value(&item, depth).map_err(|refusal| refusal.at(name(&key)))?;
        }
        self.close(b'}', depth, is_empty);
        Ok(())
    }

    fn key(&mut self, key: &Bound<'_, PyAny>) -> Outcome {
        if key.is_exact_instance_of::<PyString>() {
            scalar::string(self.out, key, b':')?;
        } else {
            P::other_key(self, key)?;
        }
        self.colon();
        Ok(())
    }

    pub fn colon(&mut self) {
        colon(self.out, self.policy.indent());
    }

    pub fn open(&mut self, bracket: u8, depth: usize) -> Outcome {
        open(self.out, bracket, depth).map(Pen::done)
    }

    pub fn close(&mut self, bracket: u8, depth: usize, is_empty: bool) {
        close(Pen::new(&mut *self.out), bracket, self.policy.indent(), depth, is_empty);
    }

    pub fn line(&mut self, depth: usize) {
        line(self.out, self.policy.indent(), depth);
    }
}

/// Writes a value with a comma behind it if it is a scalar, or a hole if it is kept; whether it was one of them.
///
/// # Safety
/// As for `scalar::scalar_with`.
#[allow(clippy::inline_always)] // Else it is not compiled for that kind.
#[inline(always)]
unsafe fn scalar_with<K: Kernels, S: Sink, P: Policy>(
    pen: &mut Pen<'_, S>,
    policy: &mut P,
    value: &Bound<'_, PyAny>,
) -> Result<bool, Refusal> {
    if policy.keeps(value) {
        pen.append(&[HOLE, b',']);
        return Ok(true);
    }
    // SAFETY: the caller's promise.
    unsafe { scalar::scalar_with::<K, _>(pen, value) }
}

/// Asks for what the next items begin with: a table that nobody has looked at lately is what a small dict costs.
#[inline]
fn fetch_next(list: &Bound<'_, PyList>, index: usize) {
    let item = |at: usize| {
        // SAFETY: the place is within the list, which holds what lies there.
        (at < list.len()).then(|| unsafe { ffi::PyList_GET_ITEM(list.as_ptr(), at.cast_signed()) })
    };
    if let Some(second) = item(index + 2) {
        prefetch(second);
    }
    if let Some(next) = item(index + 1) {
        // SAFETY: the item lives, and is a dict before it is read as one.
        unsafe {
            if ffi::Py_TYPE(next) == &raw mut ffi::PyDict_Type {
                prefetch((*next.cast::<ffi::PyDictObject>()).ma_keys);
            }
        }
    }
}

/// The beginning of a container.
#[allow(clippy::inline_always)] // For the sake of the pen.
#[inline(always)]
pub fn open<S: Sink>(out: &mut S, bracket: u8, depth: usize) -> Result<Pen<'_, S>, Refusal> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    let mut pen = Pen::new(out);
    pen.put(bracket);
    Ok(pen)
}

/// Behind the colon of a name.
#[allow(clippy::inline_always)] // For the sake of the pen.
#[inline(always)]
pub fn colon(out: &mut impl Sink, indent: Option<usize>) {
    if indent.is_some() {
        out.put(b' ');
    }
}

/// Begins a line, if the text has lines.
#[allow(clippy::inline_always)] // For the sake of the pen.
#[inline(always)]
pub fn line(out: &mut impl Sink, indent: Option<usize>, depth: usize) {
    if let Some(indent) = indent {
        out.put(b'\n');
        for _ in 0..indent * depth {
            out.put(b' ');
        }
    }
}

/// The end of a container that is empty, or behind the last of whose members a comma was written.
#[allow(clippy::inline_always)] // For the sake of the pen.
#[inline(always)]
pub fn close<S: Sink>(mut pen: Pen<'_, S>, bracket: u8, indent: Option<usize>, depth: usize, is_empty: bool) {
    if !is_empty {
        // SAFETY: there is the comma.
        unsafe { pen.take_back() };
        line(&mut pen, indent, depth - 1);
    }
    pen.append(&[bracket, b',']);
    pen.done();
}

/// A key as a token of a JSON Pointer.
#[cold]
fn name(key: &Bound<'_, PyAny>) -> String {
    key.cast::<PyString>().map_or_else(|_| String::new(), |key| key.to_string_lossy().into_owned())
}

#[cold]
pub fn no_key() -> Refusal {
    Refusal::new("a key that is not a str")
}

#[cold]
pub fn too_deep() -> Refusal {
    Refusal::new("nested deeper than 128")
}

#[cold]
fn changed() -> Refusal {
    Refusal::new("a container that was changed while it was encoded")
}
