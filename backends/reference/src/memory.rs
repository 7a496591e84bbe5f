//! The plugin's own memory. Nothing here is ever a host pointer.

use crate::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A buffer.
#[derive(Debug)]
pub struct Memory {
    bytes: Mutex<Vec<u8>>,
    len: u64,
    used: Arc<AtomicU64>,
}

impl Memory {
    /// `len` zeros, counted in `used` while they live.
    pub fn new(len: u64, used: &Arc<AtomicU64>) -> Result<Self> {
        let out_of_memory = Error::OutOfMemory { bytes: len };
        let Ok(n) = usize::try_from(len) else { return Err(out_of_memory) };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(n).map_err(|_| out_of_memory)?;
        bytes.resize(n, 0);
        used.fetch_add(len, Ordering::Relaxed);
        Ok(Self { bytes: Mutex::new(bytes), len, used: Arc::clone(used) })
    }
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }
    /// Copies out `n` bytes from `offset`.
    pub fn get(&self, offset: u64, n: usize) -> Result<Vec<u8>> {
        let range = self.range(offset, n)?;
        Ok(self.lock()[range].to_vec())
    }
    /// Copies in.
    pub fn set(&self, offset: u64, src: &[u8]) -> Result<()> {
        let range = self.range(offset, src.len())?;
        self.lock()[range].copy_from_slice(src);
        Ok(())
    }
    /// Fills.
    pub fn fill(&self, offset: u64, n: u64, byte: u8) -> Result<()> {
        let n = usize::try_from(n).map_err(|_| Error::OutOfMemory { bytes: n })?;
        let range = self.range(offset, n)?;
        self.lock()[range].fill(byte);
        Ok(())
    }
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn range(&self, offset: u64, n: usize) -> Result<std::ops::Range<usize>> {
        let end = offset.checked_add(n as u64).filter(|&end| end <= self.len);
        // In range, so both fit a usize: the vector is that long.
        end.map(|end| offset as usize..end as usize).ok_or(Error::Internal("range outside a buffer"))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.used.fetch_sub(self.len, Ordering::Relaxed);
    }
}
