//! Building records: from arguments, from dicts, from JSON text.
//!
//! The constructor is called through vectorcall: `#[new]` would gather the arguments in a tuple and a dict first,
//! which costs more than encoding them (355 ns against 152 for a message of five fields).

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::encode::{self, Refusal};
use crate::error::wrong_type;
use crate::record::{Class, Text};
use crate::schema::Schema;

/// More fields than any record class has.
const MOST: usize = 12;
/// The largest record.
const MAX_SIZE: usize = 16 * 1024 * 1024;
/// A scratch buffer that has grown larger is not kept.
const KEPT: usize = 256 * 1024;

type Slots<'a, 'py> = [Option<Borrowed<'a, 'py, PyAny>>; MOST];

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lets `body` write into a buffer that is kept between calls. It is taken out meanwhile, so that Python code that
/// runs inside may come back here.
pub fn with_scratch<T>(body: impl FnOnce(&mut Vec<u8>) -> PyResult<T>) -> PyResult<T> {
    let mut buffer = SCRATCH.with(RefCell::take);
    buffer.clear();
    let result = body(&mut buffer);
    if buffer.capacity() <= KEPT {
        SCRATCH.with(|scratch| scratch.replace(buffer));
    }
    result
}

pub fn sized(py: Python<'_>, text: &[u8]) -> PyResult<Text> {
    if text.len() > MAX_SIZE {
        return Err(Refusal::new("a record larger than 16 MiB").raise(py));
    }
    Ok(Text::Own(PyBytes::new(py, text).unbind()))
}

/// The record that these arguments make.
fn from_slots(py: Python<'_>, schema: &Schema, slots: &Slots<'_, '_>) -> PyResult<Text> {
    with_scratch(|out| {
        out.push(b'{');
        for (field, slot) in schema.fields.iter().zip(slots) {
            if slot.is_none() && !field.is_filled_in() {
                if field.required {
                    return Err(PyTypeError::new_err(format!("{}() needs '{}'", schema.name, field.name)));
                }
                continue;
            }
            field.write_key(out);
            match slot {
                Some(value) => field.encode(out, value).map_err(|refusal| refusal.raise(py))?,
                None => field.fill_in(out)?,
            }
            out.push(b',');
        }
        out.pop();
        out.push(b'}');
        sized(py, out)
    })
}

/// The record that a dict stands for, with just its keys.
pub fn from_dict(schema: &Schema, source: &Bound<'_, PyAny>) -> PyResult<Text> {
    let py = source.py();
    let dict = source.cast::<PyDict>().map_err(|_| wrong_type(&format!("a {} or a dict", schema.name), source))?;
    with_scratch(|out| {
        encode::value(out, dict.as_any()).map_err(|refusal| refusal.raise(py))?;
        sized(py, out)
    })
}

/// The values for `replace`: the fields of a record as they are, with some changed.
pub fn replaced(py: Python<'_>, schema: &Schema, text: &[u8], changes: &Bound<'_, PyDict>) -> PyResult<Text> {
    let members = crate::decode::value(py, text)?.cast_into::<PyDict>()?;
    for (key, value) in changes {
        let name = key.cast::<PyString>()?.to_str()?;
        let field = schema.fields.iter().find(|field| field.name == name).ok_or_else(|| unexpected(schema, name))?;
        let encoded = with_scratch(|out| {
            field.encode(out, &value).map_err(|refusal| refusal.raise(py))?;
            crate::decode::value(py, out)
        })?;
        members.set_item(key, encoded)?;
    }
    from_dict(schema, members.as_any())
}

fn unexpected(schema: &Schema, name: &str) -> PyErr {
    PyTypeError::new_err(format!("{}() has no field '{name}'; from_dict keeps unknown keys", schema.name))
}

/// Which field each keyword of a call site names. The tuple of names is one object for all calls from one place in
/// the source, so it need only be read once.
struct Plan {
    names: Py<PyTuple>,
    fields: [usize; MOST],
}

type Plans = [Option<Plan>; 16];

thread_local! {
    static PLANS: RefCell<Plans> = const { RefCell::new([const { None }; 16]) };
}

fn plan(schema: &Schema, names: &Bound<'_, PyTuple>) -> PyResult<Plan> {
    let mut fields = [0; MOST];
    for (to, name) in fields.iter_mut().zip(names.iter_borrowed()) {
        *to = position(schema, name)?;
    }
    if names.len() > MOST {
        return Err(unexpected(schema, "so many arguments"));
    }
    Ok(Plan { names: names.clone().unbind(), fields })
}

/// The fields that these keywords name, in their order.
fn planned(class: Class, names: &Bound<'_, PyTuple>) -> PyResult<[usize; MOST]> {
    let slot = names.as_ptr() as usize / 16 % 4 + 4 * class as usize;
    let known = PLANS.with_borrow(|plans| match plans.get(slot) {
        Some(Some(plan)) if plan.names.as_ptr() == names.as_ptr() => Some(plan.fields),
        _ => None,
    });
    if let Some(fields) = known {
        return Ok(fields);
    }
    let made = plan(class.schema(), names)?;
    let fields = made.fields;
    let old = PLANS.with_borrow_mut(|plans| plans.get_mut(slot).and_then(|place| place.replace(made)));
    drop(old);
    Ok(fields)
}

fn position(schema: &Schema, key: Borrowed<'_, '_, PyAny>) -> PyResult<usize> {
    let key = key.cast::<PyString>()?;
    let name = key.to_str()?;
    schema.fields.iter().position(|field| field.name == name).ok_or_else(|| unexpected(schema, name))
}

fn set<'a, 'py>(
    schema: &Schema,
    slots: &mut Slots<'a, 'py>,
    at: usize,
    value: Borrowed<'a, 'py, PyAny>,
) -> PyResult<()> {
    match slots.get_mut(at) {
        Some(slot) if slot.is_none() => {
            *slot = Some(value);
            Ok(())
        }
        _ => {
            let name = schema.fields.get(at).map_or("", |field| field.name);
            Err(PyTypeError::new_err(format!("{}() was given '{name}' twice", schema.name)))
        }
    }
}

/// The record made of positional arguments and of named ones, given with the field of each.
fn from_arguments<'a, 'py: 'a>(
    py: Python<'py>,
    schema: &Schema,
    given: impl ExactSizeIterator<Item = Borrowed<'a, 'py, PyAny>>,
    named: impl Iterator<Item = (usize, Borrowed<'a, 'py, PyAny>)>,
) -> PyResult<Text> {
    let mut slots = Slots::default();
    if given.len() > schema.positional.len() {
        let most = schema.positional.len();
        return Err(PyTypeError::new_err(format!("{}() takes at most {most} positional arguments", schema.name)));
    }
    for (value, at) in given.zip(schema.positional) {
        set(schema, &mut slots, *at, value)?;
    }
    for (at, value) in named {
        set(schema, &mut slots, at, value)?;
    }
    from_slots(py, schema, &slots)
}

/// The record made by a call with a tuple and a dict.
pub fn from_call(class: Class, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Text> {
    let schema = class.schema();
    let given: Vec<_> = args.iter().collect();
    let named: Vec<_> = kwargs.into_iter().flatten().collect();
    let fields: PyResult<Vec<_>> = named.iter().map(|(key, _)| position(schema, key.as_borrowed())).collect();
    let named = fields?.into_iter().zip(named.iter().map(|(_, value)| value.as_borrowed()));
    from_arguments(args.py(), schema, given.iter().map(Bound::as_borrowed), named)
}

/// The body of the vectorcall functions of the record classes.
///
/// # Safety
/// To be called by the interpreter as PEP 590 says: attached, `args` holding `nargsf` values and then one for each
/// name in `kwnames`.
pub unsafe fn vectorcall(
    class: Class,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this with the thread attached.
    let py = unsafe { Python::assume_attached() };
    let call = || {
        // SAFETY: as PEP 590 promises.
        let record = unsafe { from_vector(py, class, args, nargsf, kwnames) }?;
        class.wrap(py, record)
    };
    let made = catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(PyRuntimeError::new_err("the core failed; nothing was changed")));
    match made {
        Ok(object) => object.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

unsafe fn from_vector(
    py: Python<'_>,
    class: Class,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    kwnames: *mut ffi::PyObject,
) -> PyResult<Text> {
    // SAFETY: `nargsf` is what the interpreter passed.
    let count = usize::try_from(unsafe { ffi::PyVectorcall_NARGS(nargsf) })?;
    // SAFETY: `kwnames` is null or a tuple.
    let keywords = unsafe { Borrowed::from_ptr_or_opt(py, kwnames) };
    let keywords = keywords.as_ref().map(|names| names.cast::<PyTuple>()).transpose()?;
    let total = count + keywords.map_or(0, |names| names.len());
    // SAFETY: `args` holds so many borrowed references; it may be null only when there are none.
    let values = if total == 0 { &[] } else { unsafe { slice::from_raw_parts(args, total) } };
    // SAFETY: each is a live object for the time of the call.
    let value = |at: &*mut ffi::PyObject| unsafe { Borrowed::from_ptr(py, *at) };
    let (given, rest) = values.split_at_checked(count).unwrap_or_default();
    let fields = keywords.map(|names| planned(class, &names)).transpose()?.unwrap_or_default();
    from_arguments(py, class.schema(), given.iter().map(value), fields.into_iter().zip(rest.iter().map(value)))
}
