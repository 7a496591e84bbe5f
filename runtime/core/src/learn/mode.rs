//! Which kind of pupil a model makes.

use super::lora::{LoraOptions, LoraPupil};
use super::pupil::Pupil;
use super::state::{StateOptions, StatePupil};
use super::store::{LORA, Manifest, STATE};
use crate::error::Error;
use crate::model::Model;

/// How a model learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Low-rank factors are trained.
    Lora,
    /// The text is read, and the state after it kept: for models whose only memory is fast weights.
    State,
}

impl Mode {
    /// That of a model for which nobody chose one: its state where that is all its memory.
    pub fn of(model: &Model) -> Self {
        if model.is_recurrent() { Self::State } else { Self::Lora }
    }

    /// That of a generation.
    ///
    /// # Errors
    /// [`Error::Setting`] for one that this version does not know.
    pub fn in_manifest(manifest: &Manifest) -> Result<Self, Error> {
        match manifest.kind() {
            Some(LORA) => Ok(Self::Lora),
            Some(STATE) => Ok(Self::State),
            kind => Err(Error::Setting {
                setting: "settings of the delta",
                found: format!("kind {:?}", kind.unwrap_or_default()),
                expected: "lora or state",
            }),
        }
    }

    /// A pupil. A state takes of `options` what is not about factors.
    ///
    /// # Errors
    /// As [`LoraPupil::new`] and [`StatePupil::new`].
    pub fn pupil(self, model: &Model, options: LoraOptions) -> Result<Box<dyn Pupil>, Error> {
        Ok(match self {
            Self::Lora => Box::new(LoraPupil::new(model, options)?),
            Self::State => Box::new(StatePupil::new(model, StateOptions::from(&options))?),
        })
    }

    /// One that learns as a generation was learned.
    ///
    /// # Errors
    /// The same; [`Error::Setting`] for settings that are missing.
    pub fn again(model: &Model, manifest: &Manifest) -> Result<Box<dyn Pupil>, Error> {
        Ok(match Self::in_manifest(manifest)? {
            Self::Lora => Box::new(LoraPupil::new(model, LoraOptions::default().as_in(manifest)?)?),
            Self::State => Box::new(StatePupil::new(model, StateOptions::of(manifest)?)?),
        })
    }
}
