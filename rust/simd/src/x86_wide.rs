//! Characters to UTF-8 with VBMI2: each is spread over a lane, and the bytes that count are pressed together.

use std::arch::x86_64::{
    __m512i, _mm_storeu_si128, _mm256_cmpeq_epi8_mask, _mm256_cmplt_epu8_mask, _mm256_maskz_loadu_epi8,
    _mm256_movepi8_mask, _mm256_set1_epi8, _mm256_storeu_si256, _mm512_and_si512, _mm512_castsi512_si256,
    _mm512_cmpeq_epi8_mask, _mm512_cmpeq_epi16_mask, _mm512_cmpeq_epi32_mask, _mm512_cmpge_epu16_mask,
    _mm512_cmpge_epu32_mask, _mm512_cmplt_epi8_mask, _mm512_cmplt_epu16_mask, _mm512_cmplt_epu32_mask,
    _mm512_cvtepi16_epi8, _mm512_cvtepi32_epi8, _mm512_cvtepu8_epi16, _mm512_cvtepu16_epi32, _mm512_extracti64x4_epi64,
    _mm512_mask_add_epi8, _mm512_mask_blend_epi16, _mm512_mask_blend_epi32, _mm512_maskz_compress_epi8,
    _mm512_maskz_loadu_epi8, _mm512_maskz_loadu_epi16, _mm512_maskz_loadu_epi32, _mm512_movepi8_mask, _mm512_or_si512,
    _mm512_set1_epi8, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_slli_epi16, _mm512_slli_epi32, _mm512_srli_epi16,
    _mm512_srli_epi32, _mm512_storeu_si512, _pdep_u64,
};

use crate::wide::put;

const QUOTE: i8 = 0x22;
const BACKSLASH: i8 = 0x5c;

/// # Safety
/// `to` has room for six times the characters and 64 more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,bmi1,bmi2,popcnt")]
pub unsafe fn latin1(units: &[u8], mut to: *mut u8) -> Option<*mut u8> {
    let mut at = 0;
    while at < units.len() {
        let count = (units.len() - at).min(32);
        let lanes = u32::MAX >> (32 - count);
        // SAFETY: the lanes that are loaded lie inside the slice; 32 characters become 64 bytes at most here.
        unsafe {
            let block = _mm256_maskz_loadu_epi8(lanes, units.as_ptr().add(at).cast());
            let special = lanes
                & (_mm256_cmplt_epu8_mask(block, _mm256_set1_epi8(0x20))
                    | _mm256_cmpeq_epi8_mask(block, _mm256_set1_epi8(QUOTE))
                    | _mm256_cmpeq_epi8_mask(block, _mm256_set1_epi8(BACKSLASH)));
            let high = _mm256_movepi8_mask(block);
            let plain = count.min(special.trailing_zeros() as usize);
            if high == 0 {
                _mm256_storeu_si256(to.cast(), block);
                to = to.add(plain);
            } else {
                let wide = _mm512_cvtepu8_epi16(block);
                let lead = _mm512_or_si512(_mm512_srli_epi16(wide, 6), _mm512_set1_epi16(0x80c0_u16.cast_signed()));
                let trail = _mm512_slli_epi16(_mm512_and_si512(wide, _mm512_set1_epi16(0x3f)), 8);
                let spread = _mm512_mask_blend_epi16(high, wide, _mm512_or_si512(lead, trail));
                let kept = 0x5555_5555_5555_5555 | _pdep_u64(high.into(), 0xaaaa_aaaa_aaaa_aaaa);
                _mm512_storeu_si512(to.cast(), _mm512_maskz_compress_epi8(kept, spread));
                let doubled = (u64::from(high) & ((1 << plain) - 1)).count_ones() as usize;
                to = to.add(plain + doubled);
            }
            at += plain;
            if plain < count {
                to = put(to, u32::from(*units.as_ptr().add(at)))?;
                at += 1;
            }
        }
    }
    Some(to)
}

/// # Safety
/// `to` has room for six times the characters and 64 more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,bmi1,bmi2,popcnt")]
pub unsafe fn two_bytes(units: &[u16], mut to: *mut u8) -> Option<*mut u8> {
    let mut at = 0;
    while at < units.len() {
        let count = (units.len() - at).min(32);
        let lanes = u32::MAX >> (32 - count);
        // SAFETY: the lanes that are loaded lie inside the slice; 16 characters become 64 bytes at most at once.
        unsafe {
            let block = _mm512_maskz_loadu_epi16(lanes, units.as_ptr().add(at).cast());
            let special = lanes
                & (_mm512_cmplt_epu16_mask(block, _mm512_set1_epi16(0x20))
                    | _mm512_cmpeq_epi16_mask(block, _mm512_set1_epi16(QUOTE.into()))
                    | _mm512_cmpeq_epi16_mask(block, _mm512_set1_epi16(BACKSLASH.into())));
            let plain = count.min(special.trailing_zeros() as usize);
            if _mm512_cmpge_epu16_mask(block, _mm512_set1_epi16(0x80)) == 0 {
                _mm256_storeu_si256(to.cast(), _mm512_cvtepi16_epi8(block));
                to = to.add(plain);
            } else {
                let top = _mm512_and_si512(block, _mm512_set1_epi16(0xf800_u16.cast_signed()));
                if _mm512_cmpeq_epi16_mask(top, _mm512_set1_epi16(0xd800_u16.cast_signed())) != 0 {
                    return None;
                }
                let first = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(block));
                to = to.add(spread(first, plain.min(16), to));
                if plain > 16 {
                    let second = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(block, 1));
                    to = to.add(spread(second, plain - 16, to));
                }
            }
            at += plain;
            if plain < count {
                to = put(to, u32::from(*units.as_ptr().add(at)))?;
                at += 1;
            }
        }
    }
    Some(to)
}

/// # Safety
/// `to` has room for six times the characters and 64 more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,bmi1,bmi2,popcnt")]
pub unsafe fn four_bytes(units: &[u32], mut to: *mut u8) -> Option<*mut u8> {
    let mut at = 0;
    while at < units.len() {
        let count = (units.len() - at).min(16);
        let lanes = u16::MAX >> (16 - count);
        // SAFETY: the lanes that are loaded lie inside the slice; 16 characters become 64 bytes at most.
        unsafe {
            let block = _mm512_maskz_loadu_epi32(lanes, units.as_ptr().add(at).cast());
            let special = lanes
                & (_mm512_cmplt_epu32_mask(block, _mm512_set1_epi32(0x20))
                    | _mm512_cmpeq_epi32_mask(block, _mm512_set1_epi32(QUOTE.into()))
                    | _mm512_cmpeq_epi32_mask(block, _mm512_set1_epi32(BACKSLASH.into())));
            let plain = count.min(special.trailing_zeros() as usize);
            if _mm512_cmpge_epu32_mask(block, _mm512_set1_epi32(0x80)) == 0 {
                _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(block));
                to = to.add(plain);
            } else {
                let top = _mm512_and_si512(block, _mm512_set1_epi32(0xffff_f800_u32.cast_signed()));
                if _mm512_cmpeq_epi32_mask(top, _mm512_set1_epi32(0xd800)) != 0 {
                    return None;
                }
                to = to.add(spread(block, plain, to));
            }
            at += plain;
            if plain < count {
                to = put(to, *units.as_ptr().add(at))?;
                at += 1;
            }
        }
    }
    Some(to)
}

/// Writes the first `count` of 16 characters, none of which must be escaped; gives how many bytes that were.
///
/// # Safety
/// `to` has room for 64 bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,bmi1,bmi2,popcnt")]
#[inline]
unsafe fn spread(units: __m512i, count: usize, to: *mut u8) -> usize {
    let part = |shift: u32, mark: i32, place: u32| {
        let bits = match shift {
            0 => units,
            6 => _mm512_srli_epi32(units, 6),
            12 => _mm512_srli_epi32(units, 12),
            _ => _mm512_srli_epi32(units, 18),
        };
        // Behind the first byte of a character six bits count, and the first has no more than are left.
        let bits = if mark == 0x80 { _mm512_and_si512(bits, _mm512_set1_epi32(0x3f)) } else { bits };
        let marked = _mm512_or_si512(bits, _mm512_set1_epi32(mark));
        match place {
            0 => marked,
            1 => _mm512_slli_epi32(marked, 8),
            2 => _mm512_slli_epi32(marked, 16),
            _ => _mm512_slli_epi32(marked, 24),
        }
    };
    let is_two = _mm512_cmpge_epu32_mask(units, _mm512_set1_epi32(0x80));
    let is_three = _mm512_cmpge_epu32_mask(units, _mm512_set1_epi32(0x800));
    let is_four = _mm512_cmpge_epu32_mask(units, _mm512_set1_epi32(0x1_0000));
    let two = _mm512_or_si512(part(6, 0xc0, 0), part(0, 0x80, 1));
    let mut bytes = _mm512_mask_blend_epi32(is_two, units, two);
    if is_three != 0 {
        let three = _mm512_or_si512(_mm512_or_si512(part(12, 0xe0, 0), part(6, 0x80, 1)), part(0, 0x80, 2));
        bytes = _mm512_mask_blend_epi32(is_three, bytes, three);
    }
    if is_four != 0 {
        let (low, high) = (
            _mm512_or_si512(part(18, 0xf0, 0), part(12, 0x80, 1)),
            _mm512_or_si512(part(6, 0x80, 2), part(0, 0x80, 3)),
        );
        bytes = _mm512_mask_blend_epi32(is_four, bytes, _mm512_or_si512(low, high));
    }
    let below = if count >= 16 { u64::MAX } else { (1 << (4 * count)) - 1 };
    let kept = below
        & (0x1111_1111_1111_1111
            | _pdep_u64(is_two.into(), 0x2222_2222_2222_2222)
            | _pdep_u64(is_three.into(), 0x4444_4444_4444_4444)
            | _pdep_u64(is_four.into(), 0x8888_8888_8888_8888));
    // SAFETY: the room is the caller's promise.
    unsafe { _mm512_storeu_si512(to.cast(), _mm512_maskz_compress_epi8(kept, bytes)) };
    kept.count_ones() as usize
}

/// Writes the characters of UTF-8 text that Latin-1 has, one byte for each; gives how many they are, or None if the text
/// is no such one.
///
/// # Safety
/// `to` has room for `bytes` and 64 more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,bmi1,bmi2,popcnt")]
pub unsafe fn latin1_of_utf8(bytes: &[u8], to: *mut u8) -> Option<usize> {
    let (mut at, mut written, mut led, mut raised) = (0, 0, 0_u64, 0_u64);
    while at < bytes.len() {
        let count = (bytes.len() - at).min(64);
        let lanes = u64::MAX >> (64 - count);
        // SAFETY: the lanes that are loaded lie inside the slice; the room is the caller's promise.
        unsafe {
            let block = _mm512_maskz_loadu_epi8(lanes, bytes.as_ptr().add(at).cast());
            let high = _mm512_movepi8_mask(block);
            let third = _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(0xc3_u8.cast_signed()));
            let lead = third | _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(0xc2_u8.cast_signed()));
            let trail = _mm512_cmplt_epi8_mask(block, _mm512_set1_epi8(0xc0_u8.cast_signed()));
            // Each lead is followed by a trail, each trail follows a lead, and nothing else is beyond ASCII.
            if high != lead | trail || trail != (lead << 1 | led) & lanes || led != 0 && trail & 1 == 0 {
                return None;
            }
            if count < 64 && lead >> (count - 1) & 1 == 1 {
                return None;
            }
            let above = third << 1 | raised;
            let characters = _mm512_mask_add_epi8(block, above, block, _mm512_set1_epi8(0x40));
            let kept = lanes & !lead;
            _mm512_storeu_si512(to.add(written).cast(), _mm512_maskz_compress_epi8(kept, characters));
            written += kept.count_ones() as usize;
            (led, raised) = (lead >> 63, third >> 63);
        }
        at += 64;
    }
    (led == 0).then_some(written)
}
