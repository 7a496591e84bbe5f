//! Type ids that mean different things in different projects.
//!
//! Forks of ggml took the next free ids for formats of their own, and ggml later gave the same ids
//! to others. The id alone cannot be trusted then. What can: the size a tensor has in the file, which
//! differs between most readings, and what else the file says. Where nothing decides, a reader
//! should refuse and name every reading in this table.

use crate::DType;

/// Who gives an id its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Project {
    /// ggml, as llama.cpp uses it.
    Ggml,
    /// ggml once, which then removed the type.
    GgmlRemoved,
    /// Microsoft's bitnet.cpp.
    BitnetCpp,
    /// PrismML's fork of llama.cpp, before ggml took the type over with another block length.
    PrismLegacy,
}

impl Project {
    /// For messages.
    pub const fn name(self) -> &'static str {
        match self {
            Project::Ggml => "ggml",
            Project::GgmlRemoved => "ggml before it removed the type",
            Project::BitnetCpp => "bitnet.cpp",
            Project::PrismLegacy => "PrismML's older fork of llama.cpp",
        }
    }
}

/// What one project means by a type id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The id in the file.
    pub id: u32,
    /// Who means this.
    pub project: Project,
    /// The project's name of the type.
    pub name: &'static str,
    /// The dtypes here that may hold it: none where this crate does not read it, two for I2_S, whose
    /// block order is a second question. See [`crate::i2_s`].
    pub dtypes: &'static [DType],
    /// How large a tensor is, or `None` where that depends on its shape.
    pub size: Option<Size>,
}

/// The size of a tensor: whole blocks and a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Elements per block.
    pub block_len: u64,
    /// Bytes per block.
    pub block_bytes: u64,
    /// Bytes after all blocks.
    pub tail: u64,
}

impl Reading {
    /// Bytes that a tensor of `elements` would take. `None` where the size depends on the shape, where
    /// the elements are no whole number of blocks, or where the size does not fit.
    pub const fn bytes(&self, elements: u64) -> Option<u64> {
        let Some(size) = self.size else { return None };
        if !elements.is_multiple_of(size.block_len) {
            return None;
        }
        match (elements / size.block_len).checked_mul(size.block_bytes) {
            Some(blocks) => blocks.checked_add(size.tail),
            None => None,
        }
    }
}

const fn reading(
    id: u32,
    project: Project,
    name: &'static str,
    dtypes: &'static [DType],
    size: Option<(u64, u64, u64)>,
) -> Reading {
    let size = match size {
        Some((block_len, block_bytes, tail)) => Some(Size { block_len, block_bytes, tail }),
        None => None,
    };
    Reading { id, project, name, dtypes, size }
}

/// Every reading of every id that has more than one, in order of id, ggml's own first.
pub const READINGS: &[Reading] = &[
    reading(36, Project::GgmlRemoved, "IQ4_NL_4_4", &[], Some((32, 18, 0))),
    reading(36, Project::BitnetCpp, "I2_S", &[DType::I2_S, DType::I2_S_ARM], Some((4, 1, 32))),
    reading(37, Project::GgmlRemoved, "IQ4_NL_4_8", &[], Some((32, 18, 0))),
    reading(37, Project::BitnetCpp, "I8_S", &[], None),
    reading(38, Project::GgmlRemoved, "IQ4_NL_8_8", &[], Some((32, 18, 0))),
    reading(38, Project::BitnetCpp, "TL1", &[], None),
    reading(39, Project::Ggml, "MXFP4", &[DType::MXFP4], Some((32, 17, 0))),
    reading(39, Project::BitnetCpp, "TL2", &[], None),
    reading(42, Project::Ggml, "Q2_0", &[DType::Q2_0], Some((64, 18, 0))),
    reading(42, Project::PrismLegacy, "Q2_0 in groups of 128", &[], Some((128, 34, 0))),
];

/// The readings of an id; none where all projects agree on it.
pub fn readings(id: u32) -> impl Iterator<Item = &'static Reading> {
    READINGS.iter().filter(move |r| r.id == id)
}
