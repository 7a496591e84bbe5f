//! Writing the data of declared tensors, in order, with padding. Shared by the writers.

use crate::{FormatError, Problem, TensorInfo};
use std::io::Write;

/// The data section of a file being written.
///
/// Give it the tensors' bytes in the order of declaration, in pieces of any size: it keeps count, pads
/// after each tensor, and [`TensorStream::finish`] refuses a file that is not complete. Write into an
/// [`AtomicFile`](crate::AtomicFile) so that an abandoned file leaves nothing behind.
#[derive(Debug)]
pub struct TensorStream<W> {
    out: W,
    file: String,
    alignment: u64,
    tensors: Vec<TensorInfo>,
    /// The tensor being written, and how much of it is.
    current: usize,
    written: u64,
    /// Bytes given to `out`, header included.
    offset: u64,
}

impl<W: Write> TensorStream<W> {
    pub(crate) fn new(out: W, file: String, alignment: u64, tensors: Vec<TensorInfo>) -> Self {
        Self { out, file, alignment, tensors, current: 0, written: 0, offset: 0 }
    }

    /// The declared tensors with the offsets they have in the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor that the next byte belongs to; `None` once all are written.
    pub fn current(&self) -> Option<&TensorInfo> {
        self.tensors.get(self.current)
    }

    /// Writes the next bytes, which may end within a tensor or span several.
    ///
    /// # Errors
    /// [`Problem::TooMuchData`] for bytes beyond the last tensor, [`Problem::Write`] where the output fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        match bytes.len() - self.write_some(bytes)? {
            0 => Ok(()),
            found => Err(self.error(Problem::TooMuchData { found: found as u64 })),
        }
    }

    /// Writes as many of the next bytes as the tensors take, and tells how many.
    pub(crate) fn write_some(&mut self, bytes: &[u8]) -> Result<usize, FormatError> {
        self.skip_complete()?;
        let mut rest = bytes;
        while let Some(t) = self.tensors.get(self.current).filter(|_| !rest.is_empty()) {
            let left = t.bytes.saturating_sub(self.written);
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let (head, tail) = rest.split_at(n);
            self.raw(head)?;
            self.written = self.written.saturating_add(n as u64);
            self.skip_complete()?;
            rest = tail;
        }
        Ok(bytes.len() - rest.len())
    }

    /// Checks that every tensor is complete, flushes and gives the output back.
    ///
    /// # Errors
    /// [`Problem::Unfinished`], [`Problem::Write`].
    pub fn finish(mut self) -> Result<W, FormatError> {
        self.skip_complete()?;
        if let Some(t) = self.tensors.get(self.current) {
            let (tensor, written, expected) = (t.name.to_string(), self.written, t.bytes);
            return Err(self.error(Problem::Unfinished { tensor, written, expected }));
        }
        match self.out.flush() {
            Ok(()) => Ok(self.out),
            Err(error) => Err(self.error(Problem::Write { offset: self.offset, error })),
        }
    }

    /// Moves past tensors that have all their bytes (an empty one has at once), padding after each.
    fn skip_complete(&mut self) -> Result<(), FormatError> {
        while self.tensors.get(self.current).is_some_and(|t| t.bytes == self.written) {
            let partial = self.offset % self.alignment;
            if partial != 0 {
                let zeros = [0u8; 256];
                let mut left = self.alignment - partial;
                while left > 0 {
                    let n = left.min(zeros.len() as u64);
                    self.raw(&zeros[..n as usize])?;
                    left -= n;
                }
            }
            self.current += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Writes bytes that belong to no tensor.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        if let Err(error) = self.out.write_all(bytes) {
            return Err(self.error(Problem::Write { offset: self.offset, error }));
        }
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn error(&self, problem: Problem) -> FormatError {
        FormatError::new(&self.file, problem)
    }
}
