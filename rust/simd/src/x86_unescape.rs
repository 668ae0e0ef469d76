//! Strings with escapes, 64 bytes at a time: the letters behind backslashes are looked up all at once, and the backslashes
//! pressed out.

use std::arch::x86_64::{
    __m512i, _bzhi_u64, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_loadu_si512, _mm512_mask_blend_epi8,
    _mm512_maskz_compress_epi8, _mm512_maskz_loadu_epi8, _mm512_movepi8_mask, _mm512_permutex2var_epi8,
    _mm512_set1_epi8, _mm512_storeu_si512, _mm512_test_epi8_mask,
};

use crate::unescape::MEANING;
use crate::x86::escaped;

/// See `push_unescaped`. A block never starts within an escape.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,bmi2,popcnt")]
#[allow(clippy::cast_possible_truncation)]
pub fn push_vbmi2(out: &mut Vec<u8>, src: &[u8]) -> usize {
    let mut at = 0;
    while at < src.len() {
        let length = (src.len() - at).min(64);
        let lanes = _bzhi_u64(u64::MAX, length as u32);
        // SAFETY: the lanes that are loaded lie inside the slice.
        let block = unsafe { _mm512_maskz_loadu_epi8(lanes, src.as_ptr().add(at).cast()) };
        let read = read(block, lanes);
        let mut end = (read.stops | 1 << (length - 1) << 1).trailing_zeros().min(length as u32);
        // The letter of an escape at the end is in the next block, or nowhere.
        let is_cut = read.starts & lanes & !(lanes >> 1) != 0 && end == length as u32;
        end -= u32::from(is_cut);
        out.reserve(64);
        let kept = _bzhi_u64(!read.starts, end);
        // SAFETY: there is room for 64 bytes behind the content, and the first of them are written.
        unsafe {
            let to = out.as_mut_ptr().add(out.len());
            _mm512_storeu_si512(to.cast(), _mm512_maskz_compress_epi8(kept, read.content));
            out.set_len(out.len() + kept.count_ones() as usize);
        }
        at += end as usize;
        if end < length as u32 && !(is_cut && length == 64 && at + 1 < src.len()) {
            return at;
        }
    }
    at
}

/// What stands in a block.
struct Block {
    /// The bytes, and in the place of letters behind backslashes what these mean.
    content: __m512i,
    /// Backslashes that begin an escape.
    starts: u64,
    /// Where reading stops.
    stops: u64,
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn read(block: __m512i, lanes: u64) -> Block {
    let backslashes = _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(0x5c));
    let quotes = _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(0x22));
    let controls = _mm512_cmplt_epu8_mask(block, _mm512_set1_epi8(0x20)) & lanes;
    if backslashes == 0 {
        return Block { content: block, starts: 0, stops: quotes | controls };
    }
    let escaped = escaped(backslashes, &mut false);
    // SAFETY: the table has 128 bytes.
    let (low, high) =
        unsafe { (_mm512_loadu_si512(MEANING.as_ptr().cast()), _mm512_loadu_si512(MEANING.as_ptr().add(64).cast())) };
    let meaning = _mm512_permutex2var_epi8(low, block, high);
    let known = _mm512_test_epi8_mask(meaning, meaning) & !_mm512_movepi8_mask(block);
    Block {
        content: _mm512_mask_blend_epi8(escaped, block, meaning),
        starts: backslashes & !escaped,
        stops: quotes & !escaped | controls | (escaped & lanes & !known) >> 1,
    }
}
