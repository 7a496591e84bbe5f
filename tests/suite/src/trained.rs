//! A small model that a test trains whole, by means of what there is for adapters: factors are trained beside its matrices, what they have
//! learned is added to these, and so again and again.

use crate::{converted, runtime};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::learn::{Example, Training, TrainingOptions};
use tern::{CancelFlag, Model, ModelOptions};
use tern_convert::Creation;
use tern_formats::gguf::{self, Metadata};
use tern_formats::{DType, FileSource};

/// The model's numbers in single precision, and a file that has them.
pub struct Trained {
    /// The GGUF file.
    pub path: PathBuf,
    /// Changes a tensor's numbers, by its name, on the way into the file; what is trained stays as it is.
    pub written: fn(&str, &mut [f32]),
    /// That it is trained with.
    pub threads: u32,
    metadata: Metadata,
    tensors: Vec<(String, Vec<u64>, Vec<f32>)>,
}

impl Trained {
    /// A random model of a configuration, in `folder`. Bytes are tokens, and so are `words`, each with what is before it in a text.
    pub fn new(folder: &Path, config: &str, words: &[String], written: fn(&str, &mut [f32])) -> Self {
        let (stated, made) = (folder.join("small.json"), folder.join("made"));
        std::fs::write(&stated, config).unwrap();
        Creation::new(&stated, None, DType::F32, 5).unwrap().write(&made, true, &CancelFlag::new()).unwrap();
        add_words(&made.join("tokenizer.json"), words);
        let start = converted(&made, &folder.join("start.gguf"));
        let file = gguf::open(Arc::new(FileSource::open(start).unwrap())).unwrap();
        let read = |t: &tern_formats::TensorInfo| {
            let mut values = vec![0.0; t.elements() as usize];
            tern_quant::dequantize(t.dtype, &file.checkpoint.read(t).unwrap(), &mut values).unwrap();
            (t.name.to_string(), t.shape.to_vec(), values)
        };
        let tensors = file.checkpoint.tensors().iter().map(read).collect();
        Self { path: folder.join("trained.gguf"), written, threads: 2, metadata: file.metadata.clone(), tensors }
    }

    /// Changes the numbers of tensors, by name.
    pub fn change(&mut self, change: impl Fn(&str, &mut [f32])) {
        self.tensors.iter_mut().for_each(|(name, _, values)| change(name, values));
    }

    /// Writes the file.
    pub fn write(&self) {
        let mut writer = gguf::Writer::new(self.path.display().to_string());
        for (key, value) in self.metadata.entries() {
            writer.key(key, value).unwrap();
        }
        for (name, shape, _) in &self.tensors {
            writer.tensor(name, DType::F32, shape.clone()).unwrap();
        }
        let mut body = writer.begin(std::fs::File::create(&self.path).unwrap()).unwrap();
        for (name, _, values) in &self.tensors {
            let mut values = values.clone();
            (self.written)(name, &mut values);
            body.write(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        }
        body.finish().unwrap();
    }

    /// The model as it is now.
    pub fn open(&self) -> Model {
        self.write();
        let options = ModelOptions { backend: Some("cpu".into()), threads: self.threads, ..Default::default() };
        runtime().open(&self.path, options).unwrap_or_else(|e| panic!("{}: {e}", self.path.display()))
    }

    /// A few steps on what `batch` gives, after which the factors are added to the matrices. The mean loss.
    pub fn round(
        &mut self,
        options: TrainingOptions,
        steps: usize,
        mut batch: impl FnMut(&Model) -> Vec<Example>,
    ) -> f64 {
        let model = self.open();
        let mut training = Training::new(&model, options).unwrap();
        let loss: f64 = (0..steps).map(|_| training.step(&batch(&model)).unwrap().loss).sum();
        for f in training.adapter().factors {
            let found = self.tensors.iter_mut().find(|(name, ..)| *name == f.tensor);
            let (_, _, values) = found.unwrap_or_else(|| panic!("no {}", f.tensor));
            for (row, b) in values.chunks_exact_mut(f.columns).zip(f.b.chunks_exact(f.rank)) {
                for (&b, a) in b.iter().zip(f.a.chunks_exact(f.columns)) {
                    row.iter_mut().zip(a).for_each(|(v, &a)| *v += f.scale * b * a);
                }
            }
        }
        loss / steps as f64
    }
}

/// Gives words tokens of their own, after those that are there.
fn add_words(path: &Path, words: &[String]) {
    let mut tokenizer = crate::json(path);
    let added = tokenizer["added_tokens"].as_array_mut().unwrap();
    let first = added.last().unwrap()["id"].as_u64().unwrap() + 1;
    for (id, word) in (first..).zip(words) {
        added.push(
            serde_json::json!({"id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": false}),
        );
    }
    std::fs::write(path, tokenizer.to_string()).unwrap();
}
