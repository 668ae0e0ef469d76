//! The description of a checkpoint: what the blocks beside it are, and for which state they stand.
//!
//! Payload: a JSON object that a person can read, its bytes in hexadecimal. `fields` are the names of all fields, `lists`
//! the numbers of records of those that are lists of records. `blocks` has the number of blocks of each list that has
//! any, and the ids of the blocks of values: "" is that of the small ones.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::envelope::{self, BlockId, Kind, Place};
use crate::error::{Error, Result};
use crate::frame::Token;
use crate::json::skip_string;
use crate::state::Names;
use crate::{hex, text, write};

pub type Digest = [u8; 32];

thread_local! {
    /// Those of the head that was read last, as they stand there: most heads have the same, which then are there once.
    static LAST: RefCell<(Vec<u8>, Names)> = RefCell::default();
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
        out.extend_from_slice(br#","fields":["#);
        separated(&mut out, self.names.iter(), |out, name| write::string(out, name));
        out.extend_from_slice(br#"],"lists":{"#);
        let lists = self.fields().filter_map(|(name, records)| Some((name, records?)));
        separated(&mut out, lists, |out, (name, records)| member(out, name, &records.to_string()));
        out.extend_from_slice(br#"},"blocks":{"#);
        separated(&mut out, self.blocks.iter(), |out, (name, held)| member(out, name, &held.text()));
        out.extend_from_slice(b"}}");
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

fn separated<T>(out: &mut Vec<u8>, parts: impl Iterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) {
    for (n, part) in parts.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(out, part);
    }
}

fn member(out: &mut Vec<u8>, name: &str, value: &str) {
    write::string(out, name);
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
}

/// Reads just what is written: members in their order, and no white space.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn expect(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number<T: FromStr>(&mut self) -> Option<T> {
        let length = self.0.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-')).count();
        str::from_utf8(self.take(length)?).ok()?.parse().ok()
    }

    fn hex<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.expect(b"\"")?;
        let bytes = hex::decode(self.take(2 * N)?)?;
        self.expect(b"\"")?;
        Some(bytes)
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let length = skip_string(self.0, 0).ok()?;
        text::unescape(self.take(length)?).ok()
    }

    /// What stands between two brackets, each part as `part` reads it.
    fn parts<T>(&mut self, [open, close]: [u8; 2], part: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.expect(&[open])?;
        let mut parts = Vec::new();
        while self.0.first()? != &close {
            if !parts.is_empty() {
                self.expect(b",")?;
            }
            parts.push(part(self)?);
        }
        self.take(1)?;
        Some(parts)
    }

    /// The members of an object.
    fn members<T>(&mut self, value: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<(Cow<'a, str>, T)>> {
        self.parts(*b"{}", |reader| {
            let name = reader.string()?;
            reader.expect(b":")?;
            Some((name, value(reader)?))
        })
    }

    /// None if a name stands there twice.
    fn names(&mut self) -> Option<Names> {
        LAST.with_borrow_mut(|(text, names)| {
            if text.is_empty() || self.expect(text).is_none() {
                let before = self.0;
                *names = distinct(self.parts(*b"[]", |reader| Some(Arc::from(&*reader.string()?)))?)?;
                *text = before.get(..before.len() - self.0.len())?.to_vec();
            }
            Some(Arc::clone(names))
        })
    }

    fn held(&mut self) -> Option<Held> {
        if self.0.starts_with(b"\"") { self.hex().map(Held::Values) } else { self.number().map(Held::Records) }
    }
}

fn distinct(names: Vec<Arc<str>>) -> Option<Names> {
    let found: HashSet<_> = names.iter().collect();
    (found.len() == names.len()).then(|| Arc::new(names.into_iter().collect()))
}

fn read(payload: &[u8]) -> Option<Head> {
    let reader = &mut Reader(payload);
    reader.expect(b"{\"version\":")?;
    let version = reader.number()?;
    reader.expect(b",\"token\":")?;
    let token = reader.hex()?;
    reader.expect(b",\"stamp\":")?;
    let stamp = reader.hex()?;
    reader.expect(b",\"digest\":")?;
    let digest = reader.hex()?;
    reader.expect(b",\"created_at\":")?;
    let created_at = reader.number()?;
    reader.expect(b",\"user_id\":")?;
    let user_id = reader.string()?.into_owned();
    reader.expect(b",\"fields\":")?;
    let names = reader.names()?;
    reader.expect(b",\"lists\":")?;
    let records = records(&names, reader.members(Reader::number)?)?;
    reader.expect(b",\"blocks\":")?;
    let blocks = reader.members(Reader::held)?;
    (reader.0 == b"}" && blocks.is_sorted_by(|(a, _), (b, _)| a < b)).then_some(())?;
    let blocks = blocks.into_iter().map(|(name, held)| (Arc::from(&*name), held)).collect();
    Some(Head { version, token, stamp, user_id, created_at, blocks, names, records, digest })
}

/// Those of each field, None of a value.
fn records(names: &Names, lists: Vec<(Cow<'_, str>, usize)>) -> Option<Vec<Option<usize>>> {
    let mut records = vec![None; names.len()];
    for (name, total) in lists {
        *records.get_mut(names.place(&name)?)? = Some(total);
    }
    Some(records)
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
                r#""user_id":"u\"","fields":["conversation_history","metadata"],"lists":{"conversation_history":2},"#,
                r#""blocks":{"":"03030303030303030303030303030303","conversation_history":1}}"#
            )
        );
        assert_eq!(Head::open("s", 0, 3, &sealed).unwrap(), head());
        assert!(Head::open("s", 0, 4, &sealed).is_err());
    }

    #[test]
    fn what_describes_no_state_is_refused() {
        let payload = String::from_utf8(head().payload()).unwrap();
        assert_eq!(read(payload.as_bytes()), Some(head()));
        assert_eq!(read(format!("{payload} ").as_bytes()), None);
        for (part, wrong) in [
            ("3", "-3"),
            ("0101", "01"),
            ("0202", "0g02"),
            ("c64b", "c6"),
            (":5", ":null"),
            ("\"u\\\"\"", "[]"),
            ("\":1}", "\":-1}"),
            ("\":1}", "\":1,}"),
            ("\":1}", "\":+1}"),
            ("2}", "2,\"other\":1}"),
            (",\"lists", ", \"lists"),
            ("],", ",],"),
            ("\"\":", "\"x\":"),
            ("\"0303", "\"03"),
            ("\"0303", "\"zz03"),
            (":2", ":2.0"),
            (":2", ":-2"),
            ("\"metadata", "\"conversation_history"),
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
        let names = |text: &str| Reader(text.as_bytes()).names();
        assert_eq!(**names(r#"["a\\u0062"]"#).unwrap(), [r"a\u0062".into()]);
        assert_eq!(**names(r#"["a\u0062"]"#).unwrap(), ["ab".into()]);
        let plain = names(r#"["a","b"]"#).unwrap();
        assert!(Arc::ptr_eq(&plain, &names(r#"["a","b"],"#).unwrap()));
        for other in [r#"["a"]"#, r#"["b","a"]"#, r#"["a","b","c"]"#, "[]"] {
            assert!(!Arc::ptr_eq(&plain, &names(other).unwrap()));
            assert_eq!(*names(r#"["a","b"]"#).unwrap(), *plain);
        }
        for wrong in [r#"["a","a"]"#, r#"["a""b"]"#, r#"["a",1]"#, r#"["a","b""#, "{}", ""] {
            assert_eq!(names(wrong), None, "{wrong}");
            assert_eq!(*names(r#"["a","b"]"#).unwrap(), *plain);
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
