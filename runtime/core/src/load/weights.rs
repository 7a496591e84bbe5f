//! Tensors on their way into a device.

use super::ModelFile;
use crate::backend::{Bound, CancelFlag, Device, WeightSpec};
use crate::error::Error;
use crate::graph::{ExternalKind, Graph};
use crate::models::{Computed, TensorTable};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tern_abi::dtype::F64;
use tern_formats::TensorInfo;

/// The tensors of a file that an architecture knows, by GGUF name.
pub struct Resolved {
    /// Element type codes.
    pub dtypes: HashMap<String, u32>,
    /// Where they are: index into the checkpoint's tensors.
    infos: HashMap<String, usize>,
}

impl Resolved {
    /// The tensor with this GGUF name.
    pub fn info<'a>(&self, file: &'a ModelFile, name: &str) -> Option<&'a TensorInfo> {
        file.checkpoint.tensors().get(*self.infos.get(name)?)
    }
}

/// Tensors that some exporters add and that hold nothing of the model.
const IGNORED: &[&str] = &["rotary_emb.inv_freq", "attn.masked_bias", "attn_rot_embd"];

/// Matches a file's tensors with `table`: names, shapes, nothing missing, nothing unknown.
///
/// # Errors
/// [`Error::MissingTensor`], [`Error::ExtraTensor`], [`Error::TensorShape`].
pub fn resolve(file: &ModelFile, table: &TensorTable) -> Result<Resolved, Error> {
    let gguf = file.format == "gguf";
    let positions: HashMap<&str, usize> =
        file.checkpoint.tensors().iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
    let mut resolved = Resolved { dtypes: HashMap::new(), infos: HashMap::new() };
    let mut known = HashSet::new();
    for spec in &table.specs {
        let name = if gguf { &spec.gguf } else { &spec.hf };
        let Some(&i) = positions.get(name.as_str()) else {
            if spec.optional {
                continue;
            }
            return Err(Error::MissingTensor { file: file.path.clone(), tensor: name.clone() });
        };
        let info = &file.checkpoint.tensors()[i];
        if info.shape != spec.shape {
            let (found, expected) = (info.shape.clone(), spec.shape.clone());
            return Err(Error::TensorShape { file: file.path.clone(), tensor: name.clone(), found, expected });
        }
        known.insert(i);
        resolved.dtypes.insert(spec.gguf.clone(), info.dtype.code());
        resolved.infos.insert(spec.gguf.clone(), i);
    }
    let extra = file
        .checkpoint
        .tensors()
        .iter()
        .enumerate()
        .find(|(i, t)| !known.contains(i) && !IGNORED.iter().any(|n| t.name.contains(n)));
    match extra {
        Some((_, t)) => Err(Error::ExtraTensor { file: file.path.clone(), tensor: t.name.clone() }),
        None => Ok(resolved),
    }
}

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
    let Destination { graph, computed, devices, used } = to;
    let info = |name: &str| -> Result<&TensorInfo, Error> {
        resolved
            .info(file, name)
            .ok_or_else(|| Error::MissingTensor { file: file.path.clone(), tensor: name.to_owned() })
    };
    let total: u64 = graph.externals.iter().filter_map(|e| Some(info(&e.name).ok()?.bytes)).sum();
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
                let t = info(&external.name)?;
                file.checkpoint.check_scales(t)?;
                let spec = WeightSpec { name: &t.name, dtype: t.dtype.code(), shape: &t.shape, usage };
                // Until it is released it is in memory, too.
                let _source = devices[0].budget().take(t.bytes);
                let mut keeps_source = false;
                for d in places() {
                    let weight = match file.checkpoint.share(t)? {
                        Some(bytes) => devices[d].prepare_shared(&spec, Arc::new(bytes), cancel)?,
                        None => devices[d].prepare(&spec, &file.checkpoint.read(t)?, cancel)?,
                    };
                    let info = weight.info()?;
                    keeps_source |= info.keeps_source;
                    loaded.resident_bytes += info.resident_bytes;
                    loaded.fixed[d].insert(external.name.clone(), Bound::Weight(Arc::new(weight)));
                }
                if !keeps_source {
                    // Its own copy serves from here on; mapped pages would count as ours otherwise.
                    file.checkpoint.release(t);
                    copied.push(t);
                    if copied.len() == SWEEP {
                        copied.drain(..).for_each(|t| file.checkpoint.release(t));
                    }
                }
                done += t.bytes;
            }
            ExternalKind::Constant => {
                let values = match computed.get(&external.name) {
                    Some(c) => divided(c, |name| vector(file, info(name)?))?,
                    None => {
                        let t = info(&external.name)?;
                        done += t.bytes;
                        vector(file, t)?
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

/// A tensor as floats.
fn vector(file: &ModelFile, t: &TensorInfo) -> Result<Vec<f32>, Error> {
    let bytes = file.checkpoint.read(t)?;
    let mut values = vec![0.0; t.elements() as usize];
    tern_quant::dequantize(t.dtype, &bytes, &mut values)
        .map_err(|e| Error::Internal { what: format!("{}: {e}", t.name) })?;
    Ok(values)
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
