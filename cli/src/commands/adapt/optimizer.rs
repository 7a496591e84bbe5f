//! `--optimizer`.

use tern::learn::OptimizerKind;

/// See [`OptimizerKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OptimizerArg {
    Adamw,
    Adamw8,
    Sgd,
    Muon,
}

impl From<OptimizerArg> for OptimizerKind {
    fn from(arg: OptimizerArg) -> Self {
        let (betas, eps, weight_decay) = ([0.9, 0.999], 1e-8, 0.0);
        match arg {
            OptimizerArg::Adamw => Self::AdamW { betas, eps, weight_decay },
            OptimizerArg::Adamw8 => Self::AdamW8 { betas, eps, weight_decay },
            OptimizerArg::Sgd => Self::Sgd { momentum: 0.9, weight_decay },
            OptimizerArg::Muon => Self::Muon { momentum: 0.95, weight_decay },
        }
    }
}
