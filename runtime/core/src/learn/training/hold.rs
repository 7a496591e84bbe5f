//! What is to stay as the base model says: examples with the slopes of the base model's own loss, see
//! [`with_loss`](crate::graph::with_loss).

use super::pack::{Micro, pack};
use super::{Example, Training, take};
use crate::backend::Reserved;
use crate::context::Runner;
use crate::error::Error;
use crate::graph::LOSS_ROWS;
use std::sync::Arc;

/// An example on which a model is to say what its base model says; see [`Training::hold`].
#[derive(Clone, Debug)]
pub struct Held {
    example: Example,
    /// Of each token that counts, one after the other.
    slopes: Vec<f32>,
    /// What the base model's loss is, less its slopes: a divergence is what is above that.
    ground: f64,
    /// The memory of all that came from one call.
    _memory: Arc<Reserved>,
}

impl Held {
    pub(super) fn ground(&self) -> f64 {
        self.ground
    }
}

impl AsRef<Example> for Held {
    fn as_ref(&self) -> &Example {
        &self.example
    }
}

impl Training {
    /// What the base model says about `examples`, whatever the adapter is: for [`Training::step_holding`]. Takes as many
    /// numbers for each token that counts as the model is wide; [`TrainingOptions::holds`](super::TrainingOptions::holds) has plans count
    /// them.
    ///
    /// # Errors
    /// As [`Training::step`]; [`Error::Memory`].
    pub fn hold(&mut self, examples: &[impl AsRef<Example>]) -> Result<Vec<Held>, Error> {
        self.lower_flag();
        let width = self.graphs.width();
        let tokens: usize = examples.iter().map(|e| e.as_ref().targets()).sum();
        let memory = Arc::new(take(&self.model, "what a training holds to", self.graphs.held_bytes(tokens as u64))?);
        let micros = pack(examples, &self.packing(None))?;
        let plan = self.graphs.slopes(&self.model)?;
        // Only for as long as it is wanted.
        let mut runner = Runner::new(&self.model, plan, &self.factors.bound(), self.graphs.size())?;
        let of = |e: &Example| Held {
            example: e.clone(),
            slopes: Vec::with_capacity(e.targets() * width),
            ground: 0.0,
            _memory: Arc::clone(&memory),
        };
        let mut held: Vec<Held> = examples.iter().map(|e| of(e.as_ref())).collect();
        let groups = self.graphs.groups();
        let (mut rows, mut slopes) = (vec![0.0; LOSS_ROWS as usize * width], vec![0.0; LOSS_ROWS as usize * width]);
        for mut micro in micros {
            micro.set_seed(1.0);
            runner.run(&micro.rows, &self.cancel)?;
            micro.nats(|group, into| runner.read(group, into), &mut |example, nats| held[example].ground += nats)?;
            for (group, examples) in micro.examples().enumerate() {
                runner.read(groups + group, &mut rows)?;
                runner.read(2 * groups + group, &mut slopes)?;
                let each = rows.chunks_exact(width).zip(slopes.chunks_exact(width));
                for (&example, (row, slope)) in examples.iter().zip(each) {
                    let along: f64 = row.iter().zip(slope).map(|(&h, &s)| f64::from(h) * f64::from(s)).sum();
                    held[example].ground -= along;
                    held[example].slopes.extend_from_slice(slope);
                }
            }
        }
        Ok(held)
    }

    /// Examples as the adapted model is to see them.
    pub(super) fn pack_held(&self, held: &[&Held]) -> Result<Vec<Micro>, Error> {
        let width = self.graphs.width();
        if let Some(wrong) = held.iter().find(|h| h.slopes.len() != h.example.targets() * width) {
            let found = format!("{} numbers for {} tokens", wrong.slopes.len(), wrong.example.targets());
            return Err(Error::Setting { setting: "held", found, expected: "what Training::hold of this model gave" });
        }
        let mut micros = pack(held, &self.packing(Some(0)))?;
        micros.iter_mut().for_each(|m| m.set_slopes(|example| &held[example].slopes, width));
        Ok(micros)
    }
}
