//! A few segments that stand together in a list. Those of a stored one are made when one of them is touched, and the
//! chunks themselves when any of them is.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::lazy::Lazy;
use crate::open::segment;
use crate::rows::Rows;
use crate::segment::Segment;
use crate::unread::{Source, Unread};

/// The blocks of a list as they were read.
#[derive(Clone)]
pub struct StoredList {
    pub blocks: Arc<Unread>,
    pub source: Arc<dyn Source>,
    pub session_id: Arc<str>,
    pub epoch: u32,
    pub field: Arc<str>,
}

/// Some of them.
#[derive(Debug, Clone)]
pub struct Run {
    list: StoredList,
    rows: Arc<Rows>,
    range: Range<usize>,
}

/// Each segment stands with the number of records in the chunk up to its end: to find one touches no other.
pub type Ends = Vec<(usize, Arc<Segment>)>;

#[derive(Debug)]
pub struct Chunk(Lazy<Ends, Run>);

impl Chunk {
    pub fn new(segments: Ends) -> Self {
        Self(Lazy::made(segments))
    }

    pub fn stored(run: Run) -> Self {
        Self(Lazy::waiting(run))
    }

    pub fn segments(&self) -> &[(usize, Arc<Segment>)] {
        self.0.get(Run::segments).map_or(&[], Vec::as_slice)
    }

    pub fn segments_mut(&mut self) -> Option<&mut Ends> {
        self.0.get_mut(Run::segments)
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Self {
        Self::new(self.segments().to_vec())
    }
}

/// Each chunk stands with the number of records in all chunks up to its end.
pub type Chunks = Vec<(usize, Arc<Chunk>)>;

impl StoredList {
    /// Chunks of so many segments. Where the blocks are not those of the head, one that is refused has all records.
    pub fn chunks(&self, total: usize, most: usize) -> Chunks {
        let rows = match self.blocks.rows() {
            Ok(rows) => rows,
            Err(error) => return vec![(total, Arc::new(Chunk::new(vec![(total, Segment::refused(total, error))])))],
        };
        let (all, mut end) = (rows.of(&self.field), 0);
        let chunk = |start: usize| {
            let range = start..all.end.min(start + most);
            end += rows.records(range.clone()).sum::<usize>();
            (end, Arc::new(Chunk::stored(Run { list: self.clone(), rows: Arc::clone(rows), range })))
        };
        all.clone().step_by(most).map(chunk).collect()
    }
}

impl fmt::Debug for StoredList {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "list {}", self.field)
    }
}

impl Run {
    fn segments(&self) -> Ends {
        let (mut end, StoredList { source, session_id, epoch, .. }) = (0, &self.list);
        let blocks = self.rows.blocks(self.range.clone(), &**source);
        let segments = blocks.map(|block| {
            end += block.records;
            (end, Arc::new(segment(session_id, *epoch, block)))
        });
        segments.collect()
    }
}
