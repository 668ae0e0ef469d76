//! The description of a checkpoint: what the blocks beside it are, and for which state they stand.
//!
//! Payload: a JSON object that a person can read, its bytes in hexadecimal. `blocks` has the number of blocks of each
//! list that has any, and the ids of the blocks of values: "" is that of the small ones. `fields` has the number of
//! records of each list, and null for a value.

use std::cell::RefCell;
use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::envelope::{self, BlockId, Kind, Place};
use crate::error::{Error, Result};
use crate::frame::Token;
use crate::json::members;
use crate::state::Names;
use crate::{hex, text, write};

pub type Digest = [u8; 32];

thread_local! {
    /// Those of the head that was read last: most heads have the same, which then are there once.
    static LAST: RefCell<Names> = RefCell::default();
}

/// What a field has of the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    Values(BlockId),
    /// So many blocks of records.
    Records(usize),
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub version: u64,
    pub token: Token,
    pub stamp: [u8; 16],
    pub user_id: String,
    pub created_at: i64,
    /// The fields that have blocks, in the order of their names, in which stores give the blocks.
    pub blocks: Vec<(Arc<str>, Held)>,
    /// The fields of the state.
    pub names: Names,
    /// How many records each of them has; None of a value.
    pub records: Vec<Option<usize>>,
    /// SHA-256 over the fields that have blocks and the ids of those, in their order.
    pub digest: Digest,
}

impl Head {
    /// The head in its envelope.
    #[must_use]
    pub fn seal(&self, session_id: &str, epoch: u32) -> Vec<u8> {
        let place = Place::version(session_id, epoch, Kind::Head, self.version);
        envelope::seal(&place, &self.payload())
    }

    /// The head in a stored envelope.
    pub fn open(session_id: &str, epoch: u32, version: u64, bytes: &[u8]) -> Result<Self> {
        let place = Place::version(session_id, epoch, Kind::Head, version);
        let head = read(&envelope::open(&place, bytes)?).filter(|head| head.version == version);
        head.ok_or_else(|| Error::corrupt(place.name(), "not a description of this state"))
    }

    /// Each field with its number of records, None of a value.
    pub fn fields(&self) -> impl Iterator<Item = (&str, Option<usize>)> {
        self.names.iter().map(|name| &**name).zip(self.records.iter().copied())
    }

    /// What a field has of the blocks.
    #[must_use]
    pub fn held(&self, field: &str) -> Option<Held> {
        self.blocks.iter().find(|(name, _)| **name == *field).map(|(_, held)| *held)
    }

    /// Whether a field is a list of records.
    #[must_use]
    pub fn is_records(&self, name: &str) -> bool {
        self.names.place(name).is_some_and(|at| matches!(self.records.get(at), Some(Some(_))))
    }

    fn payload(&self) -> Vec<u8> {
        let Self { version, created_at, .. } = self;
        let (token, stamp, digest) = (hex::encode(&self.token), hex::encode(&self.stamp), hex::encode(&self.digest));
        let mut out = format!(
            r#"{{"version":{version},"token":"{token}","stamp":"{stamp}","digest":"{digest}","created_at":{created_at},"user_id":"#
        )
        .into_bytes();
        write::string(&mut out, &self.user_id);
        out.extend_from_slice(br#","blocks":"#);
        object(&mut out, self.blocks.iter().map(|(name, held)| (&**name, held.text())));
        out.extend_from_slice(br#","fields":"#);
        let total = |records: Option<usize>| records.map_or_else(|| "null".to_owned(), |records| records.to_string());
        object(&mut out, self.fields().map(|(name, records)| (name, total(records))));
        out.push(b'}');
        out
    }
}

impl Held {
    fn text(&self) -> String {
        match self {
            Self::Values(id) => format!("\"{}\"", hex::encode(id)),
            Self::Records(blocks) => blocks.to_string(),
        }
    }
}

fn object<'a>(out: &mut Vec<u8>, members: impl Iterator<Item = (&'a str, String)>) {
    out.push(b'{');
    for (n, (name, value)) in members.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write::string(out, name);
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'}');
}

/// Members come in the order in which they are written.
fn read(payload: &[u8]) -> Option<Head> {
    let mut members = members(payload, 0).ok()?;
    let mut get = |key: &[u8]| {
        let (found, value) = members.next()?.ok()?;
        (payload.get(found)? == key).then(|| payload.get(value)).flatten()
    };
    let string = |raw| text::unescape(raw).ok();
    let mut head = Head {
        version: number(get(b"\"version\"")?)?,
        token: hex::decode(&string(get(b"\"token\"")?)?)?,
        stamp: hex::decode(&string(get(b"\"stamp\"")?)?)?,
        digest: hex::decode(&string(get(b"\"digest\"")?)?)?,
        created_at: number(get(b"\"created_at\"")?)?,
        user_id: string(get(b"\"user_id\"")?)?.into_owned(),
        blocks: blocks(get(b"\"blocks\"")?)?,
        names: Names::default(),
        records: Vec::new(),
    };
    (head.names, head.records) = fields(get(b"\"fields\"")?)?;
    Some(head)
}

fn number<T: FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}

fn blocks(text: &[u8]) -> Option<Vec<(Arc<str>, Held)>> {
    let found = members(text, 0).ok()?.map(|found| {
        let (key, value) = found.ok()?;
        let held = match text.get(value)? {
            [b'"', id @ .., b'"'] => Held::Values(hex::decode(str::from_utf8(id).ok()?)?),
            count => Held::Records(number(count)?),
        };
        Some((Arc::from(&*text::unescape(text.get(key)?).ok()?), held))
    });
    let blocks: Vec<_> = found.collect::<Option<_>>()?;
    blocks.is_sorted_by(|(a, _), (b, _)| a < b).then_some(blocks)
}

/// Names and numbers of records as they stand in the payload; None if they are not written so, or a name stands there
/// twice.
#[must_use]
pub fn fields(text: &[u8]) -> Option<(Names, Vec<Option<usize>>)> {
    let found: Vec<_> = members(text, 0).ok()?.collect::<Result<_>>().ok()?;
    let records = found.iter().map(|(_, value)| match text.get(value.clone())? {
        b"null" => Some(None),
        value => number(value).map(Some),
    });
    let records = records.collect::<Option<_>>()?;
    let raw = found.into_iter().map(|(key, _)| text.get(key)).collect::<Option<Vec<_>>>()?;
    LAST.with_borrow_mut(|last| {
        if !are_written(&raw, last) {
            *last = names(&raw)?;
        }
        Some((Arc::clone(last), records))
    })
}

/// Whether these keys are those names.
fn are_written(raw: &[&[u8]], names: &Names) -> bool {
    let is_same = |(key, name): (&&[u8], &Arc<str>)| match key {
        [b'"', key @ .., b'"'] => *key == *name.as_bytes() && !key.contains(&b'\\'),
        _ => false,
    };
    raw.len() == names.len() && raw.iter().zip(names.iter()).all(is_same)
}

fn names(raw: &[&[u8]]) -> Option<Names> {
    let names: Vec<Arc<str>> =
        raw.iter().map(|key| Some((*text::unescape(key).ok()?).into())).collect::<Option<_>>()?;
    let distinct: HashSet<_> = names.iter().collect();
    (distinct.len() == names.len()).then(|| Arc::new(names.into_iter().collect()))
}

/// The digest of blocks, given as each field with the ids of its blocks in their order.
#[must_use]
pub fn digest<'a>(fields: impl Iterator<Item = (&'a str, &'a [BlockId])>) -> Digest {
    let mut hash = Sha256::new();
    for (field, ids) in fields.filter(|(_, ids)| !ids.is_empty()) {
        hash.update(field.as_bytes());
        hash.update([0]);
        hash.update((ids.len() as u64).to_le_bytes());
        hash.update(ids.as_flattened());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            version: 3,
            token: [1; 16],
            stamp: [2; 16],
            user_id: "u\"".into(),
            created_at: 5,
            blocks: vec![("".into(), Held::Values([3; 16])), ("conversation_history".into(), Held::Records(1))],
            names: Arc::new(["conversation_history", "metadata"].map(Arc::from).into_iter().collect()),
            records: vec![Some(2), None],
            digest: digest([("a", [[1; 16]].as_slice())].into_iter()),
        }
    }

    #[test]
    fn pinned_payload() {
        let sealed = head().seal("s", 0);
        let payload = envelope::open(&Place::version("s", 0, Kind::Head, 3), &sealed).unwrap();
        assert_eq!(
            String::from_utf8(payload).unwrap(),
            concat!(
                r#"{"version":3,"token":"01010101010101010101010101010101","stamp":"02020202020202020202020202020202","#,
                r#""digest":"c64baa47409d0b4f479fca58be6a83ec5ee95e6644d11994644cd01481b464c4","created_at":5,"#,
                r#""user_id":"u\"","blocks":{"":"03030303030303030303030303030303","conversation_history":1},"#,
                r#""fields":{"conversation_history":2,"metadata":null}}"#
            )
        );
        assert_eq!(Head::open("s", 0, 3, &sealed).unwrap(), head());
        assert!(Head::open("s", 0, 4, &sealed).is_err());
    }

    #[test]
    fn what_describes_no_state_is_refused() {
        let payload = String::from_utf8(head().payload()).unwrap();
        assert_eq!(read(payload.as_bytes()), Some(head()));
        for (part, wrong) in [
            ("3", "-3"),
            ("0101", "01"),
            ("0202", "0g02"),
            ("c64b", "c6"),
            (":5", ":null"),
            ("\"u\\\"\"", "[]"),
            ("\":1}", "\":-1}"),
            ("\"\":", "\"x\":"),
            ("\"0303", "\"03"),
            ("\"0303", "\"zz03"),
            (":2", ":2.0"),
            (":2", ":-2"),
            ("metadata", "conversation_history"),
            ("\"fields\"", "\"other\""),
        ] {
            assert!(payload.contains(part), "{part}");
            assert_eq!(read(payload.replacen(part, wrong, 1).as_bytes()), None, "{part} as {wrong}");
        }
        for end in 0..payload.len() - 1 {
            assert_eq!(read(&payload.as_bytes()[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn heads_with_the_same_names_share_them() {
        let names = |text: &str| fields(text.as_bytes()).unwrap().0;
        assert_eq!(**names(r#"{"a\\u0062":1}"#), [r"a\u0062".into()]);
        assert_eq!(**names(r#"{"a\u0062":1}"#), ["ab".into()]);
        let plain = names(r#"{"a":1,"b":null}"#);
        assert!(Arc::ptr_eq(&plain, &names(r#"{"a":null,"b":2}"#)));
        for other in [r#"{"a":1}"#, r#"{"b":1,"a":null}"#, r#"{"a":1,"b":null,"c":null}"#] {
            assert!(!Arc::ptr_eq(&plain, &names(other)));
            assert_eq!(*names(r#"{"a":1,"b":null}"#), *plain);
        }
    }

    #[test]
    fn a_digest_tells_order_and_fields_apart() {
        let of = |fields: &[(&'static str, &'static [BlockId])]| digest(fields.iter().copied());
        let all = [
            of(&[("x", &[[1; 16], [2; 16]])]),
            of(&[("x", &[[2; 16], [1; 16]])]),
            of(&[("x", &[[1; 16]])]),
            of(&[("y", &[[1; 16]])]),
            of(&[("x", &[[1; 16]]), ("y", &[[2; 16]])]),
            of(&[("y", &[[2; 16]]), ("x", &[[1; 16]])]),
        ];
        assert_eq!(HashSet::from(all).len(), 6);
        assert_eq!(of(&[("x", &[[1; 16]]), ("y", &[])]), of(&[("x", &[[1; 16]])]));
    }
}
