//! Every rule of the README's table that files can break has at least two that do: the tables of the tests name them.

use std::fs;
use std::path::Path;

/// Rules that other tests check in another way: cuts at every byte, memory, time, data rather than headers.
const OTHERWISE: [&str; 5] = ["G4", "R1", "R2", "R3", "S8"];

#[test]
fn every_rule_has_two_files_that_break_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let tests: String = ["gguf_rejects", "gguf_metadata", "split", "safetensors"]
        .iter()
        .map(|name| read(&format!("tests/{name}.rs")))
        .chain([read("../../tests/suite/tests/semantics.rs")])
        .collect();
    let readme = read("README.md");
    let rules: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next())
        .filter(|rule| rule.len() <= 3 && rule.ends_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert_eq!(rules.len(), 43, "{rules:?}");
    for rule in rules.iter().filter(|rule| !OTHERWISE.contains(rule)) {
        let rows = tests.matches(&format!("\"{rule} ")).count();
        assert!(rows >= 2, "{rule} has {rows}");
    }
}
