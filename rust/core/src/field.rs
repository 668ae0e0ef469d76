//! One field of a session: a JSON text, or a list of records.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::envelope::BlockId;
use crate::error::Result;
use crate::json::{self, elements, slice};
use crate::lazy::Lazy;
use crate::list::List;
use crate::segment::lock;

/// Which stored block holds a value, and how many values that block has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    pub id: BlockId,
    pub members: usize,
}

/// The JSON text of one field. Its clones are one.
#[derive(Debug, Clone)]
pub struct Value(Text);

/// Text that is yet to be written.
pub trait Source: Debug + Send + Sync {
    /// The length of the text, or less if that is not known before it is written.
    fn size(&self) -> usize;

    fn write(&self) -> Box<[u8]>;
}

#[derive(Debug, Clone)]
enum Text {
    Own(Arc<OwnText>),
    Unwritten(Arc<Lazy<OwnText, Arc<dyn Source>>>),
    /// One after the other: sessions are opened faster without an allocation for each.
    Stored(Arc<Stored>, Range<u32>),
}

#[derive(Debug)]
struct OwnText {
    text: Box<[u8]>,
    home: Mutex<Option<Home>>,
}

impl From<Box<[u8]>> for OwnText {
    fn from(text: Box<[u8]>) -> Self {
        Self { text, home: Mutex::new(None) }
    }
}

/// The values that stand in one block.
#[derive(Debug)]
pub struct Stored {
    payload: Vec<u8>,
    home: Home,
    /// Those that stand in another block by now, by their start.
    moved: Mutex<Vec<(u32, Home)>>,
}

impl Stored {
    #[must_use]
    pub fn new(payload: Vec<u8>, home: Home) -> Arc<Self> {
        Arc::new(Self { payload, home, moved: Mutex::default() })
    }

    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl Value {
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        Self::from_box(text.into())
    }

    /// Of text that need not be copied.
    #[must_use]
    pub fn from_box(text: Box<[u8]>) -> Self {
        Self(Text::Own(Arc::new(text.into())))
    }

    /// Of text that is written when it is first asked for, by whom of its clones it may be.
    #[must_use]
    pub fn unwritten(source: Arc<dyn Source>) -> Self {
        Self(Text::Unwritten(Arc::new(Lazy::waiting(source))))
    }

    /// One that stands in a block. Payloads have less than 4 GiB.
    #[must_use]
    pub fn stored(block: &Arc<Stored>, range: Range<usize>) -> Self {
        let short = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self(Text::Stored(Arc::clone(block), short(range.start)..short(range.end)))
    }

    #[must_use]
    pub fn text(&self) -> &[u8] {
        match &self.0 {
            Text::Own(own) => &own.text,
            Text::Stored(block, at) => block.payload.get(at.start as usize..at.end as usize).unwrap_or_default(),
            Text::Unwritten(lazy) => written(lazy).map_or(&[], |own| &own.text),
        }
    }

    #[must_use]
    pub fn is_unwritten(&self) -> bool {
        matches!(&self.0, Text::Unwritten(lazy) if lazy.pending().is_some())
    }

    /// The length of its text; of one that is not written yet, the least that it can be.
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.0 {
            Text::Unwritten(lazy) => lazy.pending().map_or_else(|| self.text().len(), |source| source.size()),
            _ => self.text().len(),
        }
    }

    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Text::Own(own), Text::Own(other)) => Arc::ptr_eq(own, other),
            (Text::Unwritten(own), Text::Unwritten(other)) => Arc::ptr_eq(own, other),
            (Text::Stored(own, at), Text::Stored(other, there)) => Arc::ptr_eq(own, other) && at == there,
            _ => false,
        }
    }

    #[must_use]
    pub fn home(&self) -> Option<Home> {
        match &self.0 {
            Text::Own(own) => *lock(&own.home),
            // What is not written stands nowhere.
            Text::Unwritten(lazy) if lazy.pending().is_some() => None,
            Text::Unwritten(lazy) => written(lazy).and_then(|own| *lock(&own.home)),
            Text::Stored(block, at) => {
                let moved = lock(&block.moved).iter().find(|(start, _)| *start == at.start).map(|(_, home)| *home);
                Some(moved.unwrap_or(block.home))
            }
        }
    }

    pub fn set_home(&self, home: Home) {
        match &self.0 {
            Text::Own(own) => *lock(&own.home) = Some(home),
            Text::Unwritten(lazy) => {
                if let Some(own) = written(lazy) {
                    *lock(&own.home) = Some(home);
                }
            }
            Text::Stored(block, at) => {
                let mut moved = lock(&block.moved);
                moved.retain(|(start, _)| *start != at.start);
                moved.push((at.start, home));
            }
        }
    }
}

fn written(lazy: &Lazy<OwnText, Arc<dyn Source>>) -> Option<&OwnText> {
    lazy.get(|source| source.write().into())
}

#[derive(Debug, Clone)]
pub enum Field {
    Value(Value),
    Records(List),
}

impl Field {
    /// Whether both are one, without looking at what they hold.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(own), Self::Value(other)) => own.is_shared_with(other),
            (Self::Records(own), Self::Records(other)) => own.is_shared_with(other),
            _ => false,
        }
    }

    /// The length of its JSON text; see `Value::size`.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Value(value) => value.size(),
            Self::Records(list) => list.encoded_size(),
        }
    }

    /// Appends its JSON text.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.pieces(&mut |piece| out.extend_from_slice(piece))
    }

    /// Whether it is nested no deeper than this.
    pub fn is_within(&self, depth: usize) -> Result<bool> {
        match self {
            Self::Value(value) => Ok(json::is_within(value.text(), depth)),
            Self::Records(list) => list.is_within(depth),
        }
    }

    /// Gives its JSON text to `write`, piece by piece.
    pub fn pieces(&self, write: &mut dyn FnMut(&[u8])) -> Result<()> {
        match self {
            Self::Value(value) => write(value.text()),
            Self::Records(list) => list.pieces(write)?,
        }
        Ok(())
    }
}

/// A text as a field: a list of records if it is to be one and is an array.
pub fn field(text: &[u8], records: bool) -> Result<Field> {
    if !records || text.first() != Some(&b'[') {
        return Ok(Field::Value(Value::new(text)));
    }
    let mut list = List::default();
    for range in elements(text, 0)? {
        list.push(slice(text, range?)?);
    }
    Ok(Field::Records(list))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl Source for Counting {
        fn size(&self) -> usize {
            2
        }

        fn write(&self) -> Box<[u8]> {
            self.0.fetch_add(1, Ordering::Relaxed);
            b"\"\\n\"".as_slice().into()
        }
    }

    #[test]
    fn a_text_is_written_when_it_is_asked_for_and_its_source_let_go_of() {
        let source = Arc::new(Counting::default());
        let value = Value::unwritten(Arc::clone(&source) as Arc<dyn Source>);
        let clone = value.clone();
        assert!(value.is_shared_with(&clone) && value.size() == 2 && value.home().is_none());
        assert_eq!((source.0.load(Ordering::Relaxed), Arc::strong_count(&source)), (0, 2));
        assert_eq!((clone.text(), value.text(), value.size()), (b"\"\\n\"".as_slice(), clone.text(), 4));
        assert_eq!((source.0.load(Ordering::Relaxed), Arc::strong_count(&source)), (1, 1));
        let home = Home { id: [1; 16], members: 1 };
        value.set_home(home);
        assert_eq!(clone.home(), Some(home));
    }

    #[test]
    fn each_value_of_a_block_has_a_home_of_its_own_which_its_clones_share() {
        let first = Home { id: [1; 16], members: 2 };
        let block = Stored::new(br#"{"a":12,"b":[]}"#.to_vec(), first);
        let (a, b) = (Value::stored(&block, 5..7), Value::stored(&block, 12..14));
        assert_eq!((a.text(), b.text()), (b"12".as_slice(), b"[]".as_slice()));
        assert!(a.is_shared_with(&a.clone()) && !a.is_shared_with(&b) && !a.is_shared_with(&Value::new(b"12")));
        for n in 2..4 {
            let next = Home { id: [n; 16], members: 1 };
            a.clone().set_home(next);
            assert_eq!((a.home(), b.home()), (Some(next), Some(first)));
        }
    }
}
