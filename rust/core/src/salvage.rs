//! What can still be read of a session whose stored bytes are damaged.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checkpoint::{About, Block};
use crate::envelope::BlockId;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::frame::{self, Token};
use crate::head::Head;
use crate::list::List;
use crate::open::{as_declared, check, follow, open_head, open_values, segment};
use crate::patch;
use crate::pointer;
use crate::state::State;
use crate::text;

/// What came of it.
#[derive(Debug)]
pub struct Salvage {
    pub state: State,
    /// The version that the state stands for.
    pub version: u64,
    /// The blocks that cannot be opened; their content is not in the state.
    pub bad: Vec<BlockId>,
    /// The user whom the head names, if it can be read.
    pub owner: Option<String>,
    /// Whether the head is sound, and the state at it lacks nothing.
    pub complete: bool,
    /// Why the frames were not followed to their end.
    pub stopped: Option<Error>,
}

/// The state at version `base` without the blocks that cannot be opened, then frame after frame up to the first one
/// that does not follow. Where something is lacking, that is also the first that edits a place in a list: it may be
/// another record that stands there now.
pub fn salvage(
    about: &About,
    (base, head): (u64, &[u8]),
    blocks: &[Block],
    frames: &[(u64, Vec<u8>)],
    is_records: &dyn Fn(&str) -> bool,
) -> Salvage {
    let head = Head::open(&about.session_id, about.epoch, base, head).ok().map(Arc::new);
    let owner = head.as_ref().map(|head| head.user_id.clone());
    let head = head.filter(|head| head.user_id == about.user_id);
    let shapes = |name: &str| is_records(name) || head.as_ref().is_some_and(|head| head.is_records(name));
    let (sound, bad): (Vec<_>, Vec<_>) =
        blocks.iter().cloned().partition(|block| check(&about.session_id, about.epoch, block.clone()).is_ok());
    let whole = head.as_ref().filter(|_| bad.is_empty());
    let whole = whole.and_then(|head| open_head(about, head, Arc::new(sound.clone()), &shapes).ok());
    let whole = whole.filter(|opened| opened.blocks.rows().is_ok()).map(|opened| opened.state);
    // At version 0 a session is empty, whatever has become of its first head.
    let complete = whole.is_some() || (base == 0 && blocks.is_empty());
    let mut state = whole.unwrap_or_else(|| remains(about, sound, &shapes));
    let (mut version, mut token, mut stopped) = (base, head.as_ref().map(|head| head.token), None);
    for (number, body) in frames {
        match next(about, &state, (version, token), (*number, body), complete, &shapes) {
            Ok(after) => (state, token, version) = (after.0, Some(after.1), *number),
            Err(error) => {
                stopped = Some(error);
                break;
            }
        }
    }
    Salvage { state, version, bad: bad.iter().map(|block| block.id).collect(), owner, complete, stopped }
}

/// What stands in these blocks, whatever a head says of them.
fn remains(about: &About, mut blocks: Vec<Block>, is_records: &dyn Fn(&str) -> bool) -> State {
    blocks.sort_by(|a, b| (&a.field, a.position).cmp(&(&b.field, b.position)));
    let mut state = State::default();
    let mut lists: BTreeMap<Arc<str>, Vec<_>> = BTreeMap::new();
    for block in blocks {
        if block.records > 0 {
            let parts = lists.entry(Arc::clone(&block.field)).or_default();
            parts.push(Arc::new(segment(&about.session_id, about.epoch, block)));
        } else {
            // It was opened before, or it would not be among these.
            let _ = open_values(&about.session_id, about.epoch, &block, &mut |key, value| {
                let name = &*text::unescape(key)?;
                let field = as_declared(name, value.clone(), is_records).unwrap_or(Field::Value(value));
                state.set(name, field);
                Ok(())
            });
        }
    }
    for (name, parts) in lists {
        state.set(&name, Field::Records(List::from_segments(parts)));
    }
    state
}

fn next(
    about: &About,
    state: &State,
    parent: (u64, Option<Token>),
    (version, body): (u64, &[u8]),
    complete: bool,
    is_records: &dyn Fn(&str) -> bool,
) -> Result<(State, Token)> {
    let payload = frame::open(&about.session_id, about.epoch, version, body)?;
    let found = frame::parse(version, &payload)?;
    if !complete && edits_a_place(found.patch, is_records)? {
        return Err(Error::corrupt(format!("frame {version}"), "it edits a list of which records are lost"));
    }
    // Without a head nobody can tell which token its state had.
    let token = parent.1.unwrap_or(found.parent);
    follow(about, state, (parent.0, token), version, body, is_records)
}

/// Whether a patch names a place in a list of records.
fn edits_a_place(text: &[u8], is_records: &dyn Fn(&str) -> bool) -> Result<bool> {
    let operations = patch::parse(text)?;
    let paths = operations.iter().flat_map(|op| op.from.iter().chain([&op.path]));
    Ok(paths.filter_map(|path| pointer::tokens(path)).any(|tokens| match tokens.as_slice() {
        [name, place, ..] => is_records(name) && place != "-",
        _ => false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use crate::checkpoint::parts;
    use crate::delta::{Change, Delta};
    use crate::edits::Tracked;
    use crate::field::Value;
    use crate::frame::Frame;

    fn about(version: u64) -> About {
        About { session_id: "s".into(), user_id: "u".into(), epoch: 0, created_at: 1, version, token: [1; 16] }
    }

    fn stored() -> (Vec<u8>, Vec<Block>) {
        let (mut n, mut tracked) = (0, Tracked::new(List::default(), "message_id"));
        for n in 0..400 {
            tracked.push(format!(r#"{{"message_id":"{n}","content":"{}"}}"#, "lorem ipsum ".repeat(40)).as_bytes());
        }
        let changes = vec![
            Change::Value("query".into(), Value::new(b"\"fridge\"")),
            Change::Records("history".into(), tracked.freeze(), "message_id"),
        ];
        let delta = Delta::new(State::default(), changes);
        let mut fresh = || {
            n += 1;
            [n; 16]
        };
        let made = parts(delta.next(), &about(1), [9; 16], &[], &mut fresh).unwrap();
        (made.head, made.added)
    }

    fn damaged(block: &Block) -> Block {
        let mut body = block.body.as_ref().unwrap().bytes().unwrap().to_vec();
        *body.last_mut().unwrap() ^= 1;
        Block { body: Some(Body::new(body)), ..block.clone() }
    }

    fn frame(version: u64, parent: u8, patch: &[u8]) -> (u64, Vec<u8>) {
        let token = [u8::try_from(version).unwrap(); 16];
        (version, Frame { version, parent: [parent; 16], token, change_id: "", time: 0, patch }.seal("s", 0))
    }

    fn read(head: &[u8], blocks: &[Block], frames: &[(u64, Vec<u8>)]) -> Salvage {
        salvage(&about(9), (1, head), blocks, frames, &|name| name == "history")
    }

    fn length(found: &Salvage) -> usize {
        let Some(Field::Records(list)) = found.state.get("history") else { return 0 };
        (0..list.len()).for_each(|n| assert!(list.get(n).is_ok()));
        list.len()
    }

    const APPEND: &[u8] = br#"[{"op":"add","path":"/history/-","value":{}}]"#;
    const EDIT: &[u8] = br#"[{"op":"replace","path":"/history/399","value":{}}]"#;

    #[test]
    fn what_is_sound_is_read_whole() {
        let (head, blocks) = stored();
        let found = read(&head, &blocks, &[frame(2, 1, APPEND), frame(3, 2, EDIT)]);
        assert_eq!((length(&found), found.version, found.complete), (401, 3, true));
        assert!(found.bad.is_empty() && found.stopped.is_none());
    }

    #[test]
    fn a_damaged_block_takes_only_its_own_records_along() {
        let (head, mut blocks) = stored();
        let lost = blocks[2].records;
        blocks[2] = damaged(&blocks[2]);
        let found = read(&head, &blocks, &[frame(2, 1, APPEND), frame(3, 2, EDIT)]);
        assert_eq!((length(&found), found.version, found.complete), (401 - lost, 2, false));
        assert_eq!(found.bad, [blocks[2].id]);
        assert!(found.stopped.is_some() && found.state.get("query").is_some());
        let (id, found) = (blocks.remove(2).id, read(&head, &blocks, &[]));
        assert_eq!((length(&found), found.complete, found.bad.contains(&id)), (400 - lost, false, false));
    }

    #[test]
    fn without_a_head_the_blocks_speak_for_themselves() {
        let (head, blocks) = stored();
        for head in [&head[..head.len() - 1], b""] {
            let found = read(head, &blocks, &[frame(2, 7, APPEND), frame(3, 2, APPEND)]);
            assert_eq!((length(&found), found.version, found.complete), (402, 3, false));
        }
    }

    #[test]
    fn frames_are_followed_to_the_first_that_does_not_follow() {
        let (head, blocks) = stored();
        let (second, mut third) = (frame(2, 1, APPEND), frame(3, 2, APPEND));
        assert_eq!(read(&head, &blocks, &[second.clone(), frame(4, 2, APPEND)]).version, 2);
        assert_eq!(read(&head, &blocks, &[second.clone(), frame(3, 9, APPEND)]).version, 2);
        third.1.pop();
        let found = read(&head, &blocks, &[second, third]);
        assert_eq!((length(&found), found.version, found.complete), (401, 2, true));
        assert!(found.stopped.is_some());
    }
}
