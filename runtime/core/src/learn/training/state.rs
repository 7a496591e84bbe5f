//! A training in a file: factors, the optimizer's state and the step, exactly. A safetensors file:
//!
//! ```text
//! __metadata__       tern.training: version; model fingerprint, settings, steps so far
//! NAME.lora_a, ...   F32, the factors as the banks have them: B turned round, rows of the weight as the graph has them
//! NAME.lora_a/m ...  I8, parts of the optimizer's state
//! ```

use super::Training;
use crate::error::Error;
use std::path::Path;
use std::sync::Arc;
use tern_formats::{AtomicFile, DType, Existing, FileSource, safetensors};

/// 1 had B as adapter files have it.
const VERSION: &str = "2";

impl Training {
    /// Settings that a state is only good for.
    fn settings(&self) -> Result<[(&'static str, String); 4], Error> {
        let o = &self.options;
        Ok([
            ("tern.training", VERSION.to_owned()),
            ("tern.model", self.model.fingerprint()?),
            ("tern.factors", format!("rank {}, alpha {}, rslora {}", o.rank, o.alpha, o.rslora)),
            ("tern.optimizer", o.optimizer.name().to_owned()),
        ])
    }

    /// Writes the state of the training to a file, from which [`Training::resume`] goes on as if it had not stopped. An existing file is
    /// replaced once the new one is complete.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`].
    pub fn save(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let failed = |error| Error::Io { path: path.display().to_string(), error };
        let mut writer = safetensors::Writer::new(path.display().to_string());
        for (key, value) in self.settings()? {
            writer.metadata(key, &value)?;
        }
        writer.metadata("tern.steps", &self.step.to_string())?;
        let mut data: Vec<Vec<u8>> = Vec::new();
        for (i, (name, values)) in self.factors.named().enumerate() {
            writer.tensor(name, DType::F32, [values.len() as u64])?;
            data.push(values.iter().flat_map(|v| v.to_le_bytes()).collect());
            for (part, bytes) in self.optimizer.state(i) {
                writer.tensor(format!("{name}/{part}"), DType::I8, [bytes.len() as u64])?;
                data.push(bytes);
            }
        }
        let mut body = writer.begin(AtomicFile::create(path, Existing::Replace).map_err(failed)?)?;
        for bytes in data {
            body.write(&bytes)?;
        }
        body.finish()?.commit().map_err(failed)
    }

    /// Takes a state that [`Training::save`] wrote. On an error the training is as it was.
    ///
    /// # Errors
    /// [`Error::TrainingFile`] where it is of another model or of other settings, or damaged; [`Error::Io`], [`Error::Format`].
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref().display().to_string();
        let failed = |error| Error::Io { path: path.clone(), error };
        let bad = |what: String| Error::TrainingFile { path: path.clone(), what };
        let file = safetensors::open(Arc::new(FileSource::open(&path).map_err(failed)?))?;
        let text = |key: &str| file.metadata.iter().find(|(k, _)| *k == key).map(|(_, v)| v.to_string());
        for (key, expected) in self.settings()? {
            let found = text(key).unwrap_or_default();
            if found != expected {
                return Err(bad(format!("{key} is {found:?}, this training's is {expected:?}")));
            }
        }
        let step = text("tern.steps").and_then(|s| s.parse().ok()).ok_or_else(|| bad("it has no steps".to_owned()))?;
        let read = |name: &str, len: usize| {
            let tensor = file.checkpoint.require(name)?;
            let bytes = file.checkpoint.read(tensor)?.into_owned();
            if bytes.len() == len {
                Ok(bytes)
            } else {
                Err(bad(format!("{name} has {} bytes, expected {len}", bytes.len())))
            }
        };
        let mut optimizer = self.options.optimizer.build(&self.factors.shapes());
        let mut factors = Vec::new();
        for (i, (name, values)) in self.factors.named().enumerate() {
            let bytes = read(name, values.len() * 4)?;
            factors.push(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect::<Vec<f32>>());
            let mut parts = optimizer.state(i);
            for (part, bytes) in &mut parts {
                *bytes = read(&format!("{name}/{part}"), bytes.len())?;
            }
            if !optimizer.restore(i, &parts) {
                return Err(bad(format!("the optimizer's state of {name} does not fit")));
            }
        }
        self.factors.named().zip(factors).for_each(|((_, to), from)| *to = from);
        (self.optimizer, self.step) = (optimizer, step);
        self.factors.upload()
    }
}
