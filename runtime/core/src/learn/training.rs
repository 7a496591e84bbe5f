//! Training an adapter: batches of tokens in, better factors out. The model's weights stay as they are, in the layout that they are
//! in for inference, and are shared with it.
//!
//! ```text
//! options.rs   what is to be done, and what it will take
//! pack.rs      examples to micro-batches
//! runner.rs    a compiled graph with its memory
//! graphs.rs    forward, loss, gradients; what is computed twice to save memory
//! factors.rs   the factors on the host and on devices
//! hold.rs      what is to stay as the base model says
//! state.rs     a training in a file
//! kl.rs        how far the adapter takes the model from what it was
//! ```

mod factors;
mod graphs;
mod hold;
mod kl;
mod options;
mod pack;
mod state;

pub use hold::Held;
pub(super) use kl::divergence;
pub use options::{Recompute, TrainingOptions, TrainingPlan};

use super::adapter::{Adapter, Layout};
use super::optim::Optimizer;
use super::schedule::Schedule;
use crate::backend::{CancelFlag, Reserved};
use crate::context::Runner;
use crate::error::Error;
use crate::model::Model;
use factors::FactorSet;
use graphs::Graphs;
use pack::{Micro, Packing, pack};
use web_time::Instant;

/// Memory of the host, under the cap that the model is under.
fn take(model: &Model, what: &str, needed: u64) -> Result<Reserved, Error> {
    let lacking = |available| Error::Memory { what: what.to_owned(), needed, available, fits: 0 };
    model.devices()[0].budget().take(needed).map_err(lacking)
}

/// Tokens to learn from or to score. A token is predicted from those before it in the same example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// At most as many as [`TrainingOptions::context`].
    pub tokens: Vec<u32>,
    /// For each token, does its prediction count? The first one's never does.
    pub counts: Vec<bool>,
}

impl Example {
    /// All tokens count.
    pub fn of(tokens: Vec<u32>) -> Self {
        Self { counts: vec![true; tokens.len()], tokens }
    }

    /// Tokens that count.
    pub fn targets(&self) -> usize {
        self.counts.iter().skip(1).filter(|&&c| c).count()
    }
}

impl AsRef<Example> for Example {
    fn as_ref(&self) -> &Example {
        self
    }
}

/// How well an example was predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Nats {
    /// Negative log-likelihood of the tokens that count.
    pub nats: f64,
    /// How many these are.
    pub tokens: usize,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps so far, this one included.
    pub step: u64,
    /// Nats per token that counts, before the step.
    pub loss: f64,
    /// Tokens that count.
    pub tokens: usize,
    /// Of what was held: the mean of `KL(base || adapted)` over its tokens that count, before the step; 0 where nothing was.
    pub divergence: f64,
    /// Length of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// How long it took.
    pub seconds: f64,
}

/// A training of one adapter for one model.
///
/// Nothing depends on the number of threads, and random numbers are functions of [`TrainingOptions::seed`] and of what they are for: the
/// same calls give the same bits.
pub struct Training {
    model: Model,
    options: TrainingOptions,
    plan: TrainingPlan,
    factors: FactorSet,
    optimizer: Box<dyn Optimizer>,
    step: u64,
    trainer: Runner,
    /// Made when first needed.
    scorer: Option<Runner>,
    graphs: Graphs,
    cancel: CancelFlag,
    /// The flag is somebody else's.
    obeys: bool,
    _host: Reserved,
}

impl Training {
    /// Makes factors for the chosen matrices of `model` (A at random, B zero, so that nothing changes at first) and all that training
    /// them takes.
    ///
    /// # Errors
    /// [`Error::Setting`] and [`Error::Adapter`] for options that are out of range, [`Error::Memory`] where it would not fit, before
    /// anything is taken; [`Error::Plan`] where no device has the gradients; backend errors.
    pub fn new(model: &Model, options: TrainingOptions) -> Result<Self, Error> {
        model.make_room();
        let graphs = Graphs::new(model, &options)?;
        let (plan, trainer) = graphs.choose(model, &options)?;
        let layout = Layout::of(model);
        let host = take(model, "training", plan.host_bytes)?;
        let factors = FactorSet::new(model.devices(), &layout, graphs.banks(), &options)?;
        let trainer = Runner::new(model, trainer, &factors.bound(), graphs.size())?;
        let optimizer = options.optimizer.build(&factors.shapes());
        let (model, cancel) = (model.clone(), CancelFlag::new());
        Ok(Self {
            model,
            options,
            plan,
            factors,
            optimizer,
            step: 0,
            trainer,
            scorer: None,
            graphs,
            cancel,
            obeys: false,
            _host: host,
        })
    }

    /// What a training would take, before anything is taken for it.
    ///
    /// # Errors
    /// As [`Training::new`], except that too little memory is no error here.
    pub fn plan(model: &Model, options: &TrainingOptions) -> Result<TrainingPlan, Error> {
        Graphs::new(model, options)?.forecast(model, options)
    }

    /// What it takes.
    pub fn planned(&self) -> &TrainingPlan {
        &self.plan
    }

    /// Its options.
    pub fn options(&self) -> &TrainingOptions {
        &self.options
    }

    /// Another learning rate from the next step on, for a course that no [`Schedule`](crate::learn::Schedule) has.
    pub fn set_learning_rate(&mut self, rate: f64) {
        self.options.learning_rate = rate;
    }

    /// From the next step on the learning rate follows `schedule`.
    pub fn set_schedule(&mut self, schedule: Schedule) {
        self.options.schedule = schedule;
    }

    /// The model that learns.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// The flag that ends the call under way: it returns [`Error::Cancelled`], and the adapter stays what it was before it.
    pub fn cancel_flag(&self) -> CancelFlag {
        self.cancel.clone()
    }

    /// From now on `flag` ends calls. Unlike the training's own flag, which each call lowers first, it is lowered by whoever raised it.
    pub fn obey(&mut self, flag: &CancelFlag) {
        (self.cancel, self.obeys) = (flag.clone(), true);
    }

    fn lower_flag(&self) {
        if !self.obeys {
            self.cancel.reset();
        }
    }

    /// One step on `examples`, which all count alike by their tokens; as many micro-batches as they take.
    ///
    /// # Errors
    /// [`Error::Setting`] for an example that is too long, [`Error::Token`], [`Error::Empty`] where no token counts,
    /// [`Error::Cancelled`], [`Error::Diverged`] where the gradient is not finite; backend errors. The adapter is then as before.
    pub fn step(&mut self, examples: &[impl AsRef<Example>]) -> Result<StepReport, Error> {
        self.step_holding(examples, &[], 0.0)
    }

    /// The same, while the model is held on `held` to what the base model says there: to the mean loss of a token of `examples`
    /// comes `weight` times the mean of `KL(base || adapted)` over the tokens of `held` that count.
    ///
    /// # Errors
    /// As [`Training::step`]; [`Error::Setting`] for what another kind of model was to hold.
    pub fn step_holding(
        &mut self,
        examples: &[impl AsRef<Example>],
        held: &[&Held],
        weight: f64,
    ) -> Result<StepReport, Error> {
        let start = Instant::now();
        let micros = (self.pack(examples)?, self.pack_held(held)?);
        let tokens: usize = micros.0.iter().map(Micro::targets).sum();
        if tokens == 0 {
            return Err(Error::Empty);
        }
        let dropped = self.factors.begin(self.step, self.options.dropout, self.options.seed)?;
        let result = self.objective(micros, held, weight);
        if dropped {
            self.factors.upload()?;
        }
        let (loss, divergence) = result?;
        let grad_norm = self.factors.gradient_norm();
        if !grad_norm.is_finite() || !loss.is_finite() || !divergence.is_finite() {
            return Err(Error::Diverged { step: self.step });
        }
        let clip = self.options.clip.map_or(1.0, |limit| (limit / (grad_norm + 1e-6)).min(1.0));
        let learning_rate = self.options.learning_rate * self.options.schedule.factor(self.step);
        self.factors.update(&mut *self.optimizer, self.step, learning_rate as f32, clip as f32);
        self.factors.upload()?;
        self.step += 1;
        let seconds = start.elapsed().as_secs_f64();
        Ok(StepReport { step: self.step, loss, tokens, divergence, grad_norm, learning_rate, seconds })
    }

    /// Adds the gradient of `factor` times the nats, less what slopes take off them, to the factors' gradients; returns these.
    fn gradient(&mut self, micros: Vec<Micro>, factor: f64) -> Result<f64, Error> {
        let (mut loss, groups) = (0.0, self.graphs.groups());
        for mut micro in micros {
            micro.set_seed(factor as f32);
            let runner = &mut self.trainer;
            runner.run(&micro.rows, &self.cancel)?;
            micro.nats(|group, into| runner.read(group, into), &mut |_, nats| loss += nats)?;
            for group in groups..2 * groups {
                let mut along = [0.0];
                runner.read(group, &mut along)?;
                loss += f64::from(along[0]);
            }
            self.factors.add_gradients(|output, into| runner.read(2 * groups + output, into))?;
        }
        Ok(loss)
    }

    /// The mean loss of `examples` and its gradient, in an adapter's place: `a` and `b` are those of its factors A and B. Nothing is
    /// learned.
    ///
    /// # Errors
    /// As [`Training::step`].
    pub fn gradients(&mut self, examples: &[impl AsRef<Example>]) -> Result<(f64, Adapter), Error> {
        self.gradients_holding(examples, &[], 0.0)
    }

    /// The gradient that [`Training::step_holding`] takes, and the mean loss of `examples`.
    ///
    /// # Errors
    /// As [`Training::step_holding`]; no example is none.
    pub fn gradients_holding(
        &mut self,
        examples: &[impl AsRef<Example>],
        held: &[&Held],
        weight: f64,
    ) -> Result<(f64, Adapter), Error> {
        let micros = (self.pack(examples)?, self.pack_held(held)?);
        let (loss, _) = self.objective(micros, held, weight)?;
        Ok((loss, self.factors.gradients(&Layout::of(&self.model))))
    }

    /// The gradient of the mean loss of the first, and of `weight` times the mean divergence of the second, which `held` was packed to, goes
    /// to the factors. Returns both means.
    fn objective(
        &mut self,
        (own, holding): (Vec<Micro>, Vec<Micro>),
        held: &[&Held],
        weight: f64,
    ) -> Result<(f64, f64), Error> {
        self.factors.clear_gradients();
        let each = |micros: &[Micro]| 1.0 / micros.iter().map(Micro::targets).sum::<usize>().max(1) as f64;
        let (each_own, each_held) = (each(&own), each(&holding));
        let loss = self.gradient(own, each_own)? * each_own;
        let ground: f64 = held.iter().map(|h| h.ground()).sum();
        let above = if weight > 0.0 { self.gradient(holding, weight * each_held)? - ground } else { 0.0 };
        // Rounding may take what is nothing below it.
        Ok((loss, (above * each_held).max(0.0)))
    }

    /// How well the model with the adapter as it is predicts each example.
    ///
    /// # Errors
    /// As [`Training::step`]; an example without tokens that count has zero nats.
    pub fn score(&mut self, examples: &[impl AsRef<Example>]) -> Result<Vec<Nats>, Error> {
        let micros = self.pack(examples)?;
        let mut scores: Vec<Nats> = examples.iter().map(|e| Nats { nats: 0.0, tokens: e.as_ref().targets() }).collect();
        if self.scorer.is_none() {
            self.scorer = Some(Runner::new(
                &self.model,
                self.graphs.scoring(&self.model)?,
                &self.factors.bound(),
                self.graphs.size(),
            )?);
        }
        let Some(scorer) = &mut self.scorer else { return Ok(scores) };
        for micro in micros {
            scorer.run(&micro.rows, &self.cancel)?;
            micro.nats(|group, into| scorer.read(group, into), &mut |example, nats| scores[example].nats += nats)?;
        }
        Ok(scores)
    }

    /// Seconds that a micro-batch of [`TrainingOptions::context`] tokens takes: one is run and timed, and nothing learned from it.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; backend errors.
    pub fn probe(&mut self) -> Result<f64, Error> {
        let vocab = self.model.tokenizer().vocab_size().max(1) as u64;
        let tokens = (0..self.options.context).map(|i| (i * 7919 % vocab) as u32).collect();
        let micros = self.pack(&[Example::of(tokens)])?;
        let start = Instant::now();
        self.factors.clear_gradients();
        self.gradient(micros, 1.0)?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn pack(&self, examples: &[impl AsRef<Example>]) -> Result<Vec<Micro>, Error> {
        self.lower_flag();
        pack(examples, &self.packing(Some(0)))
    }

    fn packing(&self, adapter: Option<u32>) -> Packing {
        let (size, vocab) = (self.graphs.size(), self.model.tokenizer().vocab_size());
        Packing { size, vocab, width: self.graphs.width(), adapter }
    }

    /// The adapter as it is.
    pub fn adapter(&self) -> Adapter {
        self.factors.adapter(&Layout::of(&self.model))
    }

    /// Goes on from `adapter`. The optimizer forgets what it has seen.
    ///
    /// # Errors
    /// [`Error::Adapter`] where it does not fit the model, or changes a matrix that is not trained, or has another rank.
    pub fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), Error> {
        let layout = Layout::of(&self.model);
        layout.check(adapter)?;
        self.factors.set(&layout, adapter)?;
        self.optimizer = self.options.optimizer.build(&self.factors.shapes());
        self.factors.upload()
    }
}
