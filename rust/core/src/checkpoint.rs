//! From a state to the blocks of a checkpoint; `open` is the way back.

use std::collections::HashSet;
use std::sync::Arc;

use crate::body::Body;
use crate::envelope::{self, BlockId, Kind, Place};
use crate::error::Result;
use crate::field::{Field, Home, Value};
use crate::frame::Token;
use crate::head::{Head, Held, digest};
use crate::list::List;
use crate::segment::{Segment, Spot};
use crate::state::State;

/// A value of this size has a block of its own.
pub const OWN_BLOCK: usize = 16 * 1024;
/// Room left between the positions of neighbours, so that a segment can be divided without moving the others.
const STRIDE: i64 = 1 << 20;

/// Which session and which of its states.
#[derive(Debug, Clone)]
pub struct About {
    pub session_id: Arc<str>,
    pub user_id: String,
    pub epoch: u32,
    pub created_at: i64,
    pub version: u64,
    pub token: Token,
}

/// A block as a store keeps it.
#[derive(Debug, Clone)]
pub struct Block {
    pub id: BlockId,
    pub field: Arc<str>,
    pub position: i64,
    pub records: usize,
    /// None if it was left in the store.
    pub body: Option<Body>,
}

/// What a checkpoint writes.
#[derive(Debug)]
pub struct Parts {
    pub head: Vec<u8>,
    pub added: Vec<Block>,
    pub dropped: Vec<BlockId>,
    /// All that the head uses.
    pub used: Vec<BlockId>,
}

struct Builder<'a> {
    about: &'a About,
    stored: HashSet<BlockId>,
    fresh: &'a mut dyn FnMut() -> BlockId,
    added: Vec<Block>,
    /// The ids of all blocks in the order of the digest, field by field.
    order: Vec<(Arc<str>, Vec<BlockId>)>,
}

/// The parts of a checkpoint of `state`, given the ids of the blocks in use; what has not changed is not written.
pub fn parts(
    state: &State,
    about: &About,
    stamp: [u8; 16],
    stored: &[BlockId],
    fresh: &mut dyn FnMut() -> BlockId,
) -> Result<Parts> {
    let stored_set = stored.iter().copied().collect();
    let mut builder = Builder { about, stored: stored_set, fresh, added: Vec::new(), order: Vec::new() };
    let mut records = Vec::new();
    builder.small_values(state)?;
    for (name, field) in state.iter() {
        records.push(match field {
            Field::Value(value) => {
                builder.large_value(name, value)?;
                None
            }
            Field::Records(list) => {
                builder.records(name, list)?;
                Some(list.len())
            }
        });
    }
    let head = Head {
        version: about.version,
        token: about.token,
        stamp,
        user_id: about.user_id.clone(),
        created_at: about.created_at,
        blocks: builder.held(state),
        names: Arc::clone(state.names()),
        records,
        digest: digest(builder.order.iter().map(|(field, ids)| (&**field, ids.as_slice()))),
    };
    let used = builder.order.into_iter().flat_map(|(_, ids)| ids).collect::<Vec<_>>();
    let is_used: HashSet<_> = used.iter().collect();
    let dropped = stored.iter().copied().filter(|id| !is_used.contains(id)).collect();
    Ok(Parts { head: head.seal(&about.session_id, about.epoch), added: builder.added, dropped, used })
}

/// The bytes of the values that a checkpoint would write: those that have changed since they were last in a block.
#[must_use]
pub fn unstored_size(state: &State) -> usize {
    let (mut large, mut small, mut small_changed) = (0, 0, false);
    for (_, field) in state.iter() {
        let Field::Value(value) = field else { continue };
        let changed = value.home().is_none();
        if value.size() < OWN_BLOCK {
            small += value.size();
            small_changed |= changed;
        } else if changed {
            large += value.size();
        }
    }
    if small_changed { large + small } else { large }
}

fn is_small(field: &Field) -> Option<&Value> {
    match field {
        Field::Value(value) if value.size() < OWN_BLOCK => Some(value),
        _ => None,
    }
}

impl Builder<'_> {
    fn held(&self, state: &State) -> Vec<(Arc<str>, Held)> {
        let held = self.order.iter().filter_map(|(field, ids)| match state.get(field) {
            Some(Field::Records(_)) => Some((Arc::clone(field), Held::Records(ids.len()))),
            _ => ids.first().map(|id| (Arc::clone(field), Held::Values(*id))),
        });
        let mut held: Vec<_> = held.collect();
        held.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        held
    }

    fn small_values(&mut self, state: &State) -> Result<()> {
        let small: Vec<_> = state.iter().filter_map(|(name, f)| is_small(f).map(|value| (name, value))).collect();
        if small.is_empty() {
            return Ok(());
        }
        self.values("", &small)
    }

    fn large_value(&mut self, name: &str, value: &Value) -> Result<()> {
        if value.text().len() < OWN_BLOCK {
            return Ok(());
        }
        self.values(name, &[(name, value)])
    }

    /// One block for these values: the one they came from if it holds just them, else a new one.
    fn values(&mut self, field: &str, values: &[(&str, &Value)]) -> Result<()> {
        let home = values.first().and_then(|(_, value)| value.home());
        let kept = home.filter(|home| {
            let all_here = values.iter().all(|(_, value)| value.home() == Some(*home));
            all_here && home.members == values.len() && self.stored.contains(&home.id)
        });
        if let Some(home) = kept {
            self.put(field, home.id);
            return Ok(());
        }
        let mut only = State::default();
        for (name, value) in values {
            only.set(name, Field::Value((*value).clone()));
        }
        let mut payload = Vec::new();
        only.encode(&mut payload)?;
        let id = (self.fresh)();
        let place = Place { session_id: &self.about.session_id, epoch: self.about.epoch, kind: Kind::Fields, id };
        self.add(Block {
            id,
            field: field.into(),
            position: 0,
            records: 0,
            body: Some(Body::new(envelope::seal(&place, &payload))),
        });
        for (_, value) in values {
            value.set_home(Home { id, members: values.len() });
        }
        Ok(())
    }

    fn records(&mut self, name: &str, list: &List) -> Result<()> {
        let segments = list.freeze()?;
        let mut spots = self.spots(&segments);
        if !spots.is_sorted_by(|a, b| a.position < b.position) {
            // No room between two neighbours: give all of them new places.
            for (n, spot) in (1..).zip(&mut spots) {
                *spot = Spot { id: (self.fresh)(), position: n * STRIDE };
            }
        }
        for (segment, spot) in segments.iter().zip(spots) {
            if self.stored.contains(&spot.id) {
                self.put(name, spot.id);
                continue;
            }
            let body = Some(Body::new(segment.seal(&self.about.session_id, self.about.epoch, spot.id)?));
            let records = segment.count();
            self.add(Block { id: spot.id, field: name.into(), position: spot.position, records, body });
            segment.set_spot(spot);
        }
        Ok(())
    }

    /// Where each segment is to stand: the stored ones where they are, new ones evenly between those.
    fn spots(&mut self, segments: &[Arc<Segment>]) -> Vec<Spot> {
        let kept: Vec<_> =
            segments.iter().map(|segment| segment.spot().filter(|spot| self.stored.contains(&spot.id))).collect();
        let (mut spots, mut last) = (Vec::with_capacity(kept.len()), 0);
        for (n, spot) in kept.iter().enumerate() {
            let spot = spot.unwrap_or_else(|| {
                let rest = kept.get(n..).unwrap_or_default();
                let step = match rest.iter().position(Option::is_some) {
                    None => STRIDE,
                    Some(new) => {
                        let next = rest.get(new).copied().flatten().map_or(last, |spot| spot.position);
                        (next - last) / (i64::try_from(new).unwrap_or(i64::MAX - 1) + 1)
                    }
                };
                Spot { id: (self.fresh)(), position: last + step }
            });
            last = spot.position;
            spots.push(spot);
        }
        spots
    }

    fn add(&mut self, block: Block) {
        self.put(&block.field, block.id);
        self.added.push(block);
    }

    fn put(&mut self, field: &str, id: BlockId) {
        match self.order.last_mut().filter(|(last, _)| **last == *field) {
            Some((_, ids)) => ids.push(id),
            None => self.order.push((field.into(), vec![id])),
        }
    }
}

#[cfg(test)]
mod tests;
