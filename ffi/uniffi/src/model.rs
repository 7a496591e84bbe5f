//! A model.

use crate::adapter;
use crate::chat::Chat;
use crate::error::TernError;
use crate::guarded;
use crate::session::{Session, SessionOptions};
use std::sync::{Arc, OnceLock};
use tern::{DecodeOptions, EmbedOptions};
use tern_grammar::GrammarCompiler;

/// A loaded model. Its memory goes when it and all its sessions are closed.
#[derive(uniffi::Object)]
pub struct Model {
    pub(crate) inner: tern::Model,
    /// Made with the first form that is compiled.
    pub(crate) grammars: OnceLock<GrammarCompiler>,
}

impl Model {
    pub(crate) fn of(inner: tern::Model) -> Arc<Self> {
        Arc::new(Self { inner, grammars: OnceLock::new() })
    }

    /// A session that `make` makes, with the adapters of `options`.
    fn made(
        &self,
        options: SessionOptions,
        make: impl FnOnce(tern::SessionOptions) -> Result<tern::Session, tern::Error>,
    ) -> Result<tern::Session, TernError> {
        let (adapters, options) = options.split();
        let session = make(options)?;
        if !adapters.is_empty() {
            adapter::set(&session, &adapters)?;
        }
        Ok(session)
    }
}

/// How a text's tokens become one vector.
#[derive(uniffi::Enum)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first one's.
    Cls,
    /// The last one's.
    Last,
}

/// What a model is.
#[derive(uniffi::Record)]
pub struct ModelInfo {
    /// "gguf" or "safetensors".
    pub format: String,
    /// The architecture's name in the file.
    pub architecture: String,
    /// The model's own name.
    pub name: Option<String>,
    /// Has it a chat template?
    pub chat: bool,
    /// Does it embed texts and nothing else?
    pub encoder: bool,
    /// Longest context the model was made for, in tokens.
    pub context_length: u64,
    /// Tokens of the tokenizer.
    pub vocab: u64,
    /// Layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub width: u64,
    /// Number of parameters.
    pub parameters: u64,
    /// Bytes of tensors in the file.
    pub file_bytes: u64,
    /// Bytes by element type, largest first.
    pub dtypes: Vec<DtypeBytes>,
    /// Memory of the weights in bytes.
    pub resident_bytes: u64,
    /// Key/value cache bytes per token.
    pub kv_bytes_per_token: u64,
    /// Name of the backend.
    pub backend: String,
    /// Its instruction-set tier.
    pub tier: String,
    /// Time that loading took, in milliseconds.
    pub load_ms: f64,
}

/// How much of a model has an element type.
#[derive(uniffi::Record)]
pub struct DtypeBytes {
    /// The element type.
    pub dtype: String,
    /// Bytes.
    pub bytes: u64,
}

/// Bytes of a model and its sessions.
#[derive(uniffi::Record)]
pub struct MemoryUse {
    /// Now.
    pub used: u64,
    /// The most so far.
    pub peak: u64,
    /// The cap.
    pub limit: Option<u64>,
}

/// What became of experts that stay on disk, since the model was opened.
#[derive(uniffi::Record)]
pub struct ExpertCache {
    /// Bytes that packed experts take at most.
    pub cache_bytes: u64,
    /// Bytes of all experts in the file.
    pub file_bytes: u64,
    /// How often an op used a matrix of an expert that was packed already.
    pub hits: u64,
    /// How often it had to be packed.
    pub misses: u64,
    /// Bytes of the file that were read to do so.
    pub read_bytes: u64,
    /// Hits among all uses; absent where there were none.
    pub hit_rate: Option<f64>,
}

#[uniffi::export]
impl Model {
    /// What the model is.
    pub fn info(&self) -> ModelInfo {
        let i = self.inner.info().clone();
        ModelInfo {
            format: i.format,
            architecture: i.architecture,
            name: i.name,
            chat: self.inner.template_source().is_some(),
            encoder: i.encoder,
            context_length: i.context_length,
            vocab: i.vocab,
            layers: i.layers,
            width: i.width,
            parameters: i.parameters,
            file_bytes: i.file_bytes,
            dtypes: i.dtypes.into_iter().map(|(dtype, bytes)| DtypeBytes { dtype, bytes }).collect(),
            resident_bytes: i.resident_bytes,
            kv_bytes_per_token: i.kv_bytes_per_token,
            backend: i.backend,
            tier: i.tier,
            load_ms: i.load_ms,
        }
    }

    /// What the model and its sessions hold: what `max_bytes` caps.
    pub fn memory(&self) -> MemoryUse {
        let m = self.inner.memory();
        MemoryUse { used: m.used, peak: m.peak, limit: m.limit }
    }

    /// What became of experts that stay on disk; absent where there are none, see `ModelOptions`.
    ///
    /// Fails with `Backend`.
    pub fn expert_cache(&self) -> Result<Option<ExpertCache>, TernError> {
        guarded(|| {
            Ok(self.inner.expert_cache()?.map(|c| ExpertCache {
                hit_rate: c.hit_rate(),
                cache_bytes: c.cache_bytes,
                file_bytes: c.file_bytes,
                hits: c.hits,
                misses: c.misses,
                read_bytes: c.read_bytes,
            }))
        })
    }

    /// Token ids of plain text, as a prompt begins with it. Text never becomes control tokens.
    ///
    /// Fails with `Text`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TernError> {
        guarded(|| Ok(self.inner.encode(text)?))
    }

    /// The text of token ids, without control tokens.
    ///
    /// Fails with `Token` where an id is outside the vocabulary.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TernError> {
        guarded(|| {
            let text = self.inner.tokenizer().decode(tokens, DecodeOptions { skip_special: true });
            Ok(text.map_err(tern::Error::from)?)
        })
    }

    /// Texts as vectors of length 1, near to each other where texts mean alike: their dot product is the cosine of their angle.
    /// Without a pooling it is as the model's files say, and the mean where they say nothing.
    ///
    /// Fails with `ContextFull` for a text that is too long, `Empty`, `Memory`.
    #[uniffi::method(default(pooling = None))]
    pub fn embed(&self, texts: &[String], pooling: Option<Pooling>) -> Result<Vec<Vec<f32>>, TernError> {
        let pooling = pooling.map(|p| match p {
            Pooling::Mean => tern::Pooling::Mean,
            Pooling::Cls => tern::Pooling::Cls,
            Pooling::Last => tern::Pooling::Last,
        });
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        guarded(|| {
            Ok(self.inner.embed(&texts, &EmbedOptions { pooling, normalize: Some(true), ..Default::default() })?)
        })
    }

    /// An empty session.
    ///
    /// Fails with `Memory`, `Setting`, and with `Unsupported` where the model is an encoder.
    #[uniffi::method(default(options))]
    pub fn session(&self, options: SessionOptions) -> Result<Arc<Session>, TernError> {
        guarded(|| self.made(options, |o| self.inner.session(o)).map(Session::new))
    }

    /// A conversation in a session of its own.
    ///
    /// Fails with `NoTemplate`, and as `session` does.
    #[uniffi::method(default(system = None, options))]
    pub fn chat(&self, system: Option<String>, options: SessionOptions) -> Result<Arc<Chat>, TernError> {
        guarded(|| {
            let session = self.made(options, |o| self.inner.session(o))?;
            Ok(Chat::of(tern::Chat::new(&self.inner, session, system)?))
        })
    }

    /// A session from a file that one of this model's sessions was saved to. The type of keys and values is the file's.
    ///
    /// Fails with `OtherModel`, `SessionFile`, `Io`, and as `session` does.
    #[uniffi::method(default(options))]
    pub fn restore(&self, path: String, options: SessionOptions) -> Result<Arc<Session>, TernError> {
        guarded(|| self.made(options, |o| self.inner.restore(path, o)).map(Session::new))
    }

    /// A conversation from a file that one was saved to.
    ///
    /// Fails as `restore` does.
    #[uniffi::method(default(options))]
    pub fn restore_chat(&self, path: String, options: SessionOptions) -> Result<Arc<Chat>, TernError> {
        guarded(|| {
            let (adapters, options) = options.split();
            let chat = tern::Chat::restore(&self.inner, path, options)?;
            if !adapters.is_empty() {
                adapter::set(chat.session(), &adapters)?;
            }
            Ok(Chat::of(chat))
        })
    }

    /// Gives back memory that no session needs. For an app that is told to save memory.
    ///
    /// Fails with `Backend`; sessions go on in any case.
    pub fn trim(&self) -> Result<(), TernError> {
        guarded(|| Ok(self.inner.trim()?))
    }
}
