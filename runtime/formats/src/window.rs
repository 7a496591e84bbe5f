//! Reading forward through a range of a source.

use crate::{Problem, Source};
use std::io::{self, Read};
use std::ops::Range;

/// Bytes per read. Large enough that reads do not count, small enough not to count as memory.
const BYTES: usize = 32 << 10;

/// A range of a source, of which some bytes are in memory.
pub(crate) struct Window<'s> {
    source: &'s dyn Source,
    position: u64,
    end: u64,
    bytes: Vec<u8>,
    /// How many of them have been consumed.
    used: usize,
}

impl<'s> Window<'s> {
    pub(crate) fn new(source: &'s dyn Source, range: Range<u64>) -> Self {
        Self { source, position: range.start, end: range.end, bytes: Vec::new(), used: 0 }
    }

    /// Offset of the next byte in the source.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes from here to the end of the range.
    pub(crate) fn remaining(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }

    /// Bytes read ahead; at least one, unless the range has ended.
    pub(crate) fn ready(&mut self) -> Result<&[u8], Problem> {
        let (offset, len) = (self.position, self.remaining().min(BYTES as u64));
        self.filled().map_err(|error| Problem::Io { offset, len, error })
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.used += n;
        self.position = self.position.saturating_add(n as u64);
    }

    /// Checks that the range is text. `what` names it in errors.
    pub(crate) fn check_utf8(mut self, what: &str) -> Result<(), Problem> {
        // A character may begin in one window and end in the next.
        let mut text = Vec::new();
        loop {
            let begin = self.position - text.len() as u64;
            let not_utf8 = |at: usize| Problem::NotUtf8 { what: what.to_owned(), offset: begin + at as u64 };
            let ready = self.ready()?;
            let n = ready.len();
            if n == 0 {
                return if text.is_empty() { Ok(()) } else { Err(not_utf8(0)) };
            }
            text.extend_from_slice(ready);
            self.consume(n);
            match std::str::from_utf8(&text) {
                Ok(_) => text.clear(),
                Err(e) if e.error_len().is_some() => return Err(not_utf8(e.valid_up_to())),
                Err(e) => drop(text.drain(..e.valid_up_to())),
            }
        }
    }

    fn filled(&mut self) -> io::Result<&[u8]> {
        if self.used >= self.bytes.len() {
            self.bytes.resize(self.remaining().min(BYTES as u64) as usize, 0);
            self.used = 0;
            self.source.read_at(self.position, &mut self.bytes)?;
        }
        Ok(&self.bytes[self.used..])
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let ready = self.filled()?;
        let n = ready.len().min(buf.len());
        buf[..n].copy_from_slice(&ready[..n]);
        self.consume(n);
        Ok(n)
    }
}
