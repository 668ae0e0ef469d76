//! Building records: from arguments, from dicts, from JSON text.
//!
//! The constructor is called through vectorcall: `#[new]` would gather the arguments in a tuple and a dict first,
//! which costs more than encoding them (355 ns against 152 for a message of five fields).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::attached::Attached;
use crate::encode::{self, Refusal};
use crate::error::wrong_type;
use crate::plan::{self, Plan};
use crate::record::{Class, Text};
use crate::schema::Schema;

/// The largest record.
const MAX_SIZE: usize = 16 * 1024 * 1024;
/// A scratch buffer that has grown larger is not kept.
const KEPT: usize = 256 * 1024;

static SCRATCH: Attached<Vec<u8>> = Attached::new(Vec::new());

/// Lets `body` write into a buffer that is kept between calls. It is taken out meanwhile, so that Python code that
/// runs inside may come back here.
pub fn with_scratch<T>(py: Python<'_>, body: impl FnOnce(&mut Vec<u8>) -> PyResult<T>) -> PyResult<T> {
    let mut buffer = SCRATCH.replace(py, Vec::new());
    buffer.clear();
    let result = body(&mut buffer);
    if buffer.capacity() <= KEPT {
        SCRATCH.replace(py, buffer);
    }
    result
}

/// What was written into it: a copy, or the buffer itself if it would not be kept.
pub fn taken(scratch: &mut Vec<u8>) -> Box<[u8]> {
    if scratch.capacity() <= KEPT { scratch.as_slice().into() } else { std::mem::take(scratch).into_boxed_slice() }
}

pub fn sized(py: Python<'_>, text: &[u8]) -> PyResult<Text> {
    if text.len() > MAX_SIZE {
        return Err(Refusal::new("a record larger than 16 MiB").raise(py));
    }
    Ok(Text::Own(PyBytes::new(py, text).unbind()))
}

/// The record that a plan makes of the arguments of a call.
fn planned<'a, 'py: 'a>(
    py: Python<'py>,
    schema: &Schema,
    plan: &Plan,
    argument: impl Fn(usize) -> Option<Borrowed<'a, 'py, PyAny>>,
) -> PyResult<Text> {
    with_scratch(py, |out| {
        for step in plan.steps() {
            let Some(field) = schema.fields.get(usize::from(step.field)) else { continue };
            field.write_key(out);
            match step.argument.and_then(|at| argument(at.into())) {
                Some(value) => field.encode(out, &value).map_err(|refusal| refusal.raise(py))?,
                None => field.fill_in(out)?,
            }
        }
        // Each name begins with a comma, and the first of them stands where the brace belongs.
        if let Some(first) = out.first_mut() {
            *first = b'{';
        }
        out.push(b'}');
        sized(py, out)
    })
}

/// The record that a dict stands for, with just its keys.
pub fn from_dict(schema: &Schema, source: &Bound<'_, PyAny>) -> PyResult<Text> {
    let py = source.py();
    let dict = source.cast::<PyDict>().map_err(|_| wrong_type(&format!("a {} or a dict", schema.name), source))?;
    with_scratch(py, |out| {
        encode::value(out, dict.as_any()).map_err(|refusal| refusal.raise(py))?;
        sized(py, out)
    })
}

/// The values for `replace`: the fields of a record as they are, with some changed.
pub fn replaced(py: Python<'_>, schema: &Schema, text: &[u8], changes: &Bound<'_, PyDict>) -> PyResult<Text> {
    let members = crate::decode::value(py, text)?.cast_into::<PyDict>()?;
    for (key, value) in changes {
        let name = key.cast::<PyString>()?.to_str()?;
        let field =
            schema.fields.iter().find(|field| field.name == name).ok_or_else(|| plan::unexpected(schema, name))?;
        let encoded = with_scratch(py, |out| {
            field.encode(out, &value).map_err(|refusal| refusal.raise(py))?;
            crate::decode::value(py, out)
        })?;
        members.set_item(key, encoded)?;
    }
    from_dict(schema, members.as_any())
}

/// The record made by a call with a tuple and a dict.
pub fn from_call(class: Class, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Text> {
    let (py, schema) = (args.py(), class.schema());
    let named: Vec<_> = kwargs.into_iter().flatten().collect();
    let names = named.iter().map(|(name, _)| name.cast::<PyString>()?.to_str());
    let plan = Plan::new(schema, args.len(), names)?;
    let values: Vec<_> = args.iter().chain(named.iter().map(|(_, value)| value.clone())).collect();
    planned(py, schema, &plan, |at| values.get(at).map(Bound::as_borrowed))
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
    let schema = class.schema();
    let plan = match keywords {
        Some(names) => plan::of_call(schema, count, &names)?,
        None => Plan::new(schema, count, std::iter::empty())?,
    };
    // SAFETY: each is a live object for the time of the call.
    planned(py, schema, &plan, |at| values.get(at).map(|value| unsafe { Borrowed::from_ptr(py, *value) }))
}
