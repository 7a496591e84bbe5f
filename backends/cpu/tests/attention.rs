//! ATTENTION against plain code, and against itself: threads, chunks, batches and tiers of work must not
//! change a bit.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{Failure, Net, Rig, bits, call, noise, tiers, worst};
use tern_abi::ops::{ATTENTION, AttentionParams, rope_layout};
use tern_abi::state::{StateDesc, kind};
use tern_abi::{Header, dtype, status};

/// A sequence with all its rows.
#[derive(Clone)]
struct Case {
    p: AttentionParams,
    /// Length of each sequence.
    lengths: Vec<usize>,
    rope: bool,
    sinks: bool,
    /// Changes a sequence's data.
    change: fn(&mut Data),
}

struct Data {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    table: Vec<f32>,
    sinks: Vec<f32>,
}

fn params(heads: u32, kv_heads: u32, head_dim: u32, page_size: u32) -> AttentionParams {
    AttentionParams {
        heads,
        kv_heads,
        head_dim,
        page_size,
        kv_dtype: dtype::F16,
        scale: 1.0 / (head_dim as f32).sqrt(),
        ..Default::default()
    }
}

/// Codes and scale of a key or value, by the rule of `KV_PAGE`.
fn codes(x: &[f32]) -> (Vec<i8>, f32) {
    let max = x.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
    if x.iter().any(|x| !x.is_finite()) {
        return (vec![0; x.len()], f32::NAN);
    }
    if max == 0.0 {
        return (vec![0; x.len()], 0.0);
    }
    (x.iter().map(|x| (x / max * 127.0).round_ties_even() as i8).collect(), max / 127.0)
}

impl Case {
    /// Rows of sequence `s`; the same whatever else is in the batch.
    fn data(&self, s: usize) -> Data {
        let (n, d) = (self.lengths[s], self.p.head_dim as usize);
        let seed = 17 * s as u64 + 1;
        let r = self.p.n_rot as usize / 2;
        let mut data = Data {
            q: noise(n * self.p.heads as usize * d, seed).iter().map(|x| x * 3.0).collect(),
            k: noise(n * self.p.kv_heads as usize * d, seed + 1).iter().map(|x| x * 3.0).collect(),
            v: noise(n * self.p.kv_heads as usize * d, seed + 2),
            table: (0..n)
                .flat_map(|t| {
                    (0..r).flat_map(move |i| {
                        [(t as f32 * 0.7f32.powi(i as i32)).cos(), (t as f32 * 0.7f32.powi(i as i32)).sin()]
                    })
                })
                .collect(),
            sinks: noise(self.p.heads as usize, 5),
        };
        (self.change)(&mut data);
        data
    }

    fn rotate(&self, x: &[f32], table: &[f32]) -> Vec<f32> {
        let mut y = x.to_vec();
        let n = self.p.n_rot as usize;
        for i in 0..n / 2 {
            let (a, b) = if self.p.rope_layout == rope_layout::HALVES { (i, i + n / 2) } else { (2 * i, 2 * i + 1) };
            let (c, s) = (table[2 * i], table[2 * i + 1]);
            y[a] = x[a] * c - x[b] * s;
            y[b] = x[a] * s + x[b] * c;
        }
        y
    }

    /// The plain computation, in f64.
    fn expected(&self, s: usize, stated: bool) -> Vec<f32> {
        let data = self.data(s);
        let (h, kvh, d) = (self.p.heads as usize, self.p.kv_heads as usize, self.p.head_dim as usize);
        let round = |x: Vec<f32>| -> Vec<f64> {
            match self.p.kv_dtype {
                dtype::F16 if stated => {
                    x.into_iter().map(|x| tern_quant::f16_to_f32(tern_quant::f32_to_f16(x)).into()).collect()
                }
                dtype::I8 if stated => {
                    let (codes, scale) = codes(&x);
                    codes.into_iter().map(|code| f64::from(code) * f64::from(scale)).collect()
                }
                _ => x.into_iter().map(f64::from).collect(),
            }
        };
        let head = |x: &[f32], t: usize, heads: usize, i: usize, turn: bool| {
            let x = &x[(t * heads + i) * d..][..d];
            let n = self.p.n_rot as usize;
            if turn && self.rope { self.rotate(x, &data.table[t * n..][..n]) } else { x.to_vec() }
        };
        let mut out = Vec::new();
        for t in 0..self.lengths[s] {
            for i in 0..h {
                let q = head(&data.q, t, h, i, true);
                let kv = i / (h / kvh);
                let from = if self.p.window > 0 { (t + 1).saturating_sub(self.p.window as usize) } else { 0 };
                let reach = if self.p.window > 0 { self.p.window as usize } else { self.lengths[s] };
                let end = if self.p.bidirectional == 1 { (t + reach).min(self.lengths[s]) } else { t + 1 };
                let mut scores: Vec<f64> = (from..end)
                    .map(|j| {
                        let k = round(head(&data.k, j, kvh, kv, true));
                        let dot: f64 = q.iter().zip(&k).map(|(a, b)| f64::from(*a) * b).sum();
                        let x = dot * f64::from(self.p.scale);
                        let c = f64::from(self.p.softcap);
                        if c > 0.0 { c * (x / c).tanh() } else { x }
                    })
                    .collect();
                if self.sinks {
                    scores.push(f64::from(data.sinks[i]));
                }
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scores.iter().map(|x| (x - top).exp()).sum();
                let mut sums = vec![0.0; d];
                for j in from..end {
                    let v = round(head(&data.v, j, kvh, kv, false));
                    sums.iter_mut().zip(v).for_each(|(sum, v)| *sum += (scores[j - from] - top).exp() * v);
                }
                out.extend(sums.into_iter().map(|sum| (sum / total) as f32));
            }
        }
        out
    }

    fn desc(&self) -> StateDesc {
        StateDesc {
            header: Header::of::<StateDesc>(),
            kind: kind::KV_PAGE,
            dtype: self.p.kv_dtype,
            dims: [self.p.kv_heads.into(), self.p.head_dim.into(), self.p.page_size.into(), 0, 0, 0],
        }
    }

    /// Adds the op for `rows` of each sequence, with a state or without.
    fn net(&self, rows: &[std::ops::Range<usize>], state: Option<u64>) -> (Net, u32) {
        let (h, kvh, d) = (self.p.heads as usize, self.p.kv_heads as usize, self.p.head_dim as usize);
        let n = self.p.n_rot as usize;
        let mut all = Data { q: vec![], k: vec![], v: vec![], table: vec![], sinks: vec![] };
        let (mut positions, mut starts, mut slots) = (vec![], vec![0], vec![]);
        let page = self.p.page_size.max(1) as usize;
        let per = self.lengths.iter().max().unwrap().div_ceil(page);
        // Pages of the sequences are interleaved and in descending order; page 0 is nobody's.
        let number = |s: usize, j: usize| (1 + (per - 1 - j) * self.lengths.len() + s) as i32;
        for (s, r) in rows.iter().enumerate() {
            let data = self.data(s);
            all.q.extend(&data.q[r.start * h * d..r.end * h * d]);
            all.k.extend(&data.k[r.start * kvh * d..r.end * kvh * d]);
            all.v.extend(&data.v[r.start * kvh * d..r.end * kvh * d]);
            all.table.extend(&data.table[r.start * n..r.end * n]);
            all.sinks = data.sinks;
            positions.extend(r.clone().map(|t| t as i32));
            slots.extend(r.clone().map(|t| number(s, t / page) * page as i32 + (t % page) as i32));
            starts.push(positions.len() as i32);
        }
        let t = positions.len();
        let mut net = Net::default();
        let q = net.f32(&[t, h * d], &all.q);
        let k = net.f32(&[t, kvh * d], &all.k);
        let v = net.f32(&[t, kvh * d], &all.v);
        let table = self.rope.then(|| net.f32(&[t, n], &all.table));
        let positions = net.i32(&[t], &positions);
        let starts = net.i32(&[starts.len()], &starts);
        let sinks = self.sinks.then(|| net.f32(&[h], &all.sinks));
        let out = net.out(&[t, h * d]);
        let (mut past, mut state_out) = ([None; 3], None);
        if let Some(buffer) = state {
            let state = net.state(buffer);
            let numbers: Vec<i32> =
                (0..rows.len()).flat_map(|s| (0..per).map(move |j| (s, j))).map(|(s, j)| number(s, j)).collect();
            past = [Some(state), Some(net.i32(&[t], &slots)), Some(net.i32(&[rows.len(), per], &numbers))];
            state_out = Some(state);
        }
        net.op(
            ATTENTION,
            &[Some(q), Some(k), Some(v), table, Some(positions), Some(starts), past[0], past[1], past[2], sinks],
            &[Some(out), state_out],
            self.p,
        );
        (net, out)
    }

    /// A state whose memory is full of NaN.
    fn fresh_state(&self, rig: &Rig) -> u64 {
        let pages = 1 + self.lengths.iter().max().unwrap().div_ceil(self.p.page_size as usize) * self.lengths.len();
        let bytes = pages * rig.state_layout(&self.desc()).unwrap().0;
        let buffer = rig.alloc(bytes);
        rig.write(buffer, &vec![0xff; bytes]);
        buffer
    }

    /// All sequences, in steps of at most `chunk` rows each; yields each sequence's output.
    fn run(&self, rig: &Rig, chunk: usize) -> Vec<Vec<f32>> {
        let state = self.fresh_state(rig);
        let mut outputs = vec![Vec::new(); self.lengths.len()];
        let longest = *self.lengths.iter().max().unwrap();
        for from in (0..longest).step_by(chunk) {
            let rows: Vec<_> = self.lengths.iter().map(|&n| from.min(n)..(from + chunk).min(n)).collect();
            let (net, out) = self.net(&rows, Some(state));
            let result = rig.run(&net, &[out]).unwrap().remove(0);
            let mut at = 0;
            for (s, r) in rows.iter().enumerate() {
                let n = r.len() * (self.p.heads * self.p.head_dim) as usize;
                outputs[s].extend(&result[at..at + n]);
                at += n;
            }
        }
        rig.free(state);
        outputs
    }
}

fn cases() -> Vec<Case> {
    let plain = Case { p: params(9, 3, 64, 64), lengths: vec![150], rope: false, sinks: false, change: |_| () };
    let mut list = vec![plain.clone()];
    let p = AttentionParams { n_rot: 64, rope_layout: rope_layout::HALVES, ..plain.p };
    list.push(Case { p, rope: true, lengths: vec![70, 0, 131], ..plain.clone() });
    let p = AttentionParams { n_rot: 20, window: 37, ..params(4, 4, 40, 32) };
    list.push(Case { p, rope: true, ..plain.clone() });
    let p = AttentionParams { softcap: 2.0, window: 64, kv_dtype: dtype::F32, ..params(8, 1, 20, 16) };
    list.push(Case { p, sinks: true, lengths: vec![33, 90], ..plain.clone() });
    // Several groups of pages.
    list.push(Case { p: params(2, 1, 16, 64), lengths: vec![1200], ..plain.clone() });
    let p = AttentionParams { window: 700, ..params(2, 1, 16, 16) };
    list.push(Case { p, lengths: vec![1300], sinks: true, ..plain.clone() });
    // Codes of 8 bits.
    let coded = |p| AttentionParams { kv_dtype: dtype::I8, ..p };
    list.push(Case { p: coded(params(9, 3, 64, 64)), ..plain.clone() });
    list.push(Case { p: coded(params(6, 2, 80, 32)), lengths: vec![70, 0, 131], ..plain.clone() });
    let p = AttentionParams { softcap: 2.0, window: 37, ..coded(params(8, 1, 20, 16)) };
    list.push(Case { p, sinks: true, lengths: vec![33, 90], ..plain.clone() });
    list.push(Case { p: coded(params(2, 1, 128, 64)), lengths: vec![100], ..plain.clone() });
    list.push(Case { p: coded(params(2, 1, 16, 64)), lengths: vec![1200], ..plain });
    list
}

#[test]
fn agrees_with_plain_code() {
    for tier in tiers() {
        let rig = Rig::new(tier, 2);
        for case in cases() {
            let got = case.run(&rig, usize::MAX / 2);
            for (s, got) in got.iter().enumerate() {
                let want = case.expected(s, true);
                assert!(worst(got, &want) < 2e-5, "{tier} {:?}: {}", case.p, worst(got, &want));
            }
        }
    }
}

#[test]
fn agrees_without_a_state() {
    for tier in tiers() {
        let rig = Rig::new(tier, 2);
        for case in cases() {
            let rows: Vec<_> = case.lengths.iter().map(|&n| 0..n).collect();
            let (net, out) = case.net(&rows, None);
            let got = rig.run(&net, &[out]).unwrap().remove(0);
            let want: Vec<f32> = (0..case.lengths.len()).flat_map(|s| case.expected(s, false)).collect();
            assert!(worst(&got, &want) < 2e-5, "{tier} {:?}: {}", case.p, worst(&got, &want));
        }
    }
}

fn both_ways() -> Vec<Case> {
    let of = |p| AttentionParams { bidirectional: 1, ..p };
    let case =
        |p, lengths: &[usize]| Case { p: of(p), lengths: lengths.to_vec(), rope: false, sinks: false, change: |_| () };
    let window = AttentionParams { window: 37, softcap: 2.0, ..params(8, 2, 20, 0) };
    let rotated = AttentionParams { n_rot: 32, rope_layout: rope_layout::HALVES, ..params(12, 12, 32, 0) };
    vec![
        case(params(9, 3, 64, 0), &[150, 0, 1, 64]),
        Case { sinks: true, ..case(window, &[33, 200]) },
        Case { rope: true, ..case(rotated, &[70, 131]) },
        case(params(2, 1, 16, 0), &[1200]),
    ]
}

#[test]
fn rows_that_see_both_ways_agree_with_plain_code() {
    for tier in tiers() {
        let rigs = [1, 2, 3, 8].map(|n| Rig::new(tier, n));
        for case in both_ways() {
            let rows: Vec<_> = case.lengths.iter().map(|&n| 0..n).collect();
            let (net, out) = case.net(&rows, None);
            let all = rigs.each_ref().map(|rig| rig.run(&net, &[out]).unwrap().remove(0));
            let want: Vec<f32> = (0..case.lengths.len()).flat_map(|s| case.expected(s, false)).collect();
            assert!(worst(&all[0], &want) < 2e-5, "{tier} {:?}: {}", case.p, worst(&all[0], &want));
            assert!(all.iter().all(|got| bits(got) == bits(&all[0])), "{tier} {:?}: threads", case.p);
            // Alone as in company.
            let (net, out) = case.net(&rows[..1], None);
            let alone = rigs[1].run(&net, &[out]).unwrap().remove(0);
            assert!(bits(&alone) == bits(&all[0][..alone.len()]), "{tier} {:?}: company", case.p);
        }
    }
}

#[test]
fn rows_that_see_both_ways_have_no_state() {
    let rig = Rig::new("", 1);
    let p = AttentionParams { bidirectional: 1, ..params(2, 1, 16, 64) };
    let case = Case { p, lengths: vec![5], rope: false, sinks: false, change: |_| () };
    let state = case.fresh_state(&rig);
    let (net, out) = case.net(std::slice::from_ref(&(0..5)), Some(state));
    assert!(rig.run(&net, &[out]).is_err());
}

#[test]
fn same_bits_however_it_is_cut() {
    for tier in tiers() {
        let rigs = [1, 2, 3, 8].map(|n| Rig::new(tier, n));
        for case in cases() {
            let want: Vec<_> = case.run(&rigs[0], usize::MAX / 2).iter().map(|x| bits(x)).collect();
            for (i, rig) in rigs.iter().enumerate() {
                // One token at a time last: it is the slowest.
                for chunk in [usize::MAX / 2, 97, 16, 5, 1] {
                    if chunk < 16 && i > 1 && case.lengths[0] > 1000 {
                        continue;
                    }
                    let got: Vec<_> = case.run(rig, chunk).iter().map(|x| bits(x)).collect();
                    assert!(got == want, "{tier}, rig {i}, chunks of {chunk}: {:?}", case.p);
                }
            }
        }
    }
}

#[test]
fn the_rest_of_the_batch_does_not_matter() {
    for tier in tiers() {
        let rig = Rig::new(tier, 2);
        let mut case = Case { lengths: vec![60, 130, 7], ..cases()[0].clone() };
        let together = case.run(&rig, usize::MAX / 2);
        case.lengths = vec![60];
        assert_eq!(bits(&case.run(&rig, 11)[0]), bits(&together[0]));
    }
}

#[test]
fn exported_pages_are_canonical() {
    let case = &cases()[0];
    let rig = Rig::new("", 2);
    let state = case.fresh_state(&rig);
    let (net, out) = case.net(std::slice::from_ref(&(0..150)), Some(state));
    rig.run(&net, &[out]).unwrap();
    // The sequence's first page is number 3: its three pages come in descending order.
    let page = rig.export(&case.desc(), state, 3);
    let half = |at: usize| u16::from_le_bytes([page[2 * at], page[2 * at + 1]]);
    let data = case.data(0);
    for position in [0, 5, 63] {
        for head in 0..3 {
            for dim in [0, 17, 63] {
                let row = (position * 3 + head) * 64 + dim;
                let at = (head * 64 + position) * 64 + dim;
                assert_eq!(half(at), tern_quant::f32_to_f16(data.k[row]));
                assert_eq!(half(3 * 64 * 64 + at), tern_quant::f32_to_f16(data.v[row]));
            }
        }
    }
    rig.free(state);
}

/// One page of codes, with such data.
fn coded_page(change: fn(&mut Data)) -> Case {
    let p = AttentionParams { kv_dtype: dtype::I8, ..params(2, 2, 20, 64) };
    Case { p, lengths: vec![64], rope: false, sinks: false, change }
}

/// Where a head of a position begins in the keys or values of [`coded_page`].
fn row(position: usize, head: usize) -> std::ops::Range<usize> {
    let first = (position * 2 + head) * 20;
    first..first + 20
}

/// The same codes and scales on every tier, bit for bit, also where a number is not finite, and where all are 0 or tiny.
#[test]
fn exported_codes_follow_the_rule() {
    let case = coded_page(|data| {
        data.k[row(3, 0)].fill(0.0);
        data.k[row(4, 1).start] = f32::INFINITY;
        data.v[row(5, 0).start + 19] = f32::NAN;
        data.k[row(6, 0)].iter_mut().for_each(|x| *x *= 1e-44);
        data.v[row(7, 1)].iter_mut().for_each(|x| *x *= 3e38);
        // Halves of the scale.
        data.k[row(8, 0)].iter_mut().enumerate().for_each(|(i, x)| *x = if i == 9 { 127.0 } else { i as f32 - 5.5 });
    });
    let data = case.data(0);
    for tier in tiers() {
        let rig = Rig::new(tier, 2);
        let state = case.fresh_state(&rig);
        let (net, out) = case.net(std::slice::from_ref(&(0..64)), Some(state));
        rig.run(&net, &[out]).unwrap();
        let page = rig.export(&case.desc(), state, 1);
        rig.free(state);
        let (rows, half) = (2 * 64, page.len() / 2);
        for (which, data) in [&data.k, &data.v].into_iter().enumerate() {
            for (position, head) in (0..64).flat_map(|t| [(t, 0), (t, 1)]) {
                let (want, scale) = codes(&data[row(position, head)]);
                let at = head * 64 + position;
                let got = page[which * half + at * 20..][..20].iter().map(|b| b.cast_signed());
                assert!(got.eq(want), "{tier} {which} {position} {head}");
                let got = page[which * half + rows * 20 + at * 4..].first_chunk().unwrap();
                assert_eq!(u32::from_le_bytes(*got), scale.to_bits(), "{tier} {which} {position} {head}");
            }
        }
    }
}

/// What is not a number reaches the rows that see it, and no other.
#[test]
fn a_number_that_is_none_shows_where_it_is_seen() {
    let case = coded_page(|data| data.v[row(40, 1).start + 7] = f32::NEG_INFINITY);
    for tier in tiers() {
        let rig = Rig::new(tier, 2);
        for chunk in [64, 1] {
            for (i, x) in case.run(&rig, chunk)[0].iter().enumerate() {
                let (position, head) = (i / 40, i / 20 % 2);
                assert_eq!(x.is_nan(), position >= 40 && head == 1, "{tier} {chunk} {position} {head}");
            }
        }
    }
}

fn import(rig: &Rig, desc: &StateDesc, buffer: u64, unit: u64, bytes: &[u8]) {
    let (ptr, len) = (bytes.as_ptr(), bytes.len() as u64);
    // SAFETY: live handles.
    call(|err| unsafe { (rig.table.state_import.unwrap())(rig.dev, 0, desc, buffer, unit, ptr, len, err) }).unwrap();
}

/// A session file is somebody else's bytes.
#[test]
fn imported_codes_may_be_anything() {
    let case = Case { lengths: vec![200], ..cases().into_iter().find(|c| c.p.kv_dtype == dtype::I8).unwrap() };
    for tier in tiers() {
        let rig = Rig::new(tier, 2);
        for fill in [[0x80; 4], [0xff; 4], f32::INFINITY.to_le_bytes(), f32::MAX.to_le_bytes()] {
            let state = case.fresh_state(&rig);
            let bytes = rig.state_layout(&case.desc()).unwrap().1;
            let canonical: Vec<u8> = fill.into_iter().cycle().take(bytes).collect();
            for unit in 1..4 {
                import(&rig, &case.desc(), state, unit, &canonical);
                assert_eq!(rig.export(&case.desc(), state, unit), canonical);
            }
            for rows in [100..101, 101..200] {
                let (net, out) = case.net(std::slice::from_ref(&rows), Some(state));
                rig.run(&net, &[out]).unwrap();
            }
            rig.free(state);
        }
    }
}

#[test]
fn bad_places_are_errors() {
    let case = &cases()[0];
    let rig = Rig::new("", 2);
    let state = case.fresh_state(&rig);
    let (net, _) = case.net(std::slice::from_ref(&(0..150)), Some(state));
    let mut ready = rig.ready(&net).unwrap();
    // Tensors in the order in which `net` makes them: q k v positions starts out state slots table.
    let (positions, starts, slots, table) = (3, 4, 7, 8);
    let good: Vec<(u32, Vec<i32>)> = [positions, starts, slots, table].map(|t| (t, ready.i32(t))).to_vec();
    for (which, at, value) in [
        (0, 0, -1),
        (0, 3, 7),
        (1, 0, 1),
        (1, 1, 149),
        (1, 1, i32::MAX),
        (2, 5, -1),
        (2, 5, 4 * 64),
        (3, 0, -1),
        (3, 2, 4),
    ] {
        let (tensor, mut data) = good[which].clone();
        data[at] = value;
        ready.set_i32(tensor, &data);
        let Err(Failure(code, message)) = ready.run([0; 4], std::ptr::null()) else { panic!("{which} {at} {value}") };
        assert_eq!(code, status::ARGUMENT, "{message}");
        ready.set_i32(tensor, &good[which].1);
    }
    let long: Vec<i32> = (50..200).collect();
    ready.set_i32(positions, &long);
    assert_eq!(ready.run([0; 4], std::ptr::null()).unwrap_err().0, status::ARGUMENT);
    ready.set_i32(positions, &good[0].1);
    ready.run([0; 4], std::ptr::null()).unwrap();
    drop(ready);
    rig.free(state);
}
