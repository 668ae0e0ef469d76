//! The digits of numbers with the vectors that every x86-64 processor has.

use std::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_cvtsi128_si64, _mm_loadl_epi64, _mm_loadu_si128, _mm_madd_epi16,
    _mm_min_epu8, _mm_movemask_epi8, _mm_mullo_epi16, _mm_packs_epi32, _mm_set1_epi8, _mm_set1_epi16, _mm_set1_epi32,
    _mm_srli_epi16, _mm_sub_epi8, _mm_unpackhi_epi64, _mm_unpacklo_epi64,
};

const EIGHT: u64 = 100_000_000;

/// From each place on, as many bytes let digits through as that place says, the last of sixteen.
#[repr(align(32))]
struct Masks([u8; 32]);

#[allow(clippy::indexing_slicing)] // What could panic would do so at compile time.
static MASKS: Masks = {
    let mut masks = [0; 32];
    let mut at = 16;
    while at < masks.len() {
        masks[at] = 0xf;
        at += 1;
    }
    Masks(masks)
};

/// Which of the bytes are digits; the first is the lowest bit.
#[inline]
pub fn digit_mask(text: &[u8; 32]) -> u32 {
    // SAFETY: every x86-64 processor has SSE2; both halves lie within the bytes.
    unsafe {
        let mask = |from: *const u8| {
            // What is above nine once digits begin at zero is no digit.
            let digits = _mm_sub_epi8(_mm_loadu_si128(from.cast()), _mm_set1_epi8(0x30));
            let are_digits = _mm_cmpeq_epi8(_mm_min_epu8(digits, _mm_set1_epi8(9)), digits);
            _mm_movemask_epi8(are_digits).cast_unsigned()
        };
        mask(text.as_ptr()) | mask(text.as_ptr().add(16)) << 16
    }
}

/// The value of up to sixteen digits that end at `end`.
///
/// # Safety
/// `end` is at least 16 and within the window, and `count` no more than that.
#[allow(clippy::inline_always)] // A call costs a third of it.
#[inline(always)]
pub unsafe fn integer(window: &[u8; 56], end: usize, count: usize) -> u64 {
    // SAFETY: every x86-64 processor has SSE2; the rest is the caller's promise.
    unsafe {
        let digits = sixteen(window.as_ptr().add(end), count);
        let [upper, lower, ..] = eights(digits, digits);
        upper * EIGHT + lower
    }
}

/// The values of up to eight digits that end at `point`; of those behind it that end at `end`, before the last sixteen; of
/// these.
///
/// # Safety
/// `point` and `end` are at least 24 and within the window; there are no more than 8 and 24 digits.
#[allow(clippy::inline_always)] // A call costs a third of it.
#[inline(always)]
pub unsafe fn decimal(window: &[u8; 56], point: usize, whole: usize, end: usize, places: usize) -> [u64; 3] {
    let last = places.min(16);
    // SAFETY: every x86-64 processor has SSE2; the rest is the caller's promise.
    unsafe {
        let (point, end) = (window.as_ptr().add(point), window.as_ptr().add(end));
        let first = _mm_unpacklo_epi64(eight(point, whole), eight(end.sub(16), places - last));
        let [whole, second, upper, lower] = eights(first, sixteen(end, last));
        [whole, second, upper * EIGHT + lower]
    }
}

/// # Safety
/// Sixteen bytes lie before `end`; there are no more digits.
#[target_feature(enable = "sse2")]
#[inline]
unsafe fn sixteen(end: *const u8, count: usize) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let masks = MASKS.0.as_ptr().add(count);
        _mm_and_si128(_mm_loadu_si128(end.sub(16).cast()), _mm_loadu_si128(masks.cast()))
    }
}

/// # Safety
/// Eight bytes lie before `end`; there are no more digits.
#[target_feature(enable = "sse2")]
#[inline]
unsafe fn eight(end: *const u8, count: usize) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let masks = MASKS.0.as_ptr().add(8 + count);
        _mm_and_si128(_mm_loadl_epi64(end.sub(8).cast()), _mm_loadl_epi64(masks.cast()))
    }
}

/// The numbers that digits stand for, eight by eight: neighbours are joined, three times.
#[target_feature(enable = "sse2")]
#[inline]
fn eights(first: __m128i, second: __m128i) -> [u64; 4] {
    let fours = |digits: __m128i| {
        // The upper byte of a pair's product is ten times the first digit and the second one.
        let twos = _mm_srli_epi16(_mm_mullo_epi16(digits, _mm_set1_epi16(10 * 256 + 1)), 8);
        _mm_madd_epi16(twos, _mm_set1_epi32((1 << 16) + 100))
    };
    let fours = _mm_packs_epi32(fours(first), fours(second));
    let eights = _mm_madd_epi16(fours, _mm_set1_epi32((1 << 16) + 10_000));
    let pair = |both: __m128i| _mm_cvtsi128_si64(both).cast_unsigned();
    let (first, second) = (pair(eights), pair(_mm_unpackhi_epi64(eights, eights)));
    [first & 0xffff_ffff, first >> 32, second & 0xffff_ffff, second >> 32]
}
