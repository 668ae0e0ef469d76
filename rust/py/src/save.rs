//! `Save`: what every save runs through, from the state it was frozen at to the version it has become.

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyInt, PyList, PyString, PyTuple};
use swisper_core::field::Field;
use swisper_core::frame::{Frame, Token};

use crate::attached::Attached;
use crate::decode;
use crate::delta::Delta;
use crate::sealing::Sealing;
use crate::snapshot::{Snapshot, array};
use crate::waiting::Waiter;
use crate::{named, random};

/// The field that says how long a session is kept, and the list that is counted.
const POLICY: &str = "data_retention_policy";
const MESSAGES: &str = "conversation_history";

/// The time of expiry of a session that is kept for ever, until it is stored.
const NEVER: i64 = i64::MAX;

/// So many bytes take about 3 ms to be compressed.
pub const LARGE: usize = 1024 * 1024;

/// See `_core.pyi`.
#[pyclass(subclass, module = "swisper_ctx._core")]
pub struct Save {
    #[pyo3(get)]
    store: Py<PyAny>,
    #[pyo3(get)]
    context: Py<PyAny>,
    #[pyo3(get)]
    position: Py<PyAny>,
    #[pyo3(get)]
    pub session_id: Py<PyString>,
    #[pyo3(get)]
    change_id: Option<Py<PyString>>,
    #[pyo3(get)]
    ttl: Option<Py<PyInt>>,
    #[pyo3(get, set)]
    delta: Py<Delta>,
    #[pyo3(get, set)]
    before: Py<Snapshot>,
    #[pyo3(get, set)]
    snapshot: Py<Snapshot>,
    token: Token,
    /// When it was handed over, for its change.
    #[pyo3(get, set)]
    since: Py<PyAny>,
    #[pyo3(get, set)]
    etag: Option<Py<PyTuple>>,
    #[pyo3(get, set)]
    pub size: usize,
    /// A large frame that was made before its turn has come, for the change that is made then.
    pub sealed: Option<Py<PyBytes>>,
    #[pyo3(get, set)]
    expires_at: Option<i64>,
    #[pyo3(get, set)]
    pub done: bool,
    #[pyo3(get, set)]
    lost: bool,
    #[pyo3(get, set)]
    merges: usize,
    #[pyo3(get, set)]
    pub error: Option<Py<PyAny>>,
    pub waiters: Vec<Py<Waiter>>,
}

#[pymethods]
impl Save {
    #[new]
    #[pyo3(signature = (store, context, delta, before, change_id=None, ttl=None))]
    fn new(
        store: Py<PyAny>,
        context: Bound<'_, PyAny>,
        delta: Bound<'_, Delta>,
        before: Py<Snapshot>,
        change_id: Option<Py<PyString>>,
        ttl: Option<Py<PyInt>>,
    ) -> PyResult<Self> {
        let py = context.py();
        let position = context.getattr(intern!(py, "_position"))?;
        Ok(Self {
            store,
            session_id: position.getattr(intern!(py, "session_id"))?.cast_into::<PyString>()?.unbind(),
            snapshot: position.getattr(intern!(py, "snapshot"))?.cast_into::<Snapshot>()?.unbind(),
            context: context.unbind(),
            position: position.unbind(),
            change_id,
            ttl,
            delta: delta.unbind(),
            before,
            token: random::draw()?,
            since: monotonic(py)?,
            etag: None,
            size: 0,
            sealed: None,
            expires_at: None,
            done: false,
            lost: false,
            merges: 0,
            error: None,
            waiters: Vec::new(),
        })
    }

    pub fn change<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let sealed = slf.try_borrow_mut()?.sealed.take();
        let save = slf.borrow();
        let position = save.position.bind(py);
        let now = save.store.bind(py).getattr(intern!(py, "_clock"))?.call0()?;
        let expected = position.getattr(intern!(py, "etag"))?;
        let epoch = position.getattr(intern!(py, "epoch"))?;
        let frame = save.frame(py, &expected, now.extract()?)?;
        let body = match &sealed {
            Some(body) => body.bind(py).clone(),
            None => save.delta.get().sealed(py, &frame, save.session_id.bind(py).to_str()?, epoch.extract()?)?,
        };
        let size = body.as_bytes().len();
        let kept = (size > LARGE && sealed.is_none()).then(|| body.clone().unbind());
        let head = if expected.is_none() {
            slf.call_method1(intern!(py, "first_head"), (&now,))?
        } else {
            py.None().into_bound(py)
        };
        let projection = if save.store.bind(py).getattr(intern!(py, "shows_copies"))?.is_truthy()? {
            slf.call_method1(intern!(py, "projection"), (expected.is_none(),))?
        } else {
            py.None().into_bound(py)
        };
        let expires_at = Self::expiry(slf, position, frame.time)?;
        let token = PyBytes::new(py, &frame.token).into_any();
        let etag = named::etag(py, [frame.version.into_pyobject(py)?.into_any(), token])?;
        let change = named::change(
            py,
            [
                save.session_id.bind(py).clone().into_any(),
                position.getattr(intern!(py, "user_id"))?,
                expected,
                etag.clone().into_any(),
                body.into_any(),
                save.change_id.as_ref().map(|id| id.bind(py).clone()).into_pyobject(py)?.into_any(),
                save.snapshot.get().count(MESSAGES).into_pyobject(py)?.into_any(),
                head,
                expires_at.into_pyobject(py)?.into_any(),
                epoch,
                projection,
                save.since.bind(py).clone(),
            ],
        )?;
        drop(save);
        let mut save = slf.try_borrow_mut()?;
        (save.size, save.etag, save.expires_at, save.sealed) = (size, Some(etag.unbind()), expires_at, kept);
        Ok(change)
    }

    pub fn sealing(&self, py: Python<'_>) -> PyResult<Sealing> {
        let position = self.position.bind(py);
        let now = self.store.bind(py).getattr(intern!(py, "_clock"))?.call0()?.extract()?;
        let frame = self.frame(py, &position.getattr(intern!(py, "etag"))?, now)?;
        let epoch = position.getattr(intern!(py, "epoch"))?.extract()?;
        Ok(Sealing::new(self.delta.clone_ref(py), &frame, self.session_id.bind(py).to_str()?, epoch))
    }

    fn committed(slf: &Bound<'_, Self>, time: &Bound<'_, PyInt>) -> PyResult<()> {
        Self::note(slf, time)?;
        Self::settle(slf, None)
    }

    #[pyo3(signature = (error))]
    fn settle(slf: &Bound<'_, Self>, error: Option<Py<PyAny>>) -> PyResult<()> {
        let py = slf.py();
        let waiters = {
            let mut own = slf.borrow_mut();
            (own.done, own.error) = (true, error.as_ref().map(|error| error.clone_ref(py)));
            std::mem::take(&mut own.waiters)
        };
        waiters.iter().try_for_each(|waiter| Waiter::answered(waiter.bind(py), error.as_ref(), None))
    }

    fn __await__(slf: &Bound<'_, Self>) -> PyResult<Waiter> {
        Waiter::of(slf)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        for object in [&self.store, &self.context, &self.position] {
            visit.call(object)?;
        }
        self.waiters.iter().try_for_each(|waiter| visit.call(waiter))?;
        visit.call(&self.error)
    }

    fn __clear__(&mut self, py: Python<'_>) {
        for object in [&mut self.store, &mut self.context, &mut self.position] {
            *object = py.None();
        }
        self.error = None;
        self.waiters.clear();
    }
}

impl Save {
    /// Whether making its frame would keep the event loop for long.
    pub fn is_large(&self) -> bool {
        self.delta.get().delta.growth() > LARGE
    }

    /// The frame that it becomes on this state, without its patch.
    fn frame<'a>(&'a self, py: Python<'a>, expected: &Bound<'_, PyAny>, time: i64) -> PyResult<Frame<'a>> {
        let (version, parent) = after(expected)?;
        let change_id = self.change_id.as_ref().map_or(Ok(""), |id| id.bind(py).to_str())?;
        Ok(Frame { version, parent, token: self.token, change_id, time, patch: &[] })
    }

    /// The context now stands at this version; who waits is yet to be told.
    pub fn note(slf: &Bound<'_, Self>, time: &Bound<'_, PyInt>) -> PyResult<()> {
        let py = slf.py();
        let save = slf.borrow();
        let (position, store) = (save.position.bind(py), save.store.bind(py));
        let etag =
            save.etag.as_ref().ok_or_else(|| PyRuntimeError::new_err("a save is committed before it is made"))?;
        let (etag, snapshot) = (etag.bind(py), save.snapshot.bind(py));
        remove(position.getattr(intern!(py, "saves"))?.cast::<PyList>()?, slf)?;
        if position.getattr(intern!(py, "etag"))?.is_none() {
            position.setattr(intern!(py, "created_at"), time)?;
        }
        let version = etag.get_borrowed_item(0)?;
        position.setattr(intern!(py, "etag"), etag)?;
        position.setattr(intern!(py, "version"), version)?;
        position.setattr(intern!(py, "updated_at"), time)?;
        if let Some(time) = save.expires_at {
            position.setattr(intern!(py, "expires_at"), (time != NEVER).then_some(time))?;
        }
        if let Some(change_id) = &save.change_id {
            position.call_method1(intern!(py, "wrote"), (change_id,))?;
        }
        let mark = position.getattr(intern!(py, "mark"))?;
        if !mark.is_none() {
            mark.call_method1(intern!(py, "grew"), (version, save.size))?;
            let checkpointer = store.getattr(intern!(py, "_checkpointer"))?;
            checkpointer.call_method1(intern!(py, "consider"), (position, snapshot, etag))?;
        }
        let told = store.getattr(intern!(py, "_committed"))?;
        if !told.is_none() {
            told.call1((&save.context, position, snapshot))?;
        }
        drop(save);
        slf.borrow_mut().done = true;
        Ok(())
    }

    /// What a policy means, given as its JSON text; one that is no text means nothing.
    fn rule(slf: &Bound<'_, Self>, policy: &[u8], ttl: Option<i64>) -> PyResult<Rule> {
        let py = slf.py();
        let mut last = LAST.replace(py, None);
        if !last.as_ref().is_some_and(|last| *last.policy == *policy && last.ttl == ttl) {
            let text = decode::value(py, policy)?;
            let is_text = text.is_instance_of::<PyString>();
            let found = if is_text { slf.call_method1(intern!(py, "rule"), (text, ttl))?.extract()? } else { None };
            last = Some(Asked { policy: policy.into(), ttl, rule: found });
        }
        let found = last.as_ref().and_then(|last| last.rule);
        LAST.replace(py, last);
        Ok(found)
    }

    /// What it writes as the time of expiry; see `moved_expiry`.
    fn expiry(slf: &Bound<'_, Self>, position: &Bound<'_, PyAny>, now: i64) -> PyResult<Option<i64>> {
        let (py, save) = (slf.py(), slf.borrow());
        let rule = match save.snapshot.get().state.get(POLICY) {
            Some(Field::Value(policy)) => {
                Self::rule(slf, policy.text(), save.ttl.as_ref().map(|ttl| ttl.extract(py)).transpose()?)?
            }
            _ => slf.call_method0(intern!(py, "default_rule"))?.extract()?,
        };
        // A context from elsewhere has the time of its own creation until it becomes a session.
        let is_created = position.getattr(intern!(py, "etag"))?.is_none();
        let created_at = if is_created { None } else { position.getattr(intern!(py, "created_at"))?.extract()? };
        let current = position.getattr(intern!(py, "expires_at"))?.extract()?;
        Ok(moved_expiry(rule, save.delta.get().has_change_of(POLICY), (created_at.unwrap_or(now), now), current))
    }
}

/// How long a session lives, and whether that counts from its creation.
type Rule = Option<(i64, bool)>;

/// What was asked of a policy, as its JSON text, and the answer.
struct Asked {
    policy: Box<[u8]>,
    ttl: Option<i64>,
    rule: Rule,
}

/// What was asked last: most sessions have the same.
static LAST: Attached<Option<Asked>> = Attached::new(None);

/// See `_core.pyi`.
#[pyfunction]
pub fn moved_expiry(rule: Rule, is_new: bool, times: (i64, i64), current: Option<i64>) -> Option<i64> {
    let (ttl, is_from_creation) = rule?;
    if ttl == NEVER {
        return current.and(Some(NEVER));
    }
    let expiry = if is_from_creation { times.0 } else { times.1 }.saturating_add(ttl);
    let is_due = is_new || current.is_none_or(|current| expiry.abs_diff(current) > ttl.unsigned_abs() / 24);
    (is_due && current != Some(expiry)).then_some(expiry)
}

/// Not a clock of Rust: the store reckons with what `time.monotonic` gives.
fn monotonic(py: Python<'_>) -> PyResult<Py<PyAny>> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FUNCTION.import(py, "time", "monotonic")?.call0().map(Bound::unbind)
}

/// The version that follows on an etag, and the token of that.
fn after(expected: &Bound<'_, PyAny>) -> PyResult<(u64, Token)> {
    if expected.is_none() {
        return Ok((1, [0; 16]));
    }
    let etag = expected.cast::<PyTuple>()?;
    let token = etag.get_borrowed_item(1)?;
    let version: u64 = etag.get_borrowed_item(0)?.extract()?;
    Ok((version + 1, array(token.cast::<PyBytes>()?.as_bytes(), "a token")?))
}

/// Takes one of the saves on their way out: nearly always it is the first.
fn remove(saves: &Bound<'_, PyList>, save: &Bound<'_, Save>) -> PyResult<()> {
    for at in 0..saves.len() {
        if saves.get_item(at)?.is(save) {
            return saves.del_item(at);
        }
    }
    Err(PyRuntimeError::new_err("this save is not on its way"))
}
