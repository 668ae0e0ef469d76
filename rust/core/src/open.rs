//! From the blocks of a checkpoint, and the frames after it, to the state they stand for.

use std::sync::Arc;

use crate::body::Body;
use crate::checkpoint::{About, Block};
use crate::chunk::StoredList;
use crate::envelope::{BlockId, Kind, Place};
use crate::error::{Error, Result};
use crate::field::{Field, Home, Stored, Value};
use crate::frame::{self, Token};
use crate::head::{Head, Held};
use crate::json::{members, slice};
use crate::list::List;
use crate::patch;
use crate::segment::{self, Segment};
use crate::segments::Segments;
use crate::state::State;
use crate::unread::{Source, Unread, incomplete, place_of_values};

/// A state, and the blocks of its head.
pub struct Opened {
    pub state: State,
    pub blocks: Arc<Unread>,
}

/// The state that a head and its blocks stand for. Rows and segments are looked at when a list is touched;
/// `is_records` as in `State::apply`.
pub fn open_head(
    about: &About,
    head: &Arc<Head>,
    source: Arc<dyn Source>,
    is_records: &dyn Fn(&str) -> bool,
) -> Result<Opened> {
    let blocks = Arc::new(Unread::new(head, Arc::clone(&source))?);
    let mut values = open_head_values(about, head, &*source)?.into_iter();
    let list = |field: &Arc<str>| StoredList {
        blocks: Arc::clone(&blocks),
        source: Arc::clone(&source),
        session_id: Arc::clone(&about.session_id),
        epoch: about.epoch,
        field: Arc::clone(field),
    };
    let mut fields = Vec::with_capacity(head.names.len());
    for (name, records) in head.names.iter().zip(&head.records) {
        fields.push(match (records, values.next().flatten(), head.held(name)) {
            (Some(0), _, None) => Field::Records(List::default()),
            (Some(total @ 1..), _, Some(Held::Records(1..))) => {
                Field::Records(List::stored(Segments::stored(*total, list(name))))
            }
            (None, Some(value), _) => as_declared(name, value, is_records)?,
            _ => return Err(incomplete(name)),
        });
    }
    Ok(Opened { state: State::new(Arc::clone(&head.names), fields), blocks })
}

/// The values that stand in blocks, each in the place of its field.
fn open_head_values(about: &About, head: &Head, source: &dyn Source) -> Result<Vec<Option<Value>>> {
    let (mut values, mut next) = (vec![None; head.names.len()], 0);
    for (field, held) in &head.blocks {
        let Held::Values(id) = held else { continue };
        let body = source.body(place_of_values(head, source, field, id)?);
        let block = Block { id: *id, field: Arc::clone(field), position: 0, records: 0, body };
        open_values(&about.session_id, about.epoch, &block, &mut |key, value| {
            if let Some(at) = head.names.place_of_key(key, next)?
                && let Some(place) = values.get_mut(at)
            {
                (*place, next) = (Some(value), at + 1);
            }
            Ok(())
        })?;
    }
    Ok(values)
}

/// A value, which becomes a list if it is declared as records by now.
pub(crate) fn as_declared(name: &str, value: Value, is_records: &dyn Fn(&str) -> bool) -> Result<Field> {
    if value.text().first() == Some(&b'[') && is_records(name) {
        return crate::field::field(value.text(), true);
    }
    Ok(Field::Value(value))
}

/// So many values, or fewer, stand in most blocks.
const MEMBERS: usize = 16;

/// Gives the values in a block to `take`, each with its key as it stands there.
pub(crate) fn open_values(
    session_id: &str,
    epoch: u32,
    block: &Block,
    take: &mut dyn FnMut(&[u8], Value) -> Result<()>,
) -> Result<()> {
    let place = Place { session_id, epoch, kind: Kind::Fields, id: block.id };
    let payload = block.body.as_ref().ok_or(Error::NotLoaded)?.open(&place)?;
    let mut found = Vec::with_capacity(MEMBERS);
    for member in members(&payload, 0).map_err(|error| error.inside(&place.name()))? {
        found.push(member.map_err(|error| error.inside(&place.name()))?);
    }
    let block = Stored::new(payload, Home { id: block.id, members: found.len() });
    for (key, value) in found {
        take(slice(block.payload(), key)?, Value::stored(&block, value))?;
    }
    Ok(())
}

pub(crate) fn segment(session_id: &Arc<str>, epoch: u32, block: Block) -> Segment {
    let session_id = Arc::clone(session_id);
    Segment::lazy(block.records, block.position, segment::Stored { session_id, epoch, id: block.id, body: block.body })
}

/// Opens a block by itself, whatever its head says of it.
pub fn check(session_id: &Arc<str>, epoch: u32, block: Block) -> Result<()> {
    if block.records == 0 {
        open_values(session_id, epoch, &block, &mut |_, _| Ok(()))
    } else {
        segment(session_id, epoch, block).records().map(|_| ())
    }
}

fn lists(state: &State) -> impl Iterator<Item = &List> {
    state.iter().filter_map(|(_, field)| match field {
        Field::Records(list) => Some(list),
        Field::Value(_) => None,
    })
}

/// The segments of all lists.
fn segments(state: &State) -> impl Iterator<Item = &Arc<Segment>> {
    lists(state).flat_map(|list| list.segments().iter())
}

/// Whether blocks were left in the store; no list is touched for it.
#[must_use]
pub fn is_partial(state: &State) -> bool {
    lists(state).any(|list| list.segments().is_partial())
}

/// The ids of the blocks that were left in the store.
#[must_use]
pub fn missing(state: &State) -> Vec<BlockId> {
    segments(state).filter_map(|segment| segment.missing()).collect()
}

/// Takes in one of them, for this state and all that share it.
pub fn fill(state: &State, id: BlockId, body: &Body) {
    segments(state).filter(|segment| segment.missing() == Some(id)).for_each(|segment| segment.fill(body));
}

/// The state at `about`'s version: the head's, then each frame after it, checked to be one chain.
pub fn open(
    about: &About,
    base: u64,
    head: &[u8],
    source: Arc<dyn Source>,
    frames: &[(u64, Vec<u8>)],
    is_records: &dyn Fn(&str) -> bool,
) -> Result<Opened> {
    let head = Arc::new(Head::open(&about.session_id, about.epoch, base, head)?);
    if head.user_id != about.user_id {
        return Err(Error::corrupt(format!("head {base}"), "it belongs to another user"));
    }
    let shapes = |name: &str| is_records(name) || head.is_records(name);
    let Opened { mut state, blocks } = open_head(about, &head, source, &shapes)?;
    let (mut version, mut token) = (base, head.token);
    for (number, body) in frames {
        (state, token) = follow(about, &state, (version, token), *number, body, &shapes)?;
        version = *number;
    }
    if (version, token) == (about.version, about.token) {
        Ok(Opened { state, blocks })
    } else {
        Err(Error::corrupt(format!("frame {version}"), "the log does not end at the session's etag"))
    }
}

/// The state after one more frame, which must name the state before it as its parent.
pub fn follow(
    about: &About,
    state: &State,
    parent: (u64, Token),
    version: u64,
    body: &[u8],
    is_records: &dyn Fn(&str) -> bool,
) -> Result<(State, Token)> {
    let name = format!("frame {version}");
    let payload = frame::open(&about.session_id, about.epoch, version, body)?;
    let frame = frame::parse(version, &payload)?;
    if (version, frame.parent) != (parent.0 + 1, parent.1) {
        return Err(Error::corrupt(name, "it does not follow the state before it"));
    }
    let next = patch::parse(frame.patch).and_then(|ops| state.apply(&ops, is_records));
    next.map(|state| (state, frame.token)).map_err(|error| error.inside(&name))
}
