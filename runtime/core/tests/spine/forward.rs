//! Forward: batches, adapters, recurrent state, rollback.

use super::devices;
use super::model::{Form, VOCAB, bind, build};
use std::collections::BTreeMap;
use std::sync::Arc;
use tern::CancelFlag;
use tern::backend::Device;
use tern::context::{Context, ContextSize, Want};
use tern_abi::dtype::F32;

/// Logits by position, as bits.
pub type Bits = BTreeMap<usize, Vec<u32>>;

pub fn context(device: &Arc<Device>, sequences: u64, chunk: u64) -> Context {
    let size = ContextSize::full(sequences, 128, chunk, chunk);
    let built = build(Form::Cached { pages: size.pages_per_sequence(), sequences, recurrent: true }, F32);
    let graph = built.g.finish(&[built.logits]).unwrap();
    let fixed = bind(device, &graph, None);
    Context::new(std::slice::from_ref(device), &graph, &[fixed], size).unwrap()
}

pub fn text(seed: u32, n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * i * 7 + i * 13 + seed * 31) % VOCAB as u32).collect()
}

pub fn compute(c: &mut Context, sequences: &[usize], into: &mut [Bits]) {
    c.compute(sequences, Want::All, &CancelFlag::new(), &mut |s, position, row| {
        assert!(row.iter().all(|v| v.is_finite()));
        into[s].insert(position, row.iter().map(|v| v.to_bits()).collect());
    })
    .unwrap();
}

/// All of `tokens` in a context of its own.
pub fn alone(device: &Arc<Device>, tokens: &[u32], adapter: Option<u32>, chunk: u64) -> Bits {
    let mut c = context(device, 1, chunk);
    c.set_adapter(0, adapter.map(Into::into)).unwrap();
    c.push(0, tokens).unwrap();
    let mut bits = vec![Bits::new()];
    compute(&mut c, &[0], &mut bits);
    assert_eq!(bits[0].len(), tokens.len());
    bits.remove(0)
}

#[test]
fn logits_do_not_depend_on_how_a_prompt_is_cut() {
    for (name, device) in devices() {
        let tokens = text(1, 75);
        let whole = alone(&device, &tokens, Some(0), 80);
        for chunk in [1, 7, 64] {
            assert!(alone(&device, &tokens, Some(0), chunk) == whole, "{name}, chunks of {chunk}");
        }
        assert!(alone(&device, &tokens, Some(1), 64) != whole, "{name}: the adapter has no effect");
        assert!(alone(&device, &tokens, None, 64) != whole, "{name}: the adapter has no effect");
    }
}

#[test]
fn sequences_with_different_adapters_share_batches_and_roll_back() {
    for (name, device) in devices() {
        let (a, b) = (text(2, 70), text(3, 51));
        let expected = [alone(&device, &a, Some(1), 64), alone(&device, &b, Some(0), 64)];
        let mut c = context(&device, 2, 24);
        c.set_adapter(0, Some(1.into())).unwrap();
        c.set_adapter(1, Some(0.into())).unwrap();
        let mut bits = vec![Bits::new(), Bits::new()];
        // Both begin in one batch; then A goes on with B decoding beside it, a token at a time.
        c.push(0, &a[..20]).unwrap();
        c.push(1, &b[..13]).unwrap();
        compute(&mut c, &[0, 1], &mut bits);
        for i in 0..20 {
            c.push(0, &a[20 + i..21 + i]).unwrap();
            c.push(1, &b[13 + i..14 + i]).unwrap();
            compute(&mut c, &[1, 0], &mut bits);
        }
        // A strays for three tokens, which cross the border of a mini-batch of the fast weights, and comes back.
        assert_eq!(c.tokens(0).len(), 40);
        c.rollback(0, 2).unwrap();
        c.push(0, &text(9, 3)).unwrap();
        compute(&mut c, &[0], &mut [Bits::new(), Bits::new()]);
        c.rollback(0, 3).unwrap();
        assert_eq!(c.tokens(0), &a[..38]);
        c.push(0, &a[38..]).unwrap();
        c.push(1, &b[33..]).unwrap();
        compute(&mut c, &[0, 1], &mut bits);
        for s in 0..2 {
            assert!(bits[s] == expected[s], "{name}: sequence {s}");
        }
    }
}

#[test]
fn a_cancelled_step_leaves_a_sequence_that_goes_on_alike() {
    for (name, device) in devices() {
        let tokens = text(4, 60);
        let expected = alone(&device, &tokens, Some(0), 64);
        let mut c = context(&device, 1, 16);
        c.set_adapter(0, Some(0.into())).unwrap();
        let mut bits = vec![Bits::new()];
        c.push(0, &tokens[..21]).unwrap();
        compute(&mut c, &[0], &mut bits);
        c.push(0, &tokens[21..]).unwrap();
        let cancel = CancelFlag::new();
        let result = c.compute(&[0], Want::Last, &cancel, &mut |_, _, _| ());
        assert!(result.is_ok());
        cancel.cancel();
        c.rollback(0, 30).unwrap();
        c.push(0, &tokens[30..]).unwrap();
        assert!(c.compute(&[0], Want::Last, &cancel, &mut |_, _, _| ()).unwrap_err().is_cancelled());
        compute(&mut c, &[0], &mut bits);
        for (position, row) in &bits[0] {
            assert!(row == &expected[position], "{name}: position {position}");
        }
        assert!(bits[0].contains_key(&59));
    }
}

#[test]
fn a_longer_rollback_replays_from_a_snapshot() {
    for (name, device) in devices() {
        let (a, other) = (text(5, 90), text(6, 90));
        let expected = alone(&device, &a, None, 64);
        for back in [1, 3, 9, 33, 70] {
            let mut c = context(&device, 1, 16);
            let stray = 90 - back;
            c.push(0, &a[..stray]).unwrap();
            c.push(0, &other[..back]).unwrap();
            compute(&mut c, &[0], &mut [Bits::new()]);
            c.rollback(0, back).unwrap();
            c.push(0, &a[stray..]).unwrap();
            let mut bits = vec![Bits::new()];
            compute(&mut c, &[0], &mut bits);
            for (position, row) in bits[0].range(stray..) {
                assert!(row == &expected[position], "{name}: back {back}, position {position}");
            }
            assert_eq!(bits[0].range(stray..).count(), back);
        }
    }
}
