//! Walking through Python's containers and writing them as JSON text.
//!
//! Each value is written with a comma behind it, in the place of which the end of its container comes.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use swisper_core::json::MAX_DEPTH;
#[cfg(target_arch = "x86_64")]
use swisper_simd::{Avx512, Level, level};
use swisper_simd::{Chosen, Kernels, Sink};

use crate::dict_items::items;
use crate::encode::{Outcome, Refusal};
use crate::scalar;

/// What one way of encoding does other than the rest.
pub trait Policy: Sized {
    /// Whether a tuple is an array.
    const TUPLES: bool;

    /// A value that is no builtin; a comma behind it.
    fn other<S: Sink>(walk: &mut Walk<'_, S, Self>, value: &Bound<'_, PyAny>, depth: usize) -> Outcome;

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
}

pub struct Walk<'a, S, P> {
    pub out: &'a mut S,
    pub policy: P,
}

impl<S: Sink, P: Policy> Walk<'_, S, P> {
    /// A value at the top: with nothing behind it. Containers around it are counted by `depth`.
    pub fn whole(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        self.value(value, depth)?;
        self.out.drop_byte();
        Ok(())
    }

    #[inline]
    pub fn value(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        if self.scalar(value)? { Ok(()) } else { self.container(value, depth) }
    }

    /// Whether it was one; no Python code runs.
    pub fn scalar(&mut self, value: &Bound<'_, PyAny>) -> Result<bool, Refusal> {
        // SAFETY: this kind is every processor's.
        unsafe { self.scalar_with::<Chosen>(value) }
    }

    /// The same with given kernels.
    ///
    /// # Safety
    /// The processor is of that kind.
    #[allow(clippy::inline_always)] // Else it is not compiled for that kind.
    #[inline(always)]
    pub unsafe fn scalar_with<K: Kernels>(&mut self, value: &Bound<'_, PyAny>) -> Result<bool, Refusal> {
        let object = value.as_ptr();
        // SAFETY: only addresses are compared, and the type of an object that lives is read.
        unsafe {
            let class = ffi::Py_TYPE(object);
            if class == &raw mut ffi::PyUnicode_Type {
                return scalar::string_with::<K>(self.out, value, Some(b',')).map(|()| true);
            }
            if class == &raw mut ffi::PyLong_Type {
                return scalar::integer(self.out, value).map(|()| true);
            }
            if class == &raw mut ffi::PyFloat_Type {
                return scalar::float(self.out, value).map(|()| true);
            }
            let (word, length) = if object == ffi::Py_None() {
                (b"null,\0\0\0", 5)
            } else if object == ffi::Py_True() {
                (b"true,\0\0\0", 5)
            } else if object == ffi::Py_False() {
                (b"false,\0\0", 6)
            } else {
                return Ok(false);
            };
            self.out.append_padded(word, length);
        }
        Ok(true)
    }

    /// Whether it was a list or dict with nothing in it.
    #[inline]
    fn empty(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> bool {
        let brackets = match (value.cast_exact::<PyList>(), value.cast_exact::<PyDict>()) {
            (Ok(list), _) if list.is_empty() => b"[],",
            (_, Ok(dict)) if dict.is_empty() => b"{},",
            _ => return false,
        };
        if depth >= MAX_DEPTH {
            return false;
        }
        self.out.append_padded(brackets, brackets.len());
        true
    }

    /// Anything else; Python code may run if the policy lets it.
    #[inline(never)]
    pub fn container(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            return self.dict(dict, depth + 1);
        }
        if let Ok(list) = value.cast_exact::<PyList>() {
            return self.list(list, depth + 1);
        }
        match value.cast_exact::<PyTuple>() {
            Ok(tuple) if P::TUPLES => self.tuple(tuple, depth + 1),
            _ => P::other(self, value, depth),
        }
    }

    /// A list, or one of a subclass.
    #[inline]
    pub fn list(&mut self, list: &Bound<'_, PyList>, depth: usize) -> Outcome {
        #[cfg(target_arch = "x86_64")]
        if level() >= Level::Avx512 {
            // SAFETY: the level tells the kind of processor.
            return unsafe { self.list_avx512(list, depth) };
        }
        // SAFETY: this kind is every processor's.
        unsafe { self.list_with::<Chosen>(list, depth) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    unsafe fn list_avx512(&mut self, list: &Bound<'_, PyList>, depth: usize) -> Outcome {
        // SAFETY: the processor is of that kind.
        unsafe { self.list_with::<Avx512>(list, depth) }
    }

    #[allow(clippy::inline_always)] // Else it is not compiled for the kind of processor.
    #[inline(always)]
    unsafe fn list_with<K: Kernels>(&mut self, list: &Bound<'_, PyList>, depth: usize) -> Outcome {
        self.open(b'[', depth)?;
        let (mut index, length) = (0, list.len());
        while index < list.len() {
            // SAFETY: the index is within the list, of which nothing else is done before the item is written or owned.
            let item = unsafe {
                Borrowed::<PyAny>::from_ptr(list.py(), ffi::PyList_GET_ITEM(list.as_ptr(), index.cast_signed()))
            };
            self.line(depth);
            // SAFETY: the caller's promise.
            let done = match unsafe { self.scalar_with::<K>(&item) } {
                Ok(true) => Ok(()),
                Ok(false) if self.empty(&item, depth) => Ok(()),
                Ok(false) => self.container(&item.to_owned(), depth),
                Err(refusal) => Err(refusal),
            };
            done.map_err(|refusal| refusal.at(index.to_string()))?;
            index += 1;
        }
        if list.len() != length {
            return Err(changed());
        }
        self.close(b']', depth, length == 0);
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
        #[cfg(target_arch = "x86_64")]
        if level() >= Level::Avx512 {
            // SAFETY: the level tells the kind of processor.
            return unsafe { self.dict_avx512(dict, depth) };
        }
        // SAFETY: this kind is every processor's.
        unsafe { self.dict_with::<Chosen>(dict, depth) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    unsafe fn dict_avx512(&mut self, dict: &Bound<'_, PyDict>, depth: usize) -> Outcome {
        // SAFETY: the processor is of that kind.
        unsafe { self.dict_with::<Avx512>(dict, depth) }
    }

    #[allow(clippy::inline_always)] // Else it is not compiled for the kind of processor.
    #[inline(always)]
    unsafe fn dict_with<K: Kernels>(&mut self, dict: &Bound<'_, PyDict>, depth: usize) -> Outcome {
        self.open(b'{', depth)?;
        let length = dict.len();
        // SAFETY: the members are read anew after anything that may run Python code.
        let mut members = unsafe { items(dict) };
        while let Some((key, item)) = members.next() {
            self.line(depth);
            // SAFETY: the caller's promise.
            unsafe { self.key_with::<K>(&key) }?;
            // SAFETY: likewise.
            match unsafe { self.scalar_with::<K>(&item) } {
                Ok(true) => continue,
                Ok(false) if self.empty(&item, depth) => continue,
                Ok(false) => {}
                Err(refusal) => return Err(refusal.at(name(&key))),
            }
            let (key, item) = (key.to_owned(), item.to_owned());
            self.container(&item, depth).map_err(|refusal| refusal.at(name(&key)))?;
            if dict.len() != length {
                return Err(changed());
            }
            members.refresh();
        }
        self.close(b'}', depth, length == 0);
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
        // SAFETY: this kind is every processor's.
        unsafe { self.key_with::<Chosen>(key) }
    }

    #[allow(clippy::inline_always)] // Else it is not compiled for the kind of processor.
    #[inline(always)]
    unsafe fn key_with<K: Kernels>(&mut self, key: &Bound<'_, PyAny>) -> Outcome {
        if key.is_exact_instance_of::<PyString>() {
            // SAFETY: it is a str; the rest is the caller's promise.
            unsafe { scalar::string_with::<K>(self.out, key, Some(b':')) }?;
        } else {
            P::other_key(self, key)?;
        }
        self.colon();
        Ok(())
    }

    /// Behind the colon of a name.
    #[inline]
    pub fn colon(&mut self) {
        if self.policy.indent().is_some() {
            self.out.put(b' ');
        }
    }

    #[inline]
    pub fn open(&mut self, bracket: u8, depth: usize) -> Outcome {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        self.out.put(bracket);
        Ok(())
    }

    #[inline]
    pub fn close(&mut self, bracket: u8, depth: usize, is_empty: bool) {
        if !is_empty {
            if self.policy.indent().is_some() {
                self.out.drop_byte();
                self.line(depth - 1);
            } else {
                // In the place of the last comma.
                if let Some(comma) = self.out.last_byte() {
                    *comma = bracket;
                }
                self.out.put(b',');
                return;
            }
        }
        self.out.append(&[bracket, b',']);
    }

    /// Begins a line, if the text has lines.
    #[inline]
    pub fn line(&mut self, depth: usize) {
        if let Some(indent) = self.policy.indent() {
            self.out.put(b'\n');
            for _ in 0..indent * depth {
                self.out.put(b' ');
            }
        }
    }
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
