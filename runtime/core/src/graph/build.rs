//! Building graphs: one function per op, with shapes inferred and checked.
//!
//! The first misfit is kept and reported by [`GraphBuilder::finish`], so that a model reads as a recipe.

use super::{Dim, External, ExternalKind, Graph, GraphError, Node, Op, Origin, Value, ValueInfo};
use std::collections::HashSet;
use tern_abi::dtype::{F32, I8, I32};
use tern_abi::ops::*;
use tern_abi::state::StateDesc;

/// Builds a [`Graph`].
#[derive(Debug)]
pub struct GraphBuilder {
    graph: Graph,
    names: HashSet<String>,
    error: Option<GraphError>,
    real: u32,
}

/// Optional parts of a linear op.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinearExtras {
    /// `[N]`.
    pub bias: Option<Value>,
    /// `lora_a [A, r, K]` and `lora_b [A, r, N]`.
    pub adapter: Option<(Value, Value)>,
    /// `adapter_index i32 [T]` and `adapter_scale [A]`; needed with `adapter`.
    pub adapter_choice: Option<(Value, Value)>,
}

/// What attention needs besides q, k and v.
#[derive(Clone, Copy, Debug)]
pub struct AttentionInputs {
    /// `i32 [T]`.
    pub positions: Value,
    /// `i32 [S + 1]`.
    pub seq_start: Value,
    /// KV state, slots and page table; `None` attends within the step (training).
    pub cache: Option<(Value, Value, Value)>,
    /// `[heads]`.
    pub sinks: Option<Value>,
}

impl Default for GraphBuilder {
    fn default() -> Self {
        Self::new(F32)
    }
}

impl GraphBuilder {
    /// A builder whose real values have type `real`: F32, or F64 for exact work on the reference backend.
    pub fn new(real: u32) -> Self {
        Self { graph: Graph::default(), names: HashSet::new(), error: None, real }
    }

    /// Goes on with a finished graph: gradients are added this way.
    pub fn resume(graph: Graph, real: u32) -> Self {
        let names = graph.externals.iter().map(|e| e.name.clone()).collect();
        Self { graph, names, error: None, real }
    }

    /// The finished graph, with `outputs` to be read, or what did not fit.
    pub fn finish(mut self, outputs: &[Value]) -> Result<Graph, GraphError> {
        self.graph.outputs = outputs.to_vec();
        match self.error {
            None => Ok(self.graph),
            Some(error) => Err(error),
        }
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Type of real values.
    pub fn real(&self) -> u32 {
        self.real
    }

    // ---- externals ----

    fn external(&mut self, name: &str, kind: ExternalKind, dtype: u32, shape: Vec<Dim>) -> Value {
        if !self.names.insert(name.to_owned()) {
            self.fail(GraphError::Duplicate { name: name.to_owned() });
        }
        let index = self.graph.externals.len();
        let value = self.value(ValueInfo { dtype, shape, origin: Origin::External(index) });
        self.graph.externals.push(External { name: name.to_owned(), kind, value });
        value
    }

    /// An i32 input of a step.
    pub fn input_i32(&mut self, name: &str, shape: &[Dim]) -> Value {
        self.external(name, ExternalKind::Input, I32, shape.to_vec())
    }

    /// A real input of a step.
    pub fn input_real(&mut self, name: &str, shape: &[Dim]) -> Value {
        self.external(name, ExternalKind::Input, self.real, shape.to_vec())
    }

    /// A weight as in the file; `usage`: [`tern_abi::weight::usage`].
    pub fn weight(&mut self, name: &str, dtype: u32, shape: &[u64], usage: u32) -> Value {
        self.external(name, ExternalKind::Weight(usage), dtype, fixed(shape))
    }

    /// Plain real memory that stays.
    pub fn constant(&mut self, name: &str, shape: &[u64]) -> Value {
        self.external(name, ExternalKind::Constant, self.real, fixed(shape))
    }

    /// Plain f32 memory that stays, whatever the type of real values (frequencies).
    pub fn constant_f32(&mut self, name: &str, shape: &[u64]) -> Value {
        self.external(name, ExternalKind::Constant, F32, fixed(shape))
    }

    /// A state. Its shape belongs to the plan's caller, so it is opaque here.
    pub fn state(&mut self, name: &str, desc: StateDesc) -> Value {
        self.external(name, ExternalKind::State(desc), I8, vec![Dim::Fixed(1)])
    }

    // ---- ops ----

    /// Rows of `table [V, D]` by `ids [T]`.
    pub fn gather(&mut self, table: Value, ids: Value) -> Value {
        let (rows, width) = (self.dim(ids, 0), self.dim(table, 1));
        self.one(Op::Gather, &[Some(table), Some(ids)], vec![rows, width])
    }

    /// Rows of `x [T, D]` by `rows [R]`.
    pub fn rows(&mut self, x: Value, rows: Value) -> Value {
        let shape = vec![self.dim(rows, 0), self.dim(x, 1)];
        self.one(Op::Rows, &[Some(x), Some(rows)], shape)
    }

    /// RMS norm over the last dimension.
    pub fn rms_norm(&mut self, x: Value, w: Value, eps: f32) -> Value {
        self.expect(w, &[self.last(x)], "rms_norm weight");
        self.one(Op::RmsNorm(NormParams { eps, groups: 0 }), &[Some(x), Some(w)], self.shape(x))
    }

    /// RMS norm of each of `groups` equal runs of a row, all with `w [D / groups]`: the heads of a query, say.
    pub fn rms_norm_groups(&mut self, x: Value, w: Value, groups: u32, eps: f32) -> Value {
        let run = match self.last(x) {
            Dim::Fixed(n) => Dim::Fixed(n / u64::from(groups.max(1))),
            other => other,
        };
        self.expect(w, &[run], "rms_norm weight");
        self.one(Op::RmsNorm(NormParams { eps, groups }), &[Some(x), Some(w)], self.shape(x))
    }

    /// Layer norm over the last dimension.
    pub fn layer_norm(&mut self, x: Value, w: Value, b: Option<Value>, eps: f32) -> Value {
        self.expect(w, &[self.last(x)], "layer_norm weight");
        self.one(Op::LayerNorm(NormParams { eps, groups: 0 }), &[Some(x), Some(w), b], self.shape(x))
    }

    /// `x [T, K]` times `w [N, K]` transposed.
    pub fn linear(&mut self, x: Value, w: Value, extras: LinearExtras) -> Value {
        let n = self.dim(w, 0);
        if self.dim(w, 1) != self.last(x) {
            let detail = format!("x is {:?}, w is {:?}: inner sizes differ", self.shape(x), self.shape(w));
            self.fail(GraphError::Shape { op: "linear", detail });
        }
        if let Some(bias) = extras.bias {
            self.expect(bias, &[n], "linear bias");
        }
        let (a, b) = extras.adapter.unzip();
        let (index, scale) = match (extras.adapter, extras.adapter_choice) {
            (Some(_), Some((index, scale))) => (Some(index), Some(scale)),
            _ => (None, None),
        };
        let params = LinearParams { n_weights: 1, ..Default::default() };
        let shape = vec![self.dim(x, 0), n];
        self.one(Op::Linear(params), &[Some(x), None, None, index, scale, Some(w), extras.bias, a, b], shape)
    }

    /// Cosines and sines for `positions [T]`, which count modulo `period` where that is not 0.
    pub fn rope_table(&mut self, positions: Value, inv_freq: Value, magnitude: f32, period: u32) -> Value {
        let n_rot = match self.dim(inv_freq, 0) {
            Dim::Fixed(n) => Dim::Fixed(2 * n),
            other => other,
        };
        let shape = vec![self.dim(positions, 0), n_rot];
        self.one(Op::RopeTable(RopeTableParams { magnitude, period }), &[Some(positions), Some(inv_freq)], shape)
    }

    /// Rotates the heads of `x`.
    pub fn rope(&mut self, x: Value, table: Value, params: RopeParams) -> Value {
        self.expect_last(x, u64::from(params.heads) * u64::from(params.head_dim), "rope");
        self.one(Op::Rope(params), &[Some(x), Some(table)], self.shape(x))
    }

    /// Attention; the state's successor comes second.
    pub fn attention(
        &mut self,
        q: Value,
        k: Value,
        v: Value,
        with: AttentionInputs,
        params: AttentionParams,
    ) -> (Value, Option<Value>) {
        let head_dim = u64::from(params.head_dim);
        self.expect_last(q, u64::from(params.heads) * head_dim, "attention q");
        self.expect_last(k, u64::from(params.kv_heads) * head_dim, "attention k");
        self.expect_last(v, u64::from(params.kv_heads) * head_dim, "attention v");
        let out = self.node_value(self.shape(q));
        let (state, slots, pages) = match with.cache {
            Some((state, slots, pages)) => (Some(state), Some(slots), Some(pages)),
            None => (None, None, None),
        };
        let next = state.map(|s| self.successor(s));
        let inputs = [
            Some(q),
            Some(k),
            Some(v),
            None,
            Some(with.positions),
            Some(with.seq_start),
            state,
            slots,
            pages,
            with.sinks,
        ];
        self.push(Op::Attention(params), &inputs, &[Some(out), next]);
        (out, next)
    }

    /// `activation(gate) * up`.
    pub fn glu(&mut self, gate: Value, up: Value, activation: u32) -> Value {
        self.glu_with(gate, up, GluParams { activation, ..Default::default() })
    }

    /// The same with all parameters.
    pub fn glu_with(&mut self, gate: Value, up: Value, params: GluParams) -> Value {
        self.expect(up, &self.shape(gate), "glu up");
        self.one(Op::Glu(params), &[Some(gate), Some(up)], self.shape(gate))
    }

    /// `a + b`.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.one(Op::Add, &[Some(a), Some(b)], self.shape(a))
    }

    /// `a * b`.
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.one(Op::Mul, &[Some(a), Some(b)], self.shape(a))
    }

    /// `factor * x`.
    pub fn scale(&mut self, x: Value, factor: f32) -> Value {
        self.one(Op::Scale(ScaleParams { factor }), &[Some(x)], self.shape(x))
    }

    /// `activation(x)`.
    pub fn activation(&mut self, x: Value, activation: u32) -> Value {
        self.one(Op::Activation(ActivationParams { activation }), &[Some(x)], self.shape(x))
    }

    /// Each row of `x` rounded to 8 bits with one scale, as BitNet b1.58 was trained.
    pub fn quantize_tokens(&mut self, x: Value) -> Value {
        self.one(Op::QuantizeTokens, &[Some(x)], self.shape(x))
    }

    /// Expert ids `i32 [T, k]` and their weights `[T, k]` for `logits [T, E]`.
    pub fn moe_route(&mut self, logits: Value, params: MoeRouteParams) -> (Value, Value) {
        let shape = vec![self.dim(logits, 0), Dim::Fixed(u64::from(params.top_k))];
        let ids = self.value(ValueInfo { dtype: I32, shape: shape.clone(), origin: Origin::Node });
        let weights = self.node_value(shape);
        self.push(Op::MoeRoute(params), &[Some(logits)], &[Some(ids), Some(weights)]);
        (ids, weights)
    }

    /// Experts `w [E, N, K]` chosen by `ids [T, k]` on `x [T, K]` or `[T, k, K]`.
    pub fn expert_linear(&mut self, x: Value, w: Value, bias: Option<Value>, ids: Value) -> Value {
        if self.dim(w, 2) != self.last(x) {
            let detail = format!("x is {:?}, w is {:?}: inner sizes differ", self.shape(x), self.shape(w));
            self.fail(GraphError::Shape { op: "expert_linear", detail });
        }
        let shape = vec![self.dim(ids, 0), self.dim(ids, 1), self.dim(w, 1)];
        self.one(Op::ExpertLinear, &[Some(x), Some(w), bias, Some(ids)], shape)
    }

    /// Weighted sum over ranks of `y [T, k, N]` (or `[T, N]` with one weight), plus `residual [T, N]`.
    pub fn moe_combine(&mut self, y: Value, weights: Value, residual: Option<Value>) -> Value {
        let shape = vec![self.dim(y, 0), self.last(y)];
        self.one(Op::MoeCombine, &[Some(y), Some(weights), residual], shape)
    }

    /// Fast weights. Their inputs in the order of [`FAST_WEIGHT`], positions and seq_start included, without state and slots; what comes
    /// after these is `more`: decay, weights and biases of a second layer, those of a gate, a momentum.
    pub fn fast_weight(
        &mut self,
        inputs: [Option<Value>; 11],
        state: Option<(Value, Value)>,
        more: [Option<Value>; 5],
        params: FastWeightParams,
    ) -> (Value, Option<Value>) {
        let out = self.node_value(inputs[2].map(|v| self.shape(v)).unwrap_or_default());
        let next = state.map(|(s, _)| self.successor(s));
        let (state, slots) = state.unzip();
        let all: Vec<_> = inputs.into_iter().chain([state, slots]).chain(more).collect();
        self.push(Op::FastWeight(params), &all, &[Some(out), next]);
        (out, next)
    }

    /// Each channel of `x` convolved along the sequence with `w [C, width]`. `rows`: positions and seq_start; `state`: state and slots.
    pub fn short_conv(
        &mut self,
        x: Value,
        w: Value,
        bias: Option<Value>,
        rows: [Value; 2],
        state: Option<(Value, Value)>,
        params: ShortConvParams,
    ) -> (Value, Option<Value>) {
        let out = self.node_value(self.shape(x));
        let next = state.map(|(s, _)| self.successor(s));
        let (state, slots) = state.unzip();
        let all = [Some(x), Some(w), bias, Some(rows[0]), Some(rows[1]), state, slots];
        self.push(Op::ShortConv(params), &all, &[Some(out), next]);
        (out, next)
    }

    /// Columns of `x [T, N]`.
    pub fn columns(&mut self, x: Value, params: ColumnsParams) -> Value {
        let shape = vec![self.dim(x, 0), Dim::Fixed(params.count.into())];
        self.one(Op::Columns(params), &[Some(x)], shape)
    }

    /// Negative log-likelihood of `targets [R]` under `logits [R, V]`, in nats.
    pub fn cross_entropy(&mut self, logits: Value, targets: Value) -> Value {
        let shape = vec![self.dim(logits, 0)];
        self.one(Op::CrossEntropy, &[Some(logits), Some(targets)], shape)
    }

    /// The same of the logits `scale * x wᵀ`, capped where `softcap` is above 0: `x [R, K]`, `w [V, K]`. Logits are never held
    /// all at once.
    pub fn linear_cross_entropy(
        &mut self,
        x: Value,
        w: Value,
        targets: Value,
        params: LinearCrossEntropyParams,
    ) -> Value {
        if self.dim(w, 1) != self.last(x) {
            let detail = format!("x is {:?}, w is {:?}: inner sizes differ", self.shape(x), self.shape(w));
            self.fail(GraphError::Shape { op: "linear_cross_entropy", detail });
        }
        let shape = vec![self.dim(x, 0)];
        self.one(Op::LinearCrossEntropy(params), &[Some(x), Some(w), Some(targets)], shape)
    }

    /// `factor` times the sum of all elements: shape `[1]`.
    pub fn sum(&mut self, x: Value, factor: f32) -> Value {
        self.one(Op::Sum(ScaleParams { factor }), &[Some(x)], vec![Dim::Fixed(1)])
    }

    // ---- helpers ----

    pub(super) fn fail(&mut self, error: GraphError) {
        self.error.get_or_insert(error);
    }

    pub(super) fn value(&mut self, info: ValueInfo) -> Value {
        self.graph.values.push(info);
        Value((self.graph.values.len() - 1) as u32)
    }

    pub(super) fn node_value(&mut self, shape: Vec<Dim>) -> Value {
        self.value(ValueInfo { dtype: self.real, shape, origin: Origin::Node })
    }

    /// The value a state has after an op: same external, so the same memory.
    fn successor(&mut self, state: Value) -> Value {
        let info = self.graph.info(state).clone();
        self.value(info)
    }

    pub(super) fn push_node(&mut self, node: Node) {
        self.graph.nodes.push(node);
    }

    fn push(&mut self, op: Op, inputs: &[Option<Value>], outputs: &[Option<Value>]) {
        self.push_node(Node { op, grad: false, inputs: inputs.to_vec(), outputs: outputs.to_vec() });
    }

    fn one(&mut self, op: Op, inputs: &[Option<Value>], shape: Vec<Dim>) -> Value {
        let out = self.node_value(shape);
        self.push(op, inputs, &[Some(out)]);
        out
    }

    pub(super) fn shape(&self, v: Value) -> Vec<Dim> {
        self.graph.info(v).shape.clone()
    }

    fn dim(&self, v: Value, i: usize) -> Dim {
        self.graph.info(v).shape.get(i).copied().unwrap_or(Dim::Fixed(0))
    }

    pub(super) fn last(&self, v: Value) -> Dim {
        self.graph.info(v).shape.last().copied().unwrap_or(Dim::Fixed(0))
    }

    fn expect(&mut self, v: Value, shape: &[Dim], op: &'static str) {
        if self.graph.info(v).shape != shape {
            let detail = format!("shape is {:?}, expected {shape:?}", self.shape(v));
            self.fail(GraphError::Shape { op, detail });
        }
    }

    fn expect_last(&mut self, v: Value, n: u64, op: &'static str) {
        if self.last(v) != Dim::Fixed(n) {
            let detail = format!("width is {:?}, expected {n}", self.last(v));
            self.fail(GraphError::Shape { op, detail });
        }
    }
}

fn fixed(shape: &[u64]) -> Vec<Dim> {
    shape.iter().map(|&n| Dim::Fixed(n)).collect()
}
