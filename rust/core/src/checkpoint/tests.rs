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
        vec![history(&mut tracked, 0..400), value("query", "\"fridge\""), value("buffer", &large), value("refs", "[]")],
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
