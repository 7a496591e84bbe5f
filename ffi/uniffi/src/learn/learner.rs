//! Learning, with progress, pause and cancel.

use super::document::Document;
use super::options::LearnOptions;
use super::outcome::Outcome;
use super::store::{LearnedDocument, Store};
use crate::error::TernError;
use crate::model::Model;
use crate::runtime::{CallbackError, CancelHandle};
use crate::{guarded, lock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tern::CancelFlag;
use tern::learn::learner::{Condition as Going, Control, Phase, Progress};
use tern::learn::store::Learned;
use tern::learn::{Mode, Pupil};

/// Teaches a model, and keeps what it learned in a store: what helps on held-out documents and harms nothing is committed, else
/// nothing changes and the outcome says why. The model itself is never changed.
#[derive(uniffi::Object)]
pub struct Learner {
    model: Arc<Model>,
    store: Arc<Store>,
    name: String,
    options: LearnOptions,
    /// Learning at a time: memory is for one.
    running: Mutex<()>,
    paused: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

/// What the application says before every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Condition {
    /// Go on.
    Go,
    /// Not now: too hot, or on battery. Nothing is computed until it says otherwise; it is asked again ten times a second.
    Wait,
    /// That was enough: what was learned so far is checked, and committed if it passes.
    Stop,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum LearnPhase {
    /// The base model answers prompts, once for each base.
    Anchor,
    /// Is it a text at all?
    Screen,
    /// How well held-out text is predicted before.
    Before,
    /// Steps.
    Learn,
    /// How well it is predicted after.
    After,
    /// Waiting: paused, or as the listener says.
    Waiting,
}

/// How far it is.
#[derive(Clone, Copy, Debug, uniffi::Record)]
pub struct LearnProgress {
    /// With what.
    pub phase: LearnPhase,
    /// So much.
    pub done: u64,
    /// Of so much.
    pub total: u64,
    /// Nats per token of the last step.
    pub loss: Option<f64>,
}

/// Follows a learning, and has a say in it. What any of its functions throws cancels it: it fails with `Callback`, and nothing
/// has changed.
#[uniffi::export(with_foreign)]
pub trait LearnListener: Send + Sync {
    /// How far it is.
    fn progress(&self, progress: LearnProgress) -> Result<(), CallbackError>;

    /// Whether to go on: asked before every step, so that heat and battery can hold it up.
    fn condition(&self) -> Result<Condition, CallbackError>;

    /// A document that the store does not keep and that is needed to learn again; none where the application does not have it
    /// any more.
    fn supply(&self, document: LearnedDocument) -> Result<Option<Document>, CallbackError>;
}

#[uniffi::export]
impl Learner {
    /// For the delta `name` of a store.
    ///
    /// Fails with `Setting`.
    #[uniffi::constructor(default(options))]
    pub fn new(
        model: Arc<Model>,
        store: Arc<Store>,
        name: String,
        options: LearnOptions,
    ) -> Result<Arc<Self>, TernError> {
        guarded(|| {
            options.clone().split().0.check()?;
            store.inner.state(&name).map_err(tern::Error::from)?;
            let (running, paused, stopped) = (Mutex::default(), Arc::default(), Arc::default());
            Ok(Arc::new(Self { model, store, name, options, running, paused, stopped }))
        })
    }

    /// Learns from documents, and from those that wait in the store. Documents that were learned already are not counted again.
    ///
    /// Fails with `OtherBase`, `StoreLocked`, `Memory`, `Cancelled`, `Callback`; nothing has changed then.
    #[uniffi::method(default(listener = None, cancel = None))]
    pub fn learn(
        &self,
        documents: Vec<Document>,
        listener: Option<Arc<dyn LearnListener>>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Outcome, TernError> {
        let settings = self.asked();
        self.run(Follow::new(listener, cancel), settings, |learner, _, control| {
            learner.learn(documents.into_iter().map(Into::into).collect(), control)
        })
    }

    /// Forgets what came from a source: learns what is left anew, with the settings of the delta, and removes all generations with
    /// the source in them. Where what is left is not enough to learn from, the base model as it is counts.
    ///
    /// Fails with `NoDelta`, `NoSource`, `MissingSource`, and as `learn` does; nothing is forgotten then.
    #[uniffi::method(default(listener = None, cancel = None))]
    pub fn forget(
        &self,
        source: String,
        listener: Option<Arc<dyn LearnListener>>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Outcome, TernError> {
        let settings = guarded(|| self.settings())?;
        self.run(Follow::new(listener, cancel), settings, |learner, follow, control| {
            learner.forget(&source, &mut |record| follow.supply(record), control)
        })
    }

    /// Learns the documents of the delta anew for this learner's model, which is another one than the delta's: for an app that
    /// ships a new base model.
    ///
    /// Fails with `NoDelta`, `MissingSource`, and as `learn` does.
    #[uniffi::method(default(listener = None, cancel = None))]
    pub fn rebuild(
        &self,
        listener: Option<Arc<dyn LearnListener>>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Outcome, TernError> {
        let settings = guarded(|| self.settings())?;
        self.run(Follow::new(listener, cancel), settings, |learner, follow, control| {
            learner.rebuild(&mut |record| follow.supply(record), control)
        })
    }

    /// Nothing is computed, from the next step on, until `resume`.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::Relaxed);
    }

    /// Ends the learning under way in good order: what was learned so far is checked, and committed if it passes.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

impl Learner {
    /// Those that the application asks for.
    fn asked(&self) -> Settings {
        let (learn, lora) = self.options.clone().split();
        Settings { learn, pupil: Box::new(move |model| Mode::of(model).pupil(model, lora)) }
    }

    /// Those that the delta was made with.
    fn settings(&self) -> Result<Settings, TernError> {
        let delta = self.store.inner.delta(&self.name).map_err(tern::Error::from)?;
        let Some(manifest) = delta.map(|d| d.manifest) else { return Ok(self.asked()) };
        let learn = tern::learn::LearnOptions::of(&manifest)?;
        Ok(Settings { learn, pupil: Box::new(move |model| Mode::again(model, &manifest)) })
    }

    fn run(
        &self,
        follow: Follow,
        settings: Settings,
        work: impl FnOnce(&mut tern::learn::Learner<'_>, &Follow, &Control) -> Result<tern::learn::Outcome, tern::Error>,
    ) -> Result<Outcome, TernError> {
        guarded(|| {
            let _one = lock(&self.running);
            self.stopped.store(false, Ordering::Relaxed);
            let edit = self.store.edit()?;
            let control = follow.control(&self.paused, &self.stopped);
            let mut pupil = (settings.pupil)(&self.model.inner)?;
            let mut learner = tern::learn::Learner::new(&mut *pupil, &edit, &self.name, settings.learn)?;
            let outcome = work(&mut learner, &follow, &control);
            follow.outcome(outcome).map(Into::into)
        })
    }
}

/// Makes the pupil of a model.
type Teach = Box<dyn FnOnce(&tern::Model) -> Result<Box<dyn Pupil>, tern::Error>>;

/// How to learn, and who is taught.
struct Settings {
    learn: tern::learn::LearnOptions,
    pupil: Teach,
}

/// What the application gave to follow a learning.
struct Follow {
    flag: CancelFlag,
    listener: Option<Arc<dyn LearnListener>>,
    failed: Arc<OnceLock<String>>,
}

impl Follow {
    fn new(listener: Option<Arc<dyn LearnListener>>, cancel: Option<Arc<CancelHandle>>) -> Self {
        Self { flag: cancel.map(|c| c.flag.clone()).unwrap_or_default(), listener, failed: Arc::default() }
    }

    fn control(&self, paused: &Arc<AtomicBool>, stopped: &Arc<AtomicBool>) -> Control {
        let (paused, stopped) = (Arc::clone(paused), Arc::clone(stopped));
        let asked = self.listener.clone().map(|listener| (listener, self.fail()));
        let conditions = move || {
            if stopped.load(Ordering::Relaxed) {
                return Going::Stop;
            }
            if paused.load(Ordering::Relaxed) {
                return Going::Wait;
            }
            let Some((listener, fail)) = &asked else { return Going::Go };
            match listener.condition() {
                Ok(Condition::Go) => Going::Go,
                Ok(Condition::Wait) => Going::Wait,
                Ok(Condition::Stop) => Going::Stop,
                Err(error) => {
                    fail(error);
                    // The flag is asked first.
                    Going::Wait
                }
            }
        };
        let progress = self.listener.clone().map(|listener| -> Arc<dyn Fn(Progress) + Send + Sync> {
            let fail = self.fail();
            Arc::new(move |p| {
                if let Err(error) = listener.progress(p.into()) {
                    fail(error);
                }
            })
        });
        Control { cancel: self.flag.clone(), progress, conditions: Some(Arc::new(conditions)) }
    }

    /// A callback that failed ends the learning.
    fn fail(&self) -> impl Fn(CallbackError) + Send + Sync + 'static {
        let (flag, failed) = (self.flag.clone(), Arc::clone(&self.failed));
        move |CallbackError::Failed { reason }| {
            let _ = failed.set(reason);
            flag.cancel();
        }
    }

    fn supply(&self, record: &Learned) -> Option<tern::learn::Document> {
        match self.listener.as_ref()?.supply(record.into()) {
            Ok(document) => document.map(Into::into),
            Err(error) => {
                self.fail()(error);
                None
            }
        }
    }

    /// A listener that failed is the reason, not what followed from it.
    fn outcome<T>(&self, result: Result<T, tern::Error>) -> Result<T, TernError> {
        result.map_err(|error| match self.failed.get() {
            Some(reason) => TernError::callback(reason.clone()),
            None => error.into(),
        })
    }
}

impl From<Progress> for LearnProgress {
    fn from(p: Progress) -> Self {
        let phase = match p.phase {
            Phase::Anchor => LearnPhase::Anchor,
            Phase::Screen => LearnPhase::Screen,
            Phase::Before => LearnPhase::Before,
            Phase::Learn => LearnPhase::Learn,
            Phase::After => LearnPhase::After,
            Phase::Waiting => LearnPhase::Waiting,
        };
        Self { phase, done: p.done, total: p.total, loss: p.loss }
    }
}
