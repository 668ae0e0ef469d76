//! `Waiter`: what a caller of `save` waits for.
//!
//! A task that waits for it goes on within the callback in which the store answers. A future of asyncio would make
//! another callback of that, which takes as long as the rest of a save and comes a round of the event loop later.

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::save::Save;

/// A future, as a task sees it (`_asyncio_future_blocking`); each await has one of its own.
#[pyclass(module = "swisper_ctx._core")]
pub struct Waiter {
    save: Option<Py<Save>>,
    event_loop: Py<PyAny>,
    /// What wakes the task, and the context to do that in.
    wake: Option<(Py<PyAny>, Py<PyAny>)>,
    outcome: Option<Outcome>,
    #[pyo3(get, set, name = "_asyncio_future_blocking")]
    is_blocking: bool,
}

enum Outcome {
    Written,
    Failed(Py<PyAny>),
    /// With the message of the cancellation.
    Cancelled(Py<PyAny>),
}

#[pymethods]
impl Waiter {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, Self>>> {
        let py = slf.py();
        if slf.borrow().outcome.is_some() {
            return slf.borrow().outcome(py).map(|()| None);
        }
        if let Some(save) = &slf.borrow().save {
            save.borrow_mut(py).waiters.push(slf.clone().unbind());
        }
        slf.borrow_mut().is_blocking = true;
        Ok(Some(slf.clone()))
    }

    fn get_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.clone_ref(py)
    }

    #[pyo3(signature = (callback, *, context))]
    fn add_done_callback(&mut self, callback: Py<PyAny>, context: Py<PyAny>) {
        self.wake = Some((callback, context));
    }

    #[pyo3(signature = (msg = None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let py = slf.py();
        if slf.borrow().outcome.is_some() {
            return Ok(false);
        }
        let save = slf.borrow_mut().save.take();
        if let Some(save) = save {
            save.borrow_mut(py).waiters.retain(|waiter| !waiter.is(slf));
        }
        Self::answer(slf, Outcome::Cancelled(msg.unwrap_or_else(|| py.None())), false)?;
        Ok(true)
    }

    fn result(&self, py: Python<'_>) -> PyResult<()> {
        self.outcome(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.save)?;
        visit.call(&self.event_loop)?;
        if let Some((callback, context)) = &self.wake {
            visit.call(callback)?;
            visit.call(context)?;
        }
        match &self.outcome {
            Some(Outcome::Failed(object) | Outcome::Cancelled(object)) => visit.call(object),
            _ => Ok(()),
        }
    }

    fn __clear__(&mut self, py: Python<'_>) {
        (self.save, self.wake, self.outcome, self.event_loop) = (None, None, None, py.None());
    }
}

impl Waiter {
    /// For a save that may be written or have failed already.
    pub fn of(save: &Bound<'_, Save>) -> PyResult<Self> {
        let py = save.py();
        let own = save.borrow();
        let outcome = own.done.then(|| Outcome::of(py, own.error.as_ref()));
        let event_loop = running_loop(py)?.unbind();
        Ok(Self { save: Some(save.clone().unbind()), event_loop, wake: None, outcome, is_blocking: false })
    }

    /// Its save was written, or has failed. If its task belongs to the event loop `here`, that goes on before this
    /// returns.
    pub fn answered(slf: &Bound<'_, Self>, error: Option<&Py<PyAny>>, here: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let at_once = here.is_some_and(|here| here.is(&slf.borrow().event_loop));
        Self::answer(slf, Outcome::of(slf.py(), error), at_once)
    }

    fn answer(slf: &Bound<'_, Self>, outcome: Outcome, at_once: bool) -> PyResult<()> {
        let py = slf.py();
        let (wake, event_loop) = {
            let mut own = slf.borrow_mut();
            if own.outcome.is_some() {
                return Ok(());
            }
            (own.save, own.outcome) = (None, Some(outcome));
            (own.wake.take(), own.event_loop.clone_ref(py))
        };
        let Some((callback, context)) = wake else { return Ok(()) };
        if at_once {
            return context.call_method1(py, intern!(py, "run"), (callback, slf)).map(drop);
        }
        let options = PyDict::new(py);
        options.set_item(intern!(py, "context"), context)?;
        match event_loop.call_method(py, intern!(py, "call_soon"), (callback, slf), Some(&options)) {
            // The loop of the caller is closed.
            Err(error) if error.is_instance_of::<PyRuntimeError>(py) => Ok(()),
            found => found.map(drop),
        }
    }

    fn outcome(&self, py: Python<'_>) -> PyResult<()> {
        match &self.outcome {
            Some(Outcome::Written) => Ok(()),
            Some(Outcome::Failed(error)) => Err(PyErr::from_value(error.bind(py).clone())),
            Some(Outcome::Cancelled(message)) => {
                static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                let class = CLASS.import(py, "asyncio", "CancelledError")?;
                let message = message.bind(py);
                let error = if message.is_none() { class.call0() } else { class.call1((message,)) };
                Err(PyErr::from_value(error?))
            }
            None => Err(PyRuntimeError::new_err("this save is not answered yet")),
        }
    }
}

impl Outcome {
    fn of(py: Python<'_>, error: Option<&Py<PyAny>>) -> Self {
        error.map_or(Self::Written, |error| Self::Failed(error.clone_ref(py)))
    }
}

fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FUNCTION.import(py, "asyncio", "get_running_loop")?.call0()
}

/// The event loop whose tasks may be let go on here: none where one of them is running.
pub fn between_tasks(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let event_loop = running_loop(py).ok()?;
    let task = FUNCTION.import(py, "asyncio", "current_task").ok()?.call1((&event_loop,)).ok()?;
    task.is_none().then_some(event_loop)
}
