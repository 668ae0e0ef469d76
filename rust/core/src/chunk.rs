//! A few segments that stand together in a list. Those of a stored one are made when one of them is touched.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use crate::open::segment;
use crate::rows::Rows;
use crate::segment::{Segment, lock};

/// The blocks of a list as they were read.
#[derive(Debug, Clone)]
pub struct Run {
    pub rows: Arc<Rows>,
    pub session_id: Arc<str>,
    pub epoch: u32,
    pub range: Range<usize>,
}

/// Each segment stands with the number of records in the chunk up to its end: to find one touches no other.
pub type Ends = Vec<(usize, Arc<Segment>)>;

#[derive(Debug)]
pub struct Chunk {
    made: OnceLock<Ends>,
    /// What they are to be made of.
    waiting: Mutex<Option<Run>>,
}

impl Chunk {
    pub fn new(segments: Ends) -> Self {
        Self { made: OnceLock::from(segments), waiting: Mutex::new(None) }
    }

    pub fn stored(run: Run) -> Self {
        Self { made: OnceLock::new(), waiting: Mutex::new(Some(run)) }
    }

    pub fn segments(&self) -> &[(usize, Arc<Segment>)] {
        if let Some(made) = self.made.get() {
            return made;
        }
        // Not under the lock: who has the bodies may wait for another thread, and that one for the lock.
        let waiting = lock(&self.waiting).clone();
        if let Some(run) = waiting {
            drop(self.made.set(run.segments()));
            *lock(&self.waiting) = None;
        }
        self.made.get().map_or(&[], Vec::as_slice)
    }

    pub fn segments_mut(&mut self) -> Option<&mut Ends> {
        self.segments();
        self.made.get_mut()
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Self {
        Self::new(self.segments().to_vec())
    }
}

impl Run {
    fn segments(&self) -> Ends {
        let mut end = 0;
        let blocks = self.rows.blocks(self.range.clone());
        let segments = blocks.map(|block| {
            end += block.records;
            (end, Arc::new(segment(&self.session_id, self.epoch, block)))
        });
        segments.collect()
    }
}
