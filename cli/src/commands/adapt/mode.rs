//! `--mode`.

use tern::learn::Mode;

/// See [`Mode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ModeArg {
    Lora,
    State,
}

impl From<ModeArg> for Mode {
    fn from(arg: ModeArg) -> Self {
        match arg {
            ModeArg::Lora => Self::Lora,
            ModeArg::State => Self::State,
        }
    }
}
