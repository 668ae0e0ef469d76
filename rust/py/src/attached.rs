//! Values that only the thread attached to the interpreter touches: a thread-local one costs a call each time.

use std::cell::Cell;

use pyo3::prelude::*;

/// A static value. It is taken out, looked at and put back as a whole, so Python code that runs meanwhile may come here
/// again.
pub struct Attached<T>(Cell<T>);

// SAFETY: every access is given a `Python`, which only an attached thread has; the module declares that it needs the
// GIL, so there is one such thread at a time.
unsafe impl<T: Send> Sync for Attached<T> {}

impl<T> Attached<T> {
    pub const fn new(value: T) -> Self {
        Self(Cell::new(value))
    }

    pub fn replace(&self, _py: Python<'_>, value: T) -> T {
        self.0.replace(value)
    }
}

impl<T: Copy> Attached<T> {
    pub fn get(&self, _py: Python<'_>) -> T {
        self.0.get()
    }
}
