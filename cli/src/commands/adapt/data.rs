//! Text files to stretches of tokens.

use crate::failure::{Exit, Failure, Result};
use crate::input::read_text;
use std::path::{Path, PathBuf};
use tern::Model;
use tern::learn::Example;

/// Files of a folder that are read at most.
const MAX_FILES: usize = 10_000;
/// One document in so many is held out.
const HELD_OUT: usize = 4;
/// Endings of files that are read from folders.
const ENDINGS: [&str; 12] = ["txt", "md", "rst", "html", "tex", "org", "adoc", "py", "rs", "js", "ts", "json"];

/// What is learned from, and what is held out.
pub struct Data {
    pub learn: Vec<Example>,
    pub held_out: Vec<Example>,
    pub held_out_documents: usize,
    /// Bytes that the held-out tokens that count stand for.
    pub held_out_bytes: u64,
}

/// The texts of files, and of the text files of folders, in the order of their paths.
pub fn read(paths: &[PathBuf]) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() { list(path, &mut files)? } else { files.push((path.clone(), true)) }
    }
    let mut texts = Vec::new();
    for (path, asked_for) in files {
        match read_text(&path) {
            Ok(text) => texts.push(text),
            // What is no text in a folder was not meant.
            Err(_) if !asked_for => {}
            Err(error) => return Err(error),
        }
    }
    Ok(texts)
}

fn list(folder: &Path, files: &mut Vec<(PathBuf, bool)>) -> Result<()> {
    let wrong = |e: std::io::Error| Failure::new(Exit::Input, format!("{}: {e}", folder.display()));
    let mut entries = std::fs::read_dir(folder).map_err(wrong)?.collect::<std::io::Result<Vec<_>>>().map_err(wrong)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().map_err(wrong)?);
        let text = path.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.contains(&e));
        if kind.is_dir() {
            list(&path, files)?;
        } else if kind.is_file() && text {
            files.push((path, false));
        }
        if files.len() > MAX_FILES {
            let what = format!("{}: more than {MAX_FILES} files; name the folders that matter", folder.display());
            return Err(Failure::new(Exit::Input, what));
        }
    }
    Ok(())
}

impl Data {
    /// Stretches of at most `context` tokens, those to learn from in an order that `seed` decides.
    pub fn new(model: &Model, texts: &[String], context: usize, seed: u64) -> Result<Self> {
        let documents = texts.iter().map(|t| model.encode(t)).collect::<std::result::Result<Vec<_>, _>>()?;
        let mut documents: Vec<Vec<u32>> = documents.into_iter().filter(|d| d.len() >= 2).collect();
        if let [single] = documents.as_mut_slice() {
            let last = single.split_off(single.len() - single.len() / HELD_OUT);
            documents = vec![last, std::mem::take(single)];
        }
        let mut data = Self { learn: Vec::new(), held_out: Vec::new(), held_out_documents: 0, held_out_bytes: 0 };
        for (i, document) in documents.iter().enumerate() {
            let held_out = i % HELD_OUT == 0 && documents.len() > 1;
            data.held_out_documents += usize::from(held_out);
            // The last token of a stretch is seen, not predicted, in the next one.
            let mut start = 0;
            while start + 1 < document.len() {
                let end = document.len().min(start + context);
                let example = Example::of(document[start..end].to_vec());
                if held_out {
                    let bytes = document[start + 1..end].iter().filter_map(|&t| model.tokenizer().token_bytes(t));
                    data.held_out_bytes += bytes.map(|b| b.len() as u64).sum::<u64>();
                    data.held_out.push(example);
                } else {
                    data.learn.push(example);
                }
                start = end - 1;
            }
        }
        shuffle(&mut data.learn, seed);
        Ok(data)
    }
}

/// Fisher and Yates, with Knuth's multiplier of 64 bits for random numbers.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    for i in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(i, ((state >> 33) % (i as u64 + 1)) as usize);
    }
}
