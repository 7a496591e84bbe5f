//! A model's fingerprint: a hash of its files, made when it is first asked for.
//!
//! A tree of two levels: leaves of 1 MiB, hashed by several threads, and the hash of their hashes. BLAKE3 at both
//! (O'Connor et al., 2020).

use crate::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tern_formats::{FormatError, Problem, Source};

const LEAF: u64 = 1 << 20;
/// More threads than this gain little: memory is the limit.
const MAX_THREADS: usize = 4;

/// What a fingerprint is made of.
pub struct Identity {
    /// Texts that decide how the files are read: a configuration.
    pub texts: Vec<String>,
    /// The files.
    pub sources: Vec<Arc<dyn Source>>,
}

impl Identity {
    /// The hash.
    ///
    /// # Errors
    /// [`Error::Format`] where a file cannot be read any more.
    pub fn hash(&self) -> Result<[u8; 32], Error> {
        let mut top = blake3::Hasher::new();
        for text in &self.texts {
            top.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        for source in &self.sources {
            top.update(&source.len().to_le_bytes());
            for leaf in leaves(&**source)? {
                top.update(&leaf);
            }
        }
        Ok(*top.finalize().as_bytes())
    }
}

fn leaves(source: &dyn Source) -> Result<Vec<[u8; 32]>, Error> {
    let count = source.len().div_ceil(LEAF);
    let leaves = Mutex::new(vec![[0; 32]; count as usize]);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || -> Result<(), FormatError> {
        let mut buffer = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count || failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let (offset, len) = (i * LEAF, LEAF.min(source.len() - i * LEAF));
            let hash = match source.slice(offset, len) {
                Some(bytes) => blake3::hash(bytes),
                None => {
                    buffer.resize(len as usize, 0);
                    source.read_at(offset, &mut buffer).map_err(|error| {
                        failed.store(true, Ordering::Relaxed);
                        FormatError::new(source.name(), Problem::Io { offset, len, error })
                    })?;
                    blake3::hash(&buffer)
                }
            };
            source.release(offset, len);
            leaves.lock().unwrap_or_else(PoisonError::into_inner)[i as usize] = *hash.as_bytes();
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(MAX_THREADS).min(count as usize);
    let results: Vec<Result<(), FormatError>> = if threads < 2 || cfg!(target_family = "wasm") {
        vec![work()]
    } else {
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            // A panic there is one here: there is no code of a caller's in it.
            others.into_iter().map(|t| t.join().unwrap_or(Ok(()))).chain([own]).collect()
        })
    };
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(leaves.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// As text.
pub fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_formats::{BytesSource, FileSource};

    fn of(bytes: &[u8]) -> [u8; 32] {
        let sources: Vec<Arc<dyn Source>> = vec![Arc::new(BytesSource::new("bytes", bytes.to_vec()))];
        Identity { texts: vec!["a".into()], sources }.hash().unwrap()
    }

    #[test]
    fn every_byte_counts_and_the_way_of_reading_does_not() {
        let mut bytes: Vec<u8> =
            (0..(5 * LEAF / 2) as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let whole = of(&bytes);
        let path = std::env::temp_dir().join(format!("tern-fingerprint-{}", std::process::id()));
        std::fs::write(&path, &bytes).unwrap();
        let sources: Vec<Arc<dyn Source>> = vec![Arc::new(FileSource::open(&path).unwrap())];
        assert_eq!(Identity { texts: vec!["a".into()], sources }.hash().unwrap(), whole);
        std::fs::remove_file(&path).unwrap();
        for at in [0, LEAF as usize, bytes.len() - 1] {
            bytes[at] ^= 1;
            assert_ne!(of(&bytes), whole);
            bytes[at] ^= 1;
        }
        assert_eq!(of(&bytes), whole);
        assert_ne!(of(&bytes[..bytes.len() - 1]), whole);
    }
}
