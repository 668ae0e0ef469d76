//! The record classes: their fields, and what a constructor accepts for each.

use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyFloat, PyInt, PyString};

use crate::encode::{self, Outcome, Refusal};
use crate::{random, readonly, time};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A str; a random UUID if it is left out.
    Id,
    /// A time; the present if it is left out.
    Now,
    Text,
    Time,
    Number,
    Integer,
    /// str, list of parts, or None.
    Content,
    List,
    Object,
    Any,
}

impl Kind {
    /// What Python calls it, see `_core.pyi`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Now => "now",
            Self::Text => "text",
            Self::Time => "time",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Content => "content",
            Self::List => "list",
            Self::Object => "object",
            Self::Any => "any",
        }
    }
}

/// The name of a field as it stands in a record, with the comma before it, quotes and colon. It is padded: a copy of
/// fixed size is a few instructions, one of any length is a call.
#[derive(Debug)]
struct Key {
    text: [u8; 32],
    length: usize,
}

impl Key {
    const fn new(text: &str) -> Self {
        let mut padded = [b' '; 32];
        let (to, _) = padded.split_at_mut(text.len());
        to.copy_from_slice(text.as_bytes());
        Self { text: padded, length: text.len() }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.text);
        out.truncate(start + self.length);
    }
}

#[derive(Debug)]
pub struct FieldSpec {
    pub name: &'static str,
    key: Key,
    pub kind: Kind,
    pub required: bool,
}

/// The most fields that a record class has.
pub const MOST: usize = 10;

/// One record class. Arguments are positional in the order of `positional`, the others by keyword.
#[derive(Debug)]
pub struct Schema {
    pub name: &'static str,
    pub fields: &'static [FieldSpec],
    pub positional: &'static [usize],
    /// The member that identifies a record, "" if none does.
    pub id_key: &'static str,
}

macro_rules! optional {
    ($name:literal, $kind:ident) => {
        FieldSpec { name: $name, key: Key::new(concat!(",\"", $name, "\":")), kind: Kind::$kind, required: false }
    };
}

macro_rules! required {
    ($name:literal, $kind:ident) => {
        FieldSpec { name: $name, key: Key::new(concat!(",\"", $name, "\":")), kind: Kind::$kind, required: true }
    };
}

pub static MESSAGE: Schema = Schema {
    name: "Message",
    fields: &[
        optional!("message_id", Id),
        required!("role", Text),
        optional!("content", Content),
        optional!("timestamp", Now),
        optional!("name", Text),
        optional!("tool_calls", List),
        optional!("tool_call_id", Text),
        optional!("metadata", Object),
    ],
    positional: &[1, 2],
    id_key: "message_id",
};

pub static PRODUCT: Schema = Schema {
    name: "Product",
    fields: &[
        required!("product_id", Text),
        optional!("name", Text),
        optional!("price", Number),
        optional!("currency", Text),
        optional!("url", Text),
        optional!("attributes", Object),
        optional!("score", Number),
    ],
    positional: &[0, 1],
    id_key: "product_id",
};

pub static EXECUTION: Schema = Schema {
    name: "PipelineExecution",
    fields: &[
        optional!("execution_id", Id),
        required!("pipeline_name", Text),
        optional!("status", Text),
        optional!("started_at", Time),
        optional!("finished_at", Time),
        optional!("duration_ms", Number),
        optional!("input", Any),
        optional!("result", Any),
        optional!("error", Any),
        optional!("metrics", Object),
    ],
    positional: &[1, 2],
    id_key: "execution_id",
};

pub static ENTITY: Schema = Schema {
    name: "PIIEntity",
    fields: &[
        required!("entity_type", Text),
        optional!("start", Integer),
        optional!("end", Integer),
        optional!("score", Number),
        optional!("detector", Text),
        optional!("message_id", Text),
        optional!("path", Text),
        optional!("placeholder", Text),
        optional!("fingerprint", Text),
    ],
    positional: &[0, 1, 2],
    id_key: "",
};

impl FieldSpec {
    /// Whether the record has this field although no argument was given for it.
    pub fn is_filled_in(&self) -> bool {
        matches!(self.kind, Kind::Id | Kind::Now)
    }

    pub fn fill_in(&self, out: &mut Vec<u8>) -> PyResult<()> {
        if self.kind == Kind::Id {
            return random::uuid(out);
        }
        time::now(out);
        Ok(())
    }

    pub fn is_time(&self) -> bool {
        matches!(self.kind, Kind::Now | Kind::Time)
    }

    pub fn write_key(&self, out: &mut Vec<u8>) {
        self.key.write(out);
    }

    /// Appends an argument; None is null wherever a value may be missing.
    pub fn encode(&self, out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> Outcome {
        let fits = match self.kind {
            Kind::Id | Kind::Text => value.is_exact_instance_of::<PyString>(),
            Kind::Content => value.is_exact_instance_of::<PyString>() || readonly::as_list(value).is_some(),
            Kind::List => readonly::as_list(value).is_some(),
            Kind::Object => readonly::as_dict(value).is_some(),
            Kind::Integer => value.is_exact_instance_of::<PyInt>(),
            Kind::Number => value.is_exact_instance_of::<PyInt>() || value.is_exact_instance_of::<PyFloat>(),
            Kind::Now | Kind::Time => return self.encode_time(out, value),
            Kind::Any => true,
        };
        if fits || self.allows_none(value) { encode::member(out, value) } else { Err(self.misfit()) }
            .map_err(|refusal| refusal.at(self.name))
    }

    fn encode_time(&self, out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> Outcome {
        match value.cast_exact::<PyDateTime>() {
            Ok(moment) => time::datetime(out, moment),
            Err(_) if self.allows_none(value) => encode::value(out, value),
            Err(_) => Err(self.misfit()),
        }
        .map_err(|refusal| refusal.at(self.name))
    }

    fn allows_none(&self, value: &Bound<'_, PyAny>) -> bool {
        value.is_none() && !self.required && self.kind != Kind::Id
    }

    fn misfit(&self) -> Refusal {
        let expected = match self.kind {
            Kind::Id | Kind::Text => "a str",
            Kind::Content => "a str, a list of parts or None",
            Kind::List => "a list",
            Kind::Object => "a dict",
            Kind::Integer => "an int",
            Kind::Number => "an int or a float",
            Kind::Now | Kind::Time => "a datetime with a time zone",
            Kind::Any => "a JSON value",
        };
        Refusal::new(format!("{expected} was expected"))
    }
}
