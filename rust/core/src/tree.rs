//! JSON values as the comparison sees them, whatever holds them: text here, objects of Python in the binding.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use memchr::{memchr, memmem};

use crate::equal;
use crate::error::{Error, Result};
use crate::json::{MAX_DEPTH, Members, elements, member, members, skip_value, slice};
use crate::{pointer, text};

/// The members that identify an object among its siblings; the first that there is counts.
pub const ID_KEYS: [&str; 4] = ["message_id", "product_id", "execution_id", "id"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Object,
    Array,
    Scalar,
}

/// A member that is not plainly the same on both sides.
#[derive(Debug)]
pub struct Member<'a, T> {
    pub key: Cow<'a, str>,
    pub old: Option<T>,
    pub new: Option<T>,
}

/// A JSON value.
pub trait Tree<'a>: Copy {
    type Error: From<Error>;

    fn shape(self) -> Shape;

    /// Whether both are the same value: `1`, `1.0` and `true` differ, the order of members does not count.
    fn same(self, other: Self) -> std::result::Result<bool, Self::Error>;

    /// The members of two objects that differ, those of this one first; None if a key stands twice.
    fn differing(self, other: Self) -> std::result::Result<Option<Vec<Member<'a, Self>>>, Self::Error>;

    fn items(self) -> std::result::Result<Vec<Self>, Self::Error>;

    /// What identifies this object among its siblings.
    fn id(self) -> std::result::Result<Option<Vec<u8>>, Self::Error>;

    /// So long its JSON text is at least.
    fn least_size(self) -> usize;

    /// Appends its JSON text.
    fn write(self, out: &mut Vec<u8>) -> std::result::Result<(), Self::Error>;
}

/// Compact JSON text.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(pub &'a [u8]);

impl<'a> Tree<'a> for Text<'a> {
    type Error = Error;

    fn shape(self) -> Shape {
        match self.0.first() {
            Some(b'{') => Shape::Object,
            Some(b'[') => Shape::Array,
            _ => Shape::Scalar,
        }
    }

    fn same(self, other: Self) -> Result<bool> {
        equal::json(self.0, other.0)
    }

    fn differing(self, other: Self) -> Result<Option<Vec<Member<'a, Self>>>> {
        let (mut old, mut new) = (Vec::new(), HashMap::new());
        for found in members(other.0, 0)? {
            let (key, value) = found?;
            if new.insert(text::unescape(slice(other.0, key)?)?, Text(slice(other.0, value)?)).is_some() {
                return Ok(None);
            }
        }
        let mut seen = HashSet::new();
        for found in members(self.0, 0)? {
            let (key, value) = found?;
            let (key, value) = (text::unescape(slice(self.0, key)?)?, Text(slice(self.0, value)?));
            if !seen.insert(key.clone()) {
                return Ok(None);
            }
            let target = new.remove(&key);
            if target.is_none_or(|target| target.0 != value.0) {
                old.push(Member { key, old: Some(value), new: target });
            }
        }
        // Those that are left are new; in the order in which they stand.
        for found in members(other.0, 0)? {
            let (key, _) = found?;
            let key = text::unescape(slice(other.0, key)?)?;
            if let Some(value) = new.remove(&key) {
                old.push(Member { key, old: None, new: Some(value) });
            }
        }
        Ok(Some(old))
    }

    fn items(self) -> Result<Vec<Self>> {
        let mut walk = elements(self.0, 0)?;
        walk.by_ref().map(|range| slice(self.0, range?).map(Text)).collect()
    }

    fn id(self) -> Result<Option<Vec<u8>>> {
        if self.shape() != Shape::Object {
            return Ok(None);
        }
        for name in ID_KEYS {
            let id = member(self.0, format!("\"{name}\"").as_bytes())?;
            if let Some(id) = id.filter(|id| !matches!(id.first(), Some(b'{' | b'[' | b'n'))) {
                return Ok(Some([name.as_bytes(), id].concat()));
            }
        }
        Ok(None)
    }

    fn least_size(self) -> usize {
        self.0.len()
    }

    fn write(self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.0);
        Ok(())
    }
}

/// The smallest parts of two texts that all differences are in, and the pointer to them.
///
/// What is the same at the start of both is walked over once; what is the same at the end is not walked over. So text
/// that is no JSON there is not found out.
pub fn narrow<'a>(mut source: &'a [u8], mut target: &'a [u8], path: &mut String) -> Result<(Text<'a>, Text<'a>)> {
    let (mut prefix, mut suffix) = ends(source, target);
    for _ in 0..MAX_DEPTH {
        let Some((token, old)) = changed_child(source, prefix, suffix)? else { break };
        let behind = source.len() - old.end;
        let new = old.start..target.len() - behind;
        if new.start > new.end || skip_value(target, new.start) != Ok(new.end) {
            break;
        }
        pointer::push_token(path, &token);
        (prefix, suffix) = (prefix - old.start, suffix - behind);
        (source, target) = (slice(source, old)?, slice(target, new)?);
    }
    Ok((Text(source), Text(target)))
}

/// How many bytes are the same at the start of both, and how many of the others at the end.
fn ends(source: &[u8], target: &[u8]) -> (usize, usize) {
    let same = |(a, b): &(&[u8; 64], &[u8; 64])| a == b;
    let blocks = source.as_chunks::<64>().0.iter().zip(target.as_chunks::<64>().0).take_while(same).count() * 64;
    let (a, b) = (source.get(blocks..).unwrap_or_default(), target.get(blocks..).unwrap_or_default());
    let prefix = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.get(prefix..).unwrap_or_default(), b.get(prefix..).unwrap_or_default());
    let (last, other_last) = (a.as_rchunks::<64>().1, b.as_rchunks::<64>().1);
    let behind = last.iter().rev().zip(other_last.iter().rev()).take_while(same).count() * 64;
    let (a, b) = (a.get(..a.len() - behind).unwrap_or_default(), b.get(..b.len() - behind).unwrap_or_default());
    (blocks + prefix, behind + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count())
}

/// The only child that can differ, as its token and where it stands; None if that may be more than one.
fn changed_child(source: &[u8], prefix: usize, suffix: usize) -> Result<Option<(String, Range<usize>)>> {
    let holds_all = |value: &Range<usize>| value.start <= prefix && value.end + suffix >= source.len();
    if source.first() == Some(&b'{') {
        let Some((raw, value)) = changed_member(source, prefix)? else { return Ok(None) };
        return Ok(if holds_all(&value) { Some((text::unescape(raw)?.into_owned(), value)) } else { None });
    }
    if source.first() == Some(&b'[') {
        for (index, element) in elements(source, 0)?.enumerate() {
            let element = element?;
            if element.end >= prefix {
                return Ok(holds_all(&element).then(|| (index.to_string(), element)));
            }
        }
    }
    Ok(None)
}

/// The first member that can differ; None if its key stands twice, for then it does not say which value it means.
fn changed_member(source: &[u8], prefix: usize) -> Result<Option<(&[u8], Range<usize>)>> {
    let may_escape = memchr(b'\\', source).is_some();
    let mut keys = Vec::new();
    let mut walk = members(source, 0)?;
    for member in walk.by_ref() {
        let (key, value) = member?;
        let raw = slice(source, key)?;
        if may_escape && raw.contains(&b'\\') {
            return Ok(None);
        }
        if value.end < prefix {
            keys.push(raw);
        } else if keys.contains(&raw) || !is_last(source, raw, value.end, may_escape, walk)? {
            return Ok(None);
        } else {
            return Ok(Some((raw, value)));
        }
    }
    Ok(None)
}

/// Whether no member behind this one has its key. Where the text of the key does not come again, no walk is needed.
fn is_last(source: &[u8], raw: &[u8], end: usize, may_escape: bool, rest: Members<'_>) -> Result<bool> {
    if !may_escape && memmem::find(source.get(end..).unwrap_or_default(), raw).is_none() {
        return Ok(true);
    }
    for member in rest {
        let key = slice(source, member?.0)?;
        if key == raw || key.contains(&b'\\') {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(source: &str, target: &str) -> (String, String, String) {
        let mut path = String::new();
        let (a, b) = narrow(source.as_bytes(), target.as_bytes(), &mut path).unwrap();
        let text = |part: Text<'_>| String::from_utf8(part.0.to_vec()).unwrap();
        (path, text(a), text(b))
    }

    #[test]
    fn the_smallest_parts_hold_all_differences() {
        for (source, target, path, old, new) in [
            (r#"{"a":1,"b":{"c":[1,2,3]}}"#, r#"{"a":1,"b":{"c":[1,7,3]}}"#, "/b/c/1", "2", "7"),
            (r#"{"a":1,"b":2}"#, r#"{"a":12,"b":2}"#, "/a", "1", "12"),
            (r#"{"a":12,"b":2}"#, r#"{"a":1,"b":2}"#, "/a", "12", "1"),
            (r#"{"a":1,"b":2}"#, r#"{"a":1,"b":{"x":2}}"#, "/b", "2", r#"{"x":2}"#),
            (r#"[[],[{"a/b":"x"}]]"#, r#"[[],[{"a/b":"xy"}]]"#, "/1/0/a~1b", r#""x""#, r#""xy""#),
            (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":3}"#, "", r#"{"a":1,"a":2}"#, r#"{"a":1,"a":3}"#),
            (r#"{"\u0061":1,"a":2}"#, r#"{"\u0061":1,"a":3}"#, "", r#"{"\u0061":1,"a":2}"#, r#"{"\u0061":1,"a":3}"#),
            ("[1,1,1]", "[1,1]", "", "[1,1,1]", "[1,1]"),
            ("[]", "[1]", "", "[]", "[1]"),
            ("1", "2", "", "1", "2"),
        ] {
            assert_eq!(narrowed(source, target), (path.into(), old.into(), new.into()), "{source} {target}");
        }
    }

    #[test]
    fn both_ends_are_found_at_every_place() {
        for length in 0..300 {
            let text: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            for at in (0..length).step_by(7) {
                let mut other = text.clone();
                other[at] = 255;
                assert_eq!(ends(&text, &other), (at, length - at - 1));
                other.remove(at);
                let (prefix, suffix) = ends(&text, &other);
                assert_eq!((prefix, prefix + suffix), (at, length - 1));
            }
        }
    }
}
