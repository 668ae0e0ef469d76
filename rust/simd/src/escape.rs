//! What stands in a JSON string for a byte that cannot stand for itself (RFC 8259, section 7).

/// Whether a byte must be escaped.
#[inline]
pub(crate) const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// For each byte up to the backslash: its escape, padded, and in the last place how long that is.
static ESCAPES: [[u8; 8]; 0x5d] = escapes();

// What could panic here would do so at compile time.
#[allow(clippy::indexing_slicing)]
const fn escapes() -> [[u8; 8]; 0x5d] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut all = [[0; 8]; 0x5d];
    let mut byte = 0;
    while byte < all.len() {
        let short = match byte {
            0x22 => b'"',
            0x5c => b'\\',
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            _ => 0,
        };
        all[byte] = if short == 0 {
            [b'\\', b'u', b'0', b'0', HEX[byte >> 4], HEX[byte & 15], 0, 6]
        } else {
            [b'\\', short, 0, 0, 0, 0, 0, 2]
        };
        byte += 1;
    }
    all
}

/// Writes the escape of a byte that needs one; gives the end of it.
///
/// # Safety
/// `to` has room for 8 bytes.
#[inline]
pub(crate) unsafe fn put_escape(to: *mut u8, byte: u8) -> *mut u8 {
    let escape = ESCAPES.get(usize::from(byte)).unwrap_or(&[0; 8]);
    // SAFETY: 8 bytes are written, of which up to 6 count.
    unsafe {
        to.cast::<[u8; 8]>().write(*escape);
        to.add(usize::from(escape[7]))
    }
}
