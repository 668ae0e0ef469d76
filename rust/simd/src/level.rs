//! Which kernels run: the best that the processor has, unless fewer are asked for.

use std::sync::atomic::{AtomicU8, Ordering};

/// What a processor has, each level with all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// What every processor of this architecture has.
    Baseline = 1,
    Avx2,
    /// Masked loads of 32 and 64 bytes (BW, VL, BMI2).
    Avx512,
    /// The same, bytes pressed together under a mask and looked up in a table of 128 (VBMI2, VBMI).
    Vbmi2,
}

/// 0 until it is asked for.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The level whose kernels run.
#[inline]
#[must_use]
pub fn level() -> Level {
    match CHOSEN.load(Ordering::Relaxed) {
        0 => limit(Level::Vbmi2),
        1 => Level::Baseline,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => Level::Vbmi2,
    }
}

/// Chooses the best level that the processor has, and none above `most`; for measurements and tests.
#[cold]
pub fn limit(most: Level) -> Level {
    let chosen = found().min(most);
    CHOSEN.store(chosen as u8, Ordering::Relaxed);
    chosen
}

#[cfg(target_arch = "x86_64")]
fn found() -> Level {
    if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("popcnt") {
        return Level::Baseline;
    }
    if !is_x86_feature_detected!("bmi2")
        || !is_x86_feature_detected!("avx512bw")
        || !is_x86_feature_detected!("avx512vl")
    {
        return Level::Avx2;
    }
    let has_both = is_x86_feature_detected!("avx512vbmi") && is_x86_feature_detected!("avx512vbmi2");
    if has_both { Level::Vbmi2 } else { Level::Avx512 }
}

#[cfg(not(target_arch = "x86_64"))]
fn found() -> Level {
    Level::Baseline
}
