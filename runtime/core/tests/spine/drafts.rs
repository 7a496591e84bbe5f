//! Drafts: computed ahead, they leave no trace but time saved.

use super::devices;
use super::forward::{Bits, alone, compute, context, text};
use super::model::VOCAB;
use tern::CancelFlag;
use tern::context::{Context, Want};

/// One step for `sequences`: rows by position of each.
fn step(c: &mut Context, sequences: &[usize]) -> Vec<Bits> {
    let mut bits = vec![Bits::new(); sequences.len()];
    let cancel = CancelFlag::new();
    c.step(sequences, Want::Last, &cancel, &mut |s, position, row| {
        let at = sequences.iter().position(|&i| i == s).unwrap();
        bits[at].insert(position, row.iter().map(|v| v.to_bits()).collect());
    })
    .unwrap();
    bits
}

/// `right` tokens of `tokens` from `at` on, then some others.
fn guess(tokens: &[u32], at: usize, right: usize) -> Vec<u32> {
    let wrong = |t: &u32| (t + 1) % VOCAB as u32;
    let rest = &tokens[at..];
    rest.iter().take(right).copied().chain(rest.iter().skip(right).take(4).map(wrong)).collect()
}

#[test]
fn right_or_wrong_they_change_nothing() {
    for (name, device) in devices() {
        let texts = [text(20, 75), text(21, 75)];
        let expected = [alone(&device, &texts[0], Some(1), 64), alone(&device, &texts[1], None, 64)];
        let mut c = context(&device, 3, 24);
        c.set_adapter(0, Some(1.into())).unwrap();
        let mut saved = 0;
        for (s, text) in texts.iter().enumerate() {
            c.push(s, &text[..11 + s]).unwrap();
        }
        compute(&mut c, &[0, 1], &mut [Bits::new(), Bits::new()]);
        let mut turn = 0;
        while c.tokens(0).len() < 65 && c.tokens(1).len() < 65 {
            turn += 1;
            for (s, text) in texts.iter().enumerate() {
                let len = c.tokens(s).len();
                c.push(s, &text[len..=len]).unwrap();
                c.begin(s).unwrap();
                c.draft(s, &guess(text, len + 1, (turn + s) % 6)).unwrap();
            }
            let bits = step(&mut c, &[0, 1]);
            for (s, rows) in bits.iter().enumerate() {
                let right = (turn + s) % 6;
                let last = c.tokens(s).len() - 1;
                assert_eq!(rows.keys().next(), Some(&last));
                let told: Vec<usize> = rows.keys().copied().filter(|p| p - last <= right).collect();
                assert!(told.iter().all(|p| rows[p] == expected[s][p]), "{name}: sequence {s}, turn {turn}");
                // What they were right about is pushed; it is there already.
                for _ in 1..told.len() {
                    let len = c.tokens(s).len();
                    c.push(s, &texts[s][len..=len]).unwrap();
                    assert_eq!(c.computed(s), c.tokens(s).len());
                    saved += 1;
                }
            }
            match turn % 5 {
                0 => {
                    c.fork(0, 2).unwrap();
                    let len = c.tokens(2).len();
                    c.push(2, &texts[0][len..len + 2]).unwrap();
                    let row = &step(&mut c, &[2])[0];
                    assert!(row[&(len + 1)] == expected[0][&(len + 1)], "{name}: a fork of what has drafts");
                }
                1 => c.rollback(1, 3).unwrap(),
                2 => {
                    // Stopped half-way or before, drafts are gone and the token is not.
                    let len = c.tokens(0).len();
                    c.push(0, &texts[0][len..=len]).unwrap();
                    c.begin(0).unwrap();
                    c.draft(0, &guess(&texts[0], len + 1, 2)).unwrap();
                    let cancel = CancelFlag::new();
                    cancel.cancel();
                    assert!(c.step(&[0], Want::Last, &cancel, &mut |_, _, _| ()).unwrap_err().is_cancelled());
                    c.rollback(0, 1).unwrap();
                }
                _ => {}
            }
        }
        assert!(saved > 20, "{name}: {saved}");
    }
}

#[test]
fn others_have_their_rows_before_drafts_have_theirs() {
    let (_, device) = devices().remove(0);
    let texts = [text(22, 60), text(23, 60), text(24, 60)];
    // Fast weights allow no draft beyond a mini-batch of 8: 9 tokens leave room for 6.
    let mut c = context(&device, 3, 6);
    for (s, text) in texts.iter().enumerate() {
        c.push(s, &text[..9]).unwrap();
    }
    compute(&mut c, &[0, 1, 2], &mut [Bits::new(), Bits::new(), Bits::new()]);
    for (s, text) in texts.iter().enumerate() {
        c.push(s, &text[9..10]).unwrap();
        c.draft(s, &text[10..20]).unwrap();
    }
    let rows: Vec<usize> = step(&mut c, &[0, 1, 2]).iter().map(Bits::len).collect();
    assert_eq!(rows, [2, 2, 2], "a row each, and the rest shared");
    assert_eq!((c.last_step().rows, c.last_step().drafts, c.last_step().prompts), (6, 3, 0));
    c.push(0, &texts[0][10..12]).unwrap();
    c.draft(0, &texts[0][12..20]).unwrap();
    assert_eq!(step(&mut c, &[0])[0].len(), 4, "to the end of the mini-batch");
}

#[test]
fn a_snapshot_holds_nothing_that_was_taken_back() {
    for (name, device) in devices() {
        let (tokens, stray) = (text(25, 40), text(26, 2));
        let expected = alone(&device, &tokens, None, 64);
        let mut c = context(&device, 1, 16);
        let mut bits = vec![Bits::new()];
        // Into a mini-batch with two tokens that do not stay, out of it, and back into it.
        c.push(0, &tokens[..10]).unwrap();
        compute(&mut c, &[0], &mut bits);
        c.push(0, &tokens[10..16]).unwrap();
        c.push(0, &stray).unwrap();
        compute(&mut c, &[0], &mut bits);
        c.rollback(0, 2).unwrap();
        c.push(0, &tokens[16..26]).unwrap();
        compute(&mut c, &[0], &mut bits);
        c.rollback(0, 6).unwrap();
        c.push(0, &tokens[20..]).unwrap();
        let mut again = vec![Bits::new()];
        compute(&mut c, &[0], &mut again);
        assert_eq!(again[0].keys().next_back(), Some(&39));
        assert!(again[0].iter().all(|(p, row)| row == &expected[p]), "{name}");
    }
}
