//! Experts that stay in the model's file, and how often they were in memory when they were needed.

use crate::backend::{Bound, Device, WeightInfo, WeightSpec};
use crate::error::Error;
use crate::graph::{ExternalKind, Graph, Op, Value};
use crate::load::{ModelFile, Resolved};
use crate::model::Fixed;
use std::collections::HashMap;
use std::sync::Arc;
use tern_abi::weight::usage::PAGED;

/// Where the experts of a mixture are. A model without experts is the same either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Experts {
    /// All in memory, in the backend's layout; floats where the file is mapped.
    #[default]
    Resident,
    /// In the mapped file. The backend packs an expert when it is first chosen and keeps what was chosen last. Results are the same
    /// bit for bit; how fast a token comes depends on how many of its experts are there. Floats need no packing: their pages
    /// come and go with the system. Nothing of an expert is looked at before it is chosen, so scales of ternary ones are not checked for
    /// NaN, which [`ModelOptions::check_finite`](crate::ModelOptions::check_finite) does.
    Paged {
        /// Bytes that packed experts take at most, shared out among the model's stacks of experts. Each has room for one expert at
        /// least; fewer bytes are refused.
        cache_bytes: u64,
    },
}

/// What became of experts that stay in the file, since the model was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpertCache {
    /// Bytes that packed experts take at most.
    pub cache_bytes: u64,
    /// Bytes of all experts in the file.
    pub file_bytes: u64,
    /// How often an op used a matrix of an expert that was packed already. In a step, each matrix counts once, for however many
    /// tokens.
    pub hits: u64,
    /// How often it had to be packed.
    pub misses: u64,
    /// Bytes of the file that were read to do so.
    pub read_bytes: u64,
}

impl ExpertCache {
    /// The share of uses for which nothing was packed; `None` without uses.
    pub fn hit_rate(&self) -> Option<f64> {
        let uses = self.hits + self.misses;
        (uses > 0).then(|| self.hits as f64 / uses as f64)
    }

    /// With what `other` has counted, too.
    pub fn and(&self, other: &Self) -> Self {
        let (hits, misses) = (self.hits + other.hits, self.misses + other.misses);
        Self { hits, misses, read_bytes: self.read_bytes + other.read_bytes, ..*self }
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(before.hits),
            misses: self.misses.saturating_sub(before.misses),
            read_bytes: self.read_bytes.saturating_sub(before.read_bytes),
            ..*self
        }
    }
}

/// The weights that stay in the file: bytes of each one's cache on each device, by name.
#[derive(Default)]
pub(crate) struct Paging(HashMap<String, Vec<u64>>);

/// Experts of one matrix on one device.
struct Stack {
    name: String,
    device: usize,
    experts: u64,
    /// Of one expert, packed.
    bytes: u64,
    /// Experts that it gets room for.
    room: u64,
}

impl Paging {
    /// Shares out the cache.
    ///
    /// # Errors
    /// [`Error::Paging`] where a stack of experts does not lie in a mapped file as it is used, [`Error::Memory`] where there is no
    /// room for one expert of each, backend errors.
    pub fn new(
        (file, resolved): (&ModelFile, &Resolved),
        graph: &Graph,
        (devices, used): (&[Arc<Device>], &[Vec<bool>]),
        experts: Experts,
    ) -> Result<Self, Error> {
        let Experts::Paged { cache_bytes } = experts else { return Ok(Self::default()) };
        let (mut paging, mut stacks) = (Self::default(), Vec::new());
        for (e, external) in graph.externals.iter().enumerate() {
            let (ExternalKind::Weight(usage), Some(t)) = (&external.kind, resolved.info(&external.name)) else {
                continue;
            };
            if !is_stack(graph, external.value) {
                continue;
            }
            if !resolved.lasting(file, &external.name)? {
                let what = match resolved.is_as_in_file(&external.name) {
                    true => "is in a file that is not mapped",
                    false => "is put together of what the folder has; convert it to GGUF",
                };
                return Err(Error::Paging { tensor: external.name.clone(), what });
            }
            paging.0.insert(external.name.clone(), vec![0; devices.len()]);
            for (d, device) in devices.iter().enumerate().filter(|(d, _)| used[*d][e]) {
                let (usage, cache_bytes) = (*usage | PAGED, u64::MAX);
                let spec = WeightSpec { name: &t.name, dtype: t.dtype.code(), shape: &t.shape, usage, cache_bytes };
                let layout = device.weight_layout(&spec, t.bytes, true)?;
                let count = t.shape.first().copied().unwrap_or(1).max(1);
                // Otherwise it needs no cache, or its bytes are copied as those of any weight.
                if layout.keeps_source && layout.resident_bytes > 0 {
                    let (name, bytes) = (external.name.clone(), layout.resident_bytes / count);
                    stacks.push(Stack { name, device: d, experts: count, bytes, room: 1 });
                }
            }
        }
        share(&mut stacks, cache_bytes)?;
        for s in stacks {
            if let Some(bytes) = paging.0.get_mut(&s.name).and_then(|all| all.get_mut(s.device)) {
                *bytes = s.room * s.bytes;
            }
        }
        Ok(paging)
    }

    /// Does this weight stay in the file?
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The weight called `name` in the graph, as a device is told of it.
    pub fn told<'a>(&self, name: &str, device: usize, spec: WeightSpec<'a>) -> WeightSpec<'a> {
        match self.0.get(name).and_then(|all| all.get(device)) {
            Some(&cache_bytes) => WeightSpec { usage: spec.usage | PAGED, cache_bytes, ..spec },
            None => spec,
        }
    }

    /// What has been counted; `None` where nothing stays in the file.
    pub fn count(&self, fixed: &Fixed, file_bytes: impl Fn(&str) -> u64) -> Result<Option<ExpertCache>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let file_bytes = self.0.keys().map(|name| file_bytes(name)).sum();
        let mut all = ExpertCache { file_bytes, ..ExpertCache::default() };
        for (_, bound) in fixed.iter().flatten().filter(|(name, _)| self.has(name)) {
            if let Bound::Weight(weight) = bound {
                let WeightInfo { resident_bytes, hits, misses, read_bytes, .. } = weight.info()?;
                all.cache_bytes += resident_bytes;
                all = all.and(&ExpertCache { hits, misses, read_bytes, ..all });
            }
        }
        Ok(Some(all))
    }
}

/// Is it matrices of experts?
fn is_stack(graph: &Graph, value: Value) -> bool {
    graph.nodes.iter().any(|n| matches!(n.op, Op::ExpertLinear) && n.inputs.get(1) == Some(&Some(value)))
}

/// Gives each stack room for one expert, and then each in turns for another, as long as there are bytes.
fn share(stacks: &mut [Stack], cache_bytes: u64) -> Result<(), Error> {
    let needed = stacks.iter().fold(0u64, |sum, s| sum.saturating_add(s.bytes));
    let Some(mut left) = cache_bytes.checked_sub(needed) else {
        let what = "one expert of each matrix in the cache".to_owned();
        return Err(Error::Memory { what, needed, available: cache_bytes, fits: 0 });
    };
    loop {
        let before = left;
        for s in stacks.iter_mut().filter(|s| s.room < s.experts) {
            if let Some(rest) = left.checked_sub(s.bytes) {
                (left, s.room) = (rest, s.room + 1);
            }
        }
        if left == before {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks(all: &[(u64, u64)]) -> Vec<Stack> {
        let stack = |&(experts, bytes)| Stack { name: String::new(), device: 0, experts, bytes, room: 1 };
        all.iter().map(stack).collect()
    }

    #[test]
    fn the_cache_is_shared_out_evenly_and_never_passed() {
        let rooms = |all: &[(u64, u64)], bytes| {
            let mut stacks = stacks(all);
            share(&mut stacks, bytes).unwrap();
            assert!(stacks.iter().map(|s| s.room * s.bytes).sum::<u64>() <= bytes);
            stacks.iter().map(|s| s.room).collect::<Vec<_>>()
        };
        assert_eq!(rooms(&[(8, 10), (8, 10), (8, 20)], 40), [1, 1, 1]);
        assert_eq!(rooms(&[(8, 10), (8, 10), (8, 20)], 99), [3, 2, 2]);
        assert_eq!(rooms(&[(8, 10), (8, 10), (8, 20)], 120), [3, 3, 3]);
        assert_eq!(rooms(&[(2, 10), (8, 10)], u64::MAX), [2, 8]);
        assert_eq!(rooms(&[], 0), [0; 0]);
        let error = share(&mut stacks(&[(8, 10), (8, 20)]), 29).unwrap_err();
        assert!(matches!(error, Error::Memory { needed: 30, available: 29, .. }), "{error}");
    }

    #[test]
    fn rates() {
        let cache = ExpertCache { hits: 3, misses: 1, read_bytes: 10, ..Default::default() };
        assert_eq!((cache.hit_rate(), ExpertCache::default().hit_rate()), (Some(0.75), None));
        let later = ExpertCache { hits: 5, misses: 1, read_bytes: 10, ..Default::default() };
        let between = ExpertCache { hits: 2, ..Default::default() };
        assert_eq!((later.since(&cache), between.and(&cache)), (between, later));
    }
}
