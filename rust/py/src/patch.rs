//! `Patch`, `diff` and `apply_patch`.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyIterator, PyList, PyMemoryView, PySlice, PyString, PyType};
use swisper_core::compact::compact;
use swisper_core::compare::Comparison;
use swisper_core::error::Error;
use swisper_core::operations::{Operations, Step};

use crate::construct::{self, with_scratch};
use crate::error::{encode_error, raise, wrong_type};
use crate::objects::{Failure, Object};
use crate::readonly::as_dict;
use crate::record::{Class, Text};
use crate::record_list::RecordList;
use crate::{decode, encode, patched, whole};

/// See `_core.pyi`.
#[pyclass(frozen, sequence, module = "swisper_ctx")]
#[derive(Debug)]
pub struct Patch(Operations);

impl Patch {
    fn of(py: Python<'_>, text: &[u8]) -> PyResult<Self> {
        Operations::parse(text).map(Self).map_err(|error| raise(py, &error, None))
    }

    fn item<'py>(py: Python<'py>, step: &Step) -> PyResult<Bound<'py, PyAny>> {
        with_scratch(py, |out| {
            step.write(out);
            decode::values(py, out)
        })
    }

    fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let items: PyResult<Vec<_>> = self.0.steps().iter().map(|step| Self::item(py, step)).collect();
        PyList::new(py, items?)
    }
}

#[pymethods]
impl Patch {
    #[new]
    #[pyo3(signature = (operations = None))]
    fn new(py: Python<'_>, operations: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(operations) = operations else { return Ok(Self(Operations::default())) };
        if let Ok(own) = operations.cast_exact::<Self>() {
            return Ok(Self(own.get().0.clone()));
        }
        let items: PyResult<Vec<_>> = operations.try_iter()?.collect();
        with_scratch(py, |out| {
            out.push(b'[');
            for (number, item) in items?.iter().enumerate() {
                out.extend_from_slice(if number > 0 { b"," } else { b"" });
                operation(out, item).map_err(|refusal| refusal.at(number.to_string()).raise(py))?;
            }
            out.push(b']');
            Self::of(py, out)
        })
    }

    #[classmethod]
    fn from_json(_cls: &Bound<'_, PyType>, data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = data.py();
        if let Ok(text) = data.cast::<PyString>() {
            return Self::of(py, text.to_str()?.as_bytes());
        }
        let data = bytes(data)?.ok_or_else(|| wrong_type("bytes or a str", data))?;
        Self::of(py, &data)
    }

    fn to_json<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_json())
    }

    fn invert(&self, source: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = source.py();
        let text = Document::of(source)?.text(py)?;
        self.0.invert(&text).map(Self).map_err(|error| raise(py, &error, None))
    }

    fn __len__(&self) -> usize {
        self.0.steps().len()
    }

    fn __getitem__<'py>(&self, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = index.py();
        let steps = self.0.steps();
        if let Ok(slice) = index.cast::<PySlice>() {
            let range = slice.indices(isize::try_from(steps.len())?)?;
            let at = |n: usize| usize::try_from(range.start + range.step * isize::try_from(n).ok()?).ok();
            let chosen = (0..range.slicelength).filter_map(at).filter_map(|at| steps.get(at)).cloned().collect();
            return Self(Operations::new(chosen)).into_bound_py_any(py);
        }
        let index: isize = index.extract()?;
        let at = if index < 0 { steps.len().checked_add_signed(index) } else { usize::try_from(index).ok() };
        let step = at.and_then(|at| steps.get(at)).ok_or_else(|| PyIndexError::new_err("patch index out of range"))?;
        Self::item(py, step)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.list(py)?.try_iter()
    }

    fn __reversed__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let list = self.list(py)?;
        list.reverse()?;
        list.try_iter()
    }

    fn __contains__(&self, py: Python<'_>, operation: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.count(py, operation)? > 0)
    }

    fn count(&self, py: Python<'_>, operation: &Bound<'_, PyAny>) -> PyResult<usize> {
        Ok(self.places(py, operation)?.len())
    }

    #[pyo3(signature = (operation, start = 0, stop = isize::MAX))]
    fn index(&self, py: Python<'_>, operation: &Bound<'_, PyAny>, start: isize, stop: isize) -> PyResult<usize> {
        let length = self.0.steps().len();
        let bound = |at: isize| if at < 0 { length.saturating_add_signed(at) } else { at.unsigned_abs() };
        let range = bound(start)..bound(stop);
        let found = self.places(py, operation)?.into_iter().find(|at| range.contains(at));
        found.ok_or_else(|| PyValueError::new_err("the patch has no such operation"))
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast_exact::<Self>() else { return Ok(py.NotImplemented()) };
        let same = self.0.is_same(&other.get().0).map_err(|error| raise(py, &error, None))?;
        same.into_py_any(py)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for step in self.0.steps() {
            (step.verb.name(), &step.path, &step.from).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        const SHOWN: usize = 3;
        let steps = self.0.steps();
        let mut named: Vec<_> =
            steps.iter().take(SHOWN).map(|step| format!("{} {:?}", step.verb.name(), step.path)).collect();
        if steps.len() > SHOWN {
            named.push(format!("{} more", steps.len() - SHOWN));
        }
        format!("<Patch of {} operations: {}>", steps.len(), named.join(", "))
    }

    fn __str__(&self) -> String {
        self.0.steps().iter().map(Step::to_string).collect::<Vec<_>>().join("\n")
    }

    fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
        slf
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((py.get_type::<Self>().getattr("from_json")?, (self.to_json(py),)))
    }
}

impl Patch {
    /// Where an operation stands; one that is none stands nowhere.
    fn places(&self, py: Python<'_>, operation: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
        let Ok(wanted) = PyList::new(py, [operation]).and_then(|list| Self::new(py, Some(list.as_any()))) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for (at, step) in self.0.steps().iter().enumerate() {
            if wanted.0.is_same(&Operations::new(vec![step.clone()])).map_err(|error| raise(py, &error, None))? {
                found.push(at);
            }
        }
        Ok(found)
    }
}

/// Appends an operation given as a dict, each member of which may be as deep as a value may be.
fn operation(out: &mut Vec<u8>, item: &Bound<'_, PyAny>) -> encode::Outcome {
    let members = as_dict(item).ok_or_else(|| encode::Refusal::new("an operation is a dict"))?;
    out.push(b'{');
    for (number, (key, value)) in members.iter().enumerate() {
        out.extend_from_slice(if number > 0 { b"," } else { b"" });
        encode::name(out, &key)?;
        encode::value(out, &value).map_err(|refusal| refusal.at(key.to_string()))?;
    }
    out.push(b'}');
    Ok(())
}

/// Bytes of any kind; None for anything else.
fn bytes<'a>(data: &'a Bound<'_, PyAny>) -> PyResult<Option<Cow<'a, [u8]>>> {
    if let Ok(data) = data.cast::<PyBytes>() {
        return Ok(Some(Cow::Borrowed(data.as_bytes())));
    }
    if let Ok(data) = data.cast::<PyByteArray>() {
        return Ok(Some(Cow::Owned(data.to_vec())));
    }
    if data.is_instance_of::<PyMemoryView>() {
        return Ok(Some(Cow::Owned(data.call_method0("tobytes")?.extract()?)));
    }
    Ok(None)
}

/// What can be compared and patched.
enum Document<'a, 'py> {
    Plain(&'a Bound<'py, PyAny>),
    Bytes(Cow<'a, [u8]>),
    Record(Class, Text),
    List(&'a Bound<'py, RecordList>),
    Context(whole::Content<'py>),
}

impl<'a, 'py> Document<'a, 'py> {
    fn of(value: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        if value.is_exact_instance_of::<PyDict>() || value.is_exact_instance_of::<PyList>() {
            return Ok(Self::Plain(value));
        }
        if let Some(data) = bytes(value)? {
            return Ok(Self::Bytes(data));
        }
        if let Ok(list) = value.cast_exact::<RecordList>() {
            return Ok(Self::List(list));
        }
        if let Some(content) = whole::content(value)? {
            return Ok(Self::Context(content));
        }
        let record = Class::ALL.iter().find_map(|class| Some((*class, class.unwrap(value)?)));
        Ok(record.map_or(Self::Plain(value), |(class, text)| Self::Record(class, text)))
    }

    /// Its compact JSON text.
    fn text(&self, py: Python<'py>) -> PyResult<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Plain(value) => encode::value(&mut out, value).map_err(|refusal| refusal.raise(py))?,
            Self::Bytes(data) => out = compact(data).map_err(|error| raise(py, &error, None))?.into_owned(),
            Self::Record(_, text) => out.extend_from_slice(text.get(py)),
            Self::List(list) => list.try_borrow()?.encode(py, &mut out)?,
            Self::Context(content) => content.state.encode(&mut out).map_err(|error| content.raise(py, &error))?,
        }
        Ok(out)
    }
}

/// See `_core.pyi`.
#[pyfunction]
pub fn diff<'py>(source: &Bound<'py, PyAny>, target: &Bound<'py, PyAny>) -> PyResult<Patch> {
    let py = source.py();
    let mut found = Comparison::default();
    let failed = |error: Error| raise(py, &error, None);
    match (Document::of(source)?, Document::of(target)?) {
        (Document::Plain(a), Document::Plain(b)) => plain(&mut found, a, b)?,
        (Document::Bytes(a), Document::Bytes(b)) => return between_texts(&a, &b).map(Patch).map_err(failed),
        (Document::Record(_, a), Document::Record(_, b)) => found.texts(a.get(py), b.get(py)).map_err(failed)?,
        (Document::List(a), Document::List(b)) => {
            found.lists(a.try_borrow()?.list(), b.try_borrow()?.list()).map_err(failed)?;
        }
        (Document::Context(a), Document::Context(b)) => {
            found.states(&a.state, &b.state).map_err(|error| a.raise(py, &error))?;
        }
        _ => {
            return Err(PyTypeError::new_err(
                "source and target must be of one kind: both objects, bytes, records, record lists or contexts",
            ));
        }
    }
    Ok(Patch(Operations::new(found.into_steps())))
}

fn plain(found: &mut Comparison, source: &Bound<'_, PyAny>, target: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = source.py();
    let compared = found.values(Object(source.as_borrowed()), Object(target.as_borrowed()));
    compared.map_err(|failure| match failure {
        Failure::Core(error) => encode_error(py, &kind(&error), &found.path),
        Failure::Refusal(refusal) => refusal.raise_below(py, &found.path),
    })
}

fn kind(error: &Error) -> String {
    match error {
        Error::Codec { kind, .. } => kind.text().to_owned(),
        other => other.to_string(),
    }
}

/// Compact text is walked over as it is; for other text the white space is taken out first.
fn between_texts(source: &[u8], target: &[u8]) -> Result<Operations, Error> {
    let compare = |source: &[u8], target: &[u8]| {
        let mut found = Comparison::default();
        found.texts(source, target)?;
        Operations::checked(found.into_steps())
    };
    compare(source, target).or_else(|_| compare(&compact(source)?, &compact(target)?))
}

/// See `_core.pyi`.
#[pyfunction]
pub fn apply_patch<'py>(document: &Bound<'py, PyAny>, patch: &Bound<'py, Patch>) -> PyResult<Bound<'py, PyAny>> {
    let py = document.py();
    let operations = &patch.get().0;
    let failed = |error: Error| raise(py, &error, None);
    match Document::of(document)? {
        Document::Plain(value) => patched::apply(value, operations.steps()),
        Document::Bytes(data) => {
            let patched = compact(&data).and_then(|text| operations.apply(&text)).map_err(failed)?;
            Ok(PyBytes::new(py, &patched).into_any())
        }
        Document::Record(class, text) => {
            let patched = operations.apply(text.get(py)).map_err(failed)?;
            whole::check_record(py, &patched, "")?;
            class.wrap(py, construct::sized(py, &patched)?)
        }
        Document::List(list) => whole::patched_list(list, operations),
        Document::Context(content) => content.patched(py, operations),
    }
}
