//! Iteration over a `RecordList`.

use std::sync::Arc;

use pyo3::prelude::*;
use swisper_core::segment::Packed;

use crate::record::Text;
use crate::record_list::RecordList;

/// Iterates over the list as it is at each step, like an iterator over a `list`.
#[pyclass(module = "swisper_ctx")]
#[derive(Debug)]
pub struct RecordIterator {
    /// None once the end was reached: a list that grows later does not revive its iterator.
    list: Option<Py<RecordList>>,
    next: usize,
    run: Option<Run>,
}

/// A sealed segment: it stays where it is until the list is spliced.
#[derive(Debug)]
struct Run {
    packed: Arc<Packed>,
    start: usize,
    splices: usize,
}

impl RecordIterator {
    pub fn new(list: Py<RecordList>) -> Self {
        Self { list: Some(list), next: 0, run: None }
    }
}

impl Run {
    fn get(&self, index: usize, splices: usize) -> Option<Text> {
        let at = index.checked_sub(self.start).filter(|&at| at < self.packed.len() && splices == self.splices)?;
        Some(Text::Shared(Arc::clone(&self.packed), at))
    }
}

#[pymethods]
impl RecordIterator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(list) = &self.list else { return Ok(None) };
        let list = list.bind(py).borrow();
        if self.next >= list.list().len() {
            drop(list);
            self.list = None;
            return Ok(None);
        }
        let text = if let Some(text) = self.run.as_ref().and_then(|run| run.get(self.next, list.splices())) {
            text
        } else {
            let found = list.list().sealed(self.next).map_err(|error| list.raise(py, &error))?;
            self.run = found.map(|(packed, at)| Run { packed, start: self.next - at, splices: list.splices() });
            list.text(py, self.next)?
        };
        self.next += 1;
        list.class().wrap(py, text).map(Some)
    }
}
