//! Checkpoints in several files with an index.

use super::Header;
use crate::json::{self, Pairs};
use crate::limits::{MAX_INDEX_BYTES, MAX_SHARDS, MAX_TENSORS};
use crate::names::NameIndex;
use crate::{Checkpoint, FormatError, Opener, Problem, Source};
use serde::Deserialize;
use std::sync::Arc;

/// The index's usual name.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// The index: where each tensor is. Its other fields (total size, and what tools add) are not needed.
#[derive(Deserialize)]
struct RawIndex {
    weight_map: Pairs<String>,
}

/// Opens the shards that an index names. Every tensor must be in exactly the shard where the index
/// places it, and every tensor of a shard in the index.
///
/// File names must be plain names: no separators, no `..`, so that an index cannot reach outside of
/// its folder. What a name leads to (a symbolic link, say) is the opener's business.
///
/// # Errors
/// [`Problem::UnsafeFileName`], [`Problem::NotInShard`], [`Problem::NotInIndex`], [`Problem::Duplicate`],
/// [`Problem::Open`], or as [`Header::read`] for a shard.
pub fn open_sharded(index: &dyn Source, open: &Opener<'_>) -> Result<Checkpoint, FormatError> {
    let fail = |problem| FormatError::new(index.name(), problem);
    let text = json::read_text(index, "the index", MAX_INDEX_BYTES)?;
    let raw: RawIndex = serde_json::from_str(&text).map_err(|e| fail(json::problem("the index", &e)))?;
    drop(text);
    let Pairs(places) = raw.weight_map;
    let found = places.len() as u64;
    if found > MAX_TENSORS {
        return Err(fail(Problem::TooMany { what: "tensors", found, limit: MAX_TENSORS }));
    }
    let by_name = NameIndex::build(&places, |p| &p.0)
        .map_err(|i| fail(Problem::Duplicate { what: "tensor", name: places[i].0.clone() }))?;

    let mut shards: Vec<&str> = places.iter().map(|p| p.1.as_str()).collect();
    shards.sort_unstable();
    shards.dedup();
    if shards.len() > MAX_SHARDS {
        let (found, limit) = (shards.len() as u64, MAX_SHARDS as u64);
        return Err(fail(Problem::TooMany { what: "shards", found, limit }));
    }
    for shard in &shards {
        if let Some(reason) = unsafe_name(shard) {
            return Err(fail(Problem::UnsafeFileName { name: (*shard).to_owned(), reason }));
        }
    }

    let mut tensors = Vec::new();
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    let mut seen = vec![false; places.len()];
    for (file, &shard) in shards.iter().enumerate() {
        let source = open(shard).map_err(|error| FormatError::new(shard, Problem::Open { error }))?;
        for mut tensor in Header::read(&*source)?.tensors {
            let place = by_name.find(&places, |p| &p.0, &tensor.name);
            match place.filter(|&i| places[i].1 == shard) {
                Some(i) => seen[i] = true,
                None => return Err(fail(Problem::NotInIndex { tensor: tensor.name, shard: shard.to_owned() })),
            }
            tensor.file = file;
            tensors.push(tensor);
        }
        sources.push(Arc::from(source));
    }
    if let Some(((tensor, shard), _)) = places.iter().zip(&seen).find(|(_, seen)| !**seen) {
        return Err(fail(Problem::NotInShard { tensor: tensor.clone(), shard: shard.clone() }));
    }
    Checkpoint::new(tensors, sources)
}

/// Why a name could mean anything but a file in the folder, on any platform.
pub(crate) fn unsafe_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name.len() > 255 {
        Some("is longer than 255 bytes")
    } else if name.starts_with('.') {
        Some("begins with a dot")
    } else if name.contains(['/', '\\', ':']) || name.chars().any(char::is_control) {
        Some("has a path separator, a colon or a control character")
    } else if !name.ends_with(".safetensors") {
        Some("does not end in .safetensors")
    } else {
        None
    }
}
