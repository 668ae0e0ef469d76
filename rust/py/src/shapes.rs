//! Dicts with the keys of one that was made before: its table is copied, and the values are put in their places.
//!
//! To put members into dicts one by one is a quarter of what decoding messages costs. Where the values stand is private
//! to the interpreter, see `layouts`.

use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::attached::Attached;
use crate::dict_items::table;

/// A key and its value, owned references.
pub type Member = [NonNull<ffi::PyObject>; 2];

/// Whether values may be put into tables here.
static KNOWN: Attached<bool> = Attached::new(false);
static SHAPES: Attached<Option<Box<Shapes>>> = Attached::new(None);

const PLACES: usize = 64;
/// The most keys of a dict that is looked for here.
const MOST: usize = 64;

struct Shapes([Shape; PLACES]);

// SAFETY: shapes are only touched through `Attached`, by one thread at a time.
unsafe impl Send for Shapes {}

/// The keys of a dict.
#[derive(Default)]
struct Shape {
    /// A dict that nobody else sees, whose values are all None.
    dict: Option<Py<PyDict>>,
    /// What dict was seen here last: its first key, its last, and how many.
    last: (usize, usize, usize),
}

/// Whether dicts are made here at all.
pub fn is_known(py: Python<'_>) -> bool {
    KNOWN.get(py)
}

/// A new dict of these members, whose references it takes over; None, and nothing taken, if another way must make it.
///
/// # Safety
/// The members are owned references, the keys to exact strs.
pub unsafe fn dict(py: Python<'_>, members: &[Member]) -> Option<NonNull<ffi::PyObject>> {
    let ([first, ..], [.., last]) = (members, members) else { return None };
    if !KNOWN.get(py) || members.len() > MOST {
        return None;
    }
    let seen = (first[0].as_ptr() as usize, last[0].as_ptr() as usize, members.len());
    let place = (seen.0 >> 4) ^ (seen.1 >> 6) ^ seen.2;
    let mut shapes =
        SHAPES.replace(py, None).unwrap_or_else(|| Box::new(Shapes(std::array::from_fn(|_| Shape::default()))));
    let made = shapes.0.get_mut(place % PLACES).and_then(|shape| shape.dict(py, seen, members));
    // Another may be there by now: to make an object can start a collection, which runs Python code.
    drop(SHAPES.replace(py, Some(shapes)));
    made
}

impl Shape {
    fn dict(
        &mut self,
        py: Python<'_>,
        seen: (usize, usize, usize),
        members: &[Member],
    ) -> Option<NonNull<ffi::PyObject>> {
        let is_last = std::mem::replace(&mut self.last, seen) == seen;
        if let Some(dict) = self.dict.as_ref().map(|dict| dict.bind(py)).filter(|dict| has_keys(dict, members)) {
            return filled(dict, members);
        }
        // Keys that do not come again are not worth a copy.
        if is_last {
            self.dict = template(py, members).ok();
        }
        None
    }
}

/// Whether these are the keys of a dict.
#[inline]
fn has_keys(dict: &Bound<'_, PyDict>, members: &[Member]) -> bool {
    // SAFETY: tables are laid out as expected, and nothing changes the dict. Each key is compared within the table.
    unsafe {
        let (first, end) = table(dict);
        !first.is_null()
            && end.offset_from_unsigned(first) == members.len()
            && members.iter().enumerate().all(|(at, [key, _])| (*first.add(at)).key == key.as_ptr())
    }
}

#[inline]
fn filled(dict: &Bound<'_, PyDict>, members: &[Member]) -> Option<NonNull<ffi::PyObject>> {
    // SAFETY: the copy is ours alone. Its table has these keys, with references of its own, and each value is a reference
    // to None, which is given up for one that the caller owned. A dict with a container in it is followed by the collector.
    unsafe {
        let Some(made) = Bound::from_owned_ptr_or_opt(dict.py(), ffi::PyDict_Copy(dict.as_ptr())) else {
            ffi::PyErr_Clear();
            return None;
        };
        if !has_keys(made.cast_unchecked(), members) {
            return None;
        }
        let (first, _) = table(made.cast_unchecked());
        let mut has_containers = false;
        for (at, [key, value]) in members.iter().enumerate() {
            (*first.cast_mut().add(at)).value = value.as_ptr();
            ffi::Py_DECREF(ffi::Py_None());
            ffi::Py_DECREF(key.as_ptr());
            has_containers |= (*ffi::Py_TYPE(value.as_ptr())).tp_flags & ffi::Py_TPFLAGS_HAVE_GC != 0;
        }
        if has_containers {
            ffi::PyObject_GC_Track(made.as_ptr().cast());
        }
        NonNull::new(made.into_ptr())
    }
}

/// A dict with these keys; doubled ones make it a shorter one, which none will be like.
#[cold]
fn template(py: Python<'_>, members: &[Member]) -> PyResult<Py<PyDict>> {
    let dict = PyDict::new(py);
    for [key, _] in members {
        // SAFETY: the caller's reference lives.
        let key = unsafe { Borrowed::<PyAny>::from_ptr(py, key.as_ptr()) };
        dict.set_item(key, py.None())?;
    }
    Ok(dict.unbind())
}

/// Finds out whether the running interpreter, a tested one, copies dicts as expected.
pub fn probe(py: Python<'_>, is_tested: bool) -> PyResult<()> {
    drop(SHAPES.replace(py, None));
    KNOWN.replace(py, is_tested && makes_alike(py)?);
    Ok(())
}

/// Whether copies that are filled are the dicts they should be, of all lengths, with containers in them and without.
fn makes_alike(py: Python<'_>) -> PyResult<bool> {
    let keys: Vec<_> = (0..=MOST).map(|number| format!("key {number}").into_pyobject(py)).collect::<Result<_, _>>()?;
    for length in 1..MOST {
        let expected = PyDict::new(py);
        let mut members = Vec::new();
        for (at, key) in keys.iter().enumerate().take(length) {
            let value = if at == 5 { PyList::empty(py).into_any() } else { at.into_pyobject(py)?.into_any() };
            expected.set_item(key, &value)?;
            members.push((key.clone().into_any(), value));
        }
        let owned: Vec<Member> = members
            .into_iter()
            .filter_map(|(key, value)| Some([NonNull::new(key.into_ptr())?, NonNull::new(value.into_ptr())?]))
            .collect();
        let Some(made) = filled(template(py, &owned)?.bind(py), &owned) else { return Ok(false) };
        // SAFETY: a new reference to a dict.
        let made = unsafe { Bound::from_owned_ptr(py, made.as_ptr()).cast_into_unchecked::<PyDict>() };
        // SAFETY: both are objects that the collector may follow.
        let is_followed = |dict: &Bound<'_, PyDict>| unsafe { ffi::PyObject_GC_IsTracked(dict.as_ptr()) };
        let is_alike = || Ok::<_, PyErr>(made.eq(&expected)? && made.items().eq(expected.items())?);
        if !is_alike()? || is_followed(&made) != is_followed(&expected) {
            return Ok(false);
        }
        for dict in [&made, &expected] {
            dict.del_item(keys.first())?;
            dict.set_item(keys.last(), length)?;
        }
        if !is_alike()? {
            return Ok(false);
        }
    }
    Ok(true)
}
