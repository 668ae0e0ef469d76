//! The description of a checkpoint: what the blocks beside it are, and for which state they stand.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::envelope::{self, BlockId, Kind, Place};
use crate::error::{Error, Result};
use crate::frame::Token;
use crate::hex;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    Value,
    Records,
}

/// One field of the state; `total` is its number of records (1 for a value).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldInfo {
    pub name: String,
    pub shape: Shape,
    pub total: usize,
}

/// See the module. Bytes are hexadecimal, so that the payload is JSON that a person can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub version: u64,
    pub token: String,
    pub stamp: String,
    pub user_id: String,
    pub created_at: i64,
    pub fields: Vec<FieldInfo>,
    /// SHA-256 over field and id of the blocks, in their order.
    pub digest: String,
}

impl Head {
    /// The head in its envelope.
    pub fn seal(&self, session_id: &str, epoch: u32) -> Result<Vec<u8>> {
        let place = Place::version(session_id, epoch, Kind::Head, self.version);
        let payload = serde_json::to_vec(self).map_err(|_| Error::corrupt(place.name(), "cannot be written"))?;
        Ok(envelope::seal(&place, &payload))
    }

    /// The head in a stored envelope.
    pub fn open(session_id: &str, epoch: u32, version: u64, bytes: &[u8]) -> Result<Self> {
        let place = Place::version(session_id, epoch, Kind::Head, version);
        let payload = envelope::open(&place, bytes)?;
        let head: Self = serde_json::from_slice(&payload)
            .map_err(|_| Error::corrupt(place.name(), "not a description of a state"))?;
        if head.version == version && head.token().is_some() {
            Ok(head)
        } else {
            Err(Error::corrupt(place.name(), "not a description of this state"))
        }
    }

    #[must_use]
    pub fn token(&self) -> Option<Token> {
        hex::decode(&self.token)
    }
}

/// The digest of blocks, given as (field, id) in their order.
#[must_use]
pub fn digest<'a>(blocks: impl Iterator<Item = (&'a str, BlockId)>) -> String {
    let mut hash = Sha256::new();
    for (field, id) in blocks {
        hash.update(field.as_bytes());
        hash.update([0]);
        hash.update(id);
    }
    hex::encode(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            version: 3,
            token: hex::encode(&[1; 16]),
            stamp: hex::encode(&[2; 16]),
            user_id: "u".into(),
            created_at: 5,
            fields: vec![FieldInfo { name: "conversation_history".into(), shape: Shape::Records, total: 2 }],
            digest: digest([("a", [1; 16])].into_iter()),
        }
    }

    #[test]
    fn pinned_payload() {
        let sealed = head().seal("s", 0).unwrap();
        let payload = envelope::open(&Place::version("s", 0, Kind::Head, 3), &sealed).unwrap();
        assert_eq!(
            String::from_utf8(payload).unwrap(),
            concat!(
                r#"{"version":3,"token":"01010101010101010101010101010101","stamp":"02020202020202020202020202020202","#,
                r#""user_id":"u","created_at":5,"fields":[{"name":"conversation_history","shape":"records","total":2}],"#,
                r#""digest":"3def729238755cf5a8556d6083ec422a0bd42282f2deb19207ac712ea000304f"}"#
            )
        );
        assert_eq!(Head::open("s", 0, 3, &sealed).unwrap(), head());
        assert!(Head::open("s", 0, 4, &sealed).is_err());
    }

    #[test]
    fn a_digest_tells_order_and_fields_apart() {
        let of = |blocks: &[(&'static str, BlockId)]| digest(blocks.iter().copied());
        let (a, b) = (("x", [1; 16]), ("x", [2; 16]));
        assert_ne!(of(&[a, b]), of(&[b, a]));
        assert_ne!(of(&[a]), of(&[("y", [1; 16])]));
    }
}
