//! What can still be read of damaged bytes.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use swisper_core::checkpoint::About;

use crate::snapshot::Snapshot;
use crate::stored_rows::{Read, stored_rows};

/// As Python gets it: state, its version, ids of bad blocks, whose it is, whether it lacks nothing, why it ends.
type Found<'py> = (Snapshot, u64, Vec<Bound<'py, PyBytes>>, Option<String>, bool, Option<String>);

/// See `_core.pyi`.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn salvage<'py>(
    py: Python<'py>,
    empty: &Snapshot,
    session_id: &str,
    user_id: &str,
    epoch: u32,
    head: (u64, Bound<'py, PyBytes>),
    blocks: &Bound<'py, PyTuple>,
    frames: Vec<(u64, Bound<'py, PyBytes>)>,
) -> PyResult<Found<'py>> {
    let (session_id, user_id) = (Arc::from(session_id), user_id.to_owned());
    let about = About { session_id, user_id, epoch, created_at: 0, version: 0, token: [0; 16] };
    let frames: Vec<_> = frames.into_iter().map(|(version, body)| (version, body.as_bytes().to_vec())).collect();
    let is_records = |name: &str| empty.is_records(name);
    let (rows, head) = (stored_rows(blocks)?, (head.0, head.1.as_bytes()));
    let blocks: Vec<_> = rows.blocks(0..rows.len(), &Read::new(blocks)).collect();
    let found = swisper_core::salvage::salvage(&about, head, &blocks, &frames, &is_records);
    let bad = found.bad.iter().map(|id| PyBytes::new(py, id)).collect();
    let stopped = found.stopped.map(|error| error.to_string());
    let snapshot = empty.of(found.state, about.session_id);
    Ok((snapshot, found.version, bad, found.owner, found.complete, stopped))
}
