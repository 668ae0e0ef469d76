//! Floats as decimal text.

use std::mem::MaybeUninit;

use crate::sink::Sink;

/// The longest text of a float.
const LONGEST: usize = 24;

/// The buffer of the crate that finds the digits, and room behind it: a copy of fixed size is a few instructions.
#[repr(C)]
struct Padded {
    buffer: zmij::Buffer,
    behind: [MaybeUninit<u8>; LONGEST],
}

/// Appends a finite float with the fewest digits that read back as the same float, never as an integer, and `after`
/// behind it.
#[inline]
pub fn push_float(out: &mut impl Sink, value: f64, after: u8) {
    let mut padded = Padded { buffer: zmij::Buffer::new(), behind: [MaybeUninit::uninit(); LONGEST] };
    let text = padded.buffer.format_finite(value);
    let (from, length) = (text.as_ptr(), text.len().min(LONGEST));
    let to = out.room(LONGEST + 1);
    // SAFETY: the text begins within the buffer, so that so many bytes lie there and behind it; only its own are counted.
    unsafe {
        to.cast::<[MaybeUninit<u8>; LONGEST]>().write(from.cast::<[MaybeUninit<u8>; LONGEST]>().read());
        to.add(length).write(after);
        out.wrote(length + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: f64) {
        let mut out = Vec::new();
        push_float(&mut out, value, b',');
        let text = String::from_utf8(out).unwrap();
        let text = text.strip_suffix(',').unwrap();
        assert!(text.contains(['.', 'e']), "{text}");
        assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
    }

    #[test]
    fn floats_keep_their_type_and_value() {
        for value in [0.0, -0.0, 1.0, 1e16, 1e300, 5e-324, 0.1, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1e-5, 123e20] {
            check(value);
        }
        let mut seed = 3_u64;
        for _ in 0..100_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(seed);
            if value.is_finite() {
                check(value);
            }
        }
    }
}
