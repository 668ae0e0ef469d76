//! Which argument of a call becomes which field of a record.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::attached::Attached;
use crate::schema::{MOST, Schema};

/// A field, and the argument that is its value; None if it is filled in.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub field: u8,
    pub argument: Option<u8>,
}

/// The fields that a record will have, in the order in which they are written.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    steps: [Step; MOST],
    length: usize,
}

impl Plan {
    const EMPTY: Self = Self { steps: [Step { field: 0, argument: None }; MOST], length: 0 };

    /// For a call with so many positional arguments and then the named ones.
    pub fn new<'a>(schema: &Schema, given: usize, names: impl Iterator<Item = PyResult<&'a str>>) -> PyResult<Self> {
        let positional = schema.positional.get(..given).ok_or_else(|| {
            let most = schema.positional.len();
            PyTypeError::new_err(format!("{}() takes at most {most} positional arguments", schema.name))
        })?;
        let mut sources = [None; MOST];
        for (argument, field) in positional.iter().map(|field| Ok(*field)).chain(named(schema, names)).enumerate() {
            let field = field?;
            let source = sources.get_mut(field).filter(|source| source.is_none());
            *source.ok_or_else(|| twice(schema, field))? = u8::try_from(argument).ok();
        }
        Self::of(schema, &sources)
    }

    fn of(schema: &Schema, sources: &[Option<u8>; MOST]) -> PyResult<Self> {
        let mut plan = Self::EMPTY;
        for (at, (field, argument)) in (0..).zip(schema.fields.iter().zip(sources)) {
            if argument.is_none() && field.required {
                return Err(PyTypeError::new_err(format!("{}() needs '{}'", schema.name, field.name)));
            }
            if argument.is_some() || field.is_filled_in() {
                if let Some(step) = plan.steps.get_mut(plan.length) {
                    *step = Step { field: at, argument: *argument };
                }
                plan.length += 1;
            }
        }
        Ok(plan)
    }

    pub fn steps(&self) -> &[Step] {
        self.steps.get(..self.length).unwrap_or_default()
    }
}

/// The fields of these names.
fn named<'a>(schema: &Schema, names: impl Iterator<Item = PyResult<&'a str>>) -> impl Iterator<Item = PyResult<usize>> {
    names.map(|name| {
        let name = name?;
        schema.fields.iter().position(|field| field.name == name).ok_or_else(|| unexpected(schema, name))
    })
}

pub fn unexpected(schema: &Schema, name: &str) -> PyErr {
    PyTypeError::new_err(format!("{}() has no field '{name}'; from_dict keeps unknown keys", schema.name))
}

fn twice(schema: &Schema, field: usize) -> PyErr {
    let name = schema.fields.get(field).map_or("", |field| field.name);
    PyTypeError::new_err(format!("{}() was given '{name}' twice", schema.name))
}

/// The addresses of the class and of the tuple of names, and the number of positional arguments.
type Call = (usize, usize, usize);

/// A plan that is kept. All calls from one place in the source give the same tuple of names, so a plan need be made
/// only once for each; the tuple is held here, or another could come to its address.
struct Kept {
    call: Attached<Call>,
    plan: Attached<Plan>,
    names: Attached<Option<Py<PyTuple>>>,
}

const PLACES: usize = 32;

static KEPT: [Kept; PLACES] =
    [const { Kept { call: Attached::new((0, 0, 0)), plan: Attached::new(Plan::EMPTY), names: Attached::new(None) } };
        PLACES];

/// The plan of a call from source, whose names stand in a tuple of its own.
pub fn of_call(schema: &Schema, given: usize, names: &Bound<'_, PyTuple>) -> PyResult<Plan> {
    let py = names.py();
    let call = (std::ptr::from_ref(schema) as usize, names.as_ptr() as usize, given);
    let Some(kept) = KEPT.get(call.1 / 16 % PLACES) else { return made(schema, given, names) };
    if kept.call.get(py) == call {
        return Ok(kept.plan.get(py));
    }
    let plan = made(schema, given, names)?;
    drop(kept.names.replace(py, Some(names.clone().unbind())));
    kept.plan.replace(py, plan);
    kept.call.replace(py, call);
    Ok(plan)
}

fn made(schema: &Schema, given: usize, names: &Bound<'_, PyTuple>) -> PyResult<Plan> {
    let names: PyResult<Vec<_>> = names.iter().map(|name| Ok(name.cast_into::<PyString>()?)).collect();
    Plan::new(schema, given, names?.iter().map(|name| name.to_str()))
}
