//! One version of a session: a JSON Patch with its parent, its token, and who wrote it when.
//!
//! Payload: length of the change id (u8), the change id, parent token (16), token (16), the client's time in
//! microseconds since 1970 (i64, little-endian), the patch.

use crate::envelope::{self, Kind, Place};
use crate::error::{Error, Result};

pub type Token = [u8; 16];

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub version: u64,
    pub parent: Token,
    pub token: Token,
    pub change_id: &'a str,
    pub time: i64,
    pub patch: &'a [u8],
}

impl Frame<'_> {
    /// The frame in its envelope. A change id has at most 255 bytes.
    #[must_use]
    pub fn seal(&self, session_id: &str, epoch: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + session_id.len() + self.change_id.len() + self.patch.len());
        self.begin(&mut out, session_id, epoch);
        self.finish(&mut out, session_id, epoch);
        out
    }

    /// Begins the frame in an empty buffer; a patch that is not in `self` may be appended until `finish`.
    pub fn begin(&self, out: &mut Vec<u8>, session_id: &str, epoch: u32) {
        let change_id = self.change_id.as_bytes();
        envelope::begin(out, &place(session_id, epoch, self.version));
        out.push(u8::try_from(change_id.len()).unwrap_or(u8::MAX));
        for part in [change_id, &self.parent, &self.token, &self.time.to_le_bytes(), self.patch] {
            out.extend_from_slice(part);
        }
    }

    /// Closes the envelope of the frame in this buffer.
    pub fn finish(&self, out: &mut Vec<u8>, session_id: &str, epoch: u32) {
        envelope::finish(out, &place(session_id, epoch, self.version));
    }
}

fn place(session_id: &str, epoch: u32, version: u64) -> Place<'_> {
    Place::version(session_id, epoch, Kind::Frame, version)
}

/// The payload of a stored frame: what `parse` reads.
pub fn open(session_id: &str, epoch: u32, version: u64, bytes: &[u8]) -> Result<Vec<u8>> {
    envelope::open(&place(session_id, epoch, version), bytes)
}

/// The frame in a payload.
pub fn parse(version: u64, payload: &[u8]) -> Result<Frame<'_>> {
    split(version, payload).ok_or_else(|| Error::corrupt(format!("frame {version}"), "not a frame"))
}

fn split(version: u64, payload: &[u8]) -> Option<Frame<'_>> {
    let (&length, rest) = payload.split_first()?;
    let (change_id, rest) = rest.split_at_checked(usize::from(length))?;
    let (parent, rest) = rest.split_first_chunk::<16>()?;
    let (token, rest) = rest.split_first_chunk::<16>()?;
    let (time, patch) = rest.split_first_chunk::<8>()?;
    let change_id = std::str::from_utf8(change_id).ok()?;
    Some(Frame { version, parent: *parent, token: *token, change_id, time: i64::from_le_bytes(*time), patch })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame<'_> =
        Frame { version: 7, parent: [1; 16], token: [2; 16], change_id: "job-7", time: 1_000_000, patch: b"[]" };

    #[test]
    fn pinned_bytes() {
        let sealed = FRAME.seal("s", 0);
        let payload = open("s", 0, 7, &sealed).unwrap();
        assert_eq!(
            crate::hex::encode(&payload),
            "056a6f622d37010101010101010101010101010101010202020202020202020202020202020240420f00000000005b5d"
        );
        assert_eq!(parse(7, &payload).unwrap(), FRAME);
    }

    #[test]
    fn a_patch_may_be_appended_to_a_frame_that_was_begun() {
        for patch in [b"[]".to_vec(), br#"{"long":"patch"}"#.repeat(1_000)] {
            let mut out = Vec::new();
            Frame { patch: b"", ..FRAME }.begin(&mut out, "s", 3);
            out.extend_from_slice(&patch);
            FRAME.finish(&mut out, "s", 3);
            assert_eq!(out, Frame { patch: &patch, ..FRAME }.seal("s", 3));
            assert_eq!(parse(7, &open("s", 3, 7, &out).unwrap()).unwrap().patch, patch);
        }
    }

    #[test]
    fn belongs_to_its_version_and_its_session() {
        let sealed = FRAME.seal("s", 0);
        assert!(open("s", 0, 8, &sealed).is_err());
        assert!(open("t", 0, 7, &sealed).is_err());
        assert!(open("s", 1, 7, &sealed).is_err());
        assert!(parse(7, b"\x05job").is_err());
    }
}
