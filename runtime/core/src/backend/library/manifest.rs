//! The small JSON file beside each library, read before the library is opened.

use super::machine;
use crate::backend::error::{BackendError, Result};
use crate::backend::table::valid_name;
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};
use tern_abi::MAJOR;

/// Manifests are a few hundred bytes.
const MAX_BYTES: u64 = 64 << 10;

/// What a manifest says. Fields it does not know are left alone: they are for newer hosts.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::backend) struct Manifest {
    /// The backend's name, as in its table.
    pub name: String,
    /// The library's file name, in the manifest's folder.
    pub library: String,
    /// Minor version of the ABI; older and newer ones work.
    #[serde(rename = "abi_minor")]
    _abi_minor: u32,
    requires: Requires,
    /// Which of several libraries is tried first; 0 is never.
    pub score: u32,
    /// Of the library, in hexadecimal.
    pub sha256: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Requires {
    /// As [`std::env::consts::ARCH`].
    arch: String,
    /// As [`std::env::consts::OS`].
    os: String,
    #[serde(default)]
    cpu_features: Vec<String>,
    /// Libraries of the system that must load: "libcuda.so.1".
    #[serde(default)]
    drivers: Vec<String>,
}

/// The one field that every major version has.
#[derive(Deserialize)]
struct Version {
    abi_major: u32,
}

impl Manifest {
    /// Reads and checks a manifest.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |reason: String| BackendError::Manifest { path: path.to_owned(), reason };
        let text = read_capped(path).map_err(wrong)?;
        let version: Version = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        if version.abi_major != MAJOR {
            return Err(BackendError::AbiMajor { path: path.to_owned(), found: version.abi_major, supported: MAJOR });
        }
        let manifest: Self = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        manifest.check().map_err(wrong)?;
        Ok(manifest)
    }

    fn check(&self) -> std::result::Result<(), String> {
        if !valid_name(&self.name) {
            return Err(format!("the name {:?} is not 1 to 64 lower-case letters, digits, '-' or '_'", self.name));
        }
        for file in [&self.library].into_iter().chain(&self.requires.drivers) {
            if !is_file_name(file) {
                return Err(format!("{file:?} is not a file name"));
            }
        }
        match &self.sha256 {
            Some(hash) if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Err(format!("sha256 {hash:?} is not 64 hexadecimal digits"))
            }
            _ => Ok(()),
        }
    }

    /// Has this machine what the manifest asks for?
    pub fn check_machine(&self) -> Result<()> {
        let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
        let lacking = |needed: String, found: &str| {
            Err(BackendError::Requirement { name: self.name.clone(), needed, found: found.to_owned() })
        };
        if self.score == 0 {
            let reason = "its manifest gives it score 0".to_owned();
            return Err(BackendError::Unusable { name: self.name.clone(), reason });
        }
        if self.requires.arch != arch {
            return lacking(format!("a processor of type {:?}", self.requires.arch), arch);
        }
        if self.requires.os != os {
            return lacking(format!("the operating system {:?}", self.requires.os), os);
        }
        for feature in &self.requires.cpu_features {
            match machine::has_feature(feature) {
                Some(true) => {}
                Some(false) => return lacking(format!("the CPU feature {feature:?}"), "none of it"),
                None => return lacking(format!("the CPU feature {feature:?}"), "no feature of that name"),
            }
        }
        match self.requires.drivers.iter().find(|driver| !machine::has_driver(driver)) {
            Some(driver) => lacking(format!("the driver {driver:?}"), "none that loads"),
            None => Ok(()),
        }
    }
}

fn read_capped(path: &Path) -> std::result::Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    if !file.metadata().map_err(|e| e.to_string())?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    Ok(text)
}

/// One component, the same on every system, so that a manifest cannot lead out of its folder.
fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        && !name.contains(['/', '\\', ':'])
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_in_their_folder() {
        assert!(is_file_name("libtern_cpu.so") && is_file_name("libcuda.so.1"));
        for name in ["", ".", "..", "../x.so", "/x.so", "a/x.so", "a\\x.dll", "C:x.dll", "x.so/", "x\0.so"] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }
}
