//! The blocks of a head as they were read, of which the rows are looked at when a list is first touched.

use std::iter;
use std::sync::Arc;

use crate::body::Body;
use crate::checkpoint::Block;
use crate::envelope::BlockId;
use crate::error::{Error, Result};
use crate::head::{Head, Held, digest};
use crate::lazy::Lazy;
use crate::rows::Rows;

/// Where the blocks are.
pub trait Source: Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// Whether a row is that of a block of values.
    fn is_values(&self, row: usize, field: &str, id: &BlockId) -> bool;

    /// What stands in clear in all rows.
    fn rows(&self) -> Result<Rows>;

    /// The body of a row; None if it was left in the store.
    fn body(&self, row: usize) -> Option<Body>;

    /// Whether any was left there.
    fn is_partial(&self) -> bool;
}

/// See the module.
pub struct Unread {
    head: Arc<Head>,
    rows: Lazy<Result<Arc<Rows>>, Arc<dyn Source>>,
}

impl Unread {
    /// Checks that there are as many as the head says.
    pub fn new(head: &Arc<Head>, source: Arc<dyn Source>) -> Result<Self> {
        let expected = head.blocks.iter().map(|(_, held)| held.count()).fold(0, usize::saturating_add);
        if source.count() != expected {
            return Err(others(head));
        }
        Ok(Self { head: Arc::clone(head), rows: Lazy::waiting(source) })
    }

    /// The rows, once they are found to be those that the head was written with.
    pub fn rows(&self) -> Result<&Arc<Rows>> {
        let rows = self.rows.get(|source| checked(&self.head, source.rows()?).map(Arc::new));
        rows.map_or(Err(Error::OutOfRange), |rows| rows.as_ref().map_err(Clone::clone))
    }
}

fn checked(head: &Head, rows: Rows) -> Result<Rows> {
    let names = || iter::once("").chain(head.names.iter().map(|name| &**name));
    let known: usize = names().map(|name| rows.of(name).len()).sum();
    if known != rows.len() || digest(names().map(|name| (name, rows.ids(rows.of(name))))) != head.digest {
        return Err(others(head));
    }
    let lists = head.fields().filter_map(|(name, total)| Some((name, total?)));
    match lists.into_iter().find(|(name, total)| rows.total(rows.of(name)) != Some(*total)) {
        Some((name, _)) => Err(incomplete(name)),
        None => Ok(rows),
    }
}

/// The row of the block that has these values: it is looked for where it should stand, then everywhere.
pub fn place_of_values(head: &Head, source: &dyn Source, field: &str, id: &BlockId) -> Result<usize> {
    let before = head.blocks.iter().take_while(|(name, _)| **name != *field);
    let likely = before.map(|(_, held)| held.count()).fold(0, usize::saturating_add);
    let mut rows = iter::once(likely).chain(0..source.count());
    rows.find(|row| source.is_values(*row, field, id)).ok_or_else(|| others(head))
}

fn others(head: &Head) -> Error {
    Error::corrupt(format!("head {}", head.version), "its blocks are not those it was written with")
}

pub(crate) fn incomplete(field: &str) -> Error {
    Error::corrupt(format!("field {field}"), "its block is missing")
}

impl Held {
    /// So many blocks.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Values(_) => 1,
            Self::Records(blocks) => *blocks,
        }
    }
}

impl Source for Vec<Block> {
    fn count(&self) -> usize {
        self.len()
    }

    fn is_values(&self, row: usize, field: &str, id: &BlockId) -> bool {
        self.get(row).is_some_and(|block| (&*block.field, block.id, block.records) == (field, *id, 0))
    }

    fn rows(&self) -> Result<Rows> {
        let mut rows = Rows::with_capacity(self.len());
        for block in self {
            let field = rows.field(&block.field);
            rows.push(field, block.id, block.position, block.records);
        }
        Ok(rows.in_order())
    }

    fn body(&self, row: usize) -> Option<Body> {
        self.get(row)?.body.clone()
    }

    fn is_partial(&self) -> bool {
        self.iter().any(|block| block.body.is_none())
    }
}
