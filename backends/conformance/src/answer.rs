//! What a case yields.

use crate::host::{Outcome, Program};
use tern_abi::dtype;

/// Outputs of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Real outputs, in f64 whatever they were; empty for integer outputs and states.
    pub real: Vec<Vec<f64>>,
    /// Integer outputs; empty for the rest.
    pub int: Vec<Vec<i32>>,
    /// Everything bit by bit, for invariance.
    pub bits: Outcome,
}

impl Answer {
    pub(crate) fn new(program: &Program, outputs: &[Option<usize>], bits: Outcome) -> Self {
        let (mut real, mut int) = (Vec::new(), Vec::new());
        for output in outputs {
            let (mut r, mut i) = (Vec::new(), Vec::new());
            if let Some(t) = *output {
                let bytes = &bits.outputs[t];
                match program.tensors[t].dtype {
                    dtype::I32 => i = bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect(),
                    dtype::F64 => r = bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
                    dtype::F32 => {
                        r = bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect();
                    }
                    _ => {}
                }
            }
            real.push(r);
            int.push(i);
        }
        Self { real, int, bits }
    }
    /// Canonical state units, if the case has a state.
    pub fn state(&self) -> &[Vec<u8>] {
        self.bits.states.iter().find(|s| !s.is_empty()).map_or(&[], Vec::as_slice)
    }
}
