//! The commands, one file each.

pub mod adapt;
pub mod batch;
pub mod bench;
pub mod chat;
pub mod convert;
pub mod create;
pub mod delta;
pub mod demo;
pub mod doctor;
pub mod embed;
pub mod imatrix;
pub mod inspect;
pub mod plan;
pub mod quantize;
pub mod run;
pub mod score;
pub mod tokenize;

use crate::args::{Cli, Command};
use crate::failure::Result;
use crate::interrupt;

/// Runs what was asked for.
pub fn run(cli: &Cli) -> Result<()> {
    interrupt::listen()?;
    match &cli.command {
        Command::Demo(args) => demo::demo(&cli.backend, args),
        Command::Chat(args) => chat::chat(&cli.backend, args),
        Command::Run(args) => run::run(&cli.backend, args),
        Command::Batch(args) => batch::batch(&cli.backend, args),
        Command::Score(args) => score::score(&cli.backend, args),
        Command::Embed(args) => embed::embed(&cli.backend, args),
        Command::Bench(args) => bench::bench(&cli.backend, args),
        Command::Tokenize(args) => tokenize::tokenize(&cli.backend, args),
        Command::Inspect(args) => inspect::inspect(&cli.backend, args),
        Command::Plan(args) => plan::plan(&cli.backend, args),
        Command::Quantize(args) => quantize::quantize(&cli.backend, args),
        Command::Imatrix(args) => imatrix::imatrix(&cli.backend, args),
        Command::Convert(args) => convert::convert(&cli.backend, args),
        Command::Create(args) => create::create(&cli.backend, args),
        Command::Adapt(args) => adapt::adapt(&cli.backend, args),
        Command::Delta(args) => delta::delta(&cli.backend, args),
        Command::Doctor(args) => doctor::doctor(&cli.backend, args),
    }
}
