//! A run of records, about 64 kB: packed in memory, or still as it was stored until somebody looks inside.
//!
//! Payload of a stored segment: count (u32), the end of each record (u32, its comma included), the records as JSON
//! text, each with a trailing comma; numbers little-endian. So an encode of a segment is one copy, and opening it
//! parses nothing.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::body::Body;
use crate::envelope::{self, BlockId, Kind, Place};
use crate::error::{Error, Result};

/// A segment is complete when its records have this many bytes.
pub const SEGMENT_SIZE: usize = 64 * 1024;

/// Records one after the other, each with a trailing comma.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Packed {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Packed {
    #[must_use]
    pub fn with_capacity(bytes: usize, records: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(records) }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of the first `count` records, commas included.
    #[must_use]
    pub fn size(&self, count: usize) -> usize {
        count.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |&end| end as usize)
    }

    pub fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.bytes.push(b',');
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        self.bytes.get(self.size(index)..end.checked_sub(1)?)
    }

    /// The text of the first `count` records, commas included.
    #[must_use]
    pub fn text(&self, count: usize) -> &[u8] {
        self.bytes.get(..self.size(count)).unwrap_or_default()
    }

    /// The text of the records in a range, commas included.
    #[must_use]
    pub fn texts(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(self.size(range.start)..self.size(range.end)).unwrap_or_default()
    }

    /// A copy of the first `count` records, with room for more.
    #[must_use]
    pub fn prefix(&self, count: usize) -> Self {
        let mut out = Self::with_capacity(SEGMENT_SIZE, count);
        out.bytes.extend_from_slice(self.text(count));
        out.ends.extend_from_slice(self.ends.get(..count).unwrap_or_default());
        out
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + 4 * self.ends.len() + self.bytes.len());
        out.extend_from_slice(&u32::try_from(self.ends.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(self.ends.iter().flat_map(|end| end.to_le_bytes()));
        out.extend_from_slice(&self.bytes);
        out
    }

    fn from_payload(mut payload: Vec<u8>) -> Option<Self> {
        let (count, rest) = payload.split_first_chunk::<4>()?;
        let (ends, bytes) = rest.split_at_checked(4 * u32::from_le_bytes(*count) as usize)?;
        let ends: Vec<u32> = ends.as_chunks::<4>().0.iter().map(|end| u32::from_le_bytes(*end)).collect();
        let mut last = 0;
        for &end in &ends {
            if end < last + 2 || bytes.get(end as usize - 1) != Some(&b',') {
                return None;
            }
            last = end;
        }
        if last as usize != bytes.len() {
            return None;
        }
        // What stands before the records is taken out of the way; they stay in the room that they were unpacked into.
        payload.drain(..4 + 4 * ends.len());
        Some(Self { bytes: payload, ends })
    }
}

/// A segment as it stands in a store.
#[derive(Debug, Clone)]
pub struct Stored {
    pub session_id: Arc<str>,
    pub epoch: u32,
    pub id: BlockId,
    /// None if it was left in the store.
    pub body: Option<Body>,
}

impl Stored {
    fn place(&self) -> Place<'_> {
        Place { session_id: &self.session_id, epoch: self.epoch, kind: Kind::Segment, id: self.id }
    }
}

/// Where a segment stands among the blocks of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub id: BlockId,
    pub position: i64,
}

/// An immutable run of records, shared between snapshots.
#[derive(Debug)]
pub struct Segment {
    count: usize,
    size: usize,
    packed: OnceLock<Arc<Packed>>,
    stored: Mutex<Option<Stored>>,
    spot: Mutex<Option<Spot>>,
}

impl Segment {
    #[must_use]
    pub fn new(packed: Packed) -> Self {
        Self {
            count: packed.len(),
            size: packed.size(packed.len()),
            packed: OnceLock::from(Arc::new(packed)),
            stored: Mutex::new(None),
            spot: Mutex::new(None),
        }
    }

    /// A segment that is opened when it is first touched.
    #[must_use]
    pub fn lazy(count: usize, position: i64, stored: Stored) -> Self {
        Self {
            count,
            size: stored
                .body
                .as_ref()
                .map_or(0, Body::raw_length)
                .saturating_sub(count.saturating_mul(4).saturating_add(4)),
            packed: OnceLock::new(),
            spot: Mutex::new(Some(Spot { id: stored.id, position })),
            stored: Mutex::new(Some(stored)),
        }
    }

    /// Records that cannot be told: all that asks for them fails so.
    pub(crate) fn refused(count: usize, error: Error) -> Arc<Self> {
        let body = Some(Body::refused(error));
        let stored = Mutex::new(Some(Stored { session_id: "".into(), epoch: 0, id: BlockId::default(), body }));
        Arc::new(Self { count, size: 0, packed: OnceLock::new(), stored, spot: Mutex::new(None) })
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The bytes of its records, commas included; of one that is still sealed, those of the sealed body.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Its records; opened, checked and kept on the first call.
    pub fn records(&self) -> Result<&Arc<Packed>> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed);
        }
        // Not under the lock: what opens a sealed body may wait for another thread, and that one for the lock.
        let waiting = lock(&self.stored).clone();
        if let Some(waiting) = waiting {
            let packed = open(&waiting, self.count)?;
            drop(self.packed.set(Arc::new(packed)));
            *lock(&self.stored) = None;
        }
        self.packed.get().ok_or(Error::OutOfRange)
    }

    /// The id of its block if that was left in the store.
    #[must_use]
    pub fn missing(&self) -> Option<BlockId> {
        lock(&self.stored).as_ref().filter(|stored| stored.body.is_none()).map(|stored| stored.id)
    }

    /// Takes in the block that was left in the store.
    pub fn fill(&self, body: &Body) {
        if let Some(stored) = lock(&self.stored).as_mut() {
            stored.body = Some(body.clone());
        }
    }

    #[must_use]
    pub fn spot(&self) -> Option<Spot> {
        *lock(&self.spot)
    }

    pub fn set_spot(&self, spot: Spot) {
        *lock(&self.spot) = Some(spot);
    }

    /// The envelope of this segment under a new id.
    pub fn seal(&self, session_id: &str, epoch: u32, id: BlockId) -> Result<Vec<u8>> {
        let place = Place { session_id, epoch, kind: Kind::Segment, id };
        Ok(envelope::seal(&place, &self.records()?.payload()))
    }
}

fn open(stored: &Stored, count: usize) -> Result<Packed> {
    let place = stored.place();
    let payload = stored.body.as_ref().ok_or(Error::NotLoaded)?.open(&place)?;
    let packed = Packed::from_payload(payload).ok_or_else(|| Error::corrupt(place.name(), "not a run of records"))?;
    if packed.len() == count {
        Ok(packed)
    } else {
        Err(Error::corrupt(place.name(), format!("{} records instead of {count}", packed.len())))
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks can leave its content half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(records: &[&str]) -> Packed {
        let mut out = Packed::default();
        for record in records {
            out.push(record.as_bytes());
        }
        out
    }

    #[test]
    fn pinned_payload() {
        let payload = packed(&[r#"{"a":1}"#, "{}"]).payload();
        assert_eq!(crate::hex::encode(&payload), "02000000080000000b0000007b2261223a317d2c7b7d2c");
        assert_eq!(Packed::from_payload(payload).unwrap(), packed(&[r#"{"a":1}"#, "{}"]));
    }

    #[test]
    fn a_stored_segment_opens_when_touched_and_only_at_its_place() {
        let segment = Segment::new(packed(&[r#"{"a":1}"#, "{}"]));
        let body = Body::new(segment.seal("s", 0, [1; 16]).unwrap());
        let lazy = |id, count| {
            Segment::lazy(count, 5, Stored { session_id: "s".into(), epoch: 0, id, body: Some(body.clone()) })
        };
        let opened = lazy([1; 16], 2);
        assert_eq!((opened.size(), opened.count()), (segment.size(), 2));
        assert_eq!(opened.records().unwrap(), segment.records().unwrap());
        assert_eq!(opened.spot(), Some(Spot { id: [1; 16], position: 5 }));
        let absent = Stored { session_id: "s".into(), epoch: 0, id: [1; 16], body: None };
        let absent = Segment::lazy(2, 5, absent);
        assert_eq!((absent.records().err(), absent.missing()), (Some(Error::NotLoaded), Some([1; 16])));
        absent.fill(&body);
        assert_eq!(absent.records().unwrap(), segment.records().unwrap());
        assert_eq!(absent.missing(), None);
        assert!(lazy([2; 16], 2).records().is_err());
        assert!(lazy([1; 16], 3).records().is_err());
    }

    struct Slow(Vec<u8>, std::sync::atomic::AtomicUsize);

    impl crate::body::Opener for Slow {
        fn open(&self) -> Result<Vec<u8>> {
            let before = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if before == 0 { Err(Error::Opener) } else { Ok(self.0.clone()) }
        }

        fn size(&self) -> usize {
            9
        }
    }

    #[test]
    fn a_sealed_segment_is_opened_when_touched_and_tried_again_after_a_failure() {
        let segment = Segment::new(packed(&["{}"]));
        let body = Body::sealed(Slow(segment.seal("s", 0, [1; 16]).unwrap(), 0.into()));
        let sealed = Segment::lazy(1, 5, Stored { session_id: "s".into(), epoch: 0, id: [1; 16], body: Some(body) });
        assert_eq!(sealed.size(), 9 - 8);
        assert_eq!(sealed.records().err(), Some(Error::Opener));
        assert_eq!(sealed.records().unwrap(), segment.records().unwrap());
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        let payload = packed(&[r#"{"a":1}"#, "{}"]).payload();
        for at in 0..12 {
            let mut wrong = payload.clone();
            wrong[at] ^= 5;
            assert_eq!(Packed::from_payload(wrong), None, "byte {at}");
        }
        for end in 0..payload.len() {
            assert_eq!(Packed::from_payload(payload[..end].to_vec()), None, "cut at {end}");
        }
    }
}
