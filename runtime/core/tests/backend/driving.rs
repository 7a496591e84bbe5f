//! Devices and what is made on them.

use crate::setup::{ROW, Rig, TOKENS, backend, device, entry, weight};
use crate::toy::{Behaviour, Good};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tern::backend::{BackendError, CancelFlag, DeviceKind, Outcome, Registry, StateDesc, StateLayout, WeightSpec};
use tern_abi::plugin::{PluginError, Result};
use tern_abi::{Header, status, weight::usage};

#[test]
fn registered_backends_are_found_by_name_and_by_score() {
    struct Better;
    impl Behaviour for Better {
        const NAME: &'static str = "better";
        fn score() -> Result<i32> {
            Ok(50)
        }
    }
    struct Absent;
    impl Behaviour for Absent {
        const NAME: &'static str = "absent";
        fn score() -> Result<i32> {
            Ok(0)
        }
    }
    let mut registry = Registry::new();
    assert_eq!(registry.best().unwrap_err().to_string(), "no backend; no folder was searched");
    registry.register(entry::<Good>()).unwrap();
    assert!(matches!(registry.reports()[0].outcome, Outcome::Chosen { score: 10, .. }));
    registry.register(entry::<Better>()).unwrap();
    let refused = registry.register(entry::<Absent>()).unwrap_err();
    assert_eq!(refused.to_string(), "backend \"absent\" cannot be used here: no reason given");
    let twice = registry.register(entry::<Good>()).unwrap_err();
    assert_eq!(twice.to_string(), "there is already a backend \"good\", from registered");

    assert_eq!(registry.names(), ["good", "better"]);
    assert_eq!(registry.best().unwrap().name(), "better");
    assert_eq!(registry.get("good").unwrap().version(), "1.2.3");
    assert_eq!(registry.get("absent").unwrap_err(), refused);
    assert_eq!(registry.get("none").unwrap_err().to_string(), "no \"none\" backend; no folder was searched");
    let outcomes: Vec<_> = registry.reports().iter().map(|r| &r.outcome).collect();
    assert!(matches!(
        outcomes[..],
        [
            Outcome::Found { .. },
            Outcome::Chosen { .. },
            Outcome::Refused(BackendError::Unusable { .. }),
            Outcome::Refused(BackendError::Duplicate { .. })
        ]
    ));
}

#[test]
fn devices_describe_themselves() {
    let devices = backend::<Good>().devices().unwrap();
    assert_eq!(devices.len(), 1);
    let d = &devices[0];
    assert_eq!((d.kind, d.name.as_str(), d.tier.as_str()), (DeviceKind::Cpu, "toy", "plain"));
    assert_eq!((d.alignment, d.max_buffer, d.deterministic), (16, 1 << 20, true));
    let error = backend::<Good>().open(1, 0, "").unwrap_err().to_string();
    assert_eq!(error, "device_open: backend \"good\" has 1 devices, there is no device 1");
    let error = backend::<Good>().open(0, 0, "fancy").unwrap_err().to_string();
    assert_eq!(error, "backend \"good\", device_open: not supported: no tier \"fancy\"");
}

#[test]
fn a_step_computes_and_counts() {
    let rig = Rig::new(device::<Good>()).unwrap();
    assert_eq!(rig.device.supports(&crate::setup::graph()).unwrap(), [2, 2]);
    let counters = [AtomicU64::new(5), AtomicU64::new(0)];
    let mut args = rig.args(2);
    args.profile = Some(&counters);
    rig.device.run(&rig.exec, &rig.set, &args).unwrap();
    let expect = [100.0, 101.0, 102.0, 103.0, 104.0, 105.0, 106.0, 107.0, 0.0];
    assert_eq!(rig.result(9).unwrap(), expect, "two rows are computed, the third is untouched");
    assert_eq!(counters.map(AtomicU64::into_inner), [5 + 9, 9]);
}

#[test]
fn what_is_made_on_a_device_keeps_it_open_and_is_freed() {
    static CLOSED: AtomicU64 = AtomicU64::new(0);
    struct Counted;
    impl Behaviour for Counted {
        const NAME: &'static str = "counted";
        fn closed() {
            CLOSED.fetch_add(1, Ordering::Relaxed);
        }
    }
    let opened = device::<Counted>();
    let buffer = opened.alloc(64).unwrap();
    let rig = Rig::new(Arc::clone(&opened)).unwrap();
    assert!(opened.memory().unwrap().used > 64);
    drop(rig);
    assert_eq!(opened.memory().unwrap().used, 64);
    drop(opened);
    assert_eq!(CLOSED.load(Ordering::Relaxed), 0);
    buffer.write(60, &[1, 2, 3, 4]).unwrap();
    assert_eq!(buffer.device().memory().unwrap().used, 64);
    drop(buffer);
    assert_eq!(CLOSED.load(Ordering::Relaxed), 1);
}

#[test]
fn buffers_move_bytes() {
    let device = device::<Good>();
    let (a, b) = (device.alloc(32).unwrap(), device.alloc(32).unwrap());
    a.write_i32(4, &[1, -2, 3]).unwrap();
    b.copy_from(8, &a, 4, 12).unwrap();
    a.copy_from(16, &a, 4, 12).unwrap();
    b.fill(8, 2, 0xff).unwrap();
    let mut out = [0; 4];
    b.read_i32(8, &mut out).unwrap();
    assert_eq!(out, [i32::from_ne_bytes([0xff, 0xff, 0, 0]), -2, 3, 0]);
    a.read_i32(16, &mut out).unwrap();
    assert_eq!(out, [1, -2, 3, 0]);
    assert!(device.alloc(0).unwrap().is_empty());

    let far = a.read(20, &mut [0; 13]).unwrap_err().to_string();
    assert_eq!(far, "buffer_read: 13 bytes at 20 in a buffer of 32");
    assert!(matches!(a.write(u64::MAX, &[0]), Err(BackendError::Argument { .. })));
    assert!(matches!(a.fill(0, 33, 0), Err(BackendError::Argument { .. })));
    let overlap = a.copy_from(0, &a, 8, 12).unwrap_err().to_string();
    assert_eq!(overlap, "buffer_copy: 12 bytes from 8 to 0 overlap");
    let large = device.alloc((1 << 20) + 1).unwrap_err().to_string();
    assert_eq!(
        large,
        "backend \"good\", buffer_alloc: out of memory: 1048577 bytes in one buffer, where 1048576 is the most"
    );
    let other = backend::<Good>().open(0, 0, "").unwrap().alloc(32).unwrap();
    assert!(other.copy_from(0, &a, 0, 4).unwrap_err().to_string().contains("on two devices"));
}

#[test]
fn weights_are_checked_read_and_updated() {
    let device = device::<Good>();
    let w = weight(&device).unwrap();
    let info = w.info().unwrap();
    assert_eq!((info.resident_bytes, info.keeps_source), (TOKENS * ROW * 4, false));
    w.update_rows(7, &[-1.0; ROW as usize]).unwrap();
    let mut rows = [0.0; 2 * ROW as usize];
    w.read_rows(6, &mut rows).unwrap();
    assert_eq!(rows, [24.0, 25.0, 26.0, 27.0, -1.0, -1.0, -1.0, -1.0]);
    let error = w.read_rows(7, &mut rows).unwrap_err().to_string();
    assert_eq!(error, "weight_read_rows: w: 8 numbers from row 7 of 8 rows of 4");
    assert!(matches!(w.update_rows(0, &[0.0; 3]), Err(BackendError::Argument { .. })));

    let prepare = |dtype, shape: &[u64], bytes: usize, usage| {
        let spec = WeightSpec { name: "v", dtype, shape, usage, cache_bytes: 0 };
        device.prepare(&spec, &vec![0; bytes], &CancelFlag::new()).unwrap_err().to_string()
    };
    assert_eq!(prepare(0, &[2, 3], 23, 1), "weight_prepare: v: F32 [2, 3] takes 24 bytes, not 23");
    assert_eq!(prepare(2, &[2, 33], 36, 1), "weight_prepare: v: a row of 33 is no whole number of Q4_0 blocks");
    assert_eq!(prepare(0, &[], 0, 1), "weight_prepare: v: rank 0 is not 1 to 4");
    assert_eq!(prepare(0, &[1; 5], 4, 1), "weight_prepare: v: rank 5 is not 1 to 4");
    assert_eq!(prepare(0, &[0, 4], 0, 1), "weight_prepare: v: shape [0, 4] is empty or overflows");
    assert!(prepare(0, &[u64::MAX, 2], 0, 1).ends_with("is empty or overflows"));
    assert!(prepare(0, &[4], 16, usage::PAGED).ends_with("share them"));
    assert_eq!(prepare(2, &[1, 32], 18, 1), "backend \"good\", weight_prepare: not supported: v: dtype 2");
    let flag = CancelFlag::new();
    flag.cancel();
    let spec = WeightSpec { name: "v", dtype: 0, shape: &[1], usage: 1, cache_bytes: 0 };
    assert!(matches!(device.prepare(&spec, &[0; 4], &flag), Err(BackendError::Cancelled { .. })));
}

#[test]
fn a_kept_source_lives_as_long_as_its_weight() {
    struct Keeps;
    impl Behaviour for Keeps {
        const NAME: &'static str = "keeps";
        const KEEPS_SOURCE: bool = true;
    }
    let spec = WeightSpec { name: "v", dtype: 0, shape: &[4], usage: usage::FORWARD, cache_bytes: 0 };
    let bytes = Arc::new(vec![0u8; 16]);
    let keeper = device::<Keeps>();
    let refused = keeper.prepare(&spec, &bytes, &CancelFlag::new()).unwrap_err();
    assert!(matches!(refused, BackendError::BadAnswer { .. }), "{refused}");
    assert_eq!(keeper.memory().unwrap().used, 0, "the refused weight was freed");
    let kept = keeper.prepare_shared(&spec, bytes.clone(), &CancelFlag::new()).unwrap();
    let copied = device::<Good>().prepare_shared(&spec, bytes.clone(), &CancelFlag::new()).unwrap();
    assert_eq!(Arc::strong_count(&bytes), 2);
    drop(kept);
    assert_eq!(Arc::strong_count(&bytes), 1);
    drop(copied);
}

#[test]
fn states_are_translated() {
    let device = device::<Good>();
    let desc = StateDesc { header: Header::of::<StateDesc>(), kind: 1, dtype: 0, dims: [8, 0, 0, 0, 0, 0] };
    assert_eq!(device.state_layout(&desc).unwrap(), StateLayout { unit_bytes: 24, canonical_bytes: 8 });
    let state = device.alloc(48).unwrap();
    state.state_import(&desc, 1, b"a state!").unwrap();
    let mut out = [0; 8];
    state.state_export(&desc, 1, &mut out).unwrap();
    assert_eq!(&out, b"a state!");
    for (unit, len) in [(2, 8), (u64::MAX, 8), (1, 7)] {
        let error = state.state_export(&desc, unit, &mut out[..len]).unwrap_err();
        assert!(matches!(error, BackendError::Argument { .. }), "{error}");
    }
}

#[test]
fn a_panic_is_reported_and_the_host_goes_on() {
    struct Panics;
    impl Behaviour for Panics {
        const NAME: &'static str = "panics";
        fn run(_: &dyn Fn() -> bool) -> Result<()> {
            panic!("a kernel is broken")
        }
    }
    let rig = Rig::new(device::<Panics>()).unwrap();
    for _ in 0..2 {
        let error = rig.run(1).unwrap_err();
        assert_eq!(error.to_string(), "backend \"panics\", run: the plugin panicked: a kernel is broken");
        assert!(matches!(error, BackendError::Panicked { .. }));
    }
    assert!(rig.result(1).is_ok(), "the device still answers");
    Rig::new(device::<Good>()).unwrap().run(1).unwrap();
}

#[test]
fn a_step_can_be_cancelled_before_and_while_it_runs() {
    struct Long;
    impl Behaviour for Long {
        const NAME: &'static str = "long";
        fn run(cancelled: &dyn Fn() -> bool) -> Result<()> {
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(20) {
                if cancelled() {
                    return Err(PluginError::cancelled());
                }
                std::thread::yield_now();
            }
            Ok(())
        }
    }
    let rig = Rig::new(device::<Long>()).unwrap();
    let flag = rig.cancel.clone();
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        flag.cancel();
    });
    let error = rig.run(1).unwrap_err();
    assert_eq!(error.to_string(), "backend \"long\", run: cancelled");
    assert_eq!(rig.run(1).unwrap_err(), error, "the flag is still set");
    other.join().unwrap();
    rig.cancel.reset();
    assert!(!rig.cancel.is_cancelled());
}

#[test]
fn a_lost_device_stays_lost() {
    struct Lost;
    impl Behaviour for Lost {
        const NAME: &'static str = "lost";
        fn run(_: &dyn Fn() -> bool) -> Result<()> {
            Err(PluginError::new(status::DEVICE_LOST, "it fell off the bus"))
        }
    }
    let rig = Rig::new(device::<Lost>()).unwrap();
    let error = rig.run(1).unwrap_err().to_string();
    assert_eq!(error, "backend \"lost\", run: the device is lost: it fell off the bus");
    let error = rig.result(1).unwrap_err().to_string();
    assert_eq!(error, "backend \"lost\", buffer_read: the device is lost: toy was lost before");
}

#[test]
fn calls_on_a_queue_take_turns() {
    static BUSY: AtomicBool = AtomicBool::new(false);
    struct Alone;
    impl Behaviour for Alone {
        const NAME: &'static str = "alone";
        fn run(_: &dyn Fn() -> bool) -> Result<()> {
            let was = BUSY.swap(true, Ordering::AcqRel);
            std::thread::sleep(Duration::from_millis(1));
            BUSY.store(false, Ordering::Release);
            if was { Err(PluginError::argument("two steps at once")) } else { Ok(()) }
        }
    }
    let rig = Rig::new(device::<Alone>()).unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..10).try_for_each(|_| rig.run(1)))).collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
}
