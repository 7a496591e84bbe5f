//! What `tests/interop` compares with other programs: lists files, and writes them again in every layout.
//!
//! ```text
//! interop list IN             tensors of a GGUF file or part, a .safetensors file or an index: name, dtype, shape, hash
//! interop gguf IN OUT         a GGUF file or a part of one as one file
//! interop split IN PREFIX N   a GGUF file as parts with N tensors each
//! interop copy IN OUT         a safetensors file
//! interop shard IN PREFIX N   a safetensors file as shards of N bytes, with their index
//! interop adapter IN          a LoRA adapter in GGUF: base tensor, rank, inputs, outputs, scale
//! interop lora OUT ARCH BASE INPUTS OUTPUTS   a LoRA adapter of rank 2 and alpha 4 for one tensor, all factors 0.01
//! ```
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern_formats::adapter::{self, LowRankSpec};
use tern_formats::gguf::{self, Gguf, Header, ReadOptions};
use tern_formats::safetensors::{self, INDEX_FILE};
use tern_formats::{
    AtomicFile, Checkpoint, DType, Existing, FileSource, FormatError, PartLimit, Source, commit_all, folder_opener,
    write_atomically,
};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["list", path] => list(&checkpoint(Path::new(path))?),
        ["gguf", from, to] => {
            let file = open_gguf(Path::new(from))?;
            let mut writer = gguf::Writer::new(*to);
            for (key, value) in file.metadata.entries() {
                writer.key(key, value)?;
            }
            for t in file.checkpoint.tensors() {
                writer.tensor(&*t.name, t.dtype, &*t.shape)?;
            }
            let mut body = writer.begin(create(to.as_ref())?)?;
            copy(&file.checkpoint, |bytes| body.write(bytes))?;
            Ok(body.finish()?.commit()?)
        }
        ["split", from, prefix, tensors] => {
            let source = source(Path::new(from))?;
            let writer = gguf::Writer::like(*prefix, &Header::read(&*source)?)?;
            let mut body =
                writer.begin_split(prefix, PartLimit::tensors(tensors.parse()?), |name| create(name.as_ref()))?;
            copy(&gguf::open(source)?.checkpoint, |bytes| body.write(bytes))?;
            Ok(commit_all(body.finish()?)?)
        }
        ["copy", from, to] => {
            let source = source(Path::new(from))?;
            let writer = safetensors::Writer::like(*to, &safetensors::Header::read(&*source)?)?;
            let mut body = writer.begin(create(to.as_ref())?)?;
            copy(&safetensors::open(source)?.checkpoint, |bytes| body.write(bytes))?;
            Ok(body.finish()?.commit()?)
        }
        ["shard", from, prefix, bytes] => {
            let (source, prefix) = (source(Path::new(from))?, PathBuf::from(prefix));
            let writer = safetensors::Writer::like("shards", &safetensors::Header::read(&*source)?)?;
            let (stem, limit) =
                (prefix.file_name().unwrap_or_default().to_string_lossy(), PartLimit::bytes(bytes.parse()?));
            let (mut body, index) = writer.begin_shards(&stem, limit, |name| create(&prefix.with_file_name(name)))?;
            copy(&safetensors::open(source)?.checkpoint, |bytes| body.write(bytes))?;
            commit_all(body.finish()?)?;
            Ok(write_atomically(prefix.with_file_name(INDEX_FILE), index.as_bytes(), Existing::Replace)?)
        }
        ["adapter", path] => {
            let adapter = adapter::open_gguf(source(Path::new(path))?)?;
            for p in &adapter.pairs {
                println!("{}\t{}\t{}\t{}\t{}", p.base, p.rank, p.inputs, p.outputs, p.scale);
            }
            Ok(())
        }
        ["lora", to, architecture, base, inputs, outputs] => {
            let (inputs, outputs) = (inputs.parse()?, outputs.parse()?);
            let (base, alpha, dtype) = ((*base).to_owned(), 4.0, DType::F32);
            let spec = LowRankSpec { base, embedding: false, rank: 2, inputs, outputs, alpha, dtype };
            let mut body = adapter::gguf_writer(*to, architecture, &[spec])?.begin(create(to.as_ref())?)?;
            for _ in 0..2 * (inputs + outputs) {
                body.write(&0.01f32.to_le_bytes())?;
            }
            Ok(body.finish()?.commit()?)
        }
        _ => Err("see the top of examples/interop.rs for its arguments".into()),
    }
}

fn source(path: &Path) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(FileSource::open(path)?))
}

fn create(path: &Path) -> std::io::Result<AtomicFile> {
    AtomicFile::create(path, Existing::Replace)
}

/// Opens the file at a path, by any of its parts.
fn open_gguf(path: &Path) -> Result<Gguf> {
    let open = |file: &Path, name: String| -> std::io::Result<Box<dyn Source>> {
        Ok(Box::new(FileSource::from_file(name, File::open(file)?)?))
    };
    let open = folder_opener(path.parent().unwrap_or(path), &open)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(gguf::open_split(source(path)?, &name, &open, ReadOptions::default())?)
}

fn checkpoint(path: &Path) -> Result<Checkpoint> {
    Ok(match path.extension().and_then(|e| e.to_str()) {
        Some("gguf") => open_gguf(path)?.checkpoint,
        Some("safetensors") => safetensors::open(source(path)?)?.checkpoint,
        _ => {
            let open = |file: &Path, name: String| -> std::io::Result<Box<dyn Source>> {
                Ok(Box::new(FileSource::from_file(name, File::open(file)?)?))
            };
            let open = folder_opener(path.parent().unwrap_or(path), &open)?;
            safetensors::open_sharded(&FileSource::open(path)?, &open)?
        }
    })
}

fn copy(from: &Checkpoint, mut write: impl FnMut(&[u8]) -> std::result::Result<(), FormatError>) -> Result {
    for t in from.tensors() {
        write(&from.read(t)?)?;
    }
    Ok(())
}

fn list(checkpoint: &Checkpoint) -> Result {
    for t in checkpoint.tensors() {
        // FNV-1a: enough to compare, and a line of code everywhere.
        let hash = checkpoint
            .read(t)?
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        println!("{}\t{}\t{:?}\t{hash:016x}", t.name, t.dtype, t.shape);
    }
    Ok(())
}
