//! UUIDs as text (RFC 9562).

use pyo3::prelude::*;
use swisper_simd::Sink;

use crate::encode::Outcome;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a UUID as a JSON string.
pub fn write(out: &mut impl Sink, value: &Bound<'_, PyAny>) -> Outcome {
    let number: u128 = value.getattr("int")?.extract()?;
    let mut text = *b"\"00000000-0000-0000-0000-000000000000\"";
    let mut rest = number;
    for place in text.iter_mut().rev().filter(|place| **place == b'0') {
        *place = HEX.get((rest & 15) as usize).copied().unwrap_or_default();
        rest >>= 4;
    }
    out.append(&text);
    Ok(())
}
