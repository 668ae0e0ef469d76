//! Vector kernels, chosen by what the processor has when they run; each has a scalar twin that gives the same answer.
//!
//! `unsafe` is here for loads through pointers, within slices whose length was just checked, and for calls into code
//! that is compiled for a processor feature, right behind the test for that feature.

/// Whether a JSON string with these bytes needs an escape: control characters, `"` or `\`.
#[must_use]
#[inline]
pub fn needs_escape(bytes: &[u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the feature was just found.
            return unsafe { x86::avx512(bytes) };
        }
        if bytes.len() >= 32 && is_x86_feature_detected!("avx2") {
            // SAFETY: as above; the length is what the function asks for.
            return unsafe { x86::avx2(bytes) };
        }
        if bytes.len() >= 16 {
            // SAFETY: every x86-64 processor has SSE2; the length is what the function asks for.
            return unsafe { x86::sse2(bytes) };
        }
    }
    scalar(bytes)
}

fn scalar(bytes: &[u8]) -> bool {
    bytes.iter().any(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_max_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_max_epu8, _mm256_movemask_epi8, _mm256_or_si256,
        _mm256_set1_epi8, _mm512_mask_cmpeq_epi8_mask, _mm512_mask_cmplt_epu8_mask, _mm512_maskz_loadu_epi8,
        _mm512_set1_epi8,
    };

    const QUOTE: i8 = 0x22;
    const BACKSLASH: i8 = 0x5c;
    const LAST_CONTROL: i8 = 0x1f;

    /// The last block is loaded under a mask, so that any length is read in whole blocks.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn avx512(bytes: &[u8]) -> bool {
        let (mut at, length) = (0, bytes.len());
        while at < length {
            let rest = length - at;
            let lanes = if rest >= 64 { u64::MAX } else { (1 << rest) - 1 };
            // SAFETY: the lanes that are loaded lie inside the slice.
            let block = unsafe { _mm512_maskz_loadu_epi8(lanes, bytes.as_ptr().add(at).cast()) };
            let found = _mm512_mask_cmplt_epu8_mask(lanes, block, _mm512_set1_epi8(0x20))
                | _mm512_mask_cmpeq_epi8_mask(lanes, block, _mm512_set1_epi8(QUOTE))
                | _mm512_mask_cmpeq_epi8_mask(lanes, block, _mm512_set1_epi8(BACKSLASH));
            if found != 0 {
                return true;
            }
            at += 64;
        }
        false
    }

    /// For 32 bytes and more: the last block overlaps the one before it.
    #[target_feature(enable = "avx2")]
    pub unsafe fn avx2(bytes: &[u8]) -> bool {
        let look = |at: usize| {
            // SAFETY: every `at` below leaves 32 bytes behind it.
            let block: __m256i = unsafe { _mm256_loadu_si256(bytes.as_ptr().add(at).cast()) };
            let control = _mm256_set1_epi8(LAST_CONTROL);
            let found = _mm256_or_si256(
                _mm256_cmpeq_epi8(_mm256_max_epu8(block, control), control),
                _mm256_or_si256(
                    _mm256_cmpeq_epi8(block, _mm256_set1_epi8(QUOTE)),
                    _mm256_cmpeq_epi8(block, _mm256_set1_epi8(BACKSLASH)),
                ),
            );
            _mm256_movemask_epi8(found) != 0
        };
        (0..bytes.len() / 32).any(|n| look(n * 32)) || look(bytes.len() - 32)
    }

    /// For 16 bytes and more, likewise.
    #[target_feature(enable = "sse2")]
    pub unsafe fn sse2(bytes: &[u8]) -> bool {
        let look = |at: usize| {
            // SAFETY: every `at` below leaves 16 bytes behind it.
            let block: __m128i = unsafe { _mm_loadu_si128(bytes.as_ptr().add(at).cast()) };
            let control = _mm_set1_epi8(LAST_CONTROL);
            let found = _mm_or_si128(
                _mm_cmpeq_epi8(_mm_max_epu8(block, control), control),
                _mm_or_si128(
                    _mm_cmpeq_epi8(block, _mm_set1_epi8(QUOTE)),
                    _mm_cmpeq_epi8(block, _mm_set1_epi8(BACKSLASH)),
                ),
            );
            _mm_movemask_epi8(found) != 0
        };
        (0..bytes.len() / 16).any(|n| look(n * 16)) || look(bytes.len() - 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel that this processor has, under its name.
    fn kernels(bytes: &[u8]) -> Vec<(&'static str, bool)> {
        let mut found = vec![("scalar", scalar(bytes)), ("chosen", needs_escape(bytes))];
        #[cfg(target_arch = "x86_64")]
        // SAFETY: each only where its feature is there and the length is enough.
        unsafe {
            if bytes.len() >= 16 {
                found.push(("sse2", x86::sse2(bytes)));
            }
            if bytes.len() >= 32 && is_x86_feature_detected!("avx2") {
                found.push(("avx2", x86::avx2(bytes)));
            }
            if is_x86_feature_detected!("avx512bw") {
                found.push(("avx512", x86::avx512(bytes)));
            }
        }
        found
    }

    #[test]
    fn every_kernel_finds_each_special_byte_at_each_place() {
        for length in 0..200 {
            let mut bytes = vec![b'a'; length];
            assert!(kernels(&bytes).iter().all(|(_, found)| !found), "length {length}");
            for at in 0..length {
                for (byte, special) in
                    [(0, true), (0x1f, true), (b'"', true), (b'\\', true), (0x20, false), (0xff, false)]
                {
                    bytes[at] = byte;
                    for (kernel, found) in kernels(&bytes) {
                        assert_eq!(found, special, "{kernel}: {byte} at {at} of {length}");
                    }
                }
                bytes[at] = b'a';
            }
        }
    }
}
