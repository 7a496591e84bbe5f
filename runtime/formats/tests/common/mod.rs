//! GGUF and safetensors files put together by hand, so that they can be wrong.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)] // Each test file uses some of it.

use std::sync::Arc;
use tern_formats::gguf::{Gguf, Header, ReadOptions};
use tern_formats::{BytesSource, FormatError, Problem, gguf, safetensors};

pub fn string(s: impl AsRef<[u8]>) -> Vec<u8> {
    let s = s.as_ref();
    [&(s.len() as u64).to_le_bytes()[..], s].concat()
}

/// A key with the value's type id and bytes.
pub fn kv(key: impl AsRef<[u8]>, kind: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    [string(key), kind.to_le_bytes().to_vec(), value.as_ref().to_vec()].concat()
}

pub fn array(kind: u32, count: u64, elements: impl AsRef<[u8]>) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), elements.as_ref()].concat()
}

/// A tensor info; dimensions innermost first, as in the file.
pub fn tensor(name: impl AsRef<[u8]>, dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut out = string(name);
    out.extend((dims.len() as u32).to_le_bytes());
    dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
    out.extend(kind.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out
}

/// A GGUF file by its parts. The default is valid and has 64 bytes of data.
#[derive(Clone)]
pub struct RawGguf {
    pub magic: [u8; 4],
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub key_count: Option<u64>,
    pub keys: Vec<Vec<u8>>,
    pub tensors: Vec<Vec<u8>>,
    pub alignment: usize,
    pub data: usize,
}

impl Default for RawGguf {
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            key_count: None,
            keys: vec![kv("general.architecture", 8, string("test")), kv("test.block_count", 4, 2u32.to_le_bytes())],
            tensors: vec![tensor("a", &[4, 2], 0, 0), tensor("b", &[8], 0, 32)],
            alignment: 32,
            data: 64,
        }
    }
}

impl RawGguf {
    pub fn header(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        self.keys.iter().chain(&self.tensors).for_each(|part| out.extend(part));
        out
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        out.resize(out.len().next_multiple_of(self.alignment) + self.data, 0xab);
        out
    }

    pub fn with(change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut raw = Self::default();
        change(&mut raw);
        raw.bytes()
    }

    /// The default with one more key.
    pub fn with_key(key: impl AsRef<[u8]>, kind: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
        Self::with(|f| f.keys.push(kv(key, kind, value)))
    }

    /// One tensor instead of the default's.
    pub fn with_tensor(info: Vec<u8>) -> Vec<u8> {
        Self::with(|f| f.tensors = vec![info])
    }
}

pub fn source(bytes: impl Into<Arc<[u8]>>) -> BytesSource {
    BytesSource::new("test.bin", bytes)
}

pub fn read(bytes: impl Into<Arc<[u8]>>) -> Result<Header, FormatError> {
    Header::read(&source(bytes))
}

pub fn read_allowing_trailing(bytes: impl Into<Arc<[u8]>>) -> Result<Header, FormatError> {
    Header::read_with(&source(bytes), ReadOptions { allow_trailing: true, ..ReadOptions::default() })
}

pub fn open(bytes: impl Into<Arc<[u8]>>) -> Result<Gguf, FormatError> {
    gguf::open(Arc::new(source(bytes)))
}

/// A safetensors file from header text and a data length.
pub fn raw_safetensors(header: impl AsRef<[u8]>, data: usize) -> Vec<u8> {
    let mut out = string(header);
    out.resize(out.len() + data, 0xcd);
    out
}

pub fn read_safetensors(bytes: impl Into<Arc<[u8]>>) -> Result<safetensors::Header, FormatError> {
    safetensors::Header::read(&source(bytes))
}

/// One row of a table of rejections: what it shows, the outcome, and the variant it must be.
pub fn expect<T: std::fmt::Debug>(what: &str, result: Result<T, FormatError>, matches: fn(&Problem) -> bool) {
    match result {
        Ok(value) => panic!("{what}: accepted as {value:?}"),
        Err(error) => {
            assert!(matches(&error.problem), "{what}: unexpected problem {:?}", error.problem);
            let message = error.to_string();
            assert!(message.starts_with("test.bin: ") || !error.file.is_empty(), "{what}: no file in '{message}'");
            assert!(!message.contains('\n') && message.len() > 20, "{what}: message '{message}'");
        }
    }
}

/// A row: `(what, bytes, variant)`; the variant as a pattern.
#[macro_export]
macro_rules! rejects {
    ($read:expr; $( $what:literal, $bytes:expr => $pattern:pat, )*) => {
        $( $crate::common::expect($what, $read($bytes), |p| { use tern_formats::Problem::*; matches!(p, $pattern) }); )*
    };
}
