//! Going through a dict without a call for each member.
//!
//! `PyDict_Next` is half of what encoding a small dict costs. The table behind a dict is private to the interpreter, so
//! it is read only by versions on which that was tested, and only after a test of the running one has shown that it is
//! laid out as expected; otherwise, and for the dicts of instances, the public function serves.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::attached::Attached;

/// Whether tables may be read here.
static KNOWN: Attached<bool> = Attached::new(false);

/// `struct _dictkeysobject`; behind it the indices, then the entries.
#[repr(C)]
pub struct Keys {
    refcount: isize,
    log2_size: u8,
    log2_index_bytes: u8,
    kind: u8,
    version: u32,
    usable: isize,
    pub entries: isize,
}

impl Keys {
    /// The entries of a table.
    ///
    /// # Safety
    /// The running interpreter lays tables out like this, and the kind is not the general one.
    #[inline]
    pub unsafe fn first(keys: *const Self) -> *const Entry {
        // SAFETY: the indices stand behind the table's head, and the entries behind those.
        unsafe { keys.add(1).byte_add(1_usize << (*keys).log2_index_bytes).cast() }
    }
}

/// A table of this kind has entries with their hash; in the others every key is a str.
const GENERAL: u8 = 0;

/// `PyDictUnicodeEntry`; of a removed member the value is null.
#[repr(C)]
pub struct Entry {
    pub key: *mut ffi::PyObject,
    pub value: *mut ffi::PyObject,
}

/// The members of a dict, borrowed.
pub struct Items<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    first: *const Entry,
    /// The entries that are left; null if the public function serves.
    next: *const Entry,
    end: *const Entry,
    place: ffi::Py_ssize_t,
}

/// # Safety
/// Nothing changes the dict as long as its members are borrowed, or else `refresh` is called before the next is taken.
#[inline]
pub unsafe fn items<'a, 'py>(dict: &'a Bound<'py, PyDict>) -> Items<'a, 'py> {
    // SAFETY: it is a dict, whose table is alive as long as nothing changes it.
    let (next, end) = if KNOWN.get(dict.py()) { unsafe { table(dict) } } else { (ptr::null(), ptr::null()) };
    Items { dict, first: next, next, end, place: 0 }
}

/// The entries of a dict, as far as they have been used; null if its table is of another kind.
///
/// # Safety
/// The running interpreter lays tables out as `Keys` and `Entry` say.
#[inline]
pub unsafe fn table(dict: &Bound<'_, PyDict>) -> (*const Entry, *const Entry) {
    // SAFETY: the caller's promise; the counts are the table's own.
    unsafe {
        let object = &*dict.as_ptr().cast::<ffi::PyDictObject>();
        let keys = object.ma_keys.cast::<Keys>();
        if !object.ma_values.is_null() || (*keys).kind == GENERAL {
            return (ptr::null(), ptr::null());
        }
        let first = Keys::first(keys);
        (first, first.offset((*keys).entries))
    }
}

impl<'a, 'py> Iterator for Items<'a, 'py> {
    type Item = Member<'a, 'py>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next.is_null() {
            let asked = ask(self.dict, self.place);
            self.place = asked.0;
            return asked.1;
        }
        while self.next < self.end {
            // SAFETY: it lies before the end of the entries, whose members live as long as the dict is not changed.
            unsafe {
                let entry = &*self.next;
                self.next = self.next.add(1);
                if !entry.value.is_null() {
                    let py = self.dict.py();
                    return Some((Borrowed::from_ptr(py, entry.key), Borrowed::from_ptr(py, entry.value)));
                }
            }
        }
        None
    }
}

impl Items<'_, '_> {
    /// Looks where the entries are now; to be called when Python code may have changed the dict.
    #[inline]
    pub fn refresh(&mut self) {
        if self.next.is_null() {
            return;
        }
        // SAFETY: `next` was counted from `first`; tables are read as in `items`.
        unsafe {
            let taken = self.next.offset_from(self.first);
            let (first, end) = table(self.dict);
            (self.first, self.end) = (first, end);
            // The public function counts the same entries.
            (self.next, self.place) = (first.wrapping_offset(taken.min(end.offset_from(first))), taken);
        }
    }
}

type Member<'a, 'py> = (Borrowed<'a, 'py, PyAny>, Borrowed<'a, 'py, PyAny>);

/// The member at a place, or behind it, and the next place.
#[inline]
fn ask<'a, 'py>(
    dict: &'a Bound<'py, PyDict>,
    mut place: ffi::Py_ssize_t,
) -> (ffi::Py_ssize_t, Option<Member<'a, 'py>>) {
    let (mut key, mut value) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: it is a dict, which nothing changes.
    let found = unsafe {
        let found = ffi::PyDict_Next(dict.as_ptr(), &raw mut place, &raw mut key, &raw mut value) != 0;
        found.then(|| (Borrowed::from_ptr(dict.py(), key), Borrowed::from_ptr(dict.py(), value)))
    };
    (place, found)
}

/// Finds out whether the running interpreter, a tested one, can be read directly.
pub fn probe(py: Python<'_>, is_tested: bool) -> PyResult<()> {
    KNOWN.replace(py, is_tested && reads_alike(py)?);
    Ok(())
}

/// Whether both ways give the same members of dicts of many sizes, also with members removed.
fn reads_alike(py: Python<'_>) -> PyResult<bool> {
    let dict = PyDict::new(py);
    for number in 0..200 {
        dict.set_item(format!("key {number}"), number)?;
        if number % 3 == 0 {
            dict.del_item(format!("key {}", number / 2))
                .or_else(|_| dict.set_item(format!("again {number}"), number))?;
        }
        if !is_alike(&dict) {
            return Ok(false);
        }
    }
    dict.set_item(1, 2)?;
    Ok(is_alike(&dict))
}

fn is_alike(dict: &Bound<'_, PyDict>) -> bool {
    // SAFETY: nothing changes the dict; whether its table reads well is just what is found out, of a dict of ours, with
    // the version known to be one of the tested ones.
    let (next, end) = unsafe { table(dict) };
    let own = Items { dict, first: next, next, end, place: 0 };
    let public = Items { dict, first: ptr::null(), next: ptr::null(), end: ptr::null(), place: 0 };
    let members = |(key, value): (Borrowed<'_, '_, PyAny>, Borrowed<'_, '_, PyAny>)| (key.as_ptr(), value.as_ptr());
    own.map(members).eq(public.map(members))
}
