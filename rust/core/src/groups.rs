//! Groups of messages that belong together: calls of tools, and the answers to them.

use std::borrow::Cow;
use std::collections::HashSet;

use memchr::memmem;

use crate::error::Result;
use crate::json::{elements, member, slice};
use crate::list::List;
use crate::text;

/// Whether the last calls of tools before a list grew, or those that came since, lack an answer. Where that cannot be
/// seen because the records were left in the store, they count as open.
///
/// A message that is neither a call nor an answer ends the group before it.
#[must_use]
pub fn is_open(list: &List, before: &List) -> bool {
    last_group(before).and_then(|start| leaves_open(list, start, before.len())).unwrap_or(true)
}

/// Where the answers at the end of a list begin, with the calls before them.
fn last_group(list: &List) -> Result<usize> {
    let mut start = list.len();
    while start > 0 && list.visit(start - 1, answered)??.is_some() {
        start -= 1;
    }
    while start > 0 && !list.visit(start - 1, called)??.is_empty() {
        start -= 1;
    }
    Ok(start)
}

/// Whether calls from `start` on lack an answer at `border` or at the end.
fn leaves_open(list: &List, start: usize, border: usize) -> Result<bool> {
    let mut waiting = HashSet::new();
    for at in start..list.len() {
        if at == border && !waiting.is_empty() {
            return Ok(true);
        }
        waiting.extend(list.visit(at, called)??);
        if let Some(id) = list.visit(at, answered)?? {
            waiting.remove(&id);
        }
    }
    Ok(!waiting.is_empty())
}

/// Whether a message may be a call or an answer: most are neither.
fn may_belong(message: &[u8]) -> bool {
    memmem::find(message, b"\"tool_call").is_some()
}

/// The ids of the calls in a message.
fn called(message: &[u8]) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    if !may_belong(message) {
        return Ok(ids);
    }
    if let Some(calls @ [b'[', ..]) = member(message, b"\"tool_calls\"")? {
        for range in elements(calls, 0)? {
            let call = slice(calls, range?)?;
            let id = if call.first() == Some(&b'{') { member(call, b"\"id\"")? } else { None };
            ids.extend(id.map(name).transpose()?);
        }
    }
    Ok(ids)
}

/// The id of the call that a message answers.
fn answered(message: &[u8]) -> Result<Option<String>> {
    if !may_belong(message) {
        return Ok(None);
    }
    let id = member(message, b"\"tool_call_id\"")?.filter(|id| *id != b"null");
    id.map(name).transpose()
}

/// An id, which need not be a string.
fn name(id: &[u8]) -> Result<String> {
    if id.first() == Some(&b'"') {
        return text::unescape(id).map(Cow::into_owned);
    }
    Ok(String::from_utf8_lossy(id).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn call(ids: &[&str]) -> Json {
        json!({"role": "assistant", "tool_calls": ids.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()})
    }

    fn answer(id: &str) -> Json {
        json!({"role": "tool", "tool_call_id": id})
    }

    #[test]
    fn nothing_comes_between_a_call_and_its_answers() {
        let said = || json!({"role": "user", "content": "and?", "tool_calls": null, "tool_call_id": null});
        for (before, since, open) in [
            (vec![], vec![said()], false),
            (vec![call(&["a"])], vec![said()], true),
            (vec![call(&["a"])], vec![answer("a")], true),
            (vec![call(&["a", "b"]), answer("b")], vec![said()], true),
            (vec![call(&["a"]), call(&["b"]), answer("b")], vec![said()], true),
            (vec![call(&["a", "b"]), answer("b"), answer("a")], vec![said()], false),
            (vec![call(&["a"]), answer("a"), said()], vec![call(&["c"])], true),
            (vec![call(&["a"]), said()], vec![said()], false),
            (vec![said()], vec![call(&["c"]), answer("c")], false),
            (vec![said()], vec![call(&["c"]), said()], true),
            (vec![said()], vec![call(&[])], false),
        ] {
            let mut list = List::default();
            for message in &before {
                list.push(message.to_string().as_bytes());
            }
            let border = list.clone();
            for message in &since {
                list.push(message.to_string().as_bytes());
            }
            assert_eq!(is_open(&list, &border), open, "{before:?} {since:?}");
        }
    }

    #[test]
    fn ids_are_compared_by_what_they_say() {
        let mut list = List::default();
        list.push(br#"{"tool_calls":[{"id":"a"},{"id":1},{}]}"#);
        list.push(br#"{"tool_call_id":"a"}"#);
        list.push(br#"{"tool_call_id":1}"#);
        assert!(!is_open(&list, &List::default()));
    }
}
