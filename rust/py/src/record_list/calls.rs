//! `RecordList.append` as the interpreter calls it: every turn appends, and the binding's own way costs as much as to
//! append.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::{Borrowed, ffi};

use super::RecordList;
use crate::slots::Method;

static APPEND: Method = Method(ffi::PyMethodDef {
    ml_name: c"append".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunction: append },
    ml_flags: ffi::METH_O,
    ml_doc: c"append($self, record, /)\n--\n\n".as_ptr(),
});

/// Adds the class to the module; to be called once.
pub fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<RecordList>()?;
    APPEND.install(&module.py().get_type::<RecordList>())
}

unsafe extern "C" fn append(list: *mut ffi::PyObject, record: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a method descriptor is only called with an instance of its class and one argument, which live as long as
    // the call, by an attached thread.
    let (py, list, record) = unsafe {
        let py = Python::assume_attached();
        (py, Borrowed::from_ptr(py, list).cast_unchecked::<RecordList>(), Borrowed::from_ptr(py, record))
    };
    let call = || {
        let mut own = list.try_borrow_mut()?;
        match own.class.text_of(&record) {
            Some(text) => own.tracked.push(text.get(py)),
            // Python code may run there, and what it drops needs to know that the thread is attached.
            None => Python::attach(|_| own.append(&record))?,
        }
        Ok(())
    };
    let done = catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(PyRuntimeError::new_err("the core failed; nothing was changed")));
    match done {
        Ok(()) => py.None().into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}
