//! What stands around every stored block: what it is, where it belongs, and whether it is whole.
//!
//! | bytes   | content |
//! |---------|---------|
//! | 0..4    | `SWCX` |
//! | 4       | format, 1 |
//! | 5       | kind |
//! | 6       | flags: bit 0 = the payload is compressed with zstd |
//! | 7       | length n of the session id, in bytes |
//! | 8..12   | epoch, little-endian like all numbers |
//! | 12..16  | length of the payload before compression |
//! | 16..32  | id: of a block its own; of a frame or a head the version, 8 bytes, then zeros |
//! | 32..36  | CRC-32 (ISO-HDLC) of everything else |
//! | 36..    | session id, then the payload |
//!
//! A payload of more than 1 MiB is at most 1,024 times as long as it is compressed, or stands there as it is: so few
//! bytes cannot ask for much memory.

use std::cell::RefCell;

use crate::error::{Error, Result};

pub const MAGIC: [u8; 4] = *b"SWCX";
pub const FORMAT: u8 = 1;
const HEADER: usize = 36;
/// What a Fernet token begins with: its version.
const SEALED: u8 = 0x80;
const COMPRESSED: u8 = 1;
/// Payloads up to here are stored as they are.
const PLAIN_BLOCK: usize = 512;
/// So are heads, which every load reads, and frames, which are written within a turn, up to here.
const PLAIN_SMALL: usize = 4096;
const LEVEL: i32 = 1;
/// Payloads up to here may be compressed to whatever they come to; larger ones so many times at most.
const SMALL: usize = 1 << 20;
const MOST_TIMES: usize = 1024;

pub type BlockId = [u8; 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Head = 1,
    Fields = 2,
    Segment = 3,
    Frame = 4,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Fields => "fields block",
            Self::Segment => "segment",
            Self::Frame => "frame",
        }
    }
}

/// Where a block belongs. Bytes that were sealed for another place do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    pub session_id: &'a str,
    pub epoch: u32,
    pub kind: Kind,
    pub id: BlockId,
}

impl<'a> Place<'a> {
    #[must_use]
    pub fn version(session_id: &'a str, epoch: u32, kind: Kind, version: u64) -> Self {
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(version.to_le_bytes()) {
            *to = from;
        }
        Self { session_id, epoch, kind, id }
    }

    /// How errors call it.
    #[must_use]
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Head | Kind::Frame => {
                format!("{} {}", self.kind.name(), u128::from_le_bytes(self.id))
            }
            Kind::Fields | Kind::Segment => format!("{} {}", self.kind.name(), crate::hex::encode(&self.id)),
        }
    }
}

/// Puts a payload into its envelope.
#[must_use]
pub fn seal(place: &Place<'_>, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + place.session_id.len() + payload.len());
    begin(&mut out, place);
    out.extend_from_slice(payload);
    finish(&mut out, place);
    out
}

/// Begins an envelope in an empty buffer: what is appended until `finish` is its payload.
pub fn begin(out: &mut Vec<u8>, place: &Place<'_>) {
    out.extend_from_slice(&[0; HEADER]);
    out.extend_from_slice(place.session_id.as_bytes());
}

/// Compresses the payload of the envelope in this buffer if it is large, and fills in the header.
pub fn finish(out: &mut Vec<u8>, place: &Place<'_>) {
    let start = HEADER + place.session_id.len();
    let limit = if matches!(place.kind, Kind::Frame | Kind::Head) { PLAIN_SMALL } else { PLAIN_BLOCK };
    let payload = out.get(start..).unwrap_or_default();
    let (raw, mut flags) = (payload.len(), 0);
    if let Some(packed) = if raw > limit { compress(payload) } else { None } {
        flags = COMPRESSED;
        out.truncate(start);
        out.extend_from_slice(&packed);
    }
    let mut header = Vec::with_capacity(HEADER);
    let id_length = u8::try_from(place.session_id.len()).unwrap_or(u8::MAX);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&[FORMAT, place.kind as u8, flags, id_length]);
    header.extend_from_slice(&place.epoch.to_le_bytes());
    header.extend_from_slice(&u32_bytes(raw));
    header.extend_from_slice(&place.id);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header);
    crc.update(out.get(HEADER..).unwrap_or_default());
    header.extend_from_slice(&crc.finalize().to_le_bytes());
    for (to, from) in out.iter_mut().zip(header) {
        *to = from;
    }
}

fn compress(payload: &[u8]) -> Option<Vec<u8>> {
    let raw = payload.len();
    zstd::bulk::compress(payload, LEVEL).ok().filter(|packed| packed.len() < raw && raw <= most(packed.len()))
}

/// The length of the longest payload that is compressed to so many bytes.
fn most(packed: usize) -> usize {
    packed.saturating_mul(MOST_TIMES).max(SMALL)
}

/// The length of the payload in an envelope, as its header says; nothing is checked.
#[must_use]
pub fn raw_length(bytes: &[u8]) -> usize {
    bytes.get(12..16).and_then(|b| b.try_into().ok()).map_or(0, |b| u32::from_le_bytes(b) as usize)
}

/// Takes a payload out of its envelope, after checking that it is whole and belongs to `place`.
pub fn open(place: &Place<'_>, bytes: &[u8]) -> Result<Vec<u8>> {
    read(place, bytes).map_err(|problem| Error::corrupt(place.name(), problem))
}

fn read(place: &Place<'_>, bytes: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let (header, rest) = bytes.split_at_checked(HEADER).ok_or("cut short")?;
    let (checked, stored_crc) = header.split_at(HEADER - 4);
    let (magic, fields) = checked.split_at(4);
    let (&[format, kind, flags, id_length], numbers) = fields.split_first_chunk::<4>().ok_or("cut short")?;
    if magic != MAGIC {
        let is_sealed = magic.first() == Some(&SEALED);
        let problem = if is_sealed { "it is sealed, and no key was given" } else { "swisper_ctx has not written it" };
        return Err(problem.into());
    }
    if format != FORMAT {
        return Err(format!("format {format} is not known, only {FORMAT}: a newer swisper_ctx wrote it"));
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(checked);
    crc.update(rest);
    if stored_crc != crc.finalize().to_le_bytes() {
        return Err("the checksum does not match".into());
    }
    let (session_id, body) = rest.split_at_checked(usize::from(id_length)).ok_or("cut short")?;
    let expected = [place.epoch.to_le_bytes().as_slice(), &u32_bytes(raw_length(header)), &place.id].concat();
    if session_id != place.session_id.as_bytes() || numbers != expected || kind != place.kind as u8 {
        return Err("it belongs to another place".into());
    }
    unpack(flags, raw_length(header), body)
}

thread_local! {
    /// Kept, because a new one costs more than what it does for one block.
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn u32_bytes(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

fn unpack(flags: u8, raw: usize, body: &[u8]) -> std::result::Result<Vec<u8>, String> {
    match flags {
        0 if raw == body.len() => Ok(body.to_vec()),
        COMPRESSED if raw <= most(body.len()) => {
            let mut out = Vec::with_capacity(raw);
            let done = DECOMPRESSOR.with_borrow_mut(|decompressor| match decompressor {
                Some(decompressor) => decompressor.decompress_to_buffer(body, &mut out),
                None => decompressor.insert(zstd::bulk::Decompressor::new()?).decompress_to_buffer(body, &mut out),
            });
            done.map_err(|_| "cannot be decompressed")?;
            if out.len() == raw { Ok(out) } else { Err("its length is not what its header says".into()) }
        }
        COMPRESSED => Err("its header promises more than so few bytes may become".into()),
        0 => Err("its length is not what its header says".into()),
        _ => Err("flags that are not known: a newer swisper_ctx wrote it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place<'static> {
        Place { session_id: "s-1", epoch: 2, kind: Kind::Segment, id: [7; 16] }
    }

    #[test]
    fn pinned_bytes() {
        let sealed = seal(&Place::version("s-1", 2, Kind::Frame, 5), b"[]");
        assert_eq!(
            crate::hex::encode(&sealed),
            "53574358010400030200000002000000050000000000000000000000000000001d02d9bf732d315b5d"
        );
    }

    #[test]
    fn what_was_sealed_opens_at_its_place_only() {
        let payload = b"{\"a\":1}".repeat(200);
        let sealed = seal(&place(), &payload);
        assert!(sealed.len() < payload.len());
        assert_eq!(raw_length(&sealed), payload.len());
        assert_eq!(open(&place(), &sealed).unwrap(), payload);
        for other in [
            Place { session_id: "s-2", ..place() },
            Place { session_id: "s-", ..place() },
            Place { epoch: 3, ..place() },
            Place { kind: Kind::Fields, ..place() },
            Place { id: [8; 16], ..place() },
        ] {
            assert!(matches!(open(&other, &sealed), Err(Error::Corrupt { .. })));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        for payload in [b"[]".to_vec(), b"abc".repeat(300)] {
            let sealed = seal(&place(), &payload);
            for at in 0..sealed.len() * 8 {
                let mut bytes = sealed.clone();
                bytes[at / 8] ^= 1 << (at % 8);
                assert!(open(&place(), &bytes).is_err(), "bit {at}");
            }
            for end in 0..sealed.len() {
                assert!(open(&place(), &sealed[..end]).is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut sealed = seal(&place(), b"[]");
        sealed[4] = 9;
        let Err(Error::Corrupt { problem, .. }) = open(&place(), &sealed) else { panic!("it opened") };
        assert!(problem.contains("format 9"), "{problem}");
    }

    /// An envelope with this payload as it is, whose header says that it was `raw` bytes.
    fn claimed(raw: usize, packed: &[u8]) -> Vec<u8> {
        let mut sealed = seal(&place(), &[]);
        sealed.extend_from_slice(packed);
        sealed[6] = COMPRESSED;
        sealed[12..16].copy_from_slice(&u32_bytes(raw));
        let mut crc = crc32fast::Hasher::new();
        crc.update(&sealed[..32]);
        crc.update(&sealed[36..]);
        let crc = crc.finalize().to_le_bytes();
        sealed[32..36].copy_from_slice(&crc);
        sealed
    }

    #[test]
    fn a_false_length_is_refused() {
        let packed = zstd::bulk::compress(&b"abc".repeat(300), LEVEL).unwrap();
        assert!(open(&place(), &claimed(900, &packed)).is_ok());
        for raw in [0, 899, 901, SMALL, SMALL + 1, u32::MAX as usize] {
            assert!(matches!(open(&place(), &claimed(raw, &packed)), Err(Error::Corrupt { .. })), "{raw}");
        }
    }

    #[test]
    fn few_bytes_do_not_become_many() {
        let zeros = vec![b'0'; 1 << 26];
        let packed = zstd::bulk::compress(&zeros, LEVEL).unwrap();
        assert!(packed.len() < 1 << 14);
        let Err(Error::Corrupt { problem, .. }) = open(&place(), &claimed(zeros.len(), &packed)) else { panic!() };
        assert!(problem.contains("so few bytes"), "{problem}");
        for (raw, is_packed) in [(SMALL, true), (SMALL + 1, false)] {
            let sealed = seal(&place(), &zeros[..raw]);
            assert_eq!(sealed.len() < raw, is_packed);
            assert_eq!(open(&place(), &sealed).unwrap(), zeros[..raw]);
        }
        let varied: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
        let sealed = seal(&place(), &varied);
        assert_eq!((sealed[6], open(&place(), &sealed).unwrap()), (COMPRESSED, varied));
    }
}
