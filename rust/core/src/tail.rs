//! The end of a list of records: open while records are appended, then a segment.

use std::sync::Arc;

use crate::error::Result;
use crate::segment::{Packed, Segment};

#[derive(Debug)]
pub enum Tail {
    Open(Packed),
    Sealed(Arc<Segment>),
}

impl Tail {
    /// All its records, of which a list may own only the first ones.
    pub fn records(&self) -> Result<&Packed> {
        match self {
            Self::Open(packed) => Ok(packed),
            Self::Sealed(segment) => segment.records().map(|packed| &**packed),
        }
    }

    /// The run that all of them share; None while it is open.
    pub fn shared(&self) -> Result<Option<Arc<Packed>>> {
        match self {
            Self::Open(_) => Ok(None),
            Self::Sealed(segment) => segment.records().map(|packed| Some(Arc::clone(packed))),
        }
    }

    /// A copy of the first `count` records.
    pub fn copy(&self, count: usize) -> Packed {
        self.records().map_or_else(|_| Packed::default(), |packed| packed.prefix(count))
    }

    /// The segment that it becomes, with its memory.
    pub fn seal(&mut self) -> Arc<Segment> {
        let packed = match self {
            Self::Open(packed) => std::mem::take(packed),
            Self::Sealed(segment) => return Arc::clone(segment),
        };
        let segment = Arc::new(Segment::new(packed));
        *self = Self::Sealed(Arc::clone(&segment));
        segment
    }
}
