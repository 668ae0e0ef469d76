//! One field of a session: a JSON text, or a list of records.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::envelope::BlockId;
use crate::error::Result;
use crate::json::{self, elements, slice};
use crate::list::List;
use crate::segment::lock;

/// Which stored block holds a value, and how many values that block has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    pub id: BlockId,
    pub members: usize,
}

#[derive(Debug)]
enum Text {
    Own(Box<[u8]>),
    /// A part of what stands in a block.
    Stored(Arc<Vec<u8>>, Range<usize>),
}

/// The JSON text of one field.
#[derive(Debug)]
pub struct Value {
    text: Text,
    home: Mutex<Option<Home>>,
}

impl Value {
    #[must_use]
    pub fn new(text: &[u8]) -> Arc<Self> {
        Self::from_box(text.into())
    }

    /// Of text that need not be copied.
    #[must_use]
    pub fn from_box(text: Box<[u8]>) -> Arc<Self> {
        Arc::new(Self { text: Text::Own(text), home: Mutex::new(None) })
    }

    /// One that stands in the payload of a block.
    #[must_use]
    pub fn stored(payload: &Arc<Vec<u8>>, range: Range<usize>, home: Home) -> Arc<Self> {
        Arc::new(Self { text: Text::Stored(Arc::clone(payload), range), home: Mutex::new(Some(home)) })
    }

    #[must_use]
    pub fn text(&self) -> &[u8] {
        match &self.text {
            Text::Own(text) => text,
            Text::Stored(payload, range) => payload.get(range.clone()).unwrap_or_default(),
        }
    }

    #[must_use]
    pub fn home(&self) -> Option<Home> {
        *lock(&self.home)
    }

    pub fn set_home(&self, home: Home) {
        *lock(&self.home) = Some(home);
    }
}

#[derive(Debug, Clone)]
pub enum Field {
    Value(Arc<Value>),
    Records(List),
}

impl Field {
    /// Whether both are one, without looking at what they hold.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(own), Self::Value(other)) => Arc::ptr_eq(own, other),
            (Self::Records(own), Self::Records(other)) => own.is_shared_with(other),
            _ => false,
        }
    }

    /// The length of its JSON text.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Value(value) => value.text().len(),
            Self::Records(list) => list.encoded_size(),
        }
    }

    /// Appends its JSON text.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.pieces(&mut |piece| out.extend_from_slice(piece))
    }

    /// Whether it is nested no deeper than this.
    pub fn is_within(&self, depth: usize) -> Result<bool> {
        match self {
            Self::Value(value) => Ok(json::is_within(value.text(), depth)),
            Self::Records(list) => list.is_within(depth),
        }
    }

    /// Gives its JSON text to `write`, piece by piece.
    pub fn pieces(&self, write: &mut dyn FnMut(&[u8])) -> Result<()> {
        match self {
            Self::Value(value) => write(value.text()),
            Self::Records(list) => list.pieces(write)?,
        }
        Ok(())
    }
}

/// A text as a field: a list of records if it is to be one and is an array.
pub fn field(text: &[u8], records: bool) -> Result<Field> {
    if !records || text.first() != Some(&b'[') {
        return Ok(Field::Value(Value::new(text)));
    }
    let mut list = List::default();
    for range in elements(text, 0)? {
        list.push(slice(text, range?)?);
    }
    Ok(Field::Records(list))
}
