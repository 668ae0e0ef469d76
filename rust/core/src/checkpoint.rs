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
        if value.text().len() < OWN_BLOCK {
            small += value.text().len();
            small_changed |= changed;
        } else if changed {
            large += value.text().len();
        }
    }
    if small_changed { large + small } else { large }
}

fn is_small(field: &Field) -> Option<&Value> {
    match field {
        Field::Value(value) if value.text().len() < OWN_BLOCK => Some(value),
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
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::delta::{Change, Delta};
    use crate::edits::Tracked;
    use crate::error::Error;
    use crate::frame::Frame;
    use crate::open::{check, fill, is_partial, missing};
    use crate::rows::Rows;
    use crate::unread::Source;

    fn about(version: u64) -> About {
        let token = [u8::try_from(version).unwrap(); 16];
        About { session_id: "s".into(), user_id: "u".into(), epoch: 0, created_at: 1, version, token }
    }

    fn encoded(state: &State) -> String {
        let mut out = Vec::new();
        state.encode(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn open(
        about: &About,
        base: u64,
        head: &[u8],
        source: impl Source + 'static,
        frames: &[(u64, Vec<u8>)],
        is_records: &dyn Fn(&str) -> bool,
    ) -> Result<State> {
        crate::open::open(about, base, head, Arc::new(source), frames, is_records).map(|opened| opened.state)
    }

    struct Counter(u8);

    impl Counter {
        fn next(&mut self) -> BlockId {
            self.0 += 1;
            [self.0; 16]
        }
    }

    fn records(name: &str) -> bool {
        name == "history"
    }

    fn history(tracked: &mut Tracked, range: std::ops::Range<usize>) -> Change {
        for n in range {
            tracked.push(format!(r#"{{"message_id":"{n}","content":"{}"}}"#, "lorem ipsum ".repeat(40)).as_bytes());
        }
        Change::Records("history".into(), tracked.freeze(), "message_id")
    }

    fn value(name: &str, text: &str) -> Change {
        Change::Value(name.into(), Value::new(text.as_bytes()))
    }

    /// A state, the parts of its checkpoint, and the blocks that are then in use.
    fn checkpoint(state: &State, version: u64, used: &[Block], ids: &mut Counter) -> (Parts, Vec<Block>) {
        let stored: Vec<_> = used.iter().map(|block| block.id).collect();
        let parts = parts(state, &about(version), [9; 16], &stored, &mut || ids.next()).unwrap();
        let mut now: Vec<_> = used.iter().filter(|block| !parts.dropped.contains(&block.id)).cloned().collect();
        now.extend(parts.added.iter().cloned());
        (parts, now)
    }

    #[test]
    fn a_checkpoint_and_the_frames_after_it_give_the_state() {
        let (mut ids, mut tracked) = (Counter(0), Tracked::new(List::default(), "message_id"));
        let large = format!("{{\"memory\":\"{}\"}}", "m".repeat(20_000));
        let first = Delta::new(
            State::default(),
            vec![
                history(&mut tracked, 0..400),
                value("query", "\"fridge\""),
                value("buffer", &large),
                value("refs", "[]"),
            ],
        );
        let (one, used) = checkpoint(first.next(), 1, &[], &mut ids);
        assert_eq!(one.added.len(), 2 + 4, "small values, the large one, four segments");
        let reopened = open(&about(1), 1, &one.head, used.clone(), &[], &records).unwrap();
        assert_eq!(encoded(&reopened), encoded(first.next()));

        let second = Delta::new(first.next().clone(), vec![history(&mut tracked, 400..402), value("refs", "[1]")]);
        let patch = second.patch().unwrap();
        let frame = Frame { version: 2, parent: [1; 16], token: [2; 16], change_id: "", time: 0, patch: &patch };
        let frames = [(2, frame.seal("s", 0))];
        let replayed = open(&about(2), 1, &one.head, used.clone(), &frames, &records).unwrap();
        assert_eq!(encoded(&replayed), encoded(second.next()));

        for state in [second.next(), &replayed] {
            let (two, used) = checkpoint(state, 2, &used, &mut ids);
            assert_eq!(two.added.len(), 2, "the small values and the last, short segment");
            assert_eq!(two.dropped.len(), 2);
            let reopened = open(&about(2), 2, &two.head, used.clone(), &[], &records).unwrap();
            assert_eq!(encoded(&reopened), encoded(second.next()));
            let (three, _) = checkpoint(&reopened, 2, &used, &mut ids);
            assert_eq!((three.added.len(), three.dropped.len()), (0, 0), "nothing has changed");
        }
    }

    #[test]
    fn an_edit_in_the_middle_writes_one_segment() {
        let (mut ids, mut tracked) = (Counter(0), Tracked::new(List::default(), "message_id"));
        let first = Delta::new(State::default(), vec![history(&mut tracked, 0..600)]);
        let (_, used) = checkpoint(first.next(), 1, &[], &mut ids);
        let long = format!("{{\"message_id\":\"x\",\"content\":\"{}\"}}", "y".repeat(70_000));
        tracked.splice(200..201, &[long.as_bytes(), long.as_bytes()]).unwrap();
        let second =
            Delta::new(first.next().clone(), vec![Change::Records("history".into(), tracked.freeze(), "message_id")]);
        let (two, used) = checkpoint(second.next(), 2, &used, &mut ids);
        assert_eq!(two.dropped.len(), 2, "the edited segment, and the short one of the tail");
        assert_eq!(two.added.len(), 4, "one segment became three between its neighbours");
        let reopened = open(&about(2), 2, &two.head, used, &[], &records).unwrap();
        assert_eq!(encoded(&reopened), encoded(second.next()));
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let (mut ids, mut tracked) = (Counter(0), Tracked::new(List::default(), "message_id"));
        let first = Delta::new(State::default(), vec![history(&mut tracked, 0..400), value("query", "\"x\"")]);
        let (one, used) = checkpoint(first.next(), 1, &[], &mut ids);
        let refused = |about: &About, blocks: Vec<Block>, frames: &[(u64, Vec<u8>)]| {
            assert!(matches!(open(about, 1, &one.head, blocks, frames, &records), Err(Error::Corrupt { .. })));
        };
        refused(&about(1), used[..used.len() - 1].to_vec(), &[]);
        refused(&about(1), [used.as_slice(), &used[1..2]].concat(), &[]);
        refused(&about(2), used.clone(), &[]);
        refused(&About { user_id: "other".into(), ..about(1) }, used.clone(), &[]);
        let frame = |parent, version| {
            let patch = br#"[{"op":"add","path":"/query","value":1}]"#;
            (version, Frame { version, parent, token: [2; 16], change_id: "", time: 0, patch }.seal("s", 0))
        };
        refused(&about(2), used.clone(), &[frame([7; 16], 2)]);
        refused(&about(2), used.clone(), &[frame([1; 16], 3)]);
        open(&about(2), 1, &one.head, used, &[frame([1; 16], 2)], &records).unwrap();
    }

    type Spoil = dyn Fn(&mut Vec<Block>);

    #[test]
    fn blocks_of_a_list_that_are_not_those_of_the_head_are_refused_when_it_is_touched() {
        let (mut ids, mut tracked) = (Counter(0), Tracked::new(List::default(), "message_id"));
        let first = Delta::new(State::default(), vec![history(&mut tracked, 0..400), value("query", "\"x\"")]);
        let (one, used) = checkpoint(first.next(), 1, &[], &mut ids);
        let changed = |change: &Spoil| {
            let mut blocks = used.clone();
            change(&mut blocks);
            blocks
        };
        let cases: [(&str, &Spoil); 6] = [
            ("order", &|blocks| blocks[1].position = blocks[2].position + 1),
            ("another id", &|blocks| blocks[1].id = [77; 16]),
            ("another field", &|blocks| blocks[1].field = "other".into()),
            ("the field of the values", &|blocks| blocks[1].field = "".into()),
            ("no records", &|blocks| blocks[1].records = 0),
            ("one twice", &|blocks| blocks[2] = blocks[1].clone()),
        ];
        for (name, change) in cases {
            let state = open(&about(1), 1, &one.head, changed(change), &[], &records).unwrap();
            let Some(Field::Records(list)) = state.get("history") else { panic!("no history") };
            assert_eq!((list.len(), state.get("query").map(Field::size)), (400, Some(3)), "{name}");
            let mut longer = list.clone();
            longer.push(b"{}");
            let refused = |outcome: Result<()>| matches!(outcome, Err(Error::Corrupt { .. }));
            for list in [list, &longer] {
                assert!(refused(list.get(0).map(drop)), "{name}");
                assert!(refused(list.get(399).map(drop)), "{name}");
                assert!(refused(list.encode(&mut Vec::new())), "{name}");
                assert!(refused(list.clone().splice(200..201, &[])), "{name}");
                assert!(refused(list.rfind(|_| Ok(false)).map(drop)), "{name}");
            }
            let stored: Vec<_> = used.iter().map(|block| block.id).collect();
            for version in [1, 2] {
                let parts = parts(&state, &about(version), [9; 16], &stored, &mut || ids.next());
                assert!(refused(parts.map(drop)), "{name}");
            }
            assert_eq!((longer.len(), longer.get(400).unwrap().text()), (401, b"{}".as_slice()));
        }
    }

    #[test]
    fn blocks_open_in_whatever_order_they_come() {
        let (mut ids, mut tracked) = (Counter(0), Tracked::new(List::default(), "message_id"));
        let large = format!("\"{}\"", "m".repeat(20_000));
        let changes = vec![value("zebra", &large), history(&mut tracked, 0..400), value("query", "\"x\"")];
        let first = Delta::new(State::default(), changes);
        let (one, used) = checkpoint(first.next(), 1, &[], &mut ids);
        for turns in 0..used.len() {
            let mut blocks = used.clone();
            blocks.rotate_left(turns);
            let state = open(&about(1), 1, &one.head, blocks, &[], &records).unwrap();
            assert_eq!(encoded(&state), encoded(first.next()));
        }
        let mut exchanged = used.clone();
        exchanged[0].id = [88; 16];
        let opened = open(&about(1), 1, &one.head, exchanged, &[], &records);
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "the values are looked at when it is opened");
    }

    #[test]
    fn blocks_left_in_the_store_are_counted_kept_and_filled_in() {
        let (mut ids, mut tracked) = (Counter(0), Tracked::new(List::default(), "message_id"));
        let first = Delta::new(State::default(), vec![history(&mut tracked, 0..400)]);
        let (one, used) = checkpoint(first.next(), 1, &[], &mut ids);
        let mut some = used.clone();
        some[0].body = None;
        let state = open(&about(1), 1, &one.head, some, &[], &records).unwrap();
        assert!(is_partial(&state), "before the list is touched");
        let Some(Field::Records(list)) = state.get("history") else { panic!("no history") };
        assert_eq!((list.len(), list.get(0).err()), (400, Some(Error::NotLoaded)));
        assert!(is_partial(&state));
        let mut longer = Tracked::new(list.clone(), "message_id");
        let second = Delta::new(state.clone(), vec![history(&mut longer, 400..402)]);
        let (two, _) = checkpoint(second.next(), 2, &used, &mut ids);
        assert_eq!(two.added.len(), 1, "the short segment at the end; the one that is not here is kept");
        assert_eq!(missing(&state), [used[0].id]);
        assert!(!is_partial(&open(&about(1), 1, &one.head, used.clone(), &[], &records).unwrap()));
        fill(&state, used[0].id, &Body::new(used[0].body.as_ref().unwrap().bytes().unwrap().to_vec()));
        assert!(!is_partial(&state));
        assert_eq!(encoded(&state), encoded(first.next()));
    }

    #[test]
    fn each_block_is_checked_by_itself() {
        let (mut ids, mut tracked) = (Counter(0), Tracked::new(List::default(), "message_id"));
        let first = Delta::new(State::default(), vec![history(&mut tracked, 0..40), value("query", "\"x\"")]);
        let (_, used) = checkpoint(first.next(), 1, &[], &mut ids);
        assert_eq!(used.iter().map(|block| block.records).collect::<Vec<_>>(), [0, 40]);
        for block in used {
            let refused = |block: Block| matches!(check(&"s".into(), 0, block), Err(Error::Corrupt { .. }));
            let mut body = block.body.as_ref().unwrap().bytes().unwrap().to_vec();
            *body.last_mut().unwrap() ^= 1;
            assert!(refused(Block { body: Some(Body::new(body)), ..block.clone() }));
            assert!(refused(Block { id: [99; 16], ..block.clone() }));
            assert!(refused(Block { records: 40 - block.records, ..block.clone() }));
            assert!(check(&"other".into(), 0, block.clone()).is_err());
            check(&"s".into(), 0, block).unwrap();
        }
    }

    struct Counted(Arc<Mutex<Vec<usize>>>, Vec<Block>);

    impl Source for Counted {
        fn count(&self) -> usize {
            self.1.len()
        }

        fn is_values(&self, row: usize, field: &str, id: &BlockId) -> bool {
            self.1.is_values(row, field, id)
        }

        fn rows(&self) -> Result<Rows> {
            self.0.lock().unwrap().push(usize::MAX);
            self.1.rows()
        }

        fn body(&self, row: usize) -> Option<Body> {
            self.0.lock().unwrap().push(row);
            self.1.body(row)
        }

        fn is_partial(&self) -> bool {
            self.1.is_partial()
        }
    }

    #[test]
    fn bodies_of_segments_are_asked_for_when_one_near_them_is_touched() {
        let (mut ids, mut tracked) = (Counter(0), Tracked::new(List::default(), "message_id"));
        for n in 0..150 {
            tracked.push(format!(r#"{{"message_id":"{n}","content":"{}"}}"#, "x".repeat(70_000)).as_bytes());
        }
        let all = Change::Records("history".into(), tracked.freeze(), "message_id");
        let first = Delta::new(State::default(), vec![all, value("query", "\"x\"")]);
        let (one, used) = checkpoint(first.next(), 1, &[], &mut ids);
        let asked = Arc::default();
        let state = open(&about(1), 1, &one.head, Counted(Arc::clone(&asked), used.clone()), &[], &records).unwrap();
        let Some(Field::Records(list)) = state.get("history") else { panic!("no history") };
        assert_eq!((list.len(), &*asked.lock().unwrap()), (150, &vec![0]), "only the values");
        for (index, bodies) in [(70, 1 + 64), (100, 1 + 64), (0, 1 + 64 + 64), (149, 151), (3, 151)] {
            assert!(list.get(index).unwrap().text().starts_with(format!(r#"{{"message_id":"{index}","#).as_bytes()));
            assert_eq!(asked.lock().unwrap().len(), bodies + 1, "{index}");
            assert_eq!(asked.lock().unwrap()[1], usize::MAX, "the rows, once");
        }
        let mut longer = list.clone();
        longer.push(&vec![b'1'; 70_000]);
        assert_eq!((longer.len(), list.len(), longer.encoded_size() - list.encoded_size()), (151, 150, 70_001));
        assert_eq!(encoded(&state), encoded(first.next()));
    }

    #[test]
    fn a_damaged_segment_is_found_when_it_is_touched() {
        let (mut ids, mut tracked) = (Counter(0), Tracked::new(List::default(), "message_id"));
        let first = Delta::new(State::default(), vec![history(&mut tracked, 0..400)]);
        let (one, mut used) = checkpoint(first.next(), 1, &[], &mut ids);
        let mut body = used[1].body.as_ref().unwrap().bytes().unwrap().to_vec();
        *body.last_mut().unwrap() ^= 1;
        used[1].body = Some(Body::new(body));
        let state = open(&about(1), 1, &one.head, used, &[], &records).unwrap();
        let Some(Field::Records(list)) = state.get("history") else { panic!("no history") };
        assert!(list.get(0).is_ok());
        assert!(matches!(list.get(140), Err(Error::Corrupt { .. })));
        assert!(list.get(399).is_ok());
    }
}
