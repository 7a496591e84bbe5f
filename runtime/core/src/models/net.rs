//! A model's graph in the model's own words: layers, names, blocks.

use super::rope::Rope;
use super::{Kind, TensorTable};
use crate::graph::{AttentionInputs, Dim, GraphBuilder, LinearExtras, Value};
use std::collections::{BTreeSet, HashMap, HashSet};
use tern_abi::Header;
use tern_abi::dtype::F32;
use tern_abi::ops::{AttentionParams, FastWeightParams, RopeParams, ShortConvParams};
use tern_abi::state::{StateDesc, kind};

/// Names of a step's inputs.
pub mod inputs {
    /// Token ids `[T]`.
    pub const TOKENS: &str = "tokens";
    /// Positions `[T]`.
    pub const POSITIONS: &str = "positions";
    /// First row of each sequence, and the row count `[S + 1]`.
    pub const SEQ_START: &str = "seq_start";
    /// Place in the KV pages of each row `[T]`.
    pub const KV_SLOTS: &str = "kv_slots";
    /// What kind of text each token is of, where a model tells kinds apart `[T]`.
    pub const TOKEN_TYPES: &str = "token_types";
    /// Pages of each sequence `[S, P]`.
    pub const KV_PAGES: &str = "kv_pages";
    /// Rows whose logits are wanted `[R]`.
    pub const OUTPUT_ROWS: &str = "output_rows";
    /// Adapter of each row, -1 for none `[T]`.
    pub const ADAPTER_INDEX: &str = "adapter_index";
    /// Adapter of each output row `[R]`.
    pub const OUTPUT_ADAPTER_INDEX: &str = "output_adapter_index";
    /// Unit of each sequence in recurrent states `[S]`.
    pub const STATE_SLOTS: &str = "state_slots";
    /// Scales of the adapters `[A]`; a constant.
    pub const ADAPTER_SCALE: &str = "adapter_scale";
}

/// Positions in a KV page: also the block in which attention works, so results depend on it.
pub const PAGE_SIZE: u32 = 64;

/// Banks of LoRA factors beside matrices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterBanks {
    /// Adapters in a bank.
    pub count: u64,
    /// Their rank; smaller ones are padded with zeros.
    pub rank: u64,
    /// The matrices that have banks, as `blk.0.attn_q.weight`.
    pub targets: BTreeSet<String>,
}

/// Names of the banks of a matrix: A `[count, rank, columns]` and B, turned round, `[count, rank, rows]`.
pub fn bank_names(tensor: &str) -> [String; 2] {
    let name = tensor.strip_suffix(".weight").unwrap_or(tensor);
    [format!("{name}.lora_a"), format!("{name}.lora_b")]
}

/// What a graph is built for.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// Real type: F32, or F64 on the reference backend.
    pub real: u32,
    /// KV pages per sequence; `None` builds the form without a cache, for training.
    pub pages: Option<u64>,
    /// Most sequences of a step.
    pub sequences: u64,
    /// Element type of cached keys and values: F16 or F32.
    pub kv_dtype: u32,
    /// Adapter banks.
    pub adapters: Option<AdapterBanks>,
    /// Length of the texts that RoPE variants which depend on it are fixed for.
    pub length: u64,
}

/// Heads and their sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Dimensions of a head.
    pub head_dim: u32,
    /// Rotated dimensions.
    pub n_rot: u32,
    /// See [`tern_abi::ops::rope_layout`].
    pub rope_layout: u32,
    /// Positions seen, 0 for all.
    pub window: u32,
    /// Factor on scores.
    pub scale: f32,
    /// Scores are `c * tanh(score / c)`; 0 for none.
    pub softcap: f32,
    /// Do rows see what comes after them, too? Then there is no cache.
    pub bidirectional: bool,
}

impl AttentionShape {
    /// Rows of the query matrix, and of the key and value matrices.
    pub fn rows(&self) -> (u64, u64) {
        let of = |heads: u32| u64::from(heads) * u64::from(self.head_dim);
        (of(self.heads), of(self.kv_heads))
    }
}

/// A constant that is computed rather than read.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    /// The values.
    pub values: Vec<f32>,
    /// A vector of the file by which they are divided.
    pub divisors: Option<String>,
}

/// Builds a model's graph.
pub struct Net<'a> {
    /// For what is not in a model's own words.
    pub g: GraphBuilder,
    /// Constants that are computed rather than read, by name.
    pub computed: HashMap<String, Computed>,
    /// Element type of each tensor that the file has, by GGUF name.
    dtypes: &'a HashMap<String, u32>,
    table: HashMap<String, (Vec<u64>, Kind)>,
    /// Matrices whose input is rounded, and what inputs are rounded.
    rounded: HashSet<String>,
    roundings: HashMap<Value, Value>,
    made: HashMap<String, Value>,
    options: NetOptions,
    layer: Option<u64>,
    /// Have rows been reduced to those that are asked for?
    reduced: bool,
}

impl<'a> Net<'a> {
    /// A net over the tensors of `table` that are in `dtypes`.
    pub fn new(table: &TensorTable, dtypes: &'a HashMap<String, u32>, options: NetOptions) -> Self {
        let rounded = table.specs.iter().filter(|s| s.bit_linear.is_some()).map(|s| s.gguf.clone()).collect();
        let table = table.specs.iter().map(|s| (s.gguf.clone(), (s.shape.clone(), s.kind))).collect();
        let (g, made) = (GraphBuilder::new(options.real), HashMap::new());
        let (computed, roundings) = (HashMap::new(), HashMap::new());
        Self { g, computed, dtypes, table, rounded, roundings, made, options, layer: None, reduced: false }
    }

    /// Names now belong to layer `i`.
    pub fn layer(&mut self, i: u64) {
        self.layer = Some(i);
    }

    /// Names now belong to no layer.
    pub fn top(&mut self) {
        self.layer = None;
    }

    /// A step's i32 input, made on first use.
    pub fn input(&mut self, name: &'static str) -> Value {
        if let Some(&v) = self.made.get(name) {
            return v;
        }
        let shape = match name {
            inputs::SEQ_START => vec![Dim::Fixed(self.options.sequences + 1)],
            inputs::STATE_SLOTS => vec![Dim::Sequences],
            inputs::KV_PAGES => vec![Dim::Sequences, Dim::Fixed(self.options.pages.unwrap_or(1))],
            inputs::OUTPUT_ROWS | inputs::OUTPUT_ADAPTER_INDEX => vec![Dim::Outputs],
            _ => vec![Dim::Tokens],
        };
        let v = self.g.input_i32(name, &shape);
        self.made.insert(name.to_owned(), v);
        v
    }

    /// Does the file have this tensor (a full GGUF name, or one of the current layer)?
    pub fn has(&self, name: &str) -> bool {
        self.dtypes.contains_key(&self.full(name))
    }

    /// A tensor of the file, made on first use: a matrix as weight, a vector as constant.
    pub fn tensor(&mut self, name: &str) -> Value {
        let name = self.full(name);
        if let Some(&v) = self.made.get(&name) {
            return v;
        }
        let (shape, kind) = self.table.get(&name).cloned().unwrap_or((vec![0], Kind::Vector));
        let v = match kind {
            Kind::Weight(usage) => {
                let dtype = self.dtypes.get(&name).copied().unwrap_or(tern_abi::dtype::F32);
                self.g.weight(&name, dtype, &shape, usage)
            }
            Kind::Vector => self.g.constant(&name, &shape),
        };
        self.made.insert(name, v);
        v
    }

    /// Rows of the embedding table for the step's tokens.
    pub fn embed(&mut self, table: &str) -> Value {
        let (table, ids) = (self.tensor(table), self.input(inputs::TOKENS));
        self.g.gather(table, ids)
    }

    /// RMS norm with the layer's weight `name`.
    pub fn rms_norm(&mut self, x: Value, name: &str, eps: f32) -> Value {
        let w = self.tensor(&format!("{name}.weight"));
        self.g.rms_norm(x, w, eps)
    }

    /// RMS norm of each of the `heads` in a row with the layer's weight `name`.
    pub fn head_norm(&mut self, x: Value, name: &str, heads: u32, eps: f32) -> Value {
        let w = self.tensor(&format!("{name}.weight"));
        self.g.rms_norm_groups(x, w, heads, eps)
    }

    /// Layer norm with the layer's weight and bias `name`.
    pub fn layer_norm(&mut self, x: Value, name: &str, eps: f32) -> Value {
        let (w, b) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        self.g.layer_norm(x, w, Some(b), eps)
    }

    /// The matrix `name` with its bias, where the file has one, and adapters, where the graph has banks.
    pub fn linear(&mut self, x: Value, name: &str) -> Value {
        let x = if self.rounded.contains(&self.full(&format!("{name}.weight"))) { self.rounding(x) } else { x };
        let w = self.tensor(&format!("{name}.weight"));
        let bias = format!("{name}.bias");
        let bias = self.has(&bias).then(|| self.tensor(&bias));
        let extras = self.adapter(w, name);
        self.g.linear(x, w, LinearExtras { bias, ..extras })
    }

    /// The experts' matrices `name` with their biases, where the file has some, for the choices `ids [T, k]`.
    pub fn experts(&mut self, x: Value, name: &str, ids: Value) -> Value {
        let w = self.tensor(&format!("{name}.weight"));
        let bias = format!("{name}.bias");
        let bias = self.has(&bias).then(|| self.tensor(&bias));
        self.g.expert_linear(x, w, bias, ids)
    }

    /// `x` rounded to 8 bits, as BitLinears have their input; one value for all that share it.
    fn rounding(&mut self, x: Value) -> Value {
        if let Some(&rounded) = self.roundings.get(&x) {
            return rounded;
        }
        let rounded = self.g.quantize_tokens(x);
        self.roundings.insert(x, rounded);
        rounded
    }

    /// `x` plus the matrix `name` applied to `h`.
    pub fn add_linear(&mut self, x: Value, h: Value, name: &str) -> Value {
        let y = self.linear(h, name);
        self.g.add(y, x)
    }

    /// `activation(gate) * up`.
    pub fn glu(&mut self, gate: Value, up: Value, activation: u32) -> Value {
        self.g.glu(gate, up, activation)
    }

    /// The step's rotation table.
    pub fn rope(&mut self, rope: &Rope) -> Value {
        self.rope_named(rope, "rope_inv_freq")
    }

    /// The same for positions within mini-batches of `period`.
    pub fn rope_within(&mut self, rope: &Rope, period: u32) -> Value {
        self.rope_table(rope, "rope_inv_freq", period)
    }

    /// The same for a further rotation of the model.
    pub fn rope_named(&mut self, rope: &Rope, name: &str) -> Value {
        self.rope_table(rope, name, 0)
    }

    fn rope_table(&mut self, rope: &Rope, name: &str, period: u32) -> Value {
        let (positions, length) = (self.input(inputs::POSITIONS), self.options.length);
        let values = rope.frequencies(length);
        let inv_freq = self.g.constant_f32(name, &[values.len() as u64]);
        let divisors = Some(rope.tensor(length)).filter(|t| self.dtypes.contains_key(*t)).map(str::to_owned);
        self.computed.insert(name.to_owned(), Computed { values, divisors });
        self.g.rope_table(positions, inv_freq, rope.magnitude(), period)
    }

    /// A constant that is computed rather than read, made on first use.
    pub fn constant(&mut self, name: &str, values: Vec<f32>) -> Value {
        if let Some(&v) = self.made.get(name) {
            return v;
        }
        let v = self.g.constant(name, &[values.len() as u64]);
        self.computed.insert(name.to_owned(), Computed { values, divisors: None });
        self.made.insert(name.to_owned(), v);
        v
    }

    /// `x [T, heads]` with each element repeated for the `run` dimensions of its head: a product with ones and zeros, which is exact.
    pub fn spread(&mut self, x: Value, heads: u32, run: u32) -> Value {
        let (name, rows, columns) = ("spread", u64::from(heads) * u64::from(run), u64::from(heads));
        let w = match self.made.get(name) {
            Some(&w) => w,
            None => self.g.constant(name, &[rows, columns]),
        };
        let own = |i: u64| if i / columns / u64::from(run) == i % columns { 1.0 } else { 0.0 };
        let values = (0..rows * columns).map(own).collect();
        self.computed.insert(name.to_owned(), Computed { values, divisors: None });
        self.made.insert(name.to_owned(), w);
        self.g.linear(x, w, LinearExtras::default())
    }

    /// `heads` heads of `x`, rotated as `shape` says.
    pub fn rotated(&mut self, x: Value, table: Value, heads: u32, shape: &AttentionShape) -> Value {
        let (head_dim, n_rot, layout) = (shape.head_dim, shape.n_rot, shape.rope_layout);
        self.g.rope(x, table, RopeParams { heads, head_dim, n_rot, layout, inverse: 0 })
    }

    /// Fast weights of the current layer, which start as `inner` (weights, biases, the norm's weights and biases) and, where the inner
    /// model has two layers, the second one's weights and biases, and learn from queries, keys, values and rates; with a state where the graph has caches.
    pub fn fast_weight(
        &mut self,
        [q, k, v, lr]: [Value; 4],
        [w, b, ln_w, ln_b]: [Value; 4],
        second: Option<[Value; 2]>,
        token_scale: Value,
        params: FastWeightParams,
    ) -> Value {
        let all = [q, k, v, lr, w, b, ln_w, ln_b, token_scale].map(Some);
        let [w, b] = second.map_or([None; 2], |s| s.map(Some));
        self.fast(all, [None, w, b, None, None], params)
    }

    /// The same under the delta rule, from zeros: learns from queries, keys, values and rates, and forgets by decays.
    pub fn delta_rule(&mut self, [q, k, v, lr]: [Value; 4], decay: Value, params: FastWeightParams) -> Value {
        let [q, k, v, lr] = [q, k, v, lr].map(Some);
        self.fast([q, k, v, lr, None, None, None, None, None], [Some(decay), None, None, None, None], params)
    }

    /// The same with a gated inner model, which starts as its three matrices and learns at the end of mini-batches.
    pub fn gated_fast_weight(
        &mut self,
        [q, k, v, lr]: [Value; 4],
        [w0, w1, w2]: [Value; 3],
        momentum: Option<Value>,
        params: FastWeightParams,
    ) -> Value {
        let [q, k, v, lr, w0, w1, w2] = [q, k, v, lr, w0, w1, w2].map(Some);
        self.fast([q, k, v, lr, w0, None, None, None, None], [None, w1, None, w2, momentum], params)
    }

    fn fast(&mut self, learned: [Option<Value>; 9], more: [Option<Value>; 5], params: FastWeightParams) -> Value {
        // Matrices of a gated inner model, and those of its momentum.
        let matrices = 3 * u32::from(more[3].is_some()) + 3 * u32::from(more[4].is_some());
        let dims =
            [params.heads, params.head_dim, params.chunk, params.value_dim, params.hidden, matrices].map(u64::from);
        let state = self.recurrent("fast", kind::FAST_WEIGHT, dims);
        let [q, k, v, lr, w, b, ln_w, ln_b, token_scale] = learned;
        let rows = [inputs::POSITIONS, inputs::SEQ_START].map(|name| Some(self.input(name)));
        let inputs = [q, k, v, lr, w, b, ln_w, ln_b, token_scale, rows[0], rows[1]];
        self.g.fast_weight(inputs, state, more, params).0
    }

    /// `x` convolved along the sequence with the layer's tensor `name`; with a state where the graph has caches.
    pub fn short_conv(&mut self, x: Value, name: &str, width: u64, params: ShortConvParams) -> Value {
        let w = self.tensor(&format!("{name}.weight"));
        let bias = format!("{name}.bias");
        let bias = self.has(&bias).then(|| self.tensor(&bias));
        let dims = [width, params.width.into(), params.chunk.into(), 0, 0, 0];
        let state = self.recurrent(name, kind::SHORT_CONV, dims);
        let rows = [inputs::POSITIONS, inputs::SEQ_START].map(|name| self.input(name));
        self.g.short_conv(x, w, bias, rows, state, params).0
    }

    /// A state of the current layer with a unit per sequence, and where the units are; where the graph has caches.
    fn recurrent(&mut self, name: &str, kind: u32, dims: [u64; 6]) -> Option<(Value, Value)> {
        self.options.pages?;
        let desc = StateDesc { header: Header::of::<StateDesc>(), kind, dtype: F32, dims };
        Some((self.g.state(&self.full(name), desc), self.input(inputs::STATE_SLOTS)))
    }

    /// Attention of the current layer, rotated where there is a rotation, over its cache where the graph has one, with sinks
    /// where the file has them.
    pub fn attention(&mut self, q: Value, k: Value, v: Value, rope: Option<Value>, shape: &AttentionShape) -> Value {
        let (q, k) = match rope {
            Some(table) => (self.rotated(q, table, shape.heads, shape), self.rotated(k, table, shape.kv_heads, shape)),
            None => (q, k),
        };
        let cache = self.options.pages.filter(|_| !shape.bidirectional).map(|_| {
            let state = self.g.state(&self.full("kv"), kv_page(shape.kv_heads, shape.head_dim, self.options.kv_dtype));
            (state, self.input(inputs::KV_SLOTS), self.input(inputs::KV_PAGES))
        });
        let sinks = self.has("attn_sinks.weight").then(|| self.tensor("attn_sinks.weight"));
        let with = AttentionInputs {
            positions: self.input(inputs::POSITIONS),
            seq_start: self.input(inputs::SEQ_START),
            cache,
            sinks,
        };
        let params = AttentionParams {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            page_size: PAGE_SIZE,
            kv_dtype: self.options.kv_dtype,
            scale: shape.scale,
            window: shape.window,
            softcap: shape.softcap,
            bidirectional: shape.bidirectional.into(),
            ..Default::default()
        };
        self.g.attention(q, k, v, with, params).0
    }

    /// The rows that the step's caller asked for.
    pub fn output_rows(&mut self, x: Value) -> Value {
        self.reduced = true;
        let rows = self.input(inputs::OUTPUT_ROWS);
        self.g.rows(x, rows)
    }

    fn full(&self, name: &str) -> String {
        match self.layer {
            Some(i) => format!("blk.{i}.{name}"),
            None => name.to_owned(),
        }
    }

    /// The adapter banks of a matrix, where the graph has any.
    fn adapter(&mut self, w: Value, name: &str) -> LinearExtras {
        let none = LinearExtras::default();
        let &[Dim::Fixed(n), Dim::Fixed(k)] = self.g.graph().info(w).shape.as_slice() else { return none };
        let tensor = self.full(&format!("{name}.weight"));
        let Some(banks) = self.options.adapters.as_ref().filter(|b| b.targets.contains(&tensor)) else { return none };
        let (count, rank, [a, b]) = (banks.count, banks.rank, bank_names(&tensor));
        let (a, b) = (self.g.constant(&a, &[count, rank, k]), self.g.constant(&b, &[count, rank, n]));
        let scale = match self.made.get(inputs::ADAPTER_SCALE) {
            Some(&v) => v,
            None => self.g.constant(inputs::ADAPTER_SCALE, &[count]),
        };
        self.made.insert(inputs::ADAPTER_SCALE.to_owned(), scale);
        let index = if self.reduced { inputs::OUTPUT_ADAPTER_INDEX } else { inputs::ADAPTER_INDEX };
        LinearExtras { adapter: Some((a, b)), adapter_choice: Some((self.input(index), scale)), ..none }
    }
}

/// One layer's pages.
fn kv_page(kv_heads: u32, head_dim: u32, dtype: u32) -> StateDesc {
    let dims = [u64::from(kv_heads), u64::from(head_dim), u64::from(PAGE_SIZE), 0, 0, 0];
    StateDesc { header: Header::of::<StateDesc>(), kind: kind::KV_PAGE, dtype, dims }
}
