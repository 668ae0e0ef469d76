//! The kernels for x86-64: each copies while it looks for bytes that must be escaped, and says whether there is none.

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _bzhi_u32, _bzhi_u64, _mm_cmpeq_epi8, _mm_loadl_epi64, _mm_loadu_si128, _mm_max_epu8,
    _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_storel_epi64, _mm_storeu_si128, _mm_unpacklo_epi64,
    _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_mask_testn_epi8_mask, _mm256_maskz_loadu_epi8, _mm256_max_epu8,
    _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm256_subs_epu8, _mm256_xor_si256, _mm512_cmpeq_epi8_mask, _mm512_mask_cmpeq_epi8_mask,
    _mm512_mask_cmplt_epu8_mask, _mm512_mask_testn_epi8_mask, _mm512_maskz_loadu_epi8, _mm512_min_epu8,
    _mm512_movepi8_mask, _mm512_or_si512, _mm512_set1_epi8, _mm512_storeu_si512, _mm512_subs_epu8,
    _mm512_testn_epi8_mask, _mm512_xor_si512,
};

use crate::escape::put_escape;
use crate::scan::Plain;
use crate::string::{Kernels, escape_scalar};

const QUOTE: i8 = 0x22;
const BACKSLASH: i8 = 0x5c;
const LAST_CONTROL: i8 = 0x1f;
/// Where this bit of every byte is turned around, a quote is a space and a control character still is one, so that one
/// subtraction looks for both.
const TURNED: i8 = QUOTE ^ 0x20;

/// With masked loads of 32 and 64 bytes (BW, VL, BMI2).
#[derive(Debug, Clone, Copy)]
pub struct Avx512;

impl Kernels for Avx512 {
    const SHORT: usize = 32;

    #[allow(clippy::inline_always)] // Intrinsics are compiled in place only in a function that is for the processor.
    #[inline(always)]
    unsafe fn short(bytes: &[u8], to: *mut u8) -> bool {
        // SAFETY: the caller's promise.
        unsafe { short_avx512(bytes, to) }
    }

    #[inline]
    unsafe fn long(bytes: &[u8], to: *mut u8) -> usize {
        // SAFETY: the caller's promise.
        unsafe { copy_avx512(bytes, to) }
    }
}

/// For up to 32 bytes.
///
/// # Safety
/// `to` has room for 32 bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
#[inline]
#[allow(clippy::cast_possible_truncation)]
unsafe fn short_avx512(bytes: &[u8], to: *mut u8) -> bool {
    let lanes = _bzhi_u32(u32::MAX, bytes.len() as u32);
    // SAFETY: the lanes that are loaded lie inside the slice; the room is the caller's promise.
    let block = unsafe {
        let block = _mm256_maskz_loadu_epi8(lanes, bytes.as_ptr().cast());
        _mm256_storeu_si256(to.cast(), block);
        block
    };
    let low = _mm256_subs_epu8(_mm256_xor_si256(block, _mm256_set1_epi8(TURNED)), _mm256_set1_epi8(0x20));
    let zero = _mm256_min_epu8(low, _mm256_xor_si256(block, _mm256_set1_epi8(BACKSLASH)));
    _mm256_mask_testn_epi8_mask(lanes, zero, zero) == 0
}

/// Up to 64 bytes are one block, loaded under a mask; two are copied at once as long as there are so many, and the last
/// overlaps the one before it.
///
/// # Safety
/// `to` has room for `bytes` and 64 more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
#[allow(clippy::cast_possible_truncation)]
pub unsafe fn copy_avx512(bytes: &[u8], to: *mut u8) -> usize {
    let (from, mut at) = (bytes.as_ptr(), 0);
    let Some(last) = bytes.len().checked_sub(64) else {
        let lanes = _bzhi_u64(u64::MAX, bytes.len() as u32);
        // SAFETY: the lanes that are loaded lie inside the slice; the room is the caller's promise.
        let zero = unsafe { copy_block(lanes, from, to) };
        let found = _mm512_mask_testn_epi8_mask(lanes, zero, zero);
        return if found == 0 { bytes.len() } else { found.trailing_zeros() as usize };
    };
    if let Some(last) = last.checked_sub(64) {
        loop {
            // SAFETY: `at` leaves 128 bytes behind it, in the slice and in the room.
            let zero = unsafe {
                let first = copy_block(u64::MAX, from.add(at), to.add(at));
                _mm512_min_epu8(first, copy_block(u64::MAX, from.add(at + 64), to.add(at + 64)))
            };
            if _mm512_testn_epi8_mask(zero, zero) != 0 {
                break;
            }
            if at == last {
                return bytes.len();
            }
            at = (at + 128).min(last);
        }
    }
    loop {
        // SAFETY: `at` leaves 64 bytes behind it, in the slice and in the room.
        let zero = unsafe { copy_block(u64::MAX, from.add(at), to.add(at)) };
        let found = _mm512_testn_epi8_mask(zero, zero);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        if at == last {
            return bytes.len();
        }
        at = (at + 64).min(last);
    }
}

/// Copies 64 bytes; zero where one must be escaped.
///
/// # Safety
/// The lanes may be read, and 64 bytes be written.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn copy_block(lanes: u64, from: *const u8, to: *mut u8) -> __m512i {
    // SAFETY: the caller's promise.
    let block = unsafe {
        let block = _mm512_maskz_loadu_epi8(lanes, from.cast());
        _mm512_storeu_si512(to.cast(), block);
        block
    };
    let low = _mm512_subs_epu8(_mm512_xor_si512(block, _mm512_set1_epi8(TURNED)), _mm512_set1_epi8(0x20));
    _mm512_min_epu8(low, _mm512_xor_si512(block, _mm512_set1_epi8(BACKSLASH)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn specials_avx2(block: __m256i) -> u32 {
    let control = _mm256_set1_epi8(LAST_CONTROL);
    let found = _mm256_or_si256(
        _mm256_cmpeq_epi8(_mm256_max_epu8(block, control), control),
        _mm256_or_si256(
            _mm256_cmpeq_epi8(block, _mm256_set1_epi8(QUOTE)),
            _mm256_cmpeq_epi8(block, _mm256_set1_epi8(BACKSLASH)),
        ),
    );
    _mm256_movemask_epi8(found).cast_unsigned()
}

/// Copies 32 bytes; zero where one must be escaped.
///
/// # Safety
/// 32 bytes may be read, and as many be written.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn copy_half(from: *const u8, to: *mut u8) -> __m256i {
    // SAFETY: the caller's promise.
    let block = unsafe {
        let block = _mm256_loadu_si256(from.cast());
        _mm256_storeu_si256(to.cast(), block);
        block
    };
    let low = _mm256_subs_epu8(_mm256_xor_si256(block, _mm256_set1_epi8(TURNED)), _mm256_set1_epi8(0x20));
    _mm256_min_epu8(low, _mm256_xor_si256(block, _mm256_set1_epi8(BACKSLASH)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn zeros_avx2(block: __m256i) -> u32 {
    _mm256_movemask_epi8(_mm256_cmpeq_epi8(block, _mm256_setzero_si256())).cast_unsigned()
}

/// For 32 bytes and more: two blocks at once as long as there are so many, and the last overlaps the one before it.
///
/// # Safety
/// `to` has room for `bytes`, which are 32 at least.
#[target_feature(enable = "avx2")]
pub unsafe fn copy_avx2(bytes: &[u8], to: *mut u8) -> usize {
    let (from, mut at) = (bytes.as_ptr(), 0);
    if let Some(last) = bytes.len().checked_sub(64) {
        loop {
            // SAFETY: `at` leaves 64 bytes behind it, in the slice and in the room.
            let zero = unsafe {
                let (a, b) = (copy_half(from.add(at), to.add(at)), copy_half(from.add(at + 32), to.add(at + 32)));
                _mm256_min_epu8(a, b)
            };
            if zeros_avx2(zero) != 0 {
                break;
            }
            if at == last {
                return bytes.len();
            }
            at = (at + 64).min(last);
        }
    }
    let last = bytes.len() - 32;
    loop {
        // SAFETY: `at` leaves 32 bytes behind it, in the slice and in the room.
        let found = zeros_avx2(unsafe { copy_half(from.add(at), to.add(at)) });
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        if at == last {
            return bytes.len();
        }
        at = (at + 32).min(last);
    }
}

/// # Safety
/// `to` has room for six times the bytes and 64 more.
#[target_feature(enable = "avx2")]
pub unsafe fn escape_avx2(bytes: &[u8], mut to: *mut u8) -> *mut u8 {
    let mut at = 0;
    while bytes.len() - at >= 32 {
        // SAFETY: 32 bytes are left, and the room is for more than they become.
        unsafe {
            let block = _mm256_loadu_si256(bytes.as_ptr().add(at).cast());
            _mm256_storeu_si256(to.cast(), block);
            let found = specials_avx2(block);
            if found == 0 {
                (at, to) = (at + 32, to.add(32));
            } else {
                let plain = found.trailing_zeros() as usize;
                at += plain;
                to = put_escape(to.add(plain), *bytes.as_ptr().add(at));
                at += 1;
            }
        }
    }
    // SAFETY: the room for the rest is what was left of it.
    unsafe { escape_sse2(bytes.get(at..).unwrap_or_default(), to) }
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
    specials_sse2(block) == 0
}

#[target_feature(enable = "sse2")]
#[inline]
pub fn specials_sse2(block: __m128i) -> u32 {
    let control = _mm_set1_epi8(LAST_CONTROL);
    let found = _mm_or_si128(
        _mm_cmpeq_epi8(_mm_max_epu8(block, control), control),
        _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8(QUOTE)), _mm_cmpeq_epi8(block, _mm_set1_epi8(BACKSLASH))),
    );
    _mm_movemask_epi8(found).cast_unsigned()
}

/// For 16 to 32 bytes, as two blocks that overlap; compiled in place, as above.
///
/// # Safety
/// `to` has room for `bytes`, which are 16 to 32.
#[target_feature(enable = "sse2")]
#[inline]
pub unsafe fn two_blocks(bytes: &[u8], to: *mut u8) -> bool {
    let (from, last) = (bytes.as_ptr(), bytes.len() - 16);
    // SAFETY: both blocks lie inside the slice, and in the room at the same places.
    unsafe {
        let (a, b) = (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(last).cast()));
        _mm_storeu_si128(to.cast(), a);
        _mm_storeu_si128(to.add(last).cast(), b);
        specials_sse2(a) | specials_sse2(b) == 0
    }
}

/// For 16 bytes and more: the last block overlaps the one before it.
///
/// # Safety
/// `to` has room for `bytes`, which are 16 at least.
#[target_feature(enable = "sse2")]
pub unsafe fn copy_sse2(bytes: &[u8], to: *mut u8) -> usize {
    let (mut at, last) = (0, bytes.len() - 16);
    loop {
        // SAFETY: `at` leaves 16 bytes behind it, in the slice and in the room.
        let found = unsafe {
            let block = _mm_loadu_si128(bytes.as_ptr().add(at).cast());
            _mm_storeu_si128(to.add(at).cast(), block);
            specials_sse2(block)
        };
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        if at == last {
            return bytes.len();
        }
        at = (at + 16).min(last);
    }
}

/// # Safety
/// `to` has room for six times the bytes and 64 more.
#[target_feature(enable = "sse2")]
pub unsafe fn escape_sse2(bytes: &[u8], mut to: *mut u8) -> *mut u8 {
    let mut at = 0;
    while bytes.len() - at >= 16 {
        // SAFETY: 16 bytes are left, and the room is for more than they become.
        unsafe {
            let block = _mm_loadu_si128(bytes.as_ptr().add(at).cast());
            _mm_storeu_si128(to.cast(), block);
            let found = specials_sse2(block);
            if found == 0 {
                (at, to) = (at + 16, to.add(16));
            } else {
                let plain = found.trailing_zeros() as usize;
                at += plain;
                to = put_escape(to.add(plain), *bytes.as_ptr().add(at));
                at += 1;
            }
        }
    }
    // SAFETY: the room for the rest is what was left of it.
    unsafe { escape_scalar(bytes.get(at..).unwrap_or_default(), to) }
}

/// # Safety
/// `to` has room for six times the bytes and 64 more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe fn escape_avx512(bytes: &[u8], mut to: *mut u8) -> *mut u8 {
    let (mut at, length) = (0, bytes.len());
    while at < length {
        let rest = length - at;
        let (lanes, count) = if rest >= 64 { (u64::MAX, 64) } else { ((1 << rest) - 1, rest) };
        // SAFETY: the lanes that are loaded lie inside the slice; the room is for more than a block becomes.
        unsafe {
            let block = _mm512_maskz_loadu_epi8(lanes, bytes.as_ptr().add(at).cast());
            _mm512_storeu_si512(to.cast(), block);
            let found = _mm512_mask_cmplt_epu8_mask(lanes, block, _mm512_set1_epi8(0x20))
                | _mm512_mask_cmpeq_epi8_mask(lanes, block, _mm512_set1_epi8(QUOTE))
                | _mm512_mask_cmpeq_epi8_mask(lanes, block, _mm512_set1_epi8(BACKSLASH));
            if found == 0 {
                (at, to) = (at + count, to.add(count));
            } else {
                let plain = found.trailing_zeros() as usize;
                at += plain;
                to = put_escape(to.add(plain), *bytes.as_ptr().add(at));
                at += 1;
            }
        }
    }
    to
}

/// The last block is loaded under a mask, as above.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub fn prefix_avx512(bytes: &[u8]) -> Plain {
    let (mut at, mut is_ascii, length) = (0, true, bytes.len());
    while at < length {
        let rest = length - at;
        let lanes = if rest >= 64 { u64::MAX } else { (1 << rest) - 1 };
        // SAFETY: the lanes that are loaded lie inside the slice.
        let block = unsafe { _mm512_maskz_loadu_epi8(lanes, bytes.as_ptr().add(at).cast()) };
        let found = _mm512_mask_cmplt_epu8_mask(lanes, block, _mm512_set1_epi8(0x20))
            | _mm512_mask_cmpeq_epi8_mask(lanes, block, _mm512_set1_epi8(QUOTE))
            | _mm512_mask_cmpeq_epi8_mask(lanes, block, _mm512_set1_epi8(BACKSLASH));
        let high = _mm512_movepi8_mask(block);
        if found != 0 {
            // The bits below the lowest one that is set.
            is_ascii &= high & (found - 1) & !found == 0;
            return Plain { length: at + found.trailing_zeros() as usize, is_ascii };
        }
        is_ascii &= high == 0;
        at += 64;
    }
    Plain { length, is_ascii }
}

/// What is plain in the blocks of 16 at the start, and whether the first byte that is not was found in them.
#[target_feature(enable = "sse2")]
pub fn plain_blocks(bytes: &[u8]) -> (Plain, bool) {
    let mut is_ascii = true;
    for (n, block) in bytes.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: the block has 16 bytes.
        let block = unsafe { _mm_loadu_si128(block.as_ptr().cast()) };
        let (found, high) = (specials_sse2(block), _mm_movemask_epi8(block).cast_unsigned());
        if found != 0 {
            // The bits below the lowest one that is set.
            is_ascii &= high & (found - 1) & !found == 0;
            return (Plain { length: n * 16 + found.trailing_zeros() as usize, is_ascii }, true);
        }
        is_ascii &= high == 0;
    }
    (Plain { length: bytes.len() / 16 * 16, is_ascii }, false)
}

/// Blocks of 64: which bytes are inside of strings follows from the quotes before them (G. Langdale and D. Lemire,
/// "Parsing Gigabytes of JSON per Second", 2019).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
pub fn container_avx512(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth, mut in_string, mut is_escaped) = (0, 0_u32, 0_u64, false);
    while at < bytes.len() {
        let rest = bytes.len() - at;
        let lanes = if rest >= 64 { u64::MAX } else { (1 << rest) - 1 };
        // SAFETY: the lanes that are loaded lie inside the slice.
        let block = unsafe { _mm512_maskz_loadu_epi8(lanes, bytes.as_ptr().add(at).cast()) };
        let backslashes = _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(BACKSLASH));
        let mut quotes = _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(QUOTE));
        if is_escaped || backslashes != 0 {
            quotes &= !escaped(backslashes, &mut is_escaped);
        }
        let inside = between_pairs(quotes) ^ in_string;
        let stray = backslashes & !inside;
        in_string = if inside >> 63 == 1 { u64::MAX } else { 0 };
        // Braces and brackets differ in one bit.
        let folded = _mm512_or_si512(block, _mm512_set1_epi8(0x20));
        let opened = _mm512_cmpeq_epi8_mask(folded, _mm512_set1_epi8(0x7b)) & !inside;
        let mut closed = _mm512_cmpeq_epi8_mask(folded, _mm512_set1_epi8(0x7d)) & !inside;
        let after = depth + opened.count_ones();
        if depth > closed.count_ones() {
            depth = after - closed.count_ones();
        } else {
            let mut gone = 0;
            while closed != 0 {
                let end = closed.trailing_zeros();
                gone += 1;
                let before = (1 << end) - 1;
                if depth + (opened & before).count_ones() == gone {
                    return (stray & before == 0).then_some(at + end as usize + 1);
                }
                closed &= closed - 1;
            }
            depth = after - gone;
        }
        if stray != 0 {
            return None;
        }
        at += 64;
    }
    None
}

/// The bytes behind backslashes that are not themselves behind one: of a run of them every second one escapes.
/// `carry` tells whether the first byte is such a one, and then of the block behind.
pub fn escaped(backslashes: u64, carry: &mut bool) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let backslashes = backslashes & !u64::from(*carry);
    let follows = backslashes << 1 | u64::from(*carry);
    let odd_starts = backslashes & !EVEN & !follows;
    let (runs_from_even, overflows) = odd_starts.overflowing_add(backslashes);
    *carry = overflows;
    (EVEN ^ runs_from_even << 1) & follows
}

/// The bits from each odd one on up to before the next even one.
fn between_pairs(bits: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].into_iter().fold(bits, |bits, shift| bits ^ bits << shift)
}
