//! The types that `--type` names: which block format a model's matrices get, and which of them get another.
//!
//! Names and choices are those that files in the wild are known by: a Q4_K_M made here has the size of any other. Each
//! mix is a base and a list of exceptions, of which the first that applies counts.

use crate::role::Role;
use crate::role::Role::{AttnK, AttnOutput, AttnQ, AttnQkv, AttnV, FfnDown, FfnUp};
use tern_quant::DType;

/// A matrix in its model.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// What it does.
    pub role: Role,
    /// Its layer's place among the layers that have such a matrix, from 0.
    pub rank: usize,
    /// How many of them there are.
    pub count: usize,
    /// Query heads per key/value head.
    pub gqa: u64,
    /// Experts, 0 for dense models.
    pub experts: u64,
    /// Is an importance matrix at hand?
    pub imatrix: bool,
}

type When = fn(&Site) -> bool;
type Rule = (Role, When, DType);

/// See the module.
pub struct Mix {
    /// As users know it.
    pub name: &'static str,
    /// Value of `general.file_type`, which tells other programs the name.
    pub file_type: u32,
    /// What matrices get that no rule names.
    pub base: DType,
    /// Exceptions.
    pub rules: &'static [Rule],
    /// What the head gets.
    pub head: DType,
    /// What the embedding gets where it is not the head.
    pub embedding: DType,
    /// What keys and values get beside eight experts, as Mixtral has: they are small there.
    beside_eight: Option<DType>,
}

/// Other names of mixes.
const ALIASES: &[(&str, &str)] = &[("Q3_K", "Q3_K_M"), ("Q4_K", "Q4_K_M"), ("Q5_K", "Q5_K_M"), ("MXFP4", "MXFP4_MOE")];

fn always(_: &Site) -> bool {
    true
}
fn grouped(s: &Site) -> bool {
    s.gqa >= 4
}
fn grouped_or_experts(s: &Site) -> bool {
    s.gqa >= 4 || s.experts >= 4
}
fn first_two(s: &Site) -> bool {
    s.rank < 2
}
fn first_four(s: &Site) -> bool {
    s.rank < 4
}
fn first_sixteenth(s: &Site) -> bool {
    s.rank < s.count / 16
}
fn first_eighth(s: &Site) -> bool {
    s.rank < s.count / 8
}
fn first_eighth_weighted(s: &Site) -> bool {
    s.imatrix && first_eighth(s)
}
fn first_eighth_unweighted(s: &Site) -> bool {
    !s.imatrix && first_eighth(s)
}
fn unweighted(s: &Site) -> bool {
    !s.imatrix
}
/// The middle three quarters of the layers.
fn middle(s: &Site) -> bool {
    s.rank >= s.count / 8 && s.rank < 7 * s.count / 8
}
/// The first and the last eighth of the layers, and every third between them.
fn outer_and_thirds(s: &Site) -> bool {
    !middle(s) || (s.rank - s.count / 8) % 3 == 2
}

/// One type for all.
const fn plain(name: &'static str, file_type: u32, base: DType) -> Mix {
    Mix { name, file_type, base, rules: &[], head: base, embedding: base, beside_eight: None }
}

/// A base, a head of 6 bits, and exceptions.
const fn mix(name: &'static str, file_type: u32, base: DType, rules: &'static [Rule]) -> Mix {
    Mix { name, file_type, base, rules, head: DType::Q6_K, embedding: base, beside_eight: Some(DType::Q8_0) }
}

/// About two bits and fewer: what matters most gets a type of `better`, and the embedding too.
const fn low(name: &'static str, file_type: u32, base: DType, rules: &'static [Rule], better: DType) -> Mix {
    Mix { name, file_type, base, rules, head: DType::Q5_K, embedding: better, beside_eight: Some(DType::Q4_K) }
}

/// All of them.
pub const MIXES: &[Mix] = &[
    plain("F32", 0, DType::F32),
    plain("F16", 1, DType::F16),
    plain("BF16", 32, DType::BF16),
    mix("Q4_0", 2, DType::Q4_0, &[(FfnDown, first_eighth_weighted, DType::Q4_1)]),
    mix("Q4_1", 3, DType::Q4_1, &[]),
    mix("Q5_0", 8, DType::Q5_0, &[(FfnDown, first_eighth_weighted, DType::Q5_1)]),
    mix("Q5_1", 9, DType::Q5_1, &[]),
    plain("Q8_0", 7, DType::Q8_0),
    mix("Q6_K", 18, DType::Q6_K, &[]),
    mix(
        "Q2_K",
        10,
        DType::Q2_K,
        &[
            (AttnV, grouped, DType::Q4_K),
            (AttnV, always, DType::Q3_K),
            (FfnDown, always, DType::Q3_K),
            (AttnOutput, always, DType::Q3_K),
        ],
    ),
    mix("Q2_K_S", 21, DType::Q2_K, &[(AttnV, grouped, DType::Q4_K), (FfnDown, first_eighth, DType::Q4_K)]),
    mix("Q3_K_S", 11, DType::Q3_K, &[]),
    mix(
        "Q3_K_M",
        12,
        DType::Q3_K,
        &[
            (AttnV, first_two, DType::Q5_K),
            (AttnV, always, DType::Q4_K),
            (FfnDown, first_sixteenth, DType::Q5_K),
            (FfnDown, always, DType::Q4_K),
            (AttnOutput, always, DType::Q4_K),
            (AttnQkv, always, DType::Q4_K),
        ],
    ),
    mix(
        "Q3_K_L",
        13,
        DType::Q3_K,
        &[
            (AttnV, always, DType::Q5_K),
            (FfnDown, always, DType::Q5_K),
            (AttnOutput, always, DType::Q5_K),
            (AttnQkv, always, DType::Q4_K),
        ],
    ),
    mix("Q4_K_S", 14, DType::Q4_K, &[(AttnV, first_four, DType::Q5_K), (FfnDown, first_eighth, DType::Q5_K)]),
    mix(
        "Q4_K_M",
        15,
        DType::Q4_K,
        &[
            (AttnV, outer_and_thirds, DType::Q6_K),
            (FfnDown, outer_and_thirds, DType::Q6_K),
            (AttnQkv, always, DType::Q5_K),
        ],
    ),
    mix("Q5_K_S", 16, DType::Q5_K, &[]),
    mix(
        "Q5_K_M",
        17,
        DType::Q5_K,
        &[
            (AttnV, outer_and_thirds, DType::Q6_K),
            (FfnDown, outer_and_thirds, DType::Q6_K),
            (AttnQkv, always, DType::Q6_K),
        ],
    ),
    mix("IQ4_NL", 25, DType::IQ4_NL, IQ4),
    mix("IQ4_XS", 30, DType::IQ4_XS, IQ4),
    Mix {
        head: DType::Q5_K,
        embedding: DType::IQ3_S,
        ..mix(
            "IQ3_XXS",
            23,
            DType::IQ3_XXS,
            &[
                (AttnV, grouped, DType::Q4_K),
                (AttnV, unweighted, DType::IQ3_S),
                (AttnK, always, DType::IQ2_S),
                (AttnQ, always, DType::IQ2_S),
                (FfnDown, first_eighth_unweighted, DType::Q4_K),
                (FfnDown, unweighted, DType::Q3_K),
                (AttnOutput, always, DType::IQ3_S),
            ],
        )
    },
    mix(
        "IQ3_XS",
        22,
        DType::IQ3_S,
        &[
            (AttnV, grouped, DType::Q4_K),
            (AttnK, always, DType::IQ3_XXS),
            (AttnQ, always, DType::IQ3_XXS),
            (FfnUp, middle, DType::IQ3_XXS),
        ],
    ),
    mix("IQ3_S", 26, DType::IQ3_S, &[(AttnV, grouped, DType::Q4_K)]),
    mix(
        "IQ3_M",
        27,
        DType::IQ3_S,
        &[
            (AttnV, always, DType::Q4_K),
            (FfnDown, first_eighth, DType::Q4_K),
            (AttnOutput, always, DType::Q4_K),
            (AttnQkv, always, DType::Q4_K),
        ],
    ),
    low("IQ2_XXS", 19, DType::IQ2_XXS, LOW_Q2, DType::Q2_K),
    low("IQ2_XS", 20, DType::IQ2_XS, LOW_Q2, DType::Q2_K),
    low("IQ2_S", 28, DType::IQ2_XS, LOW_IQ3, DType::IQ3_S),
    low("IQ2_M", 29, DType::IQ2_S, LOW_IQ3, DType::IQ3_S),
    low("IQ1_S", 24, DType::IQ1_S, LOW_IQ1, DType::Q2_K),
    low("IQ1_M", 31, DType::IQ1_M, LOW_IQ1, DType::Q2_K),
    Mix { embedding: DType::Q4_K, ..mix("TQ1_0", 36, DType::TQ1_0, &[]) },
    Mix { embedding: DType::Q4_K, ..mix("TQ2_0", 37, DType::TQ2_0, &[]) },
    mix("NVFP4", 39, DType::NVFP4, &[]),
    mix("Q1_0", 40, DType::Q1_0, &[]),
    Mix { embedding: DType::Q4_K, ..mix("Q2_0", 41, DType::Q2_0, &[]) },
    // The layout of bitnet.cpp, whose number for it llama.cpp later gave to Q1_0; it only names the file. What its files
    // have beside ternary matrices is half precision.
    Mix { head: DType::F16, embedding: DType::F16, beside_eight: None, ..mix("I2_S", 40, DType::I2_S, &[]) },
    // Experts get MXFP4 (see the policy), all else this.
    plain("MXFP4_MOE", 38, DType::Q8_0),
];

const IQ4: &[Rule] = &[(AttnV, grouped, DType::Q5_K), (FfnDown, first_eighth_unweighted, DType::Q5_K)];

const LOW_Q2: &[Rule] =
    &[(AttnV, grouped_or_experts, DType::Q4_K), (AttnV, always, DType::Q2_K), (FfnDown, first_eighth, DType::Q2_K)];

const LOW_IQ1: &[Rule] = &[
    (AttnV, grouped_or_experts, DType::Q4_K),
    (AttnV, always, DType::Q2_K),
    (FfnDown, first_eighth, DType::Q2_K),
    (AttnOutput, always, DType::IQ2_XXS),
];

const LOW_IQ3: &[Rule] = &[
    (AttnV, grouped_or_experts, DType::Q4_K),
    (AttnV, always, DType::IQ3_S),
    (FfnDown, first_eighth, DType::IQ3_S),
    (AttnOutput, always, DType::IQ3_S),
];

impl std::fmt::Debug for Mix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Mix {
    /// The mix that users call so, in any case.
    pub fn find(name: &str) -> Option<&'static Self> {
        let alias = ALIASES.iter().find(|a| a.0.eq_ignore_ascii_case(name));
        let name = alias.map_or(name, |a| a.1);
        MIXES.iter().find(|m| m.name.eq_ignore_ascii_case(name))
    }

    /// All names, for messages.
    pub fn names() -> String {
        MIXES.iter().map(|m| m.name).collect::<Vec<_>>().join(" ")
    }

    /// Does it need an importance matrix to be of any use?
    pub fn needs_imatrix(&self) -> bool {
        let bits = self.base.block_bytes() as f64 * 8.0 / self.base.block_len() as f64;
        // Models of one bit and ternary ones were trained so.
        let trained = [DType::TQ1_0, DType::TQ2_0, DType::I2_S, DType::Q1_0, DType::Q2_0].contains(&self.base);
        bits < 2.6 && !trained && self.base != DType::Q2_K || self.name == "Q2_K_S"
    }

    /// What a matrix gets that fits any type.
    pub fn choose(&self, site: &Site) -> DType {
        match site.role {
            Role::Head => return self.head,
            Role::Embedding => return self.embedding,
            _ => {}
        }
        let eight = site.experts == 8 && self.base.is_quantized();
        match site.role {
            AttnV | AttnK if eight && let Some(better) = self.beside_eight => better,
            AttnOutput if eight && self.bits() < 5.0 => DType::Q5_K,
            role => self.rules.iter().find(|r| r.0 == role && (r.1)(site)).map_or(self.base, |r| r.2),
        }
    }

    fn bits(&self) -> f64 {
        self.base.block_bytes() as f64 * 8.0 / self.base.block_len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(role: Role, rank: usize) -> Site {
        Site { role, rank, count: 32, gqa: 4, experts: 0, imatrix: false }
    }

    #[test]
    fn names_are_found_in_any_case_and_by_alias() {
        assert_eq!(Mix::find("q4_k_m").unwrap().name, "Q4_K_M");
        assert_eq!(Mix::find("Q4_K").unwrap().name, "Q4_K_M");
        assert_eq!(Mix::find("mxfp4").unwrap().name, "MXFP4_MOE");
        assert!(Mix::find("Q9_9").is_none());
    }

    #[test]
    fn names_and_codes_are_unique() {
        let mut ggml = MIXES.iter().filter(|m| m.name != "I2_S");
        while let Some(a) = ggml.next() {
            assert!(ggml.clone().all(|b| a.name != b.name && a.file_type != b.file_type), "{}", a.name);
        }
        assert!(!MIXES.iter().any(|m| m.name != "I2_S" && m.base == DType::I2_S));
    }

    #[test]
    fn q4_k_m_spends_bits_on_outer_layers_and_every_third() {
        let mix = Mix::find("Q4_K_M").unwrap();
        let more: Vec<usize> = (0..32).filter(|&i| mix.choose(&site(FfnDown, i)) == DType::Q6_K).collect();
        assert_eq!(more, [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
        assert_eq!(mix.choose(&site(Role::Head, 0)), DType::Q6_K);
        assert_eq!(mix.choose(&site(AttnQ, 0)), DType::Q4_K);
    }

    #[test]
    fn an_importance_matrix_changes_what_the_first_layers_get() {
        let mix = Mix::find("IQ4_XS").unwrap();
        assert_eq!(mix.choose(&site(FfnDown, 3)), DType::Q5_K);
        assert_eq!(mix.choose(&Site { imatrix: true, ..site(FfnDown, 3) }), DType::IQ4_XS);
    }
}
