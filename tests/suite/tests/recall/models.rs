//! The small models, and how they are trained: all on the same texts, in as many steps.

use crate::facts::{Style, class, example, words};
use std::path::Path;
use std::time::Instant;
use tern::Model;
use tern::learn::{Random, TrainingOptions};
use tern_tests::trained::Trained;

const ROUNDS: u64 = 12;
const STEPS: usize = 100;
const BATCH: usize = 6;
/// Tokens of a micro-batch, and more than the longest text has.
pub const WINDOW: u64 = 512;

/// A model of one family.
pub struct Family {
    pub name: &'static str,
    config: &'static str,
}

const SIZES: &str = r#""hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 704, "tie_word_embeddings": true,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "initializer_range": 0.1"#;
pub const ATTENTION: Family = Family {
    name: "attention",
    config: r#""architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 4,
        "head_dim": 32, "attention_bias": false"#,
};
pub const TTT: Family = Family {
    name: "TTT-Linear",
    config: r#""architectures": ["TTTForCausalLM"], "model_type": "ttt", "ttt_layer_type": "linear", "share_qk": false, "pre_conv": true,
        "conv_kernel": 4, "num_attention_heads": 2, "use_gate": true, "mini_batch_size": 4, "ttt_base_lr": 1.0"#,
};
pub const DELTA: Family = Family {
    name: "Gated DeltaNet",
    config: r#""architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "num_attention_heads": 2, "num_key_value_heads": 2,
        "head_dim": 32, "partial_rotary_factor": 0.5, "attention_bias": false, "full_attention_interval": 4,
        "linear_conv_kernel_dim": 4, "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_num_key_heads": 2,
        "linear_num_value_heads": 2, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32, "norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": [0, 1]"#,
};

fn env(name: &str, or: f64) -> f64 {
    std::env::var(name).map_or(or, |v| v.parse().unwrap())
}

/// What is not as `tern create` has it.
fn begin(name: &str, values: &mut [f32]) {
    let part = name.rsplit_once('.').map_or(name, |(tensor, _)| tensor);
    match part.rsplit('.').next().unwrap_or(part) {
        // As large as it takes for a sure prediction by the tied head, which is not trained.
        "token_embd" => {
            values.iter_mut().for_each(|v| *v *= env("EMB", 4.0) as f32);
            let classes = 256.min(usize::MAX);
            let words = words();
            for (i, row) in values.chunks_mut(64).enumerate() {
                let class = i.checked_sub(classes + 1).and_then(|i| words.get(i)).map_or(0, |w| class(w));
                row[..5].fill(0.0);
                row[0] = env("CONST", 1.5) as f32;
                if class > 0 {
                    row[class] = env("CLASS", 1.5) as f32;
                }
            }
        }
        // Blocks add nothing at first, rather than noise.
        "attn_output" | "ssm_out" | "ffn_down" => values.iter_mut().for_each(|v| *v *= env("OUT", 0.0) as f32),
        _ => {}
    }
    // Forgets little, until it learns otherwise.
    if name.ends_with("ssm_a") {
        values.fill(-0.02);
    }
}

/// Trains a model of a family on the stream.
pub fn trained(family: &Family, folder: &Path) -> Model {
    let mut config = format!("{{{}, {SIZES}}}", family.config);
    if let Ok(v) = std::env::var("CONFIG") {
        config = config.replace(v.split("=>").next().unwrap(), v.split("=>").nth(1).unwrap());
    }
    std::fs::create_dir_all(folder).unwrap();
    let mut model = Trained::new(folder, &config, &words(), |_, _| {});
    model.threads = 1;
    model.change(begin);
    let mut random = Random::new(1);
    #[allow(non_snake_case)]
    let (rounds, steps) = (env("ROUNDS", 12.0) as u64, env("STEPS", 100.0) as usize);
    let mut losses = Vec::new();
    let start = Instant::now();
    for round in 0..rounds {
        let plain = (round as f64) < env("PLAIN", 0.5) * rounds as f64;
        let (style, batch) =
            if plain { (Style::Plain, env("B1", 32.0) as usize) } else { (Style::Varied, env("B2", 12.0) as usize) };
        let options = TrainingOptions {
            rank: env("RANK", 32.0) as u64,
            alpha: env("RANK", 32.0) as f32,
            optimizer: if std::env::var("MUON").is_ok() {
                tern::learn::OptimizerKind::Muon { momentum: env("MU", 0.9) as f32, weight_decay: 0.0 }
            } else {
                Default::default()
            },
            learning_rate: env("LR", 5e-3) * ((rounds - round) as f64 / (env("FALL", 0.4) * rounds as f64)).min(1.0),
            context: WINDOW,
            seed: round,
            ..TrainingOptions::default()
        };
        losses.push(model.round(options, steps, |m| (0..batch).map(|_| example(m, style, &mut random)).collect()));
        println!("{} {losses:.2?} {:?}", family.name, start.elapsed());
    }
    model.open()
}
