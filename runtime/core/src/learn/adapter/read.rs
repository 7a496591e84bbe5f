//! Adapters from files.

use super::{Adapter, AdapterError, Factors, Layout};
use crate::error::Error;
use crate::load::open_file;
use crate::model::Model;
use std::path::Path;
use std::sync::Arc;
use tern_formats::Source;
use tern_formats::adapter::{self as format, LowRank, open_gguf, open_peft_dir};

impl Adapter {
    /// Reads an adapter for `model`: a GGUF file as llama.cpp takes it, or a PEFT folder.
    ///
    /// # Errors
    /// [`Error::Format`] for a file that is none, [`Error::Adapter`] for one that does not fit the model, [`Error::Io`].
    pub fn read(model: &Model, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::of(model, &open_peft_dir(path)?, false, &path.display().to_string());
        }
        let source = open_file(path, true).map_err(|error| Error::Io { path: path.display().to_string(), error })?;
        Self::read_gguf(model, Arc::from(source))
    }

    /// Reads an adapter in GGUF wherever its bytes are.
    ///
    /// # Errors
    /// As [`Adapter::read`].
    pub fn read_gguf(model: &Model, source: Arc<dyn Source>) -> Result<Self, Error> {
        let name = source.name().to_owned();
        Self::of(model, &open_gguf(source)?, true, &name)
    }

    fn of(model: &Model, file: &format::Adapter, gguf: bool, name: &str) -> Result<Self, Error> {
        let layout = Layout::of(model);
        let refuse = |what| Err(Error::from(AdapterError::Unsupported { file: name.to_owned(), what }));
        if !file.invocation_tokens.is_empty() {
            return refuse("an adapter that begins at certain tokens");
        }
        let architecture = file.architecture.clone().unwrap_or_else(|| layout.architecture().to_owned());
        let mut this = Self { architecture, factors: Vec::new() };
        for pair in &file.pairs {
            if pair.embedding {
                return refuse("an adapter of the embedding");
            }
            if pair.experts.is_some() {
                return refuse("an adapter of experts");
            }
            let all = factors(file, pair)?;
            let specs = layout.in_file(&pair.base, gguf);
            let rows: u64 = specs.iter().map(|s| s.shape[0]).sum();
            let Some(first) = specs.first() else {
                return Err(AdapterError::Tensor { tensor: pair.base.clone() }.into());
            };
            if [rows, first.shape[1]] != [pair.outputs, pair.inputs] {
                let (found, expected) = ([pair.outputs, pair.inputs], [rows, first.shape[1]]);
                return Err(AdapterError::Shape { tensor: pair.base.clone(), found, expected }.into());
            }
            for spec in specs {
                let place = spec.part.as_ref().map_or(0, |p| p.first);
                let mut part = all.part(&spec.gguf, place as usize, spec.shape[0] as usize);
                if !gguf {
                    part = layout.gguf_of_folder(&part);
                }
                this.factors.push(part);
            }
        }
        layout.check(&this)?;
        Ok(this)
    }
}

fn factors(file: &format::Adapter, pair: &LowRank) -> Result<Factors, Error> {
    let floats = |tensor: Option<&tern_formats::TensorInfo>| {
        let t = tensor.ok_or_else(|| Error::Internal { what: format!("{} has lost a factor", pair.base) })?;
        file.checkpoint.check_finite(t)?;
        let mut values = vec![0.0; t.elements() as usize];
        tern_quant::dequantize(t.dtype, &file.checkpoint.read(t)?, &mut values)
            .map_err(|e| Error::Internal { what: format!("{}: {e}", t.name) })?;
        Ok::<_, Error>(values)
    };
    Ok(Factors {
        tensor: pair.base.clone(),
        rank: pair.rank as usize,
        rows: pair.outputs as usize,
        columns: pair.inputs as usize,
        scale: pair.scale,
        a: floats(file.a(pair))?,
        b: floats(file.b(pair))?,
    })
}
