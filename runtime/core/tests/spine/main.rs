//! The spine carries learning, experts, fast weights and several users at once.
//!
//! One two-layer model shows: gradients of LoRA factors through Q4_0 weights, experts and fast weights equal finite differences; recurrent
//! state goes in and comes out; sequences with different adapters share a batch; one of them rolls back and goes on. All bit-equal to
//! running each alone, on the reference and on every CPU tier of this machine.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests too")]

mod drafts;
mod forward;
mod gradient;
mod model;
mod segments;
mod sharing;

use std::sync::Arc;
use tern::backend::{Backend, Device};

/// The reference, and the CPU plugin on every tier that this machine has, with their names.
fn devices() -> Vec<(String, Arc<Device>)> {
    let mut all = vec![("reference".to_owned(), reference())];
    // SAFETY: the plugin's own entry.
    let cpu = unsafe { Backend::from_entry(tern_cpu::entry) }.unwrap();
    for tier in tern_cpu::tier::Tier::ALL.map(tern_cpu::tier::Tier::name) {
        match cpu.open(0, 2, tier) {
            Ok(device) => all.push((format!("cpu {tier}"), device)),
            Err(error) => println!("skipped: cpu {tier}: {error}"),
        }
    }
    assert!(all.len() > 1, "not even the scalar tier opened");
    all
}

fn reference() -> Arc<Device> {
    // SAFETY: the plugin's own entry.
    unsafe { Backend::from_entry(tern_reference::entry) }.unwrap().open(0, 1, "").unwrap()
}
