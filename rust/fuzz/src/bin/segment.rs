//! Bytes as the payload of a segment, and as lines that become its records.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use swisper_core::body::Body;
use swisper_core::envelope::{Kind, Place, seal};
use swisper_core::list::List;
use swisper_core::segment::{Packed, Segment, Stored};

const PLACE: Place<'_> = Place { session_id: "s", epoch: 0, kind: Kind::Segment, id: [7; 16] };

fuzz_target!(|data: &[u8]| {
    read(data);
    written(data);
});

fn stored(count: usize, body: &[u8]) -> Segment {
    let body = Some(Body::new(body.to_vec()));
    Segment::lazy(count, 0, Stored { session_id: PLACE.session_id.into(), epoch: PLACE.epoch, id: PLACE.id, body })
}

/// A run of records is written in one way only, and opens as so many records as it has.
fn read(payload: &[u8]) {
    let body = seal(&PLACE, payload);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let count = number(payload.get(..4).unwrap_or_default());
    let other = number(&payload[payload.len().saturating_sub(8)..]);
    assert!(other == count || stored(other, &body).records().is_err());
    let segment = stored(count, &body);
    let Ok(packed) = segment.records() else { return };
    assert_eq!((packed.len(), packed.size(count)), (count, segment.size()));
    let joined: Vec<u8> = (0..count).flat_map(|n| [packed.get(n).unwrap(), b","].concat()).collect();
    assert_eq!((packed.text(count), packed.get(count)), (&*joined, None));
    assert_eq!(Segment::new(Packed::clone(packed)).seal(PLACE.session_id, PLACE.epoch, PLACE.id).unwrap(), body);
}

fn written(data: &[u8]) {
    let records: Vec<_> = data.split(|byte| *byte == b'\n').filter(|record| !record.is_empty()).collect();
    let (mut packed, mut list) = (Packed::default(), List::default());
    for record in &records {
        packed.push(record);
        list.push(record);
    }
    let body = Segment::new(packed).seal(PLACE.session_id, PLACE.epoch, PLACE.id).unwrap();
    let opened = List::from_segments([Arc::new(stored(records.len(), &body))]);
    for (n, record) in records.iter().enumerate() {
        assert_eq!((opened.get(n).unwrap().text(), list.get(n).unwrap().text()), (*record, *record));
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    opened.encode(&mut a).unwrap();
    list.encode(&mut b).unwrap();
    assert_eq!((a.len(), &a), (list.encoded_size(), &b));
}
