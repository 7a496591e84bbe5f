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

/// A tensor whose id has several readings: its place in the list, and the id. Until it is resolved its dtype is
/// [`PLACEHOLDER`].
pub(super) type Open = (usize, u32);

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
    open: &[Open],
    metadata: &Metadata,
    (data_len, alignment): (u64, u64),
    options: ReadOptions,
) -> Result<(), Problem> {
    if open.is_empty() {
        return Ok(());
    }
    let rooms = rooms(tensors, data_len);
    let mut ids: Vec<u32> = open.iter().map(|&(_, id)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let members: Vec<(&TensorInfo, Room)> = open
            .iter()
            .filter(|o| o.1 == id)
            .filter_map(|&(i, _)| Some((tensors.get(i)?, rooms.get(i).copied()?)))
            .collect();
        let Some(&(first, _)) = members.first() else { continue };
        let reading = choose(id, &members, metadata, alignment, options)?;
        let dtype = dtype(reading, first, &members, options)?;
        for &(i, _) in open.iter().filter(|o| o.1 == id) {
            if let Some(t) = tensors.get_mut(i) {
                t.bytes = tensor_bytes(&t.name, dtype, &t.shape, 1)?;
                t.dtype = dtype;
            }
        }
    }
    Ok(())
}

/// For each tensor, the bytes up to the next one.
fn rooms(tensors: &[TensorInfo], data_len: u64) -> Vec<Room> {
    let offset = |i: &usize| tensors.get(*i).map_or(0, |t| t.offset);
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_unstable_by_key(offset);
    let mut rooms = vec![Room { bytes: 0, last: false }; tensors.len()];
    for (at, i) in order.iter().enumerate() {
        let next = order.get(at + 1);
        let end = next.map_or(data_len, offset);
        if let Some(room) = rooms.get_mut(*i) {
            *room = Room { bytes: end.saturating_sub(offset(i)), last: next.is_none() };
        }
    }
    rooms
}

/// The one reading that all tensors of an id allow.
fn choose(
    id: u32,
    members: &[(&TensorInfo, Room)],
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
    match (possible.as_slice(), members) {
        ([one], _) => Ok(one),
        (several, _) if !several.is_empty() && by_architecture().is_some() => {
            by_architecture().copied().ok_or_else(|| undecided(id, members, several))
        }
        ([], [(t, room), ..]) => Err(Problem::NoReading {
            tensor: t.name.clone(),
            id,
            found: room.bytes,
            elements: t.elements(),
            readings: names(&readings(id).collect::<Vec<_>>()),
        }),
        (several, _) => Err(undecided(id, members, several)),
    }
}

fn undecided(id: u32, members: &[(&TensorInfo, Room)], readings: &[&Reading]) -> Problem {
    let tensor = members.first().map(|(t, _)| t.name.clone()).unwrap_or_default();
    Problem::AmbiguousDtype {
        tensor,
        id,
        readings: names(readings),
        option: "whose ids they are (ReadOptions::ids_of)",
    }
}

/// The dtype that holds a reading.
fn dtype(
    reading: &Reading,
    first: &TensorInfo,
    members: &[(&TensorInfo, Room)],
    options: ReadOptions,
) -> Result<DType, Problem> {
    let tensor = first.name.clone();
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
