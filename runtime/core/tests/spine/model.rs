//! The proof's model: layer 0 is attention and a mixture of experts, layer 1 a fast-weight layer and a gated MLP. All large
//! matrices are Q4_0, every linear carries banks of LoRA adapters.

use std::collections::HashMap;
use std::sync::Arc;
use tern::CancelFlag;
use tern::backend::{Bound, Device, WeightSpec};
use tern::graph::{AttentionInputs, Dim, ExternalKind, Graph, GraphBuilder, LinearExtras, Value};
use tern::models::{PAGE_SIZE, inputs};
use tern_abi::Header;
use tern_abi::dtype::{F16, F32, F64};
use tern_abi::ops::*;
use tern_abi::state::{StateDesc, kind};
use tern_abi::weight::usage::{BACKWARD_INPUT, FORWARD, GATHER};
use tern_quant::DType;

pub const VOCAB: u64 = 96;
pub const WIDTH: u64 = 64;
pub const HEADS: u64 = 4;
pub const KV_HEADS: u64 = 2;
pub const HEAD_DIM: u64 = 16;
pub const EXPERTS: u64 = 4;
pub const TOP_K: u32 = 2;
pub const FFN: u64 = 96;
pub const CHUNK: u32 = 8;
pub const ADAPTERS: u64 = 2;
pub const RANK: u64 = 3;
const EPS: f32 = 1e-5;

/// With a cache for `pages` pages and `sequences` sequences, with or without the fast-weight layer; or in the form for training.
#[derive(Clone, Copy)]
pub enum Form {
    Cached { pages: u64, sequences: u64, recurrent: bool },
    Training { tokens: u64 },
}

pub struct Built {
    pub g: GraphBuilder,
    pub logits: Value,
}

struct Net {
    g: GraphBuilder,
    form: Form,
    made: HashMap<String, Value>,
}

impl Net {
    fn input(&mut self, name: &str, shape: &[Dim]) -> Value {
        if let Some(&v) = self.made.get(name) {
            return v;
        }
        let v = self.g.input_i32(name, shape);
        self.made.insert(name.to_owned(), v);
        v
    }

    fn tokens(&mut self, name: &str) -> Value {
        self.input(name, &[self.rows()])
    }

    fn rows(&self) -> Dim {
        match self.form {
            Form::Cached { .. } => Dim::Tokens,
            Form::Training { tokens } => Dim::Fixed(tokens),
        }
    }

    fn seq_start(&mut self) -> Value {
        let sequences = match self.form {
            Form::Cached { sequences, .. } => sequences,
            Form::Training { .. } => 1,
        };
        self.input(inputs::SEQ_START, &[Dim::Fixed(sequences + 1)])
    }

    fn matrix(&mut self, name: &str, dtype: DType, shape: &[u64]) -> Value {
        self.g.weight(name, dtype as u32, shape, FORWARD | BACKWARD_INPUT)
    }

    fn norm(&mut self, x: Value, name: &str) -> Value {
        let w = self.g.constant(&format!("{name}.norm"), &[WIDTH]);
        self.g.rms_norm(x, w, EPS)
    }

    fn linear(&mut self, x: Value, name: &str, n: u64, k: u64) -> Value {
        let w = self.matrix(name, DType::Q4_0, &[n, k]);
        let a = self.g.constant(&format!("{name}.lora_a"), &[ADAPTERS, RANK, k]);
        let b = self.g.constant(&format!("{name}.lora_b"), &[ADAPTERS, RANK, n]);
        let index = self.tokens(inputs::ADAPTER_INDEX);
        let scale = match self.made.get("scale") {
            Some(&v) => v,
            None => self.g.constant(inputs::ADAPTER_SCALE, &[ADAPTERS]),
        };
        self.made.insert("scale".to_owned(), scale);
        self.g.linear(x, w, LinearExtras { bias: None, adapter: Some((a, b)), adapter_choice: Some((index, scale)) })
    }

    fn attention(&mut self, x: Value) -> Value {
        let h = self.norm(x, "attn");
        let (d, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        let (q, k, v) = (self.linear(h, "q", d, WIDTH), self.linear(h, "k", kv, WIDTH), self.linear(h, "v", kv, WIDTH));
        let freq = self.g.constant_f32("inv_freq", &[HEAD_DIM / 2]);
        let positions = self.tokens(inputs::POSITIONS);
        let table = self.g.rope_table(positions, freq, 1.0, 0);
        let rope = |heads: u64| RopeParams {
            heads: heads as u32,
            head_dim: HEAD_DIM as u32,
            n_rot: HEAD_DIM as u32,
            layout: 0,
            inverse: 0,
        };
        let (q, k) = (self.g.rope(q, table, rope(HEADS)), self.g.rope(k, table, rope(KV_HEADS)));
        let cache = match self.form {
            Form::Cached { pages, .. } => {
                let dims = [KV_HEADS, HEAD_DIM, u64::from(PAGE_SIZE), 0, 0, 0];
                let state = self.g.state(
                    "kv",
                    StateDesc { header: Header::of::<StateDesc>(), kind: kind::KV_PAGE, dtype: F16, dims },
                );
                let slots = self.tokens(inputs::KV_SLOTS);
                Some((state, slots, self.input(inputs::KV_PAGES, &[Dim::Sequences, Dim::Fixed(pages)])))
            }
            Form::Training { .. } => None,
        };
        let with = AttentionInputs { positions, seq_start: self.seq_start(), cache, sinks: None };
        let params = AttentionParams {
            heads: HEADS as u32,
            kv_heads: KV_HEADS as u32,
            head_dim: HEAD_DIM as u32,
            page_size: PAGE_SIZE,
            kv_dtype: F16,
            scale: 0.25,
            ..Default::default()
        };
        let (a, _) = self.g.attention(q, k, v, with, params);
        let y = self.linear(a, "o", WIDTH, d);
        self.g.add(y, x)
    }

    fn experts(&mut self, x: Value) -> Value {
        let h = self.norm(x, "moe");
        let router = self.matrix("router", DType::F32, &[EXPERTS, WIDTH]);
        let logits = self.g.linear(h, router, LinearExtras::default());
        let route = MoeRouteParams { top_k: TOP_K, softmax_after: 0, normalize: 1, scale: 0.0 };
        let (ids, weights) = self.g.moe_route(logits, route);
        let [gate, up] = ["exp_gate", "exp_up"].map(|n| self.matrix(n, DType::Q4_0, &[EXPERTS, FFN, WIDTH]));
        let down = self.matrix("exp_down", DType::Q4_0, &[EXPERTS, WIDTH, FFN]);
        let (gate, up) = (self.g.expert_linear(h, gate, None, ids), self.g.expert_linear(h, up, None, ids));
        let act = self.g.glu(gate, up, activation::SILU);
        let y = self.g.expert_linear(act, down, None, ids);
        self.g.moe_combine(y, weights, Some(x))
    }

    fn fast_weights(&mut self, x: Value) -> Value {
        let h = self.norm(x, "ttt");
        let d = HEADS * HEAD_DIM;
        let (q, k, v) =
            (self.linear(h, "tq", d, WIDTH), self.linear(h, "tk", d, WIDTH), self.linear(h, "tv", d, WIDTH));
        let w = self.matrix("lr", DType::F32, &[HEADS, WIDTH]);
        let lr = self.g.linear(h, w, LinearExtras::default());
        let lr = self.g.activation(lr, activation::SIGMOID);
        let lr = self.g.scale(lr, 1.0 / HEAD_DIM as f32);
        let inner = [
            ("w0", vec![HEADS, HEAD_DIM, HEAD_DIM]),
            ("b0", vec![HEADS, HEAD_DIM]),
            ("ln_w", vec![HEADS, HEAD_DIM]),
            ("ln_b", vec![HEADS, HEAD_DIM]),
            ("token_scale", vec![u64::from(CHUNK)]),
        ];
        let [w0, b0, ln_w, ln_b, token_scale] = inner.map(|(name, shape)| self.g.constant(name, &shape));
        let positions = self.tokens(inputs::POSITIONS);
        let seq_start = self.seq_start();
        let state = match self.form {
            Form::Cached { .. } => {
                let dims = [HEADS, HEAD_DIM, u64::from(CHUNK), 0, 0, 0];
                let desc = StateDesc { header: Header::of::<StateDesc>(), kind: kind::FAST_WEIGHT, dtype: F32, dims };
                Some((self.g.state("fast", desc), self.input(inputs::STATE_SLOTS, &[Dim::Sequences])))
            }
            Form::Training { .. } => None,
        };
        let (heads, head_dim) = (HEADS as u32, HEAD_DIM as u32);
        let params = FastWeightParams { heads, head_dim, chunk: CHUNK, eps: 1e-6, ..Default::default() };
        let all = [q, k, v, lr, w0, b0, ln_w, ln_b, token_scale, positions, seq_start].map(Some);
        let (y, _) = self.g.fast_weight(all, state, [None; 5], params);
        let y = self.linear(y, "to", WIDTH, d);
        self.g.add(y, x)
    }

    fn mlp(&mut self, x: Value) -> Value {
        let h = self.norm(x, "mlp");
        let (gate, up) = (self.linear(h, "gate", FFN, WIDTH), self.linear(h, "up", FFN, WIDTH));
        let act = self.g.glu(gate, up, activation::SILU);
        let y = self.linear(act, "down", WIDTH, FFN);
        self.g.add(y, x)
    }
}

/// The graph, from token ids to logits.
pub fn build(form: Form, real: u32) -> Built {
    let mut net = Net { g: GraphBuilder::new(real), form, made: HashMap::new() };
    let table = net.g.weight("embd", DType::Q8_0 as u32, &[VOCAB, WIDTH], FORWARD | BACKWARD_INPUT | GATHER);
    let ids = net.tokens(inputs::TOKENS);
    let x = net.g.gather(table, ids);
    let x = net.attention(x);
    let x = net.experts(x);
    let x = if let Form::Cached { recurrent: false, .. } = form { x } else { net.fast_weights(x) };
    let mut x = net.mlp(x);
    if let Form::Cached { .. } = form {
        let rows = net.input(inputs::OUTPUT_ROWS, &[Dim::Outputs]);
        x = net.g.rows(x, rows);
    }
    let h = net.norm(x, "out");
    let logits = net.g.linear(h, table, LinearExtras::default());
    Built { g: net.g, logits }
}

/// The same pseudo-random values for a name, whatever the plugin.
pub fn values(name: &str, n: usize) -> Vec<f32> {
    let mut seed = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let uniform = (0..n).map(|_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    });
    match name {
        "inv_freq" => (0..n).map(|i| 100f32.powf(-(i as f32) / n as f32)).collect(),
        "token_scale" => (0..n).map(|i| 1.0 / (i + 1) as f32).collect(),
        "ln_b" | "b0" => uniform.map(|u| 0.1 * u).collect(),
        _ if name.ends_with("norm") || name == "ln_w" || name == inputs::ADAPTER_SCALE => {
            uniform.map(|u| 1.0 + 0.3 * u).collect()
        }
        "embd" => uniform.collect(),
        _ => uniform.map(|u| 0.25 * u).collect(),
    }
}

/// Weights and constants of `graph` on `device`. `changed` replaces a constant's values.
pub fn bind(device: &Arc<Device>, graph: &Graph, changed: Option<(&str, &[f64])>) -> HashMap<String, Bound> {
    let mut fixed = HashMap::new();
    for e in &graph.externals {
        let info = graph.info(e.value);
        let shape: Vec<u64> = info.shape.iter().map(|d| if let Dim::Fixed(n) = d { *n } else { 0 }).collect();
        let n = shape.iter().product::<u64>() as usize;
        let bound = match e.kind {
            ExternalKind::Weight(usage) => {
                let dtype = DType::from_code(info.dtype).unwrap();
                let row = *shape.last().unwrap() as usize;
                let mut bytes = vec![0; dtype.row_bytes(row).unwrap() * (n / row)];
                tern_quant::quantize(dtype, &values(&e.name, n), &mut bytes).unwrap();
                let spec = WeightSpec { name: &e.name, dtype: info.dtype, shape: &shape, usage, cache_bytes: 0 };
                Bound::Weight(Arc::new(device.prepare(&spec, &bytes, &CancelFlag::new()).unwrap()))
            }
            ExternalKind::Constant => {
                let exact: Vec<f64> = match changed {
                    Some((name, v)) if name == e.name => v.to_vec(),
                    _ => values(&e.name, n).into_iter().map(f64::from).collect(),
                };
                let bytes: Vec<u8> = match info.dtype {
                    F64 => exact.iter().flat_map(|v| v.to_le_bytes()).collect(),
                    _ => exact.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
                };
                let buffer = Arc::new(device.alloc(bytes.len() as u64).unwrap());
                buffer.write(0, &bytes).unwrap();
                Bound::whole(&buffer)
            }
            _ => continue,
        };
        fixed.insert(e.name.clone(), bound);
    }
    fixed
}
