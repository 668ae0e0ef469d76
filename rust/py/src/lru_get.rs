//! `LRUCache.get` as the interpreter calls it: the general way to read arguments costs half as much as the lookup.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::{Borrowed, ffi};

use crate::lru::{LRUCache, NotQuick};

/// A definition that stays where it is, as the interpreter asks.
#[repr(transparent)]
struct Definition(ffi::PyMethodDef);

// SAFETY: nobody writes to it, and its pointers are to constants.
unsafe impl Sync for Definition {}

static GET: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"get".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: get },
    ml_flags: ffi::METH_FASTCALL,
    ml_doc: c"get($self, key, default=..., /)\n--\n\n".as_ptr(),
});

/// Gives the class its method; to be called once, before the class is used.
pub fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<LRUCache>()?;
    let class = py.get_type::<LRUCache>();
    // SAFETY: the type is alive, the definition static; a new reference or NULL with an exception is returned.
    let method = unsafe {
        let definition = (&raw const GET.0).cast_mut();
        Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class.as_type_ptr(), definition))?
    };
    class.setattr("get", method)
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
    let found = catch_unwind(AssertUnwindSafe(look))
        .unwrap_or_else(|_| Err(PyRuntimeError::new_err("the core failed; nothing was changed")));
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
