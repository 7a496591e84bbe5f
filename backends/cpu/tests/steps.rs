//! Steps as a host runs them: cancelling, and several steps at once on one device.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{Failure, Net, Rig, bits, noise};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tern_abi::ops::{ATTENTION, AttentionParams, SCALE, ScaleParams};
use tern_abi::status;

/// Attention over many rows, several times: some hundred milliseconds of work.
fn long(net: &mut Net) {
    let (t, d) = (2048, 64);
    let [q, k, v] = [1, 2, 3].map(|seed| net.f32(&[t, 8 * d], &noise(t * 8 * d, seed)));
    let positions: Vec<i32> = (0..t as i32).collect();
    let (positions, starts) = (net.i32(&[t], &positions), net.i32(&[2], &[0, t as i32]));
    let p = AttentionParams { heads: 8, kv_heads: 8, head_dim: d as u32, scale: 0.125, ..Default::default() };
    for _ in 0..20 {
        let out = net.out(&[t, 8 * d]);
        net.op(
            ATTENTION,
            &[q, k, v].map(Some).iter().copied().chain([None, Some(positions), Some(starts)]).collect::<Vec<_>>(),
            &[Some(out)],
            p,
        );
    }
}

#[test]
fn cancelling_is_quick() {
    for threads in [1, 2, 8] {
        let rig = Rig::new("scalar", threads);
        let mut net = Net::default();
        long(&mut net);
        let mut ready = rig.ready(&net).unwrap();
        let flag = AtomicU32::new(0);
        let (mut since, mut result) = (Duration::ZERO, Ok(()));
        std::thread::scope(|scope| {
            let canceller = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                flag.store(1, Ordering::Relaxed);
                Instant::now()
            });
            result = ready.run([0; 4], flag.as_ptr());
            since = canceller.join().unwrap().elapsed();
        });
        assert_eq!(result.map_err(|Failure(code, _)| code), Err(status::CANCELLED));
        // Far above what it takes, far below what the work takes: the machine may be busy.
        assert!(since < Duration::from_secs(2), "{since:?}");
        ready.run([0; 4], flag.as_ptr()).unwrap_err();
    }
}

#[test]
fn steps_from_several_threads_take_turns() {
    let rig = Rig::new("", 2);
    let x = noise(100, 1);
    let want: Vec<f32> = x.iter().map(|x| x * 3.0).collect();
    let rig = &Shared(rig);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let rig = &rig.0;
                for _ in 0..100 {
                    let mut net = Net::default();
                    let (x, out) = (net.f32(&[100], &x), net.out(&[100]));
                    net.op(SCALE, &[Some(x)], &[Some(out)], ScaleParams { factor: 3.0 });
                    assert_eq!(bits(&rig.run(&net, &[out]).unwrap()[0]), bits(&want));
                }
            });
        }
    });
}

/// The table's functions may be called from any thread.
struct Shared(Rig);
// SAFETY: as the ABI says.
unsafe impl Sync for Shared {}
