//! The CPU plugin as a library against the one that is linked in.

use std::path::PathBuf;
use tern::backend::Registry;
use tern::{ModelOptions, Runtime, SessionOptions};
use tern_quant::DType;
use tern_tests::{open, smollm2, smollm2_as, tiers};

#[test]
#[ignore = "needs the folder that backends/build-plugins prints, in TERN_TEST_PLUGINS"]
fn a_library_gives_the_same_logits_bit_for_bit() {
    let folder = PathBuf::from(std::env::var_os("TERN_TEST_PLUGINS").expect("TERN_TEST_PLUGINS is not set"));
    let mut registry = Registry::new();
    registry.search(&[folder]);
    let dynamic = Runtime::new(registry);
    let tokens: Vec<u32> = (0..90).map(|i| 100 + i * 37 % 5000).collect();
    for file in [smollm2(), smollm2_as(DType::F16)] {
        for tier in tiers() {
            let options =
                ModelOptions { backend: Some("cpu".into()), tier: tier.into(), threads: 2, ..Default::default() };
            let library = dynamic.open(&file, options).unwrap();
            let [a, b] = [library, open(&file, tier, 2)].map(|model| {
                let session = model.session(SessionOptions { context: Some(128), ..Default::default() }).unwrap();
                let mut logits = session.forward(&tokens).unwrap();
                logits.extend(session.forward(&[7]).unwrap());
                logits.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            });
            assert!(a == b, "{} {tier}", file.display());
        }
    }
}
