//! Type ids that mean different things in different projects, told apart by what else the file says.
//!
//! The main evidence is size: tensors follow each other with less than an alignment of padding, so the distance to the
//! next one is the size that its writer gave a tensor. All tensors of an id must agree on one reading. Where several
//! readings fit, the architecture may decide; where nothing does, the file is refused with every reading named.

use super::header::ReadOptions;
use super::metadata::Metadata;
use super::types::supported;
use crate::layout::tensor_bytes;
use crate::{DType, Problem, TensorInfo};
use tern_quant::collisions::{Project, Reading, readings};
use tern_quant::i2_s::{self, Evidence, Verdict};

/// The dtype of a tensor whose id has several readings, until it is resolved. Until then [`TensorInfo::file`] is its id, which
/// is never 0; a list of such tensors would be more memory than their records justify.
///
/// Takes one byte per element, so that shapes are checked before anything is known.
pub(super) const PLACEHOLDER: DType = DType::I8;

/// What the data section says about a tensor's size.
#[derive(Clone, Copy)]
struct Room {
    /// Bytes to the next tensor, or to the end of the file.
    bytes: u64,
    /// Whether it is the last one, which a cut file lacks bytes of.
    last: bool,
}

/// Settles every open tensor's dtype and size. Offsets are still relative to the data section, which has `data_len` bytes.
pub(super) fn resolve(
    tensors: &mut [TensorInfo],
    metadata: &Metadata,
    (data_len, alignment): (u64, u64),
    options: ReadOptions,
) -> Result<(), Problem> {
    let Some(mut id) = tensors.iter().map(|t| t.file).find(|&id| id != 0) else { return Ok(()) };
    let mut order: Vec<u32> = (0..tensors.len() as u32).collect();
    order.sort_unstable_by_key(|&i| tensors.get(i as usize).map(|t| t.offset));
    loop {
        let members = Members { tensors, order: &order, id, data_len };
        let reading = choose(id, &members, metadata, alignment, options)?;
        let dtype = dtype(reading, &members, options)?;
        let mut next = None;
        for t in tensors.iter_mut().filter(|t| t.file != 0) {
            if t.file == id {
                t.bytes = tensor_bytes(&t.name, dtype, &t.shape, 1)?;
                (t.dtype, t.file) = (dtype, 0);
            } else {
                next = Some(t.file);
            }
        }
        match next {
            Some(next) => id = next,
            None => return Ok(()),
        }
    }
}

/// The tensors of an id, in the order of their data.
struct Members<'a> {
    tensors: &'a [TensorInfo],
    /// Of all tensors, open or not.
    order: &'a [u32],
    id: u32,
    data_len: u64,
}

impl<'a> Members<'a> {
    /// Each with the bytes up to what follows it.
    fn iter(&self) -> impl Iterator<Item = (&'a TensorInfo, Room)> {
        let at = |place: usize| self.order.get(place).and_then(|&i| self.tensors.get(i as usize));
        (0..self.order.len()).filter_map(move |place| {
            let (t, next) = (at(place)?, at(place + 1));
            let end = next.map_or(self.data_len, |t| t.offset);
            let room = Room { bytes: end.saturating_sub(t.offset), last: next.is_none() };
            (t.file == self.id).then_some((t, room))
        })
    }

    /// The first one's name, for messages.
    fn name(&self) -> String {
        self.iter().next().map_or_else(String::new, |(t, _)| t.name.to_string())
    }
}

/// The one reading that all tensors of an id allow.
fn choose(
    id: u32,
    members: &Members<'_>,
    metadata: &Metadata,
    alignment: u64,
    options: ReadOptions,
) -> Result<&'static Reading, Problem> {
    if let Some(reading) = readings(id).find(|r| options.ids_of == Some(r.project)) {
        return Ok(reading);
    }
    let fitting = |cut: bool| -> Vec<&Reading> {
        let fits = |r: &&Reading| {
            members.iter().all(|(t, room)| {
                r.bytes(t.elements()).is_some_and(|bytes| match room.bytes.checked_sub(bytes) {
                    Some(rest) => rest < alignment || (room.last && options.allow_trailing),
                    None => cut && room.last,
                })
            })
        };
        readings(id).filter(fits).collect()
    };
    // In a file that was cut the last tensor has too few bytes in any reading; the check of extents will say so.
    let fitting = Some(fitting(false)).filter(|f| !f.is_empty()).unwrap_or_else(|| fitting(true));
    // Readings of unknown size remain only where no other one fits.
    let unsized_ones = || readings(id).filter(|r| r.size.is_none()).collect();
    let possible: Vec<&Reading> = if fitting.is_empty() { unsized_ones() } else { fitting };
    let bitnet = matches!(metadata.str(super::ARCHITECTURE_KEY), Ok(Some(name)) if name.starts_with("bitnet"));
    let by_architecture = || possible.iter().find(|r| bitnet && r.project == Project::BitnetCpp);
    match (possible.as_slice(), members.iter().next()) {
        ([one], _) => Ok(one),
        (several, _) if !several.is_empty() && by_architecture().is_some() => {
            by_architecture().copied().ok_or_else(|| undecided(id, members, several))
        }
        ([], Some((t, room))) => Err(Problem::NoReading {
            tensor: t.name.to_string(),
            id,
            found: room.bytes,
            elements: t.elements(),
            readings: names(&readings(id).collect::<Vec<_>>()),
        }),
        (several, _) => Err(undecided(id, members, several)),
    }
}

fn undecided(id: u32, members: &Members<'_>, readings: &[&Reading]) -> Problem {
    let option = "whose ids they are (ReadOptions::ids_of)";
    Problem::AmbiguousDtype { tensor: members.name(), id, readings: names(readings), option }
}

/// The dtype that holds a reading.
fn dtype(reading: &Reading, members: &Members<'_>, options: ReadOptions) -> Result<DType, Problem> {
    let tensor = members.name();
    match (reading.dtypes, reading.project) {
        (&[dtype], _) => Ok(dtype),
        (&[], Project::GgmlRemoved) => Err(Problem::RemovedDtype { tensor, found: reading.id, name: reading.name }),
        (&[], _) => Err(Problem::UnsupportedDtype { tensor, found: names(&[reading]), supported: supported() }),
        _ => {
            let rows = members.iter().filter_map(|(t, _)| t.shape.last());
            let verdict = i2_s::weigh(rows.map(|&row_len| Evidence { row_len, codes: &[] }));
            match (options.i2_s_order, verdict) {
                (Some(order), _) => Ok(order.dtype()),
                (None, Verdict::X86) => Ok(DType::I2_S),
                (None, Verdict::Arm) => Ok(DType::I2_S_ARM),
                (None, Verdict::Undecided) => Err(Problem::AmbiguousDtype {
                    tensor,
                    id: reading.id,
                    readings: "I2_S in the block order of x86 or in that of ARM".to_owned(),
                    option: "which with the option for the I2_S order (--i2-s-order x86 or arm)",
                }),
            }
        }
    }
}

fn names(readings: &[&Reading]) -> String {
    let names: Vec<String> = readings.iter().map(|r| format!("{} of {}", r.name, r.project.name())).collect();
    names.join(" or ")
}
