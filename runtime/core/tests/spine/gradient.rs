//! Gradients of LoRA factors, against finite differences in f64.

use super::model::{ADAPTERS, Form, RANK, VOCAB, WIDTH, bind, build, values};
use super::reference;
use std::sync::Arc;
use tern::CancelFlag;
use tern::backend::{Bound, Device, StepArgs};
use tern::graph::{Dim, ExternalKind, Graph, GraphBuilder, Value, gradients};
use tern::models::inputs;
use tern::plan::{Plan, ShapeClass};
use tern_abi::dtype::F64;
use tern_abi::graph::dim;

/// Two and a half mini-batches of the fast weights.
pub const TOKENS: u64 = 20;

pub fn loss_graph(dtype: u32) -> (Graph, Value) {
    let built = build(Form::Training { tokens: TOKENS }, dtype);
    let mut g = built.g;
    let targets = g.input_i32("targets", &[Dim::Fixed(TOKENS)]);
    let nll = g.cross_entropy(built.logits, targets);
    let loss = g.sum(nll, 1.0 / TOKENS as f32);
    (g.finish(&[loss]).unwrap(), loss)
}

fn constant(graph: &Graph, name: &str) -> Value {
    graph.external(name).unwrap().value
}

/// Runs `graph` once; returns its outputs.
fn run(device: &Arc<Device>, graph: &Graph, changed: Option<(&str, &[f64])>) -> Vec<Vec<f64>> {
    let plan =
        Plan::new(std::slice::from_ref(device), graph, ShapeClass { tokens: TOKENS, sequences: 1, outputs: TOKENS })
            .unwrap();
    let mut fixed = bind(device, graph, changed);
    let (mut steps, mut set) = (Vec::new(), Vec::new());
    for e in &graph.externals {
        if !matches!(e.kind, ExternalKind::Input) {
            set.push(fixed.remove(&e.name).unwrap());
            continue;
        }
        let ints: Vec<i32> = match e.name.as_str() {
            inputs::TOKENS => (0..TOKENS as i32).map(|i| (i * 17 + 5) % VOCAB as i32).collect(),
            "targets" => (0..TOKENS as i32).map(|i| (i * 17 + 22) % VOCAB as i32).collect(),
            inputs::POSITIONS => (0..TOKENS as i32).collect(),
            inputs::SEQ_START => vec![0, TOKENS as i32],
            // Both adapters, and rows without one.
            inputs::ADAPTER_INDEX => (0..TOKENS as i32).map(|i| i % 3 - 1).collect(),
            _ => Vec::new(),
        };
        let bytes: Vec<u8> = if e.name == "seed" {
            1f64.to_le_bytes().to_vec()
        } else {
            ints.iter().flat_map(|i| i.to_le_bytes()).collect()
        };
        let buffer = Arc::new(device.alloc(bytes.len() as u64).unwrap());
        buffer.write(0, &bytes).unwrap();
        steps.push(Bound::whole(&buffer));
    }
    let set = device.bind_set(set).unwrap();
    let arena = device.alloc(plan.arena_bytes).unwrap();
    let scratch = device.alloc(plan.segments[0].exec.scratch_bytes().max(1)).unwrap();
    let mut dims = [1; dim::COUNT];
    dims[dim::TOKENS as usize] = TOKENS;
    dims[dim::OUTPUTS as usize] = TOKENS;
    let cancel = CancelFlag::new();
    let args = StepArgs {
        steps: &steps,
        arena: &arena,
        scratch: &scratch,
        dims,
        kv_bucket: TOKENS,
        cancel: &cancel,
        profile: None,
    };
    device.run(&plan.segments[0].exec, &set, &args).unwrap();
    let read = |p: &tern::plan::Placed| {
        let mut bytes = vec![0; p.shape.iter().product::<u64>() as usize * 8];
        arena.read(p.offset, &mut bytes).unwrap();
        bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    };
    plan.outputs.iter().map(read).collect()
}

#[test]
fn lora_gradients_equal_finite_differences() {
    let device = reference();
    let (graph, loss) = loss_graph(F64);
    // Through attention, experts, fast weights and MLP; and right behind the fast weights.
    let names = [
        "q.lora_a",
        "v.lora_b",
        "o.lora_a",
        "tq.lora_a",
        "tk.lora_b",
        "tv.lora_a",
        "to.lora_b",
        "gate.lora_a",
        "down.lora_b",
    ];
    let wrt: Vec<Value> = names.iter().map(|n| constant(&graph, n)).collect();
    let (mut with_grads, grads) = gradients(graph.clone(), loss, &wrt, F64).unwrap();
    with_grads.outputs = [loss].into_iter().chain(grads.into_iter().map(Option::unwrap)).collect();
    let outputs = run(&device, &with_grads, None);
    assert_eq!(outputs[0], run(&device, &graph, None)[0]);
    for (name, gradient) in names.iter().zip(&outputs[1..]) {
        let base: Vec<f64> = values(name, gradient.len()).into_iter().map(f64::from).collect();
        let largest = gradient.iter().fold(0f64, |m, g| m.max(g.abs()));
        assert!(largest > 1e-6, "{name}: the gradient is empty");
        // A spread of entries over both adapters and all ranks.
        let step = (gradient.len() / 7).max(1);
        for i in (0..gradient.len()).step_by(step) {
            let h = 1e-5;
            let at = |delta: f64| {
                let mut changed = base.clone();
                changed[i] += delta;
                run(&device, &graph, Some((name, &changed)))[0][0]
            };
            let difference = (at(h) - at(-h)) / (2.0 * h);
            let error = (difference - gradient[i]).abs();
            assert!(
                error <= 1e-6 * largest.max(difference.abs()) + 1e-10,
                "{name}[{i}]: {} but differences say {difference}",
                gradient[i]
            );
        }
    }
}

#[test]
fn adapters_that_no_row_uses_have_no_gradient() {
    let device = reference();
    let (graph, loss) = loss_graph(F64);
    let wrt = [constant(&graph, "gate.lora_a")];
    let (mut with_grads, grads) = gradients(graph, loss, &wrt, F64).unwrap();
    with_grads.outputs = vec![grads[0].unwrap()];
    let gradient = run(&device, &with_grads, None).remove(0);
    assert_eq!(gradient.len() as u64, ADAPTERS * RANK * WIDTH);
    let half = gradient.len() / 2;
    assert!(gradient[..half].iter().any(|&g| g != 0.0) && gradient[half..].iter().any(|&g| g != 0.0));
}

#[test]
fn attention_through_a_cache_refuses_gradients_by_name() {
    let built = build(Form::Cached { pages: 2, sequences: 1, recurrent: true }, F64);
    let mut g: GraphBuilder = built.g;
    let targets = g.input_i32("targets", &[Dim::Outputs]);
    let nll = g.cross_entropy(built.logits, targets);
    let loss = g.sum(nll, 1.0);
    let graph = g.finish(&[loss]).unwrap();
    let wrt = [constant(&graph, "q.lora_a")];
    let error = gradients(graph, loss, &wrt, F64).unwrap_err().to_string();
    assert!(error.contains("not differentiable"), "{error}");
}
