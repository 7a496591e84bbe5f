//! Who else has a say: the user, the battery, the thermometer.

use crate::backend::CancelFlag;
use crate::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// How often a learner that waits asks again.
const WAIT: Duration = Duration::from_millis(100);

/// What the application's conditions say, before every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Go on.
    Go,
    /// Not now: too hot, on battery, or the user paused it. Nothing is computed until it says otherwise.
    Wait,
    /// That was enough: what was learned so far is checked, and committed if it passes.
    Stop,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The base answers prompts, once for each base.
    Anchor,
    /// Is it a text at all?
    Screen,
    /// How well it is predicted before.
    Before,
    /// Steps.
    Learn,
    /// How well it is predicted after.
    After,
    /// Waiting, as the conditions say.
    Waiting,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// With what.
    pub phase: Phase,
    /// So much.
    pub done: u64,
    /// Of so much.
    pub total: u64,
    /// Nats per token of the last step.
    pub loss: Option<f64>,
}

/// The say that others have.
#[derive(Clone, Default)]
pub struct Control {
    /// Ends it at once; nothing changes.
    pub cancel: CancelFlag,
    /// Is told how far it is.
    pub progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
    /// Is asked whether to go on.
    pub conditions: Option<Arc<dyn Fn() -> Condition + Send + Sync>>,
}

impl Control {
    /// The same, but nobody is told of progress.
    pub(super) fn untold(&self) -> Self {
        Self { progress: None, ..self.clone() }
    }

    pub(super) fn report(&self, phase: Phase, done: usize, total: usize, loss: Option<f64>) {
        if let Some(progress) = &self.progress {
            progress(Progress { phase, done: done as u64, total: total as u64, loss });
        }
    }

    /// Waits while it must. Whether to go on.
    pub(super) fn may_go_on(&self) -> Result<bool, Error> {
        let mut waiting = false;
        loop {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match self.conditions.as_ref().map_or(Condition::Go, |ask| ask()) {
                Condition::Go => return Ok(true),
                Condition::Stop => return Ok(false),
                Condition::Wait => {
                    if !std::mem::replace(&mut waiting, true) {
                        self.report(Phase::Waiting, 0, 0, None);
                    }
                    std::thread::sleep(WAIT);
                }
            }
        }
    }
}
