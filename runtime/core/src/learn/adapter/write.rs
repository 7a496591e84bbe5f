//! Adapters to files.

use super::{Adapter, Factors, Layout};
use crate::error::Error;
use crate::model::Model;
use std::io::Write;
use std::path::Path;
use tern_formats::adapter::{LowRankSpec, PEFT_CONFIG, PEFT_WEIGHTS, gguf_writer, peft_config, peft_writer};
use tern_formats::{AtomicFile, DType, Existing, TensorStream, commit_all};

impl Adapter {
    /// Writes a GGUF file that llama.cpp takes as `--lora`. An existing file is replaced once the new one is complete.
    ///
    /// llama.cpp knows one alpha for all matrices; what differs from the first one's goes into B.
    ///
    /// # Errors
    /// [`Error::Adapter`] where it does not fit the model; [`Error::Io`], [`Error::Format`].
    pub fn write_gguf(&self, model: &Model, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let failed = |error| Error::Io { path: path.display().to_string(), error };
        let file = AtomicFile::create(path, Existing::Replace).map_err(failed)?;
        self.write_gguf_to(model, &path.display().to_string(), file)?.commit().map_err(failed)
    }

    /// The bytes of such a file.
    ///
    /// # Errors
    /// As [`Adapter::write_gguf`].
    pub fn to_gguf(&self, model: &Model) -> Result<Vec<u8>, Error> {
        self.write_gguf_to(model, "adapter", Vec::new())
    }

    fn write_gguf_to<W: std::io::Write>(&self, model: &Model, name: &str, to: W) -> Result<W, Error> {
        let mut pairs = self.in_file(model, true)?;
        let alpha = pairs.first().map_or(1.0, alpha);
        for f in &mut pairs {
            let factor = f.scale * f.rank as f32 / alpha;
            f.b.iter_mut().filter(|_| factor != 1.0).for_each(|v| *v *= factor);
            f.scale = alpha / f.rank as f32;
        }
        let specs: Vec<_> = pairs.iter().map(|f| LowRankSpec { alpha, ..spec(f) }).collect();
        let writer = gguf_writer(name, &self.architecture, &specs)?;
        write(writer.begin(to)?, &pairs)
    }

    /// Writes a PEFT folder for the model `base`, by its name on Hugging Face or its path.
    ///
    /// # Errors
    /// As [`Adapter::write_gguf`].
    pub fn write_peft(&self, model: &Model, folder: impl AsRef<Path>, base: &str) -> Result<(), Error> {
        let (folder, pairs) = (folder.as_ref(), self.in_file(model, false)?);
        let failed = |error| Error::Io { path: folder.display().to_string(), error };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let specs: Vec<_> = pairs.iter().map(spec).collect();
        let create = |name| AtomicFile::create(folder.join(name), Existing::Replace).map_err(failed);
        let mut config = create(PEFT_CONFIG)?;
        config.write_all(peft_config(base, &specs)?.as_bytes()).map_err(failed)?;
        let weights = write(peft_writer(PEFT_WEIGHTS, &specs)?.begin(create(PEFT_WEIGHTS)?)?, &pairs)?;
        commit_all(vec![weights, config]).map_err(failed)
    }

    /// Factors by the names of files, with their rows.
    fn in_file(&self, model: &Model, gguf: bool) -> Result<Vec<Factors>, Error> {
        let layout = Layout::of(model);
        layout.check(self)?;
        let mut done: Vec<Factors> = Vec::new();
        for f in &self.factors {
            let Some(place) = layout.spec(&f.tensor) else { continue };
            let tensor = place.name_in(gguf).to_owned();
            let own = Factors { tensor, ..if gguf { f.clone() } else { layout.to_folder(f) } };
            match &place.part {
                None => done.push(own),
                Some(part) => {
                    let (first, of) = (part.first as usize, part.of as usize);
                    match done.iter_mut().find(|d| d.tensor == own.tensor) {
                        Some(whole) => whole.join(&own, first),
                        None => {
                            let nothing = vec![0.0; of * own.rank];
                            let mut whole = Factors { rows: of, b: nothing, ..own.clone() };
                            whole.place(&own, first, 0, own.rank, 1.0);
                            done.push(whole);
                        }
                    }
                }
            }
        }
        Ok(done)
    }
}

impl Factors {
    /// Adds the factors of other rows: ranks add up.
    fn join(&mut self, part: &Self, first: usize) {
        let (old, rank) = (self.clone(), self.rank + part.rank);
        self.b = vec![0.0; self.rows * rank];
        self.place(&old, 0, 0, rank, 1.0);
        self.place(part, first, old.rank, rank, part.scale / old.scale);
        self.a.extend_from_slice(&part.a);
        // The scale is the factor of B A, so a larger rank does not change it.
        self.rank = rank;
    }

    /// Puts B of `part` at a row and a column of this one's, whose rows have `rank` numbers.
    fn place(&mut self, part: &Self, row: usize, column: usize, rank: usize, factor: f32) {
        let rows = self.b.chunks_exact_mut(rank).skip(row);
        for (to, from) in rows.zip(part.b.chunks_exact(part.rank)) {
            to.iter_mut().skip(column).zip(from).for_each(|(to, from)| *to = from * factor);
        }
    }
}

fn alpha(f: &Factors) -> f32 {
    f.scale * f.rank as f32
}

fn spec(f: &Factors) -> LowRankSpec {
    LowRankSpec {
        base: f.tensor.clone(),
        embedding: false,
        rank: f.rank as u64,
        inputs: f.columns as u64,
        outputs: f.rows as u64,
        alpha: alpha(f),
        dtype: DType::F32,
    }
}

fn write<W: Write>(mut body: TensorStream<W>, pairs: &[Factors]) -> Result<W, Error> {
    for f in pairs {
        for values in [&f.a, &f.b] {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            body.write(&bytes)?;
        }
    }
    Ok(body.finish()?)
}
