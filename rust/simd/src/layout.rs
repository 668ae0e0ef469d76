//! Where the point of a float stands among its digits.

#[cfg(any(test, not(target_arch = "x86_64")))]
use crate::digits::{EIGHT, ZEROS, spread};

/// How a float is written whose first digit stands for a given power of ten.
pub struct Layout {
    /// The bytes of the digits before the point; all, if the point stands before them.
    pub whole: u128,
    /// 1 if the point stands behind a digit.
    pub inside: usize,
    /// How many zeros and points come before the digits.
    pub before: usize,
    pub point: usize,
    /// How many digits there are at least.
    pub least: usize,
}

/// The power of ten of the first of the `LAYOUTS` is 10^-SMALLEST.
pub const SMALLEST: usize = 5;

// What could panic here would do so at compile time.
#[allow(clippy::indexing_slicing)]
pub static LAYOUTS: [Layout; SMALLEST + 16] = {
    let mut all = [const { Layout { whole: u128::MAX, inside: 0, before: 0, point: 1, least: 0 } }; SMALLEST + 16];
    let mut at = 0;
    while at < all.len() {
        if at < SMALLEST {
            all[at].before = SMALLEST - at + 1;
        } else {
            let digits = at - SMALLEST + 1;
            let whole = u128::MAX >> (128 - 8 * digits);
            all[at] = Layout { whole, inside: 1, before: 0, point: digits, least: digits + 1 };
        }
        at += 1;
    }
    all
};

/// Writes sixteen digits with room for a point among them, and gives how many there are without the zeros at the end. For
/// other processors than x86-64, and to compare with.
///
/// # Safety
/// `to` has room for 17 bytes.
#[cfg(any(test, not(target_arch = "x86_64")))]
pub unsafe fn put_sixteen(to: *mut u8, value: u64, layout: &Layout) -> usize {
    let digits = u128::from(spread(value % EIGHT)) << 64 | u128::from(spread(value / EIGHT));
    let text = digits | u128::from(ZEROS) << 64 | u128::from(ZEROS);
    let parted = text & layout.whole | (text & !layout.whole) << 8;
    // SAFETY: the caller's promise.
    unsafe {
        to.add(layout.inside).cast::<[u8; 16]>().write(text.to_le_bytes());
        to.cast::<[u8; 16]>().write(parted.to_le_bytes());
    }
    16 - digits.leading_zeros() as usize / 8
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn all_kernels_write_the_same() {
        let mut seed = 13_u64;
        for layout in &LAYOUTS {
            for round in 0..20_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let zeros = 10_u64.pow(round % 16);
                let value = (1_000_000_000_000_000 + (seed >> 8) % 9_000_000_000_000_000) / zeros * zeros;
                let (mut written, mut expected) = ([0; 17], [0; 17]);
                // SAFETY: there is room for 17 bytes.
                let counts = unsafe {
                    let count = crate::x86_digits::put_sixteen(written.as_mut_ptr(), value, layout);
                    (count, put_sixteen(expected.as_mut_ptr(), value, layout))
                };
                assert_eq!((counts.0, written), (counts.1, expected), "{value}");
            }
        }
    }
}
