//! How much of the thread's stack a function may take that Python code can call from inside of itself.

use std::cell::Cell;

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;

/// So many bytes a call inside of others may find taken since the outermost one. One call takes about an eighth of it
/// at most: a thread of 2 MB has room for both.
const MOST: usize = 1 << 20;

thread_local! {
    /// Where the stack stood when the outermost call began; 0 outside of all.
    static OUTERMOST: Cell<usize> = const { Cell::new(0) };
}

/// Runs `body`. Raises `RecursionError` if it was called inside of itself until the stack might end: the interpreter's
/// own limit counts calls, and one call may be hundreds of values deep.
pub fn within<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    let mark = 0_u8;
    let here = std::ptr::from_ref(&mark).addr();
    let before = OUTERMOST.get();
    if before == 0 {
        OUTERMOST.set(here);
        let _outermost = Outermost;
        return body();
    }
    // A stack grows downwards.
    if before.saturating_sub(here) > MOST {
        return Err(PyRecursionError::new_err("dumps was called again and again inside of itself"));
    }
    body()
}

struct Outermost;

impl Drop for Outermost {
    fn drop(&mut self) {
        OUTERMOST.set(0);
    }
}
