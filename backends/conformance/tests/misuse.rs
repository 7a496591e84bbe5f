//! The reference refuses what a host must not do, with an error that says what and where.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::sync::OnceLock;
use tern_abi::graph::dim;
use tern_abi::ops::{NormParams, ScaleParams};
use tern_abi::{dtype, status};
use tern_conformance::case::{Case, CaseError, Data};
use tern_conformance::cases;
use tern_conformance::host::{Device, HostError, OpSpec, Program, Role, TensorSpec};
use tern_conformance::params::words;
use tern_reference::{Kernel, ops};

fn reference() -> Device {
    Device::open(tern_reference::entry, 1, "").unwrap()
}

fn refused(result: Result<impl std::fmt::Debug, HostError>, says: &str) {
    match result {
        Err(HostError::Call { status: status::ARGUMENT, message, .. }) => {
            assert!(message.contains(says), "{message:?} does not say {says:?}");
        }
        other => panic!("expected a refusal that says {says:?}, not {other:?}"),
    }
}

fn tensor(shape: &[usize], role: Role) -> TensorSpec {
    TensorSpec { dtype: dtype::F32, shape: shape.to_vec(), dims: vec![dim::FIXED; shape.len()], role }
}

fn scale(factor: f32) -> Kernel {
    Kernel::Scale(ops::Scale(ScaleParams { factor }))
}

fn push(program: &mut Program, kernel: Kernel, inputs: &[usize], output: usize) {
    let inputs = inputs.iter().copied().map(Some).collect();
    program.ops.push(OpSpec { op: kernel.id(), params: words(&kernel), inputs, outputs: vec![Some(output)] });
}

#[test]
fn an_intermediate_that_nothing_wrote() {
    let mut program = Program::default();
    let (temp, out) = (program.tensor(tensor(&[4], Role::Temp)), program.tensor(tensor(&[4], Role::Output)));
    push(&mut program, scale(2.0), &[temp], out);
    refused(program.run(&reference()), "16 of its 16 bytes were not written in this step");
}

#[test]
fn an_output_over_its_input() {
    let mut program = Program::default();
    let temp = program.tensor(tensor(&[4], Role::Temp));
    push(&mut program, scale(2.0), &[temp], temp);
    refused(program.run(&reference()), "overlaps input");
}

#[test]
fn chains_through_the_arena_work() {
    let mut program = Program::default();
    let bytes = [3.0f32, -4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let x = program.tensor(tensor(&[1, 2], Role::Input(bytes)));
    let (a, b) = (program.tensor(tensor(&[1, 2], Role::Temp)), program.tensor(tensor(&[1, 2], Role::Temp)));
    let out = program.tensor(tensor(&[1, 2], Role::Output));
    push(&mut program, scale(2.0), &[x], a);
    push(&mut program, Kernel::RmsNorm(ops::RmsNorm(NormParams { eps: 50.0, groups: 0 })), &[a], b);
    push(&mut program, Kernel::Add(ops::Add), &[a, b], out);
    let outcome = program.run(&reference()).unwrap();
    let got: Vec<f32> = outcome.outputs[out].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert_eq!(got, [6.6, -8.8]);
}

/// A forward case whose title begins so, with an integer input changed.
fn changed(title: &str, input: usize, change: impl FnOnce(&mut Vec<i32>)) -> Case {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    let all = CASES.get_or_init(cases::forward);
    let mut case = all.iter().find(|c| c.title().starts_with(title)).unwrap().clone();
    match &mut case.inputs[input].as_mut().unwrap().data {
        Data::Int(x) => change(x),
        other => panic!("{other:?}"),
    }
    case
}

#[track_caller]
fn case_refused(case: &Case, says: &str) {
    match case.run(&reference()) {
        Err(CaseError::Plugin(error)) => refused(Err::<(), _>(error), says),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ids_out_of_range() {
    case_refused(&changed("ROWS T=33 R=35", 1, |x| x[2] = 33), "rows[2] is 33, expected 0 to 32");
    case_refused(&changed("ROWS T=33 R=35", 1, |x| x[0] = -1), "rows[0] is -1");
    case_refused(&changed("CROSS_ENTROPY R=7 V=100", 1, |x| x[0] = 100), "targets[0] is 100");
    case_refused(&changed("EXPERT_LINEAR Q8_0 T=33", 3, |x| x[5] = 5), "ids[5] is 5, expected 0 to 4");
    case_refused(&changed("LINEAR adapters T=7", 3, |x| x[1] = 9), "adapter_index[1] is 9");
}

#[test]
fn places_that_are_not_those_of_the_positions() {
    let title = "ATTENTION pages F16 mixed batch";
    case_refused(&changed(title, 7, |x| x[0] += 1), "slots[0]");
    case_refused(&changed(title, 4, |x| x[1] = 7), "positions[1] is 7, expected 1");
    case_refused(&changed(title, 8, |x| x[0] = 1000), "page_table[0] is 1000");
    case_refused(&changed(title, 5, |x| x[1] = -2), "seq_start[1] is -2");
    case_refused(
        &changed("FAST_WEIGHT state, one sequence H=2 f=16 chunk=16 rows 0+33", 12, |x| x[0] = 1),
        "state_slots",
    );
}
