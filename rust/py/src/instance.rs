//! The attributes of an instance, without making its `__dict__`.
//!
//! An instance keeps them in an array until somebody asks for its `__dict__`; its class knows the places by their
//! names. That is private to the interpreter, see `layouts`.

use std::cell::Cell;
use std::ffi::{CStr, c_ulong};
use std::ptr::null;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

use crate::attached::Attached;
use crate::dict_items::Keys;

/// The minor version of a tested interpreter, else 0.
static MINOR: Attached<u8> = Attached::new(0);

const MANAGED_DICT: c_ulong = 1 << 4;
const INLINE_VALUES: c_ulong = 1 << 2;

/// Where the attributes of a class's instances stand.
#[derive(Debug)]
pub struct Places {
    /// Which names the class had, and how many, when this was found out.
    known: Cell<(*const Keys, isize)>,
    places: Vec<Cell<usize>>,
}

const NOWHERE: usize = usize::MAX;

/// The head of the array behind an object (3.13).
#[repr(C)]
struct Inline {
    capacity: u8,
    size: u8,
    embedded: u8,
    valid: u8,
    values: [*mut ffi::PyObject; 1],
}

impl Places {
    pub fn new(names: usize) -> Self {
        Self { known: Cell::new((null(), -1)), places: vec![Cell::new(NOWHERE); names] }
    }

    /// Whether this interpreter is one whose instances are read.
    pub fn can_be_read(py: Python<'_>) -> bool {
        MINOR.get(py) != 0
    }

    /// The array of an object; null if it cannot be read. `names` are those of `new`, interned.
    ///
    /// # Safety
    /// `class` is the type of `object`.
    #[inline]
    pub unsafe fn values<'a>(
        &self,
        object: &Bound<'_, PyAny>,
        class: *mut ffi::PyTypeObject,
        names: impl Iterator<Item = &'a Py<PyString>>,
    ) -> *const *mut ffi::PyObject {
        // SAFETY: the caller's promise, and the version is one that lays objects out so.
        unsafe {
            let values = array(MINOR.get(object.py()), object.as_ptr(), class);
            if values.is_null() {
                return values;
            }
            let keys = (*class.cast::<ffi::PyHeapTypeObject>()).ht_cached_keys.cast::<Keys>();
            if keys.is_null() {
                return null();
            }
            // Names are only ever added.
            if (keys.cast_const(), (*keys).entries) != self.known.get() {
                self.look_up(keys, names);
            }
            values
        }
    }

    #[cold]
    unsafe fn look_up<'a>(&self, keys: *const Keys, names: impl Iterator<Item = &'a Py<PyString>>) {
        // SAFETY: so many entries there are, whose keys are alive.
        unsafe {
            let count = (*keys).entries;
            let first = Keys::first(keys);
            for (place, name) in self.places.iter().zip(names) {
                let found = (0..count).find(|&at| (*first.offset(at)).key == name.as_ptr());
                place.set(found.map_or(NOWHERE, isize::cast_unsigned));
            }
            self.known.set((keys, count));
        }
    }

    /// A value in an array that was just given by `values`; None if it is not there.
    ///
    /// # Safety
    /// No Python code ran meanwhile.
    #[inline]
    pub unsafe fn get<'a, 'py>(
        &self,
        py: Python<'py>,
        values: *const *mut ffi::PyObject,
        name: usize,
    ) -> Option<Borrowed<'a, 'py, PyAny>> {
        let place = self.places.get(name)?.get();
        if place == NOWHERE || values.is_null() {
            return None;
        }
        // SAFETY: an array has a place for each name that its class knows.
        unsafe { Borrowed::from_ptr_or_opt(py, *values.add(place)) }
    }
}

/// # Safety
/// `class` is the type of `object`, and the interpreter is of that version, or 0.
#[inline]
unsafe fn array(minor: u8, object: *mut ffi::PyObject, class: *mut ffi::PyTypeObject) -> *const *mut ffi::PyObject {
    // SAFETY: as the headers of each version say, where the type has the flag.
    unsafe {
        let has = |flag| (*class).tp_flags & flag != 0;
        match minor {
            11 if has(MANAGED_DICT) => {
                let values = *object.cast::<*const *mut ffi::PyObject>().sub(4);
                if values.is_null() { shared(*object.cast::<*mut ffi::PyDictObject>().sub(3), class) } else { values }
            }
            12 if has(MANAGED_DICT) => {
                let tagged = *object.cast::<*mut u8>().sub(3);
                if tagged.addr() & 1 == 1 { tagged.add(1).cast() } else { shared(tagged.cast(), class) }
            }
            13 if has(INLINE_VALUES) => {
                let inline = object.byte_offset((*class).tp_basicsize).cast::<Inline>();
                if (*inline).valid == 1 { (&raw const (*inline).values).cast() } else { null() }
            }
            _ => null(),
        }
    }
}

/// The array of an object whose `__dict__` was asked for, but still shares the names of its class (3.11, 3.12).
///
/// # Safety
/// `dict` is null or that of an instance of `class`.
#[inline]
unsafe fn shared(dict: *mut ffi::PyDictObject, class: *mut ffi::PyTypeObject) -> *const *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    unsafe {
        let keys = (*class.cast::<ffi::PyHeapTypeObject>()).ht_cached_keys;
        if dict.is_null() || (*dict).ma_keys.cast() != keys { null() } else { (*dict).ma_values.cast() }
    }
}

/// Instances of one class: with few names and many, set in other orders, one deleted, one asked for its `__dict__`.
const SAMPLES: &CStr = c"
class Probe:
    pass
names = [f'a{n}' for n in range(40)]
samples = []
for count in (29, 20, 7, 3, 2, 1, 0):
    for order in (names[:count], names[count::-1]):
        samples.append(Probe())
        for name in order:
            setattr(samples[-1], name, object())
del samples[4].a1
vars(samples[5])
";

/// Finds out whether the running interpreter can be read directly; `minor` is given for a tested one.
pub fn probe(py: Python<'_>, minor: Option<u8>) -> PyResult<()> {
    MINOR.replace(py, minor.unwrap_or(0));
    if minor.is_some() && !reads_alike(py)? {
        MINOR.replace(py, 0);
    }
    Ok(())
}

/// Whether instances of many shapes are read as `getattr` reads them, and none that cannot be.
fn reads_alike(py: Python<'_>) -> PyResult<bool> {
    let space = PyDict::new(py);
    py.run(SAMPLES, Some(&space), None)?;
    let get = |name: &str| space.get_item(name)?.ok_or_else(|| pyo3::exceptions::PyImportError::new_err("a probe"));
    let class = get("Probe")?.cast_into::<PyType>()?;
    let interned = |name: Bound<'_, PyAny>| -> PyResult<Py<PyString>> {
        Ok(PyString::intern(py, name.cast::<PyString>()?.to_str()?).unbind())
    };
    let names = get("names")?.try_iter()?.map(|name| interned(name?)).collect::<PyResult<Vec<_>>>()?;
    let places = Places::new(names.len());
    let mut read = 0;
    for sample in get("samples")?.try_iter()? {
        let sample = sample?;
        // SAFETY: whether this reads well is just what is found out, of objects of ours.
        let values = unsafe { places.values(&sample, class.as_type_ptr(), names.iter()) };
        for (at, name) in names.iter().enumerate() {
            // SAFETY: as above.
            let Some(found) = (unsafe { places.get(py, values, at) }) else { continue };
            if !sample.getattr(name.bind(py)).is_ok_and(|own| own.is(&*found)) {
                return Ok(false);
            }
            read += 1;
        }
    }
    Ok(read > 60)
}
