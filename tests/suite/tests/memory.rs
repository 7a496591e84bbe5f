//! The cap on memory, and the forecast: what is said is what is taken, as the operating system counts it.
#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::process::{Command, Output};
use tern::{Error, ErrorKind, KvType, ModelOptions, SessionOptions};
use tern_quant::DType;
use tern_tests::{goldens, runtime, smollm2, smollm2_as};

const KVS: [KvType; 3] = [KvType::F16, KvType::F32, KvType::I8];

/// What a child process is told, as words in one variable.
#[derive(Clone, Debug)]
struct Case {
    model: PathBuf,
    context: u64,
    sequences: u64,
    kv: usize,
    cap: Option<u64>,
}

impl Case {
    const VARIABLE: &str = "TERN_MEMORY_CASE";

    fn words(&self) -> String {
        let cap = self.cap.unwrap_or(0);
        format!("{} {} {} {cap} {}", self.context, self.sequences, self.kv, self.model.display())
    }

    fn from_words(words: &str) -> Self {
        let mut parts = words.splitn(5, ' ');
        let mut number = || parts.next().unwrap().parse::<u64>().unwrap();
        let (context, sequences, kv, cap) = (number(), number(), number() as usize, number());
        Self { context, sequences, kv, cap: (cap > 0).then_some(cap), model: parts.next().unwrap().into() }
    }

    fn session(&self) -> SessionOptions {
        SessionOptions { context: Some(self.context), kv: KVS[self.kv], isolated: true, ..Default::default() }
    }

    fn options(&self) -> ModelOptions {
        ModelOptions { backend: Some("cpu".into()), threads: 2, max_bytes: self.cap, ..Default::default() }
    }

    /// Runs itself in a process of its own, after `before` in its shell.
    fn run(&self, before: &str) -> Output {
        Command::new("sh")
            .args(["-c", &format!("{before} exec \"$0\" --exact child --ignored --nocapture")])
            .arg(std::env::current_exe().unwrap())
            .env(Self::VARIABLE, self.words())
            .output()
            .unwrap()
    }
}

/// A field of the process's status, in bytes.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Opens the model and fills every sequence; prints what it took, or the kind of the error.
fn work(case: &Case) -> Result<u64, Error> {
    let model = runtime().open(&case.model, case.options())?;
    model.reserve(&case.session(), case.sequences as usize)?;
    let sessions = (0..case.sequences).map(|_| model.session(case.session())).collect::<Result<Vec<_>, _>>()?;
    let vocab = model.info().vocab as u32;
    for (s, session) in sessions.iter().enumerate() {
        let tokens: Vec<u32> = (0..case.context as u32).map(|i| (i * 31 + s as u32) % vocab).collect();
        session.forward(&tokens)?;
    }
    Ok(model.memory().peak)
}

#[test]
#[ignore = "the other half of the tests below"]
fn child() {
    let case = Case::from_words(&std::env::var(Case::VARIABLE).unwrap());
    let before = status("VmRSS");
    match work(&case) {
        Ok(peak) => println!("took {} {peak}", status("VmHWM") - before),
        Err(error) => println!("refused {:?} {} {error}", error.kind(), status("VmHWM") - before),
    }
}

fn random(seed: &mut u64, n: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % n
}

/// What the child printed: the words after "took" or "refused".
fn answer(case: &Case, output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|l| l.split_once("took ").or(l.split_once("refused ")).map(|_| l));
    let line = line
        .unwrap_or_else(|| panic!("{case:?}: {:?} {text} {}", output.status, String::from_utf8_lossy(&output.stderr)));
    line[line.find("took").or(line.find("refused")).unwrap()..].split(' ').map(str::to_owned).collect()
}

#[test]
fn a_cap_holds_or_is_refused_before_it_is_passed() {
    let tiny = goldens().join("tiny-llama3/model.gguf");
    let models = [smollm2(), smollm2_as(DType::F16), tiny];
    let mut seed = 7;
    let (mut ran, mut refused) = (0, 0);
    for i in 0..100 {
        let model = models[[2, 0, 2, 1, 2][i % 5]].clone();
        let longest = if i % 5 == 1 || i % 5 == 3 { 600 } else { 120 };
        let mut case = Case {
            model,
            context: 1 + random(&mut seed, longest),
            sequences: 1 + random(&mut seed, 3),
            kv: random(&mut seed, 3) as usize,
            cap: None,
        };
        let plan = runtime().plan(&case.model, &case.options(), &case.session(), case.sequences).unwrap();
        // From half of what is needed to half more.
        case.cap = Some(plan.total_bytes / 100 * (50 + random(&mut seed, 100)));
        let planned = runtime().plan(&case.model, &case.options(), &case.session(), case.sequences).unwrap();
        let words = answer(&case, &case.run(""));
        let cap = case.cap.unwrap();
        if words[0] == "took" {
            ran += 1;
            let (resident, counted) = (words[1].parse::<u64>().unwrap(), words[2].parse::<u64>().unwrap());
            assert!(counted <= cap && resident <= cap, "{case:?}: {words:?}, {plan:?}");
        } else {
            refused += 1;
            assert_eq!(words[1], format!("{:?}", ErrorKind::Memory), "{case:?}: {words:?}");
            let resident = words[2].parse::<u64>().unwrap();
            assert!(resident <= cap, "{case:?}: {words:?}");
            assert!(!planned.fits(), "{case:?}: {words:?}, {planned:?}");
        }
    }
    println!("{ran} ran within their cap, {refused} were refused");
    assert!(ran > 20 && refused > 20);
}

#[test]
fn what_is_planned_is_what_is_taken() {
    for (model, kv) in [(smollm2(), 0), (smollm2_as(DType::F16), 0), (smollm2_as(DType::Q8_0), 2)] {
        let case = Case { model, context: 500, sequences: 2, kv, cap: None };
        let plan = runtime().plan(&case.model, &case.options(), &case.session(), case.sequences).unwrap();
        let words = answer(&case, &case.run(""));
        let resident = words[1].parse::<u64>().unwrap();
        println!("{}: planned {plan:?}, took {resident}", case.model.display());
        let planned = plan.total_bytes.max(plan.loading_bytes);
        assert!(resident <= planned, "{resident} of {planned}");
        assert!(resident * 10 >= planned * 7, "{resident} of {planned}: the plan is far too careful");
    }
}

#[test]
fn a_small_address_space_is_an_error_and_not_the_end() {
    let case = Case { model: smollm2(), context: 512, sequences: 1, kv: 0, cap: None };
    let mut kinds = Vec::new();
    for mib in [100, 150, 200, 260, 330, 400, 1000] {
        let output = case.run(&format!("ulimit -v {};", mib * 1024));
        assert!(
            output.status.code().is_some(),
            "{mib} MiB: {:?} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        kinds.push(answer(&case, &output)[..2].join(" "));
    }
    println!("{kinds:?}");
    assert!(kinds.last().unwrap().starts_with("took"));
}
