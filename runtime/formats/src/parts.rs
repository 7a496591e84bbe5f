//! Writing a model as several files, with its data as one stream. Shared by the writers.

use crate::stream::TensorStream;
use crate::{FormatError, Problem, TensorInfo};
use std::fmt;
use std::io::{self, Write};

/// One of the files.
#[derive(Debug)]
pub(crate) struct Part {
    pub name: String,
    /// All that precedes the data.
    pub header: Vec<u8>,
    pub alignment: u64,
    /// With offsets in the file.
    pub tensors: Vec<TensorInfo>,
}

/// Several files being written one after the other. `create` makes each when its turn comes; give it the tensors' bytes in
/// the order of declaration, in pieces of any size, as a [`TensorStream`].
pub struct PartStream<W, C> {
    create: C,
    /// In reverse order.
    waiting: Vec<Part>,
    current: Option<TensorStream<W>>,
    done: Vec<W>,
    /// Of the last file begun, for messages.
    name: String,
}

impl<W: Write, C: FnMut(&str) -> io::Result<W>> PartStream<W, C> {
    pub(crate) fn new(mut parts: Vec<Part>, create: C) -> Self {
        parts.reverse();
        Self { create, waiting: parts, current: None, done: Vec::new(), name: String::new() }
    }

    /// Writes the next bytes, which may end within a tensor or span several, and several files.
    ///
    /// # Errors
    /// [`Problem::TooMuchData`] for bytes beyond the last tensor, [`Problem::Create`], [`Problem::Write`].
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), FormatError> {
        while !bytes.is_empty() {
            let Some(current) = &mut self.current else {
                if self.next()? {
                    continue;
                }
                return Err(FormatError::new(&self.name, Problem::TooMuchData { found: bytes.len() as u64 }));
            };
            let taken = current.write_some(bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            if !bytes.is_empty() {
                self.close()?;
            }
        }
        Ok(())
    }

    /// Checks that every tensor is complete, flushes, and gives the outputs in the order of the files.
    ///
    /// # Errors
    /// [`Problem::Unfinished`], [`Problem::Create`], [`Problem::Write`].
    pub fn finish(mut self) -> Result<Vec<W>, FormatError> {
        self.close()?;
        // A last part without data, and one whose tensors lack all of theirs.
        while self.next()? {
            self.close()?;
        }
        Ok(self.done)
    }

    /// Begins the next file; `false` where there is none.
    fn next(&mut self) -> Result<bool, FormatError> {
        let Some(part) = self.waiting.pop() else { return Ok(false) };
        let out = (self.create)(&part.name).map_err(|error| FormatError::new(&part.name, Problem::Create { error }))?;
        self.name.clone_from(&part.name);
        let mut stream = TensorStream::new(out, part.name, part.alignment, part.tensors);
        stream.raw(&part.header)?;
        self.current = Some(stream);
        Ok(true)
    }

    fn close(&mut self) -> Result<(), FormatError> {
        if let Some(stream) = self.current.take() {
            self.done.push(stream.finish()?);
        }
        Ok(())
    }
}

impl<W, C> fmt::Debug for PartStream<W, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartStream({} files done, {} to come)", self.done.len(), self.waiting.len())
    }
}

/// Where to begin a new file.
#[derive(Clone, Copy, Debug)]
pub struct PartLimit {
    /// Bytes of tensor data per file; a larger tensor has a file to itself.
    pub bytes: u64,
    /// Tensors per file.
    pub tensors: u64,
}

impl PartLimit {
    /// No file with more than this many bytes of data.
    pub fn bytes(bytes: u64) -> Self {
        Self { bytes, tensors: u64::MAX }
    }

    /// No file with more than this many tensors.
    pub fn tensors(tensors: u64) -> Self {
        Self { bytes: u64::MAX, tensors }
    }

    /// Divides tensors among files, in order; at least one file.
    pub(crate) fn divide(self, tensors: Vec<TensorInfo>) -> Vec<Vec<TensorInfo>> {
        let mut files = vec![Vec::new()];
        let mut bytes = 0u64;
        for t in tensors {
            let count = files.last().map_or(0, Vec::len) as u64;
            if count > 0 && (count >= self.tensors || bytes.saturating_add(t.bytes) > self.bytes) {
                files.push(Vec::new());
                bytes = 0;
            }
            bytes = bytes.saturating_add(t.bytes);
            if let Some(file) = files.last_mut() {
                file.push(t);
            }
        }
        files
    }
}
