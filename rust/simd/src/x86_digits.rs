//! Sixteen digits at once with the vectors that every x86-64 processor has.

use std::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_mulhi_epu16,
    _mm_mullo_epi16, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8, _mm_set1_epi16, _mm_set1_epi32, _mm_setzero_si128,
    _mm_slli_epi16, _mm_slli_epi32, _mm_slli_si128, _mm_srli_epi16, _mm_storeu_si128, _mm_sub_epi16,
};

use crate::digits::{EIGHT, halved};
use crate::layout::Layout;

/// Writes sixteen digits with room for a point among them, and gives how many there are without the zeros at the end.
///
/// # Safety
/// `to` has room for 17 bytes.
#[target_feature(enable = "sse2")]
#[inline]
pub unsafe fn put_sixteen(to: *mut u8, value: u64, layout: &Layout) -> usize {
    let digits = sixteen(value);
    let text = _mm_or_si128(digits, _mm_set1_epi8(0x30));
    // SAFETY: the room is the caller's promise; the mask has sixteen bytes.
    unsafe {
        let whole = _mm_loadu_si128((&raw const layout.whole).cast());
        let fraction = _mm_slli_si128(_mm_andnot_si128(whole, text), 1);
        _mm_storeu_si128(to.add(layout.inside).cast(), text);
        _mm_storeu_si128(to.cast(), _mm_or_si128(_mm_and_si128(whole, text), fraction));
    }
    let zeros = _mm_movemask_epi8(_mm_cmpeq_epi8(digits, _mm_setzero_si128())).cast_unsigned();
    // The first digit is never zero.
    32 - (zeros ^ 0xffff | 1).leading_zeros() as usize
}

/// The digits of a number below 10^16, one in each byte, the first in the lowest: halved four times, all parts at once.
#[target_feature(enable = "sse2")]
#[inline]
fn sixteen(value: u64) -> __m128i {
    let fours = _mm_set_epi64x(halved(value % EIGHT).cast_signed(), halved(value / EIGHT).cast_signed());
    let upper = _mm_srli_epi16(_mm_mulhi_epu16(fours, _mm_set1_epi32(5_243)), 3);
    let lower = _mm_sub_epi16(fours, _mm_mullo_epi16(upper, _mm_set1_epi16(100)));
    let twos = _mm_or_si128(_mm_slli_epi32(lower, 16), upper);
    let upper = _mm_mulhi_epu16(twos, _mm_set1_epi16(6_554));
    _mm_sub_epi16(_mm_slli_epi16(twos, 8), _mm_mullo_epi16(upper, _mm_set1_epi16(10 * 256 - 1)))
}
