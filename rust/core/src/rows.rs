//! What stands in clear in the rows of the blocks of a checkpoint.

use std::ops::Range;
use std::sync::Arc;

use crate::checkpoint::Block;
use crate::envelope::BlockId;
use crate::unread::Source;

/// One row without its id. Fields are numbered as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    field: usize,
    position: i64,
    number: usize,
    records: usize,
}

/// See the module. Ids lie one behind the other, as their digest takes them.
#[derive(Debug, Default)]
pub struct Rows {
    fields: Vec<Arc<str>>,
    ids: Vec<BlockId>,
    rows: Vec<Row>,
}

impl Rows {
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self { fields: Vec::new(), ids: Vec::with_capacity(count), rows: Vec::with_capacity(count) }
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

    /// How many records they have together; None if one of them has none.
    #[must_use]
    pub fn total(&self, range: Range<usize>) -> Option<usize> {
        self.records(range).try_fold(0, |sum: usize, records| (records > 0).then(|| sum.saturating_add(records)))
    }

    /// The blocks themselves, which came from `source`.
    pub fn blocks(&self, range: Range<usize>, source: &dyn Source) -> impl Iterator<Item = Block> {
        let rows = self.rows.get(range.clone()).unwrap_or_default();
        rows.iter().zip(self.ids(range)).map(|(row, &id)| Block {
            id,
            field: self.fields.get(row.field).map_or_else(|| "".into(), Arc::clone),
            position: row.position,
            records: row.records,
            body: source.body(row.number),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;

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
            let rows = blocks.rows().unwrap();
            assert_eq!(
                (rows.ids(rows.of("a")), rows.ids(rows.of(""))),
                ([[1; 16], [2; 16]].as_slice(), [[3; 16]].as_slice())
            );
            assert_eq!((rows.of("c"), rows.len()), (0..0, 5));
            assert_eq!(rows.records(rows.of("a")).collect::<Vec<_>>(), [5, 7]);
            for given in rows.blocks(0..5, &blocks) {
                assert_eq!(given.body.unwrap().bytes().unwrap(), given.id.as_slice());
                let expected = &sorted.iter().find(|block| block.id == given.id).unwrap();
                assert_eq!((given.field, given.position), (expected.field.clone(), expected.position));
            }
        }
    }
}
