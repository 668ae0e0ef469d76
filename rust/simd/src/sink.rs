//! Where text is written to.

/// Bytes that grow at their end.
///
/// # Safety
/// `room` gives a place where so many bytes may be written; until the next call of `room` it stays that place.
pub unsafe trait Sink {
    /// Makes room for so many more bytes; the place behind what was written.
    fn room(&mut self, more: usize) -> *mut u8;

    /// Counts bytes as written.
    ///
    /// # Safety
    /// They were written, into room that was made for them.
    unsafe fn wrote(&mut self, count: usize);

    /// The same as `room`, and how much room there is in all.
    fn space(&mut self, more: usize) -> (*mut u8, usize);

    /// Counts all that lies before this place as written, and nothing behind it.
    ///
    /// # Safety
    /// It was written, and the place is one in what was written or in room that was made.
    unsafe fn wrote_up_to(&mut self, place: *mut u8);

    /// Takes back the byte written last.
    ///
    /// # Safety
    /// There is one.
    #[allow(clippy::inline_always)] // For the sake of `Pen`.
    #[inline(always)]
    unsafe fn take_back(&mut self) {
        let place = self.room(0);
        // SAFETY: the caller's promise.
        unsafe { self.wrote_up_to(place.sub(1)) };
    }

    /// Appends one byte.
    #[allow(clippy::inline_always)] // For the sake of `Pen`.
    #[inline(always)]
    fn put(&mut self, byte: u8) {
        // SAFETY: one byte of the room is written and counted.
        unsafe {
            self.room(1).write(byte);
            self.wrote(1);
        }
    }

    /// Appends some bytes.
    #[allow(clippy::inline_always)] // For the sake of `Pen`.
    #[inline(always)]
    fn append(&mut self, bytes: &[u8]) {
        let to = self.room(bytes.len());
        // SAFETY: the room is there, and is not part of what is borrowed from elsewhere.
        unsafe {
            to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            self.wrote(bytes.len());
        }
    }

    /// Appends the beginning of an array: a copy of fixed size is a few instructions, one of any length is a call.
    #[inline]
    fn append_padded<const N: usize>(&mut self, bytes: &[u8; N], length: usize) {
        let to = self.room(N);
        // SAFETY: the room is there; no more is counted than was written.
        unsafe {
            to.cast::<[u8; N]>().write(*bytes);
            self.wrote(length.min(N));
        }
    }
}

// SAFETY: a vector does not move before it is asked to grow.
unsafe impl Sink for Vec<u8> {
    #[inline]
    fn room(&mut self, more: usize) -> *mut u8 {
        self.reserve(more);
        // SAFETY: the length is within the capacity.
        unsafe { self.as_mut_ptr().add(self.len()) }
    }

    #[inline]
    unsafe fn wrote(&mut self, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.set_len(self.len() + count) };
    }

    #[inline]
    fn space(&mut self, more: usize) -> (*mut u8, usize) {
        (self.room(more), self.capacity() - self.len())
    }

    #[inline]
    unsafe fn wrote_up_to(&mut self, place: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { self.set_len(place.offset_from_unsigned(self.as_ptr())) };
    }
}
