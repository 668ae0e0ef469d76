//! The names of the fields of a session, in their order.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

/// Up to so many are found as fast by comparing one after the other.
const FEW: usize = 32;

/// Names that all differ, each with its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldNames {
    names: Vec<Arc<str>>,
    /// Empty where they are few.
    places: HashMap<Arc<str>, usize>,
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

    /// The same, if it is likely to stand at `start` or soon after it.
    #[must_use]
    pub fn place_from(&self, start: usize, name: &str) -> Option<usize> {
        let near = self.names.iter().enumerate().skip(start).take(FEW);
        near.into_iter().find(|(_, own)| ***own == *name).map(|(at, _)| at).or_else(|| self.place(name))
    }

    /// Puts a new name behind the others.
    pub fn push(&mut self, name: &str) {
        self.names.push(name.into());
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
        self.places.clear();
        if self.names.len() > FEW {
            self.places.extend(self.names.iter().cloned().enumerate().map(|(at, name)| (name, at)));
        }
    }
}

impl FromIterator<Arc<str>> for FieldNames {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(names: I) -> Self {
        let mut found = Self { names: names.into_iter().collect(), places: HashMap::new() };
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
    fn each_is_found_at_its_place_whatever_comes_and_goes() {
        let mut names = FieldNames::default();
        let mut model: Vec<String> = Vec::new();
        for n in 0..200_usize {
            if n % 3 == 2 {
                let place = n * 7 % model.len();
                names.remove(place);
                model.remove(place);
            } else {
                names.push(&format!("f{n}"));
                model.push(format!("f{n}"));
            }
            let collected: FieldNames = names.iter().cloned().collect();
            for found in [&names, &collected] {
                assert!(found.iter().map(|name| &**name).eq(model.iter()));
                assert!(model.iter().enumerate().all(|(at, name)| found.place(name) == Some(at)));
                assert_eq!(found.place(&format!("f{}", n + 1)), None);
            }
        }
    }
}
