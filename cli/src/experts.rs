//! What is told about experts that stay in the file.

use crate::commands::inspect::size;
use serde::Serialize;
use tern::{Error, ExpertCache, Model};

/// The JSON form is an interface.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ExpertsUsed {
    pub cache_bytes: u64,
    pub file_bytes: u64,
    /// Uses of a matrix of an expert that was packed already, and of one that was not.
    pub hits: u64,
    pub misses: u64,
    /// Null without uses.
    pub hit_rate: Option<f64>,
    pub read_bytes: u64,
}

impl From<ExpertCache> for ExpertsUsed {
    fn from(c: ExpertCache) -> Self {
        let ExpertCache { cache_bytes, file_bytes, hits, misses, read_bytes } = c;
        Self { cache_bytes, file_bytes, hits, misses, hit_rate: c.hit_rate(), read_bytes }
    }
}

impl ExpertsUsed {
    /// What a model has counted since `before`, or since it was opened; `None` where no experts are on disk.
    pub fn since(model: &Model, before: Option<&ExpertCache>) -> Result<Option<Self>, Error> {
        let counted = model.expert_cache()?;
        Ok(counted.map(|now| before.map_or(now, |before| now.since(before)).into()))
    }
    /// For people: a rate, and what is behind it. `None` where nothing was counted, as with floats, which need no packing.
    pub fn told(&self) -> Option<(f64, String)> {
        let uses = self.hits + self.misses;
        let more = format!("of {uses} experts' matrices were packed; {} read for the others", size(self.read_bytes));
        Some((self.hit_rate?, more))
    }
    /// The same at the end of a line that tells other things; nothing where nothing was counted.
    pub fn added(used: Option<Self>) -> String {
        let told = used.and_then(|used| used.told());
        told.map_or_else(String::new, |(rate, more)| format!(", {:.1} % {more}", rate * 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told() {
        let counted = ExpertCache { cache_bytes: 10, file_bytes: 40, hits: 3, misses: 1, read_bytes: 2000 };
        let told = ExpertsUsed::from(counted).told();
        assert_eq!(told, Some((0.75, "of 4 experts' matrices were packed; 2.0 kB read for the others".to_owned())));
        let told = ExpertsUsed::added(Some(counted.into()));
        assert_eq!(told, ", 75.0 % of 4 experts' matrices were packed; 2.0 kB read for the others");
        assert_eq!(ExpertsUsed::from(ExpertCache::default()).told(), None);
        assert_eq!(ExpertsUsed::added(Some(ExpertCache::default().into())), "");
    }
}
