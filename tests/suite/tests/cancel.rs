//! Cancelling ends loading, a long prompt and generation soon, at whatever instant it comes, and the session goes on as if
//! nothing had been. Nothing is left behind by any of it.

use std::time::{Duration, Instant};
use tern::{CancelFlag, Error, Event, GenerateOptions, Model, ModelOptions, SessionOptions, StopReason};
use tern_quant::DType;
use tern_tests::{open, runtime, smollm2, smollm2_as};

const INSTANTS: usize = 200;

/// How long `work` goes on after the flag is raised, `wait` after it began; `None` where it was done before.
fn delay(cancel: &CancelFlag, wait: Duration, work: impl FnOnce() -> bool) -> Option<Duration> {
    let (flag, (sent, receive)) = (cancel.clone(), std::sync::mpsc::channel());
    let raised = std::thread::spawn(move || {
        // Work that ends by itself does not wait for the flag.
        if receive.recv_timeout(wait).is_ok() {
            return None;
        }
        let now = Instant::now();
        flag.cancel();
        Some(now)
    });
    let cancelled = work();
    let stopped = Instant::now();
    let _ = sent.send(());
    let raised = raised.join().unwrap()?;
    cancelled.then(|| stopped.saturating_duration_since(raised))
}

/// Instants spread over `whole` by a multiplicative sequence, which leaves no large gaps.
fn instants(whole: Duration) -> impl Iterator<Item = Duration> {
    (1..=INSTANTS as u32).map(move |i| whole.mul_f64(f64::from(i.wrapping_mul(2_654_435_769)) / f64::from(u32::MAX)))
}

/// The promise is 50 ms. A machine that is busy with other things may break it at a few instants; the median it cannot.
fn judge(phase: &str, mut delays: Vec<Duration>) {
    delays.sort();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    println!("{phase}: {} cancelled; median {:?}, 95% {:?}, worst {:?}", delays.len(), at(0.5), at(0.95), at(1.0));
    // Others may have been done before, where the machine had more time for them than when the whole was timed.
    assert!(delays.len() >= INSTANTS / 4, "{phase}: too few were cancelled to tell");
    assert!(at(0.5) < Duration::from_millis(50), "{phase}: {delays:?}");
}

fn tokens(n: u32) -> Vec<u32> {
    (0..n).map(|i| 100 + i * 7 % 5000).collect()
}

#[test]
fn a_long_prompt_stops_soon() {
    let model = open(&smollm2(), "", 2);
    let session = model.session(SessionOptions { context: Some(2048), isolated: true, ..Default::default() }).unwrap();
    let start = Instant::now();
    session.forward(&tokens(1000)).unwrap();
    let whole = start.elapsed();
    let delays = instants(whole.min(Duration::from_millis(150))).filter_map(|wait| {
        session.reset().unwrap();
        delay(&session.cancel_flag(), wait, || matches!(session.forward(&tokens(1000)), Err(Error::Cancelled)))
    });
    judge("prompt", delays.collect());
}

#[test]
fn generation_stops_soon() {
    let model = open(&smollm2(), "", 2);
    let session = model.session(SessionOptions { context: Some(1024), ..Default::default() }).unwrap();
    let options = || GenerateOptions { max_tokens: 900, ignore_end: true, ..Default::default() };
    let delays = instants(Duration::from_millis(60)).filter_map(|wait| {
        session.reset().unwrap();
        let generation = session.generate(&tokens(5), options()).unwrap();
        delay(&session.cancel_flag(), wait, || {
            let Some(Ok(Event::Done(end))) = generation.last() else { panic!("no end") };
            end.reason == StopReason::Cancelled
        })
    });
    judge("generation", delays.collect());
}

#[test]
fn loading_stops_soon() {
    let path = smollm2_as(DType::Q8_0);
    // The first one reads the file.
    let whole = (0..4).map(|_| {
        let start = Instant::now();
        drop(open(&path, "", 2));
        start.elapsed()
    });
    let delays = instants(whole.min().unwrap()).filter_map(|wait| {
        let cancel = CancelFlag::new();
        let options = ModelOptions { cancel: cancel.clone(), threads: 2, ..Default::default() };
        delay(&cancel, wait, || match runtime().open(&path, options) {
            Ok(_) => false,
            Err(error) => error.is_cancelled(),
        })
    });
    judge("loading", delays.collect());
}

#[test]
fn a_cancelled_prompt_goes_on_to_the_same_logits() {
    let model = open(&smollm2(), "", 2);
    let tokens = tokens(700);
    let session =
        || model.session(SessionOptions { context: Some(1024), isolated: true, ..Default::default() }).unwrap();
    let expected = session().forward(&tokens).unwrap();
    for wait in [1, 15, 60] {
        let stopped = session();
        let cancelled =
            delay(&stopped.cancel_flag(), Duration::from_millis(wait), || stopped.forward(&tokens).is_err());
        if cancelled.is_some() {
            assert_eq!(stopped.tokens(), tokens);
            assert!(stopped.forward(&[]).unwrap() == expected);
        }
    }
}

#[test]
fn one_who_gives_up_does_not_disturb_the_others() {
    let model = open(&smollm2(), "", 2);
    let session =
        || model.session(SessionOptions { context: Some(1024), isolated: true, ..Default::default() }).unwrap();
    let tokens = tokens(300);
    let expected = session().forward(&tokens).unwrap();
    let (steady, fickle) = (session(), session());
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            (0..6).for_each(|_| {
                steady.reset().unwrap();
                assert!(steady.forward(&tokens).unwrap() == expected);
            });
        });
        while !worker.is_finished() {
            fickle.reset().unwrap();
            let flag = fickle.cancel_flag();
            delay(&flag, Duration::from_millis(4), || fickle.forward(&tokens).is_err());
        }
    });
}

/// Resident memory in bytes.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Runs `cycle` many times: memory must stop growing. A leak grows with every five hundred; an allocator that now and then
/// takes another block, because some cycle was cancelled later than all before it, does so once.
#[cfg(target_os = "linux")]
fn flat(what: &str, mut cycle: impl FnMut(u32)) {
    const SLACK: u64 = 2 << 20;
    const ROUND: u32 = 500;
    (0..ROUND).for_each(&mut cycle);
    let mut sizes = vec![resident()];
    for round in 1..=3 {
        (round * ROUND..(round + 1) * ROUND).for_each(&mut cycle);
        sizes.push(resident());
        if let [.., before, now] = sizes[..]
            && now <= before + SLACK
        {
            return println!("{what}: {sizes:?} bytes, one after every {ROUND}");
        }
    }
    panic!("{what}: {sizes:?} bytes, one after every {ROUND}");
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_leaks() {
    // In a process of its own: the tests beside this one come and go.
    const CHILD: &str = "TERN_LEAK_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let own = std::env::current_exe().unwrap();
        let output = std::process::Command::new(own)
            .args(["--exact", "nothing_leaks", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let tiny = tern_tests::goldens().join("tiny-llama3/model.gguf");
    flat("models", |_| {
        let model: Model = open(&tiny, "", 2);
        model.session(SessionOptions::default()).unwrap().forward(&[1, 2, 3]).unwrap();
    });
    let model = open(&tiny, "", 2);
    flat("sessions", |i| {
        let session = model.session(SessionOptions { context: Some(256), ..Default::default() }).unwrap();
        session.forward(&[i % 100, 2, 3]).unwrap();
        drop(session.fork().unwrap());
    });
    let long: Vec<u32> = (0..120).map(|i| i % 100).collect();
    let session = model.session(SessionOptions { context: Some(256), isolated: true, ..Default::default() }).unwrap();
    flat("cancels", |i| {
        session.reset().unwrap();
        let flag = session.cancel_flag();
        let wait = Duration::from_micros(u64::from(i % 200));
        delay(&flag, wait, || session.forward(&long).is_err());
    });
    flat("cancelled loads", |i| {
        let cancel = CancelFlag::new();
        let options = ModelOptions { cancel: cancel.clone(), threads: 2, ..Default::default() };
        delay(&cancel, Duration::from_micros(u64::from(i * 7 % 3000)), || runtime().open(&tiny, options).is_err());
    });
}
