//! Two writers: whether a change may follow those that others have saved since, and what it is then.
//!
//! Two changes merge only where no path of one leads into a path of the other, or where both append to one array.
//! An operation with an index touches its whole array. The cost is that of the changes and of the fields that both
//! touch, whatever the length of the history.

use crate::delta::{Change, Delta};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::frame::{self, Token};
use crate::patch::Operation;
use crate::state::State;
use crate::touch::{Touch, path_of, touches};
use crate::{groups, patch};

/// The list whose records may stand in groups: calls of tools, and the answers to them.
const HISTORY: &str = "conversation_history";

/// Whoever changes these must have seen everything else, and the other way round.
pub const BARRIERS: [&str; 2] = ["consent_status", "data_retention_policy"];

/// Why a change does not merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Both sides changed the same.
    Overlap,
    /// Something that the change departs from has changed.
    Test,
    /// A call of a tool waits for its answer: nothing may come between.
    ToolCalls,
    /// Consent, retention or a recovery.
    Barrier,
    /// It edits a record that has no id to be known by.
    Unidentified,
    /// The log does not lead from its state to the present one any more.
    TooOld,
}

impl Reason {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Test => "test",
            Self::ToolCalls => "tool_calls",
            Self::Barrier => "barrier",
            Self::Unidentified => "unidentified",
            Self::TooOld => "too_old",
        }
    }
}

/// Why not, and the JSON Pointers of what both sides touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub reason: Reason,
    pub paths: Vec<String>,
}

#[derive(Debug)]
pub enum Failure {
    Conflict(Conflict),
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

pub type Outcome<T> = std::result::Result<T, Failure>;

fn refuse<T>(reason: Reason, paths: impl IntoIterator<Item = String>) -> Outcome<T> {
    Err(Failure::Conflict(Conflict { reason, paths: paths.into_iter().collect() }))
}

/// What others have saved since a state.
#[derive(Debug)]
pub struct Theirs {
    state: State,
    touches: Vec<Touch>,
    has_open_group: bool,
}

impl Theirs {
    /// Reads the frames after an etag; a body is None if its patch was purged. `epochs` are that of the etag and the
    /// present one. Fails with a conflict where the log does not lead on from there.
    pub fn follow(
        base: &State,
        session_id: &str,
        epochs: (u32, u32),
        etag: (u64, Token),
        frames: &[(u64, Option<&[u8]>)],
        is_records: &dyn Fn(&str) -> bool,
    ) -> Outcome<Self> {
        if epochs.0 != epochs.1 {
            return refuse(Reason::Barrier, []);
        }
        let (mut payloads, mut parent) = (Vec::new(), etag);
        for (version, body) in frames {
            let Some(body) = body else { return refuse(Reason::TooOld, []) };
            let payload = frame::open(session_id, epochs.0, *version, body)?;
            let frame = frame::parse(*version, &payload)?;
            if (*version, frame.parent) != (parent.0 + 1, parent.1) {
                return refuse(Reason::TooOld, []);
            }
            parent = (*version, frame.token);
            payloads.push(frame.patch.to_vec());
        }
        Self::new(base, &payloads, is_records)
    }

    /// From patches that follow on a state; `is_records` as in `State::apply`.
    pub fn new(base: &State, patches: &[Vec<u8>], is_records: &dyn Fn(&str) -> bool) -> Outcome<Self> {
        let (mut state, mut all) = (base.clone(), Vec::new());
        for patch in patches {
            let operations = patch::parse(patch)?;
            operations.iter().try_for_each(|op| touches(base, op, &mut all))?;
            state =
                state.apply(&operations, is_records).map_err(|error| error.inside("a frame that was to be merged"))?;
        }
        let has_open_group = all.iter().any(|touch| touch.extends(&path_of(HISTORY)))
            && match (base.get(HISTORY), state.get(HISTORY)) {
                (Some(Field::Records(before)), Some(Field::Records(now))) => groups::is_open(now, before),
                _ => false,
            };
        Ok(Self { state, touches: all, has_open_group })
    }

    /// The state that they have led to.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether they have changed a field.
    #[must_use]
    pub fn touch(&self, name: &str) -> bool {
        let path = path_of(name);
        self.touches.iter().any(|touch| touch.is_in(&path))
    }

    /// `ours` as a change of `onto`: of their state, or of what earlier changes of ours have made of it.
    pub fn rebase(&self, ours: &Delta, onto: &State, is_records: &dyn Fn(&str) -> bool) -> Outcome<Delta> {
        if ours.base().is_empty() {
            return refuse(Reason::Overlap, [String::new()]);
        }
        self.pass_barriers(ours)?;
        let contested: Vec<_> = ours.changes().iter().filter(|change| self.touch(change.name())).collect();
        let patches: Vec<_> = contested.iter().map(|change| ours.patch_of_value(change)).collect::<Result<_>>()?;
        let operations: Vec<_> = patches.iter().map(|patch| patch::parse(patch)).collect::<Result<_>>()?;
        self.check_overlap(ours.base(), &contested, &operations)?;
        if self.has_open_group && contested.iter().any(|change| change.name() == HISTORY) {
            return refuse(Reason::ToolCalls, [path_of(HISTORY)]);
        }
        let mut next = onto.clone();
        for (change, operations) in contested.iter().zip(&operations) {
            next = follow(&next, change, operations, is_records)?;
        }
        let changes = ours
            .changes()
            .iter()
            .map(|change| if self.touch(change.name()) { change.moved(onto, &next) } else { change.clone() });
        Ok(Delta::new(onto.clone(), changes.collect()))
    }

    fn pass_barriers(&self, ours: &Delta) -> Outcome<()> {
        for name in BARRIERS {
            if self.touch(name) || ours.changes().iter().any(|change| change.name() == name) {
                return refuse(Reason::Barrier, [path_of(name)]);
            }
        }
        let mut blind = ours.changes().iter().filter(|change| change.edits_unidentified());
        blind.next().map_or(Ok(()), |change| refuse(Reason::Unidentified, [path_of(change.name())]))
    }

    fn check_overlap(&self, base: &State, changes: &[&Change], operations: &[Vec<Operation<'_>>]) -> Outcome<()> {
        let mut own = Vec::new();
        for (change, operations) in changes.iter().zip(operations) {
            match change {
                Change::Value(..) => operations.iter().try_for_each(|op| touches(base, op, &mut own))?,
                Change::Records(name, edits, _) => own.push(Touch::of_records(name, edits.only_append())),
            }
        }
        let mut paths: Vec<_> =
            own.iter().flat_map(|a| self.touches.iter().filter_map(|b| a.meets(b))).map(str::to_owned).collect();
        paths.sort_unstable();
        paths.dedup();
        if paths.is_empty() { Ok(()) } else { refuse(Reason::Overlap, paths) }
    }
}

/// The state with one more change, which overlaps with nothing in it.
fn follow(
    state: &State,
    change: &Change,
    operations: &[Operation<'_>],
    is_records: &dyn Fn(&str) -> bool,
) -> Outcome<State> {
    if let (Change::Records(name, edits, _), Some(Field::Records(list))) = (change, state.get(change.name())) {
        let (mut list, mut state) = (list.clone(), state.clone());
        edits.append_to(&mut list)?;
        state.set(name, Field::Records(list));
        return Ok(state);
    }
    match state.apply(operations, is_records) {
        Err(Error::Patch { path, .. }) => refuse(Reason::Test, [path]),
        applied => Ok(applied?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::edits::Tracked;
    use crate::field::Value;
    use crate::frame::Frame;
    use crate::list::List;

    fn is_records(name: &str) -> bool {
        name == HISTORY
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
        let Some(Field::Records(list)) = state.get(HISTORY) else { return List::default() };
        list.clone()
    }

    /// The change from one document to another; the history is edited by `edit`.
    fn delta(base: &State, target: &Json, edit: impl FnOnce(&mut Tracked)) -> Delta {
        let mut changes = Vec::new();
        for (name, value) in target.as_object().unwrap().iter().filter(|(name, _)| *name != HISTORY) {
            if json_of(base)[name] != *value {
                changes.push(Change::Value(name.as_str().into(), Value::new(value.to_string().as_bytes())));
            }
        }
        let mut tracked = Tracked::new(list_of(base), "message_id");
        edit(&mut tracked);
        if tracked.is_changed() {
            changes.push(Change::Records(HISTORY.into(), tracked.freeze(), "message_id"));
        }
        Delta::new(base.clone(), changes)
    }

    fn merge(base: &State, theirs: &[Delta], ours: &Delta) -> std::result::Result<Delta, Conflict> {
        let patches: Vec<_> = theirs.iter().map(|delta| delta.patch().unwrap()).collect();
        let merged = Theirs::new(base, &patches, &is_records)
            .and_then(|theirs| theirs.rebase(ours, theirs.state(), &is_records));
        merged.map_err(|failure| match failure {
            Failure::Conflict(conflict) => conflict,
            Failure::Error(error) => panic!("{error}"),
        })
    }

    fn start() -> Json {
        json!({
            HISTORY: (0..5).map(|n| json!({"message_id": format!("m{n}")})).collect::<Vec<_>>(),
            "current_state": "idle",
            "consent_status": {},
            "data_retention_policy": "session",
            "d": {"-": 1, "0": 2, "turns": 7, "filler": "x".repeat(300)},
            "l": ["a", "b", "x".repeat(100)],
        })
    }

    fn with(path: &str, value: Json) -> Json {
        let mut document = start();
        *document.pointer_mut(path).unwrap() = value;
        document
    }

    fn push(records: &[Json]) -> impl FnOnce(&mut Tracked) {
        move |tracked| records.iter().for_each(|record| tracked.push(record.to_string().as_bytes()))
    }

    fn nothing(_: &mut Tracked) {}

    /// What merging gives for two changes of `base`: None where it gives one that holds both.
    fn refusal(base: &State, theirs: &Delta, ours: &Delta) -> Option<(Reason, Vec<String>)> {
        match merge(base, std::slice::from_ref(theirs), ours) {
            Err(conflict) => Some((conflict.reason, conflict.paths)),
            Ok(merged) => {
                let both = theirs.next().apply(&patch::parse(&ours.patch().unwrap()).unwrap(), &is_records).unwrap();
                assert_eq!(json_of(merged.next()), json_of(&both));
                let frame = merged.patch().unwrap();
                let followed = theirs.next().apply(&patch::parse(&frame).unwrap(), &is_records).unwrap();
                assert_eq!(json_of(&followed), json_of(&both));
                None
            }
        }
    }

    #[test]
    fn values_merge_where_no_path_leads_into_another() {
        let base = state_of(&start());
        let set = |path: &str, value: Json| delta(&base, &with(path, value), nothing);
        let overlap = |path: &str| Some((Reason::Overlap, vec![path.to_owned()]));
        let turns = set("/d/turns", json!(8));
        assert_eq!(refusal(&base, &turns, &turns), overlap("/d/turns"));
        assert_eq!(refusal(&base, &set("/d/-", json!(5)), &set("/d/0", json!(6))), None);
        assert_eq!(refusal(&base, &set("/d/0", json!(5)), &set("/d/0", json!(6))), overlap("/d/0"));
        assert_eq!(refusal(&base, &set("/d", json!([])), &turns), overlap("/d/turns"));
        assert_eq!(refusal(&base, &turns, &set("/l/0", json!("z"))), None);
        let appended = |item: &str| {
            let mut document = start();
            document["l"].as_array_mut().unwrap().push(json!(item));
            delta(&base, &document, nothing)
        };
        assert_eq!(refusal(&base, &appended("c"), &appended("d")), None);
        assert_eq!(refusal(&base, &appended("c"), &set("/l/1", json!("z"))), overlap("/l"));
        assert_eq!(refusal(&base, &set("/l/0", json!("y")), &set("/l/1", json!("z"))), overlap("/l"));
        let busy = set("/current_state", json!("busy"));
        let done = set("/current_state", json!("done"));
        assert_eq!(refusal(&base, &busy, &done), overlap("/current_state"));
        assert!(String::from_utf8(busy.patch().unwrap()).unwrap().starts_with(r#"[{"op":"test""#));
    }

    #[test]
    fn consent_and_retention_are_barriers() {
        let base = state_of(&start());
        let said = delta(&base, &start(), push(&[json!({"message_id": "new"})]));
        for (name, value) in [("consent_status", json!({"m": false})), ("data_retention_policy", json!("1h"))] {
            let path = format!("/{name}");
            let change = delta(&base, &with(&path, value), nothing);
            assert_eq!(refusal(&base, &change, &said), Some((Reason::Barrier, vec![path.clone()])));
            assert_eq!(refusal(&base, &said, &change), Some((Reason::Barrier, vec![path])));
        }
        let follow = |epoch, frames: &[(u64, Option<&[u8]>)]| match Theirs::follow(
            &base,
            "s",
            (0, epoch),
            (1, [1; 16]),
            frames,
            &is_records,
        ) {
            Ok(theirs) => Ok(json_of(theirs.state())),
            Err(Failure::Conflict(conflict)) => Err(conflict.reason),
            Err(Failure::Error(error)) => panic!("{error}"),
        };
        let patch = said.patch().unwrap();
        let frame = |parent| {
            let frame = Frame { version: 2, parent, token: [2; 16], change_id: "", time: 0, patch: &patch };
            frame.seal("s", 0)
        };
        assert_eq!(follow(0, &[(2, Some(&frame([1; 16])))]), Ok(json_of(said.next())));
        assert_eq!(follow(1, &[(2, Some(&frame([1; 16])))]), Err(Reason::Barrier));
        assert_eq!(follow(0, &[(2, Some(&frame([9; 16])))]), Err(Reason::TooOld));
        assert_eq!(follow(0, &[(2, None)]), Err(Reason::TooOld));
    }

    #[test]
    fn records_merge_where_both_append() {
        let base = state_of(&start());
        let edit = |range: std::ops::Range<usize>, records: &[&[u8]]| {
            delta(&base, &start(), |tracked| tracked.splice(range, records).unwrap())
        };
        let new = [json!({"message_id": "new"})];
        let said = delta(&base, &start(), push(&new));
        let overlap = Some((Reason::Overlap, vec![path_of(HISTORY)]));
        assert_eq!(refusal(&base, &said, &delta(&base, &start(), push(&[json!({"message_id": "other"})]))), None);
        assert_eq!(refusal(&base, &edit(0..0, &[b"{}"]), &edit(3..4, &[br#"{"message_id":"x"}"#])), overlap);
        assert_eq!(refusal(&base, &said, &edit(3..4, &[br#"{"message_id":"x"}"#])), overlap);
        assert_eq!(refusal(&base, &edit(3..4, &[]), &said), overlap);
        assert_eq!(refusal(&base, &edit(0..5, &[]), &said), overlap);
        let turns = delta(&base, &with("/d/turns", json!(8)), nothing);
        assert_eq!(refusal(&base, &turns, &edit(3..4, &[])), None);
        let nameless = state_of(&with(&path_of(HISTORY), json!([{"role": "user"}])));
        let removed = delta(&nameless, &json_of(&nameless), |tracked| tracked.splice(0..1, &[b"{}"]).unwrap());
        // Clearing meets no single record, an edit of one does.
        assert!(!removed.changes()[0].edits_unidentified());
        let two = state_of(&with(&path_of(HISTORY), json!([{"role": "user"}, {}])));
        let blind = delta(&two, &json_of(&two), |tracked| tracked.splice(0..1, &[]).unwrap());
        let turns = delta(
            &two,
            &{
                let mut d = json_of(&two);
                d["d"]["turns"] = json!(8);
                d
            },
            nothing,
        );
        assert_eq!(refusal(&two, &turns, &blind), Some((Reason::Unidentified, vec![path_of(HISTORY)])));
    }

    #[test]
    fn no_append_goes_into_an_open_group_of_tool_calls() {
        let call = json!({"role": "assistant", "tool_calls": [{"id": "a"}]});
        let said = json!({"role": "user", "content": "and?"});
        let refused = Some((Reason::ToolCalls, vec![path_of(HISTORY)]));
        for (before, theirs, expected) in
            [(&call, &said, refused.clone()), (&said, &call, refused), (&said, &said, None)]
        {
            let base = state_of(&with(&path_of(HISTORY), json!([before])));
            let theirs = delta(&base, &json_of(&base), push(std::slice::from_ref(theirs)));
            let ours = delta(&base, &json_of(&base), push(std::slice::from_ref(&said)));
            assert_eq!(refusal(&base, &theirs, &ours), expected);
        }
    }

    #[test]
    fn what_a_change_departs_from_must_still_hold() {
        let base = state_of(&start());
        let ours = delta(&base, &with("/current_state", json!("busy")), nothing);
        let theirs = Theirs::new(&base, &[], &is_records).unwrap();
        let elsewhere = state_of(&with("/current_state", json!("done")));
        let patch = ours.patch().unwrap();
        let operations = patch::parse(&patch).unwrap();
        let followed = follow(&elsewhere, &ours.changes()[0], &operations, &is_records);
        let Err(Failure::Conflict(found)) = followed else { panic!() };
        assert_eq!(found, Conflict { reason: Reason::Test, paths: vec!["/current_state".into()] });
        assert_eq!(json_of(theirs.rebase(&ours, &base, &is_records).unwrap().next()), json_of(ours.next()));
    }
}
