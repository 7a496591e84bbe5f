//! Sequential, buffered reading of a header.

use crate::limits::MAX_GGUF_HEADER;
use crate::window::Window;
use crate::{Problem, Source};

/// Reads forward through a source. Whatever it is asked for it first compares with what remains of
/// the file and with the cap on headers, so callers may allocate what [`Cursor::need`] has granted.
pub(crate) struct Cursor<'s>(Window<'s>);

impl<'s> Cursor<'s> {
    pub(crate) fn new(source: &'s dyn Source) -> Self {
        Self(Window::new(source, 0..source.len()))
    }

    /// Offset of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.0.position()
    }

    /// Bytes from here to the end of the file.
    pub(crate) fn remaining(&self) -> u64 {
        self.0.remaining()
    }

    /// Checks that `count` items of `size` bytes can follow, and gives their size.
    pub(crate) fn need(&self, what: &'static str, count: u64, size: u64) -> Result<u64, Problem> {
        let available = self.remaining();
        let needed = count.saturating_mul(size);
        if needed > available {
            return Err(Problem::Truncated { what, offset: self.position(), needed, available });
        }
        if self.position().saturating_add(needed) > MAX_GGUF_HEADER {
            let found = self.position().saturating_add(needed);
            return Err(Problem::TooLong { what: "the header up to here,", offset: 0, found, limit: MAX_GGUF_HEADER });
        }
        Ok(needed)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Problem> {
        let mut out = [0; N];
        self.fill(what, &mut out)?;
        Ok(out)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Problem> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Problem> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Fills `out` with the next bytes.
    pub(crate) fn fill(&mut self, what: &'static str, out: &mut [u8]) -> Result<(), Problem> {
        self.need(what, out.len() as u64, 1)?;
        let mut out = out;
        while !out.is_empty() {
            let ready = self.0.ready()?;
            let n = ready.len().min(out.len());
            let (head, rest) = out.split_at_mut(n);
            head.copy_from_slice(&ready[..n]);
            self.0.consume(n);
            out = rest;
        }
        Ok(())
    }

    /// Appends the next `len` bytes to `out`, which grows no further than by that.
    pub(crate) fn append(&mut self, what: &'static str, len: u64, out: &mut Vec<u8>) -> Result<(), Problem> {
        let bytes = self.need(what, len, 1)?;
        let mut left = usize::try_from(bytes).map_err(|_| Problem::OutOfMemory { what, bytes })?;
        out.try_reserve(left).map_err(|_| Problem::OutOfMemory { what, bytes })?;
        while left > 0 {
            let ready = self.0.ready()?;
            let n = ready.len().min(left);
            out.extend_from_slice(&ready[..n]);
            self.0.consume(n);
            left -= n;
        }
        Ok(())
    }
}
