//! What a type is to the encoder, found out once for each type.

use std::ffi::c_ulong;
use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDate, PyDateTime, PyDict, PyFloat, PyInt, PyList, PyString, PyTime, PyTuple, PyType};

use crate::attached::Attached;
use crate::dataclass::Dataclass;
use crate::record::Class;
use crate::record_list::RecordList;
use crate::stored::Stored;

/// How the instances of a type are encoded.
#[derive(Debug)]
pub enum Plan {
    Record(Class),
    Records,
    Stored,
    Context,
    Enum,
    DateTime,
    Date,
    Time,
    Uuid,
    ToDict,
    Dataclass(Dataclass),
    Str,
    Int,
    Float,
    /// A dict of another class: its own `items` tell.
    Mapping,
    /// The read-only dict and list, which have no methods of their own for reading.
    Dict,
    List,
    Tuple,
    Unknown,
}

/// The classes of the standard library that are looked for.
struct Known {
    enumeration: Py<PyType>,
    uuid: Py<PyType>,
    read_only_dict: Py<PyType>,
    context: Py<PyString>,
    to_dict: Py<PyString>,
    fields: Py<PyString>,
}

fn known(py: Python<'_>) -> PyResult<&Known> {
    static KNOWN: PyOnceLock<Known> = PyOnceLock::new();
    KNOWN.get_or_try_init(py, || {
        let class = |module: &str, name: &str| -> PyResult<Py<PyType>> {
            Ok(py.import(module)?.getattr(name)?.cast_into::<PyType>()?.unbind())
        };
        let name = |text: &str| PyString::intern(py, text).unbind();
        Ok(Known {
            enumeration: class("enum", "Enum")?,
            uuid: class("uuid", "UUID")?,
            read_only_dict: class("swisper_ctx.readonly", "ReadOnlyDict")?,
            context: name("_json_members"),
            to_dict: name("to_dict"),
            fields: name("__dataclass_fields__"),
        })
    })
}

impl Plan {
    fn of(class: &Bound<'_, PyType>) -> PyResult<Self> {
        let py = class.py();
        let known = known(py)?;
        if let Ok(record) = Class::of(class) {
            return Ok(Self::Record(record));
        }
        let has = |name: &Py<PyString>| class.hasattr(name.bind(py));
        let is = |base: &Bound<'_, PyType>| class.is_subclass(base);
        Ok(if class.is(py.get_type::<RecordList>()) {
            Self::Records
        } else if class.is(py.get_type::<Stored>()) {
            Self::Stored
        } else if has(&known.context)? {
            Self::Context
        } else if is(known.enumeration.bind(py))? {
            Self::Enum
        } else if is(&py.get_type::<PyDateTime>())? {
            Self::DateTime
        } else if is(&py.get_type::<PyDate>())? {
            Self::Date
        } else if is(&py.get_type::<PyTime>())? {
            Self::Time
        } else if is(known.uuid.bind(py))? {
            Self::Uuid
        } else if has(&known.to_dict)? {
            Self::ToDict
        } else if has(&known.fields)? {
            Self::Dataclass(Dataclass::of(class)?)
        } else {
            Self::of_builtin(class, known)?
        })
    }

    fn of_builtin(class: &Bound<'_, PyType>, known: &Known) -> PyResult<Self> {
        let py = class.py();
        Ok(if class.is_subclass_of::<PyString>()? {
            Self::Str
        } else if class.is_subclass_of::<PyInt>()? {
            Self::Int
        } else if class.is_subclass_of::<PyFloat>()? {
            Self::Float
        } else if class.is(known.read_only_dict.bind(py)) {
            Self::Dict
        } else if class.is_subclass_of::<PyDict>()? {
            Self::Mapping
        } else if class.is_subclass_of::<PyList>()? {
            Self::List
        } else if class.is_subclass_of::<PyTuple>()? {
            Self::Tuple
        } else {
            Self::Unknown
        })
    }
}

/// A plan that is kept: it holds for the type at this address as long as that has this tag. The interpreter gives a type
/// another tag, which no type ever had, whenever the type is changed.
#[derive(Default)]
struct Kept {
    class: usize,
    tag: u32,
    plan: Option<Rc<Plan>>,
}

const PLACES: usize = 128;

struct Table([Kept; PLACES]);

// SAFETY: plans are only touched through `Attached`, by one thread at a time.
unsafe impl Send for Table {}

static TABLE: Attached<Option<Box<Table>>> = Attached::new(None);

/// The minor version of a tested interpreter, else 0: then types have no tags that can be read.
static MINOR: Attached<u8> = Attached::new(0);

/// The plans of one call.
#[derive(Default)]
pub struct Seen {
    last: Kept,
    /// Where types have no tags: it holds the types, so that none is freed meanwhile.
    untagged: Vec<(Py<PyType>, Rc<Plan>)>,
}

/// More types than this are looked at anew each time.
const MOST_SEEN: usize = 32;

/// The plan for the type of `value`.
#[inline]
pub fn plan_of(value: &Bound<'_, PyAny>, seen: &mut Seen) -> PyResult<Rc<Plan>> {
    let class = value.get_type_ptr();
    // SAFETY: it is the type of a live object.
    let tag = unsafe { tag(MINOR.get(value.py()), class) };
    match &seen.last.plan {
        Some(plan) if (seen.last.class, seen.last.tag) == (class as usize, tag) => Ok(Rc::clone(plan)),
        _ => another_plan(value, tag, seen),
    }
}

#[inline(never)]
fn another_plan(value: &Bound<'_, PyAny>, tag: u32, seen: &mut Seen) -> PyResult<Rc<Plan>> {
    let (py, class) = (value.py(), value.get_type_ptr());
    if tag == 0 {
        return untagged(value, seen);
    }
    let known = with_place(py, class, |kept| {
        let is_it = (kept.class, kept.tag) == (class as usize, tag);
        if is_it { kept.plan.clone() } else { None }
    });
    let plan = known.map_or_else(|| made(&value.get_type()), Ok)?;
    seen.last = Kept { class: class as usize, tag, plan: Some(Rc::clone(&plan)) };
    Ok(plan)
}

fn untagged(value: &Bound<'_, PyAny>, seen: &mut Seen) -> PyResult<Rc<Plan>> {
    let class = value.get_type();
    if let Some((_, plan)) = seen.untagged.iter().find(|(own, _)| own.is(&class)) {
        seen.last = Kept { class: class.as_ptr() as usize, tag: 0, plan: Some(Rc::clone(plan)) };
        return Ok(Rc::clone(plan));
    }
    let plan = made(&class)?;
    if MINOR.get(value.py()) == 0 && seen.untagged.len() < MOST_SEEN {
        seen.untagged.push((class.unbind(), Rc::clone(&plan)));
    }
    Ok(plan)
}

#[cold]
fn made(class: &Bound<'_, PyType>) -> PyResult<Rc<Plan>> {
    let (py, address) = (class.py(), class.as_type_ptr());
    // A type gets its tag when something is looked for in it.
    class.hasattr("__slots__")?;
    // SAFETY: the type is alive.
    let before = unsafe { tag(MINOR.get(py), address) };
    let plan = Rc::new(Plan::of(class)?);
    // SAFETY: likewise.
    let after = unsafe { tag(MINOR.get(py), address) };
    if before != 0 && before == after {
        let fresh = Kept { class: address as usize, tag: after, plan: Some(Rc::clone(&plan)) };
        // Dropped only here: that may run Python code, which may come back.
        drop(with_place(py, address, |kept| Some(std::mem::replace(kept, fresh))));
    }
    Ok(plan)
}

#[inline]
fn with_place<T>(
    py: Python<'_>,
    class: *mut ffi::PyTypeObject,
    look: impl FnOnce(&mut Kept) -> Option<T>,
) -> Option<T> {
    let mut table =
        TABLE.replace(py, None).unwrap_or_else(|| Box::new(Table(std::array::from_fn(|_| Kept::default()))));
    let place = (class as usize / 16).wrapping_mul(0x9e37_79b9) >> 9;
    let found = table.0.get_mut(place % PLACES).and_then(look);
    TABLE.replace(py, Some(table));
    found
}

/// The tag of a type; 0 if it has none now.
///
/// # Safety
/// The type is alive, and `minor` is that of the interpreter, or 0.
#[inline]
unsafe fn tag(minor: u8, class: *mut ffi::PyTypeObject) -> u32 {
    const VALID: c_ulong = 1 << 19;
    // SAFETY: the caller's promise.
    unsafe {
        // From 3.13 on the flag is not kept.
        let is_valid = minor >= 13 || (minor != 0 && (*class).tp_flags & VALID != 0);
        if is_valid { (*class).tp_version_tag } else { 0 }
    }
}

/// Finds out whether types have tags that can be read; `minor` is given for a tested interpreter.
pub fn probe(py: Python<'_>, minor: Option<u8>) -> PyResult<()> {
    drop(TABLE.replace(py, None));
    MINOR.replace(py, 0);
    let minor = minor.unwrap_or(0);
    if minor != 0 && tags_change(py, minor)? {
        MINOR.replace(py, minor);
    }
    Ok(())
}

/// Whether a type has another tag after it, or a base of it, was changed.
fn tags_change(py: Python<'_>, minor: u8) -> PyResult<bool> {
    let base = py.get_type::<PyType>().call1(("Base", (), PyDict::new(py)))?.cast_into::<PyType>()?;
    let class = py.get_type::<PyType>().call1(("Probe", (&base,), PyDict::new(py)))?.cast_into::<PyType>()?;
    let mut seen = Vec::new();
    for changed in [&class, &base, &class] {
        class.hasattr("name")?;
        // SAFETY: the type is alive.
        seen.push(unsafe { tag(minor, class.as_type_ptr()) });
        changed.setattr("name", seen.len())?;
        // SAFETY: likewise.
        if unsafe { tag(minor, class.as_type_ptr()) } == seen.last().copied().unwrap_or(0) {
            return Ok(false);
        }
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    Ok(seen.len() == count && !seen.contains(&0))
}
