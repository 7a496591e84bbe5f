//! Banks of factors on devices: what a graph's matrices take beside their weights, for a few adapters at a time.

use crate::backend::{Bound, Buffer, Device};
use crate::error::Error;
use crate::learn::{Factors, Layout};
use crate::models::{AdapterBanks, bank_names, inputs};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes between banks: enough for any device's binding alignment that we know.
const ALIGN: u64 = 256;

/// Banks with their memory, the same on each device.
pub struct Banks {
    shape: AdapterBanks,
    buffers: Vec<Arc<Buffer>>,
    /// Offset and length of each constant in bytes.
    places: BTreeMap<String, (u64, u64)>,
}

impl Banks {
    /// Zeroed banks; the scale of each adapter in them is 0, so that they do nothing.
    ///
    /// # Errors
    /// Backend errors; memory that is not there.
    pub fn new(devices: &[Arc<Device>], layout: &Layout<'_>, shape: AdapterBanks) -> Result<Self, Error> {
        let (places, bytes) = places(layout, &shape);
        let buffers = devices.iter().map(|d| Ok(Arc::new(d.alloc(bytes.max(1))?))).collect::<Result<_, Error>>()?;
        Ok(Self { shape, buffers, places })
    }

    /// Bytes that such banks take on a device.
    pub fn bytes(layout: &Layout<'_>, shape: &AdapterBanks) -> u64 {
        places(layout, shape).1
    }

    /// What they hold.
    pub fn shape(&self) -> &AdapterBanks {
        &self.shape
    }

    /// The constants by name, for each device.
    pub fn bound(&self) -> Vec<HashMap<String, Bound>> {
        let bind = |buffer: &Arc<Buffer>| {
            let each = self.places.iter();
            each.map(|(name, &(at, len))| (name.clone(), Bound::Buffer(Arc::clone(buffer), at, len))).collect()
        };
        self.buffers.iter().map(bind).collect()
    }

    /// Writes adapter number `slot`: `factors` in the graph's rows. The matrices of the banks that it does not name get zeros.
    pub fn write(&self, slot: u64, factors: &[Factors]) -> Result<(), Error> {
        for tensor in &self.shape.targets {
            let own = factors.iter().find(|f| f.tensor == *tensor);
            let [a, b] = bank_names(tensor);
            let length = |name: &str| self.places.get(name).map_or(0, |p| p.1 / 4 / self.shape.count.max(1)) as usize;
            let (mut wide_a, mut wide_b) = (vec![0.0; length(&a)], vec![0.0; length(&b)]);
            if let Some(f) = own {
                wide_a.iter_mut().zip(&f.a).for_each(|(to, from)| *to = *from);
                wide_b.iter_mut().zip(turned(&f.b, f.rank)).for_each(|(to, from)| *to = from * f.scale);
            }
            self.put(&a, slot, &wide_a)?;
            self.put(&b, slot, &wide_b)?;
        }
        self.put(inputs::ADAPTER_SCALE, slot, &[1.0])
    }

    /// Writes one constant's part of adapter number `slot`.
    pub fn put(&self, name: &str, slot: u64, values: &[f32]) -> Result<(), Error> {
        let missing = || Error::Internal { what: format!("no bank {name} with room for adapter {slot}") };
        let &(at, len) = self.places.get(name).ok_or_else(missing)?;
        let part = len / self.shape.count.max(1);
        if slot >= self.shape.count || values.len() as u64 * 4 != part {
            return Err(missing());
        }
        self.buffers.iter().try_for_each(|b| Ok(b.write_f32(at + slot * part, values)?))
    }
}

/// The transpose of a matrix of so many columns: from B as files have it, a row per row of the weight, to banks, and back.
pub fn turned(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns.max(1);
    let mut turned = vec![0.0; rows * columns];
    for (r, row) in matrix.chunks_exact(columns.max(1)).enumerate() {
        row.iter().enumerate().for_each(|(c, &v)| turned[c * rows + r] = v);
    }
    turned
}

/// Every constant's place, and the bytes of all.
fn places(layout: &Layout<'_>, shape: &AdapterBanks) -> (BTreeMap<String, (u64, u64)>, u64) {
    let (mut places, mut end) = (BTreeMap::new(), 0u64);
    let mut add = |name: String, elements: u64| {
        let bytes = elements.saturating_mul(4);
        places.insert(name, (end, bytes));
        end = end.saturating_add(bytes).next_multiple_of(ALIGN);
    };
    add(inputs::ADAPTER_SCALE.to_owned(), shape.count);
    for spec in shape.targets.iter().filter_map(|t| layout.spec(t)) {
        let [a, b] = bank_names(&spec.gguf);
        let per_rank = shape.count.saturating_mul(shape.rank);
        add(a, per_rank.saturating_mul(spec.shape[1]));
        add(b, per_rank.saturating_mul(spec.shape[0]));
    }
    (places, end)
}
