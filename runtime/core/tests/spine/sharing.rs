//! Pages that sequences share: forks, equal prefixes, contexts that grow and shrink.

use super::forward::{Bits, alone, compute, context, text};
use super::model::{Form, bind, build};
use super::{devices, reference};
use std::sync::Arc;
use tern::CancelFlag;
use tern::backend::Device;
use tern::context::{Context, ContextSize, Want};
use tern::graph::Graph;
use tern_abi::dtype::F32;

fn positions(bits: &Bits) -> Vec<usize> {
    bits.keys().copied().collect()
}

#[test]
fn forks_go_their_own_ways() {
    for (name, device) in devices() {
        let (a, b) = (text(1, 90), text(2, 20));
        let mut other = a[..75].to_vec();
        other.extend(&b);
        let expected = [alone(&device, &a, Some(1), 64), alone(&device, &other, Some(1), 64)];
        let mut c = context(&device, 2, 32);
        let mut bits = vec![Bits::new(), Bits::new()];
        c.set_adapter(0, Some(1.into())).unwrap();
        c.push(0, &a[..75]).unwrap();
        compute(&mut c, &[0], &mut bits);
        c.fork(0, 1).unwrap();
        assert_eq!((c.tokens(1), c.computed(1)), (&a[..75], 75));
        // The fork first, so that what it writes would show in the other.
        c.push(1, &b).unwrap();
        compute(&mut c, &[1], &mut bits);
        c.push(0, &a[75..]).unwrap();
        compute(&mut c, &[0], &mut bits);
        assert!(bits[0] == expected[0], "{name}");
        assert_eq!(positions(&bits[1]), (75..95).collect::<Vec<_>>());
        assert!(bits[1].iter().all(|(p, row)| row == &expected[1][p]), "{name}");
        // Both die, in either order.
        c.reset(0).unwrap();
        c.push(1, &[1]).unwrap();
        compute(&mut c, &[1], &mut bits);
    }
}

/// The spine without its recurrent layer, whose sequences can take pages over.
fn plain(pages: u64, sequences: u64) -> Graph {
    let built = build(Form::Cached { pages, sequences, recurrent: false }, F32);
    built.g.finish(&[built.logits]).unwrap()
}

fn plain_context(device: &Arc<Device>, size: ContextSize) -> Context {
    let graph = plain(size.pages_per_sequence(), size.sequences);
    Context::new(std::slice::from_ref(device), &graph, &[bind(device, &graph, None)], size).unwrap()
}

fn plain_alone(device: &Arc<Device>, tokens: &[u32], adapter: Option<u32>) -> Bits {
    let mut c = plain_context(device, ContextSize::full(1, 256, 64, 64));
    c.set_adapter(0, adapter.map(Into::into)).unwrap();
    c.push(0, tokens).unwrap();
    let mut bits = vec![Bits::new()];
    compute(&mut c, &[0], &mut bits);
    bits.remove(0)
}

#[test]
fn equal_prefixes_are_computed_once() {
    for (name, device) in devices() {
        let a = text(4, 200);
        let mut b = a[..150].to_vec();
        b.extend(text(5, 50));
        let expected = [plain_alone(&device, &a, None), plain_alone(&device, &b, None)];
        let mut c = plain_context(&device, ContextSize::full(3, 256, 64, 64));
        let mut bits = vec![Bits::new(), Bits::new(), Bits::new()];
        c.push(0, &a).unwrap();
        compute(&mut c, &[0], &mut bits);
        let pages = c.used_pages();
        c.push(1, &b).unwrap();
        assert_eq!(c.computed(1), 128, "{name}: two full pages are the same");
        compute(&mut c, &[1], &mut bits);
        assert_eq!(c.used_pages(), pages + 2, "{name}: and two are not");
        assert!(bits[0] == expected[0], "{name}");
        assert_eq!(positions(&bits[1]), (128..200).collect::<Vec<_>>());
        assert!(bits[1].iter().all(|(p, row)| row == &expected[1][p]), "{name}");
        // Another adapter, or isolation, takes nothing over.
        c.set_adapter(2, Some(0.into())).unwrap();
        c.push(2, &a).unwrap();
        assert_eq!(c.computed(2), 0);
        c.reset(2).unwrap();
        c.configure(2, None, true).unwrap();
        c.push(2, &a).unwrap();
        assert_eq!(c.computed(2), 0);
        compute(&mut c, &[2], &mut bits);
        assert!(bits[2] == expected[0], "{name}");
        // The last page of the prompt is left, for its logits; what a sequence leaves behind is still there.
        c.reset(0).unwrap();
        c.push(0, &a[..128]).unwrap();
        assert_eq!(c.computed(0), 64);
        // A rollback into a shared page writes to a copy.
        c.rollback(1, 100).unwrap();
        c.push(1, &text(6, 60)).unwrap();
        compute(&mut c, &[1], &mut bits);
        c.push(0, &a[128..]).unwrap();
        let mut again = vec![Bits::new()];
        compute(&mut c, &[0], &mut again);
        assert!(again[0].iter().all(|(p, row)| row == &expected[0][p]), "{name}: a shared page was written");
    }
}

#[test]
fn cached_prefixes_give_way_to_sequences() {
    let device = reference();
    let mut c = plain_context(&device, ContextSize { pages: 4, ..ContextSize::full(2, 256, 64, 64) });
    let mut bits = vec![Bits::new(), Bits::new()];
    for seed in 0..5 {
        let tokens = text(seed, 250);
        let expected = plain_alone(&device, &tokens, None);
        c.push(0, &tokens).unwrap();
        compute(&mut c, &[0], &mut bits);
        assert!(bits[0] == expected, "{seed}");
        c.reset(0).unwrap();
        assert_eq!(c.used_pages(), 3, "full pages are kept");
    }
    c.drop_prefixes();
    assert_eq!(c.used_pages(), 0);
}

#[test]
fn a_context_grows_and_shrinks_under_its_sequences() {
    for (name, device) in devices() {
        let (a, b) = (text(7, 100), text(8, 120));
        let expected = [alone(&device, &a, Some(1), 64), alone(&device, &b, None, 64)];
        let mut c = context(&device, 1, 16);
        let mut bits = vec![Bits::new(), Bits::new(), Bits::new()];
        c.set_adapter(0, Some(1.into())).unwrap();
        c.push(0, &a[..70]).unwrap();
        compute(&mut c, &[0], &mut bits);
        let graph = |size: ContextSize| {
            let built = build(
                Form::Cached { pages: size.pages_per_sequence(), sequences: size.sequences, recurrent: true },
                F32,
            );
            built.g.finish(&[built.logits]).unwrap()
        };
        let large = ContextSize::full(3, 512, 32, 32);
        c.resize(&graph(large), &[bind(&device, &graph(large), None)], large).unwrap();
        c.push(1, &b[..90]).unwrap();
        c.push(2, &b[..65]).unwrap();
        compute(&mut c, &[1, 2], &mut bits);
        // The one in the middle leaves, so that the last one's pages move.
        c.reset(1).unwrap();
        bits[1].clear();
        let small = ContextSize { pages: c.used_pages() + 1, ..ContextSize::full(3, 128, 16, 16) };
        c.resize(&graph(small), &[bind(&device, &graph(small), None)], small).unwrap();
        c.rollback(0, 3).unwrap();
        c.push(0, &a[67..]).unwrap();
        c.push(2, &b[65..]).unwrap();
        compute(&mut c, &[2, 0], &mut bits);
        assert!(bits[0] == expected[0] && bits[2] == expected[1], "{name}");
    }
}

#[test]
fn a_long_prompt_does_not_stall_who_decodes() {
    let device = reference();
    let (a, b) = (text(9, 40), text(10, 200));
    let mut c = plain_context(&device, ContextSize::full(2, 256, 128, 2));
    let cancel = CancelFlag::new();
    let mut told = Vec::new();
    c.push(0, &a[..20]).unwrap();
    c.compute(&[0], Want::Last, &cancel, &mut |_, _, _| ()).unwrap();
    c.push(1, &b).unwrap();
    let mut steps = 0;
    for (position, &token) in a.iter().enumerate().skip(20) {
        if c.computed(1) == b.len() {
            break;
        }
        c.push(0, &[token]).unwrap();
        let before = c.computed(1);
        // The prompt is first in line, and yet the decoder has its row in every step.
        assert!(c.step(&[1, 0], Want::Last, &cancel, &mut |s, p, _| told.push((s, p))).unwrap());
        assert!(told.contains(&(0, position)), "position {position}: {told:?}");
        assert!(c.computed(1) - before <= 64, "{} rows of the prompt in one step", c.computed(1) - before);
        steps += 1;
    }
    assert_eq!((steps, told.last()), (4, Some(&(0, 23))));
    assert!(told.contains(&(1, 199)));
}

#[test]
fn a_sequence_goes_to_canonical_layout_and_back() {
    let canonical = |c: &Context, states: usize| -> Vec<Vec<u8>> {
        let one = |i| {
            let mut bytes = Vec::new();
            c.export_state(0, i, c.computed(0), &mut |unit| bytes.extend_from_slice(unit)).unwrap();
            bytes
        };
        (0..states).map(one).collect()
    };
    // Within a mini-batch of the fast weights, at its border, and beyond several pages.
    for n in [5, 8, 100] {
        let tokens = text(11, n + 20);
        for (name, device) in devices() {
            let expected = alone(&device, &tokens, None, 64);
            let mut c = context(&device, 1, 32);
            c.push(0, &tokens[..n]).unwrap();
            compute(&mut c, &[0], &mut [Bits::new()]);
            let stored = c.stored_states(n, 0);
            let states = canonical(&c, stored.len());
            let mut other = context(&device, 2, 16);
            other.begin_import(0, &tokens[..n], n, 0).unwrap();
            for (i, (state, bytes)) in stored.iter().zip(&states).enumerate() {
                assert_eq!(bytes.len() as u64, state.units * state.unit_bytes, "{name}: {}", state.name);
                for (unit, bytes) in bytes.chunks(state.unit_bytes as usize).enumerate() {
                    other.import_state(0, i, unit, bytes).unwrap();
                }
            }
            other.end_import(0, n).unwrap();
            assert!(canonical(&other, stored.len()) == states, "{name}");
            other.push(0, &tokens[n..]).unwrap();
            let mut bits = vec![Bits::new()];
            compute(&mut other, &[0], &mut bits);
            assert_eq!(positions(&bits[0]), (n..n + 20).collect::<Vec<_>>(), "{name}: nothing is computed again");
            assert!(bits[0].iter().all(|(p, row)| row == &expected[p]), "{name}, {n} tokens");
        }
    }
}
