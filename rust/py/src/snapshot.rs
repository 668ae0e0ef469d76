//! `Snapshot`: one version of a session.

use std::borrow::Cow;
use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDateTime, PyDict, PyList, PyString, PyTuple};
use swisper_core::body::Body;
use swisper_core::checkpoint::{self, About};
use swisper_core::delta::{self as change, Change};
use swisper_core::edits::Tracked;
use swisper_core::error::Error;
use swisper_core::field::{Field, Value};
use swisper_core::list::List;
use swisper_core::open::{self, Opened};
use swisper_core::state::State;

use crate::construct::{taken, with_scratch};
use crate::delta::{Delta, restore};
use crate::error::raise;
use crate::record::Class;
use crate::record_list::RecordList;
use crate::sealed::stored_body;
use crate::stored::Stored;
use crate::stored_rows::{BlockIds, Read, StoredBlocks, stored_rows};
use crate::unwritten::Unwritten;
use crate::{decode, encode, random, time};

/// The fields that are more than JSON values: lists of records with their class, and times.
#[derive(Debug)]
pub struct Declared {
    records: Vec<(String, Class)>,
    times: Vec<String>,
}

/// A checkpoint as Python gets it: head, new blocks, ids of those no longer used, ids of all that are.
type CheckpointTuple<'py> = (Bound<'py, PyBytes>, Bound<'py, PyList>, Vec<Bound<'py, PyBytes>>, Bound<'py, PyBytes>);

fn class_of(fields: &Declared, name: &str) -> Option<Class> {
    fields.records.iter().find(|(own, _)| own == name).map(|(_, class)| *class)
}

pub fn array<const N: usize>(bytes: &[u8], what: &str) -> PyResult<[u8; N]> {
    bytes.try_into().map_err(|_| PyValueError::new_err(format!("{what} has {N} bytes")))
}

/// Most turns change no more fields.
const FEW: usize = 4;

/// See `_core.pyi`.
#[pyclass(frozen, freelist = 16, module = "swisper_ctx._core")]
#[derive(Debug)]
pub struct Snapshot {
    pub state: State,
    pub fields: Arc<Declared>,
    pub session_id: Option<Arc<str>>,
}

impl Snapshot {
    /// A state of a session of this class.
    pub fn of(&self, state: State, session_id: Arc<str>) -> Self {
        Self { state, fields: Arc::clone(&self.fields), session_id: Some(session_id) }
    }

    /// Another state of the same session.
    pub fn at(&self, state: State) -> Self {
        Self { state, fields: Arc::clone(&self.fields), session_id: self.session_id.clone() }
    }

    pub fn is_records(&self, name: &str) -> bool {
        class_of(&self.fields, name).is_some()
    }

    pub fn raise(&self, py: Python<'_>, error: &Error) -> PyErr {
        raise(py, error, self.session_id.as_deref())
    }

    pub fn list(&self, name: &str) -> List {
        match self.state.get(name) {
            Some(Field::Records(list)) => list.clone(),
            _ => List::default(),
        }
    }

    /// A list of records over what this state has of it; None of any other field.
    pub fn record_list(&self, name: &str) -> Option<RecordList> {
        let class = class_of(&self.fields, name)?;
        Some(RecordList::over(self.list(name), class, self.session_id.as_deref().map(str::to_owned)))
    }

    /// The changes of the values among `touched`, of those that are wanted.
    pub fn values(&self, touched: &Bound<'_, PyDict>, is_wanted: impl Fn(&str) -> bool) -> PyResult<Vec<Change>> {
        let mut changes = Vec::new();
        for (key, value) in touched {
            let key = key.cast::<PyString>()?;
            let name = key.to_str()?;
            if is_wanted(name) && !(value.is_exact_instance_of::<RecordList>() && self.is_records(name)) {
                changes.extend(self.value(name, &value)?);
            }
        }
        Ok(changes)
    }

    /// The change of one value; None if it is as it was.
    fn value(&self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<Change>> {
        let py = value.py();
        let is_time = self.fields.times.iter().any(|own| own == name);
        with_scratch(py, |out| {
            let long = if is_time { moment(out, value).map(|()| Vec::new()) } else { encode::with_holes(out, value) }
                .map_err(|refusal| refusal.at(name).raise(py))?;
            let unwritten = (!long.is_empty()).then(|| Unwritten::new(out, long));
            let is_text = |text: &[u8]| unwritten.as_ref().map_or_else(|| text == out.as_slice(), |own| own.is(text));
            let own = self.state.entry(name);
            if matches!(own, Some((_, Field::Value(own))) if is_text(own.text())) {
                return Ok(None);
            }
            let name = own.map_or_else(|| name.into(), |(name, _)| Arc::clone(name));
            let value = unwritten.map_or_else(|| Value::from_box(taken(out)), |own| Value::unwritten(Arc::new(own)));
            Ok(Some(Change::Value(name, value)))
        })
    }

    /// What was done to a list of records; None if nothing was.
    fn edits(&self, name: &str, list: &Bound<'_, RecordList>) -> Option<Change> {
        let mut list = list.borrow_mut();
        let own = self.state.entry(name);
        (list.is_changed() || own.is_none()).then(|| {
            let name = own.map_or_else(|| name.into(), |(name, _)| Arc::clone(name));
            Change::Records(name, list.freeze(), list.class().schema().id_key)
        })
    }

    /// Appends the changes of `touched`, in its order.
    fn take(&self, touched: &Bound<'_, PyDict>, changes: &mut Vec<Change>) -> PyResult<()> {
        for (key, value) in touched {
            let key = key.cast::<PyString>()?;
            let name = key.to_str()?;
            changes.extend(match value.cast_exact::<RecordList>() {
                Ok(list) if self.is_records(name) => self.edits(name, list),
                _ => self.value(name, &value)?,
            });
        }
        Ok(())
    }
}

/// A value field: JSON, or a time.
fn top_level(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> encode::Outcome {
    match value.cast_exact::<PyDateTime>() {
        Ok(moment) => time::datetime(out, moment),
        Err(_) => encode::value(out, value),
    }
}

/// The value of a field that is read back as a time.
fn moment(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> encode::Outcome {
    if value.is_none() || value.is_exact_instance_of::<PyDateTime>() {
        top_level(out, value)
    } else {
        Err(encode::Refusal::new("a datetime or None was expected"))
    }
}

#[pymethods]
impl Snapshot {
    #[new]
    #[pyo3(signature = (records, times = Vec::new()), text_signature = "(records, times=())")]
    fn new(records: Vec<(String, Bound<'_, PyAny>)>, times: Vec<String>) -> PyResult<Self> {
        let records: PyResult<Vec<_>> =
            records.into_iter().map(|(name, class)| Ok((name, Class::of(&class)?))).collect();
        let fields = Arc::new(Declared { records: records?, times });
        Ok(Self { state: State::default(), fields, session_id: None })
    }

    /// `self` gives only the classes of the records.
    #[allow(clippy::too_many_arguments)]
    fn open<'py>(
        &self,
        py: Python<'py>,
        session_id: &str,
        user_id: &str,
        epoch: u32,
        created_at: i64,
        etag: (u64, Bound<'_, PyBytes>),
        head: (u64, Bound<'_, PyBytes>),
        blocks: &Bound<'py, PyTuple>,
        frames: Vec<(u64, Bound<'_, PyBytes>)>,
    ) -> PyResult<(Self, StoredBlocks)> {
        let about = about(session_id, user_id, epoch, created_at, &etag)?;
        let frames: Vec<_> = frames.into_iter().map(|(version, body)| (version, body.as_bytes().to_vec())).collect();
        let is_records = |name: &str| self.is_records(name);
        let source = Arc::new(Read::new(blocks));
        let opened = open::open(&about, head.0, head.1.as_bytes(), source, &frames, &is_records);
        let Opened { state, blocks } = opened.map_err(|error| raise(py, &error, Some(session_id)))?;
        Ok((self.of(state, about.session_id), StoredBlocks(blocks)))
    }

    fn __bool__(&self) -> bool {
        !self.state.is_empty()
    }

    #[getter]
    fn size(&self) -> usize {
        self.state.size()
    }

    #[getter]
    fn unstored_size(&self) -> usize {
        checkpoint::unstored_size(&self.state)
    }

    #[getter]
    fn is_partial(&self) -> bool {
        open::is_partial(&self.state)
    }

    #[getter]
    fn missing<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        open::missing(&self.state).iter().map(|id| PyBytes::new(py, id)).collect()
    }

    fn fill(&self, block_id: &[u8], body: &Bound<'_, PyAny>) -> PyResult<()> {
        open::fill(&self.state, array(block_id, "a block id")?, &stored_body(body)?);
        Ok(())
    }

    #[getter]
    fn names(&self) -> Vec<String> {
        self.state.iter().map(|(name, _)| name.to_owned()).collect()
    }

    fn __contains__(&self, name: &str) -> bool {
        self.state.get(name).is_some()
    }

    fn __repr__(&self) -> String {
        format!("<Snapshot of {} fields>", self.state.iter().count())
    }

    fn stored(&self, name: &str) -> PyResult<Stored> {
        let field = self.state.get(name).cloned().ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        Ok(Stored { field, session_id: self.session_id.clone() })
    }

    fn get<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let field = self.state.get(name);
        if let (Some(list), None | Some(Field::Records(_))) = (self.record_list(name), field) {
            return Ok(Bound::new(py, list)?.into_any());
        }
        let field = field.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        with_scratch(py, |out| {
            field.encode(out).map_err(|error| self.raise(py, &error))?;
            decode::value(py, out)
        })
    }

    pub fn count(&self, name: &str) -> usize {
        match self.state.get(name) {
            Some(Field::Records(list)) => list.len(),
            _ => 0,
        }
    }

    fn to_json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        gathered(py, self.state.likely_size(), |write| self.state.pieces(write).map_err(|error| self.raise(py, &error)))
    }

    fn excerpt<'py>(&self, py: Python<'py>, most: usize) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.state.excerpt(most))
    }

    fn freeze(&self, touched: &Bound<'_, PyDict>) -> PyResult<Option<Delta>> {
        let mut changes = Vec::with_capacity(touched.len().min(FEW));
        if let Err(error) = self.take(touched, &mut changes) {
            // A value that cannot be encoded leaves the lists as they are.
            restore(&changes, touched)?;
            return Err(error);
        }
        Ok(if changes.is_empty() { None } else { Some(self.delta(changes)) })
    }

    fn append(&self, py: Python<'_>, name: &str, record: &Bound<'_, PyAny>) -> PyResult<Delta> {
        let class = class_of(&self.fields, name).ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        let record = class.accept(record)?;
        let id_key = class.schema().id_key;
        let mut tracked = Tracked::new(self.list(name), id_key);
        tracked.push(record.get(py));
        Ok(self.delta(vec![Change::Records(name.into(), tracked.freeze(), id_key)]))
    }

    #[allow(clippy::too_many_arguments)]
    fn checkpoint<'py>(
        &self,
        py: Python<'py>,
        session_id: &str,
        user_id: &str,
        epoch: u32,
        created_at: i64,
        etag: (u64, Bound<'py, PyBytes>),
        stamp: &[u8],
        stored: BlockIds<'py>,
    ) -> PyResult<CheckpointTuple<'py>> {
        let about = about(session_id, user_id, epoch, created_at, &etag)?;
        let stamp = array(stamp, "a stamp")?;
        let stored = stored.get()?.map_err(|error| raise(py, &error, Some(session_id)))?;
        let state = self.state.clone();
        let made = py.detach(|| {
            let mut failed = None;
            let mut fresh = || {
                random::draw().unwrap_or_else(|error| {
                    failed = Some(error);
                    [0; 16]
                })
            };
            let parts = checkpoint::parts(&state, &about, stamp, &stored, &mut fresh);
            failed.map_or(Ok(parts), Err)
        })?;
        let parts = made.map_err(|error| raise(py, &error, Some(session_id)))?;
        let added = PyList::empty(py);
        for block in parts.added {
            let body = block.body.as_ref().map_or(Ok(Cow::default()), Body::bytes);
            let body = body.map_err(|error| raise(py, &error, Some(session_id)))?;
            let (id, body) = (PyBytes::new(py, &block.id), PyBytes::new(py, &body));
            added.append((id, PyString::intern(py, &block.field), block.position, block.records, body))?;
        }
        let dropped = parts.dropped.iter().map(|id| PyBytes::new(py, id)).collect();
        let used = PyBytes::new(py, parts.used.as_flattened());
        Ok((PyBytes::new(py, &parts.head), added, dropped, used))
    }
}

impl Snapshot {
    fn delta(&self, changes: Vec<Change>) -> Delta {
        Delta::new(self, change::Delta::new(self.state.clone(), changes))
    }
}

fn about(
    session_id: &str,
    user_id: &str,
    epoch: u32,
    created_at: i64,
    etag: &(u64, Bound<'_, PyBytes>),
) -> PyResult<About> {
    let token = array(etag.1.as_bytes(), "a token")?;
    Ok(About { session_id: session_id.into(), user_id: user_id.into(), epoch, created_at, version: etag.0, token })
}

/// Bytes that `write` gives piece by piece: where they are not as many as is likely, once more, to count them.
fn gathered(
    py: Python<'_>,
    likely: usize,
    mut write: impl FnMut(&mut dyn FnMut(&[u8])) -> PyResult<()>,
) -> PyResult<Bound<'_, PyBytes>> {
    if let Some(bytes) = gathered_in(py, likely, &mut write)? {
        return Ok(bytes);
    }
    let mut size = 0;
    write(&mut |piece| size += piece.len())?;
    let bytes = gathered_in(py, size, &mut write)?;
    bytes.ok_or_else(|| PyRuntimeError::new_err("the state changed while it was encoded"))
}

/// The same, of just so many bytes; None if there are others.
fn gathered_in<'py>(
    py: Python<'py>,
    size: usize,
    write: &mut impl FnMut(&mut dyn FnMut(&[u8])) -> PyResult<()>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    // SAFETY: a new bytes object of that size, or null with an exception set.
    let bytes = unsafe {
        Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size.try_into()?))?
    };
    // SAFETY: it is a bytes object.
    let to = unsafe { ffi::PyBytes_AS_STRING(bytes.as_ptr()) }.cast_mut().cast::<u8>();
    let (mut at, mut fits) = (0, true);
    write(&mut |piece| {
        fits &= piece.len() <= size - at;
        if fits {
            // SAFETY: so much room is left in the object, which nobody else has seen yet.
            unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), to.add(at), piece.len()) };
            at += piece.len();
        }
    })?;
    if fits && at == size { Ok(Some(bytes.cast_into()?)) } else { Ok(None) }
}

/// See `_core.pyi`.
#[pyfunction]
pub fn plain<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    if let Ok(list) = value.cast_exact::<RecordList>() {
        return list.call_method0("to_dicts");
    }
    if let Ok(stored) = value.cast_exact::<Stored>() {
        let mut text = Vec::new();
        let Stored { field, session_id } = stored.get();
        field.encode(&mut text).map_err(|error| raise(py, &error, session_id.as_deref()))?;
        return if let Field::Records(_) = field { decode::values(py, &text) } else { decode::value(py, &text) };
    }
    with_scratch(py, |out| {
        top_level(out, value).map_err(|refusal| refusal.raise(py))?;
        decode::value(py, out)
    })
}

/// See `_core.pyi`.
#[pyfunction]
pub fn check_block(py: Python<'_>, session_id: &str, epoch: u32, stored: Bound<'_, PyTuple>) -> PyResult<()> {
    let block = PyTuple::new(py, [stored])?;
    let checked = stored_rows(&block)?
        .blocks(0..1, &Read::new(&block))
        .try_for_each(|block| open::check(&session_id.into(), epoch, block));
    checked.map_err(|error| raise(py, &error, Some(session_id)))
}
