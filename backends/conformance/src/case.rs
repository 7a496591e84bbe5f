//! One op with data: what a plugin is asked, and what the reference says.

use crate::answer::Answer;
use crate::host::{Device, HostError, OpSpec, Program, Role, StateSpec, TensorSpec};
use crate::params::words;
use tern_abi::dtype;
use tern_abi::graph::dim;
use tern_abi::ops::GRAD;
use tern_quant::DType;
use tern_reference::oracle::{Gradient, gradient};
use tern_reference::{Kernel, Kind, Meta, Signature, Value, Weight};

/// The data of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Real numbers, F32 on the plugin, F64 on the reference.
    Real(Vec<f32>),
    /// Real numbers that are F32 everywhere.
    Single(Vec<f32>),
    /// Integers.
    Int(Vec<i32>),
    /// A weight to prepare.
    Weight(DType, Vec<u8>),
    /// A state.
    State(StateSpec),
}

/// An input.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// What the outermost dimension is: one of [`dim`].
    pub lead: u32,
    /// The data.
    pub data: Data,
}

/// What a gradient case asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Backward {
    /// Per output of the op.
    pub seeds: Vec<Option<Vec<f32>>>,
    /// Per input of the op.
    pub wanted: Vec<bool>,
}

/// One op with data.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// The op and its parameters.
    pub kernel: Kernel,
    /// Its inputs.
    pub inputs: Vec<Option<Input>>,
    /// Sizes of dynamic dimensions.
    pub dims: [u64; dim::COUNT],
    /// A gradient instead of the op itself.
    pub backward: Option<Backward>,
}

/// Why a case could not be judged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants are")]
pub enum CaseError {
    #[error("the case itself is wrong: {0}")]
    Case(#[from] tern_reference::Error),
    #[error("the reference failed: {0}")]
    Reference(HostError),
    #[error(transparent)]
    Plugin(HostError),
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, CaseError>;

impl Input {
    fn dtype(&self, exact: bool) -> u32 {
        match &self.data {
            Data::Real(_) if exact => dtype::F64,
            Data::Real(_) | Data::Single(_) => dtype::F32,
            Data::Int(_) => dtype::I32,
            Data::Weight(dtype, _) => dtype.code(),
            // The unit is the plugin's own: opaque bytes.
            Data::State(_) => dtype::I8,
        }
    }
    fn role(&self, exact: bool) -> Role {
        let bytes = match &self.data {
            Data::Real(x) if exact => x.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect(),
            Data::Real(x) | Data::Single(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::Int(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::Weight(_, bytes) => return Role::Weight(bytes.clone()),
            Data::State(state) => return Role::State(state.clone()),
        };
        if self.lead == dim::FIXED { Role::Fixed(bytes) } else { Role::Input(bytes) }
    }
    fn meta(&self, exact: bool) -> Meta {
        let kind = match self.data {
            Data::Weight(..) => Kind::Weight,
            Data::State(_) => Kind::State,
            _ => Kind::Memory,
        };
        Meta { dtype: self.dtype(exact), shape: self.shape.clone(), kind }
    }
    fn spec(&self, exact: bool) -> TensorSpec {
        let mut dims = vec![dim::FIXED; self.shape.len()];
        dims[0] = self.lead;
        TensorSpec { dtype: self.dtype(exact), shape: self.shape.clone(), dims, role: self.role(exact) }
    }
    /// The values: real ones, or a weight dequantized.
    pub fn values(&self) -> Vec<f64> {
        match &self.data {
            Data::Real(x) | Data::Single(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Data::Int(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Data::Weight(dtype, bytes) => {
                let mut out = vec![0.0; self.shape.iter().product()];
                // Cases make their weights with the same crate, so lengths fit.
                let _ = tern_quant::dequantize(*dtype, bytes, &mut out);
                out.into_iter().map(f64::from).collect()
            }
            Data::State(_) => Vec::new(),
        }
    }
}

/// Input whose outermost dimension an op's outputs share.
fn leading(kernel: &Kernel) -> Option<usize> {
    match kernel {
        Kernel::Gather(_) | Kernel::Rows(_) => Some(1),
        Kernel::Sum(_) => None,
        _ => Some(0),
    }
}

impl Case {
    /// Name with the op's.
    pub fn title(&self) -> String {
        format!("{}{} {}", self.kernel.name(), if self.backward.is_some() { "'" } else { "" }, self.name)
    }
    /// Input `i`, if given.
    pub fn input(&self, i: usize) -> Option<&Input> {
        self.inputs.get(i).and_then(Option::as_ref)
    }
    /// Values of input `i`; empty where absent.
    pub fn values(&self, i: usize) -> Vec<f64> {
        self.input(i).map(Input::values).unwrap_or_default()
    }
    /// Shape of input `i`; empty where absent.
    pub fn shape(&self, i: usize) -> &[usize] {
        self.input(i).map_or(&[], |x| &x.shape)
    }
    /// Which input is `seq_start`.
    pub fn seq_start(&self) -> Option<usize> {
        match self.kernel {
            Kernel::Attention(_) => Some(5),
            Kernel::FastWeight(_) => Some(10),
            Kernel::ShortConv(_) => Some(4),
            _ => None,
        }
    }
    /// What the op yields.
    pub fn yields(&self, exact: bool) -> Result<Vec<Option<Meta>>> {
        let inputs = self.inputs.iter().map(|x| x.as_ref().map(|x| x.meta(exact))).collect();
        let sequences = Some(self.dims[dim::SEQUENCES as usize] as usize).filter(|&s| s > 0);
        Ok(self.kernel.infer(&Signature { op: self.kernel.name(), exact, sequences, inputs })?)
    }
    fn output_spec(&self, meta: &Meta) -> TensorSpec {
        let mut dims = vec![dim::FIXED; meta.shape.len()];
        if let Some(input) = leading(&self.kernel).and_then(|i| self.input(i)) {
            dims[0] = input.lead;
        }
        TensorSpec { dtype: meta.dtype, shape: meta.shape.clone(), dims, role: Role::Output }
    }

    /// The case as a program; `exact` is the F64 form for the reference. Also the tensors of its outputs.
    pub fn lower(&self, exact: bool) -> Result<(Program, Vec<Option<usize>>)> {
        let mut program = Program { dims: self.dims, ..Program::default() };
        let mut inputs: Vec<Option<usize>> = Vec::new();
        for input in &self.inputs {
            inputs.push(input.as_ref().map(|x| program.tensor(x.spec(exact))));
        }
        let yields = self.yields(exact)?;
        let mut outputs = Vec::new();
        let mut op = self.kernel.id();
        match &self.backward {
            None => {
                for meta in yields.iter().flatten() {
                    outputs.push(Some(match meta.kind {
                        // The state that goes in comes out.
                        Kind::State => inputs
                            .iter()
                            .flatten()
                            .copied()
                            .find(|&t| matches!(program.tensors[t].role, Role::State(_))),
                        _ => Some(program.tensor(self.output_spec(meta))),
                    }));
                }
            }
            Some(backward) => {
                op |= GRAD;
                inputs.resize(self.kernel.arity().0, None);
                for (meta, seed) in yields.iter().zip(&backward.seeds) {
                    inputs.push(match (meta, seed) {
                        (Some(meta), Some(seed)) => {
                            let mut spec = self.output_spec(meta);
                            let seed = Input { shape: vec![], lead: dim::TOKENS, data: Data::Real(seed.clone()) };
                            spec.role = seed.role(exact);
                            Some(program.tensor(spec))
                        }
                        _ => None,
                    });
                }
                for (i, input) in self.inputs.iter().enumerate() {
                    let wanted = backward.wanted.get(i).copied().unwrap_or(false);
                    outputs.push(Some(
                        input
                            .as_ref()
                            .filter(|_| wanted)
                            .map(|x| program.tensor(TensorSpec { role: Role::Output, ..x.spec(exact) })),
                    ));
                }
            }
        }
        let outputs: Vec<Option<usize>> = outputs.into_iter().flatten().collect();
        program.ops.push(OpSpec { op, params: words(&self.kernel), inputs, outputs: outputs.clone() });
        Ok((program, outputs))
    }

    /// What a plugin yields: its program's outcome, and which tensors are outputs.
    pub fn run(&self, device: &Device) -> Result<Answer> {
        let (program, outputs) = self.lower(false)?;
        let outcome = program.run(device).map_err(CaseError::Plugin)?;
        Ok(Answer::new(&program, &outputs, outcome))
    }

    /// The same with matrices of experts that stay where they are, and a cache of so many bytes for each.
    pub fn run_paged(&self, device: &Device, cache_bytes: u64) -> Result<Answer> {
        let (mut program, outputs) = self.lower(false)?;
        program.paged = Some(cache_bytes);
        let outcome = program.run(device).map_err(CaseError::Plugin)?;
        Ok(Answer::new(&program, &outputs, outcome))
    }

    /// What is right, from the reference in f64.
    pub fn expected(&self, reference: &Device) -> Result<Answer> {
        let (program, outputs) = self.lower(true)?;
        let outcome = program.run(reference).map_err(CaseError::Reference)?;
        Ok(Answer::new(&program, &outputs, outcome))
    }

    /// Gradients with magnitudes, from the reference's tape.
    pub fn gradients(&self) -> Result<Vec<Option<Gradient>>> {
        let Some(backward) = &self.backward else { return Ok(Vec::new()) };
        let weights = self.weights()?;
        let inputs = self.reference_inputs(&weights);
        let widen = |x: &Vec<f32>| x.iter().map(|&x| f64::from(x)).collect();
        let seeds: Vec<Option<Vec<f64>>> = backward.seeds.iter().map(|s| s.as_ref().map(widen)).collect();
        Ok(gradient(&self.kernel, &inputs, &seeds, &backward.wanted)?)
    }
    /// Prepared weights for [`Case::reference_inputs`].
    pub fn weights(&self) -> Result<Vec<Option<Weight>>> {
        let weight = |x: &Option<Input>| match x {
            Some(Input { shape, data: Data::Weight(dtype, bytes), .. }) => {
                Ok(Some(Weight::new("w", dtype.code(), shape, false, bytes)?))
            }
            _ => Ok(None),
        };
        self.inputs.iter().map(weight).collect()
    }
    /// Inputs as the reference's library takes them. States are left out.
    pub fn reference_inputs<'a>(&self, weights: &'a [Option<Weight>]) -> Vec<Option<Value<'a, f64>>> {
        let sequences = self.dims[dim::SEQUENCES as usize] as usize;
        let value = |(i, (x, weight)): (usize, (&Option<Input>, &'a Option<Weight>))| {
            let x = x.as_ref()?;
            Some(match (&x.data, weight) {
                (_, Some(weight)) => Value { shape: x.shape.clone(), data: tern_reference::Data::Weight(weight) },
                // The library takes the sequences that there are from it.
                (Data::Int(data), _) if self.seq_start() == Some(i) => {
                    Value::int(&[sequences + 1], data[..=sequences].to_vec())
                }
                (Data::Int(data), _) => Value::int(&x.shape, data.clone()),
                (Data::State(_), _) => return None,
                _ => Value::real(&x.shape, x.values()),
            })
        };
        self.inputs.iter().zip(weights).enumerate().map(value).collect()
    }
}
