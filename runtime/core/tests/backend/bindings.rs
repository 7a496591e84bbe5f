//! A step whose bindings do not fit is refused before the plugin sees it.

use crate::setup::{ROW, Rig, TOKENS, device, graph, weight};
use crate::toy::Good;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tern::backend::{BackendError, Bound, GraphDesc, Result, StepArgs, WeightSpec};

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, BackendError::Argument { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn graphs_with_wrong_places_do_not_compile() {
    let device = device::<Good>();
    let refused = |change: fn(&mut GraphDesc)| {
        let mut graph = graph();
        change(&mut graph);
        message(device.compile(&graph))
    };
    assert_eq!(refused(|g| g.arena_bytes -= 1), "compile: tensor 3: it ends at byte 128 of an arena of 127");
    assert_eq!(refused(|g| g.tensors[4].slot = 2), "compile: tensor 4: there is no slot 2 of 2");
    assert_eq!(refused(|g| g.ops[1].outputs[0] = 5), "compile: op 1 names tensor 5 of 5");
    assert_eq!(refused(|g| g.tensors[0].offset = 4), "compile: tensor 0: offset 4 is not a multiple of 16");
}

#[test]
fn steps_with_wrong_sizes_do_not_run() {
    let rig = Rig::new(device::<Good>()).unwrap();
    assert_eq!(message(rig.run(9)), "run: dynamic dimension 1 has size 9, its maximum is 8");
    let run = |args: StepArgs<'_>| message(rig.device.run(&rig.exec, &rig.set, &args));
    let small = rig.device.alloc(16).unwrap();
    let mut args = rig.args(1);
    args.arena = &small;
    assert_eq!(run(args), "run: an arena of 16 bytes, 128 are needed");
    let mut args = rig.args(1);
    args.scratch = &small;
    assert_eq!(run(args), "run: scratch of 16 bytes, 32 are needed");
    let mut args = rig.args(1);
    let counters = [AtomicU64::new(0)];
    args.profile = Some(&counters);
    assert_eq!(run(args), "run: 1 profile counters for 2 ops");
    let mut args = rig.args(1);
    args.steps = &rig.steps[..1];
    assert_eq!(run(args), "run: 1 step slots are bound of 2");

    let small = Arc::new(small);
    let steps = [Bound::whole(&small), rig.steps[1].clone()];
    let mut args = rig.args(2);
    args.steps = &steps;
    let error = run(args);
    assert_eq!(error, "run: step slot 0 needs 32 bytes, not Buffer(Buffer(16 bytes on toy), 0, 16)");
    let mut args = rig.args(1);
    args.steps = &steps;
    rig.device.run(&rig.exec, &rig.set, &args).unwrap();
    let past = [Bound::Buffer(small.clone(), 0, 17), rig.steps[1].clone()];
    let mut args = rig.args(1);
    args.steps = &past;
    assert_eq!(run(args), "run: 17 bytes at 0 in a buffer of 16");
    let crooked = [Bound::Buffer(rig.arena_like(), 4, 16), rig.steps[1].clone()];
    let mut args = rig.args(1);
    args.steps = &crooked;
    assert_eq!(run(args), "run: offset 4 of a binding is not a multiple of 16");
}

impl Rig {
    fn arena_like(&self) -> Arc<tern::backend::Buffer> {
        Arc::new(self.device.alloc(self.arena.len()).unwrap())
    }
}

#[test]
fn fixed_slots_hold_what_the_graph_says() {
    let rig = Rig::new(device::<Good>()).unwrap();
    let good = Arc::new(weight(&rig.device).unwrap());
    let spec = WeightSpec { name: "w2", dtype: 0, shape: &[ROW, TOKENS], usage: 1, cache_bytes: 0 };
    let bytes = vec![0; (ROW * TOKENS * 4) as usize];
    let turned = Arc::new(rig.device.prepare(&spec, &bytes, &rig.cancel).unwrap());
    let bias = rig.arena_like();
    let cases = [
        (vec![Bound::Weight(good.clone())], "run: 1 fixed slots are bound of 2"),
        (vec![Bound::Empty, Bound::whole(&bias)], "run: fixed slot 0 needs a F32 weight of [8, 4], not Empty"),
        (
            vec![Bound::Weight(turned), Bound::whole(&bias)],
            "run: fixed slot 0 needs a F32 weight of [8, 4], not Weight(Weight(w2 [4, 8] on toy))",
        ),
        (
            vec![Bound::Weight(good.clone()), Bound::Buffer(bias.clone(), 0, 112)],
            "run: fixed slot 1 needs a buffer of 128 bytes, not Buffer(Buffer(128 bytes on toy), 0, 112)",
        ),
        (
            vec![Bound::whole(&bias), Bound::Weight(good)],
            "run: fixed slot 0 needs a F32 weight of [8, 4], not Buffer(Buffer(128 bytes on toy), 0, 128)",
        ),
    ];
    for (bindings, expect) in cases {
        let set = rig.device.bind_set(bindings).unwrap();
        assert_eq!(message(rig.device.run(&rig.exec, &set, &rig.args(1))), expect);
    }
}

#[test]
fn devices_are_not_mixed() {
    let (here, there) = (Rig::new(device::<Good>()).unwrap(), Rig::new(device::<Good>()).unwrap());
    let error = message(here.device.run(&there.exec, &here.set, &here.args(1)));
    assert!(error.starts_with("run: the graph belongs to"), "{error}");
    let error = message(here.device.run(&here.exec, &there.set, &here.args(1)));
    assert!(error.starts_with("run: the bind set belongs to"), "{error}");
    let mut args = here.args(1);
    args.arena = &there.arena;
    assert!(message(here.device.run(&here.exec, &here.set, &args)).contains("is bound on"));
    let mut args = here.args(1);
    args.steps = &there.steps;
    assert!(message(here.device.run(&here.exec, &here.set, &args)).contains("is bound on"));
    let foreign = vec![Bound::Weight(Arc::new(weight(&there.device).unwrap()))];
    assert!(message(here.device.bind_set(foreign)).contains("is bound on"));
}

#[test]
fn empty_ranges_are_empty_slots() {
    // A binding of length 0 would mean "weight" to a plugin.
    let rig = Rig::new(device::<Good>()).unwrap();
    let nothing = Arc::new(rig.device.alloc(0).unwrap());
    rig.device.bind_set(vec![Bound::whole(&nothing)]).unwrap();
    rig.device.bind_set(Vec::new()).unwrap();
    let mut args = rig.args(1);
    args.arena = &nothing;
    assert_eq!(message(rig.device.run(&rig.exec, &rig.set, &args)), "run: an arena of 0 bytes, 128 are needed");
}
