//! Checkpoints in several files with an index.

use super::header::read_onto;
use crate::json;
use crate::limits::{MAX_INDEX_BYTES, MAX_SHARDS, MAX_TENSORS};
use crate::{Checkpoint, FormatError, Opener, Problem, Source, StringPairs, strings};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::sync::Arc;

/// The index's usual name.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// Opens the shards that an index names. Every tensor must be in exactly the shard where the index
/// places it, and every tensor of a shard in the index.
///
/// File names must be plain names: no separators, no `..`, so that an index cannot reach outside of
/// its folder. What a name leads to (a symbolic link, say) is the opener's business.
///
/// # Errors
/// [`Problem::UnsafeFileName`], [`Problem::NotInShard`], [`Problem::NotInIndex`], [`Problem::Duplicate`],
/// [`Problem::Open`], or as [`Header::read`](super::Header::read) for a shard.
pub fn open_sharded(index: &dyn Source, open: &Opener<'_>) -> Result<Checkpoint, FormatError> {
    let fail = |problem| FormatError::new(index.name(), problem);
    let places = weight_map(index).map_err(fail)?;
    let found = places.len() as u64;
    if found > MAX_TENSORS {
        return Err(fail(Problem::TooMany { what: "tensors", found, limit: MAX_TENSORS }));
    }
    let by_name = places.index("tensor").map_err(fail)?;
    let shards = shards(&places).map_err(fail)?;
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
        let before = tensors.len();
        read_onto(&mut tensors, &*source)?;
        for tensor in tensors.iter_mut().skip(before) {
            let place = places.find(&by_name, &tensor.name);
            match place.filter(|&i| places.get(i).is_some_and(|(_, at)| at == shard)) {
                Some(i) => seen[i] = true,
                None => {
                    let (tensor, shard) = (tensor.name.to_string(), shard.to_owned());
                    return Err(fail(Problem::NotInIndex { tensor, shard }));
                }
            }
            tensor.file = file as u32;
        }
        sources.push(Arc::from(source));
    }
    if let Some(((tensor, shard), _)) = places.iter().zip(&seen).find(|(_, seen)| !**seen) {
        return Err(fail(Problem::NotInShard { tensor: tensor.to_owned(), shard: shard.to_owned() }));
    }
    tensors.shrink_to_fit();
    Checkpoint::new(tensors, sources)
}

/// The names of the files that an index puts tensors into, sorted.
fn shards(places: &StringPairs) -> Result<Vec<&str>, Problem> {
    let at = |i: &u32| places.get(*i as usize).map(|(_, shard)| shard);
    let mut order: Vec<u32> = (0..places.len() as u32).collect();
    order.sort_unstable_by_key(at);
    order.dedup_by_key(|i| at(i));
    if order.len() > MAX_SHARDS {
        return Err(Problem::TooMany { what: "shards", found: order.len() as u64, limit: MAX_SHARDS as u64 });
    }
    Ok(order.iter().filter_map(at).collect())
}

/// Where the index says that each tensor is.
fn weight_map(index: &dyn Source) -> Result<StringPairs, Problem> {
    const WHAT: &str = "the index";
    let found = index.len();
    if found > MAX_INDEX_BYTES {
        return Err(Problem::TooLong { what: WHAT, offset: 0, found, limit: MAX_INDEX_BYTES });
    }
    let mut places = None;
    json::read_streamed(index, WHAT, 0..found, Index(&mut places))?;
    Ok(places.unwrap_or_default())
}

/// The index's `weight_map`. Its other fields (total size, and what tools add) are not needed.
struct Index<'a>(&'a mut Option<StringPairs>);

impl<'de> DeserializeSeed<'de> for Index<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Index<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        const FIELD: &str = "weight_map";
        while let Some(name) = map.next_key::<String>()? {
            if name != FIELD {
                map.next_value::<IgnoredAny>()?;
            } else if self.0.is_some() {
                return Err(A::Error::duplicate_field(FIELD));
            } else {
                map.next_value_seed(strings::Members(self.0.insert(StringPairs::default())))?;
            }
        }
        self.0.as_ref().map(drop).ok_or_else(|| A::Error::missing_field(FIELD))
    }
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
