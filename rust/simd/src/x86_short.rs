//! Short strings with SSE2.

use std::arch::x86_64::{
    _mm_and_si128, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_cvtsi128_si64, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
    _mm_set1_epi8, _mm_unpackhi_epi64,
};

use crate::short::{BLOCK, Characters};

/// From its middle on backwards: so many bytes that are kept, before others that are not.
static KEPT: [u8; 2 * BLOCK] = {
    let mut bytes = [0; 2 * BLOCK];
    let (kept, _) = bytes.split_at_mut(BLOCK);
    kept.copy_from_slice(&[0xff; BLOCK]);
    bytes
};

/// As `short::short_string`.
#[target_feature(enable = "sse2")]
#[inline]
pub fn short_string(bytes: &[u8; BLOCK]) -> Option<(Characters, usize)> {
    // SAFETY: 16 bytes are there.
    let block = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let quotes = _mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_set1_epi8(0x22))).cast_unsigned();
    // What is not ASCII is below zero.
    let other = _mm_or_si128(_mm_cmplt_epi8(block, _mm_set1_epi8(0x20)), _mm_cmpeq_epi8(block, _mm_set1_epi8(0x5c)));
    let others = _mm_movemask_epi8(other).cast_unsigned();
    if quotes == 0 || others & (quotes - 1) & !quotes != 0 {
        return None;
    }
    let length = quotes.trailing_zeros() as usize;
    // SAFETY: the length is below 16, and from there on there are 16 bytes.
    let kept = unsafe { _mm_loadu_si128(KEPT.as_ptr().add(BLOCK - length).cast()) };
    let content = _mm_and_si128(block, kept);
    let word = |half| _mm_cvtsi128_si64(half).cast_unsigned();
    Some((Characters { first: word(content), last: word(_mm_unpackhi_epi64(content, content)) }, length))
}
