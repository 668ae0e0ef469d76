//! The blocks of a checkpoint as they were read. What stands in their rows in clear is looked at when the session is
//! opened; bodies are asked for when they are touched.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::body::Body;
use crate::checkpoint::Block;
use crate::envelope::BlockId;

/// Where the bodies are.
pub trait Bodies: Send + Sync {
    /// The body of a row as it was read; None if it was left in the store.
    fn body(&self, row: usize) -> Option<Body>;
}

/// One row without its id. Fields are numbered as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    field: usize,
    position: i64,
    number: usize,
    records: usize,
}

/// See the module. Ids lie one behind the other, as their digest takes them.
pub struct Rows {
    fields: Vec<Arc<str>>,
    ids: Vec<BlockId>,
    rows: Vec<Row>,
    bodies: Box<dyn Bodies>,
}

impl Rows {
    #[must_use]
    pub fn with_capacity(count: usize, bodies: impl Bodies + 'static) -> Self {
        let (ids, rows) = (Vec::with_capacity(count), Vec::with_capacity(count));
        Self { fields: Vec::new(), ids, rows, bodies: Box::new(bodies) }
    }

    /// The number of a field.
    pub fn field(&mut self, name: &str) -> usize {
        let known = self.fields.iter().position(|field| &**field == name);
        known.unwrap_or_else(|| {
            self.fields.push(name.into());
            self.fields.len() - 1
        })
    }

    /// The next row that was read.
    pub fn push(&mut self, field: usize, id: BlockId, position: i64, records: usize) {
        self.rows.push(Row { field, position, number: self.ids.len(), records });
        self.ids.push(id);
    }

    /// All of them in the order of field and position.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        if !self.rows.is_sorted() {
            self.rows.sort_unstable();
            let ids = self.rows.iter().filter_map(|row| self.ids.get(row.number).copied());
            self.ids = ids.collect();
        }
        self
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Where the blocks of a field stand among all.
    #[must_use]
    pub fn of(&self, name: &str) -> Range<usize> {
        let Some(field) = self.fields.iter().position(|field| &**field == name) else { return 0..0 };
        let start = self.rows.partition_point(|row| row.field < field);
        start..self.rows.partition_point(|row| row.field <= field)
    }

    #[must_use]
    pub fn ids(&self, range: Range<usize>) -> &[BlockId] {
        self.ids.get(range).unwrap_or_default()
    }

    /// How many records each block has.
    pub fn records(&self, range: Range<usize>) -> impl Iterator<Item = usize> {
        self.rows.get(range).unwrap_or_default().iter().map(|row| row.records)
    }

    /// The blocks themselves.
    pub fn blocks(&self, range: Range<usize>) -> impl Iterator<Item = Block> {
        let rows = self.rows.get(range.clone()).unwrap_or_default();
        rows.iter().zip(self.ids(range)).map(|(row, &id)| Block {
            id,
            field: self.fields.get(row.field).map_or_else(|| "".into(), Arc::clone),
            position: row.position,
            records: row.records,
            body: self.bodies.body(row.number),
        })
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} rows", self.len())
    }
}

struct Given(Vec<Option<Body>>);

impl Bodies for Given {
    fn body(&self, row: usize) -> Option<Body> {
        self.0.get(row).cloned().flatten()
    }
}

impl From<Vec<Block>> for Rows {
    fn from(blocks: Vec<Block>) -> Self {
        let bodies = blocks.iter().map(|block| block.body.clone()).collect();
        let mut rows = Self::with_capacity(blocks.len(), Given(bodies));
        for block in blocks {
            let field = rows.field(&block.field);
            rows.push(field, block.id, block.position, block.records);
        }
        rows.in_order()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(field: &str, position: i64, records: usize) -> Block {
        let id = [u8::try_from(position).unwrap(); 16];
        let body = Body::new(id.to_vec());
        Block { id, field: field.into(), position, records, body: Some(body) }
    }

    #[test]
    fn rows_stand_in_the_order_of_their_positions_however_they_came() {
        let sorted = [block("a", 1, 5), block("a", 2, 7), block("", 3, 0), block("b", 4, 1), block("b", 6, 1)];
        let shuffled = [3, 1, 2, 0, 4].map(|n: usize| sorted[n].clone());
        for blocks in [sorted.to_vec(), shuffled.to_vec()] {
            let rows = Rows::from(blocks);
            assert_eq!(
                (rows.ids(rows.of("a")), rows.ids(rows.of(""))),
                ([[1; 16], [2; 16]].as_slice(), [[3; 16]].as_slice())
            );
            assert_eq!((rows.of("c"), rows.len()), (0..0, 5));
            assert_eq!(rows.records(rows.of("a")).collect::<Vec<_>>(), [5, 7]);
            for given in rows.blocks(0..5) {
                assert_eq!(given.body.unwrap().bytes().unwrap(), given.id.as_slice());
                let expected = &sorted.iter().find(|block| block.id == given.id).unwrap();
                assert_eq!((given.field, given.position), (expected.field.clone(), expected.position));
            }
        }
    }
}
