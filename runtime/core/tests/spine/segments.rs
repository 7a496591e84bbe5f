//! A plan over two devices: what the first lacks runs on the second, with the same bits as on one.

use super::forward::{Bits, alone, compute, text};
use super::gradient::{TOKENS, loss_graph};
use super::model::{Form, bind, build};
use super::reference;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use tern::backend::{Backend, Device};
use tern::context::{Context, ContextSize};
use tern::graph::gradients;
use tern::plan::{Plan, PlanError, ShapeClass, externals};
use tern_abi::dtype::F32;
use tern_abi::graph::Graph;
use tern_abi::ops::{ATTENTION, EXPERT_LINEAR, FAST_WEIGHT, GATHER, GRAD, LINEAR, RMS_NORM};
use tern_abi::table::verdict;
use tern_abi::{Backend as Table, ErrorBuffer, Host, Status};

/// Ops that the plugin below says it lacks.
const LACKING: [&[u32]; 6] =
    [&[ATTENTION], &[LINEAR], &[FAST_WEIGHT, GATHER], &[EXPERT_LINEAR], &[RMS_NORM, ATTENTION], &[FAST_WEIGHT | GRAD]];

/// The reference without the ops `LACKING[N]`.
mod partial {
    use super::*;

    fn whole() -> &'static Table {
        static WHOLE: OnceLock<&'static Table> = OnceLock::new();
        WHOLE.get_or_init(|| {
            let mut table = std::ptr::null();
            // SAFETY: a plugin's entry with a place for its table, which lives as long as the process.
            unsafe {
                assert_eq!(tern_reference::entry(std::ptr::null(), &mut table, std::ptr::null_mut()), 0);
                &*table
            }
        })
    }

    unsafe extern "C" fn supports<const N: usize>(
        dev: u64,
        graph: *const Graph,
        out: *mut u8,
        n: u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        // SAFETY: the host's own arguments; a graph describes itself truly.
        unsafe {
            let status = whole().supports.unwrap()(dev, graph, out, n, err);
            let ops = std::slice::from_raw_parts((*graph).ops, n as usize);
            for (i, op) in ops.iter().enumerate() {
                if LACKING[N].contains(&op.op) {
                    out.add(i).write(verdict::NO);
                }
            }
            status
        }
    }

    pub unsafe extern "C" fn entry<const N: usize>(
        _host: *const Host,
        out: *mut *const Table,
        _err: *mut ErrorBuffer,
    ) -> Status {
        let table = Box::new(Table { supports: Some(supports::<N>), ..*whole() });
        // SAFETY: the host's variable; the table is leaked, as the ABI wants it to live.
        unsafe { out.write(Box::leak(table)) };
        0
    }
}

fn without<const N: usize>() -> Arc<Device> {
    // SAFETY: an entry as the ABI describes it.
    unsafe { Backend::from_entry(partial::entry::<N>) }.unwrap().open(0, 1, "").unwrap()
}

fn split<const N: usize>() {
    let devices = [without::<N>(), reference()];
    let size = ContextSize::full(2, 128, 24, 24);
    let built = build(Form::Cached { pages: size.pages_per_sequence(), sequences: 2, recurrent: true }, F32);
    let graph = built.g.finish(&[built.logits]).unwrap();
    assert!(Plan::new(&devices[..1], &graph, size.class()).is_err(), "{:?} runs on one device", LACKING[N]);
    let used = externals(&devices, &graph, size.class()).unwrap();
    let fixed: Vec<HashMap<_, _>> = devices
        .iter()
        .zip(&used)
        .map(|(device, used)| {
            let mut all = bind(device, &graph, None);
            // What a device does not use is not there.
            all.retain(|name, _| used[graph.externals.iter().position(|e| e.name == *name).unwrap()]);
            all
        })
        .collect();
    let mut c = Context::new(&devices, &graph, &fixed, size).unwrap();
    assert!(c.plan().segments.len() > 1);
    c.set_profiling(true);
    let tokens = [text(2, 70), text(3, 51)];
    let expected = [alone(&devices[1], &tokens[0], Some(1), 64), alone(&devices[1], &tokens[1], None, 64)];
    c.set_adapter(0, Some(1.into())).unwrap();
    let mut bits = vec![Bits::new(), Bits::new()];
    for (i, t) in tokens.iter().enumerate() {
        c.push(i, t).unwrap();
    }
    compute(&mut c, &[0, 1], &mut bits);
    assert!(bits == expected, "{:?}", LACKING[N]);
    assert!(c.profile().unwrap().iter().all(|&ns| ns > 0), "every op is timed, whatever its segment");
}

#[test]
fn what_one_device_lacks_runs_on_another() {
    split::<0>();
    split::<1>();
    split::<2>();
    split::<3>();
    split::<4>();
}

#[test]
fn a_gradient_that_no_device_has_is_named() {
    let (graph, loss) = loss_graph(F32);
    let wrt = [graph.external("q.lora_a").unwrap().value];
    let (mut graph, grads) = gradients(graph, loss, &wrt, F32).unwrap();
    graph.outputs = vec![grads[0].unwrap()];
    let class = ShapeClass { tokens: TOKENS, sequences: 1, outputs: TOKENS };
    assert!(Plan::new(&[reference()], &graph, class).is_ok());
    let error = Plan::new(&[without::<5>()], &graph, class).err().unwrap();
    assert!(matches!(&error, PlanError::Unsupported { op, .. } if op == "fast_weight gradient"), "{error}");
    assert!(error.to_string().contains("cannot run op fast_weight gradient"), "{error}");
}
