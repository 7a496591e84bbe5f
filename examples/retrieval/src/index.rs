//! Passages with their vectors: made, kept in a file, searched.

use crate::passages::passages;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::{EmbedOptions, Model};
use tern_formats::safetensors::{self, Writer};
use tern_formats::{AtomicFile, DType, Existing, FileSource};

/// Name of the index's file in its folder.
pub const FILE: &str = "tern-index.safetensors";
/// Passages have at least so many tokens, if the text has, and no more than the second, if its sentences allow it.
const TOKENS: (usize, usize) = (40, 160);
/// Passages that are embedded at a time.
const BATCH: usize = 64;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// The text's file, as seen from the folder.
    pub file: String,
    /// The piece.
    pub text: String,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    /// All passages.
    pub passages: Vec<Passage>,
    /// A vector of length 1 for each.
    vectors: Vec<Vec<f32>>,
    /// How many of them were embedded, rather than found in the file of last time.
    pub fresh: usize,
}

/// A passage that was found.
#[derive(Debug)]
pub struct Hit<'a> {
    /// The passage.
    pub passage: &'a Passage,
    /// The cosine of the angle to the question; 1 is the same.
    pub score: f32,
}

impl Index {
    /// The index of all texts in `folder`. What its file has of the same model and passages is taken from there, and the file is
    /// written again where anything else was embedded or is gone.
    ///
    /// # Errors
    /// A file or folder that cannot be read or written, and those of the model.
    pub fn of(model: &Model, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let mut files = Vec::new();
        texts(folder, &mut files)?;
        files.sort();
        let mut wanted = Vec::new();
        for file in files {
            let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
            let file = file.strip_prefix(folder)?.display().to_string();
            let count = |piece: &str| model.encode(piece).map_or(usize::MAX / 2, |tokens| tokens.len());
            let pieces = passages(&text, TOKENS.0, TOKENS.1, count);
            wanted.extend(pieces.into_iter().map(|text| Passage { file: file.clone(), text }));
        }
        let kept = Self::read(model, &folder.join(FILE))?;
        let known: HashMap<&str, &Vec<f32>> =
            kept.passages.iter().map(|p| p.text.as_str()).zip(&kept.vectors).collect();
        let mut vectors: Vec<Option<Vec<f32>>> =
            wanted.iter().map(|p| known.get(p.text.as_str()).map(|v| (*v).clone())).collect();
        let missing: Vec<usize> = (0..wanted.len()).filter(|&i| vectors[i].is_none()).collect();
        for batch in missing.chunks(BATCH) {
            let texts: Vec<&str> = batch.iter().map(|&i| wanted[i].text.as_str()).collect();
            for (&i, vector) in batch.iter().zip(model.embed(&texts, &options())?) {
                vectors[i] = Some(vector);
            }
        }
        let index = Self { vectors: vectors.into_iter().flatten().collect(), fresh: missing.len(), passages: wanted };
        if index.passages != kept.passages {
            index.write(model, &folder.join(FILE))?;
        }
        Ok(index)
    }

    /// The `n` passages nearest to `question`, the nearest first.
    ///
    /// # Errors
    /// Those of the model.
    pub fn search(&self, model: &Model, question: &str, n: usize) -> Result<Vec<Hit<'_>>, Box<dyn Error>> {
        let Some(asked) = model.embed(&[question], &options())?.pop() else { return Ok(Vec::new()) };
        let score = |vector: &Vec<f32>| vector.iter().zip(&asked).map(|(a, b)| a * b).sum();
        let mut hits: Vec<Hit<'_>> =
            self.passages.iter().zip(&self.vectors).map(|(passage, v)| Hit { passage, score: score(v) }).collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(n);
        Ok(hits)
    }

    /// What the file has; nothing where there is none, or it is another model's.
    fn read(model: &Model, path: &Path) -> Result<Self, Box<dyn Error>> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let file = safetensors::open(Arc::new(FileSource::open(path)?))?;
        let text = |key: &str| file.metadata.iter().find(|(k, _)| *k == key).map(|(_, v)| v);
        let (Some(of), Some(list), Some(matrix)) = (text("model"), text("passages"), file.checkpoint.get("vectors"))
        else {
            return Err(format!("{}: this is no index; remove it", path.display()).into());
        };
        let passages: Vec<Passage> = serde_json::from_str(list)?;
        let width = model.info().width as usize;
        if of != model.fingerprint()?
            || matrix.dtype != DType::F32
            || *matrix.shape != [passages.len() as u64, width as u64]
        {
            return Ok(Self::default());
        }
        let bytes = file.checkpoint.read(matrix)?;
        let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        Ok(Self { passages, vectors: numbers.chunks_exact(width).map(<[f32]>::to_vec).collect(), fresh: 0 })
    }

    fn write(&self, model: &Model, path: &Path) -> Result<(), Box<dyn Error>> {
        let mut writer = Writer::new(path.display().to_string());
        writer.metadata("model", &model.fingerprint()?)?;
        writer.metadata("passages", &serde_json::to_string(&self.passages)?)?;
        writer.tensor("vectors", DType::F32, [self.passages.len() as u64, model.info().width])?;
        let mut body = writer.begin(AtomicFile::create(path, Existing::Replace)?)?;
        for vector in &self.vectors {
            body.write(&vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
        }
        let mut file = body.finish()?;
        file.flush()?;
        Ok(file.commit()?)
    }
}

fn options() -> EmbedOptions {
    EmbedOptions { normalize: Some(true), truncate: true, ..EmbedOptions::default() }
}

fn texts(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            texts(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "txt" || e == "md") {
            found.push(path);
        }
    }
    Ok(())
}
