//! The kernels for x86-64: each copies while it looks for bytes that must be escaped, and says whether there is none.

use std::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_loadl_epi64, _mm_loadu_si128, _mm_max_epu8, _mm_movemask_epi8, _mm_or_si128,
    _mm_set1_epi8, _mm_storel_epi64, _mm_storeu_si128, _mm_unpacklo_epi64, _mm256_cmpeq_epi8, _mm256_loadu_si256,
    _mm256_max_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_storeu_si256,
    _mm512_mask_cmpeq_epi8_mask, _mm512_mask_cmplt_epu8_mask, _mm512_maskz_loadu_epi8, _mm512_set1_epi8,
    _mm512_storeu_si512,
};

const QUOTE: i8 = 0x22;
const BACKSLASH: i8 = 0x5c;
const LAST_CONTROL: i8 = 0x1f;

/// The last block is loaded under a mask, so that any length is read in whole blocks.
///
/// # Safety
/// `to` has room for `bytes` and 64 more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe fn avx512(bytes: &[u8], to: *mut u8) -> bool {
    let (mut at, length) = (0, bytes.len());
    while at < length {
        let rest = length - at;
        let lanes = if rest >= 64 { u64::MAX } else { (1 << rest) - 1 };
        // SAFETY: the lanes that are loaded lie inside the slice; a whole block is stored into the room for it.
        let block = unsafe { _mm512_maskz_loadu_epi8(lanes, bytes.as_ptr().add(at).cast()) };
        // SAFETY: likewise.
        unsafe { _mm512_storeu_si512(to.add(at).cast(), block) };
        let found = _mm512_mask_cmplt_epu8_mask(lanes, block, _mm512_set1_epi8(0x20))
            | _mm512_mask_cmpeq_epi8_mask(lanes, block, _mm512_set1_epi8(QUOTE))
            | _mm512_mask_cmpeq_epi8_mask(lanes, block, _mm512_set1_epi8(BACKSLASH));
        if found != 0 {
            return false;
        }
        at += 64;
    }
    true
}

/// For 32 bytes and more: the last block overlaps the one before it.
///
/// # Safety
/// `to` has room for `bytes`, which are 32 at least.
#[target_feature(enable = "avx2")]
pub unsafe fn avx2(bytes: &[u8], to: *mut u8) -> bool {
    let plain = |at: usize| {
        // SAFETY: every `at` below leaves 32 bytes behind it, in the slice and in the room.
        let block = unsafe { _mm256_loadu_si256(bytes.as_ptr().add(at).cast()) };
        // SAFETY: likewise.
        unsafe { _mm256_storeu_si256(to.add(at).cast(), block) };
        let control = _mm256_set1_epi8(LAST_CONTROL);
        let found = _mm256_or_si256(
            _mm256_cmpeq_epi8(_mm256_max_epu8(block, control), control),
            _mm256_or_si256(
                _mm256_cmpeq_epi8(block, _mm256_set1_epi8(QUOTE)),
                _mm256_cmpeq_epi8(block, _mm256_set1_epi8(BACKSLASH)),
            ),
        );
        _mm256_movemask_epi8(found) == 0
    };
    (0..bytes.len() / 32).all(|n| plain(n * 32)) && plain(bytes.len() - 32)
}

/// For 8 to 16 bytes, whose two halves overlap; compiled in place, as every x86-64 processor has SSE2.
///
/// # Safety
/// `to` has room for `bytes`, which are 8 to 16.
#[target_feature(enable = "sse2")]
#[inline]
pub unsafe fn halves(bytes: &[u8], to: *mut u8) -> bool {
    let (from, last) = (bytes.as_ptr(), bytes.len() - 8);
    // SAFETY: both halves lie inside the slice, and in the room at the same places.
    let block = unsafe {
        let (a, b) = (_mm_loadl_epi64(from.cast()), _mm_loadl_epi64(from.add(last).cast()));
        _mm_storel_epi64(to.cast(), a);
        _mm_storel_epi64(to.add(last).cast(), b);
        _mm_unpacklo_epi64(a, b)
    };
    is_plain(block)
}

#[target_feature(enable = "sse2")]
#[inline]
fn is_plain(block: __m128i) -> bool {
    let control = _mm_set1_epi8(LAST_CONTROL);
    let found = _mm_or_si128(
        _mm_cmpeq_epi8(_mm_max_epu8(block, control), control),
        _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8(QUOTE)), _mm_cmpeq_epi8(block, _mm_set1_epi8(BACKSLASH))),
    );
    _mm_movemask_epi8(found) == 0
}

/// For 16 bytes and more: the last block overlaps the one before it.
///
/// # Safety
/// `to` has room for `bytes`, which are 16 at least.
#[target_feature(enable = "sse2")]
pub unsafe fn sse2(bytes: &[u8], to: *mut u8) -> bool {
    let plain = |at: usize| {
        // SAFETY: every `at` below leaves 16 bytes behind it, in the slice and in the room.
        let block = unsafe { _mm_loadu_si128(bytes.as_ptr().add(at).cast()) };
        // SAFETY: likewise.
        unsafe { _mm_storeu_si128(to.add(at).cast(), block) };
        is_plain(block)
    };
    (0..bytes.len() / 16).all(|n| plain(n * 16)) && plain(bytes.len() - 16)
}
