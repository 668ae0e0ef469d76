//! From the blocks of a checkpoint, and the frames after it, to the state they stand for.

use std::sync::Arc;

use crate::body::Body;
use crate::checkpoint::{About, Block};
use crate::envelope::{self, BlockId, Kind, Place};
use crate::error::{Error, Result};
use crate::frame::{self, Token};
use crate::head::{FieldInfo, Head, Shape, digest};
use crate::json::{members, slice};
use crate::list::List;
use crate::patch;
use crate::segment::{Segment, Stored};
use crate::state::{Field, Home, State, Value};
use crate::text;

/// The state that a head and its blocks stand for. Segments are not opened; `is_records` as in `State::apply`.
pub fn open_head(about: &About, head: &Head, blocks: Vec<Block>, is_records: &dyn Fn(&str) -> bool) -> Result<State> {
    let mut blocks = order(head, blocks);
    if digest(blocks.iter().map(|(_, block)| (&*block.field, block.id))) != head.digest {
        return Err(Error::corrupt(format!("head {}", head.version), "its blocks are not those it was written with"));
    }
    let mut values = State::default();
    for (_, block) in blocks.extract_if(.., |(_, block)| block.records == 0) {
        open_values(&about.session_id, about.epoch, &block, &mut values)?;
    }
    let (mut state, mut blocks) = (State::default(), blocks.into_iter().peekable());
    for (rank, info) in (1..).zip(&head.fields) {
        let own = std::iter::from_fn(|| blocks.next_if(|(other, _)| *other <= rank));
        let own = own.filter(|(other, _)| *other == rank).map(|(_, block)| block);
        let field = match info.shape {
            Shape::Records => open_records(about, info, own)?,
            Shape::Value => values.get(&info.name).cloned().ok_or_else(|| incomplete(&info.name))?,
        };
        state.set(&info.name, as_declared(field, is_records(&info.name))?);
    }
    Ok(state)
}

/// A value that is declared as records by now becomes a list.
pub(crate) fn as_declared(field: Field, records: bool) -> Result<Field> {
    match field {
        Field::Value(value) if records => crate::state::field(value.text(), true),
        other => Ok(other),
    }
}

/// The blocks in the order of the digest: the small values, then field by field, each with the number of its field.
fn order(head: &Head, blocks: Vec<Block>) -> Vec<(usize, Block)> {
    let rank = |field: &str| head.fields.iter().position(|info| info.name == field).map_or(0, |n| n + 1);
    let mut last: Option<(Arc<str>, usize)> = None;
    let ranked = blocks.into_iter().map(|block| {
        let known = last.as_ref().filter(|(field, _)| Arc::ptr_eq(field, &block.field)).map(|(_, rank)| *rank);
        let rank = known.unwrap_or_else(|| rank(&block.field));
        last = Some((Arc::clone(&block.field), rank));
        (rank, block)
    });
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by_key(|(rank, block)| (*rank, block.position));
    ranked
}

fn incomplete(field: &str) -> Error {
    Error::corrupt(format!("field {field}"), "its block is missing")
}

pub(crate) fn open_values(session_id: &str, epoch: u32, block: &Block, into: &mut State) -> Result<()> {
    let place = Place { session_id, epoch, kind: Kind::Fields, id: block.id };
    let payload = envelope::open(&place, &block.body.as_ref().ok_or(Error::NotLoaded)?.bytes()?)?;
    let found: Vec<_> =
        members(&payload, 0).and_then(Iterator::collect).map_err(|error: Error| error.inside(&place.name()))?;
    for (key, value) in &found {
        let value = Value::new(slice(&payload, value.clone())?);
        value.set_home(Home { id: block.id, members: found.len() });
        into.set(&text::unescape(slice(&payload, key.clone())?)?, Field::Value(value));
    }
    Ok(())
}

fn open_records(about: &About, info: &FieldInfo, blocks: impl Iterator<Item = Block>) -> Result<Field> {
    let list = List::from_segments(blocks.map(|block| Arc::new(segment(&about.session_id, about.epoch, block))));
    if list.len() == info.total { Ok(Field::Records(list)) } else { Err(incomplete(&info.name)) }
}

pub(crate) fn segment(session_id: &Arc<str>, epoch: u32, block: Block) -> Segment {
    let session_id = Arc::clone(session_id);
    Segment::lazy(block.records, block.position, Stored { session_id, epoch, id: block.id, body: block.body })
}

/// Opens a block by itself, whatever its head says of it.
pub fn check(session_id: &Arc<str>, epoch: u32, block: Block) -> Result<()> {
    if block.records == 0 {
        open_values(session_id, epoch, &block, &mut State::default())
    } else {
        segment(session_id, epoch, block).records().map(|_| ())
    }
}

/// The segments of all lists.
fn segments(state: &State) -> impl Iterator<Item = &Arc<Segment>> {
    let lists = state.iter().filter_map(|(_, field)| match field {
        Field::Records(list) => Some(list),
        Field::Value(_) => None,
    });
    lists.flat_map(|list| list.segments().iter())
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
    blocks: Vec<Block>,
    frames: &[(u64, Vec<u8>)],
    is_records: &dyn Fn(&str) -> bool,
) -> Result<State> {
    let head = Head::open(&about.session_id, about.epoch, base, head)?;
    if head.user_id != about.user_id {
        return Err(Error::corrupt(format!("head {base}"), "it belongs to another user"));
    }
    let shapes = |name: &str| {
        is_records(name) || head.fields.iter().any(|info| info.name == name && info.shape == Shape::Records)
    };
    let mut state = open_head(about, &head, blocks, &shapes)?;
    let (mut version, mut token) = (base, head.token().unwrap_or_default());
    for (number, body) in frames {
        (state, token) = follow(about, &state, (version, token), *number, body, &shapes)?;
        version = *number;
    }
    if (version, token) == (about.version, about.token) {
        Ok(state)
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
