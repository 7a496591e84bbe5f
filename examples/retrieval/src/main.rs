//! Prints the passages of a folder's texts that are nearest to a question.

use retrieval::Index;
use std::io::Write;
use std::path::PathBuf;

/// Passages that are printed.
const BEST: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: retrieval MODEL FOLDER QUESTION";
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or(usage);
    let (path, folder, question) = (next()?, PathBuf::from(next()?), next()?);

    let mut registry = tern::backend::Registry::new();
    registry.register(tern_cpu::entry)?;
    let model = tern::Runtime::new(registry).open(path, tern::ModelOptions::default())?;
    let index = Index::of(&model, &folder)?;
    let mut out = std::io::stdout();
    writeln!(out, "{} passages, {} of them new", index.passages.len(), index.fresh)?;
    for hit in index.search(&model, &question, BEST)? {
        writeln!(out, "\n{:.3}  {}\n{}", hit.score, hit.passage.file, hit.passage.text)?;
    }
    Ok(())
}
