//! Adapters as Hugging Face's PEFT saves them: a folder with a configuration and a safetensors file.
//!
//! The factors of the base tensor `x.weight` are `base_model.model.x.lora_A.weight` and `.lora_B.weight`; those of an
//! embedding table `.lora_embedding_A` and `.lora_embedding_B`. Source: `peft/tuners/lora` and `peft/utils/save_and_load.py`.

use super::pair::{Half, Side, pairs};
use super::{Adapter, LowRank};
use crate::folder::{PathOpener, folder_opener};
use crate::hf::Config;
use crate::limits::MAX_CONFIG_BYTES;
use crate::{FileSource, FormatError, Opener, Problem, TensorInfo, safetensors};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// The configuration's file name.
pub const PEFT_CONFIG: &str = "adapter_config.json";
/// The weights' file name.
pub const PEFT_WEIGHTS: &str = "adapter_model.safetensors";

pub(super) const PREFIX: &str = "base_model.model.";

/// Opens a PEFT folder on disk. See [`folder_opener`] for where its links may lead.
///
/// # Errors
/// As [`open_peft`].
pub fn open_peft_dir(path: impl AsRef<Path>) -> Result<Adapter, FormatError> {
    let path = path.as_ref();
    let open: &PathOpener<'_> =
        &|target, name| Ok(Box::new(FileSource::from_file(name, std::fs::File::open(target)?)?));
    let open = folder_opener(path, open)
        .map_err(|error| FormatError::new(path.display().to_string(), Problem::Open { error }))?;
    open_peft(&open)
}

/// Opens a PEFT folder wherever its files are.
///
/// # Errors
/// As [`safetensors::open`] and [`Config::read`]; [`Problem::Setting`] for another kind of adapter, or a variant of LoRA
/// that is more than two factors (DoRA, biases, whole modules); [`Problem::MissingKey`], [`Problem::OutOfRange`] for an alpha
/// that is not finite, [`Problem::UnknownSuffix`], [`Problem::Unpaired`], [`Problem::FactorMismatch`] for a rank that is not the
/// configuration's.
pub fn open_peft(open: &Opener<'_>) -> Result<Adapter, FormatError> {
    let file = |name: &str| open(name).map_err(|error| FormatError::new(name, Problem::Open { error }));
    let config = Config::read(&*file(PEFT_CONFIG)?, MAX_CONFIG_BYTES)?;
    check_kind(&config)?;
    let weights = safetensors::open(Arc::from(file(PEFT_WEIGHTS)?))?;
    let mut pairs = pairs(&weights.checkpoint, false, half)?;
    let settings = Settings::read(&config)?;
    for pair in &mut pairs {
        settings.apply(&config, pair)?;
    }
    Ok(Adapter {
        architecture: None,
        base_model: config.str("base_model_name_or_path")?.map(str::to_owned),
        pairs,
        skipped: Vec::new(),
        invocation_tokens: Vec::new(),
        checkpoint: weights.checkpoint,
    })
}

/// Refuses what is no LoRA, or more than its two factors.
fn check_kind(config: &Config) -> Result<(), FormatError> {
    let refuse = |key: &str, found: String, expected: &str| {
        let (key, expected) = (key.to_owned(), expected.to_owned());
        Err(FormatError::new(config.file(), Problem::Setting { key, found, expected }))
    };
    let kind = config.require_str("peft_type")?;
    if kind != "LORA" {
        return refuse("peft_type", kind.to_owned(), "LORA");
    }
    if let Some(bias) = config.str("bias")?.filter(|bias| *bias != "none") {
        return refuse("bias", bias.to_owned(), "none");
    }
    for key in ["use_dora", "use_qalora", "lora_bias"] {
        if config.bool(key)?.unwrap_or(false) {
            return refuse(key, "true".to_owned(), "false");
        }
    }
    match config.array("modules_to_save")? {
        Some(modules) if !modules.is_empty() => refuse("modules_to_save", format!("{} modules", modules.len()), "none"),
        _ => Ok(()),
    }
}

fn half(t: &TensorInfo) -> Result<Option<Half>, Problem> {
    const ENDINGS: [(&str, Side, bool); 4] = [
        (".lora_A.weight", Side::A, false),
        (".lora_B.weight", Side::B, false),
        (".lora_embedding_A", Side::A, true),
        (".lora_embedding_B", Side::B, true),
    ];
    let path = t.name.strip_prefix(PREFIX);
    let found = ENDINGS.iter().find_map(|&(ending, side, embedding)| {
        let module = path?.strip_suffix(ending).filter(|module| !module.is_empty())?;
        Some(Half { base: format!("{module}.weight"), side, embedding })
    });
    match found {
        Some(half) => Ok(Some(half)),
        None => {
            let expected =
                "base_model.model.* with .lora_A.weight, .lora_B.weight, .lora_embedding_A or .lora_embedding_B";
            Err(Problem::UnknownSuffix { tensor: t.name.to_string(), expected })
        }
    }
}

/// What the configuration says about ranks and scales.
struct Settings {
    rank: u64,
    alpha: f32,
    /// Rank-stabilised: the scale is alpha / sqrt(rank) (Kalajdzievski 2023).
    stabilised: bool,
}

impl Settings {
    fn read(config: &Config) -> Result<Self, FormatError> {
        let stabilised = config.bool("use_rslora")?.unwrap_or(false);
        Ok(Self { rank: config.require_u64("r")?, alpha: config.require_f32("lora_alpha")?, stabilised })
    }

    /// Checks a pair's rank and sets its scale.
    fn apply(&self, config: &Config, pair: &mut LowRank) -> Result<(), FormatError> {
        let module = pair.base.strip_suffix(".weight").unwrap_or(&pair.base);
        let rank = pattern(config, "rank_pattern", module, Value::as_u64)?.unwrap_or(self.rank);
        if pair.rank != rank {
            let (tensor, other) = (pair.base.clone(), PEFT_CONFIG.to_owned());
            let problem = Problem::FactorMismatch { tensor, other, what: "rank", found: pair.rank, expected: rank };
            return Err(FormatError::new(PEFT_WEIGHTS, problem));
        }
        let number = |v: &Value| v.as_f64().map(|n| n as f32).filter(|n| n.is_finite());
        pair.alpha = pattern(config, "alpha_pattern", module, number)?.unwrap_or(self.alpha);
        let divisor = if self.stabilised { (rank as f32).sqrt() } else { rank as f32 };
        pair.scale = pair.alpha / divisor;
        Ok(())
    }
}

/// The value of the first key of a pattern that names the module, or its last parts. PEFT takes keys as regular expressions;
/// plain names are all that its own code writes, so anything else is refused.
fn pattern<T>(
    config: &Config,
    name: &'static str,
    module: &str,
    value: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, FormatError> {
    let fail = |problem| Err(FormatError::new(config.file(), problem));
    let Some(pattern) = config.get(name) else { return Ok(None) };
    let Some(pattern) = pattern.as_object() else {
        let found = "no object".to_owned();
        return fail(Problem::WrongType { key: name.to_owned(), expected: "object", found });
    };
    for (key, found) in pattern {
        if key.is_empty() || !key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-')) {
            let expected = "plain module names".to_owned();
            return fail(Problem::Setting { key: name.to_owned(), found: key.clone(), expected });
        }
        let Some(rest) = module.strip_suffix(key.as_str()) else { continue };
        if rest.is_empty() || rest.ends_with('.') {
            let Some(value) = value(found) else {
                let key = format!("{name}.{key}");
                return fail(Problem::OutOfRange { key, expected: "finite number", found: found.to_string() });
            };
            return Ok(Some(value));
        }
    }
    Ok(None)
}
