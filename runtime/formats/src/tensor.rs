//! What every format yields: tensors with a dtype, a shape and a place.

use crate::names::NameIndex;
use crate::{DType, FormatError, Problem, Source};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A tensor in a file. Small, since a file may have a million of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Unique in its checkpoint.
    pub name: Box<str>,
    /// How elements are stored.
    pub dtype: DType,
    /// Row-major: outermost dimension first (the reverse of GGUF's `ne`). Empty for a scalar.
    pub shape: Box<[u64]>,
    /// Index of the file among the checkpoint's sources.
    pub file: u32,
    /// Where the data begins, in bytes from the start of that file.
    pub offset: u64,
    /// Size of the data in bytes, exactly what dtype and shape take.
    pub bytes: u64,
}

impl TensorInfo {
    /// Number of elements. Readers have checked that it fits.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d))
    }
}

/// The tensors of a model and the files they are in.
pub struct Checkpoint {
    tensors: Vec<TensorInfo>,
    index: NameIndex,
    sources: Vec<Arc<dyn Source>>,
}

impl Checkpoint {
    /// Puts together tensors whose extents have been checked.
    ///
    /// # Errors
    /// [`Problem::Duplicate`] for a name that occurs twice; [`Problem::NoSuchFile`] for a tensor
    /// outside of `sources`.
    pub fn new(tensors: Vec<TensorInfo>, sources: Vec<Arc<dyn Source>>) -> Result<Self, FormatError> {
        let files = sources.len();
        if let Some(t) = tensors.iter().find(|t| t.file as usize >= files) {
            let problem = Problem::NoSuchFile { tensor: t.name.to_string(), file: t.file, files };
            return Err(FormatError::new("checkpoint", problem));
        }
        let index = NameIndex::build(&tensors, |t| &*t.name).map_err(|i| {
            let t = &tensors[i];
            let file = sources.get(t.file as usize).map_or("checkpoint", |s| s.name());
            FormatError::new(file, Problem::Duplicate { what: "tensor", name: t.name.to_string() })
        })?;
        Ok(Self { tensors, index, sources })
    }

    /// All tensors, in the order of the files.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The files that [`TensorInfo::file`] counts.
    pub fn sources(&self) -> &[Arc<dyn Source>] {
        &self.sources
    }

    /// The tensor with this name.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.index.find(&self.tensors, |t| &*t.name, name).and_then(|i| self.tensors.get(i))
    }

    /// The tensor with this name, which must exist.
    ///
    /// # Errors
    /// [`Problem::NoSuchTensor`].
    pub fn require(&self, name: &str) -> Result<&TensorInfo, FormatError> {
        self.get(name).ok_or_else(|| {
            let file = self.sources.first().map_or("checkpoint", |s| s.name());
            FormatError::new(file, Problem::NoSuchTensor { tensor: name.to_owned() })
        })
    }

    /// The file a tensor is in.
    ///
    /// # Errors
    /// [`Problem::NoSuchFile`] where `tensor` is not of this checkpoint.
    pub fn source(&self, tensor: &TensorInfo) -> Result<&Arc<dyn Source>, FormatError> {
        self.sources.get(tensor.file as usize).ok_or_else(|| {
            let files = self.sources.len();
            let problem = Problem::NoSuchFile { tensor: tensor.name.to_string(), file: tensor.file, files };
            FormatError::new("checkpoint", problem)
        })
    }

    /// A tensor's bytes: borrowed where the source has them in memory, read otherwise.
    ///
    /// # Errors
    /// [`Problem::Io`] where reading fails, [`Problem::OutOfMemory`] where the copy does not fit.
    pub fn read(&self, tensor: &TensorInfo) -> Result<Cow<'_, [u8]>, FormatError> {
        let source = self.source(tensor)?;
        if let Some(bytes) = source.slice(tensor.offset, tensor.bytes) {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut buffer = zeroed("tensor data", tensor.bytes).map_err(|p| FormatError::new(source.name(), p))?;
        self.read_into(tensor, &mut buffer)?;
        Ok(Cow::Owned(buffer))
    }

    /// A tensor's bytes where the source has them in memory, to keep; `None` where they must be read.
    ///
    /// # Errors
    /// [`Problem::NoSuchFile`] where `tensor` is not of this checkpoint.
    pub fn share(&self, tensor: &TensorInfo) -> Result<Option<SharedBytes>, FormatError> {
        let source = self.source(tensor)?;
        let shared = SharedBytes { source: Arc::clone(source), offset: tensor.offset, len: tensor.bytes };
        Ok(source.slice(tensor.offset, tensor.bytes).map(|_| shared))
    }

    /// Reads a tensor's bytes into `buffer`, which has exactly `tensor.bytes` bytes.
    ///
    /// # Errors
    /// [`Problem::BufferLength`] for a buffer of another size, [`Problem::Io`] where reading fails.
    pub fn read_into(&self, tensor: &TensorInfo, buffer: &mut [u8]) -> Result<(), FormatError> {
        let source = self.source(tensor)?;
        let fail = |problem| FormatError::new(source.name(), problem);
        let found = buffer.len() as u64;
        if found != tensor.bytes {
            let problem = Problem::BufferLength { tensor: tensor.name.to_string(), expected: tensor.bytes, found };
            return Err(fail(problem));
        }
        source
            .read_at(tensor.offset, buffer)
            .map_err(|error| fail(Problem::Io { offset: tensor.offset, len: found, error }))
    }

    /// Tells the source that a tensor's bytes will not be read again soon.
    pub fn release(&self, tensor: &TensorInfo) {
        if let Some(source) = self.sources.get(tensor.file as usize) {
            source.release(tensor.offset, tensor.bytes);
        }
    }
}

/// Bytes of a source that has them in memory: they keep it open.
#[derive(Clone)]
pub struct SharedBytes {
    source: Arc<dyn Source>,
    offset: u64,
    len: u64,
}

impl SharedBytes {
    /// Tells the source that `len` of these bytes from `offset` on will not be read again soon.
    pub fn release(&self, offset: u64, len: u64) {
        let len = len.min(self.len.saturating_sub(offset));
        self.source.release(self.offset.saturating_add(offset), len);
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self.source.slice(self.offset, self.len).unwrap_or_default()
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({} bytes at {} of {})", self.len, self.offset, self.source.name())
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources: Vec<&str> = self.sources.iter().map(|s| s.name()).collect();
        f.debug_struct("Checkpoint").field("sources", &sources).field("tensors", &self.tensors).finish()
    }
}

/// A zeroed buffer, or an error where there is no room: sizes come from files, and a failed
/// allocation must not abort the host.
pub(crate) fn zeroed(what: &'static str, bytes: u64) -> Result<Vec<u8>, Problem> {
    let none = || Problem::OutOfMemory { what, bytes };
    let len = usize::try_from(bytes).map_err(|_| none())?;
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(len).map_err(|_| none())?;
    buffer.resize(len, 0);
    Ok(buffer)
}
