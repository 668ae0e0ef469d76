//! Random changes of one state: what merges holds both sides, in either order.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::HashSet;

use serde_json::{Value as Json, json};
use swisper_core::delta::{Change, Delta};
use swisper_core::edits::Tracked;
use swisper_core::field::{Field, Value};
use swisper_core::list::List;
use swisper_core::patch;
use swisper_core::rebase::{Failure, Theirs};
use swisper_core::state::State;

const HISTORY: &str = "conversation_history";

fn is_records(name: &str) -> bool {
    name == HISTORY
}

fn start() -> Json {
    json!({
        HISTORY: (0..5).map(|n| json!({"message_id": format!("m{n}")})).collect::<Vec<_>>(),
        "current_state": "idle",
        "d": {"-": 1, "0": 2, "turns": 7, "filler": "x".repeat(300)},
        "l": ["a", "b", "x".repeat(100)],
    })
}

fn state_of(document: &Json) -> State {
    let patch = json!([{"op": "add", "path": "", "value": document}]).to_string();
    State::default().apply(&patch::parse(patch.as_bytes()).unwrap(), &is_records).unwrap()
}

fn json_of(state: &State) -> Json {
    let mut text = Vec::new();
    state.encode(&mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn list_of(state: &State) -> List {
    let Some(Field::Records(list)) = state.get(HISTORY) else { panic!("no history") };
    list.clone()
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// A few edits, each of which writes a number that stands nowhere else.
fn random_change(base: &State, random: &mut Random, fresh: &mut usize) -> Delta {
    let mut document = json_of(base);
    let mut tracked = Tracked::new(list_of(base), "message_id");
    for _ in 0..=random.below(3) {
        *fresh += 1;
        let number = json!(*fresh);
        let d = document["d"].as_object_mut().unwrap();
        match random.below(12) {
            0..3 => tracked.push(json!({"message_id": fresh}).to_string().as_bytes()),
            3 if tracked.list().len() > 1 => tracked.splice(0..1, &[]).unwrap(),
            4 => tracked.splice(0..0, &[json!({"message_id": fresh}).to_string().as_bytes()]).unwrap(),
            5 => drop(d.insert(format!("z{fresh}"), number)),
            6 => drop(d.insert(["-", "0", "turns"][random.below(3)].to_owned(), number)),
            7 => drop(d.remove(["-", "0", "turns"][random.below(3)])),
            8 => drop(d.insert(["o", "turns"][random.below(2)].to_owned(), json!({"a": number}))),
            9 => document["l"].as_array_mut().unwrap().push(number),
            10 => document["l"][random.below(2)] = number,
            _ => document["current_state"] = number,
        }
    }
    let mut changes = Vec::new();
    for (name, value) in document.as_object().unwrap().iter().filter(|(name, _)| *name != HISTORY) {
        if json_of(base)[name] != *value {
            changes.push(Change::Value(name.as_str().into(), Value::new(value.to_string().as_bytes())));
        }
    }
    if tracked.is_changed() {
        changes.push(Change::Records(HISTORY.into(), tracked.freeze(), "message_id"));
    }
    Delta::new(base.clone(), changes)
}

/// The numbers above `from` and the keys in a text: what was written, and what is left of what was there.
fn leaves(document: &Json, prefix: &str, out: &mut HashSet<String>) {
    match document {
        Json::Object(members) => members.iter().for_each(|(key, value)| {
            leaves(value, &format!("{prefix}/{key}"), out);
        }),
        Json::Array(items) => items.iter().for_each(|item| leaves(item, &format!("{prefix}/*"), out)),
        other => drop(out.insert(format!("{prefix}={other}"))),
    }
}

fn leaves_of(state: &State) -> HashSet<String> {
    let mut out = HashSet::new();
    leaves(&json_of(state), "", &mut out);
    out
}

/// The same state, with what stands behind the first `kept` elements of the arrays in any order.
fn sorted(state: &State, base: &State) -> Json {
    let (mut document, before) = (json_of(state), json_of(base));
    for name in ["l", HISTORY] {
        let kept = before[name].as_array().unwrap().len();
        let items = document[name].as_array_mut().unwrap();
        if items.len() > kept {
            items[kept..].sort_by_key(ToString::to_string);
        }
    }
    document
}

fn without_tests(patch: &[u8]) -> Vec<u8> {
    let operations: Vec<Json> = serde_json::from_slice(patch).unwrap();
    json!(operations.into_iter().filter(|op| op["op"] != "test").collect::<Vec<_>>()).to_string().into_bytes()
}

#[test]
fn merged_changes_hold_both_sides_in_either_order() {
    let rounds = if std::env::var("SWISPER_FULL").is_ok() { 100_000 } else { 1_500 };
    let (mut random, mut fresh, mut merges) = (Random(7), 1000, 0);
    for _ in 0..rounds {
        let base = state_of(&start());
        let theirs = random_change(&base, &mut random, &mut fresh);
        let ours = random_change(&base, &mut random, &mut fresh);
        let (their_patch, our_patch) = (theirs.patch().unwrap(), ours.patch().unwrap());
        let report = String::from_utf8([their_patch.as_slice(), &our_patch].concat()).unwrap();
        let between = Theirs::new(&base, std::slice::from_ref(&their_patch), &is_records).unwrap();
        let merged = match between.rebase(&ours, between.state(), &is_records) {
            Ok(merged) => merged,
            Err(Failure::Conflict(conflict)) => {
                assert!(!conflict.paths.is_empty(), "{report}");
                continue;
            }
            Err(Failure::Error(error)) => panic!("{error}: {report}"),
        };
        merges += 1;
        let swapped = without_tests(&their_patch);
        let swapped = ours.next().apply(&patch::parse(&swapped).unwrap(), &is_records).unwrap();
        assert_eq!(sorted(merged.next(), &base), sorted(&swapped, &base), "{report}");
        let (before, found) = (leaves_of(&base), leaves_of(merged.next()));
        for side in [&theirs, &ours] {
            let after = leaves_of(side.next());
            assert!(after.difference(&before).all(|leaf| found.contains(leaf)), "{report}");
            assert!(before.difference(&after).all(|leaf| !found.contains(leaf)), "{report}");
        }
    }
    assert!(merges > rounds / 20 && merges < rounds - rounds / 20, "{merges} of {rounds}");
}
