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
use crate::context::StoredState;
use crate::error::Error;
use crate::model::Model;
use crate::models::PAGE_SIZE;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tern_formats::safetensors::{self, Safetensors};
use tern_formats::{AtomicFile, Checkpoint, DType, Existing, FileSource};

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
        let mut writer = safetensors::Writer::new(path.display().to_string());
        let own = [
            ("tern.session", VERSION.to_owned()),
            ("tern.model", fingerprint),
            ("tern.name", shared.model.info().name.clone().unwrap_or_default()),
            ("tern.kv", shared.options.kv.name().to_owned()),
            ("tern.page_size", PAGE_SIZE.to_string()),
            ("tern.computed", computed.to_string()),
            ("tern.passed", passed.to_string()),
        ];
        for (key, value) in own {
            writer.metadata(key, value);
        }
        for (key, value) in extra {
            writer.metadata(key, value);
        }
        writer.tensor(TOKENS, DType::I32, [tokens.len() as u64])?;
        for s in &states {
            writer.tensor(&s.name, DType::I8, [s.units, s.unit_bytes])?;
        }
        writer.tensor(CHECKSUMS, DType::I32, [states.len() as u64])?;
        let failed = |error| Error::Io { path: path.display().to_string(), error };
        let mut body = writer.begin(AtomicFile::create(path, Existing::Replace).map_err(failed)?)?;
        body.write(&ints(tokens.iter().copied()))?;
        let mut sums = Vec::new();
        for index in 0..states.len() {
            let (mut sum, mut result) = (crc32fast::Hasher::new(), Ok(()));
            shared.engine.with(|c| {
                c.export_state(shared.place, index, computed, &mut |bytes| {
                    sum.update(bytes);
                    if result.is_ok() {
                        result = body.write(bytes);
                    }
                })
            })??;
            result?;
            sums.push(sum.finalize());
        }
        body.write(&ints(sums.into_iter()))?;
        body.finish()?.commit().map_err(failed)
    }
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
        let expected = self.fingerprint()?;
        let found = file.text("tern.model")?;
        if found != expected {
            let (name, path) = (file.text("tern.name").unwrap_or_default().to_owned(), file.path.clone());
            return Err(Error::OtherModel { path, name, found: found.to_owned(), expected });
        }
        let tokens = file.ints(TOKENS)?;
        let (computed, passed) = (file.number("tern.computed")?, file.number("tern.passed")?);
        if computed > tokens.len() || passed * PAGE_SIZE as usize > computed {
            return Err(file.bad(format!("{computed} of {} tokens computed, {passed} pages gone", tokens.len())));
        }
        if file.text("tern.page_size")? != PAGE_SIZE.to_string() {
            return Err(file.bad(format!("its pages have {} positions, not {PAGE_SIZE}", file.text("tern.page_size")?)));
        }
        let kv = KvType::from_name(file.text("tern.kv")?)
            .ok_or_else(|| file.bad(format!("unknown type of keys and values {:?}", file.text("tern.kv"))))?;
        let vocab = self.tokenizer().vocab_size();
        if let Some(&id) = tokens.iter().find(|&&t| t as usize >= vocab) {
            return Err(Error::Token { id, vocab });
        }
        let room = options.context.unwrap_or_else(|| self.default_context().max(tokens.len() as u64));
        let capacity = room as usize;
        if tokens.len() > capacity {
            return Err(Error::ContextFull { used: 0, wanted: tokens.len(), capacity });
        }
        let session = Session::new(self, SessionOptions { kv, context: Some(room), isolated: true, ..options })?;
        // The file's states are the plain model's.
        session.set_adapters(&[])?;
        let shared = &session.shared;
        let states = shared.engine.with(|c| c.stored_states(computed, passed))?;
        let sums = file.ints(CHECKSUMS)?;
        if sums.len() != states.len() {
            return Err(file.bad(format!("{} states, {} expected", sums.len(), states.len())));
        }
        shared.engine.with(|c| c.begin_import(shared.place, &tokens, computed, passed))??;
        for (index, (state, sum)) in states.iter().zip(sums).enumerate() {
            let bytes = file.state(state)?;
            if crc32fast::hash(&bytes) != sum {
                return Err(file.bad(format!("the checksum of {} does not match; the file is damaged", state.name)));
            }
            shared.engine.with(|c| {
                let units = bytes.chunks_exact((state.unit_bytes as usize).max(1)).enumerate();
                units.into_iter().try_for_each(|(unit, bytes)| c.import_state(shared.place, index, unit, bytes))
            })??;
        }
        shared.engine.with(|c| c.end_import(shared.place, computed))??;
        session.set_adapters(&self.chosen_adapters())?;
        Ok((session, file.extra))
    }
}

/// An open session file.
struct Stored {
    path: String,
    metadata: HashMap<String, String>,
    extra: Extra,
    checkpoint: Checkpoint,
}

impl Stored {
    fn open(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let source = FileSource::open(path).map_err(|error| Error::Io { path: name.clone(), error })?;
        let Safetensors { metadata, checkpoint } = safetensors::open(Arc::new(source))?;
        let (own, extra): (Vec<_>, Vec<_>) =
            metadata.into_iter().partition(|(key, _)| key.starts_with("tern.") && !key.starts_with("tern.chat"));
        let this = Self { path: name, metadata: own.into_iter().collect(), extra, checkpoint };
        match this.metadata.get("tern.session").map(String::as_str) {
            Some(VERSION) => Ok(this),
            Some(other) => Err(this.bad(format!("version {other}, expected {VERSION}"))),
            None => Err(this.bad("it is not a session file, but something else in safetensors".to_owned())),
        }
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
        if tensor.dtype != DType::I8 || tensor.shape != expected {
            let what = format!("{} is {} {:?}, expected I8 {expected:?}", state.name, tensor.dtype, tensor.shape);
            return Err(self.bad(what));
        }
        Ok(self.checkpoint.read(tensor)?)
    }
}

fn ints(values: impl Iterator<Item = u32>) -> Vec<u8> {
    values.flat_map(u32::to_le_bytes).collect()
}
