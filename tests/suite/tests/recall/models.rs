//! The small models, and how they are trained: all on the same texts, in as many steps.

use crate::facts::{Style, example, words};
use std::path::Path;
use tern::Model;
use tern::learn::{OptimizerKind, Random, TrainingOptions};
use tern_tests::trained::Trained;

/// Steps of a round.
const STEPS: usize = 100;
/// Share of the rounds over which the rate falls.
const FALL: f64 = 0.4;
/// Tokens of a micro-batch, and more than the longest text has.
pub const WINDOW: u64 = 512;

/// A kind of model.
pub struct Family {
    pub name: &'static str,
    config: &'static str,
}

const WIDTH: usize = 64;
const SIZES: &str = r#""hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 704, "tie_word_embeddings": true,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "initializer_range": 0.1"#;

/// Llama's: every token sees all before it.
pub const ATTENTION: Family = Family {
    name: "attention",
    config: r#""architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 4,
        "head_dim": 32, "attention_bias": false"#,
};

/// With a convolution before each block, which is how a linear model of one token learns what stood beside another.
pub const TTT: Family = Family {
    name: "TTT-Linear",
    config: r#""architectures": ["TTTForCausalLM"], "model_type": "ttt", "ttt_layer_type": "linear", "share_qk": false, "pre_conv": true,
        "conv_kernel": 4, "num_attention_heads": 2, "use_gate": true, "mini_batch_size": 4, "ttt_base_lr": 1.0"#,
};

/// Qwen 3 Next without experts; every so many-th layer has attention.
macro_rules! gated_delta {
    ($interval:literal) => {
        concat!(
            r#""architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 32, "partial_rotary_factor": 0.5, "attention_bias": false,
        "linear_conv_kernel_dim": 4, "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_num_key_heads": 2,
        "linear_num_value_heads": 2, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32, "norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": [0, 1],
        "full_attention_interval": "#,
            $interval
        )
    };
}

/// None of two layers has attention.
pub const DELTA: Family = Family { name: "Gated DeltaNet", config: gated_delta!(4) };

/// The second one has: what learns to look up and sees all of a text, so it is the ceiling.
pub const HYBRID: Family = Family { name: "Gated DeltaNet, then attention", config: gated_delta!(2) };

/// What a model begins with, where that is not as `tern create` has it.
fn begin(name: &str, values: &mut [f32]) {
    match name.strip_suffix(".weight").unwrap_or(name).rsplit('.').next() {
        Some("token_embd") => embed(values),
        // Blocks add nothing at first, rather than noise.
        Some("attn_output" | "ssm_out" | "ffn_down") => values.fill(0.0),
        // Little is forgotten, until it is learned otherwise.
        Some("ssm_a") => values.fill(-0.02),
        _ => {}
    }
}

/// The embedding, which is the head, too, is not trained. So it has what training gives one: it is as large as it takes for a sure
/// prediction, and all tokens have something in common.
fn embed(values: &mut [f32]) {
    const SHARED: f32 = 2.5;
    for row in values.chunks_exact_mut(WIDTH) {
        row.iter_mut().for_each(|v| *v *= 4.0);
        row[0] = SHARED;
    }
}

/// Trains a model of a family in rounds, each on texts of a style.
pub fn trained(family: &Family, folder: &Path, styles: &[Style]) -> Model {
    std::fs::create_dir_all(folder).unwrap();
    let mut model = Trained::new(folder, &format!("{{{}, {SIZES}}}", family.config), &words(), |_, _| {});
    // Other models are trained at the same time.
    model.threads = 1;
    model.change(begin);
    let mut random = Random::new(1);
    let round = |(round, &style): (usize, &Style)| {
        let left = (styles.len() - round) as f64 / styles.len() as f64;
        let options = TrainingOptions {
            rank: 32,
            alpha: 32.0,
            optimizer: OptimizerKind::Muon { momentum: 0.9, weight_decay: 0.0 },
            learning_rate: 0.015 * (left / FALL).min(1.0),
            context: WINDOW,
            seed: round as u64,
            ..TrainingOptions::default()
        };
        model.round(options, STEPS, |m| (0..style.batch()).map(|_| example(m, style, &mut random)).collect())
    };
    let losses: Vec<f64> = styles.iter().enumerate().map(round).collect();
    println!("{}: nats per token that counts, round by round: {losses:.2?}", family.name);
    model.open()
}
