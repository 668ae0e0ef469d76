//! Bytes as an envelope and as its payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use swisper_core::envelope::{FORMAT, Kind, MAGIC, Place, open, raw_length, seal};

const PLACE: Place<'_> = Place { session_id: "s", epoch: 1, kind: Kind::Segment, id: [7; 16] };
/// Up to here a payload is stored as it is.
const PLAIN: usize = 512;

fuzz_target!(|data: &[u8]| {
    let _ = open(&PLACE, data);
    if let Some(bytes) = repaired(data) {
        opened(&bytes);
    }
    sealed(data);
});

/// The bytes with the place and the checksum they should have, so that what stands behind those is read.
fn repaired(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    bytes.get_mut(..5)?.copy_from_slice(&[&MAGIC[..], &[FORMAT]].concat());
    bytes.get_mut(5..8)?.copy_from_slice(&[PLACE.kind as u8, *data.get(6)?, 1]);
    bytes.get_mut(8..12)?.copy_from_slice(&PLACE.epoch.to_le_bytes());
    bytes.get_mut(16..32)?.copy_from_slice(&PLACE.id);
    *bytes.get_mut(36)? = b's';
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes.get(..32)?);
    crc.update(bytes.get(36..)?);
    bytes.get_mut(32..36)?.copy_from_slice(&crc.finalize().to_le_bytes());
    Some(bytes)
}

fn opened(bytes: &[u8]) {
    let Ok(payload) = open(&PLACE, bytes) else { return };
    assert_eq!(payload.len(), raw_length(bytes));
    assert!(payload.capacity() <= (1 << 20).max(1024 * bytes.len()));
    let again = seal(&PLACE, &payload);
    assert_eq!(open(&PLACE, &again).as_ref(), Ok(&payload));
    if payload.len() <= PLAIN && bytes.get(6) == Some(&0) {
        assert_eq!(again, bytes);
    }
}

/// What was sealed opens, and not after any one bit of it was turned or its end was lost.
fn sealed(payload: &[u8]) {
    let mut bytes = seal(&PLACE, payload);
    assert!(bytes.len() <= payload.len() + 37);
    assert_eq!(open(&PLACE, &bytes).as_deref(), Ok(payload));
    let at = crc32fast::hash(payload) as usize % (8 * bytes.len());
    assert!(open(&PLACE, &bytes[..at / 8]).is_err());
    bytes[at / 8] ^= 1 << (at % 8);
    assert!(open(&PLACE, &bytes).is_err());
}
