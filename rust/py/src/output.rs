//! Text that becomes a bytes object: short in a buffer that is kept, long in the object itself.

use std::ptr::null_mut;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use swisper_simd::Sink;

use crate::attached::Attached;

unsafe extern "C" {
    /// Public, although pyo3 does not show it: <https://docs.python.org/3/c-api/bytes.html>.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}

/// What is not longer is copied into an object of its size.
const SHORT: usize = 32 * 1024;
/// An object that is to grow grows to twice its size below this, then by a quarter: no more may be left over.
const LARGE: usize = 1024 * 1024;
const SIZES: usize = 64;

static SCRATCH: Attached<Vec<u8>> = Attached::new(Vec::new());
/// How long the last text was for what has the same kind and length: (a key of both, the size).
static LAST: [Attached<(usize, usize)>; SIZES] = [const { Attached::new((0, 0)) }; SIZES];

/// Stands for an allocation that failed, in an unwinding up to where a `MemoryError` can be raised.
#[derive(Debug)]
pub struct OutOfMemory;

/// See the module.
pub struct Output<'py> {
    py: Python<'py>,
    start: *mut u8,
    /// Behind what was written.
    place: *mut u8,
    end: *mut u8,
    scratch: Vec<u8>,
    /// An owned bytes object of the size of the capacity, which nobody else has seen; null as long as the text is short.
    object: *mut ffi::PyObject,
    key: usize,
}

impl<'py> Output<'py> {
    /// `key` says of what kind and length the value is.
    pub fn new(py: Python<'py>, key: usize) -> Self {
        let mut scratch = SCRATCH.replace(py, Vec::new());
        scratch.clear();
        scratch.reserve(SHORT);
        let mut made =
            Self { py, start: null_mut(), place: null_mut(), end: null_mut(), scratch, object: null_mut(), key };
        // Where the last was too long for the buffer, but not so long that moving it is nothing, an object is made at once.
        let capacity = if (SHORT..LARGE).contains(&made.last()) { 0 } else { made.scratch.capacity() };
        let start = made.scratch.as_mut_ptr();
        made.place(start, 0, capacity);
        made
    }

    /// Where the text lies from now on.
    fn place(&mut self, start: *mut u8, length: usize, capacity: usize) {
        self.start = start;
        self.place = start.wrapping_add(length);
        self.end = start.wrapping_add(capacity);
    }

    fn length(&self) -> usize {
        self.place.addr() - self.start.addr()
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, more: usize) {
        let (needed, capacity) = (self.length() + more, self.end.addr() - self.start.addr());
        let grown = if self.object.is_null() {
            self.move_out(self.first_size(needed))
        } else {
            self.resize(needed.max(capacity + capacity / if capacity < LARGE { 1 } else { 4 }))
        };
        if grown.is_err() {
            std::panic::resume_unwind(Box::new(OutOfMemory));
        }
    }

    /// The last size of the like and a little more, so that it need not grow; twice what is needed if that is unknown.
    fn first_size(&self, needed: usize) -> usize {
        let about = self.last() + self.last() / 16;
        if about > needed { about } else { 2 * needed }
    }

    /// How long the last text of the like was, if it was long; else 0.
    fn last(&self) -> usize {
        let (key, last) = LAST.get(self.key % SIZES).map_or((0, 0), |place| place.get(self.py));
        if key == self.key { last } else { 0 }
    }

    fn move_out(&mut self, size: usize) -> PyResult<()> {
        // SAFETY: a new object of that size, or null with an exception; what was written so far fits.
        unsafe {
            let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size.try_into()?);
            if object.is_null() {
                return Err(PyErr::fetch(self.py));
            }
            let start = ffi::PyBytes_AS_STRING(object).cast_mut().cast::<u8>();
            let length = self.length();
            start.copy_from_nonoverlapping(self.start, length);
            self.object = object;
            self.place(start, length, size);
        }
        Ok(())
    }

    fn resize(&mut self, size: usize) -> PyResult<()> {
        let length = self.length();
        // SAFETY: the object is ours alone. Where this fails, it is freed and the pointer set to null.
        unsafe {
            if _PyBytes_Resize(&raw mut self.object, size.try_into()?) != 0 {
                self.place(null_mut(), 0, 0);
                return Err(PyErr::fetch(self.py));
            }
            self.place(ffi::PyBytes_AS_STRING(self.object).cast_mut().cast(), length, size);
        }
        Ok(())
    }

    /// The text as an object.
    pub fn finish(mut self) -> PyResult<Bound<'py, PyBytes>> {
        let (py, length) = (self.py, self.length());
        if self.object.is_null() {
            // SAFETY: so much of the buffer was written.
            return Ok(PyBytes::new(py, unsafe { std::slice::from_raw_parts(self.start, length) }));
        }
        if let Some(place) = LAST.get(self.key % SIZES) {
            place.replace(py, (self.key, length));
        }
        if self.end.addr() - self.place.addr() > length / 8 {
            self.resize(length)?;
        } else {
            // To give back a small rest would cost more: the pages behind it come and go with each call.
            // SAFETY: the object has more room than its size will say, for the zero at its end too.
            unsafe {
                self.place.write(0);
                (*self.object.cast::<ffi::PyVarObject>()).ob_size = length.try_into()?;
            }
        }
        let object = std::mem::replace(&mut self.object, null_mut());
        // SAFETY: an owned bytes object, which is given up here.
        Ok(unsafe { Bound::from_owned_ptr(py, object).cast_into_unchecked() })
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        SCRATCH.replace(self.py, std::mem::take(&mut self.scratch));
        // SAFETY: null, or an object that is owned here.
        unsafe { ffi::Py_XDECREF(self.object) };
    }
}

// SAFETY: the place stays until it grows.
unsafe impl Sink for Output<'_> {
    #[inline]
    fn room(&mut self, more: usize) -> *mut u8 {
        if self.end.addr() - self.place.addr() < more {
            self.grow(more);
        }
        self.place
    }

    #[inline]
    unsafe fn wrote(&mut self, count: usize) {
        // SAFETY: the caller's promise.
        self.place = unsafe { self.place.add(count) };
    }

    #[inline]
    fn space(&mut self, more: usize) -> (*mut u8, usize) {
        let place = self.room(more);
        (place, self.end.addr() - place.addr())
    }

    #[inline]
    unsafe fn wrote_up_to(&mut self, place: *mut u8) {
        self.place = place;
    }
}

/// Runs `body`, and makes a `MemoryError` of an allocation that failed in it.
pub fn within_memory<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(reason) if reason.is::<OutOfMemory>() => Err(PyMemoryError::new_err("no memory for the text")),
        Err(reason) => std::panic::resume_unwind(reason),
    }
}
