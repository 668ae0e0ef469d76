//! A persistent vector of segments in two levels, so that neither a snapshot nor the next append copies it whole.

use std::ops::Range;
use std::sync::{Arc, LazyLock, OnceLock};

use crate::chunk::{Chunk, Chunks, StoredList};
use crate::error::{Error, Result};
use crate::lazy::Lazy;
use crate::list::pack;
use crate::segment::Segment;

/// Segments in one chunk: at a million messages both levels have about a hundred entries.
const CHUNK: usize = 64;

/// See the module.
#[derive(Debug, Clone)]
pub struct Segments {
    /// How many records.
    count: usize,
    chunks: Arc<Lazy<Chunks, StoredList>>,
    /// The bytes of the segments that were stored: they must be made to tell, once for all snapshots.
    stored: Option<Arc<OnceLock<usize>>>,
    /// The bytes of the others.
    added: usize,
}

/// What all lists have that have no segments.
static NONE: LazyLock<Arc<Lazy<Chunks, StoredList>>> = LazyLock::new(|| Arc::new(Lazy::made(Vec::new())));

impl Default for Segments {
    fn default() -> Self {
        Self { count: 0, chunks: Arc::clone(&NONE), stored: None, added: 0 }
    }
}

impl Segments {
    /// So many records in segments that are made when they are touched.
    #[must_use]
    pub(crate) fn stored(count: usize, list: StoredList) -> Self {
        Self { count, chunks: Arc::new(Lazy::waiting(list)), stored: Some(Arc::default()), added: 0 }
    }

    fn chunks(&self) -> &[(usize, Arc<Chunk>)] {
        self.chunks.get(|list| list.chunks(self.count, CHUNK)).map_or(&[], Vec::as_slice)
    }

    /// How many records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether blocks of it were left in the store, or of another list that was read with it.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        match self.chunks.pending() {
            Some(list) => list.source.is_partial(),
            None => self.iter().any(|segment| segment.missing().is_some()),
        }
    }

    /// The bytes of all records, commas included.
    #[must_use]
    pub fn size(&self) -> usize {
        let Some(stored) = &self.stored else { return self.added };
        // Not within the lock of the cell: see `Chunk::segments`.
        let size = stored.get().copied().unwrap_or_else(|| {
            let all: usize = self.iter().map(|segment| segment.size()).sum();
            *stored.get_or_init(|| all.saturating_sub(self.added))
        });
        size + self.added
    }

    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.iter_from(0)
    }

    fn iter_from(&self, chunk: usize) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        let chunks = self.chunks().get(chunk..).unwrap_or_default();
        chunks.iter().flat_map(|(_, chunk)| chunk.segments().iter().map(|(_, segment)| segment))
    }

    pub fn push(&mut self, segment: Arc<Segment>) {
        self.added += segment.size();
        let (count, end) = (segment.count(), self.len() + segment.count());
        let mut chunks = self.take_chunks();
        let last = chunks.last_mut().filter(|(_, chunk)| chunk.segments().len() < CHUNK);
        if let Some((last_end, chunk)) = last
            && let Some(segments) = Arc::make_mut(chunk).segments_mut()
        {
            let before = segments.last().map_or(0, |(end, _)| *end);
            segments.push((before + count, segment));
            *last_end = end;
        } else {
            chunks.push((end, Arc::new(Chunk::new(vec![(count, segment)]))));
        }
        (self.count, self.chunks) = (end, Arc::new(Lazy::made(chunks)));
    }

    /// Without a copy where nobody shares them.
    fn take_chunks(&mut self) -> Chunks {
        self.chunks();
        let own = Arc::get_mut(&mut self.chunks).and_then(Lazy::take);
        own.unwrap_or_else(|| self.chunks().to_vec())
    }

    /// The segment that holds a record, and the record's index in it.
    #[must_use]
    pub fn find(&self, index: usize) -> Option<(&Arc<Segment>, usize)> {
        let chunks = self.chunks();
        let at = chunks.partition_point(|(end, _)| *end <= index);
        let (_, chunk) = chunks.get(at)?;
        let before = at.checked_sub(1).and_then(|n| chunks.get(n)).map_or(0, |(end, _)| *end);
        let (rest, segments) = (index - before, chunk.segments());
        let (end, segment) = segments.get(segments.partition_point(|(end, _)| *end <= rest))?;
        Some((segment, rest + segment.count() - end))
    }

    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }

    /// How many records are the same from the start of both, and whether those are all in segments.
    pub fn common_start(&self, other: &Self) -> Result<(usize, bool)> {
        if self.is_shared_with(other) {
            return Ok((self.len(), true));
        }
        let pairs = self.chunks().iter().zip(other.chunks());
        let shared = pairs.take_while(|((_, a), (_, b))| Arc::ptr_eq(a, b)).count();
        let last = shared.checked_sub(1).and_then(|last| self.chunks().get(last));
        let mut count = last.map_or(0, |(end, _)| *end);
        let (mut own, mut others) = (self.iter_from(shared), other.iter_from(shared));
        loop {
            match (own.next(), others.next()) {
                (Some(a), Some(b)) if is_same(a, b)? => count += a.count(),
                _ => break,
            }
        }
        let count = self.same_from(other, count)?;
        Ok((count, count == self.len() && count == other.len()))
    }

    /// Up to which index the records are the same from one on, however they are cut into segments.
    fn same_from(&self, other: &Self, mut at: usize) -> Result<usize> {
        while let (Some((a, i)), Some((b, j))) = (self.find(at), other.find(at)) {
            let count = (a.count() - i).min(b.count() - j);
            let (a, b) = (a.records()?, b.records()?);
            if a.texts(i..i + count) != b.texts(j..j + count) {
                return Ok(at + (0..count).take_while(|n| a.get(i + n) == b.get(j + n)).count());
            }
            at += count;
        }
        Ok(at)
    }

    /// How many records stand so at the end, at most `limit`.
    pub fn common_end(&self, other: &Self, limit: usize) -> Result<usize> {
        let mut count = 0;
        for (a, b) in self.iter().rev().zip(other.iter().rev()) {
            if count + a.count() > limit || !is_same(a, b)? {
                break;
            }
            count += a.count();
        }
        Ok(count)
    }

    /// Puts `records` in the place of a range; only the segments that it touches are written anew.
    pub fn splice(&mut self, range: Range<usize>, records: &[&[u8]]) -> Result<()> {
        let (mut out, mut at, mut touched) = (Self::default(), 0, Vec::new());
        let mut done = false;
        for segment in self.iter() {
            let (start, end) = (at, at + segment.count());
            at = end;
            let inside = range.start < end && (start <= range.start || start < range.end);
            if inside {
                touched.push((start, segment));
                continue;
            }
            if !done && start >= range.end && !touched.is_empty() {
                out.extend(rewrite(&touched, &range, records)?);
                done = true;
            }
            out.push(Arc::clone(segment));
        }
        if !done {
            if touched.is_empty() {
                return Err(Error::OutOfRange);
            }
            out.extend(rewrite(&touched, &range, records)?);
        }
        *self = out;
        Ok(())
    }
}

/// Whether both hold the same records: one that is shared, or is one block of the store, is not opened.
fn is_same(a: &Arc<Segment>, b: &Arc<Segment>) -> Result<bool> {
    if Arc::ptr_eq(a, b) || a.spot().is_some_and(|spot| b.spot().is_some_and(|other| spot.id == other.id)) {
        return Ok(true);
    }
    Ok(a.count() == b.count() && a.records()?.text(a.count()) == b.records()?.text(b.count()))
}

fn rewrite(touched: &[(usize, &Arc<Segment>)], range: &Range<usize>, records: &[&[u8]]) -> Result<Vec<Arc<Segment>>> {
    let mut texts = Vec::new();
    for (start, segment) in touched {
        let packed = segment.records()?;
        for n in 0..packed.len() {
            let index = start + n;
            if index == range.start {
                texts.extend_from_slice(records);
            }
            if !range.contains(&index) {
                texts.push(packed.get(n).ok_or(Error::OutOfRange)?);
            }
        }
    }
    Ok(pack(texts.into_iter()))
}

impl Extend<Arc<Segment>> for Segments {
    fn extend<I: IntoIterator<Item = Arc<Segment>>>(&mut self, segments: I) {
        segments.into_iter().for_each(|segment| self.push(segment));
    }
}

impl FromIterator<Arc<Segment>> for Segments {
    fn from_iter<I: IntoIterator<Item = Arc<Segment>>>(segments: I) -> Self {
        let mut out = Self::default();
        out.extend(segments);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_snapshot_sums_the_sizes_of_stored_segments_for_all() {
        let segment = |_| pack(std::iter::once(br#"{"n":1}"#.as_slice()));
        let made: Segments = (0..3 * CHUNK).flat_map(segment).collect();
        let each = br#"{"n":1},"#.len();
        assert_eq!(made.size(), 3 * CHUNK * each);
        assert!(made.stored.is_none());
        let stored = Segments { stored: Some(Arc::default()), added: 0, ..made.clone() };
        let mut later = stored.clone();
        later.extend(segment(0));
        assert_eq!(later.size(), made.size() + each);
        assert_eq!(stored.stored.as_ref().and_then(|size| size.get()), Some(&made.size()));
        assert_eq!(stored.size(), made.size());
    }
}
