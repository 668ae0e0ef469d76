//! Vector kernels, chosen by what the processor has when they run; each has a scalar twin that gives the same answer.
//!
//! `unsafe` is here for loads and stores through pointers, within lengths and capacities that were just checked, and
//! for calls into code that is compiled for a processor feature, right behind the test for that feature.

mod digits;
mod escape;
mod float;
mod latin1;
mod layout;
mod level;
mod number;
mod pen;
mod prefetch;
mod scan;
mod short;
mod sink;
mod string;
mod unescape;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_digits;
#[cfg(target_arch = "x86_64")]
mod x86_number;
#[cfg(target_arch = "x86_64")]
mod x86_short;
#[cfg(target_arch = "x86_64")]
mod x86_unescape;
#[cfg(target_arch = "x86_64")]
mod x86_wide;

pub use digits::push_integer;
pub use float::push_float;
pub use latin1::latin1_of_utf8;
pub use level::{Level, level, limit};
pub use number::{Short, short_number};
pub use pen::Pen;
pub use prefetch::prefetch;
pub use scan::{Plain, container_length, plain_prefix};
pub use short::{BLOCK, Characters, padded, short_string};
pub use sink::Sink;
pub use string::{Chosen, Kernels, push_string};
pub use unescape::push_unescaped;
pub use wide::{Unit, push_units};
#[cfg(target_arch = "x86_64")]
pub use x86::Avx512;
