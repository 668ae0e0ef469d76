//! Two documents and a patch, each on a line: what differs, what a patch makes of a document, and the way back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use swisper_core::compare::Comparison;
use swisper_core::json::MAX_DEPTH;
use swisper_core::operations::Operations;
use swisper_core::patch::{self, Verb, Writer};
use swisper_core::state::State;
use swisper_core::{compact, diff, equal};
use swisper_fuzz::is_plain;

/// What the operations of one patch may copy in all.
const COPIED: usize = 16 << 20;

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (source, target, text) = (line(), line(), line());
    any(source, text);
    if !is_plain(source) {
        return;
    }
    if is_plain(target) {
        compared(source, target);
        written(source, target);
    }
    if let Ok(operations) = Operations::parse(text) {
        assert_eq!(Operations::parse(&operations.to_json()).unwrap().to_json(), operations.to_json());
        applied(&operations, source, text.len());
        as_state(&operations, source);
    }
});

/// Bytes of any kind on either side are answered.
fn any(document: &[u8], text: &[u8]) {
    let Ok(operations) = patch::parse(text) else { return };
    // Each copy may double the document; whoever applies patches from elsewhere counts them.
    if operations.iter().filter(|op| op.verb == Verb::Copy).count() < 6 {
        let _ = patch::apply(&mut document.to_vec(), &operations);
    }
}

/// What `diff` of the package finds.
fn compared(source: &[u8], target: &[u8]) {
    let mut comparison = Comparison::default();
    comparison.texts(source, target).unwrap();
    let operations = Operations::new(comparison.into_steps());
    let there = operations.apply(source).unwrap();
    assert_eq!(equal::json(&there, target), Ok(true));
    let back = operations.invert(source).unwrap().apply(&there).unwrap();
    assert_eq!(equal::json(&back, source), Ok(true));
    assert!(Operations::parse(&operations.to_json()).unwrap().is_same(&operations).unwrap());
}

/// What a frame says of a field: it gives the target byte for byte, and is not much longer.
fn written(source: &[u8], target: &[u8]) {
    let mut out = Writer::default();
    diff::value(&mut out, &mut b"/f".to_vec(), source, target).unwrap();
    let text = out.finish();
    let mut document = [b"{\"f\":", source, b"}"].concat();
    patch::apply(&mut document, &patch::parse(&text).unwrap()).unwrap();
    assert_eq!(document, [b"{\"f\":", target, b"}"].concat());
}

fn applied(operations: &Operations, source: &[u8], length: usize) {
    let Ok(there) = operations.apply(source) else { return };
    assert!(there.len() <= source.len() + length + COPIED);
    assert!(compact::within(&there, MAX_DEPTH).is_ok_and(|text| text.len() == there.len()));
    if is_plain(&there) {
        let back = operations.invert(source).unwrap().apply(&there).unwrap();
        assert_eq!(equal::json(&back, source), Ok(true));
    }
}

/// Lists of records take the same patches as the text of the same document.
fn as_state(operations: &Operations, source: &[u8]) {
    let is_records = |name: &str| name.starts_with('h');
    let whole = [br#"[{"op":"add","path":"","value":"#, source, b"}]"].concat();
    let state = State::default().apply(&patch::parse(&whole).unwrap(), &is_records);
    let to_all = |path: &str| path.is_empty();
    if source.first() != Some(&b'{') || operations.steps().iter().any(|step| to_all(&step.path)) {
        return;
    }
    let expected = operations.apply(source);
    match operations.apply_to_state(&state.unwrap(), &is_records) {
        Ok(state) => {
            let mut text = Vec::new();
            state.encode(&mut text).unwrap();
            assert_eq!(equal::json(&text, &expected.unwrap()), Ok(true));
        }
        Err(error) => assert!(expected.is_err(), "{error}"),
    }
}
