//! The names of the fields of a session, in their order.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use memchr::memchr;

use crate::error::Result;
use crate::text;

/// Up to so many are found as fast by comparing one after the other.
const FEW: usize = 32;

/// Names that all differ, each with its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldNames {
    names: Vec<Arc<str>>,
    /// Empty where they are few.
    places: HashMap<Arc<str>, usize>,
    has_special: bool,
}

impl FieldNames {
    /// Where a name stands.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        if self.names.len() > FEW {
            self.places.get(name).copied()
        } else {
            self.names.iter().position(|own| &**own == name)
        }
    }

    /// Where a name stands that is most likely one of these, shared.
    #[must_use]
    pub fn place_of(&self, name: &Arc<str>) -> Option<usize> {
        let shared = self.names.iter().take(FEW).position(|own| Arc::ptr_eq(own, name));
        shared.or_else(|| self.place(name))
    }

    /// The same of a key with its quotes, which is likely to stand at `start` or soon after it.
    pub fn place_of_key(&self, key: &[u8], start: usize) -> Result<Option<usize>> {
        if let [b'"', plain @ .., b'"'] = key
            && memchr(b'\\', plain).is_none()
            && let Some(at) = self.names.iter().skip(start).take(FEW).position(|own| own.as_bytes() == plain)
        {
            return Ok(Some(start + at));
        }
        Ok(self.place(&text::unescape(key)?))
    }

    /// Whether each of them stands in a JSON pointer, and that in JSON text, as it is.
    #[must_use]
    pub fn are_plain(&self) -> bool {
        !self.has_special
    }

    /// Puts a new name behind the others.
    pub fn push(&mut self, name: &str) {
        self.names.push(name.into());
        self.has_special |= !is_plain(name);
        if self.names.len() == FEW + 1 {
            self.index();
        } else if let Some(last) = self.names.last().filter(|_| self.names.len() > FEW) {
            self.places.insert(Arc::clone(last), self.names.len() - 1);
        }
    }

    /// Takes a name away; those behind it move up.
    pub fn remove(&mut self, place: usize) {
        self.names.remove(place);
        self.index();
    }

    fn index(&mut self) {
        self.has_special = !self.names.iter().all(|name| is_plain(name));
        self.places.clear();
        if self.names.len() > FEW {
            self.places.extend(self.names.iter().cloned().enumerate().map(|(at, name)| (name, at)));
        }
    }
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl FromIterator<Arc<str>> for FieldNames {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(names: I) -> Self {
        let mut found = Self { names: names.into_iter().collect(), places: HashMap::new(), has_special: false };
        found.index();
        found
    }
}

impl Deref for FieldNames {
    type Target = [Arc<str>];

    fn deref(&self) -> &[Arc<str>] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_wherever_one_begins_to_look() {
        let names: FieldNames = ["ab", r"a\u0062", "c", "é"].map(Arc::from).into_iter().collect();
        let keys =
            [("\"ab\"", 0), (r#""a\u0062""#, 0), (r#""a\\u0062""#, 1), ("\"c\"", 2), ("\"é\"", 3), (r#""\u00e9""#, 3)];
        for start in 0..6 {
            for (key, place) in keys {
                assert_eq!(names.place_of_key(key.as_bytes(), start), Ok(Some(place)), "{key}");
            }
            assert_eq!(names.place_of_key(b"\"d\"", start), Ok(None));
            assert!(names.place_of_key(b"\"\xff\"", start).is_err());
        }
    }

    #[test]
    fn each_is_found_at_its_place_whatever_comes_and_goes() {
        let mut names = FieldNames::default();
        let mut model: Vec<String> = Vec::new();
        for n in 0..200_usize {
            if n % 3 == 2 {
                let place = n * 7 % model.len();
                names.remove(place);
                model.remove(place);
            } else {
                let name = format!("f{n}{}", if n % 5 == 0 { "/" } else { "" });
                names.push(&name);
                model.push(name);
            }
            let collected: FieldNames = names.iter().cloned().collect();
            for found in [&names, &collected] {
                assert!(found.iter().map(|name| &**name).eq(model.iter()));
                assert!(model.iter().enumerate().all(|(at, name)| found.place(name) == Some(at)));
                assert_eq!(found.are_plain(), !model.iter().any(|name| name.contains('/')));
                assert!(names.iter().enumerate().all(|(at, name)| found.place_of(name) == Some(at)));
                assert!(model.iter().enumerate().all(|(at, name)| found.place_of(&(&**name).into()) == Some(at)));
                assert_eq!(found.place(&format!("f{}", n + 1)), None);
            }
        }
    }
}
