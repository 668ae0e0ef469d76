//! What the interpreter calls of a record class directly, past the binding: making a record, reading its fields,
//! `to_json`, freeing it.
//!
//! A record is made and freed at every turn and at every read, and the binding's own ways cost as much as the encoding
//! of a message. They also let the garbage collector follow each record, although there is nothing behind it.

use std::ffi::{CStr, CString, c_void};
use std::mem::{ManuallyDrop, offset_of};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::places::Places;
use crate::record::{Class, Text};

/// A record object as it lies in memory: `check` holds it against what the binding makes.
#[repr(C)]
struct Object {
    head: ffi::PyObject,
    text: ManuallyDrop<Text>,
    places: Places,
}

/// What an attribute of a record reads.
struct Attribute {
    class: Class,
    field: usize,
}

/// A method as the interpreter calls it; it stays where it is, as the interpreter asks.
pub struct Method(pub ffi::PyMethodDef);

// SAFETY: nobody writes to it, and its pointers are to constants.
unsafe impl Sync for Method {}

impl Method {
    /// Gives the method to a class.
    pub fn install(&'static self, class: &Bound<'_, PyType>) -> PyResult<()> {
        let definition = std::ptr::from_ref(&self.0).cast_mut();
        // SAFETY: the class is a type; the definition lives for ever, only read, and its name is text that ends. What
        // comes back is a new reference, or null with an exception.
        let (name, method) = unsafe {
            let method = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
            (CStr::from_ptr(self.0.ml_name), Bound::from_owned_ptr_or_err(class.py(), method)?)
        };
        class.setattr(name, method)
    }
}

static TO_JSON: Method = Method(ffi::PyMethodDef {
    ml_name: c"to_json".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunction: to_json },
    ml_flags: ffi::METH_NOARGS,
    ml_doc: c"to_json($self, /)\n--\n\n".as_ptr(),
});

/// Gives a record class its functions; to be called before there is any record of it.
pub fn replace(class: &Bound<'_, PyType>, vectorcall: ffi::vectorcallfunc) -> PyResult<()> {
    TO_JSON.install(class)?;
    // SAFETY: the type object is alive, and nothing was made of it that the old functions would have to free. A class
    // is called through `tp_vectorcall` (PEP 590). A record holds bytes and nothing else, so it needs no collector.
    unsafe {
        let class = &mut *class.as_type_ptr();
        class.tp_vectorcall = Some(vectorcall);
        class.tp_dealloc = Some(dealloc);
        class.tp_free = Some(ffi::PyObject_Free);
        class.tp_traverse = None;
        class.tp_clear = None;
        class.tp_flags &= !ffi::Py_TPFLAGS_HAVE_GC;
    }
    Ok(())
}

/// Gives a record class an attribute for each of its fields; to be called once.
pub fn add_fields(class: &Bound<'_, PyType>, which: Class) -> PyResult<()> {
    for (field, spec) in which.schema().fields.iter().enumerate() {
        let definition = Box::leak(Box::new(ffi::PyGetSetDef {
            name: CString::new(spec.name)?.into_raw(),
            get: Some(read_field),
            set: None,
            doc: std::ptr::null(),
            closure: std::ptr::from_mut(Box::leak(Box::new(Attribute { class: which, field }))).cast(),
        }));
        // SAFETY: the class is a type; the definition lives for ever. A new reference, or null with an exception.
        let attribute = unsafe {
            let attribute = ffi::PyDescr_NewGetSet(class.as_type_ptr(), definition);
            Bound::from_owned_ptr_or_err(class.py(), attribute)?
        };
        class.setattr(spec.name, attribute)?;
    }
    Ok(())
}

/// Refuses a build of the binding that lays records out in another way; `text` is the address of that of `sample`.
pub fn check(sample: Bound<'_, PyAny>, text: *const Text) -> PyResult<()> {
    let size = sample.get_type().getattr("__basicsize__")?.extract::<usize>()?;
    let at = (text as usize).wrapping_sub(sample.as_ptr() as usize);
    if (at, size) == (offset_of!(Object, text), size_of::<Object>()) {
        return Ok(());
    }
    // It cannot be freed.
    std::mem::forget(sample);
    Err(PyImportError::new_err("records are laid out in another way than swisper_ctx was built for"))
}

/// A new record of a class, which is one of ours.
pub fn record(py: Python<'_>, class: *mut ffi::PyTypeObject, text: Text) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the type has the layout of `Object`, and its memory comes zeroed, which is what new places are; the text
    // is filled in before anybody else sees it.
    unsafe {
        let made = Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(class, 0))?;
        (&raw mut (*made.as_ptr().cast::<Object>()).text).write(ManuallyDrop::new(text));
        Ok(made)
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter frees a record of ours, once; bytes are let go of as the thread is attached. Instances
    // of a heap type hold a reference to it.
    unsafe {
        let class = ffi::Py_TYPE(object);
        match ManuallyDrop::take(&mut (*object.cast::<Object>()).text) {
            Text::Own(bytes) => ffi::Py_DECREF(bytes.into_ptr()),
            Text::Shared(packed, _) => drop(packed),
        }
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}

unsafe extern "C" fn read_field(object: *mut ffi::PyObject, which: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: a descriptor is only asked for an object of its class, by an attached thread, and gives what it was made
    // with.
    let (py, object, which) =
        unsafe { (Python::assume_attached(), &*object.cast::<Object>(), &*which.cast::<Attribute>()) };
    match object.places.read(py, object.text.get(py), which.class, which.field) {
        Ok(value) => value.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn to_json(object: *mut ffi::PyObject, _none: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a method descriptor is only called with an object of its class, by an attached thread.
    unsafe {
        let text = &(*object.cast::<Object>()).text;
        text.to_bytes(Python::assume_attached()).into_ptr()
    }
}
