//! Importance matrices in GGUF: `<tensor>.in_sum2` F32 `[experts, columns]` and `<tensor>.counts` F32 `[experts, 1]`.

use super::{Entry, Imatrix, check, legacy};
use crate::error::ConvertError;
use crate::place;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tern_formats::gguf::{self, Array, StringArray, Value, Writer};
use tern_formats::{Checkpoint, DType, FileSource, Source, TensorInfo};

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

impl Imatrix {
    /// Reads a file of either format.
    ///
    /// # Errors
    /// [`ConvertError::Io`], [`ConvertError::Format`], [`ConvertError::Imatrix`].
    pub fn read(path: &Path) -> Result<Self, ConvertError> {
        let source = FileSource::open(path).map_err(|error| ConvertError::Io { path: path.to_owned(), error })?;
        Self::from_source(Arc::new(source))
    }

    /// As [`Imatrix::read`].
    ///
    /// # Errors
    /// As [`Imatrix::read`].
    pub fn from_source(source: Arc<dyn Source>) -> Result<Self, ConvertError> {
        let mut magic = [0; 4];
        let is_gguf = source.len() >= 4 && source.read_at(0, &mut magic).is_ok() && magic == gguf::MAGIC;
        if is_gguf { read(source) } else { legacy::read(&*source) }
    }

    /// Writes a GGUF file. With `force` it replaces one that is there.
    ///
    /// # Errors
    /// [`ConvertError::Exists`], [`ConvertError::Format`], [`ConvertError::Output`]; no file is left behind.
    pub fn write(&self, path: &Path, force: bool) -> Result<(), ConvertError> {
        let file = place::create(path, &[], force)?;
        let mut writer = Writer::new(path.display().to_string());
        writer.key("general.type", Value::String("imatrix".into()))?;
        let datasets = StringArray::new(&self.datasets).unwrap_or_default();
        writer.key("imatrix.datasets", Value::from(Array::String(datasets)))?;
        writer.key("imatrix.chunk_count", Value::U32(self.chunks))?;
        writer.key("imatrix.chunk_size", Value::U32(self.chunk_size))?;
        for (name, entry) in &self.entries {
            let experts = entry.counts.len() as u64;
            let columns = (entry.sums.len() as u64).checked_div(experts).unwrap_or(0);
            writer.tensor(format!("{name}{SUMS}"), DType::F32, [experts, columns])?;
            writer.tensor(format!("{name}{COUNTS}"), DType::F32, [experts, 1])?;
        }
        let mut body = writer.begin(file)?;
        for values in self.entries.values().flat_map(|e| [&e.sums, &e.counts]) {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            body.write(&bytes)?;
        }
        body.finish()?.commit().map_err(|error| place::failed(path, error))
    }
}

fn read(source: Arc<dyn Source>) -> Result<Imatrix, ConvertError> {
    let name = source.name().to_owned();
    let wrong = |what: String| ConvertError::Imatrix { file: name.clone(), what };
    let file = gguf::open(source)?;
    let m = &file.metadata;
    match m.str("general.type")? {
        Some("imatrix") => {}
        found => return Err(wrong(format!("general.type is {found:?}, expected \"imatrix\": no importance matrix"))),
    }
    let mut entries = BTreeMap::new();
    for sums in file.checkpoint.tensors() {
        let Some(tensor) = sums.name.strip_suffix(SUMS) else { continue };
        let counts = format!("{tensor}{COUNTS}");
        let counts = file.checkpoint.get(&counts).ok_or_else(|| wrong(format!("{counts} is missing")))?;
        let entry =
            Entry { sums: floats(&name, &file.checkpoint, sums)?, counts: floats(&name, &file.checkpoint, counts)? };
        let fits = entry.sums.len().checked_rem(entry.counts.len()) == Some(0);
        if !fits {
            return Err(wrong(format!(
                "{} has {} values for {} counts",
                sums.name,
                entry.sums.len(),
                entry.counts.len()
            )));
        }
        entries.insert(tensor.to_owned(), entry);
    }
    if entries.is_empty() {
        return Err(wrong("no tensor is called *.in_sum2: no importance matrix".into()));
    }
    let datasets = m.array_str("imatrix.datasets")?;
    let datasets = datasets.map_or_else(Vec::new, |d| d.iter().map(|s| String::from_utf8_lossy(s).into()).collect());
    let number = |key| Ok::<_, ConvertError>(m.u32(key)?.unwrap_or(0));
    Ok(Imatrix { entries, datasets, chunks: number("imatrix.chunk_count")?, chunk_size: number("imatrix.chunk_size")? })
}

fn floats(file: &str, checkpoint: &Checkpoint, t: &TensorInfo) -> Result<Vec<f32>, ConvertError> {
    if t.dtype != DType::F32 {
        let what = format!("{} is {}, expected F32", t.name, t.dtype);
        return Err(ConvertError::Imatrix { file: file.to_owned(), what });
    }
    let bytes = checkpoint.read(t)?;
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    check(file, &t.name, &values)?;
    Ok(values)
}
