//! `uniffi-bindgen LIBRARY FOLDER`: writes the bindings of a built `tern-uniffi`, in Kotlin, Swift and Python, each
//! into its folder under FOLDER.

use uniffi::{GenerateOptions, TargetLanguage};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, folder] = &arguments[..] else { return Err("usage: uniffi-bindgen LIBRARY FOLDER".into()) };
    let languages =
        [("kotlin", TargetLanguage::Kotlin), ("swift", TargetLanguage::Swift), ("python", TargetLanguage::Python)];
    for (name, language) in languages {
        uniffi::generate(GenerateOptions {
            languages: vec![language],
            source: library.into(),
            out_dir: format!("{folder}/{name}").into(),
            config_override: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/../uniffi.toml").into()),
            ..Default::default()
        })?;
    }
    Ok(())
}
