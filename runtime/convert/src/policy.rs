//! Which type every tensor of a model gets.

use crate::error::ConvertError;
use crate::imatrix::Imatrix;
use crate::input::{Input, Rows, Tensor};
use crate::mix::{Mix, Site};
use crate::pattern::Pattern;
use crate::role::{Role, layer};
use std::collections::BTreeSet;
use tern_formats::DType;

/// What a user asks for.
#[derive(Default)]
pub struct Wish {
    /// The types; without one matrices stay as they are.
    pub mix: Option<&'static Mix>,
    /// One type for all matrices, no exceptions.
    pub pure: bool,
    /// Types for tensors by name; the first that matches counts, before everything else.
    pub keep: Vec<(Pattern, DType)>,
    /// May values that are rounded already be rounded again?
    pub allow_requantize: bool,
    /// How much every column of a matrix matters.
    pub imatrix: Option<Imatrix>,
}

/// What one tensor gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The tensor.
    pub name: String,
    /// Its elements.
    pub elements: u64,
    /// As it is.
    pub from: DType,
    /// As it will be.
    pub to: DType,
    /// What it would be if its rows were whole blocks of that type.
    pub wanted: DType,
    /// Bytes as it will be.
    pub bytes: u64,
    /// Is there a row of the importance matrix for it that the type can use?
    pub weighted: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Plan {
    /// In the order of the input's tensors.
    pub assignments: Vec<Assignment>,
    /// Patterns that match no tensor.
    pub unmatched: Vec<String>,
}

impl Plan {
    /// Decides for all tensors.
    ///
    /// # Errors
    /// [`ConvertError::Requantize`], [`ConvertError::NoType`], [`ConvertError::ImatrixSize`].
    pub fn new(input: &Input, wish: &Wish) -> Result<Self, ConvertError> {
        let model = Surroundings::new(input, wish.imatrix.is_some());
        let assign = |tensor: &Tensor| {
            let wanted = wanted(input, tensor, wish, &model);
            let to = fitting(wanted, tensor.row_len()).ok_or_else(|| ConvertError::NoType {
                tensor: tensor.name.clone(),
                dtype: tensor.dtype,
                row: tensor.row_len(),
                wanted,
            })?;
            if to != tensor.dtype && !convertible(tensor.dtype, to) && !wish.allow_requantize {
                return Err(ConvertError::Requantize { tensor: tensor.name.clone(), dtype: tensor.dtype });
            }
            let bytes = (tensor.row_bytes(to)? as u64).saturating_mul(tensor.row_count()) + to.tail_bytes() as u64;
            let weighted = to.is_quantized() && to != tensor.dtype && has_weights(tensor, wish)?;
            let (name, from) = (tensor.name.clone(), tensor.dtype);
            Ok(Assignment { name, elements: tensor.elements(), from, to, wanted, bytes, weighted })
        };
        let unmatched = wish.keep.iter().filter(|(p, _)| !input.tensors.iter().any(|t| p.matches(&t.name)));
        Ok(Self {
            assignments: input.tensors.iter().map(assign).collect::<Result<_, _>>()?,
            unmatched: unmatched.map(|(p, _)| p.text().to_owned()).collect(),
        })
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.assignments.iter().map(|a| a.bytes).fold(0, u64::saturating_add)
    }

    /// Tensors whose rows are not whole blocks of the type they should have, by type.
    pub fn fallbacks(&self) -> Vec<Fallback> {
        let mut found: Vec<Fallback> = Vec::new();
        for a in self.assignments.iter().filter(|a| a.to != a.wanted) {
            match found.iter_mut().find(|f| (f.wanted, f.to) == (a.wanted, a.to)) {
                Some(f) => f.tensors += 1,
                None => found.push(Fallback { wanted: a.wanted, to: a.to, tensors: 1, first: a.name.clone() }),
            }
        }
        found
    }
}

/// See [`Plan::fallbacks`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// What they should have.
    pub wanted: DType,
    /// What they get.
    pub to: DType,
    /// How many.
    pub tensors: usize,
    /// The first of them.
    pub first: String,
}

/// Does a conversion keep every value, or start from values that are not rounded to blocks?
///
/// Between ternary types that is checked when it is done.
fn convertible(from: DType, to: DType) -> bool {
    !from.is_quantized() || to == DType::F32 || (is_ternary(from) && is_ternary(to))
}

pub(crate) fn is_ternary(dtype: DType) -> bool {
    matches!(dtype, DType::TQ1_0 | DType::TQ2_0 | DType::I2_S | DType::I2_S_ARM)
}

fn wanted(input: &Input, tensor: &Tensor, wish: &Wish, model: &Surroundings) -> DType {
    // Numbers that are not weights stay what they are: tables of indices, say.
    if !(tensor.dtype.is_quantized() || matches!(tensor.dtype, DType::F32 | DType::F16 | DType::BF16)) {
        return tensor.dtype;
    }
    let kept = if input.format == "gguf" { tensor.dtype } else { DType::F32 };
    if tensor.shape.len() < 2 || matches!(tensor.rows, Rows::Computed(_)) {
        return kept;
    }
    if let Some((_, dtype)) = wish.keep.iter().find(|(p, _)| p.matches(&tensor.name)) {
        return *dtype;
    }
    let role = Role::of(&tensor.name, tensor.shape.len(), model.tied);
    match (role, wish.mix) {
        (Role::Kept, _) => kept,
        (_, None) => tensor.dtype,
        // From one ternary layout to another: the rest of the model is as it should be.
        (_, Some(mix)) if model.ternary && is_ternary(mix.base) => {
            if is_ternary(tensor.dtype) {
                mix.base
            } else {
                tensor.dtype
            }
        }
        (_, Some(mix)) if wish.pure => mix.base,
        (_, Some(mix)) if mix.name == "MXFP4_MOE" && tensor.shape.len() > 2 => DType::MXFP4,
        // A head with rows that do not fit gets the best type that does.
        (Role::Head, Some(mix)) if mix.head.is_quantized() && !tensor.row_len().is_multiple_of(256) => DType::Q8_0,
        (_, Some(mix)) => mix.choose(&model.site(&tensor.name, role)),
    }
}

/// The type itself, or one of at least as many bits whose blocks fit rows of `row` elements.
fn fitting(wanted: DType, row: u64) -> Option<DType> {
    let fits = |d: DType| row.is_multiple_of(d.block_len() as u64);
    if fits(wanted) {
        return Some(wanted);
    }
    let small = match wanted {
        DType::Q1_0 if fits(DType::Q2_0) => DType::Q2_0,
        DType::TQ1_0 | DType::TQ2_0 | DType::Q1_0 | DType::Q2_0 => DType::Q4_0,
        DType::NVFP4 => DType::IQ4_NL,
        DType::Q4_K => DType::Q5_0,
        DType::Q5_K => DType::Q5_1,
        DType::Q6_K | DType::Q8_K => DType::Q8_0,
        d if d.is_quantized() && d.block_len() == 256 => DType::IQ4_NL,
        _ => DType::F16,
    };
    Some(if fits(small) { small } else { DType::F16 })
}

/// Is there a part of the importance matrix for this tensor, and is it of this tensor?
fn has_weights(tensor: &Tensor, wish: &Wish) -> Result<bool, ConvertError> {
    let Some(entry) = wish.imatrix.as_ref().and_then(|m| m.get(&tensor.name)) else { return Ok(false) };
    let (found, expected) = (entry.sums.len() as u64, tensor.row_len().saturating_mul(tensor.experts()));
    if found == expected {
        return Ok(true);
    }
    Err(ConvertError::ImatrixSize { tensor: tensor.name.clone(), found, expected })
}

/// What the choice for a tensor needs to know of the rest of the model.
struct Surroundings {
    tied: bool,
    /// Does it have ternary matrices?
    ternary: bool,
    gqa: u64,
    experts: u64,
    imatrix: bool,
    /// Layers that have a matrix of each role.
    layers: Vec<(Role, BTreeSet<u64>)>,
}

impl Surroundings {
    fn new(input: &Input, imatrix: bool) -> Self {
        let tied = !input.tensors.iter().any(|t| t.name == "output.weight");
        let mut layers: Vec<(Role, BTreeSet<u64>)> = Vec::new();
        for t in &input.tensors {
            let Some(number) = layer(&t.name) else { continue };
            let role = Role::of(&t.name, t.shape.len(), tied);
            match layers.iter_mut().find(|l| l.0 == role) {
                Some(l) => _ = l.1.insert(number),
                None => layers.push((role, BTreeSet::from([number]))),
            }
        }
        let heads = input.hyper("attention.head_count");
        let gqa = heads.checked_div(input.hyper("attention.head_count_kv")).unwrap_or(1);
        let ternary = input.tensors.iter().any(|t| is_ternary(t.dtype));
        Self { tied, ternary, gqa, experts: input.hyper("expert_count"), imatrix, layers }
    }

    fn site(&self, name: &str, role: Role) -> Site {
        let layers = self.layers.iter().find(|l| l.0 == role).map(|l| &l.1);
        let number = layer(name).unwrap_or(0);
        Site {
            role,
            rank: layers.map_or(0, |l| l.range(..number).count()),
            count: layers.map_or(0, BTreeSet::len),
            gqa: self.gqa,
            experts: self.experts,
            imatrix: self.imatrix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_no_whole_blocks_get_at_least_the_bits() {
        let bits = |d: DType| d.block_bytes() as f64 * 8.0 / d.block_len() as f64;
        let k = DType::ALL.iter().filter(|d| d.is_quantized() && d.block_len() == 256);
        for &wanted in k {
            let to = fitting(wanted, 576).unwrap();
            assert!(576 % to.block_len() == 0 && (bits(to) >= bits(wanted) || to == DType::Q8_0), "{wanted} {to}");
            assert_eq!(fitting(wanted, 512), Some(wanted));
            assert_eq!(fitting(wanted, 40), Some(DType::F16));
        }
        assert_eq!(fitting(DType::Q4_0, 48), Some(DType::F16));
        assert_eq!([576, 96].map(|row| fitting(DType::Q1_0, row)), [Some(DType::Q2_0), Some(DType::Q4_0)]);
        assert_eq!([576, 96].map(|row| fitting(DType::NVFP4, row)), [Some(DType::NVFP4), Some(DType::IQ4_NL)]);
    }
}
