//! Every target, briefly: the committed inputs, then generated ones. The campaigns are `tests/fuzz`'s business.

use std::path::Path;
use std::time::{Duration, Instant};

use tern_fuzz::{TARGETS, Target};

/// Generated cases per target, while time lasts.
const CASES: usize = 4000;
const TIME: Duration = Duration::from_secs(3);

fn run((name, case): &Target) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{name}.hex"));
    let inputs: Vec<Vec<u8>> = std::fs::read_to_string(&file).unwrap().lines().map(unhex).collect();
    assert!(!inputs.is_empty(), "no inputs in {}", file.display());
    for input in &inputs {
        check(name, *case, input);
    }
    let mut random = Random(1);
    let began = Instant::now();
    let mut cases = 0;
    while cases < CASES && began.elapsed() < TIME {
        let mut data: Vec<u8> = inputs[random.below(inputs.len())].clone();
        if random.below(2) == 0 {
            data = (0..random.below(600)).map(|_| random.below(256) as u8).collect();
        } else if !data.is_empty() {
            for _ in 0..1 + random.below(4) {
                let at = random.below(data.len());
                data[at] = random.below(256) as u8;
            }
        }
        check(name, *case, &data);
        cases += 1;
    }
    assert!(cases > 20, "{name}: only {cases} cases in {TIME:?}");
}

/// Says which input fails: as a line of the corpus.
fn check(name: &str, case: fn(&[u8]), data: &[u8]) {
    if std::panic::catch_unwind(|| case(data)).is_err() {
        let hex: String = data.iter().map(|b| format!("{b:02x}")).collect();
        panic!("{name} fails on {hex}");
    }
}

fn unhex(line: &str) -> Vec<u8> {
    line.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Random numbers that are the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n.max(1) as u64) as usize
    }
}

macro_rules! smoke {
    ($($name:ident = $index:literal,)*) => {
        $( #[test] fn $name() { assert_eq!(TARGETS[$index].0, stringify!($name)); run(&TARGETS[$index]) } )*

        #[test]
        fn every_target_has_a_test() {
            assert_eq!(TARGETS.len(), [$($index),*].len());
        }
    };
}

smoke! {
    gguf = 0,
    safetensors = 1,
    tokenizer_load = 2,
    tokenizer_round_trip = 3,
    template = 4,
    blocks = 5,
    adapter = 6,
    split = 7,
    tokenizer_keys = 8,
}
