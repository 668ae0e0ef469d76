//! Writing many short texts in a row: the place stays in a register, and room is made for several at once.

// One call that is given the address of a pen, and its place lies in memory.
#![allow(clippy::inline_always)]

use crate::sink::Sink;
use crate::string::{Kernels, SHORT, SLACK, escaped};

/// The room that there is for what comes next: two short strings, each with its quotes, what stands behind it, and what
/// kernels write beyond it.
const ROOM: usize = 2 * (SHORT + 3 + SLACK);

/// Writes to a sink that is told of it only at the end, or before it is used itself.
#[derive(Debug)]
pub struct Pen<'a, S> {
    sink: &'a mut S,
    place: *mut u8,
    end: *mut u8,
}

impl<'a, S: Sink> Pen<'a, S> {
    #[inline(always)]
    pub fn new(sink: &'a mut S) -> Self {
        let (place, left) = sink.space(ROOM);
        Self { sink, place, end: place.wrapping_add(left) }
    }

    /// Tells the sink what was written.
    #[inline(always)]
    pub fn done(self) {
        // SAFETY: all up to the place was written.
        unsafe { self.sink.wrote_up_to(self.place) };
    }

    /// Runs what is seldom needed, with the sink itself.
    #[inline(always)]
    pub fn apart<T>(&mut self, body: impl FnOnce(&mut S) -> T) -> T {
        // SAFETY: all up to the place was written.
        unsafe { self.sink.wrote_up_to(self.place) };
        let result = body(self.sink);
        let (place, left) = self.sink.space(ROOM);
        (self.place, self.end) = (place, place.wrapping_add(left));
        result
    }

    /// Makes room for what `string` and `padded` write; to be called before every second of them.
    #[inline(always)]
    pub fn next(&mut self) {
        self.make(ROOM);
    }

    /// The beginning of an array.
    ///
    /// # Safety
    /// At most one other was written since `next`, `new` or `apart`; the length is N at most.
    #[inline(always)]
    pub unsafe fn padded<const N: usize>(&mut self, bytes: &[u8; N], length: usize) {
        const { assert!(N <= SHORT) };
        // SAFETY: the caller's promise.
        unsafe {
            self.place.cast::<[u8; N]>().write(*bytes);
            self.place = self.place.add(length);
        }
    }

    /// Bytes of ASCII as a JSON string with its quotes, and `after` behind it.
    ///
    /// # Safety
    /// At most one other was written since `next`, `new` or `apart`, and the processor is of that kind.
    #[inline(always)]
    pub unsafe fn string<K: Kernels>(&mut self, bytes: &[u8], after: u8) {
        let length = bytes.len();
        // SAFETY: the room is the caller's promise, or made here; no more is counted than was written.
        unsafe {
            let plain = if length <= K::SHORT {
                self.place.write(b'"');
                if K::short(bytes, self.place.add(1)) { length } else { 0 }
            } else {
                // What it was before is left behind the string.
                self.make(length + ROOM);
                self.place.write(b'"');
                K::long(bytes, self.place.add(1))
            };
            if plain == length {
                self.place = self.place.add(length + 3);
                self.place.sub(2).cast::<[u8; 2]>().write([b'"', after]);
            } else {
                self.place = self.place.add(1 + plain);
                self.apart(|sink| escaped(sink, bytes.get(plain..).unwrap_or_default(), Some(after)));
            }
        }
    }

    #[inline(always)]
    fn make(&mut self, more: usize) {
        if self.end.addr() - self.place.addr() < more {
            let (place, left) = grown(self.sink, self.place, more);
            (self.place, self.end) = (place, place.wrapping_add(left));
        }
    }
}

#[cold]
#[inline(never)]
fn grown<S: Sink>(sink: &mut S, place: *mut u8, more: usize) -> (*mut u8, usize) {
    // SAFETY: all up to the place was written.
    unsafe { sink.wrote_up_to(place) };
    sink.space(more)
}

// SAFETY: the place stays until more is asked for than there is room.
unsafe impl<S: Sink> Sink for Pen<'_, S> {
    #[inline(always)]
    fn room(&mut self, more: usize) -> *mut u8 {
        self.make(more);
        self.place
    }

    #[inline(always)]
    fn space(&mut self, more: usize) -> (*mut u8, usize) {
        self.make(more);
        (self.place, self.end.addr() - self.place.addr())
    }

    #[inline(always)]
    unsafe fn wrote(&mut self, count: usize) {
        // SAFETY: the caller's promise.
        self.place = unsafe { self.place.add(count) };
    }

    #[inline(always)]
    unsafe fn wrote_up_to(&mut self, place: *mut u8) {
        self.place = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chosen, push_string};

    const TEXTS: [&[u8]; 9] = [
        b"",
        b"role",
        b"a name of 32 bytes, no more of it",
        b"a \"quote\"",
        b"\\",
        &[b'x'; SHORT],
        &[b'y'; SHORT + 1],
        &[b'z'; 300],
        b"a longer text, in which a line ends\nand another begins, so that it is copied in two parts",
    ];

    /// Members as a pen writes them into a vector with so much room at first, and as they should be.
    fn both<K: Kernels>(seed: usize, room: usize) -> (Vec<u8>, Vec<u8>) {
        let text = |number: usize| TEXTS.get(number % TEXTS.len()).copied().unwrap_or_default();
        let (mut out, mut expected) = (Vec::with_capacity(room), Vec::new());
        let mut pen = Pen::new(&mut out);
        for member in 0..40 {
            let (name, value) = (text(seed * member / 7), text(seed + member * member));
            pen.next();
            // SAFETY: two short ones behind each other; the callers know the processor.
            unsafe {
                pen.string::<K>(name, b':');
                if member % 3 == 0 { pen.padded(b"null,\0\0\0", 5) } else { pen.string::<K>(value, b',') }
            }
            push_string(&mut expected, name, Some(b':'));
            if member % 3 == 0 {
                expected.extend_from_slice(b"null,");
            } else {
                push_string(&mut expected, value, Some(b','));
            }
            if member % 11 == 0 {
                pen.apart(|out| out.extend_from_slice(&[b'.'; 500]));
                expected.extend_from_slice(&[b'.'; 500]);
            }
            if member % 5 == 0 {
                // SAFETY: a comma was written.
                unsafe { pen.take_back() };
                expected.pop();
            }
        }
        pen.done();
        (out, expected)
    }

    #[test]
    fn members_are_written_one_behind_the_other() {
        for seed in 0..200 {
            for room in [0, 1, ROOM - 1, ROOM, 1000, 100_000] {
                let (written, expected) = both::<Chosen>(seed, room);
                assert_eq!(written, expected);
                #[cfg(target_arch = "x86_64")]
                if crate::level() >= crate::Level::Avx512 {
                    assert_eq!(both::<crate::Avx512>(seed, room).0, expected);
                }
            }
        }
    }
}
