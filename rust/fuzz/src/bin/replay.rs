//! A stored session: parts that are divided by the byte 255, first what the head says of its fields, then blocks and
//! frames, each with a letter for its kind. Envelopes, digest and tokens are made here, so that what is inside is read.
#![no_main]

use std::collections::HashSet;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use swisper_core::body::Body;
use swisper_core::checkpoint::{About, Block, parts};
use swisper_core::compact::compact;
use swisper_core::envelope::{Kind, Place, seal};
use swisper_core::frame::{Frame, Token};
use swisper_core::head::{Head, Held, digest};
use swisper_core::json::members;
use swisper_core::open::{Opened, follow, open, open_head};
use swisper_core::salvage::salvage;
use swisper_core::state::State;
use swisper_core::text::unescape;
use swisper_fuzz::is_plain;

const SESSION: &str = "s";
const BASE: u64 = 3;
/// What the operations of one patch may copy in all.
const COPIED: usize = 16 << 20;

#[derive(Default)]
struct Session {
    blocks: Vec<Block>,
    frames: Vec<(u64, Vec<u8>)>,
}

fuzz_target!(|data: &[u8]| {
    let mut pieces = data.split(|byte| *byte == 255);
    let first = pieces.next().unwrap_or_default();
    let mut session = Session::default();
    pieces.for_each(|piece| session.take(piece));
    let about = about(BASE + session.frames.len() as u64);
    let head = head(first, &session.blocks);
    let opened = open(&about, BASE, &head, Arc::new(session.blocks.clone()), &session.frames, &is_records);
    let saved = salvage(&about, (BASE, &head), &session.blocks, &session.frames, &is_records);
    let _ = encoded(&saved.state);
    let Ok(Opened { state, .. }) = opened else { return };
    let Some(text) = encoded(&state) else { return };
    assert!(text.len() <= data.len() * 8 + session.frames.len() * COPIED);
    if saved.bad.is_empty() {
        assert!(saved.complete && saved.stopped.is_none() && saved.version == about.version);
        assert_eq!(encoded(&saved.state).as_ref(), Some(&text));
    }
    step_by_step(&head, &session, &text);
    if is_plain(&text) {
        folded(&state, &about, &text);
    }
});

fn is_records(name: &str) -> bool {
    name.starts_with('h')
}

fn token(version: u64) -> Token {
    u128::from(version).to_le_bytes()
}

fn about(version: u64) -> About {
    let token = token(version);
    About { session_id: SESSION.into(), user_id: "u".into(), epoch: 0, created_at: 0, version, token }
}

impl Session {
    fn take(&mut self, piece: &[u8]) {
        let Some((kind, rest)) = piece.split_first() else { return };
        let (name, payload) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
        let name = String::from_utf8_lossy(name);
        let payload = payload.get(1..).unwrap_or_default();
        match kind {
            b'v' => self.block("", Kind::Fields, 0, rest),
            b'o' => self.block(&name, Kind::Fields, 0, payload),
            b's' => {
                let count = payload.first_chunk().map_or(0, |count| u32::from_le_bytes(*count));
                self.block(&name, Kind::Segment, count as usize, payload);
            }
            b'f' => self.frame(rest),
            _ => self.frames.push((BASE + 1 + self.frames.len() as u64, rest.to_vec())),
        }
    }

    fn block(&mut self, field: &str, kind: Kind, records: usize, payload: &[u8]) {
        let number = self.blocks.len() as u64;
        let id = token(number);
        let body = Body::new(seal(&Place { session_id: SESSION, epoch: 0, kind, id }, payload));
        let position = i64::try_from(number).unwrap_or_default();
        self.blocks.push(Block { id, field: field.into(), position, records, body: Some(body) });
    }

    fn frame(&mut self, patch: &[u8]) {
        let version = BASE + 1 + self.frames.len() as u64;
        let (parent, token) = (token(version - 1), token(version));
        let frame = Frame { version, parent, token, change_id: "", time: 0, patch };
        self.frames.push((version, frame.seal(SESSION, 0)));
    }
}

/// The head as it stands there, or around the fields that stand there.
fn head(data: &[u8], blocks: &[Block]) -> Vec<u8> {
    let Some(fields) = fields(data) else {
        return seal(&Place::version(SESSION, 0, Kind::Head, BASE), data);
    };
    let ids = |name: &str| -> Vec<_> { blocks.iter().filter(|block| *block.field == *name).map(|b| b.id).collect() };
    let all: Vec<_> =
        std::iter::once("").chain(fields.iter().map(|(name, _)| &**name)).map(|name| (name, ids(name))).collect();
    let digest = digest(all.iter().map(|(name, ids)| (*name, ids.as_slice())));
    let is_list = |name: &str| fields.iter().any(|(own, records)| **own == *name && records.is_some());
    let held = all.iter().filter_map(|(name, ids)| {
        let values = ids.first().map(|id| Held::Values(*id))?;
        Some((Arc::from(*name), if is_list(name) { Held::Records(ids.len()) } else { values }))
    });
    let mut held: Vec<(Arc<str>, Held)> = held.collect();
    held.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (token, stamp, user_id) = (token(BASE), [9; 16], "u".into());
    let (names, records): (Vec<_>, _) = fields.iter().cloned().unzip();
    let names = Arc::new(names.into_iter().collect());
    Head { version: BASE, token, stamp, user_id, created_at: 0, blocks: held, names, records, digest }.seal(SESSION, 0)
}

/// Names, which all differ, with numbers of records: a JSON object of numbers and nulls.
fn fields(text: &[u8]) -> Option<Vec<(Arc<str>, Option<usize>)>> {
    let fields = members(text, 0).ok()?.map(|found| {
        let (key, value) = found.ok()?;
        let records = match text.get(value)? {
            b"null" => None,
            number => Some(str::from_utf8(number).ok()?.parse().ok()?),
        };
        Some((Arc::from(&*unescape(text.get(key)?).ok()?), records))
    });
    let fields = fields.collect::<Option<Vec<(Arc<str>, _)>>>()?;
    let distinct: HashSet<_> = fields.iter().map(|(name, _)| name).collect();
    (distinct.len() == fields.len() && !distinct.contains(&Arc::from(""))).then_some(fields)
}

fn encoded(state: &State) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    state.encode(&mut out).ok()?;
    Some(out)
}

fn step_by_step(head: &[u8], session: &Session, expected: &[u8]) {
    let about = about(BASE);
    let head = Arc::new(Head::open(SESSION, 0, BASE, head).unwrap());
    let declared = |name: &str| is_records(name) || head.is_records(name);
    let mut state = open_head(&about, &head, Arc::new(session.blocks.clone()), &declared).unwrap().state;
    let mut parent = (BASE, token(BASE));
    for (version, body) in &session.frames {
        let (next, token) = follow(&about, &state, parent, *version, body, &declared).unwrap();
        (state, parent) = (next, (*version, token));
    }
    assert_eq!(encoded(&state).as_deref(), Some(expected));
}

/// A checkpoint of the state opens as the same state.
fn folded(state: &State, about: &About, expected: &[u8]) {
    let mut fresh = 1 << 32;
    let mut next = || {
        fresh += 1;
        token(fresh)
    };
    let parts = parts(state, about, [9; 16], &[], &mut next).unwrap();
    assert!(parts.dropped.is_empty());
    let again = open(about, about.version, &parts.head, Arc::new(parts.added), &[], &is_records).unwrap();
    assert_eq!(encoded(&again.state).as_deref(), Some(expected));
    assert!(compact(expected).is_ok_and(|text| text.len() == expected.len()));
}
