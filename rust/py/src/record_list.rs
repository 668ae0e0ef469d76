//! `RecordList`: a mutable sequence of records that remembers its edits.

pub mod calls;

use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::slice::PySliceIndices;
use pyo3::types::{PyBytes, PyList, PySlice, PyType};
use swisper_core::edits::{Edits, Tracked};
use swisper_core::error::Error;
use swisper_core::field::Field;
use swisper_core::json::member;
use swisper_core::list::List;
use swisper_core::text;

use crate::decode;
use crate::error::{raise, within, wrong_type};
use crate::pydantic;
use crate::record::{Class, Text};
use crate::record_iterator::RecordIterator;
use crate::select::Columns;
use crate::stored::Stored;

/// See `_core.pyi`.
#[pyclass(module = "swisper_ctx", sequence)]
#[derive(Debug)]
pub struct RecordList {
    tracked: Tracked,
    class: Class,
    session_id: Option<String>,
    /// How often records were put elsewhere than behind all others.
    splices: usize,
}

impl RecordList {
    pub fn over(list: List, class: Class, session_id: Option<String>) -> Self {
        Self { tracked: Tracked::new(list, class.schema().id_key), class, session_id, splices: 0 }
    }

    pub fn class(&self) -> Class {
        self.class
    }

    pub fn splices(&self) -> usize {
        self.splices
    }

    /// The records as they are now.
    pub fn stored(&self) -> Stored {
        let session_id = self.session_id.as_deref().map(Arc::from);
        Stored { field: Field::Records(self.tracked.list().clone()), session_id }
    }

    pub fn is_changed(&self) -> bool {
        self.tracked.is_changed()
    }

    pub fn list(&self) -> &List {
        self.tracked.list()
    }

    /// Edits the list until it is like another one; tells whether it was not.
    pub fn lead_to(&mut self, py: Python<'_>, target: &List) -> PyResult<bool> {
        self.splices += 1;
        self.tracked.lead_to(target).map_err(|error| self.raise(py, &error))
    }

    pub fn freeze(&mut self) -> Edits {
        self.tracked.freeze()
    }

    pub fn restore(&mut self, py: Python<'_>, edits: &Edits) -> PyResult<()> {
        self.splices += 1;
        self.tracked.restore(edits).map_err(|error| self.raise(py, &error))
    }

    pub fn unsaved(&self) -> Edits {
        self.tracked.unsaved()
    }

    pub fn rebase(&mut self, unsaved: Edits) {
        self.tracked.rebase(unsaved);
    }

    pub fn insert_saved(&mut self, py: Python<'_>, text: &[u8]) -> PyResult<()> {
        self.splices += 1;
        self.tracked.insert_saved(text).map_err(|error| self.raise(py, &error))
    }

    /// Appends the JSON text of the list.
    pub fn encode(&self, py: Python<'_>, out: &mut Vec<u8>) -> PyResult<()> {
        self.tracked.list().encode(out).map_err(|error| self.raise(py, &error))
    }

    pub fn raise(&self, py: Python<'_>, error: &Error) -> PyErr {
        raise(py, error, self.session_id.as_deref())
    }

    fn len(&self) -> usize {
        self.tracked.list().len()
    }

    pub fn text(&self, py: Python<'_>, index: usize) -> PyResult<Text> {
        let list = self.tracked.list();
        if let Some((packed, at)) = list.shared(index).map_err(|error| self.raise(py, &error))? {
            return Ok(Text::Shared(packed, at));
        }
        let copied = list.visit(index, |text| PyBytes::new(py, text).unbind());
        copied.map(Text::Own).map_err(|error| self.raise(py, &error))
    }

    fn item<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyAny>> {
        self.class.wrap(py, self.text(py, index)?)
    }

    fn append(&mut self, record: &Bound<'_, PyAny>) -> PyResult<()> {
        let text = self.class.accept(record)?;
        self.tracked.push(text.get(record.py()));
        Ok(())
    }

    fn splice(&mut self, py: Python<'_>, start: usize, end: usize, records: &[Text]) -> PyResult<()> {
        self.splices += 1;
        let texts: Vec<_> = records.iter().map(|record| record.get(py)).collect();
        self.tracked.splice(start..end, &texts).map_err(|error| self.raise(py, &error))
    }

    /// Puts records in the place of single ones, of all or of none: one may be damaged, or left in the store.
    fn splice_each<'a>(
        &mut self,
        py: Python<'_>,
        mut edits: impl Iterator<Item = (usize, &'a [Text])>,
    ) -> PyResult<()> {
        let before = self.tracked.clone();
        let done = edits.try_for_each(|(at, records)| self.splice(py, at, at + 1, records));
        if done.is_err() {
            self.tracked = before;
        }
        done
    }

    /// The place that an index means, counted from the end if negative.
    fn place(&self, index: isize) -> PyResult<usize> {
        let from_end = if index < 0 { self.len().checked_add_signed(index) } else { usize::try_from(index).ok() };
        from_end.filter(|&at| at < self.len()).ok_or_else(|| PyIndexError::new_err("list index out of range"))
    }

    fn indices(&self, slice: &Bound<'_, PySlice>) -> PyResult<PySliceIndices> {
        slice.indices(isize::try_from(self.len()).unwrap_or(isize::MAX))
    }

    /// The place before which an insertion goes.
    fn gap(&self, index: isize) -> usize {
        let length = self.len();
        if index < 0 { length.saturating_add_signed(index) } else { index.unsigned_abs().min(length) }
    }
}

/// An index; one that no machine word holds is as far away as can be.
fn as_index(index: &Bound<'_, PyAny>) -> PyResult<isize> {
    match index.extract::<isize>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(index.py()) => {
            Ok(if index.lt(0)? { isize::MIN } else { isize::MAX })
        }
        found => found,
    }
}

/// What stands between the brackets. Its numbers are asked for before the list is looked at, as `list` does: an
/// `__index__` may edit it.
enum Place<'py> {
    One(isize),
    Slice(Bound<'py, PySlice>),
}

impl<'py> Place<'py> {
    fn of(index: &Bound<'py, PyAny>) -> PyResult<Self> {
        let Ok(slice) = index.cast::<PySlice>() else { return as_index(index).map(Self::One) };
        let number = |name: &str| -> PyResult<Option<isize>> {
            let found = slice.getattr(name)?;
            if found.is_none() { Ok(None) } else { as_index(&found).map(Some) }
        };
        let step = number("step")?.unwrap_or(1);
        let (first, last) = if step < 0 { (isize::MAX, isize::MIN) } else { (0, isize::MAX) };
        let (start, stop) = (number("start")?.unwrap_or(first), number("stop")?.unwrap_or(last));
        Ok(Self::Slice(PySlice::new(index.py(), start, stop, step)))
    }
}

/// The places of a slice, in its order.
fn places(range: &PySliceIndices) -> impl Iterator<Item = usize> + use<> {
    let (start, step) = (range.start, range.step);
    (0..range.slicelength).filter_map(move |n| usize::try_from(start + isize::try_from(n).ok()? * step).ok())
}

/// The records that an iterable gives, all taken before a list is changed: Python code runs meanwhile.
fn collect(class: Class, items: &Bound<'_, PyAny>) -> PyResult<Vec<Text>> {
    if let Ok(list) = items.cast_exact::<RecordList>() {
        let list = list.borrow();
        if list.class != class {
            return Err(wrong_type(&format!("a list of {} records", class.schema().name), items));
        }
        let all = 0..list.len();
        return all.map(|n| list.text(items.py(), n)).collect();
    }
    let accept = |(index, item)| {
        let item: Bound<'_, PyAny> = item?;
        class.accept(&item).map_err(|error| within(item.py(), error, index))
    };
    items.try_iter()?.enumerate().map(accept).collect()
}

#[pymethods]
impl RecordList {
    #[new]
    #[pyo3(signature = (record_class, records = None))]
    fn new(record_class: &Bound<'_, PyAny>, records: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let class = Class::of(record_class)?;
        let mut made = Self::over(List::default(), class, None);
        for record in records.map(|items| collect(class, items)).transpose()?.unwrap_or_default() {
            made.tracked.push(record.get(record_class.py()));
        }
        Ok(made)
    }

    #[classmethod]
    fn __class_getitem__<'py>(cls: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        cls.py().import("types")?.getattr("GenericAlias")?.call1((cls, item))
    }

    #[classmethod]
    fn __get_pydantic_core_schema__<'py>(
        cls: &Bound<'py, PyType>,
        source: &Bound<'py, PyAny>,
        handler: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        pydantic::schema(cls.py(), "list_schema", (source, handler))
    }

    #[getter]
    fn record_class<'py>(&self, py: Python<'py>) -> Bound<'py, PyType> {
        self.class.python(py)
    }

    fn __len__(&self) -> usize {
        self.len()
    }

    fn extend(slf: &Bound<'_, Self>, records: &Bound<'_, PyAny>) -> PyResult<()> {
        let class = slf.borrow().class;
        let records = collect(class, records)?;
        let mut list = slf.borrow_mut();
        for record in &records {
            list.tracked.push(record.get(slf.py()));
        }
        Ok(())
    }

    fn __iadd__(slf: &Bound<'_, Self>, records: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::extend(slf, records)
    }

    fn insert(slf: &Bound<'_, Self>, index: isize, record: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut list = slf.borrow_mut();
        let (record, at) = (list.class.accept(record)?, list.gap(index));
        list.splice(slf.py(), at, at, &[record])
    }

    #[pyo3(signature = (index = -1), text_signature = "($self, index=-1)")]
    fn pop<'py>(slf: &Bound<'py, Self>, index: isize) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let mut list = slf.borrow_mut();
        let at = list.place(index)?;
        let record = list.item(py, at)?;
        list.splice(py, at, at + 1, &[])?;
        Ok(record)
    }

    fn clear(&mut self, py: Python<'_>) -> PyResult<()> {
        let length = self.len();
        self.splice(py, 0, length, &[])
    }

    fn reverse(&mut self, py: Python<'_>) -> PyResult<()> {
        let length = self.len();
        let all: PyResult<Vec<_>> = (0..length).rev().map(|n| self.text(py, n)).collect();
        self.splice(py, 0, length, &all?)
    }

    fn remove(slf: &Bound<'_, Self>, record: &Bound<'_, PyAny>) -> PyResult<()> {
        let at = Self::index(slf, record, None, None)?;
        let mut list = slf.borrow_mut();
        list.splice(slf.py(), at, at + 1, &[])
    }

    #[pyo3(signature = (record, start = None, stop = None), text_signature = "($self, record, start=0, stop=...)")]
    fn index(
        slf: &Bound<'_, Self>,
        record: &Bound<'_, PyAny>,
        start: Option<&Bound<'_, PyAny>>,
        stop: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let start = start.map(as_index).transpose()?.unwrap_or(0);
        let stop = stop.map(as_index).transpose()?.unwrap_or(isize::MAX);
        let length = slf.borrow().len();
        let bound = |n: isize| if n < 0 { length.saturating_add_signed(n) } else { n.unsigned_abs().min(length) };
        let stop = bound(stop);
        let mut at = bound(start);
        // Comparing may run Python code that changes the list.
        while at < stop.min(slf.borrow().len()) {
            let item = slf.borrow().item(slf.py(), at)?;
            if item.eq(record)? {
                return Ok(at);
            }
            at += 1;
        }
        Err(PyValueError::new_err("the record is not in the list"))
    }

    /// See `_core.pyi`.
    fn index_of(&self, py: Python<'_>, record_id: &str) -> PyResult<usize> {
        let id_key = self.class.schema().id_key;
        let key = format!("\"{id_key}\"");
        let is_it = |record: &[u8]| match member(record, key.as_bytes())? {
            Some(id @ [b'"', ..]) if !id_key.is_empty() => text::equals(id, record_id),
            _ => Ok(false),
        };
        let found = self.tracked.list().rfind(is_it).map_err(|error| self.raise(py, &error))?;
        found.ok_or_else(|| PyValueError::new_err("no record in the list has this id"))
    }

    fn count(slf: &Bound<'_, Self>, record: &Bound<'_, PyAny>) -> PyResult<usize> {
        let mut found = 0;
        for item in slf.try_iter()? {
            found += usize::from(item?.eq(record)?);
        }
        Ok(found)
    }

    fn __contains__(slf: &Bound<'_, Self>, record: &Bound<'_, PyAny>) -> PyResult<bool> {
        match Self::index(slf, record, None, None) {
            Err(error) if !error.is_instance_of::<PyValueError>(slf.py()) => Err(error),
            found => Ok(found.is_ok()),
        }
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (py, place) = (slf.py(), Place::of(index)?);
        let list = slf.borrow();
        match place {
            Place::One(index) => list.item(py, list.place(index)?),
            Place::Slice(slice) => {
                let items: PyResult<Vec<_>> = places(&list.indices(&slice)?).map(|at| list.item(py, at)).collect();
                Ok(PyList::new(py, items?)?.into_any())
            }
        }
    }

    fn __setitem__(slf: &Bound<'_, Self>, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, class) = (slf.py(), slf.borrow().class);
        let slice = match Place::of(index)? {
            Place::One(index) => {
                let record = class.accept(value)?;
                let mut list = slf.borrow_mut();
                let at = list.place(index)?;
                return list.splice(py, at, at + 1, &[record]);
            }
            Place::Slice(slice) => slice,
        };
        let records = collect(class, value)?;
        let mut list = slf.borrow_mut();
        let range = list.indices(&slice)?;
        if range.step == 1 {
            let start = usize::try_from(range.start).unwrap_or_default();
            return list.splice(py, start, start + range.slicelength, &records);
        }
        if records.len() != range.slicelength {
            let (have, need) = (records.len(), range.slicelength);
            let problem = format!("attempt to assign sequence of size {have} to extended slice of size {need}");
            return Err(PyValueError::new_err(problem));
        }
        list.splice_each(py, places(&range).zip(records.chunks(1)))
    }

    fn __delitem__(slf: &Bound<'_, Self>, index: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, place) = (slf.py(), Place::of(index)?);
        let mut list = slf.borrow_mut();
        let range = match place {
            Place::One(index) => {
                let at = list.place(index)?;
                return list.splice(py, at, at + 1, &[]);
            }
            Place::Slice(slice) => list.indices(&slice)?,
        };
        if range.step == 1 {
            let start = usize::try_from(range.start).unwrap_or_default();
            return list.splice(py, start, start + range.slicelength, &[]);
        }
        let mut places: Vec<_> = places(&range).collect();
        places.sort_unstable();
        list.splice_each(py, places.into_iter().rev().map(|at| (at, [].as_slice())))
    }

    fn __iter__(slf: Bound<'_, Self>) -> RecordIterator {
        RecordIterator::new(slf.unbind())
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if !other.is_exact_instance_of::<Self>() && !other.is_exact_instance_of::<PyList>() {
            return Ok(py.NotImplemented());
        }
        let mut same = slf.borrow().len() == other.len()?;
        let mut at = 0;
        while same && at < slf.borrow().len() && at < other.len()? {
            let own = slf.borrow().item(py, at)?;
            same = own.eq(other.get_item(at)?)?;
            at += 1;
        }
        Ok(same.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    /// A list of the same records that belongs to no context; records cannot change, so that a deep one is the same.
    fn __copy__(&self) -> Self {
        Self::over(self.tracked.list().clone(), self.class, self.session_id.clone())
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        self.__copy__()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyType>, ListParts<'py>)> {
        let (py, list) = (slf.py(), slf.borrow());
        let items: PyResult<Vec<_>> = (0..list.len()).map(|at| list.item(py, at)).collect();
        Ok((py.get_type::<Self>(), (list.class.python(py), PyList::new(py, items?)?)))
    }

    fn __repr__(&self) -> String {
        format!("<RecordList of {} {} records>", self.len(), self.class.schema().name)
    }

    /// See `_core.pyi`.
    #[pyo3(signature = (*names))]
    fn select<'py>(slf: &Bound<'py, Self>, names: Vec<String>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let columns = Columns::new(slf.borrow().class, &names)?;
        // A snapshot: whatever runs while values are made may edit the list.
        let list = slf.borrow().tracked.list().clone();
        let mut rows = Vec::with_capacity(list.len());
        for run in list.runs() {
            let (packed, count) = run.map_err(|error| slf.borrow().raise(py, &error))?;
            for index in 0..count {
                let row = columns.row(py, packed.get(index).unwrap_or_default());
                rows.push(row.map_err(|error| within(py, error, rows.len()))?);
            }
        }
        PyList::new(py, rows)
    }

    /// See `_core.pyi`.
    fn to_dicts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut text = Vec::new();
        self.encode(py, &mut text)?;
        decode::values(py, &text)
    }
}

/// What a list is made from: the class of its records, and the records.
type ListParts<'py> = (Bound<'py, PyType>, Bound<'py, PyList>);
