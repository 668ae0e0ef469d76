//! `Groups`: the part of a committer that every save runs through.

use std::collections::VecDeque;

use pyo3::exceptions::PyException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyInt, PyList, PySet, PyString, PyTuple, PyType};

use crate::queue::Queue;
use crate::save::Save;
use crate::waiting::{Waiter, between_tasks};

const MOST_IN_GROUP: usize = 512;
/// A group ends after so many bytes of frames: those behind it go with the next one, and need not wait for them.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// More than these are shared among the groups that may be on their way at once, so that their stages overlap.
const FEW: usize = 32;

/// A group: its writes, and their changes.
type Writes<'py> = (Vec<Py<PyAny>>, Bound<'py, PyList>);

/// How far the large write has come whose turn it is.
enum Turn {
    Free,
    /// Its frame is being made in a thread.
    Sealing(Py<PyAny>),
    Sealed(Py<PyAny>),
    /// It is a group by itself.
    UnderWay,
}

/// See `_core.pyi`.
#[pyclass(subclass, module = "swisper_ctx._core")]
pub struct Groups {
    begin: Py<PyAny>,
    in_flight: usize,
    waiting: Queue,
    /// Writes that go alone, one after the other: what is small passes beside them.
    large: VecDeque<Py<PyAny>>,
    turn: Turn,
    /// The ids of the sessions that have a write under way, or a large one.
    busy: Py<PySet>,
    under_way: Vec<Py<Group>>,
    #[pyo3(get, set, name = "loop")]
    event_loop: Option<Py<PyAny>>,
    #[pyo3(get)]
    drained: Py<PyList>,
    is_scheduled: bool,
    /// The last group was one of one write.
    is_lone: bool,
}

#[pymethods]
impl Groups {
    #[new]
    fn new(py: Python<'_>, begin: Py<PyAny>, in_flight: usize) -> PyResult<Self> {
        Ok(Self {
            begin,
            in_flight,
            waiting: Queue::default(),
            large: VecDeque::new(),
            turn: Turn::Free,
            busy: PySet::empty(py)?.unbind(),
            under_way: Vec::new(),
            event_loop: None,
            drained: PyList::empty(py).unbind(),
            is_scheduled: false,
            is_lone: false,
        })
    }

    #[getter]
    fn is_idle(&self) -> bool {
        let is_large_done = self.large.is_empty() && matches!(self.turn, Turn::Free);
        self.under_way.is_empty() && is_large_done && !self.is_scheduled
    }

    fn submit(slf: &Bound<'_, Self>, write: Py<PyAny>) -> PyResult<()> {
        let is_lone = {
            let mut own = slf.borrow_mut();
            own.waiting.push(write);
            if own.is_scheduled || !own.has_room_for_small() {
                return Ok(());
            }
            own.is_lone
        };
        if is_lone { Self::send(slf) } else { Self::schedule(slf) }
    }

    fn resubmit(slf: &Bound<'_, Self>, write: &Bound<'_, PyAny>) -> PyResult<()> {
        let (session_id, _) = about(write)?;
        slf.borrow_mut().waiting.put_aside_first(session_id.to_str()?, write.clone().unbind());
        Self::release(slf, &session_id)
    }

    fn schedule(slf: &Bound<'_, Self>) -> PyResult<()> {
        let event_loop = {
            let mut own = slf.borrow_mut();
            if own.is_scheduled || !own.has_work() {
                return Ok(());
            }
            let Some(event_loop) = &own.event_loop else { return Ok(()) };
            let event_loop = event_loop.clone_ref(slf.py());
            own.is_scheduled = true;
            event_loop
        };
        let send = slf.getattr(intern!(slf.py(), "send"))?;
        event_loop.call_method1(slf.py(), intern!(slf.py(), "call_soon"), (send,)).map(drop)
    }

    fn send(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        slf.borrow_mut().is_scheduled = false;
        while slf.borrow().has_room() {
            let large = Self::take_large(slf)?;
            let is_large = large.is_some();
            let (writes, changes) = match large {
                Some(large) => large,
                None if slf.borrow().has_room_for_small() => Self::take(slf)?,
                None => break,
            };
            if writes.is_empty() {
                break;
            }
            let (is_lone, groups) = (writes.len() == 1 && !is_large, slf.clone().unbind());
            let group = Bound::new(py, Group { groups, writes, changes: changes.clone().unbind(), is_large })?;
            let begin = {
                let mut own = slf.borrow_mut();
                own.is_lone = is_lone;
                own.under_way.push(group.clone().unbind());
                own.begin.clone_ref(py)
            };
            if let Err(error) = begin.bind(py).call1((changes, &group)) {
                Group::answered(&group, None, Some(caught(py, error)?))?;
            }
        }
        Self::seal_next(slf)?;
        Self::rest(slf)
    }

    fn sealed(
        slf: &Bound<'_, Self>,
        write: &Bound<'_, Save>,
        frame: Option<Py<PyBytes>>,
        error: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        slf.borrow_mut().turn =
            if error.is_none() { Turn::Sealed(write.clone().into_any().unbind()) } else { Turn::Free };
        if let Some(error) = error {
            Self::release(slf, write.borrow().session_id.bind(slf.py()))?;
            write.call_method1(intern!(slf.py(), "failed"), (error,))?;
        }
        write.borrow_mut().sealed = frame;
        Self::schedule(slf)?;
        Self::rest(slf)
    }

    fn release(slf: &Bound<'_, Self>, session_id: &Bound<'_, PyString>) -> PyResult<()> {
        let busy = slf.borrow().busy.clone_ref(slf.py());
        if busy.bind(slf.py()).discard(session_id)? {
            slf.borrow_mut().waiting.resume(session_id.to_str()?);
        }
        Ok(())
    }

    fn give_up<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let (groups, busy) = {
            let mut own = slf.borrow_mut();
            own.is_scheduled = false;
            own.waiting.resume_all();
            own.take_back();
            (std::mem::take(&mut own.under_way), own.busy.clone_ref(py))
        };
        busy.bind(py).clear();
        PyList::new(
            py,
            groups.iter().flat_map(|group| group.borrow(py).writes.iter().map(|w| w.clone_ref(py)).collect::<Vec<_>>()),
        )
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.begin)?;
        visit.call(&self.event_loop)?;
        visit.call(&self.drained)?;
        self.waiting.traverse(&visit)?;
        self.large.iter().try_for_each(|write| visit.call(write))?;
        if let Turn::Sealing(write) | Turn::Sealed(write) = &self.turn {
            visit.call(write)?;
        }
        self.under_way.iter().try_for_each(|group| visit.call(group))
    }

    fn __clear__(&mut self, py: Python<'_>) {
        (self.begin, self.event_loop) = (py.None(), None);
        self.waiting.clear();
        self.large.clear();
        self.turn = Turn::Free;
        self.under_way.clear();
    }
}

impl Groups {
    fn has_room(&self) -> bool {
        let has_large = matches!(self.turn, Turn::Sealed(_));
        has_large && self.has_room_for_large() || !self.waiting.is_empty() && self.has_room_for_small()
    }

    /// Where several groups may be on their way at once, a large one takes no place of theirs: it is long on its way.
    fn has_room_for_large(&self) -> bool {
        self.in_flight > 1 || self.under_way.is_empty()
    }

    fn has_room_for_small(&self) -> bool {
        let beside = usize::from(self.in_flight > 1 && matches!(self.turn, Turn::UnderWay));
        self.under_way.len() < self.in_flight + beside
    }

    fn has_work(&self) -> bool {
        let is_next = matches!(self.turn, Turn::Free) && !self.large.is_empty();
        !self.waiting.is_empty() || is_next || matches!(self.turn, Turn::Sealed(_))
    }

    /// The large writes that no store was given wait like all others again, before them.
    fn take_back(&mut self) {
        self.large.drain(..).rev().for_each(|write| self.waiting.push_first(write));
        if let Turn::Sealing(write) | Turn::Sealed(write) = std::mem::replace(&mut self.turn, Turn::Free) {
            self.waiting.push_first(write);
        }
    }

    fn most_in_group(&self) -> usize {
        let waiting = self.waiting.len();
        let is_shared = self.in_flight > 1 && waiting > FEW;
        if is_shared { MOST_IN_GROUP.min(waiting / 2) } else { MOST_IN_GROUP }
    }

    /// The large write whose frame is made, as the group that it is.
    fn take_large<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Writes<'py>>> {
        let py = slf.py();
        let write = {
            let mut own = slf.borrow_mut();
            match std::mem::replace(&mut own.turn, Turn::UnderWay) {
                Turn::Sealed(write) => write.into_bound(py),
                other => {
                    own.turn = other;
                    return Ok(None);
                }
            }
        };
        match change(&write) {
            Ok(change) => Ok(Some((vec![write.unbind()], PyList::new(py, [change])?))),
            Err(error) => {
                Self::release(slf, &about(&write)?.0)?;
                slf.borrow_mut().turn = Turn::Free;
                write.call_method1(intern!(py, "failed"), (caught(py, error)?,))?;
                Ok(None)
            }
        }
    }

    /// Has the frame of the next large write made, one at a time.
    fn seal_next(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        while matches!(slf.borrow().turn, Turn::Free) {
            let Some(write) = slf.borrow_mut().large.pop_front() else { break };
            if is_sealed(write.bind(py)) {
                slf.borrow_mut().turn = Turn::Sealed(write);
                return Self::schedule(slf);
            }
            slf.borrow_mut().turn = Turn::Sealing(write.clone_ref(py));
            if let Err(error) = slf.call_method1(intern!(py, "seal"), (&write,)) {
                Self::sealed(slf, write.bind(py).cast()?, None, Some(caught(py, error)?))?;
            }
        }
        Ok(())
    }

    /// The next group: at most one write for each session, none of a session that has one under way.
    fn take<'py>(slf: &Bound<'py, Self>) -> PyResult<Writes<'py>> {
        let py = slf.py();
        let busy = slf.borrow().busy.clone_ref(py).into_bound(py);
        let (mut writes, changes) = (Vec::new(), PyList::empty(py));
        let (most, mut bytes) = (slf.borrow().most_in_group(), 0);
        while writes.len() < most && bytes < MOST_BYTES {
            let Some(write) = slf.borrow_mut().waiting.pop() else { break };
            let write = write.into_bound(py);
            let (session_id, is_done) = about(&write)?;
            if busy.contains(&session_id)? {
                slf.borrow_mut().waiting.put_aside(session_id.to_str()?, write.unbind());
                continue;
            }
            if is_done {
                slf.borrow_mut().waiting.resume(session_id.to_str()?);
                continue;
            }
            if write.cast::<Save>().is_ok_and(|save| save.borrow().is_large()) {
                busy.add(session_id)?;
                slf.borrow_mut().large.push_back(write.unbind());
                continue;
            }
            match change(&write) {
                Ok(_) if is_sealed(&write) => {
                    busy.add(session_id)?;
                    slf.borrow_mut().large.push_back(write.unbind());
                }
                Ok(change) => {
                    bytes += frame_length(&change);
                    changes.append(change)?;
                    busy.add(session_id)?;
                    writes.push(write.unbind());
                }
                // Whatever it is, it belongs to the caller of this write.
                Err(error) => {
                    write.call_method1(intern!(py, "failed"), (caught(py, error)?,))?;
                    slf.borrow_mut().waiting.resume(session_id.to_str()?);
                }
            }
        }
        Ok((writes, changes))
    }

    /// Tells who waits for the end of all writes, if this is it.
    fn rest(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let drained = slf.borrow().drained.clone_ref(py);
        if drained.bind(py).is_empty() { Ok(()) } else { slf.call_method0(intern!(py, "rest")).map(drop) }
    }
}

/// The exception that was raised, if it is no order to end the program.
fn caught(py: Python<'_>, error: PyErr) -> PyResult<Bound<'_, PyAny>> {
    if error.is_instance_of::<PyException>(py) {
        Ok(error.into_value(py).into_bound(py).into_any())
    } else {
        Err(error)
    }
}

/// The session of a write, and whether it is settled already.
fn about<'py>(write: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyString>, bool)> {
    let py = write.py();
    if let Ok(save) = write.cast::<Save>() {
        let save = save.borrow();
        return Ok((save.session_id.bind(py).clone(), save.done));
    }
    let session_id = write.getattr(intern!(py, "session_id"))?.cast_into()?;
    Ok((session_id, write.getattr(intern!(py, "done"))?.extract()?))
}

fn change<'py>(write: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match write.cast::<Save>() {
        Ok(save) => Save::change(save).map(Bound::into_any),
        Err(_) => write.call_method0(intern!(write.py(), "change")),
    }
}

/// The bytes of the frame of a `Change`.
fn frame_length(change: &Bound<'_, PyAny>) -> usize {
    const FRAME: usize = 4;
    let parts = change.cast::<PyTuple>().map_or(&[][..], |change| change.as_slice());
    parts.get(FRAME).and_then(|frame| frame.cast::<PyBytes>().ok()).map_or(0, |frame| frame.as_bytes().len())
}

/// Whether the frame of a write is large, and made already.
fn is_sealed(write: &Bound<'_, PyAny>) -> bool {
    write.cast::<Save>().is_ok_and(|save| save.borrow().sealed.is_some())
}

/// Tells a write that it is durable; gives those who wait for it.
fn committed(write: &Bound<'_, PyAny>, time: &Bound<'_, PyAny>) -> PyResult<Vec<Py<Waiter>>> {
    let Ok(save) = write.cast::<Save>() else {
        write.call_method1(intern!(write.py(), "committed"), (time,))?;
        return Ok(Vec::new());
    };
    Save::note(save, time.cast::<PyInt>()?)?;
    Ok(std::mem::take(&mut save.borrow_mut().waiters))
}

/// Lets the tasks go on that have waited; all of them, also if one of them ends the program.
fn wake(py: Python<'_>, waiters: &[Py<Waiter>]) -> PyResult<()> {
    let mut outcome = Ok(());
    let here = if waiters.is_empty() { None } else { between_tasks(py) };
    for waiter in waiters {
        let here = if outcome.is_ok() { here.as_ref() } else { None };
        outcome = outcome.and(Waiter::answered(waiter.bind(py), None, here));
    }
    outcome
}

/// A group under way: called once, with what became of it.
#[pyclass(frozen, module = "swisper_ctx._core")]
pub struct Group {
    groups: Py<Groups>,
    writes: Vec<Py<PyAny>>,
    changes: Py<PyList>,
    is_large: bool,
}

#[pymethods]
impl Group {
    fn __call__(
        slf: &Bound<'_, Self>,
        results: Option<Bound<'_, PyAny>>,
        error: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Self::answered(slf, results, error)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.groups)?;
        visit.call(&self.changes)?;
        self.writes.iter().try_for_each(|write| visit.call(write))
    }
}

impl Group {
    fn answered(
        slf: &Bound<'_, Self>,
        results: Option<Bound<'_, PyAny>>,
        error: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let groups = slf.get().groups.bind(py);
        groups.borrow_mut().under_way.retain(|group| !group.is(slf));
        if slf.get().is_large {
            groups.borrow_mut().turn = Turn::Free;
        }
        let told = slf.get().tell(groups, results, error.as_ref());
        // A task that was cancelled: its event loop is about to end, and takes up nothing else.
        if !error.is_some_and(|error| cancelled(py).is_ok_and(|class| error.is_instance(class).unwrap_or(false))) {
            Groups::schedule(groups)?;
        }
        told.and(Groups::rest(groups))
    }

    fn tell(
        &self,
        groups: &Bound<'_, Groups>,
        results: Option<Bound<'_, PyAny>>,
        error: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = groups.py();
        let results = match results.map(Bound::cast_into::<PyList>) {
            Some(Ok(results)) if results.len() == self.writes.len() => results,
            _ => return groups.call_method1(intern!(py, "fail"), (PyList::new(py, &self.writes)?, error)).map(drop),
        };
        let mut waiters = Vec::new();
        let told = self.note(groups, &results, &mut waiters);
        wake(py, &waiters).and(told)
    }

    /// Tells each write what became of it, and collects who waits for those that are durable.
    fn note(
        &self,
        groups: &Bound<'_, Groups>,
        results: &Bound<'_, PyList>,
        waiters: &mut Vec<Py<Waiter>>,
    ) -> PyResult<()> {
        let py = groups.py();
        for ((write, change), result) in self.writes.iter().zip(self.changes.bind(py)).zip(results) {
            let (write, result) = (write.bind(py), result.cast_into::<PyTuple>()?);
            let time = result.get_borrowed_item(0)?;
            if time.is_none() {
                groups.call_method1(intern!(py, "not_committed"), (write, change, result.get_borrowed_item(1)?))?;
            } else {
                Groups::release(groups, &about(write)?.0)?;
                waiters.append(&mut committed(write, &time)?);
            }
        }
        Ok(())
    }
}

fn cancelled(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, "asyncio", "CancelledError")
}
