//! `LRUCache.get` and `cache[key] = value` as the interpreter calls them: the binding's general ways cost half as much
//! as what they lead to.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{Borrowed, ffi};

use super::{LRUCache, Value, drop_held, hash_of};
use crate::attached::Attached;
use crate::slots::Method;

/// It must go the general way.
struct NotQuick;

/// The hash of a key that is a str, which mostly knows it: to call for it costs a quarter of a lookup.
#[inline]
fn hash_of_text(key: &Bound<'_, PyAny>) -> Result<u64, NotQuick> {
    if !key.is_exact_instance_of::<PyString>() {
        return Err(NotQuick);
    }
    // SAFETY: every str begins like that (PEP 393); the hash is -1 until it is asked for.
    match unsafe { (*key.as_ptr().cast::<ffi::PyASCIIObject>()).hash } {
        -1 => hash_of(key).map_err(|_| NotQuick),
        known => Ok(known.cast_unsigned() as u64),
    }
}

impl LRUCache {
    /// Looks a key up where no Python code runs, nothing is dropped and no clock is read.
    fn quick_value(&self, key: &Bound<'_, PyAny>) -> Result<Option<Value>, NotQuick> {
        let hash = hash_of_text(key)?;
        let mut inner = self.lock();
        let (slot, is_open) = inner.find(key, hash);
        if inner.lru.has_expiries() || (slot.is_none() && is_open) {
            return Err(NotQuick);
        }
        Ok(inner.use_at(slot, key.py()))
    }

    /// Stores a value where no Python code runs before it is stored, and no clock is read.
    fn quick_store(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> Result<(), NotQuick> {
        let is_plain = self.weigh.is_none() && self.max_bytes.is_none() && self.ttl.is_none();
        if !is_plain {
            return Err(NotQuick);
        }
        let hash = hash_of_text(key)?;
        let mut inner = self.lock();
        let (slot, is_open) = inner.find(key, hash);
        if inner.lru.has_expiries() || !inner.lru.fits(0) || (slot.is_none() && is_open) {
            return Err(NotQuick);
        }
        let (old, gone) = inner.put(slot, (hash, key), (value, 0, None));
        drop(inner);
        drop_held(key.py(), old, gone);
        Ok(())
    }
}

static GET: Method = Method(ffi::PyMethodDef {
    ml_name: c"get".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: get },
    ml_flags: ffi::METH_FASTCALL,
    ml_doc: c"get($self, key, default=..., /)\n--\n\n".as_ptr(),
});

/// What the binding made for `cache[key] = value` and `del cache[key]`.
static GENERAL: Attached<Option<ffi::objobjargproc>> = Attached::new(None);

/// Gives the class its functions; to be called once, before the class is used.
pub fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<LRUCache>()?;
    let class = py.get_type::<LRUCache>();
    GET.install(&class)?;
    // SAFETY: the type is alive, and it has the methods of a mapping, for it is declared as one.
    let assign = unsafe { &mut (*(*class.as_type_ptr()).tp_as_mapping).mp_ass_subscript };
    GENERAL.replace(py, assign.replace(set));
    Ok(())
}

unsafe extern "C" fn set(cache: *mut ffi::PyObject, key: *mut ffi::PyObject, value: *mut ffi::PyObject) -> c_int {
    // SAFETY: the interpreter calls this with the thread attached, an instance of the class, a key, and a value or null,
    // all of which live as long as the call.
    let (py, own, key_of, value_of) = unsafe {
        let py = Python::assume_attached();
        let own = Borrowed::from_ptr(py, cache).cast_unchecked::<LRUCache>();
        (py, own, Borrowed::from_ptr(py, key), Borrowed::from_ptr_or_opt(py, value))
    };
    let store = || value_of.map_or(Err(NotQuick), |value| own.get().quick_store(&key_of, &value));
    match (catch_unwind(AssertUnwindSafe(store)), GENERAL.get(py)) {
        (Ok(Ok(())), _) => 0,
        // SAFETY: it is what the interpreter would have called, with what it is called with.
        (Ok(Err(NotQuick)), Some(general)) => unsafe { general(cache, key, value) },
        _ => {
            failed().restore(py);
            -1
        }
    }
}

fn failed() -> PyErr {
    PyRuntimeError::new_err("the core failed; nothing was changed")
}

unsafe extern "C" fn get(
    cache: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this with the thread attached, an instance of the class, and `count` arguments,
    // all of which live as long as the call.
    let (py, cache, arguments) = unsafe {
        let py = Python::assume_attached();
        let cache = Borrowed::from_ptr(py, cache).cast_unchecked::<LRUCache>();
        // Without arguments the pointer to them may be none.
        let count = usize::try_from(count).unwrap_or_default();
        (py, cache, if count == 0 { &[] } else { std::slice::from_raw_parts(args, count) })
    };
    let look = || match arguments {
        [key] | [key, _] => {
            // SAFETY: as above.
            let key = unsafe { Borrowed::from_ptr(py, *key) };
            match cache.get().quick_value(&key) {
                Ok(found) => Ok(found),
                // What is dropped there needs to know that the thread is attached.
                Err(NotQuick) => Python::attach(|_| cache.get().value(&key)),
            }
        }
        _ => Err(PyTypeError::new_err("get takes a key and at most one default")),
    };
    let found = catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|_| Err(failed()));
    match (found, arguments) {
        (Ok(Some(value)), _) => value.into_ptr(),
        // SAFETY: the default lives as long as the call; its new reference is the caller's.
        (Ok(None), [_, default]) => unsafe { ffi::Py_NewRef(*default) },
        (Ok(None), _) => py.None().into_ptr(),
        (Err(error), _) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}
