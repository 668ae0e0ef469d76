//! A list of records that costs the same to append to, and to snapshot, at any length.
//!
//! Segments are shared between snapshots, and so is the open tail: it only grows, and each list knows how many of
//! its records are its own. Who appends first after a snapshot goes on in the shared tail; the other copies it.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::json;
use crate::segment::{Packed, SEGMENT_SIZE, Segment, lock};
use crate::segments::Segments;
use crate::tail::Tail;

/// The text of one record.
#[derive(Debug, Clone)]
pub enum Record {
    Own(Arc<[u8]>),
    Shared(Arc<Packed>, usize),
}

impl Record {
    #[must_use]
    pub fn text(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(packed, index) => packed.get(*index).unwrap_or_default(),
        }
    }
}

/// What is not plainly the same in two lists.
#[derive(Debug)]
pub struct Apart {
    /// How many records stand before it in both.
    pub start: usize,
    pub own: Vec<Record>,
    pub others: Vec<Record>,
    /// Whether records stand behind it.
    pub is_inside: bool,
}

/// See the module. A clone is a snapshot.
#[derive(Debug, Clone)]
pub struct List {
    segments: Segments,
    tail: Arc<Mutex<Tail>>,
    tail_count: usize,
    tail_size: usize,
}

impl Default for List {
    fn default() -> Self {
        Self::with_segments(Segments::default(), Packed::default())
    }
}

impl List {
    fn with_segments(segments: Segments, tail: Packed) -> Self {
        let (tail_count, tail_size) = (tail.len(), tail.size(tail.len()));
        Self { segments, tail: Arc::new(Mutex::new(Tail::Open(tail))), tail_count, tail_size }
    }

    /// A list of segments that are stored already.
    #[must_use]
    pub fn from_segments(segments: impl IntoIterator<Item = Arc<Segment>>) -> Self {
        Self::with_segments(segments.into_iter().collect(), Packed::default())
    }

    /// A list of segments that are made of blocks when they are touched.
    #[must_use]
    pub(crate) fn stored(segments: Segments) -> Self {
        Self::with_segments(segments, Packed::default())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.len() + self.tail_count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The length of its JSON text.
    #[must_use]
    pub fn encoded_size(&self) -> usize {
        2 + (self.segments.size() + self.tail_size).saturating_sub(1)
    }

    /// Appends one record: O(1).
    pub fn push(&mut self, record: &[u8]) {
        let mut tail = lock(&self.tail);
        if !matches!(&*tail, Tail::Open(packed) if packed.len() == self.tail_count) {
            let own = tail.copy(self.tail_count);
            drop(tail);
            self.tail = Arc::new(Mutex::new(Tail::Open(own)));
            tail = lock(&self.tail);
        }
        if let Tail::Open(packed) = &mut *tail {
            packed.push(record);
        }
        self.tail_count += 1;
        self.tail_size += record.len() + 1;
        if self.tail_size >= SEGMENT_SIZE {
            let sealed = tail.seal();
            drop(tail);
            self.segments.push(sealed);
            // After the first segment more are to be expected: give the next one its room at once.
            let next = Packed::with_capacity(SEGMENT_SIZE + SEGMENT_SIZE / 8, self.tail_count);
            *self = Self::with_segments(std::mem::take(&mut self.segments), next);
        }
    }

    /// Shows the text of one record to `body`, which must not come back to this list.
    pub fn visit<T>(&self, index: usize, body: impl FnOnce(&[u8]) -> T) -> Result<T> {
        if let Some((segment, at)) = self.segments.find(index) {
            return segment.records()?.get(at).map(body).ok_or(Error::OutOfRange);
        }
        let at = index - self.segments.len();
        if at >= self.tail_count {
            return Err(Error::OutOfRange);
        }
        lock(&self.tail).records()?.get(at).map(body).ok_or(Error::OutOfRange)
    }

    /// The segment that holds a record, and its index there; None if it is in the tail.
    pub fn sealed(&self, index: usize) -> Result<Option<(Arc<Packed>, usize)>> {
        let found = self.segments.find(index);
        found.map(|(segment, at)| Ok((Arc::clone(segment.records()?), at))).transpose()
    }

    /// The run that holds a record, and its index there; None if it is in the open tail.
    pub fn shared(&self, index: usize) -> Result<Option<(Arc<Packed>, usize)>> {
        if let Some(found) = self.sealed(index)? {
            return Ok(Some(found));
        }
        let at = index - self.segments.len();
        if at >= self.tail_count {
            return Err(Error::OutOfRange);
        }
        Ok(lock(&self.tail).shared()?.map(|packed| (packed, at)))
    }

    pub fn get(&self, index: usize) -> Result<Record> {
        match self.shared(index)? {
            Some((packed, at)) => Ok(Record::Shared(packed, at)),
            None => self.visit(index, |text| Record::Own(text.into())),
        }
    }

    /// The last record that `is_it` holds for, which must not come back to this list.
    pub fn rfind(&self, mut is_it: impl FnMut(&[u8]) -> Result<bool>) -> Result<Option<usize>> {
        let mut end = self.segments.len();
        let in_tail = last(lock(&self.tail).records()?, self.tail_count, &mut is_it)?;
        if let Some(at) = in_tail {
            return Ok(Some(end + at));
        }
        for segment in self.segments.iter().rev() {
            end -= segment.count();
            if let Some(at) = last(segment.records()?, segment.count(), &mut is_it)? {
                return Ok(Some(end + at));
            }
        }
        Ok(None)
    }

    /// All records, as runs and how many of each belong to this list; of the open tail a copy.
    pub fn runs(&self) -> impl Iterator<Item = Result<(Arc<Packed>, usize)>> {
        let sealed = self.segments.iter().map(|segment| Ok((Arc::clone(segment.records()?), segment.count())));
        let tail = (self.tail_count > 0).then(|| {
            let tail = lock(&self.tail);
            let run = tail.shared()?.unwrap_or_else(|| Arc::new(tail.copy(self.tail_count)));
            Ok((run, self.tail_count))
        });
        sealed.chain(tail)
    }

    /// Puts `records` in the place of a range.
    pub fn splice(&mut self, range: Range<usize>, records: &[&[u8]]) -> Result<()> {
        if range.start > range.end || range.end > self.len() {
            return Err(Error::OutOfRange);
        }
        let sealed = self.segments.len();
        let tail = lock(&self.tail).copy(self.tail_count);
        let mut segments = self.segments.clone();
        let inner = range.start.min(sealed)..range.end.min(sealed);
        let tail_range = range.start.saturating_sub(sealed)..range.end.saturating_sub(sealed);
        // What starts at the end of the segments belongs to the tail.
        let (in_segments, in_tail) =
            if range.start < sealed { (records, [].as_slice()) } else { ([].as_slice(), records) };
        if range.start < sealed {
            segments.splice(inner, in_segments)?;
        }
        *self = Self::with_segments(segments, Packed::default());
        let texts = |r: Range<usize>| r.filter_map(|n| tail.get(n));
        for text in texts(0..tail_range.start).chain(in_tail.iter().copied()).chain(texts(tail_range.end..tail.len())) {
            self.push(text);
        }
        Ok(())
    }

    /// Whether both hold the same records in the same memory.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        let same_tail = Arc::ptr_eq(&self.tail, &other.tail) && self.tail_count == other.tail_count;
        same_tail && self.segments.is_shared_with(&other.segments)
    }

    /// The part in which two lists differ. What they share is not looked at.
    pub fn apart(&self, other: &Self) -> Result<Apart> {
        let (mut start, whole) = self.segments.common_start(&other.segments)?;
        let (common, same) = self.common_tail(other);
        start += if whole { common } else { 0 };
        let limit = self.len().min(other.len()) - start;
        let end = if same && self.tail_count <= limit {
            self.tail_count + self.segments.common_end(&other.segments, limit - self.tail_count)?
        } else {
            0
        };
        let records = |list: &Self| (start..list.len() - end).map(|at| list.get(at)).collect::<Result<_>>();
        Ok(Apart { start, own: records(self)?, others: records(other)?, is_inside: end > 0 })
    }

    /// How many records of both tails are the same from their start, and whether those are all of both.
    fn common_tail(&self, other: &Self) -> (usize, bool) {
        let shorter = self.tail_count.min(other.tail_count);
        let same_count = self.tail_count == other.tail_count;
        if Arc::ptr_eq(&self.tail, &other.tail) {
            return (shorter, same_count);
        }
        // Both in one order, whoever compares: two threads never wait for each other.
        let (first, second) =
            if Arc::as_ptr(&self.tail) < Arc::as_ptr(&other.tail) { (self, other) } else { (other, self) };
        let (first, second) = (lock(&first.tail), lock(&second.tail));
        let (Ok(own), Ok(others)) = (first.records(), second.records()) else { return (0, false) };
        if own.text(shorter) == others.text(shorter) {
            return (shorter, same_count);
        }
        ((0..shorter).take_while(|&at| own.get(at) == others.get(at)).count(), false)
    }

    /// Appends the JSON text of the whole list.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.reserve(self.encoded_size());
        self.pieces(&mut |piece| out.extend_from_slice(piece))
    }

    /// Whether the list as one value is nested no deeper than this.
    pub fn is_within(&self, depth: usize) -> Result<bool> {
        let Some(inner) = depth.checked_sub(1) else { return Ok(false) };
        let fits = |packed: &Packed, count: usize| {
            (0..count).all(|index| packed.get(index).is_some_and(|record| json::is_within(record, inner)))
        };
        for segment in self.segments.iter() {
            if !fits(segment.records()?, segment.count()) {
                return Ok(false);
            }
        }
        Ok(fits(lock(&self.tail).records()?, self.tail_count))
    }

    /// Gives the JSON text of the whole list to `write`, piece by piece.
    pub fn pieces(&self, write: &mut dyn FnMut(&[u8])) -> Result<()> {
        write(b"[");
        // The last piece has a comma that does not belong to the text.
        let mut last: &[u8] = b"";
        for segment in self.segments.iter() {
            write(last);
            last = segment.records()?.text(segment.count());
        }
        let tail = lock(&self.tail);
        if self.tail_count > 0 {
            write(last);
            last = tail.records()?.text(self.tail_count);
        }
        write(last.strip_suffix(b",").unwrap_or(last));
        write(b"]");
        Ok(())
    }

    /// The segments this list is made of, the tail as the last ones; a short last segment is joined with the tail.
    pub fn freeze(&self) -> Result<Vec<Arc<Segment>>> {
        let mut segments: Vec<_> = self.segments.iter().cloned().collect();
        if self.tail_count == 0 {
            return Ok(segments);
        }
        let tail = lock(&self.tail).copy(self.tail_count);
        // A sealed one tells its size only when it is opened.
        let last = segments.last().filter(|last| last.size() < SEGMENT_SIZE);
        let before = last.map(|segment| segment.records().cloned()).transpose()?;
        let before = before.filter(|records| records.size(records.len()) < SEGMENT_SIZE);
        if before.is_some() {
            segments.pop();
        }
        let texts = before.iter().flat_map(|b| (0..b.len()).filter_map(|n| b.get(n)));
        segments.extend(pack(texts.chain((0..tail.len()).filter_map(|n| tail.get(n)))));
        Ok(segments)
    }

    #[must_use]
    pub fn segments(&self) -> &Segments {
        &self.segments
    }
}

/// Records as segments of the usual size.
pub(crate) fn pack<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Vec<Arc<Segment>> {
    let (mut out, mut open) = (Vec::new(), Packed::default());
    for text in texts {
        open.push(text);
        if open.size(open.len()) >= SEGMENT_SIZE {
            out.push(Arc::new(Segment::new(std::mem::take(&mut open))));
        }
    }
    if !open.is_empty() {
        out.push(Arc::new(Segment::new(open)));
    }
    out
}

fn last(packed: &Packed, count: usize, is_it: &mut impl FnMut(&[u8]) -> Result<bool>) -> Result<Option<usize>> {
    for at in (0..count).rev() {
        if is_it(packed.get(at).ok_or(Error::OutOfRange)?)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: usize) -> Vec<u8> {
        format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(n % 700)).into_bytes()
    }

    fn texts(list: &List) -> Vec<Vec<u8>> {
        (0..list.len()).map(|n| list.get(n).unwrap().text().to_vec()).collect()
    }

    fn check(list: &List, model: &[Vec<u8>]) {
        assert_eq!(texts(list), model);
        let mut encoded = Vec::new();
        list.encode(&mut encoded).unwrap();
        assert_eq!(encoded, [b"[".as_slice(), &model.join(&b','), b"]"].concat());
        assert_eq!(list.encoded_size(), encoded.len());
        let frozen = List::from_segments(list.freeze().unwrap());
        assert_eq!(texts(&frozen), model);
    }

    #[test]
    fn two_lists_are_apart_where_they_differ() {
        let mut list = List::default();
        (0..700).for_each(|n| list.push(&record(n)));
        let mut other = List::default();
        (0..700).for_each(|n| other.push(&record(n)));
        let differ = |a: &List, b: &List| {
            let apart = a.apart(b).unwrap();
            let of = |records: &[Record]| records.iter().map(|r| r.text().to_vec()).collect::<Vec<_>>();
            let (own, others) = (of(&apart.own), of(&apart.others));
            let (before, after) = (texts(a), texts(b));
            assert_eq!(before[..apart.start], after[..apart.start]);
            assert_eq!(own, before[apart.start..apart.start + own.len()]);
            assert_eq!(others, after[apart.start..apart.start + others.len()]);
            assert_eq!(before[apart.start + own.len()..], after[apart.start + others.len()..]);
            assert_eq!(apart.is_inside, before.len() > apart.start + own.len());
            (apart.start, own.len(), others.len())
        };
        assert_eq!(differ(&list, &other), (700, 0, 0));
        let mut longer = list.clone();
        longer.push(b"{}");
        assert_eq!(differ(&list, &longer), (700, 0, 1));
        assert_eq!(differ(&longer, &other), (700, 1, 0));
        for at in [0, 5, 300, 699] {
            let mut edited = list.clone();
            edited.splice(at..at + 1, &[b"{}", b"[]"]).unwrap();
            assert!(differ(&edited, &list).1 < 500);
            assert!(differ(&other, &edited).1 < 500);
        }
        assert_eq!(differ(&List::default(), &list), (0, 0, 700));
    }

    #[test]
    fn lists_that_are_cut_otherwise_are_apart_where_they_differ() {
        let mut list = List::default();
        (0..900).for_each(|n| list.push(&record(n)));
        // Its first segment is longer than all others, so that no two segments are the same.
        let mut other = List::default();
        (0..200).for_each(|n| other.push(&record(n)));
        other
            .splice(0..0, &(200..260).map(record).collect::<Vec<_>>().iter().map(Vec::as_slice).collect::<Vec<_>>())
            .unwrap();
        other.splice(0..60, &[]).unwrap();
        (200..900).for_each(|n| other.push(&record(n)));
        assert_eq!(texts(&list), texts(&other));
        for at in [0, 1, 150, 650, 899] {
            let mut edited = other.clone();
            edited.splice(at..at + 1, &[b"{}"]).unwrap();
            assert_eq!(list.apart(&edited).unwrap().start, at);
            assert_eq!(edited.apart(&list).unwrap().start, at);
        }
    }

    #[test]
    fn what_is_put_in_at_once_is_cut_as_if_it_were_appended() {
        let records: Vec<_> = (0..900).map(record).collect();
        let (mut list, mut other) = (List::default(), List::default());
        list.splice(0..0, &records.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        for record in &records {
            other.push(record);
        }
        let sizes = |list: &List| list.segments.iter().map(|segment| segment.count()).collect::<Vec<_>>();
        assert!(sizes(&list).len() > 2);
        assert_eq!(sizes(&list), sizes(&other));
    }

    #[test]
    fn appends_through_many_segments_and_keeps_snapshots() {
        let (mut list, mut model, mut snapshots) = (List::default(), Vec::new(), Vec::new());
        for n in 0..3000 {
            if n % 97 == 0 {
                snapshots.push((list.clone(), n));
            }
            list.push(&record(n));
            model.push(record(n));
        }
        check(&list, &model);
        assert!(list.segments().len() > 2500);
        for (snapshot, length) in snapshots {
            check(&snapshot, &model[..length]);
        }
    }

    #[test]
    fn finds_the_last_one_from_the_end() {
        let mut list = List::default();
        for n in 0..900 {
            list.push(&record(n % 450));
            list.push(&record(7));
        }
        assert!(!list.segments().is_empty() && list.segments().len() < list.len());
        let find = |text: &[u8]| list.rfind(|own| Ok(own == text)).unwrap();
        assert_eq!((find(&record(7)), find(&record(449)), find(&record(0))), (Some(1799), Some(1798), Some(900)));
        assert_eq!((find(b"{}"), List::default().rfind(|_| Ok(true))), (None, Ok(None)));
        let seen = std::cell::Cell::new(0);
        let third_last = list.rfind(|_| Ok(seen.replace(seen.get() + 1) == 2));
        assert_eq!((third_last, seen.get()), (Ok(Some(1797)), 3));
        assert_eq!(list.rfind(|_| Err(Error::OutOfRange)), Err(Error::OutOfRange));
    }

    #[test]
    fn two_lists_of_one_snapshot_do_not_meet() {
        let mut base = List::default();
        (0..10).for_each(|n| base.push(&record(n)));
        let (mut a, mut b) = (base.clone(), base.clone());
        for n in 10..400 {
            a.push(&record(n));
            b.push(&record(n + 1000));
        }
        check(&base, &(0..10).map(record).collect::<Vec<_>>());
        check(&a, &(0..400).map(record).collect::<Vec<_>>());
        check(&b, &(0..10).chain(1010..1400).map(record).collect::<Vec<_>>());
    }

    #[test]
    fn splices_like_a_vector() {
        let mut seed = 7_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below.max(1)
        };
        let (mut list, mut model) = (List::default(), Vec::new());
        for n in 0..900 {
            list.push(&record(n));
            model.push(record(n));
        }
        for round in 0..300 {
            let start = random(model.len() + 1);
            let end = (start + random(if round % 10 == 0 { 400 } else { 4 })).min(model.len());
            let new: Vec<_> = (0..random(5)).map(|n| record(round * 10 + n)).collect();
            let before = (list.clone(), model.clone());
            list.splice(start..end, &new.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
            model.splice(start..end, new);
            list.push(&record(round));
            model.push(record(round));
            check(&list, &model);
            if round % 50 == 0 {
                check(&before.0, &before.1);
            }
        }
        assert_eq!(list.splice(model.len()..model.len() + 1, &[]), Err(Error::OutOfRange));
    }
}
