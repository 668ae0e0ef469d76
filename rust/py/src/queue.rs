//! `Queue`: writes that wait, those of one session in their order.

use std::collections::{HashMap, VecDeque};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

/// A session that has a write under way has its next ones put aside, so that none of them is looked at again before
/// that is done.
#[derive(Default)]
pub struct Queue {
    next: VecDeque<Py<PyAny>>,
    /// By the id of their session.
    aside: HashMap<Box<str>, VecDeque<Py<PyAny>>>,
}

impl Queue {
    /// No write that may be taken now.
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// How many may be taken now.
    pub fn len(&self) -> usize {
        self.next.len()
    }

    pub fn push(&mut self, write: Py<PyAny>) {
        self.next.push_back(write);
    }

    pub fn push_first(&mut self, write: Py<PyAny>) {
        self.next.push_front(write);
    }

    pub fn pop(&mut self) -> Option<Py<PyAny>> {
        self.next.pop_front()
    }

    /// Puts a write aside, behind the others of its session.
    pub fn put_aside(&mut self, session_id: &str, write: Py<PyAny>) {
        self.of(session_id).push_back(write);
    }

    /// Puts a write aside, before the others of its session.
    pub fn put_aside_first(&mut self, session_id: &str, write: Py<PyAny>) {
        self.of(session_id).push_front(write);
    }

    /// The first of a session that was put aside is the next of all.
    pub fn resume(&mut self, session_id: &str) {
        let Some(writes) = self.aside.get_mut(session_id) else { return };
        if let Some(write) = writes.pop_front() {
            self.next.push_front(write);
        }
        if writes.is_empty() {
            self.aside.remove(session_id);
        }
    }

    /// What was put aside goes before all others.
    pub fn resume_all(&mut self) {
        for (_, writes) in self.aside.drain() {
            writes.into_iter().rev().for_each(|write| self.next.push_front(write));
        }
    }

    pub fn clear(&mut self) {
        self.next.clear();
        self.aside.clear();
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.next.iter().chain(self.aside.values().flatten()).try_for_each(|write| visit.call(write))
    }

    fn of(&mut self, session_id: &str) -> &mut VecDeque<Py<PyAny>> {
        self.aside.entry(session_id.into()).or_default()
    }
}
