//! A list that remembers what was done to it since it was last saved.
//!
//! Records from `kept` on are new: what happens among them needs no edit, they are written as they stand. What
//! happens before `kept` is remembered step by step, with the id of the record that each step met.

use std::ops::Range;

use crate::align::{Alignment, align};
use crate::error::{Error, Result};
use crate::json::member;
use crate::list::{Apart, List, Record};
use crate::patch::Writer;
use crate::tree::Text;

/// Longer parts that differ are put in as a whole, and so are those with more edits: each edit copies a segment.
const MOST_ALIGNED: usize = 4096;
const MOST_EDITS: usize = 64;

#[derive(Debug, Clone)]
enum Edit {
    Insert { at: usize, record: Record },
    Remove { at: usize, id: Option<Vec<u8>> },
    Replace { at: usize, id: Option<Vec<u8>>, record: Record },
    Clear,
}

/// What was done to a list, and the list that came of it.
#[derive(Debug, Clone)]
pub struct Edits {
    pub list: List,
    edits: Vec<Edit>,
    kept: usize,
}

/// A list and its edits since the last `freeze`.
#[derive(Debug, Clone)]
pub struct Tracked {
    list: List,
    edits: Vec<Edit>,
    kept: usize,
    id_key: &'static str,
}

impl Tracked {
    /// `id_key` is the member that identifies a record, "" if none does.
    #[must_use]
    pub fn new(list: List, id_key: &'static str) -> Self {
        Self { edits: Vec::new(), kept: list.len(), list, id_key }
    }

    #[must_use]
    pub fn list(&self) -> &List {
        &self.list
    }

    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.kept < self.list.len() || !self.edits.is_empty()
    }

    pub fn push(&mut self, record: &[u8]) {
        self.list.push(record);
    }

    /// Puts `records` in the place of a range.
    pub fn splice(&mut self, range: Range<usize>, records: &[&[u8]]) -> Result<()> {
        if range.start > range.end || range.end > self.list.len() {
            return Err(Error::OutOfRange);
        }
        let (edits, kept) = self.plan(&range, records)?;
        self.list.splice(range, records)?;
        if matches!(edits.first(), Some(Edit::Clear)) {
            self.edits.clear();
        }
        self.edits.extend(edits);
        self.kept = kept;
        Ok(())
    }

    /// The edits that a splice means, and what is kept after it.
    fn plan(&self, range: &Range<usize>, records: &[&[u8]]) -> Result<(Vec<Edit>, usize)> {
        let Range { start, end } = *range;
        let own = |text: &&[u8]| Record::Own((*text).into());
        if start >= self.kept {
            return Ok((Vec::new(), self.kept));
        }
        if start == 0 && end >= self.kept && !range.is_empty() {
            return Ok((vec![Edit::Clear], 0));
        }
        if end <= self.kept && records.len() == range.len() {
            let replace = |(at, text)| Ok(Edit::Replace { at, id: self.id(at)?, record: own(text) });
            return Ok(((start..end).zip(records).map(replace).collect::<Result<_>>()?, self.kept));
        }
        let removed = end.min(self.kept) - start;
        let remove = |at| Ok(Edit::Remove { at: start, id: self.id(at)? });
        let mut edits = (start..start + removed).map(remove).collect::<Result<Vec<_>>>()?;
        let mut kept = self.kept - removed;
        if start < kept {
            edits.extend(records.iter().enumerate().map(|(n, text)| Edit::Insert { at: start + n, record: own(text) }));
            kept += records.len();
        }
        Ok((edits, kept))
    }

    /// Edits the list until it is like another one; tells whether it was not.
    pub fn lead_to(&mut self, target: &List) -> Result<bool> {
        let Apart { start, own, others, .. } = self.list.apart(target)?;
        let end = own.iter().rev().zip(others.iter().rev()).take_while(|(a, b)| a.text() == b.text()).count();
        let (old, new) = (texts(&own, end), texts(&others, end));
        if old.is_empty() && new.is_empty() {
            return Ok(false);
        }
        let aligned = if old.len().max(new.len()) > MOST_ALIGNED { None } else { Some(align(&old, &new)) };
        let rewritten = |aligned: &Alignment| {
            let differs = |(a, b): &&(usize, usize)| old.get(*a).map(|t| t.0) != new.get(*b).map(|t| t.0);
            aligned.kept.iter().filter(differs).map(|(_, index)| *index).collect::<Vec<_>>()
        };
        match aligned.map(|aligned| (rewritten(&aligned), aligned)) {
            Some((rewritten, aligned)) if aligned.edits() + rewritten.len() <= MOST_EDITS => {
                self.follow(start, &aligned, &rewritten, &new)?;
            }
            _ => self.splice(start..start + old.len(), &new.iter().map(|text| text.0).collect::<Vec<_>>())?,
        }
        Ok(true)
    }

    fn follow(&mut self, start: usize, aligned: &Alignment, rewritten: &[usize], new: &[Text<'_>]) -> Result<()> {
        for &at in aligned.removed.iter().rev() {
            self.splice(start + at..start + at + 1, &[])?;
        }
        for &(from, to) in &aligned.moved {
            let record = self.list.get(start + from)?;
            self.splice(start + from..start + from + 1, &[])?;
            self.splice(start + to..start + to, &[record.text()])?;
        }
        for (&at, length) in aligned.added.iter().map(|at| (at, 0)).chain(rewritten.iter().map(|at| (at, 1))) {
            let text = new.get(at).ok_or(Error::OutOfRange)?;
            self.splice(start + at..start + at + length, &[text.0])?;
        }
        Ok(())
    }

    fn id(&self, at: usize) -> Result<Option<Vec<u8>>> {
        let record = self.list.get(at)?;
        let raw_key = format!("\"{}\"", self.id_key);
        Ok(member(record.text(), raw_key.as_bytes())?.map(<[u8]>::to_vec))
    }

    /// Takes the edits out; what comes after belongs to the next change.
    pub fn freeze(&mut self) -> Edits {
        let kept = std::mem::replace(&mut self.kept, self.list.len());
        Edits { list: self.list.clone(), edits: std::mem::take(&mut self.edits), kept }
    }

    /// The edits that `freeze` would take out.
    #[must_use]
    pub fn unsaved(&self) -> Edits {
        Edits { list: self.list.clone(), edits: self.edits.clone(), kept: self.kept }
    }

    /// Takes another list, saved meanwhile, in the place of its own; `unsaved` are its edits on that list.
    pub fn rebase(&mut self, unsaved: Edits) {
        (self.list, self.edits, self.kept) = (unsaved.list, unsaved.edits, unsaved.kept);
    }

    /// Puts edits back that could not be saved, before those made since.
    pub fn restore(&mut self, unsaved: &Edits) -> Result<()> {
        if matches!(self.edits.first(), Some(Edit::Clear)) {
            return Ok(());
        }
        let mut edits = unsaved.edits.clone();
        if self.edits.is_empty() {
            self.kept = unsaved.kept;
        } else {
            for at in unsaved.kept..unsaved.list.len() {
                edits.push(Edit::Insert { at, record: unsaved.list.get(at)? });
            }
        }
        edits.append(&mut self.edits);
        self.edits = edits;
        Ok(())
    }

    /// Takes in a record that was appended to the saved list by itself: it goes before all that is new here.
    pub fn insert_saved(&mut self, record: &[u8]) -> Result<()> {
        self.list.splice(self.kept..self.kept, &[record])?;
        if self.edits.iter().any(|edit| matches!(edit, Edit::Clear)) {
            // Clearing the saved list removes the record as well: it is written once more.
            self.edits.push(Edit::Insert { at: self.kept, record: Record::Own(record.into()) });
        }
        self.kept += 1;
        Ok(())
    }
}

fn texts(records: &[Record], end: usize) -> Vec<Text<'_>> {
    records.iter().take(records.len() - end).map(|record| Text(record.text())).collect()
}

impl Edits {
    /// A list of which the first `kept` records were there before.
    #[must_use]
    pub fn appended(list: List, kept: usize) -> Self {
        Self { list, edits: Vec::new(), kept }
    }

    /// The bytes of the records that are new, nearly, in a list that had so many bytes.
    pub(crate) fn growth(&self, before: usize) -> usize {
        let kept = if self.kept == 0 { 0 } else { before };
        self.list.encoded_size().saturating_sub(kept) + self.edits.iter().map(Edit::size).sum::<usize>()
    }

    /// Whether nothing was done but to append.
    pub(crate) fn only_append(&self) -> bool {
        self.edits.is_empty()
    }

    /// Appends the new records to another list.
    pub(crate) fn append_to(&self, list: &mut List) -> Result<()> {
        for at in self.kept..self.list.len() {
            list.push(self.list.get(at)?.text());
        }
        Ok(())
    }

    pub(crate) fn meet_unidentified(&self) -> bool {
        self.edits.iter().any(|edit| matches!(edit, Edit::Remove { id: None, .. } | Edit::Replace { id: None, .. }))
    }

    /// Writes them as operations on the array at `path` (JSON text without quotes), which may be added to meanwhile.
    pub fn write(&self, out: &mut Writer, path: &mut Vec<u8>, id_key: &str) -> Result<()> {
        let (length, mut new) = (path.len(), self.kept);
        // Each edit costs about a record: past this many, the list as a whole is shorter.
        if self.edits.len() > self.list.len() + 8 {
            out.replace(path, b"[]");
            new = 0;
        } else {
            for edit in &self.edits {
                edit.write(out, path, id_key);
                path.truncate(length);
            }
        }
        path.extend_from_slice(b"/-");
        for at in new..self.list.len() {
            self.list.visit(at, |text| out.add(path, text))?;
        }
        path.truncate(length);
        Ok(())
    }
}

impl Edit {
    /// The bytes of the record that it brings.
    fn size(&self) -> usize {
        match self {
            Self::Insert { record, .. } | Self::Replace { record, .. } => record.text().len(),
            Self::Remove { .. } | Self::Clear => 0,
        }
    }

    fn write(&self, out: &mut Writer, place: &mut Vec<u8>, id_key: &str) {
        let (Self::Insert { at, .. } | Self::Remove { at, .. } | Self::Replace { at, .. }) = self else {
            return out.replace(place, b"[]");
        };
        place.push(b'/');
        place.extend_from_slice(itoa::Buffer::new().format(*at).as_bytes());
        if let Self::Remove { id: Some(id), .. } | Self::Replace { id: Some(id), .. } = self {
            out.test(&[place.as_slice(), b"/", id_key.as_bytes()].concat(), id);
        }
        match self {
            Self::Insert { record, .. } => out.add(place, record.text()),
            Self::Remove { .. } => out.remove(place),
            Self::Replace { record, .. } => out.replace(place, record.text()),
            Self::Clear => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: usize) -> Vec<u8> {
        format!(r#"{{"id":"{n}"}}"#).into_bytes()
    }

    fn tracked(count: usize) -> Tracked {
        let mut list = List::default();
        (0..count).for_each(|n| list.push(&record(n)));
        Tracked::new(list, "id")
    }

    fn patch(edits: &Edits) -> String {
        let mut out = Writer::default();
        edits.write(&mut out, &mut b"/h".to_vec(), "id").unwrap();
        String::from_utf8(out.finish()).unwrap()
    }

    #[test]
    fn edits_become_operations_with_tests_of_the_id() {
        let mut list = tracked(3);
        list.push(&record(3));
        list.splice(1..2, &[&record(9)]).unwrap();
        list.splice(0..1, &[]).unwrap();
        list.splice(2..3, &[&record(8)]).unwrap();
        assert_eq!(
            patch(&list.freeze()),
            concat!(
                r#"[{"op":"test","path":"/h/1/id","value":"1"},{"op":"replace","path":"/h/1","value":{"id":"9"}},"#,
                r#"{"op":"test","path":"/h/0/id","value":"0"},{"op":"remove","path":"/h/0"},"#,
                r#"{"op":"add","path":"/h/-","value":{"id":"8"}}]"#
            )
        );
        assert!(!list.is_changed());
        list.splice(0..3, &[]).unwrap();
        assert_eq!(patch(&list.freeze()), r#"[{"op":"replace","path":"/h","value":[]}]"#);
    }

    #[test]
    fn a_list_is_led_to_another_by_few_edits() {
        let mut list = tracked(300);
        let mut target = list.list().clone();
        target.splice(10..11, &[]).unwrap();
        target.splice(20..20, &[&record(900)]).unwrap();
        target.splice(30..31, &[br#"{"id":"30","x":1}"#]).unwrap();
        let last = target.get(299).unwrap();
        target.splice(299..300, &[]).unwrap();
        target.splice(0..0, &[last.text()]).unwrap();
        assert!(list.lead_to(&target).unwrap());
        let text = |list: &List| {
            let mut out = Vec::new();
            list.encode(&mut out).unwrap();
            out
        };
        assert_eq!(text(list.list()), text(&target));
        assert!(!list.lead_to(&target).unwrap());
        assert_eq!(patch(&list.freeze()).matches(r#""op":"test""#).count(), 3);
        let mut other = tracked(3000);
        assert!(other.lead_to(&target).unwrap());
        assert_eq!(text(other.list()), text(&target));
    }

    #[test]
    fn what_could_not_be_saved_comes_back_before_later_edits() {
        let mut list = tracked(2);
        list.push(&record(2));
        let unsaved = list.freeze();
        list.push(&record(3));
        list.restore(&unsaved).unwrap();
        let both = r#"[{"op":"add","path":"/h/-","value":{"id":"2"}},{"op":"add","path":"/h/-","value":{"id":"3"}}]"#;
        assert_eq!(patch(&list.clone().freeze()), both);
        let unsaved = list.freeze();
        list.splice(2..3, &[]).unwrap();
        list.restore(&unsaved).unwrap();
        assert_eq!(
            patch(&list.freeze()),
            concat!(
                r#"[{"op":"add","path":"/h/2","value":{"id":"2"}},{"op":"add","path":"/h/3","value":{"id":"3"}},"#,
                r#"{"op":"test","path":"/h/2/id","value":"2"},{"op":"remove","path":"/h/2"}]"#
            )
        );
    }

    #[test]
    fn a_record_saved_by_itself_goes_before_new_ones() {
        let mut list = tracked(1);
        list.push(&record(5));
        list.insert_saved(&record(4)).unwrap();
        assert_eq!(list.list().get(1).unwrap().text(), record(4));
        assert_eq!(patch(&list.freeze()), r#"[{"op":"add","path":"/h/-","value":{"id":"5"}}]"#);
    }
}
