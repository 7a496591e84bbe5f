//! One error type: which file, and what is wrong with it.

use std::fmt;
use tern_quant::DType;

/// A file that cannot be used, and why. Its message is one line.
///
/// The file is a field here rather than in each [`Problem`], so that no variant can forget it.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct FormatError {
    /// The name of the source, as [`Source::name`](crate::Source::name) gave it.
    pub file: String,
    /// What is wrong.
    pub problem: Box<Problem>,
}

impl FormatError {
    /// Attaches the file to a problem.
    pub fn new(file: impl Into<String>, problem: Problem) -> Self {
        Self { file: file.into(), problem: Box::new(problem) }
    }
}

/// What is wrong with a file, or with a request made of it.
///
/// Offsets and lengths are in bytes; offsets count from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    // ---- access ----
    /// The source failed, or ended although it had said it was longer.
    #[error("reading {len} bytes at {offset} failed: {error}")]
    Io {
        /// Where.
        offset: u64,
        /// How much was asked for.
        len: u64,
        /// The cause.
        #[source]
        error: std::io::Error,
    },
    /// Writing failed.
    #[error("writing at {offset} failed: {error}")]
    Write {
        /// Bytes written before.
        offset: u64,
        /// The cause.
        #[source]
        error: std::io::Error,
    },
    /// A file that could not be created.
    #[error("cannot be created: {error}")]
    Create {
        /// The cause.
        #[source]
        error: std::io::Error,
    },
    /// A file that could not be opened.
    #[error("cannot be opened: {error}")]
    Open {
        /// The cause.
        #[source]
        error: std::io::Error,
    },
    /// A folder without weights.
    #[error("has no weights; expected one of: {expected}")]
    NoWeights {
        /// The file names that were tried.
        expected: &'static str,
    },
    /// Not enough memory for what the file holds.
    #[error("no memory for {bytes} bytes ({what})")]
    OutOfMemory {
        /// What it was for.
        what: &'static str,
        /// How much was asked for.
        bytes: u64,
    },

    // ---- framing ----
    /// A file of no bytes.
    #[error("the file is empty; the download or copy probably failed, get it again")]
    Empty,
    /// The file is of another kind.
    #[error("not {expected}: it begins with {}; {hint}", Bytes(found))]
    WrongMagic {
        /// The first bytes.
        found: [u8; 4],
        /// The kind of file expected.
        expected: &'static str,
        /// What it probably is and what to do.
        hint: &'static str,
    },
    /// A version of the format that is not read.
    #[error("version {found:#x} is not supported (expected {expected}); {hint}")]
    UnsupportedVersion {
        /// The version field.
        found: u32,
        /// What is supported.
        expected: &'static str,
        /// What it probably is and what to do.
        hint: &'static str,
    },
    /// The file ends inside something.
    #[error("truncated: {what} at {offset} needs {needed} bytes but {available} remain; get the file again")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// Bytes it needs, at least.
        needed: u64,
        /// Bytes up to the end of the file.
        available: u64,
    },
    /// A count beyond any real file's.
    #[error("claims {found} {what}, more than the limit of {limit}; the file is damaged or hostile")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The claim.
        found: u64,
        /// The cap from [`limits`](crate::limits).
        limit: u64,
    },
    /// A length beyond any real file's.
    #[error("{what} at {offset} has {found} bytes, more than the limit of {limit}; the file is damaged or hostile")]
    TooLong {
        /// What is that long.
        what: &'static str,
        /// Where.
        offset: u64,
        /// Its length.
        found: u64,
        /// The cap from [`limits`](crate::limits).
        limit: u64,
    },
    /// A name without characters.
    #[error("{what} at {offset} is empty")]
    EmptyName {
        /// A key or a tensor name.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// Text that is not UTF-8.
    #[error("{what} at {offset} is not UTF-8")]
    NotUtf8 {
        /// What should be text.
        what: String,
        /// Where it begins.
        offset: u64,
    },
    /// The same name twice.
    #[error("{what} '{name}' occurs twice")]
    Duplicate {
        /// What the names name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Data after the last tensor.
    #[error("{found} bytes follow the last tensor at {offset} (at most {limit} expected)")]
    TrailingBytes {
        /// Where the last tensor ends.
        offset: u64,
        /// Bytes from there to the end of the file.
        found: u64,
        /// The most that padding explains.
        limit: u64,
    },

    // ---- metadata ----
    /// A value type id the specification does not define.
    #[error("key '{key}': value type {found} at {offset} is not one of 0..=12")]
    UnknownValueType {
        /// The key.
        key: String,
        /// The id.
        found: u32,
        /// Where.
        offset: u64,
    },
    /// A boolean byte other than 0 and 1.
    #[error("key '{key}': {found} at {offset} is not a boolean (0 or 1)")]
    BadBool {
        /// The key.
        key: String,
        /// The byte.
        found: u8,
        /// Where.
        offset: u64,
    },
    /// An array of arrays.
    #[error("key '{key}': array of arrays at {offset}, which no model format uses")]
    NestedArray {
        /// The key.
        key: String,
        /// Where.
        offset: u64,
    },
    /// A required key that is absent.
    #[error("key '{key}' ({expected}) is missing")]
    MissingKey {
        /// The key, or the path of a JSON field.
        key: String,
        /// Its type.
        expected: &'static str,
    },
    /// A key of another type.
    #[error("key '{key}' is {found}, expected {expected}")]
    WrongType {
        /// The key, or the path of a JSON field.
        key: String,
        /// The type asked for.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
    /// A number that the type asked for cannot hold.
    #[error("key '{key}' is {found}, which is no {expected}")]
    OutOfRange {
        /// The key, or the path of a JSON field.
        key: String,
        /// The type asked for.
        expected: &'static str,
        /// The number.
        found: String,
    },
    /// An array of the wrong length.
    #[error("key '{key}' has {found} elements, expected {expected}")]
    ArrayLength {
        /// The key, or the path of a JSON field.
        key: String,
        /// The length asked for.
        expected: u64,
        /// The length in the file.
        found: u64,
    },
    /// `general.alignment` that is no usable alignment.
    #[error("general.alignment is {found}, expected a power of two from 8 to 65536")]
    BadAlignment {
        /// Its value.
        found: u64,
    },
    /// JSON that does not parse, or not as what it should be.
    #[error("{what}: {message}")]
    Json {
        /// Which JSON.
        what: &'static str,
        /// What is wrong with it, with line and column.
        message: String,
    },

    // ---- tensors ----
    /// Too few or too many dimensions.
    #[error("tensor '{tensor}' has {found} dimensions, expected {expected}")]
    DimensionCount {
        /// The tensor.
        tensor: String,
        /// Its dimensions.
        found: u64,
        /// The range allowed.
        expected: &'static str,
    },
    /// A dimension that is zero (where that is not allowed) or beyond [`limits::MAX_DIM`](crate::limits::MAX_DIM).
    #[error("tensor '{tensor}': dimension {axis} is {found}, expected 1 to {limit}")]
    Dimension {
        /// The tensor.
        tensor: String,
        /// The axis, outermost first.
        axis: usize,
        /// Its length.
        found: u64,
        /// The largest allowed.
        limit: u64,
    },
    /// A shape whose size does not fit 64 bits.
    #[error("tensor '{tensor}': the size of {dtype} {shape:?} overflows")]
    ShapeOverflow {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: DType,
        /// Its shape, outermost first.
        shape: Vec<u64>,
    },
    /// A dtype that exists but cannot be read yet.
    #[error("tensor '{tensor}' has dtype {found}, which is not supported; supported: {supported}")]
    UnsupportedDtype {
        /// The tensor.
        tensor: String,
        /// The dtype's name.
        found: String,
        /// What can be read.
        supported: String,
    },
    /// A dtype that was removed from its format.
    #[error("tensor '{tensor}' has dtype {found} ({name}), which was removed from GGUF; convert the model again")]
    RemovedDtype {
        /// The tensor.
        tensor: String,
        /// The id.
        found: u32,
        /// What it was.
        name: &'static str,
    },
    /// A dtype that does not exist.
    #[error("tensor '{tensor}' has unknown dtype {found}")]
    UnknownDtype {
        /// The tensor.
        tensor: String,
        /// The id or name.
        found: String,
    },
    /// A dtype id that projects give different meanings, where nothing in the file decides.
    #[error("tensor '{tensor}' has dtype {id}, which is {readings}, and the file does not tell; say {option}")]
    AmbiguousDtype {
        /// The tensor.
        tensor: String,
        /// The id.
        id: u32,
        /// Every meaning that fits.
        readings: String,
        /// The option that decides.
        option: &'static str,
    },
    /// A dtype id that projects give different meanings, none of which fits the size that the tensor has.
    #[error("tensor '{tensor}' has dtype {id} and {found} bytes for {elements} elements, which is no {readings}")]
    NoReading {
        /// The tensor.
        tensor: String,
        /// The id.
        id: u32,
        /// Bytes up to the next tensor, or to the end of the file.
        found: u64,
        /// Its elements.
        elements: u64,
        /// Every meaning.
        readings: String,
    },
    /// Rows that are not whole blocks.
    #[error("tensor '{tensor}': rows of {found} elements are not whole {dtype} blocks of {block_len}")]
    PartialBlock {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: DType,
        /// Its innermost dimension.
        found: u64,
        /// Elements per block.
        block_len: u64,
    },
    /// A tensor that does not begin at a multiple of the alignment.
    #[error("tensor '{tensor}': offset {offset} is not a multiple of {alignment}")]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Its offset in the data section.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A tensor that ends beyond the file.
    #[error("tensor '{tensor}': {bytes} bytes at {offset} exceed the file's {file_len}; get the file again")]
    OutOfFile {
        /// The tensor.
        tensor: String,
        /// Where it begins; in the data section where the sum overflows.
        offset: u64,
        /// Its size.
        bytes: u64,
        /// The length of the file.
        file_len: u64,
    },
    /// Two tensors that share bytes.
    #[error("tensors '{tensor}' and '{other}' overlap at {offset}")]
    Overlap {
        /// The later one.
        tensor: String,
        /// The earlier one.
        other: String,
        /// Where the later one begins.
        offset: u64,
    },
    /// Bytes that belong to no tensor.
    #[error("{found} bytes before tensor '{tensor}' at {offset} belong to no tensor")]
    Gap {
        /// The tensor after the gap.
        tensor: String,
        /// Where it begins.
        offset: u64,
        /// The length of the gap.
        found: u64,
    },
    /// A stated size that is not the size of the shape.
    #[error("tensor '{tensor}': offsets {begin}..{end}, but its shape takes {expected} bytes")]
    ByteCount {
        /// The tensor.
        tensor: String,
        /// Stated begin, in the data section.
        begin: u64,
        /// Stated end.
        end: u64,
        /// What dtype and shape take.
        expected: u64,
    },

    /// Data that is no number: an element, or the scale of a block or tensor.
    #[error("tensor '{tensor}': element {element} is {found}; the file is damaged or its training failed")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// The element, or the first one that a scale is for.
        element: u64,
        /// What it is.
        found: f32,
    },

    // ---- shards ----
    /// A file name in an index that could lead out of the folder.
    #[error("the index names file '{name}', which {reason}")]
    UnsafeFileName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A tensor that is not in the shard its index names.
    #[error("the index places tensor '{tensor}' in '{shard}', which does not have it")]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A tensor that a shard has although the index does not place it there.
    #[error("shard '{shard}' has tensor '{tensor}', which the index does not place there")]
    NotInIndex {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },

    // ---- parts of a split GGUF ----
    /// A part of a model whose other parts are not at hand.
    #[error("part {part} of {count}; open it by its path, with the other parts beside it")]
    LonePart {
        /// Which part, from 1.
        part: u64,
        /// How many there are.
        count: u64,
    },
    /// A part under a name that does not lead to the others.
    #[error("part {part} of {count} of a model, so its name should end in '{expected}'; give the file its name back")]
    PartName {
        /// Which part, from 1.
        part: u64,
        /// How many there are.
        count: u64,
        /// The ending that the keys ask for.
        expected: String,
    },
    /// A part that says something else about the model than the others do.
    #[error("{key} is {found}, but {expected} by the other parts; are these files of one model?")]
    PartMismatch {
        /// The key.
        key: String,
        /// Its value in this part.
        found: String,
        /// The value in the first part, or what the parts add up to.
        expected: String,
    },

    // ---- adapters ----
    /// A setting that has another value than the one that is supported.
    #[error("{key} is '{found}', supported: '{expected}'")]
    Setting {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What is supported.
        expected: String,
    },
    /// A tensor that is no factor of an adapter.
    #[error("tensor '{tensor}' is no part of an adapter; expected {expected}")]
    UnknownSuffix {
        /// The tensor.
        tensor: String,
        /// How names must be.
        expected: &'static str,
    },
    /// A factor without the other one.
    #[error("tensor '{tensor}' has no factor {other} beside it")]
    Unpaired {
        /// The factor that is there.
        tensor: String,
        /// The one that is missing.
        other: &'static str,
    },
    /// Two factors that do not fit, or a factor that is not what the configuration says.
    #[error("tensor '{tensor}': {what} {found}, but {expected} by '{other}'")]
    FactorMismatch {
        /// The tensor.
        tensor: String,
        /// The other factor, or the configuration.
        other: String,
        /// What differs.
        what: &'static str,
        /// The tensor's.
        found: u64,
        /// The other's.
        expected: u64,
    },

    // ---- requests ----
    /// A tensor that the checkpoint does not have.
    #[error("no tensor '{tensor}'")]
    NoSuchTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor info that is not of this checkpoint.
    #[error("tensor '{tensor}' is in file {file}, but there are {files}")]
    NoSuchFile {
        /// The tensor.
        tensor: String,
        /// The index in the info.
        file: u32,
        /// Files in the checkpoint.
        files: usize,
    },
    /// A buffer that is not of the tensor's size.
    #[error("tensor '{tensor}' has {expected} bytes, the buffer {found}")]
    BufferLength {
        /// The tensor.
        tensor: String,
        /// The tensor's size.
        expected: u64,
        /// The buffer's.
        found: u64,
    },
    /// More bytes given to a writer than the declared tensors have.
    #[error("{found} bytes beyond the last declared tensor")]
    TooMuchData {
        /// The excess.
        found: u64,
    },
    /// A writer finished before every declared tensor was written.
    #[error("tensor '{tensor}' has {written} of {expected} bytes")]
    Unfinished {
        /// The first incomplete tensor.
        tensor: String,
        /// What was written of it.
        written: u64,
        /// Its size.
        expected: u64,
    },
}

/// Shows leading bytes as text where they are text, so that a reader recognizes `<htm` or `PK`.
struct Bytes<'a>(&'a [u8; 4]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}
