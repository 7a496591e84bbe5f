//! A mixture of experts in place of a feed-forward block: a router chooses a few of many gated blocks for each token.
//!
//! Shazeer et al., arXiv 1701.06538; Fedus et al., arXiv 2101.03961.

use super::blocks::Bias;
use super::net::Net;
use super::sizes::Sizes;
use super::{Change, ConfigError, Hyper, Stack, StackForm, TensorTable};
use crate::graph::Value;
use tern_abi::ops::{GluParams, MoeRouteParams, activation};

/// Its sizes, its choice, and what folders call its parts.
#[derive(Clone, Debug)]
pub struct Moe {
    /// How many there are.
    pub experts: u64,
    /// Width of one.
    pub ffn: u64,
    /// Width of one that all tokens take, with a gate of its own; 0 for none.
    pub shared: u64,
    /// How many are chosen, and with what weights.
    pub route: MoeRouteParams,
    /// Between their matrices.
    pub glu: GluParams,
    /// Of router and experts.
    pub bias: Bias,
    /// How folders have them.
    pub folder: Folder,
    /// Does the GGUF file have gate and up as one tensor, each expert's rows of the gate first?
    pub joined: bool,
    /// For each layer, whether it is a mixture rather than a plain block.
    pub layers: Vec<bool>,
}

/// Names in folders, all beginning with the block's; and the form of the experts' matrices.
#[derive(Clone, Copy, Debug)]
pub struct Folder {
    /// The block.
    pub block: &'static str,
    /// Its router.
    pub router: &'static str,
    /// Gate, up and down of an expert in a tensor of its own.
    pub apart: [&'static str; 3],
    /// How they are stored.
    pub form: StackForm,
    /// Of gate and up in one, are rows of both in turns, rather than those of gate first?
    pub in_turns: bool,
}

/// As most have them.
pub const MLP: Folder = Folder {
    block: "mlp",
    router: "gate",
    apart: ["gate_proj", "up_proj", "down_proj"],
    form: StackForm::Apart,
    in_turns: false,
};

/// Gate and up as one in GGUF.
const JOINED: &str = "ffn_gate_up_exps";

impl Moe {
    /// Reads what all of them state: weights are those of a softmax over all experts, divided by their sum where
    /// `normalize` says so. `ffn`: width of an expert where only that of the block is stated.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(h: &Hyper<'_>, s: &Sizes, ffn: Option<u64>, mut folder: Folder) -> Result<Self, ConfigError> {
        let experts = h.int("expert_count", &["num_experts", "num_local_experts"], 1..=4096, None)?;
        let top_k = h.int("expert_used_count", &["num_experts_per_tok"], 1..=experts, None)?;
        let width = h.int("expert_feed_forward_length", &["moe_intermediate_size"], 1..=1 << 20, ffn)?;
        let scale = h.float("expert_weights_scale", &["routed_scaling_factor"], 0.0..=1e6, Some(1.0))?;
        // Some are saved in the form in which programs hold them.
        let whole = format!("model.layers.0.{}.experts.gate_up_proj", folder.block);
        let of_v5 = ["model.layers", "model.language_model.layers"].map(|l| format!("{l}.0.mlp.experts.gate_up_proj"));
        if folder.form == StackForm::Apart && [&whole].into_iter().chain(&of_v5).any(|name| h.has_tensor("", name)) {
            folder = Folder { form: StackForm::Whole, ..MLP };
        }
        Ok(Self {
            experts,
            ffn: width,
            shared: 0,
            route: MoeRouteParams { top_k: top_k as u32, scale: scale as f32, ..Default::default() },
            glu: GluParams { activation: activation::SILU, ..Default::default() },
            bias: Bias::Never,
            folder,
            joined: (0..s.common.layers).any(|i| h.has_tensor(&format!("blk.{i}.{JOINED}.weight"), "")),
            layers: vec![true; usize::try_from(s.common.layers).unwrap_or(0)],
        })
    }

    /// Reads whether weights are divided by their sum. `usual`: in a GGUF file that does not say so.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read_normalize(&mut self, h: &Hyper<'_>, usual: bool) -> Result<(), ConfigError> {
        let default = h.is_gguf() && usual;
        self.route.normalize = h.flag("expert_weights_norm", &["norm_topk_prob"], default)?.into();
        Ok(())
    }

    /// Reads which layers are plain blocks: a GGUF file says so by their tensors.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read_layers(&mut self, h: &Hyper<'_>) -> Result<(), ConfigError> {
        let Some(config) = h.folder() else {
            for (i, mixed) in self.layers.iter_mut().enumerate() {
                *mixed = h.has_tensor(&format!("blk.{i}.ffn_gate_inp.weight"), "");
            }
            return Ok(());
        };
        let step = config.u64("decoder_sparse_step")?.unwrap_or(1);
        let plain = config.array("mlp_only_layers")?.unwrap_or_default();
        for (i, mixed) in (0..).zip(&mut self.layers) {
            let listed = plain.iter().any(|n| n.as_u64() == Some(i));
            *mixed = !listed && (i + 1u64).checked_rem(step) == Some(0);
        }
        Ok(())
    }

    /// Is layer `i` one?
    pub fn in_layer(&self, i: u64) -> bool {
        usize::try_from(i).ok().and_then(|i| self.layers.get(i)).copied().unwrap_or(false)
    }
}

impl TensorTable {
    /// Router, experts, and the one that all tokens take.
    pub fn moe(&mut self, s: &Sizes, m: &Moe) {
        let (d, Folder { block, router, apart, form, in_turns }) = (s.common.width, m.folder);
        let router = format!("{block}.{router}");
        self.matrix("ffn_gate_inp.weight", &format!("{router}.weight"), m.experts, d);
        self.bias("ffn_gate_inp", &router, m.experts, m.bias, Change::None);
        let together = ["gate_up_proj", "gate_up_proj", "down_proj"];
        let step = if in_turns { 2 } else { 1 };
        let second = if in_turns { 1 } else { m.ffn };
        let both = |first, of| if form == StackForm::Apart { (0, 1, of / 2) } else { (first, step, of) };
        for (i, name, rows, inner, (first, step, of)) in [
            (0, "ffn_gate_exps", m.ffn, d, both(0, 2 * m.ffn)),
            (1, "ffn_up_exps", m.ffn, d, both(second, 2 * m.ffn)),
            (2, "ffn_down_exps", d, m.ffn, (0, 1, d)),
        ] {
            let stack = Stack { form, first, step, of };
            let hf = match form {
                StackForm::Apart => format!("{block}.experts.{{}}.{}.weight", apart[i]),
                StackForm::Mxfp4 => format!("{block}.experts.{}_{{}}", together[i]),
                _ => format!("{block}.experts.{}", together[i]),
            };
            let joined = (m.joined && i < 2).then_some((if i == 0 { 0 } else { m.ffn }, 2 * m.ffn));
            self.stack(&format!("{name}.weight"), &hf, [m.experts, rows, inner], stack)
                .within(&format!("{name}.weight"), &format!("{JOINED}.weight"), joined);
            if m.bias == Bias::Always {
                // Biases are never in another form than this.
                let stack = Stack { form: StackForm::Whole, ..stack };
                let hf = format!("{block}.experts.{}_bias", together[i]);
                self.stacked_bias(&format!("{name}.bias"), &hf, [m.experts, rows], stack)
                    .within(&format!("{name}.bias"), &format!("{JOINED}.bias"), joined);
            }
        }
        if m.shared > 0 {
            self.matrix("ffn_gate_inp_shexp.weight", &format!("{block}.shared_expert_gate.weight"), 1, d)
                .changed(Change::Row);
            for (name, hf, rows, inner) in [
                ("ffn_gate_shexp", "gate_proj", m.shared, d),
                ("ffn_up_shexp", "up_proj", m.shared, d),
                ("ffn_down_shexp", "down_proj", d, m.shared),
            ] {
                self.matrix(&format!("{name}.weight"), &format!("{block}.shared_expert.{hf}.weight"), rows, inner);
            }
        }
    }
}

impl Net<'_> {
    /// `x` plus the mixture on `h`.
    pub fn add_moe(&mut self, x: Value, h: Value, m: &Moe) -> Value {
        let logits = self.linear(h, "ffn_gate_inp");
        let (ids, weights) = self.g.moe_route(logits, m.route);
        let (gate, up) = (self.experts(h, "ffn_gate_exps", ids), self.experts(h, "ffn_up_exps", ids));
        let y = self.g.glu_with(gate, up, m.glu);
        let y = self.experts(y, "ffn_down_exps", ids);
        let x = if m.shared > 0 { self.add_shared(x, h, m) } else { x };
        self.g.moe_combine(y, weights, Some(x))
    }

    /// `x` plus the expert that all tokens take, with its factor.
    fn add_shared(&mut self, x: Value, h: Value, m: &Moe) -> Value {
        let (gate, up) = (self.linear(h, "ffn_gate_shexp"), self.linear(h, "ffn_up_shexp"));
        let y = self.g.glu_with(gate, up, m.glu);
        let y = self.linear(y, "ffn_down_shexp");
        let factor = self.linear(h, "ffn_gate_inp_shexp");
        let factor = self.g.activation(factor, activation::SIGMOID);
        self.g.moe_combine(y, factor, Some(x))
    }
}
