//! JSON text: what is accepted, what comes of it, and walking over whatever bytes there are.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use swisper_core::compact::{compact, depth};
use swisper_core::error::{Error, Kind, Result};
use swisper_core::json::{MAX_DEPTH, elements, is_within, members, skip_value};
use swisper_core::{equal, text};
use swisper_fuzz::{is_plain, rewritten};

fuzz_target!(|data: &[u8]| {
    walk(data);
    let own = compact(data);
    agree(&own, serde_json::from_slice(data));
    if let Ok(text) = own {
        assert!(text.len() <= data.len());
        accepted(&text);
    }
});

/// Bytes of any kind end a walk; they never lead it out of the text.
fn walk(data: &[u8]) {
    assert!(skip_value(data, 0).is_ok_and(|end| end <= data.len()) || skip_value(data, 0).is_err());
    if let Ok(found) = members(data, 0).and_then(Iterator::collect::<Result<Vec<_>>>) {
        assert!(found.iter().all(|(key, value)| key.end < value.start && value.end <= data.len()));
    }
    if let Ok(found) = elements(data, 0).and_then(Iterator::collect::<Result<Vec<_>>>) {
        assert!(found.iter().all(|value| value.start < value.end && value.end <= data.len()));
    }
    if let Ok(content) = text::unescape(data) {
        assert!(content.len() + 2 <= data.len());
        assert_eq!(text::equals(data, &content), Ok(true));
    }
    let _ = text::push_numbered(&mut Vec::new(), data);
    let _ = (is_within(data, MAX_DEPTH), depth(data));
    let (a, b) = data.split_at(data.len() / 2);
    let _ = equal::json(a, b);
}

/// `serde_json` accepts the same, and reads the same from it. Its numbers have a range, its depth is one less.
fn agree(own: &Result<Cow<'_, [u8]>>, other: serde_json::Result<Value>) {
    match (own, other) {
        (Ok(text), Ok(value)) => assert_eq!(serde_json::from_slice::<Value>(text).unwrap(), value),
        (Err(Error::Codec { kind: Kind::TooDeep, .. }), _) => {}
        (own, Err(error)) => {
            let is_limit =
                ["number out of range", "recursion limit"].iter().any(|of| error.to_string().starts_with(of));
            assert!(own.is_err() || is_limit, "{error}");
        }
        (Err(error), Ok(_)) => panic!("{error}"),
    }
}

fn accepted(text: &[u8]) {
    assert!(matches!(compact(text), Ok(Cow::Borrowed(_))));
    assert_eq!(skip_value(text, 0), Ok(text.len()));
    let depth = depth(text);
    assert!(depth <= MAX_DEPTH && is_within(text, depth) && (depth == 0 || !is_within(text, depth - 1)));
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    rewritten(text, &mut once).unwrap();
    rewritten(&once, &mut twice).unwrap();
    assert_eq!(once, twice);
    assert!(matches!(compact(&once), Ok(Cow::Borrowed(_))));
    if is_plain(text) {
        assert_eq!(equal::json(&once, text), Ok(true));
    }
}
