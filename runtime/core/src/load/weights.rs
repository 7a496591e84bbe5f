//! Tensors on their way into a device.

use super::ModelFile;
use super::stored::{Resolved, Stored};
use crate::backend::{Bound, CancelFlag, Device, WeightSpec};
use crate::error::Error;
use crate::experts::Paging;
use crate::graph::{ExternalKind, Graph};
use crate::models::Computed;
use std::collections::HashMap;
use std::sync::Arc;
use tern_abi::dtype::F64;

/// What a graph's fixed slots are bound to.
pub struct Loaded {
    /// For each device, weights and constants by name.
    pub fixed: Vec<HashMap<String, Bound>>,
    /// Device memory that weights and constants take. Weights that the device uses where the file is mapped take none:
    /// their pages are the system's, which can drop them and read them again.
    pub resident_bytes: u64,
}

/// Where weights go.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// Lists them.
    pub graph: &'a Graph,
    /// Constants that are computed rather than read, by name.
    pub computed: &'a HashMap<String, Computed>,
    /// The devices.
    pub devices: &'a [Arc<Device>],
    /// For each, which of the graph's externals it needs.
    pub used: &'a [Vec<bool>],
    /// Experts that stay in the file.
    pub paging: &'a Paging,
}

/// Tensors after which what was released is released again: a page that is read brings its neighbours with it (on some systems
/// several hundred kilobytes), those of the tensor before among them.
const SWEEP: usize = 16;

/// Prepares every weight on the devices that need it and uploads the constants. `progress` gets bytes done and in all.
///
/// # Errors
/// [`Error::Cancelled`], format and backend errors.
pub fn load(
    file: &ModelFile,
    resolved: &Resolved,
    to: Destination<'_>,
    cancel: &CancelFlag,
    progress: &dyn Fn(u64, u64),
) -> Result<Loaded, Error> {
    let Destination { graph, computed, devices, used, paging } = to;
    let stored = |name: &str| -> Result<&Stored, Error> {
        let missing = || Error::MissingTensor { file: file.path.clone(), tensor: name.to_owned() };
        resolved.stored.get(name).ok_or_else(missing)
    };
    let total: u64 = graph.externals.iter().filter_map(|e| Some(resolved.info(&e.name)?.bytes)).sum();
    let mut done = 0;
    let mut constants: Vec<Constants> = devices.iter().map(|_| Constants::default()).collect();
    let mut loaded = Loaded { fixed: vec![HashMap::new(); devices.len()], resident_bytes: 0 };
    let mut copied = Vec::new();
    for (e, external) in graph.externals.iter().enumerate() {
        let places = || (0..devices.len()).filter(|&d| used[d][e]);
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match external.kind {
            ExternalKind::Weight(usage) => {
                let stored = stored(&external.name)?;
                let t = &stored.info;
                let is_paged = paging.has(&external.name);
                if !is_paged {
                    stored.sources().iter().try_for_each(|t| file.checkpoint.check_scales(t))?;
                }
                let (dtype, cache_bytes) = (t.dtype.code(), 0);
                let spec = WeightSpec { name: &t.name, dtype, shape: &t.shape, usage, cache_bytes };
                // Until it is released it is in memory, too; what stays in the file is not even looked at.
                let _source = devices[0].budget().take(if is_paged { 0 } else { stored.source_bytes() });
                let mut keeps_source = false;
                for d in places() {
                    let spec = paging.told(&external.name, d, spec);
                    let shared = if stored.is_as_in_file() { file.checkpoint.share(t)? } else { None };
                    let weight = match shared {
                        Some(bytes) => devices[d].prepare_shared(&spec, Arc::new(bytes), cancel)?,
                        None => devices[d].prepare(&spec, &stored.read(file)?, cancel)?,
                    };
                    let info = weight.info()?;
                    keeps_source |= info.keeps_source;
                    loaded.resident_bytes += info.resident_bytes;
                    loaded.fixed[d].insert(external.name.clone(), Bound::Weight(Arc::new(weight)));
                }
                if !keeps_source {
                    // Its own copy serves from here on; mapped pages would count as ours otherwise.
                    let sources = stored.sources();
                    sources.iter().for_each(|t| file.checkpoint.release(t));
                    copied.extend(sources);
                    if copied.len() >= SWEEP {
                        copied.drain(..).for_each(|t| file.checkpoint.release(t));
                    }
                }
                done += t.bytes;
            }
            ExternalKind::Constant => {
                let values = match computed.get(&external.name) {
                    Some(c) => divided(c, |name| stored(name)?.floats(file))?,
                    None => {
                        let stored = stored(&external.name)?;
                        done += stored.info.bytes;
                        stored.floats(file)?
                    }
                };
                for d in places() {
                    constants[d].add(&external.name, graph.info(external.value).dtype, &values);
                }
            }
            ExternalKind::Input | ExternalKind::State(_) => {}
        }
        progress(done, total);
    }
    copied.into_iter().for_each(|t| file.checkpoint.release(t));
    for (d, constants) in constants.into_iter().enumerate() {
        loaded.resident_bytes += constants.bytes.len() as u64;
        loaded.fixed[d].extend(constants.upload(&devices[d])?);
    }
    Ok(loaded)
}

fn divided(c: &Computed, vector: impl Fn(&str) -> Result<Vec<f32>, Error>) -> Result<Vec<f32>, Error> {
    let Some(name) = &c.divisors else { return Ok(c.values.clone()) };
    Ok(c.values.iter().zip(vector(name)?).map(|(v, d)| v / d).collect())
}

/// Constants side by side in one buffer.
#[derive(Default)]
pub struct Constants {
    bytes: Vec<u8>,
    places: Vec<(String, usize, usize)>,
}

/// Bytes that a constant of so many elements takes.
pub fn constant_bytes(elements: u64) -> u64 {
    elements.saturating_mul(4).next_multiple_of(ALIGN as u64)
}

/// Bytes between constants: enough for any device's binding alignment that we know.
const ALIGN: usize = 256;

impl Constants {
    /// Adds one, as f32 or f64.
    pub fn add(&mut self, name: &str, dtype: u32, values: &[f32]) {
        let start = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(start, 0);
        if dtype == F64 {
            self.bytes.extend(values.iter().flat_map(|&v| f64::from(v).to_le_bytes()));
        } else {
            self.bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        }
        self.places.push((name.to_owned(), start, self.bytes.len() - start));
    }

    /// Uploads all.
    pub fn upload(self, device: &Arc<Device>) -> Result<Vec<(String, Bound)>, Error> {
        let buffer = Arc::new(device.alloc(self.bytes.len().max(1) as u64)?);
        buffer.write(0, &self.bytes)?;
        Ok(self
            .places
            .into_iter()
            .map(|(name, at, len)| (name, Bound::Buffer(Arc::clone(&buffer), at as u64, len as u64)))
            .collect())
    }
}
