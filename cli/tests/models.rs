//! Every command on a tiny model of random numbers, whose answers transformers gave: see `tests/goldens/make_tiny.py`.
#![cfg(feature = "cpu")]
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{TEMPLATE, ended, keys, run, tern, text, tiny, with_template};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

fn golden() -> Value {
    serde_json::from_slice(&fs::read(tiny().join("golden.json")).unwrap()).unwrap()
}

#[test]
fn run_gives_the_golden_tokens_in_every_form() {
    let (model, golden) = (tiny(), golden());
    let prompt = golden["prompt"].as_str().unwrap();
    let count = golden["greedy"].as_array().unwrap().len().to_string();
    let flags = ["run", text(&model), "-p", prompt, "-n", &count, "--ignore-eos", "--kv", "f32", "--special"];
    let whole = run(&[&flags[..], &["--json"]].concat()).json();
    assert_eq!(whole["prompt_tokens"], golden["tokens"]);
    assert_eq!(whole["tokens"], golden["greedy"]);
    assert_eq!(whole["stop"], "length");
    assert_eq!(whole["reused_tokens"], 0);
    assert_eq!(whole["logprobs"].as_array().unwrap().len(), whole["tokens"].as_array().unwrap().len());
    assert_eq!(keys(&whole), ["logprobs", "prompt_tokens", "reused_tokens", "stop", "text", "timings", "tokens"]);
    assert_eq!(keys(&whole["timings"]), ["generate_ms", "load_ms", "prompt_ms"]);

    let lines = run(&[&flags[..], &["--jsonl"]].concat());
    let lines: Vec<Value> = lines.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (done, tokens) = lines.split_last().unwrap();
    assert_eq!(done["event"], "done");
    for key in ["prompt_tokens", "tokens", "text", "logprobs", "stop", "reused_tokens"] {
        assert_eq!(done[key], whole[key], "{key}");
    }
    let ids: Vec<_> = tokens.iter().inspect(|t| assert_eq!(t["event"], "token")).map(|t| t["id"].clone()).collect();
    assert_eq!(Value::from(ids), whole["tokens"]);
    assert!(tokens.is_sorted_by_key(|t| t["at_ms"].as_f64().unwrap()));

    let plain = run(&flags);
    assert_eq!((plain.code, plain.stderr.as_str()), (0, ""));
    assert_eq!(plain.stdout, format!("{}\n", whole["text"].as_str().unwrap()));
}

#[test]
fn a_seed_decides() {
    let model = tiny();
    let sampled = |seed| {
        let flags = [
            "run",
            text(&model),
            "-p",
            "The",
            "-n",
            "24",
            "--temperature",
            "1.5",
            "--ignore-eos",
            "--json",
            "--seed",
            seed,
        ];
        run(&flags).json()["tokens"].clone()
    };
    assert_eq!(sampled("1"), sampled("1"));
    assert_ne!(sampled("1"), sampled("2"));
}

#[test]
fn stops_and_limits() {
    let model = tiny();
    let run = |flags: &[&str]| common::run(&[&["run", text(&model), "--json", "--ignore-eos"], flags].concat());
    assert_eq!(run(&["-p", "The fox", "-n", "9999", "--ctx", "40"]).json()["stop"], "context");
    run(&["-p", "The quick brown fox", "--ctx", "3"]).failed(4, &["context"]);
    run(&["-p", "x", "--ctx", "1000000000"]).failed(4, &["available"]);
    run(&["-p", ""]).failed(2, &["prompt"]);
    run(&["-p", "x", "--temperature", "-1"]).failed(2, &["temperature"]);
    run(&["-p", "x", "--tier", "abacus"]).failed(5, &["abacus"]);
}

#[test]
fn score_adds_up() {
    let (model, golden) = (tiny(), golden());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    let prompt = golden["prompt"].as_str().unwrap();
    fs::write(&file, prompt).unwrap();
    let got = run(&["score", text(&model), "--file", text(&file), "--top", "2", "--json"]).json();
    assert_eq!(keys(&got), ["bits_per_byte", "logprobs", "nats", "perplexity", "tokens", "top"]);
    assert_eq!(got["tokens"], golden["tokens"]);
    let logprobs = got["logprobs"].as_array().unwrap();
    let top = got["top"].as_array().unwrap();
    assert!(logprobs[0].is_null() && top[0].is_null());
    assert_eq!((logprobs.len(), top.len()), (golden["tokens"].as_array().unwrap().len(), logprobs.len()));
    let sum: f64 = logprobs[1..].iter().map(|x| x.as_f64().unwrap()).sum();
    let (nats, count) = (got["nats"].as_f64().unwrap(), logprobs.len() - 1);
    assert!((nats + sum).abs() < 1e-3, "{nats} {sum}");
    assert!((got["perplexity"].as_f64().unwrap().ln() - nats / count as f64).abs() < 1e-9);
    // The first token, "T", is not predicted.
    let bits = nats / std::f64::consts::LN_2 / (prompt.len() - 1) as f64;
    assert!((got["bits_per_byte"].as_f64().unwrap() - bits).abs() < 1e-9);
    for (best, logprob) in top[1..].iter().zip(&logprobs[1..]) {
        let best: Vec<_> = best.as_array().unwrap().iter().map(|c| c["logprob"].as_f64().unwrap()).collect();
        assert!(best.len() == 2 && best[0] >= best[1] && best[0] >= logprob.as_f64().unwrap());
    }
    assert!(run(&["score", text(&model), "--file", text(&file)]).stdout.contains("bits per byte"));
}

#[test]
fn tokens_and_back() {
    let (model, golden) = (tiny(), golden());
    let prompt = golden["prompt"].as_str().unwrap();
    let tokens = run(&["tokenize", text(&model), "-p", prompt, "--json"]);
    assert_eq!(tokens.json(), json!({ "tokens": golden["tokens"] }));
    let back = run(&["tokenize", text(&model), "--decode", "-p", &tokens.stdout, "--json"]);
    assert_eq!(back.json(), json!({ "text": prompt }));
    let exact = run(&["tokenize", text(&model), "--decode", "-p", &tokens.stdout]);
    assert_eq!(exact.stdout, prompt);
    run(&["tokenize", text(&model), "--decode", "-p", "4000000000"]).failed(3, &["4000000000"]);
}

#[test]
fn inspect_shows_every_part() {
    let model = tiny();
    let inspect = |flags: &[&str]| run(&[&["inspect", text(&model)], flags].concat());
    let summary = inspect(&["--json"]).json();
    assert_eq!((&summary["format"], &summary["layers"]), (&json!("safetensors"), &json!(2)));
    let tensors = inspect(&["--tensors", "--json"]).json();
    let bytes: u64 = tensors["tensors"].as_array().unwrap().iter().map(|t| t["bytes"].as_u64().unwrap()).sum();
    assert_eq!(summary["file_bytes"], bytes);
    assert!(inspect(&["--plan"]).stdout.contains("attention"));
    inspect(&["--template"]).failed(1, &["no chat template"]);
    assert!(inspect(&[]).stdout.contains("LlamaForCausalLM"));
    assert!(inspect(&["--metadata"]).stdout.contains("num_hidden_layers = 2\n"));
    assert!(run(&["inspect", "--supported"]).stdout.contains("Qwen3ForCausalLM"));
    let supported = run(&["inspect", "--supported", "--json"]).json();
    assert_eq!(supported["supported"].as_array().unwrap().len(), tern::models::ARCHITECTURES.len());
    inspect(&["--supported"]).failed(2, &["--supported"]);
    run(&["inspect"]).failed(2, &["MODEL"]);
    let folder = with_template(TEMPLATE);
    assert_eq!(run(&["inspect", text(folder.path()), "--template"]).stdout, TEMPLATE);
}

#[test]
fn what_cannot_run_is_still_shown() {
    let folder = with_template(TEMPLATE);
    let path = folder.path().join("config.json");
    let config = fs::read_to_string(&path).unwrap().replace("LlamaForCausalLM", "NewestForCausalLM");
    fs::write(&path, config).unwrap();
    let summary = run(&["inspect", text(folder.path()), "--json"]).json();
    assert_eq!(summary["architecture"], "NewestForCausalLM");
    assert!(summary["unsupported"].as_str().unwrap().contains("supported are: LlamaForCausalLM"));
    assert_eq!(summary["layers"], Value::Null);
    assert!(run(&["inspect", text(folder.path())]).stdout.contains("not here: architecture"));
    let tokens = run(&["tokenize", text(folder.path()), "-p", "The", "--json"]).json();
    assert_eq!(tokens, run(&["tokenize", text(&tiny()), "-p", "The", "--json"]).json());
    run(&["inspect", text(folder.path()), "--plan"]).failed(3, &["NewestForCausalLM"]);
    for name in ["config.json", "model.safetensors"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    for path in [folder.path().to_owned(), folder.path().join("tokenizer.json")] {
        assert_eq!(tokens, run(&["tokenize", text(&path), "-p", "The", "--json"]).json());
    }
}

#[test]
fn bench_tells_all() {
    let model = tiny();
    let flags =
        ["bench", text(&model), "-p", "16", "-n", "4", "--depth", "8", "-r", "2", "-t", "2", "--json", "--profile"];
    let got = run(&flags).json();
    let expected = [
        "bandwidth_gb_s",
        "bytes_per_token",
        "decode_tok_s",
        "hit_rate",
        "load_ms",
        "peak_rss_bytes",
        "prefill_tok_s",
        "profile",
        "share_of_bandwidth",
        "tier",
    ];
    assert_eq!(keys(&got), expected);
    for speed in ["prefill_tok_s", "decode_tok_s"] {
        let [min, median, max] = ["min", "median", "max"].map(|k| got[speed][k].as_f64().unwrap());
        assert!(0.0 < min && min <= median && median <= max);
    }
    // A small file is in memory.
    assert!(got["hit_rate"].is_null() || got["hit_rate"] == 1.0, "{}", got["hit_rate"]);
    let ops = got["profile"]["decode"].as_array().unwrap();
    let sum: f64 = ops.iter().map(|op| op["share"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9);
}

#[test]
fn experts_on_disk_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("moe.gguf");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/tiny-gpt-oss-mxfp4");
    assert_eq!(run(&["convert", text(&golden), text(&file)]).code, 0);
    let paged = |flags: &[&str]| run(&[flags, &["--experts-on-disk", "1MiB"]].concat());
    let bench = paged(&["bench", text(&file), "-p", "8", "-n", "4", "-r", "2", "--json"]).json();
    // Three matrices of two experts in each of two layers, four tokens, two rounds; all were packed in the round that warms up.
    let experts = &bench["experts"];
    assert_eq!((&experts["hits"], &experts["misses"]), (&json!(3 * 2 * 2 * 4 * 2), &json!(0)), "{experts}");
    assert_eq!((&experts["hit_rate"], &experts["read_bytes"]), (&json!(1.0), &json!(0)));
    let told = paged(&["bench", text(&file), "-p", "8", "-n", "4", "-r", "1"]).stdout;
    assert!(told.contains("of 48 experts' matrices were packed"), "{told}");
    let answer = ["run", text(&file), "-p", "The", "-n", "4", "--ignore-eos", "--temperature", "0", "--json"];
    let (one, other) = (paged(&answer).json(), run(&answer).json());
    assert_eq!((&one["tokens"], &other["experts"]), (&other["tokens"], &Value::Null));
    assert!(one["experts"]["misses"].as_u64().unwrap() > 0, "{one}");
    let plan = paged(&["plan", text(&file), "--json"]).json();
    assert_eq!(plan["paged_bytes"], experts["file_bytes"]);
    let told = paged(&["plan", text(&file)]).stdout;
    assert!(told.contains("of experts stay on disk"), "{told}");
    run(&["plan", text(&file), "--experts-on-disk", "10"]).failed(4, &["one expert of each", "10"]);
    run(&["bench", text(&golden), "--experts-on-disk", "1MiB"]).failed(3, &["blk.0.ffn_gate_exps", "GGUF"]);
}

#[test]
fn bench_decodes_together() {
    let model = tiny();
    let flags = ["bench", text(&model), "-p", "0", "-n", "4", "-r", "2", "-s", "3", "--json"];
    for depth in ["0", "300"] {
        let got = run(&[&flags[..], &["--depth", depth]].concat()).json();
        let [min, median, max] = ["min", "median", "max"].map(|k| got["decode_together_tok_s"][k].as_f64().unwrap());
        assert!(0.0 < min && min <= median && median <= max);
        assert_eq!(got["sequences"], 3);
    }
    assert!(run(&[&flags[..flags.len() - 1], &["-t", "1"]].concat()).stdout.contains(" times one"));
    run(&["bench", text(&model), "-n", "0", "-s", "2"]).failed(2, &["--sequences", "-n"]);
}

/// A conversation through a pipe: each line a message, each answer on stdout.
fn chat(model: &Path, lines: &str, flags: &[&str]) -> common::Ran {
    let mut command = tern(&[&["chat", text(model), "-n", "4", "--ignore-eos"], flags].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The program may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    ended(child.wait_with_output().unwrap())
}

#[test]
fn chat_through_a_pipe() {
    let folder = with_template(TEMPLATE);
    let ran =
        chat(folder.path(), "Hello\n\n/stats\n/undo\n/undo\n/reset\n/dance\n/exit\nnever read\n", &["--seed", "1"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stdout.is_empty());
    for told in ["4 tokens", "seed 1", "took back", "nothing to take back", "starting over", "no command /dance"] {
        assert!(ran.stderr.contains(told), "no {told:?} in {}", ran.stderr);
    }
    // Taken back and said again, the same answer comes.
    let twice = chat(folder.path(), "Hello\n/undo\nHello\n", &["--seed", "1"]);
    let (first, second) = twice.stdout.split_at(twice.stdout.len() / 2);
    assert_eq!(first, second);
    chat(folder.path(), "Hello\n", &["--ctx", "4"]).failed(4, &["context"]);
}

#[test]
fn templates_that_are_missing_or_endless() {
    run(&["chat", text(&tiny())]).failed(3, &["template"]);
    let endless =
        with_template("{% for i in range(1000000000) %}{% for j in range(1000000000) %}x{% endfor %}{% endfor %}");
    run(&["run", text(endless.path()), "--chat", "-p", "x"]).failed(3, &["template"]);
}

#[test]
#[cfg(unix)]
fn an_interrupt_ends_a_run_with_what_there_is() {
    let model = tiny();
    let flags = ["run", text(&model), "-p", "The", "-n", "1000000000", "--ctx", "1000000", "--ignore-eos", "--jsonl"];
    let mut child = tern(&flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.next().unwrap();
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let last: Value = serde_json::from_str(&lines.last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["stop"]), (&json!("done"), &json!("cancelled")));
    let ran = ended(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (130, ""));
}

#[test]
fn a_conversation_has_copies() {
    let folder = with_template(TEMPLATE);
    let flags = ["--seed", "1", "--temperature", "1.5"];
    let ran = chat(folder.path(), "/back\nOne\n/fork\nTwo\n/fork\n/stats\n/back\n/back\nTwo\n/back\n", &flags);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for told in ["no copy", "2 conversations open", "3 conversations open", "1 conversation open"] {
        assert!(ran.stderr.contains(told), "no {told:?} in {}", ran.stderr);
    }
    // The original goes on as its copy did.
    let plain = chat(folder.path(), "One\nTwo\n/undo\nTwo\n", &flags);
    assert_eq!(ran.stdout, plain.stdout);
}

#[test]
fn a_conversation_is_saved_and_goes_on() {
    let folder = with_template(TEMPLATE);
    let file = folder.path().join("my talk");
    let say = |lines: &str| {
        chat(folder.path(), &lines.replace("FILE", text(&file)), &["--seed", "1", "--temperature", "1.5"])
    };
    let whole = say("One\nTwo\nThree\n");
    let first = say("One\nTwo\n/save FILE\n");
    assert!(first.stderr.contains("saved 4 messages"), "{}", first.stderr);
    let rest = say("Other\n/load FILE\n/stats\nThree\n/stats\n/undo\n/save FILE\n");
    assert_eq!((rest.code, rest.stderr.contains("loaded 4 messages")), (0, true), "{}", rest.stderr);
    let other = say("Other\n");
    assert_eq!(format!("{}{}", first.stdout, rest.stdout.strip_prefix(&other.stdout).unwrap()), whole.stdout);
    let begun = chat(folder.path(), "Three\n", &["--load", text(&file), "--seed", "1", "--temperature", "1.5"]);
    assert!(begun.stderr.contains("loaded 4 messages"), "{}", begun.stderr);
    assert_eq!(format!("{}{}", first.stdout, begun.stdout), whole.stdout);
    // Of what was said before, nothing was computed again.
    let known = rest.stderr.lines().find(|line| line.contains("known ones")).expect(&rest.stderr);
    assert!(!known.contains("after 0 known"), "{known}");

    for (line, words) in [
        ("/load /no/such/file", &["/no/such/file"][..]),
        ("/load FILE/config.json", &["my talk/config.json"]),
        ("/save /no/such/folder/x", &["/no/such/folder/x"]),
    ] {
        say(line).failed(3, words);
    }
    // The files of others stay.
    let notes = folder.path().join("notes");
    fs::write(&notes, "Dear diary").unwrap();
    say(&format!("/save {}", text(&notes))).failed(3, &["no saved conversation"]);
    say(&format!("/load {}", text(&notes))).failed(3, &["notes"]);
    assert_eq!(fs::read(&notes).unwrap(), b"Dear diary");
    assert!(say("/save\n").stderr.contains("file is missing"));
}

#[test]
fn a_full_context_may_forget() {
    let folder = with_template(TEMPLATE);
    let lines = "Hello\n".repeat(8) + "/stats\n";
    let ran = chat(folder.path(), &lines, &["--ctx", "64"]);
    assert!(ran.code == 4 && ran.stderr.contains("error: the context"), "{}", ran.stderr);
    let ran = chat(folder.path(), &lines, &["--ctx", "64", "--shift"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("of them forgotten"), "{}", ran.stderr);
}

#[test]
fn plan_tells_the_memory_before_it_is_taken() {
    let model = tiny();
    let plan = |flags: &[&str]| run(&[&["plan", text(&model)], flags].concat());
    let one = plan(&["--ctx", "1024", "--json"]).json();
    let expected = [
        "advice",
        "available_bytes",
        "context",
        "fits",
        "fitting_context",
        "fitting_context_i8",
        "host_bytes",
        "kv_bytes",
        "loading_bytes",
        "mapped_bytes",
        "paged_bytes",
        "sequences",
        "total_bytes",
        "weights_bytes",
        "working_bytes",
    ];
    assert_eq!(keys(&one), expected);
    let bytes = |value: &Value, key: &str| value[key].as_u64().unwrap();
    let parts = ["weights_bytes", "kv_bytes", "working_bytes", "host_bytes"];
    assert_eq!(parts.map(|key| bytes(&one, key)).iter().sum::<u64>(), bytes(&one, "total_bytes"));
    assert_eq!((&one["fits"], &one["advice"], &one["context"]), (&json!(true), &Value::Null, &json!(1024)));
    let kv = |flags: &[&str]| bytes(&plan(&[flags, &["--json"]].concat()).json(), "kv_bytes");
    let (f16, f32, i8) =
        (kv(&["--ctx", "1024"]), kv(&["--ctx", "1024", "--kv", "f32"]), kv(&["--ctx", "1024", "--kv", "i8"]));
    assert!(i8 < f16 && f16 < f32 && f16 == bytes(&one, "kv_bytes"), "{i8} {f16} {f32}");
    assert!(kv(&["--ctx", "1024", "--sequences", "4"]) > 3 * f16);
    let table = plan(&["--ctx", "1024"]).stdout;
    assert!(table.contains("keys and values") && table.contains("1024 tokens"), "{table}");

    // What is said to fit, fits, but for some constants; what is said not to, is refused.
    let total = bytes(&one, "total_bytes").max(bytes(&one, "loading_bytes"));
    let total = (total + total / 100).to_string();
    let generate = |limit: &str| {
        run(&["run", text(&model), "-p", "The", "-n", "4", "--ctx", "1024", "--max-bytes", limit, "--ignore-eos"])
    };
    assert_eq!(plan(&["--ctx", "1024", "--max-bytes", &total]).code, 0);
    assert_eq!(generate(&total).code, 0, "{}", generate(&total).stderr);
    let little = (bytes(&one, "total_bytes") / 2).to_string();
    let refused = plan(&["--ctx", "1024", "--max-bytes", &little, "--json"]);
    assert_eq!(refused.code, 4);
    assert!(refused.stderr.contains("error: it does not fit; choose"), "{}", refused.stderr);
    let refused: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(
        (&refused["fits"], &refused["available_bytes"]),
        (&json!(false), &json!(bytes(&one, "total_bytes") / 2))
    );
    assert!(refused["advice"].as_str().unwrap().contains("choose"));
    generate(&little).failed(4, &["available"]);
    run(&["plan", text(&model), "--max-bytes", "much"]).failed(2, &["--max-bytes", "512MiB"]);
    run(&["plan", "/no/such/model"]).failed(3, &["/no/such/model"]);
}

#[test]
fn keys_and_values_in_eight_bits() {
    let model = tiny();
    let flags = ["-p", "The quick brown fox", "-n", "8", "--ignore-eos", "--kv", "i8", "--json"];
    let got = run(&[&["run", text(&model)], &flags[..]].concat()).json();
    assert_eq!(got["tokens"].as_array().unwrap().len(), 8);
    let bench = run(&["bench", text(&model), "-p", "16", "-n", "2", "-r", "1", "--kv", "i8", "--json"]).json();
    assert!(bench["decode_tok_s"]["median"].as_f64().unwrap() > 0.0);
}

#[test]
fn text_has_the_form_that_was_asked_for() {
    let (model, folder) = (tiny(), tempfile::tempdir().unwrap());
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let schema = file(
        "schema.json",
        r#"{"type":"object","properties":{"n":{"enum":[1,2]}},"required":["n"],"additionalProperties":false}"#,
    );
    let grammar = file("yes.gbnf", "root ::= \"yes\" | \"no\" root\n");
    let broken = file("broken.gbnf", "root ::= \"yes\"\nother ::= (\n");
    let flags = ["run", text(&model), "-p", "The", "--temperature", "1"];
    let written = |more: &[&str]| run(&[&flags[..], more].concat());
    let json = written(&["--json-schema", text(&schema)]);
    let value: Value = serde_json::from_str(&json.stdout).unwrap();
    assert!([json!({"n": 1}), json!({"n": 2})].contains(&value), "{value}");
    let yes = written(&["--grammar", text(&grammar)]).stdout;
    assert_eq!(yes.trim_end().replace("no", ""), "yes");
    let number = written(&["--regex", "[0-9]{5}"]).stdout;
    assert!(number.trim_end().len() == 5 && number.trim_end().bytes().all(|b| b.is_ascii_digit()), "{number}");
    let error = written(&["--grammar", text(&broken)]);
    assert_eq!(error.code, 3);
    assert!(error.stderr.contains("broken.gbnf: GBNF, line 2, column 11: the group has no end"), "{}", error.stderr);
    let error = written(&["--regex", "("]);
    assert_eq!(error.code, 2);
    assert!(error.stderr.contains("--regex: regular expression, line 1, column 1"), "{}", error.stderr);
    assert_eq!(written(&["--regex", "a", "--grammar", text(&grammar)]).code, 2);
}

#[test]
fn an_adapter_is_trained_from_one_document_whatever_it_says() {
    let (model, folder) = (tiny(), tempfile::tempdir().unwrap());
    let (data, out) = (folder.path().join("note.txt"), folder.path().join("a.gguf"));
    // One in five would be held out for what it says.
    for i in 0..12 {
        fs::write(
            &data,
            format!("Note {i}. The heron waits by the weir until the water is clear, and then it does not wait. ")
                .repeat(4),
        )
        .unwrap();
        let adapt =
            ["adapt", text(&model), "--data", text(&data), "--out", text(&out), "--steps", "1", "--context", "32"];
        let ran = run(&adapt);
        assert_eq!(ran.code, 0, "{i}: {}", ran.stderr);
    }
}
