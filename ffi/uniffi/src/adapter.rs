//! What changes a model: adapters from files, and deltas from a store.

use crate::error::TernError;
use crate::guarded;
use crate::model::Model;
use std::path::PathBuf;
use std::sync::Arc;
use tern::AdapterId;

/// An adapter of one model, for its sessions. Sessions that have it keep it after it is closed.
#[derive(uniffi::Object)]
pub struct Adapter {
    model: tern::Model,
    id: AdapterId,
}

/// An adapter, and how much it counts.
#[derive(uniffi::Record)]
pub struct AdapterWeight {
    /// The adapter.
    pub adapter: Arc<Adapter>,
    /// 1 is as it was made.
    #[uniffi(default = 1.0)]
    pub weight: f32,
}

impl Adapter {
    pub(crate) fn add(model: &Model, adapter: tern::learn::Adapter) -> Result<Arc<Self>, TernError> {
        let id = model.inner.add_adapter(adapter)?;
        Ok(Arc::new(Self { model: model.inner.clone(), id }))
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        self.model.remove_adapter(self.id);
    }
}

/// Makes a session use adapters, instead of those that it has.
pub(crate) fn set(session: &tern::Session, adapters: &[AdapterWeight]) -> Result<(), TernError> {
    let one = |a: &AdapterWeight| match a.adapter.model.is_same(session.model()) {
        true => Ok((a.adapter.id, a.weight)),
        false => Err(TernError::from(tern::Error::Setting {
            setting: "adapters",
            found: "an adapter of another model".to_owned(),
            expected: "those of the session's model",
        })),
    };
    let choice = adapters.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(session.set_adapters(&choice)?)
}

#[uniffi::export]
impl Model {
    /// Reads an adapter: a GGUF file, or a PEFT folder.
    ///
    /// Fails with `BadAdapter` where it does not fit the model, `BadFile`, `Io`.
    pub fn adapter(&self, path: String) -> Result<Arc<Adapter>, TernError> {
        guarded(|| Adapter::add(self, tern::learn::Adapter::read(&self.inner, PathBuf::from(path))?))
    }
}
