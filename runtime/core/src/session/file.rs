//! Sessions in files.
//!
//! A session file is a safetensors file, so that it has a checked reader and can be looked at with other tools:
//!
//! ```text
//! __metadata__   tern.session: version; tern.model: fingerprint; tern.name, tern.kv, tern.page_size, tern.computed,
//!                tern.passed; and what the caller adds
//! tokens         I32 [n]
//! <state>        I8 [units, bytes], canonical layout (see tern_abi::state), for each state of the graph
//! tern.checksums I32 [states], CRC-32 of each state, last so that it can be written in one pass
//! ```
//!
//! It is bound to the model by the fingerprint, not to the backend or its tier. It is written beside its target and moved
//! there once it is complete and on the disk.

use super::{KvType, Session, SessionOptions};
use crate::context::{Context, StoredState};
use crate::error::Error;
use crate::model::Model;
use crate::models::PAGE_SIZE;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tern_formats::safetensors::{self, Safetensors};
use tern_formats::{AtomicFile, BytesSource, Checkpoint, DType, Existing, FileSource, Source};

const VERSION: &str = "1";
const TOKENS: &str = "tokens";
const CHECKSUMS: &str = "tern.checksums";

/// Strings that a caller keeps with a session.
pub type Extra = Vec<(String, String)>;

impl Session {
    /// Writes the session to a file, from which [`Model::restore`] goes on without computing anything again. An existing file
    /// is replaced once the new one is complete.
    ///
    /// # Errors
    /// [`Error::Format`], [`Error::Io`]: the file that was there stays as it is. Backend errors.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.save_with(path.as_ref(), &[])
    }

    pub(crate) fn save_with(&self, path: &Path, extra: &[(String, String)]) -> Result<(), Error> {
        let shared = &self.shared;
        let _turn = shared.turn();
        let fingerprint = shared.model.fingerprint()?;
        let (tokens, computed, passed, states) = shared.engine.with(|c| {
            c.take_back_drafts(shared.place)?;
            // What adapters had a part in is computed again by whoever restores it, with theirs.
            let plain = shared.adapters().is_none();
            let (computed, passed) =
                if plain { (c.computed(shared.place), c.passed_pages(shared.place)) } else { (0, 0) };
            Ok::<_, Error>((c.tokens(shared.place).to_vec(), computed, passed, c.stored_states(computed, passed)))
        })??;
        let failed = |error| Error::Io { path: path.display().to_string(), error };
        let out = AtomicFile::create(path, Existing::Replace).map_err(failed)?;
        let point = Point { tokens, computed, passed, kv: shared.options.kv };
        let name = path.display().to_string();
        let header = Header { name, model: &shared.model, fingerprint, point: &point, extra };
        let file = write(out, header, &states, &mut |index, sink| {
            shared.engine.with(|c| c.export_state(shared.place, index, computed, sink))?
        })?;
        file.commit().map_err(failed)
    }
}

/// How far a sequence is.
pub(crate) struct Point {
    /// All of its tokens.
    pub tokens: Vec<u32>,
    /// Those that are computed.
    pub computed: usize,
    /// Pages at the front that no layer looks back to.
    pub passed: usize,
    /// Type of keys and values.
    pub kv: KvType,
}

/// Gives the bytes of a state, by its number.
pub(crate) type Export<'a> = &'a mut dyn FnMut(usize, &mut dyn FnMut(&[u8])) -> Result<(), Error>;

/// What is said about a sequence.
pub(crate) struct Header<'a> {
    /// Of the file, for errors.
    pub name: String,
    pub model: &'a Model,
    pub fingerprint: String,
    pub point: &'a Point,
    /// What the caller adds.
    pub extra: &'a [(String, String)],
}

/// Writes a sequence with its states.
pub(crate) fn write<W: Write>(
    out: W,
    header: Header<'_>,
    states: &[StoredState],
    export: Export<'_>,
) -> Result<W, Error> {
    let Header { name, model, fingerprint, point, extra } = header;
    let mut writer = safetensors::Writer::new(name);
    let own = [
        ("tern.session", VERSION.to_owned()),
        ("tern.model", fingerprint),
        ("tern.name", model.info().name.clone().unwrap_or_default()),
        ("tern.kv", point.kv.name().to_owned()),
        ("tern.page_size", PAGE_SIZE.to_string()),
        ("tern.computed", point.computed.to_string()),
        ("tern.passed", point.passed.to_string()),
    ];
    for (key, value) in own {
        writer.metadata(key, &value)?;
    }
    for (key, value) in extra {
        writer.metadata(key, value)?;
    }
    writer.tensor(TOKENS, DType::I32, [point.tokens.len() as u64])?;
    for s in states {
        writer.tensor(&s.name, DType::I8, [s.units, s.unit_bytes])?;
    }
    writer.tensor(CHECKSUMS, DType::I32, [states.len() as u64])?;
    let mut body = writer.begin(out)?;
    body.write(&ints(point.tokens.iter().copied()))?;
    let mut sums = Vec::new();
    for index in 0..states.len() {
        let (mut sum, mut result) = (crc32fast::Hasher::new(), Ok(()));
        export(index, &mut |bytes| {
            sum.update(bytes);
            if result.is_ok() {
                result = body.write(bytes);
            }
        })?;
        result?;
        sums.push(sum.finalize());
    }
    body.write(&ints(sums.into_iter()))?;
    Ok(body.finish()?)
}

impl Model {
    /// A session from a file that [`Session::save`] wrote, on any backend. The type of keys and values is the file's; the
    /// context is at least as long as the file's tokens. Such a session takes and offers no beginnings of others.
    ///
    /// # Errors
    /// [`Error::OtherModel`] where it was saved with another model, [`Error::SessionFile`] where it is damaged or of another
    /// version, [`Error::Format`], [`Error::ContextFull`] where `options` asks for a shorter context; as [`Model::session`].
    pub fn restore(&self, path: impl AsRef<Path>, options: SessionOptions) -> Result<Session, Error> {
        Ok(self.restore_with(path.as_ref(), options)?.0)
    }

    pub(crate) fn restore_with(&self, path: &Path, options: SessionOptions) -> Result<(Session, Extra), Error> {
        let file = Stored::open(path)?;
        Ok((self.restore_stored(&file, options)?, file.extra))
    }

    fn restore_stored(&self, file: &Stored, options: SessionOptions) -> Result<Session, Error> {
        let point = file.point(self)?;
        let len = point.tokens.len();
        let room = options.context.unwrap_or_else(|| self.default_context().max(len as u64));
        let capacity = room as usize;
        if len > capacity {
            return Err(Error::ContextFull { used: 0, wanted: len, capacity });
        }
        let kv = point.kv;
        let session = Session::new(self, SessionOptions { kv, context: Some(room), isolated: true, ..options })?;
        // The file's states are the plain model's.
        session.set_adapters(&[])?;
        let shared = &session.shared;
        file.import(&point, shared.place, &mut |f| shared.engine.with(|c| f(c))?)?;
        session.set_adapters(&self.chosen_adapters())?;
        Ok(session)
    }

    /// A session that goes on after what a session file in memory holds, with room for as many tokens more as `options` says.
    pub(crate) fn go_on_from(&self, name: &str, bytes: Vec<u8>, options: SessionOptions) -> Result<Session, Error> {
        let file = Stored::read(name, Arc::new(BytesSource::new(name, bytes)))?;
        let more = options.context.unwrap_or_else(|| self.default_context());
        let context = Some(file.ints(TOKENS)?.len() as u64 + more);
        self.restore_stored(&file, SessionOptions { context, ..options })
    }
}

/// Gives access to a context, for as long as one call takes.
type With<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&mut Context) -> Result<(), Error>) -> Result<(), Error>;

/// An open session file.
pub(crate) struct Stored {
    path: String,
    metadata: HashMap<String, String>,
    extra: Extra,
    checkpoint: Checkpoint,
}

impl Stored {
    fn open(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let source = FileSource::open(path).map_err(|error| Error::Io { path: name.clone(), error })?;
        Self::read(&name, Arc::new(source))
    }

    /// From wherever it is; `name` is for errors.
    pub(crate) fn read(name: &str, source: Arc<dyn Source>) -> Result<Self, Error> {
        let Safetensors { metadata, checkpoint } = safetensors::open(source)?;
        let (own, extra): (Vec<_>, Vec<_>) = metadata
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .partition(|(key, _)| key.starts_with("tern.") && !key.starts_with("tern.chat"));
        let this = Self { path: name.to_owned(), metadata: own.into_iter().collect(), extra, checkpoint };
        match this.metadata.get("tern.session").map(String::as_str) {
            Some(VERSION) => Ok(this),
            Some(other) => Err(this.bad(format!("version {other}, expected {VERSION}"))),
            None => Err(this.bad("it is not a session file, but something else in safetensors".to_owned())),
        }
    }

    /// How far its sequence is, which must be one of `model`.
    pub(crate) fn point(&self, model: &Model) -> Result<Point, Error> {
        let (expected, found) = (model.fingerprint()?, self.text("tern.model")?);
        if found != expected {
            let (name, path) = (self.text("tern.name").unwrap_or_default().to_owned(), self.path.clone());
            return Err(Error::OtherModel { path, name, found: found.to_owned(), expected });
        }
        let tokens = self.ints(TOKENS)?;
        let (computed, passed) = (self.number("tern.computed")?, self.number("tern.passed")?);
        if computed > tokens.len() || passed * PAGE_SIZE as usize > computed {
            return Err(self.bad(format!("{computed} of {} tokens computed, {passed} pages gone", tokens.len())));
        }
        if self.text("tern.page_size")? != PAGE_SIZE.to_string() {
            return Err(self.bad(format!("its pages have {} positions, not {PAGE_SIZE}", self.text("tern.page_size")?)));
        }
        let kv = KvType::from_name(self.text("tern.kv")?)
            .ok_or_else(|| self.bad(format!("unknown type of keys and values {:?}", self.text("tern.kv"))))?;
        let vocab = model.tokenizer().vocab_size();
        if let Some(&id) = tokens.iter().find(|&&t| t as usize >= vocab) {
            return Err(Error::Token { id, vocab });
        }
        Ok(Point { tokens, computed, passed, kv })
    }

    /// Makes sequence `place` of a context what the file says.
    pub(crate) fn import(&self, point: &Point, place: usize, with: With<'_>) -> Result<(), Error> {
        let (mut states, sums) = (Vec::new(), self.ints(CHECKSUMS)?);
        with(&mut |c| {
            states = c.stored_states(point.computed, point.passed);
            Ok(())
        })?;
        if sums.len() != states.len() {
            return Err(self.bad(format!("{} states, {} expected", sums.len(), states.len())));
        }
        with(&mut |c| c.begin_import(place, &point.tokens, point.computed, point.passed))?;
        for (index, (state, sum)) in states.iter().zip(sums).enumerate() {
            let bytes = self.state(state)?;
            if crc32fast::hash(&bytes) != sum {
                return Err(self.bad(format!("the checksum of {} does not match; the file is damaged", state.name)));
            }
            with(&mut |c| {
                let mut units = bytes.chunks_exact((state.unit_bytes as usize).max(1)).enumerate();
                units.try_for_each(|(unit, bytes)| c.import_state(place, index, unit, bytes))
            })?;
        }
        with(&mut |c| c.end_import(place, point.computed))
    }

    fn bad(&self, what: String) -> Error {
        Error::SessionFile { path: self.path.clone(), what }
    }

    fn text(&self, key: &str) -> Result<&str, Error> {
        self.metadata.get(key).map(String::as_str).ok_or_else(|| self.bad(format!("{key} is missing")))
    }

    fn number(&self, key: &str) -> Result<usize, Error> {
        let text = self.text(key)?;
        // No session is longer; sums of a few such numbers do not overflow.
        let number = text.parse().ok().filter(|&n: &usize| n <= 1 << 30);
        number.ok_or_else(|| self.bad(format!("{key} is {text:?}")))
    }

    fn ints(&self, name: &str) -> Result<Vec<u32>, Error> {
        let tensor = self.checkpoint.require(name)?;
        if tensor.dtype != DType::I32 || tensor.shape.len() != 1 {
            return Err(
                self.bad(format!("{name} is {} {:?}, expected I32 of one dimension", tensor.dtype, tensor.shape))
            );
        }
        let bytes = self.checkpoint.read(tensor)?;
        Ok(bytes.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b)).collect())
    }

    fn state(&self, state: &StoredState) -> Result<std::borrow::Cow<'_, [u8]>, Error> {
        let tensor = self.checkpoint.require(&state.name)?;
        let expected = [state.units, state.unit_bytes];
        if tensor.dtype != DType::I8 || *tensor.shape != expected {
            let what = format!("{} is {} {:?}, expected I8 {expected:?}", state.name, tensor.dtype, tensor.shape);
            return Err(self.bad(what));
        }
        Ok(self.checkpoint.read(tensor)?)
    }
}

fn ints(values: impl Iterator<Item = u32>) -> Vec<u8> {
    values.flat_map(u32::to_le_bytes).collect()
}
