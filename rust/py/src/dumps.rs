//! `dumps`: any Python value as JSON text.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDate, PyDateTime, PyDict, PyList, PyString, PyTime, PyTuple};
use swisper_core::error::Error;
use swisper_core::json::{MAX_DEPTH, is_within};
use swisper_simd::Sink;

use crate::encode::{self, Outcome, misfit};
use crate::error::raise;
use crate::output::{Output, within_memory};
use crate::processor::Processor;
use crate::record::Class;
use crate::record_list::RecordList;
use crate::stored::Stored;
use crate::types::{Plan, Seen, plan_of};
use crate::walk::{Policy, Walk, no_key, too_deep};
use crate::{rfc3339, scalar, stack, uuid};

/// The widest indentation.
const WIDEST: isize = 64;

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (obj, *, default = None, sort_keys = false, indent = None))]
pub fn dumps<'py>(
    obj: &Bound<'py, PyAny>,
    default: Option<&Bound<'py, PyAny>>,
    sort_keys: bool,
    indent: Option<isize>,
) -> PyResult<Bound<'py, PyBytes>> {
    if default.is_some_and(|default| !default.is_callable()) {
        return Err(PyTypeError::new_err("default is a function of the value that has no JSON text"));
    }
    match indent {
        None => text(obj, Dumps::<false> { default, sort_keys, indent: 0, indirect: 0, seen: Seen::default() }),
        Some(indent @ 0..=WIDEST) => text(
            obj,
            Dumps::<true> { default, sort_keys, indent: indent.unsigned_abs(), indirect: 0, seen: Seen::default() },
        ),
        Some(_) => Err(PyValueError::new_err(format!("indent is 0 to {WIDEST} spaces"))),
    }
}

fn text<'py, const PRETTY: bool>(
    obj: &Bound<'py, PyAny>,
    policy: Dumps<'_, 'py, PRETTY>,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = obj.py();
    let work = || {
        let mut out = Output::new(py, kind_and_length(obj));
        Walk { out: &mut out, policy }.whole(obj, 0).map_err(|refusal| refusal.raise(py))?;
        out.finish()
    };
    stack::within(|| within_memory(work))
}

/// What tells values apart whose texts are of other sizes.
fn kind_and_length(obj: &Bound<'_, PyAny>) -> usize {
    let length = match (obj.cast::<PyList>(), obj.cast::<PyDict>()) {
        (Ok(list), _) => list.len(),
        (_, Ok(dict)) => dict.len(),
        _ => 0,
    };
    (obj.get_type_ptr() as usize >> 4) ^ length.rotate_left(20) ^ length
}

struct Dumps<'a, 'py, const PRETTY: bool> {
    default: Option<&'a Bound<'py, PyAny>>,
    sort_keys: bool,
    indent: usize,
    /// How many values stand one for the other at this place.
    indirect: usize,
    seen: Seen,
}

impl<const PRETTY: bool> Policy for Dumps<'_, '_, PRETTY> {
    const TUPLES: bool = true;

    #[inline]
    fn indent(&self) -> Option<usize> {
        PRETTY.then_some(self.indent)
    }

    #[inline]
    fn sorts_keys(&self) -> bool {
        self.sort_keys
    }

    unsafe fn other<K: Processor, S: Sink>(
        walk: &mut Walk<'_, S, Self>,
        value: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Outcome {
        let plan = plan_of(value, &mut walk.policy.seen)?;
        match &*plan {
            // SAFETY: the caller's promise.
            Plan::Dataclass(class) => return unsafe { K::object(walk, class, value, depth + 1) },
            Plan::Dict => return walk.dict(value.cast::<PyDict>().map_err(PyErr::from)?, depth + 1),
            Plan::List => return walk.list(value.cast::<PyList>().map_err(PyErr::from)?, depth + 1),
            Plan::Tuple => return walk.tuple(value.cast::<PyTuple>().map_err(PyErr::from)?, depth + 1),
            Plan::Mapping => return mapping(walk, value, depth + 1),
            Plan::Context => return context(walk, value, depth + 1),
            Plan::Enum => return instead(walk, depth, || value.getattr("value")),
            Plan::ToDict => return instead(walk, depth, || value.call_method0("to_dict")),
            Plan::Unknown => return unknown(walk, value, depth),
            Plan::Str => return scalar::string(walk.out, value, b','),
            Plan::Int => return walk.integer(value),
            Plan::Float => return scalar::float(walk.out, value),
            Plan::DateTime => rfc3339::datetime(walk.out, value.cast::<PyDateTime>().map_err(PyErr::from)?)?,
            Plan::Date => rfc3339::date(walk.out, value.cast::<PyDate>().map_err(PyErr::from)?),
            Plan::Time => rfc3339::time(walk.out, value.cast::<PyTime>().map_err(PyErr::from)?)?,
            Plan::Uuid => uuid::write(walk.out, value)?,
            Plan::Record(class) => record(walk, *class, value, depth)?,
            Plan::Records => records(walk, value, depth)?,
            Plan::Stored => stored(walk, value, depth)?,
        }
        walk.out.put(b',');
        Ok(())
    }

    fn other_key<S: Sink>(walk: &mut Walk<'_, S, Self>, key: &Bound<'_, PyAny>) -> Outcome {
        if key.is_instance_of::<PyString>() { scalar::string(walk.out, key, b':') } else { Err(no_key()) }
    }
}

type Own<'w, 'a, 'py, S, const PRETTY: bool> = Walk<'w, S, Dumps<'a, 'py, PRETTY>>;

/// What a function or an attribute gives in the place of a value.
fn instead<'py, S: Sink, const PRETTY: bool>(
    walk: &mut Own<'_, '_, '_, S, PRETTY>,
    depth: usize,
    get: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> Outcome {
    if walk.policy.indirect >= MAX_DEPTH {
        return Err(too_deep());
    }
    let given = get()?;
    walk.policy.indirect += 1;
    let done = walk.value(&given, depth);
    walk.policy.indirect -= 1;
    done
}

fn unknown<S: Sink, const PRETTY: bool>(
    walk: &mut Own<'_, '_, '_, S, PRETTY>,
    value: &Bound<'_, PyAny>,
    depth: usize,
) -> Outcome {
    match walk.policy.default {
        Some(default) => {
            let default = default.clone();
            instead(walk, depth, || default.call1((value,)))
        }
        None => Err(misfit(value, "; default= makes one of others")),
    }
}

/// A dict of another class, whose members its own `items` tells.
fn mapping<S: Sink, P: Policy>(walk: &mut Walk<'_, S, P>, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
    let py = value.py();
    // SAFETY: a new list, or null with an exception.
    let items = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyMapping_Items(value.as_ptr()))? };
    let members = items.try_iter()?.map(|item| item?.extract()).collect::<PyResult<Vec<_>>>()?;
    if walk.policy.sorts_keys() { walk.sorted(members, depth) } else { walk.members(members, depth) }
}

/// A context: its own fields are held to what a context may have.
fn context<S: Sink, P: Policy>(walk: &mut Walk<'_, S, P>, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
    let given = value.call_method0("_json_members")?;
    let mut members: Vec<_> = given.cast::<PyDict>().map_err(PyErr::from)?.iter().collect();
    if walk.policy.sorts_keys() {
        members.sort_by_key(|(name, _)| name.to_string());
    }
    walk.open(b'{', depth)?;
    for (name, value) in &members {
        walk.line(depth);
        scalar::string(walk.out, name, b':')?;
        walk.colon();
        if value.is_exact_instance_of::<Stored>() {
            stored(walk, value, depth)?;
        } else if value.is_exact_instance_of::<RecordList>() {
            records(walk, value, depth)?;
        } else if let Ok(moment) = value.cast_exact::<PyDateTime>() {
            crate::time::datetime(walk.out, moment).map_err(|refusal| refusal.at(name.to_string()))?;
        } else {
            encode::nested(walk.out, value, depth).map_err(|refusal| refusal.at(name.to_string()))?;
        }
        walk.out.put(b',');
    }
    walk.close(b'}', depth, members.is_empty());
    Ok(())
}

fn record<S: Sink, P: Policy>(
    walk: &mut Walk<'_, S, P>,
    class: Class,
    value: &Bound<'_, PyAny>,
    depth: usize,
) -> Outcome {
    let text = class.unwrap(value).ok_or_else(|| misfit(value, ""))?;
    let text = text.get(value.py());
    if !is_within(text, MAX_DEPTH - depth) {
        return Err(too_deep());
    }
    walk.out.append(text);
    Ok(())
}

fn records<S: Sink, P: Policy>(walk: &mut Walk<'_, S, P>, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
    let stored = value.cast::<RecordList>().map_err(PyErr::from)?.borrow().stored();
    field(walk, value.py(), &stored, depth)
}

fn stored<S: Sink, P: Policy>(walk: &mut Walk<'_, S, P>, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
    let stored = value.cast::<Stored>().map_err(PyErr::from)?;
    field(walk, value.py(), stored.get(), depth)
}

fn field<S: Sink, P: Policy>(walk: &mut Walk<'_, S, P>, py: Python<'_>, stored: &Stored, depth: usize) -> Outcome {
    let failed = |error: Error| raise(py, &error, stored.session_id.as_deref());
    if !stored.field.is_within(MAX_DEPTH - depth).map_err(failed)? {
        return Err(too_deep());
    }
    stored.field.pieces(&mut |piece| walk.out.append(piece)).map_err(failed)?;
    Ok(())
}
