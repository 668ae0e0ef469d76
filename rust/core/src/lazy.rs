//! What is made of something else when it is first asked for, which that is then let go of.

use std::sync::{Mutex, OnceLock};

use crate::segment::lock;

#[derive(Debug)]
pub struct Lazy<T, F> {
    made: OnceLock<T>,
    /// What it is to be made of.
    waiting: Mutex<Option<F>>,
}

impl<T, F: Clone> Lazy<T, F> {
    pub fn made(made: T) -> Self {
        Self { made: OnceLock::from(made), waiting: Mutex::new(None) }
    }

    pub fn waiting(from: F) -> Self {
        Self { made: OnceLock::new(), waiting: Mutex::new(Some(from)) }
    }

    /// None never comes: what is not made waits.
    pub fn get(&self, make: impl FnOnce(&F) -> T) -> Option<&T> {
        if let Some(made) = self.made.get() {
            return Some(made);
        }
        // Not under the lock: who has the rows may wait for another thread, and that one for the lock.
        let waiting = lock(&self.waiting).clone();
        if let Some(from) = waiting {
            drop(self.made.set(make(&from)));
            // Let go of behind the lock, as above.
            let _done = lock(&self.waiting).take();
        }
        self.made.get()
    }

    /// What it is to be made of, if it is not made yet.
    pub fn pending(&self) -> Option<F> {
        if self.made.get().is_some() { None } else { lock(&self.waiting).clone() }
    }

    pub fn get_mut(&mut self, make: impl FnOnce(&F) -> T) -> Option<&mut T> {
        self.get(make);
        self.made.get_mut()
    }

    /// What was made.
    pub fn take(&mut self) -> Option<T> {
        self.made.take()
    }
}
