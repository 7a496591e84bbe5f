//! Cancelling stops a long prompt within milliseconds, and the session goes on as if nothing had been.

use std::time::{Duration, Instant};
use tern::{Error, SessionOptions};
use tern_tests::{open, smollm2};

#[test]
fn a_long_prompt_stops_soon_after_it_is_cancelled() {
    let model = open(&smollm2(), "", 2);
    let tokens: Vec<u32> = (0..3000).map(|i| 100 + i * 7 % 5000).collect();
    let mut delays = Vec::new();
    for wait in [1, 5, 20, 50, 90, 130, 200, 260] {
        let session = model.session(SessionOptions { context: Some(4096), ..Default::default() }).unwrap();
        let cancel = session.cancel_flag();
        let (sent, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(wait));
            sent.send(Instant::now()).unwrap();
            cancel.cancel();
        });
        let result = session.forward(&tokens);
        let stopped = Instant::now();
        let cancelled = receive.recv().unwrap();
        assert!(matches!(result, Err(Error::Cancelled)), "finished within {wait} ms");
        delays.push(stopped.saturating_duration_since(cancelled));
        assert_eq!(session.tokens(), tokens);
    }
    delays.sort();
    println!("stopped after {delays:?}");
    // The promise; the median, since one delay can be the machine's.
    assert!(delays[delays.len() / 2] < Duration::from_millis(50), "{delays:?}");
}

#[test]
fn a_cancelled_prompt_goes_on_to_the_same_logits() {
    let model = open(&smollm2(), "", 2);
    let tokens: Vec<u32> = (0..700).map(|i| 100 + i * 7 % 5000).collect();
    let session = || model.session(SessionOptions { context: Some(1024), ..Default::default() }).unwrap();
    let expected = session().forward(&tokens).unwrap();
    let stopped = session();
    let cancel = stopped.cancel_flag();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(15));
        cancel.cancel();
    });
    if stopped.forward(&tokens).is_err() {
        assert!(stopped.forward(&[]).unwrap() == expected);
    }
}
