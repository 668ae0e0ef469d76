//! The loops that write containers, compiled for each kind of processor.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
#[cfg(target_arch = "x86_64")]
use swisper_simd::{Avx512, Level, level};
use swisper_simd::{Chosen, Kernels, Sink};

use crate::dataclass::Dataclass;
use crate::encode::Outcome;
use crate::walk::{Policy, Walk};

/// A kind of processor: its kernels, and the loops in which they are compiled in place.
pub trait Processor: Kernels + Sized {
    /// # Safety
    /// The processor is of this kind.
    unsafe fn dict<S: Sink, P: Policy>(walk: &mut Walk<'_, S, P>, dict: &Bound<'_, PyDict>, depth: usize) -> Outcome;

    /// # Safety
    /// The processor is of this kind.
    unsafe fn list<S: Sink, P: Policy>(walk: &mut Walk<'_, S, P>, list: &Bound<'_, PyList>, depth: usize) -> Outcome;

    /// # Safety
    /// The processor is of this kind.
    unsafe fn container<S: Sink, P: Policy>(
        walk: &mut Walk<'_, S, P>,
        value: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Outcome {
        // SAFETY: the caller's promise.
        unsafe { walk.container_with::<Self>(value, depth) }
    }

    /// # Safety
    /// The processor is of this kind.
    unsafe fn object<S: Sink, P: Policy>(
        walk: &mut Walk<'_, S, P>,
        class: &Dataclass,
        object: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Outcome;
}

macro_rules! processor {
    ($kind:ty $(, $features:meta)?) => {
        impl Processor for $kind {
            $(#[$features])?
            unsafe fn dict<S: Sink, P: Policy>(
                walk: &mut Walk<'_, S, P>,
                dict: &Bound<'_, PyDict>,
                depth: usize,
            ) -> Outcome {
                // SAFETY: the caller's promise.
                unsafe { walk.dict_with::<Self>(dict, depth) }
            }

            $(#[$features])?
            unsafe fn list<S: Sink, P: Policy>(
                walk: &mut Walk<'_, S, P>,
                list: &Bound<'_, PyList>,
                depth: usize,
            ) -> Outcome {
                // SAFETY: the caller's promise.
                unsafe { walk.list_with::<Self>(list, depth) }
            }

            $(#[$features])?
            unsafe fn object<S: Sink, P: Policy>(
                walk: &mut Walk<'_, S, P>,
                class: &Dataclass,
                object: &Bound<'_, PyAny>,
                depth: usize,
            ) -> Outcome {
                // SAFETY: the caller's promise.
                unsafe { class.write_with::<Self, S, P>(walk, object, depth) }
            }
        }
    };
}

processor!(Chosen);
#[cfg(target_arch = "x86_64")]
processor!(Avx512, target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2"));

macro_rules! chosen {
    ($name:ident($($argument:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        if level() >= Level::Avx512 {
            // SAFETY: the level tells the kind of processor.
            return unsafe { Avx512::$name($($argument),*) };
        }
        // SAFETY: this kind is every processor's.
        unsafe { Chosen::$name($($argument),*) }
    }};
}

pub fn dict<S: Sink, P: Policy>(walk: &mut Walk<'_, S, P>, dict: &Bound<'_, PyDict>, depth: usize) -> Outcome {
    chosen!(dict(walk, dict, depth))
}

pub fn list<S: Sink, P: Policy>(walk: &mut Walk<'_, S, P>, list: &Bound<'_, PyList>, depth: usize) -> Outcome {
    chosen!(list(walk, list, depth))
}

pub fn container<S: Sink, P: Policy>(walk: &mut Walk<'_, S, P>, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
    chosen!(container(walk, value, depth))
}
