//! Optimizers against PyTorch's, and the published formula of Muon, on one sequence of gradients
//! (`tests/goldens/learn/make_optimizers.py`).

use super::*;
use crate::banks::turned;
use serde_json::Value;

const GOLDENS: &str = include_str!("../../../../../tests/goldens/learn/optimizers.json");

fn numbers(v: &Value) -> Vec<f32> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// Largest difference from the golden after its steps.
fn run(kind: OptimizerKind, golden: &Value, resume: bool, transpose: bool) -> f32 {
    let [rows, columns] = ["rows", "columns"].map(|name| golden[name].as_u64().unwrap() as usize);
    let numbers = |v: &Value| if transpose { turned(&numbers(v), columns) } else { numbers(v) };
    let [stored_rows, stored_columns] = if transpose { [columns, rows] } else { [rows, columns] };
    let shape = Shape { rows: stored_rows, columns: stored_columns, turned: transpose };
    let mut values = numbers(&golden["start"]);
    let lr = golden["lr"].as_f64().unwrap() as f32;
    let mut optimizer = kind.build(&[shape]);
    for (step, gradient) in golden["gradients"].as_array().unwrap().iter().enumerate() {
        optimizer.update(0, step as u64, lr, &mut values, &numbers(gradient));
        if resume {
            let state = optimizer.state(0);
            optimizer = kind.build(&[shape]);
            assert!(optimizer.restore(0, &state));
        }
    }
    values.iter().zip(numbers(&golden["end"])).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn each_gives_what_its_golden_says_and_can_be_resumed() {
    let goldens: Value = serde_json::from_str(GOLDENS).unwrap();
    let adam = OptimizerKind::AdamW { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.05 };
    let sgd = OptimizerKind::Sgd { momentum: 0.9, weight_decay: 0.05 };
    let muon = OptimizerKind::Muon { momentum: 0.95, weight_decay: 0.05 };
    let adam8 = OptimizerKind::AdamW8 { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.05 };
    for (kind, name) in [(adam, "adamw"), (adam8, "adamw8"), (sgd, "sgd"), (muon, "muon"), (muon, "muon_tall")] {
        for (resume, transpose) in [(false, false), (true, false), (false, true)] {
            // Blocks of 8-bit moments are other numbers in a transpose.
            if transpose && kind == adam8 {
                continue;
            }
            let error = run(kind, &goldens[name], resume, transpose);
            assert!(error < 2e-6, "{name}, transposed {transpose}: {error}");
        }
    }
}

#[test]
fn a_state_of_another_size_is_refused() {
    for kind in [
        OptimizerKind::default(),
        OptimizerKind::AdamW8 { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.0 },
        OptimizerKind::Sgd { momentum: 0.9, weight_decay: 0.0 },
    ] {
        let shape = |columns| Shape { rows: 2, columns, turned: false };
        let state = kind.build(&[shape(3)]).state(0);
        assert!(!kind.build(&[shape(400)]).restore(0, &state));
        assert!(!kind.name().is_empty());
    }
}
