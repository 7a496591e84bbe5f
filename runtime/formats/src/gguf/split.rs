//! Models in several files, as llama.cpp's gguf-split writes them.
//!
//! Every part is a GGUF file of its own. `split.no` counts from 0, `split.count` and `split.tensors.count` are of the
//! whole model. Names end in `-00001-of-00003.gguf`, counting from 1. All other keys are in the first part, which may have no
//! tensors. A model that was merged again has a count of 0.
//!
//! Sources: `tools/gguf-split` and `src/llama-model-loader.cpp` of llama.cpp.

use super::header::{Gguf, Head, Header, ReadOptions, read_onto};
use super::metadata::Metadata;
use crate::limits::{MAX_SHARDS, MAX_TENSORS};
use crate::{Checkpoint, FormatError, Opener, Problem, Source};
use std::sync::Arc;

/// Which part a file is, from 0.
pub const SPLIT_NO_KEY: &str = "split.no";
/// How many parts there are.
pub const SPLIT_COUNT_KEY: &str = "split.count";
/// How many tensors all parts have together.
pub const SPLIT_TENSORS_KEY: &str = "split.tensors.count";

/// The file name of part `no`, from 0, of `count`.
pub fn part_name(prefix: &str, no: u64, count: u64) -> String {
    format!("{prefix}{}", ending(no, count))
}

fn ending(no: u64, count: u64) -> String {
    format!("-{:05}-of-{count:05}.gguf", no.saturating_add(1))
}

/// What a part says about the whole.
pub(super) struct Split {
    pub no: u64,
    pub count: u64,
    /// Always there in the first part.
    pub tensors: Option<u64>,
}

impl Split {
    /// `None` for a file that is a whole model; it has `found` tensors.
    pub(super) fn of(m: &Metadata, found: usize) -> Result<Option<Self>, FormatError> {
        let count = m.u64(SPLIT_COUNT_KEY)?.unwrap_or(0);
        if count == 0 {
            return Ok(None);
        }
        let limit = MAX_SHARDS as u64;
        if count > limit {
            return Err(FormatError::new(m.file(), Problem::TooMany { what: "parts", found: count, limit }));
        }
        let no = m.require_u64(SPLIT_NO_KEY)?;
        if no >= count {
            return Err(mismatch(m.file(), SPLIT_NO_KEY, no, format!("0 to {}", count - 1)));
        }
        let tensors = if no == 0 { Some(m.require_u64(SPLIT_TENSORS_KEY)?) } else { m.u64(SPLIT_TENSORS_KEY)? };
        if count == 1 {
            check(m.file(), SPLIT_TENSORS_KEY, tensors, found as u64)?;
            return Ok(None);
        }
        Ok(Some(Self { no, count, tensors }))
    }
}

/// Opens the model that `source` is, or is any one part of. `name` is its file name; the other parts are opened by the
/// names that follow from it, never by a name that a file states.
///
/// The first part's keys are the model's. A key of another part that the first one has too must have the same value; its
/// further keys are not used, as llama.cpp does not use them.
///
/// # Errors
/// As [`Header::read`] for each part; [`Problem::PartName`], [`Problem::Open`], [`Problem::PartMismatch`],
/// [`Problem::TooMany`], [`Problem::Duplicate`] for a tensor in two parts. The error's file is the part it is about.
pub fn open_split(
    source: Arc<dyn Source>,
    name: &str,
    open: &Opener<'_>,
    options: ReadOptions,
) -> Result<Gguf, FormatError> {
    let given = Header::read_with(&*source, options)?;
    let Some(Split { no, count, .. }) = Split::of(&given.metadata, given.tensors.len())? else {
        return given.open(source);
    };
    // It is read again in its turn: two lists of its tensors would be too much memory.
    drop(given);
    let expected = ending(no, count);
    let Some(prefix) = name.strip_suffix(&expected) else {
        return Err(FormatError::new(source.name(), Problem::PartName { part: no + 1, count, expected }));
    };
    let mut parts = Parts::default();
    for part in 0..count {
        let source = if part == no {
            Arc::clone(&source)
        } else {
            let name = part_name(prefix, part, count);
            Arc::from(open(&name).map_err(|error| FormatError::new(&name, Problem::Open { error }))?)
        };
        parts.add(source, options, part, count)?;
    }
    parts.finish()
}

/// The parts read so far.
#[derive(Default)]
struct Parts {
    first: Option<First>,
    tensors: Vec<crate::TensorInfo>,
    sources: Vec<Arc<dyn Source>>,
}

/// What the first part says.
struct First {
    version: u32,
    alignment: u64,
    metadata: Metadata,
    tensors: u64,
}

impl Parts {
    fn add(&mut self, source: Arc<dyn Source>, options: ReadOptions, no: u64, count: u64) -> Result<(), FormatError> {
        let before = self.tensors.len();
        let Head { version, alignment, metadata, .. } = read_onto(&mut self.tensors, &*source, options)?;
        let file = source.name();
        let own = self.tensors.get_mut(before..).unwrap_or_default();
        // A file that says it is whole says so by a count of 0 or 1, which is what differs then.
        let split = Split::of(&metadata, own.len())?.unwrap_or(Split { no, count: 1, tensors: None });
        check(file, SPLIT_COUNT_KEY, Some(split.count), count)?;
        check(file, SPLIT_NO_KEY, Some(split.no), no)?;
        own.iter_mut().for_each(|t| t.file = no as u32);
        let found = self.tensors.len() as u64;
        if found > MAX_TENSORS {
            return Err(FormatError::new(file, Problem::TooMany { what: "tensors", found, limit: MAX_TENSORS }));
        }
        match &self.first {
            Some(first) => {
                check(file, SPLIT_TENSORS_KEY, split.tensors, first.tensors)?;
                first.agrees(&metadata)?;
            }
            None => {
                let tensors = split.tensors.unwrap_or(0);
                self.first = Some(First { version, alignment, metadata, tensors });
            }
        }
        self.sources.push(source);
        Ok(())
    }

    fn finish(mut self) -> Result<Gguf, FormatError> {
        self.tensors.shrink_to_fit();
        // There is at least one part: a split model has two.
        let Some(First { version, alignment, metadata, tensors }) = self.first else {
            return Err(FormatError::new("split model", Problem::Empty));
        };
        check(metadata.file(), SPLIT_TENSORS_KEY, Some(tensors), self.tensors.len() as u64)?;
        let metadata = metadata.without(&[SPLIT_NO_KEY, SPLIT_COUNT_KEY, SPLIT_TENSORS_KEY])?;
        Ok(Gguf { version, alignment, metadata, checkpoint: Checkpoint::new(self.tensors, self.sources)? })
    }
}

impl First {
    /// Refuses a part whose keys contradict the first part's.
    fn agrees(&self, part: &Metadata) -> Result<(), FormatError> {
        // Alignment is of a file, not of a model; the other keys of splitting have been checked.
        let own = [super::ALIGNMENT_KEY, SPLIT_NO_KEY, SPLIT_COUNT_KEY, SPLIT_TENSORS_KEY];
        for (key, found) in part.entries().filter(|(key, _)| !own.contains(key)) {
            match self.metadata.get(key) {
                Some(expected) if expected != found => {
                    return Err(mismatch(part.file(), key, found.brief(), expected.brief()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn check(file: &str, key: &str, found: Option<u64>, expected: u64) -> Result<(), FormatError> {
    match found {
        Some(found) if found != expected => Err(mismatch(file, key, found, expected)),
        _ => Ok(()),
    }
}

fn mismatch(file: &str, key: &str, found: impl ToString, expected: impl ToString) -> FormatError {
    let (key, found, expected) = (key.to_owned(), found.to_string(), expected.to_string());
    FormatError::new(file, Problem::PartMismatch { key, found, expected })
}
