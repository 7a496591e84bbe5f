//! The graphs of a training: the model's forward pass without a cache, with its loss; and the gradients of that.

use super::kl;
use super::options::{Recompute, TrainingOptions, TrainingPlan};
use crate::banks::Banks;
use crate::context::{ContextCost, ContextSize};
use crate::error::Error;
use crate::graph::{Dim, Graph, Loss, gradients, with_loss};
use crate::learn::Layout;
use crate::model::Model;
use crate::models::{AdapterBanks, bank_names};
use crate::plan::Plan;
use std::ops::Range;
use tern_abi::dtype::F32;

/// Examples side by side in a micro-batch.
const SEQUENCES: u64 = 16;

/// See the module.
pub struct Graphs {
    banks: AdapterBanks,
    size: ContextSize,
    /// Forward and loss.
    loss: Loss,
    /// With gradients of every A and B, in the order of the banks' matrices.
    training: Graph,
    /// The nodes of each layer.
    layers: Vec<Range<usize>>,
    parameters: u64,
}

impl Graphs {
    /// # Errors
    /// [`Error::Setting`], [`Error::Adapter`] for targets that are not there; graphs without a gradient.
    pub fn new(model: &Model, options: &TrainingOptions) -> Result<Self, Error> {
        options.check()?;
        let layout = Layout::of(model);
        let banks = options.banks(&layout)?;
        let reach = model.reach();
        if options.context > reach {
            let (found, expected) = (options.context.to_string(), "no more than the model has positions for");
            return Err(Error::Setting { setting: "context", found, expected });
        }
        let rows = options.context;
        let size = ContextSize::full(SEQUENCES.min(rows), rows, rows, rows);
        let loss = with_loss(model.training_graph(&banks, size.sequences)?, rows, F32)?;
        let external = |name: &str| {
            let missing = || Error::Internal { what: format!("the graph has no {name}") };
            Ok::<_, Error>(loss.graph.external(name).ok_or_else(missing)?.value)
        };
        let names = banks.targets.iter().flat_map(|t| bank_names(t));
        let wrt = names.map(|n| external(&n)).collect::<Result<Vec<_>, _>>()?;
        let forward = loss.graph.nodes.len();
        let (mut training, grads) = gradients(loss.graph.clone(), loss.total, &wrt, F32)?;
        training.outputs = [loss.nats.as_slice(), &loss.along].concat();
        for gradient in grads {
            training
                .outputs
                .push(gradient.ok_or_else(|| Error::Internal { what: "a matrix without effect".to_owned() })?);
        }
        training.hoist(forward);
        let layers = loss.graph.layers(loss.body);
        let parameters =
            banks.targets.iter().filter_map(|t| layout.spec(t)).map(|s| banks.rank * (s.shape[0] + s.shape[1]));
        let parameters = parameters.sum();
        Ok(Self { size, loss, training, layers, parameters, banks })
    }

    pub fn banks(&self) -> &AdapterBanks {
        &self.banks
    }

    pub fn size(&self) -> ContextSize {
        self.size
    }

    /// Groups of rows. The training's first outputs are their nats, as the scoring's are; then come what slopes take off these, then
    /// gradients.
    pub fn groups(&self) -> usize {
        self.loss.nats.len()
    }

    /// Numbers of what the head is applied to, for each token.
    pub fn width(&self) -> usize {
        let dims = self.loss.rows.first().map(|&rows| self.loss.graph.info(rows).shape.clone());
        match dims.as_deref() {
            Some([.., Dim::Fixed(width)]) => *width as usize,
            _ => 0,
        }
    }

    /// The plan that tells how each group's loss depends on what the head is applied to. Its outputs are each group's nats, what the head
    /// is applied to, and the gradients with respect to that.
    pub fn slopes(&self, model: &Model) -> Result<(Plan, Graph), Error> {
        let (mut graph, slopes) = gradients(self.loss.graph.clone(), self.loss.total, &self.loss.rows, F32)?;
        graph.outputs = [self.loss.nats.clone(), self.loss.rows.clone()].concat();
        graph.outputs.extend(slopes.into_iter().flatten());
        let plan = Plan::new(model.devices(), &graph, self.size.class())?;
        Ok((plan, graph))
    }

    /// Bytes of what is kept of so many tokens that are held.
    pub fn held_bytes(&self, tokens: u64) -> u64 {
        tokens * self.width() as u64 * size_of::<f32>() as u64
    }

    /// Bytes that holding takes: what is kept, and the larger of what making it and measuring it takes meanwhile.
    fn holding(&self, model: &Model, options: &TrainingOptions) -> Result<u64, Error> {
        if options.holds == 0 {
            return Ok(0);
        }
        let (plan, graph) = self.slopes(model)?;
        let making = ContextCost::of(model.devices(), &graph, &plan, self.size)?.working();
        let size = kl::size(options.context);
        let graph = model.graph_with(size, kl::KV.dtype(), Some(&self.banks))?;
        let plan = Plan::new(model.devices(), &graph, size.class())?;
        let measuring = ContextCost::of(model.devices(), &graph, &plan, size)?.total();
        Ok(self.held_bytes(options.holds) + making.max(measuring))
    }

    /// The plan that scores: its outputs are groups of nats.
    pub fn scoring(&self, model: &Model) -> Result<(Plan, Graph), Error> {
        let mut graph = self.loss.graph.clone();
        graph.outputs.clone_from(&self.loss.nats);
        // The sums are not wanted.
        let plan = Plan::new(model.devices(), &graph, self.size.class())?;
        Ok((plan, graph))
    }

    /// The plan that trains, with as few layers computed twice as fit.
    ///
    /// # Errors
    /// [`Error::Memory`] where not even all do; plan and backend errors.
    pub fn choose(&self, model: &Model, options: &TrainingOptions) -> Result<(TrainingPlan, (Plan, Graph)), Error> {
        let (forecast, made) = self.best(model, options)?;
        if forecast.fits() {
            return Ok((forecast, made));
        }
        let (needed, available) = (forecast.total_bytes, forecast.available_bytes.unwrap_or(0));
        Err(Error::Memory { what: "training".to_owned(), needed, available, fits: 0 })
    }

    /// What [`Graphs::choose`] would choose, or what needs least where nothing fits.
    pub fn forecast(&self, model: &Model, options: &TrainingOptions) -> Result<TrainingPlan, Error> {
        Ok(self.best(model, options)?.0)
    }

    fn best(&self, model: &Model, options: &TrainingOptions) -> Result<(TrainingPlan, (Plan, Graph)), Error> {
        // What the last layer keeps is needed at once.
        let most = (self.layers.len() as u64).saturating_sub(1);
        let choices: Vec<u64> = match options.recompute {
            Some(Recompute(n)) => vec![n.min(most)],
            None => [0, most / 4, most / 2, most * 3 / 4, most].into(),
        };
        let (plan, graph) = self.scoring(model)?;
        let scoring = ContextCost::of(model.devices(), &graph, &plan, self.size)?.working();
        let holding = self.holding(model, options)?;
        let mut best: Option<(TrainingPlan, (Plan, Graph))> = None;
        for n in choices {
            let mut graph = self.training.clone();
            graph.recompute(self.loss.body, &self.layers[..n as usize]);
            let plan = Plan::new(model.devices(), &graph, self.size.class())?;
            let working = ContextCost::of(model.devices(), &graph, &plan, self.size)?.working();
            let forecast = self.cost(model, options, [working, scoring, holding], n)?;
            let fits = forecast.fits();
            if fits || best.as_ref().is_none_or(|b| forecast.total_bytes < b.0.total_bytes) {
                best = Some((forecast, (plan, graph)));
            }
            if fits {
                break;
            }
        }
        best.ok_or_else(|| Error::Internal { what: "no way to train".to_owned() })
    }

    fn cost(
        &self,
        model: &Model,
        options: &TrainingOptions,
        [working_bytes, scoring_bytes, holding_bytes]: [u64; 3],
        n: u64,
    ) -> Result<TrainingPlan, Error> {
        let devices = model.devices();
        let factor_bytes = Banks::bytes(&Layout::of(model), &self.banks) * devices.len() as u64;
        // The numbers themselves, their gradients, and one matrix's gradient on its way.
        let host_bytes = 12 * self.parameters + options.optimizer.state_bytes(self.parameters);
        Ok(TrainingPlan {
            parameters: self.parameters,
            recompute: Recompute(n),
            layers: self.layers.len() as u64,
            factor_bytes,
            working_bytes,
            scoring_bytes,
            holding_bytes,
            host_bytes,
            total_bytes: [factor_bytes, working_bytes, scoring_bytes, holding_bytes, host_bytes].iter().sum(),
            available_bytes: devices[0].available()?.into_iter().chain(options.max_bytes).min(),
        })
    }
}
