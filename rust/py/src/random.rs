//! Random bytes from the operating system, drawn in large portions: a draw for each record would cost more than it.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

const PORTION: usize = 4096;

struct Pool {
    bytes: [u8; PORTION],
    used: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { bytes: [0; PORTION], used: PORTION });

/// 16 random bytes.
pub fn draw() -> PyResult<[u8; 16]> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if pool.used + 16 > PORTION {
        getrandom::fill(&mut pool.bytes).map_err(|_| PyOSError::new_err("the system gives no random bytes"))?;
        pool.used = 0;
    }
    let mut out = [0; 16];
    let start = pool.used;
    for (to, from) in out.iter_mut().zip(pool.bytes.iter().skip(start)) {
        *to = *from;
    }
    pool.used = start + 16;
    Ok(out)
}

/// Appends a random UUID (RFC 9562, version 4) as a JSON string.
pub fn uuid(out: &mut Vec<u8>) -> PyResult<()> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = draw()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    out.push(b'"');
    for (n, byte) in bytes.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend([byte >> 4, byte & 15].iter().filter_map(|&digit| HEX.get(usize::from(digit))));
    }
    out.push(b'"');
    Ok(())
}

/// 16 random bytes: the token of a version, the id of a block, the stamp of a head.
#[pyfunction]
pub fn token() -> PyResult<[u8; 16]> {
    draw()
}

/// Forgets what was drawn in advance: a forked process must not draw what its parent draws.
#[pyfunction]
pub fn forget_random() {
    POOL.lock().unwrap_or_else(PoisonError::into_inner).used = PORTION;
}
