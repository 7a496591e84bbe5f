//! `tern batch` on a tiny model of random numbers.
#![cfg(feature = "cpu")]
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Ran, TEMPLATE, ended, keys, run, tern, text, tiny, with_template};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A folder with prompts in it, and room for results.
struct Files {
    _folder: tempfile::TempDir,
    input: PathBuf,
    output: PathBuf,
}

impl Files {
    fn new(lines: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
        fs::write(&input, lines.join("\n")).unwrap();
        Self { _folder: folder, input, output }
    }

    fn batch(&self, model: &Path, flags: &[&str]) -> Ran {
        run(&[&["batch", text(model), "--in", text(&self.input), "--out", text(&self.output)], flags].concat())
    }

    /// What was written, in the order of the input.
    fn results(&self) -> Vec<Value> {
        sorted(&fs::read_to_string(&self.output).unwrap())
    }
}

fn sorted(lines: &str) -> Vec<Value> {
    assert!(lines.is_empty() || lines.ends_with('\n'));
    let mut results: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    results.sort_by_key(|r| r["index"].as_u64().unwrap());
    results
}

fn done(ran: &Ran) {
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
}

const PROMPTS: [&str; 6] = ["The", "The quick brown fox", "A", "Once upon a time", "zebra", "Why?"];

/// Lines with all these prompts.
fn prompts() -> Vec<String> {
    PROMPTS.iter().enumerate().map(|(i, p)| json!({ "id": format!("p{i}"), "prompt": p }).to_string()).collect()
}

#[test]
fn each_prompt_has_the_answer_that_it_has_alone() {
    let folder = with_template(TEMPLATE);
    let model = folder.path();
    let mut lines = prompts();
    lines.push(String::new());
    lines.push(json!({ "messages": [{ "role": "user", "content": "Hello" }], "max_tokens": 3 }).to_string());
    lines.push(json!({ "id": [1, null], "prompt": "The", "temperature": 1.5, "seed": 7 }).to_string());
    let files = Files::new(&lines);
    let flags = ["--sequences", "3", "-n", "12", "--ignore-eos", "--ctx", "64"];
    done(&files.batch(model, &flags));
    let results = files.results();
    assert_eq!(results.len(), 8);
    let expected = ["error", "id", "index", "input", "prompt_tokens", "reused_tokens", "stop", "text", "tokens"];
    let alone =
        |flags: &[&str]| run(&[&["run", text(model), "--ignore-eos", "--ctx", "64", "--json"], flags].concat()).json();
    let mut answers: Vec<Value> = PROMPTS.iter().map(|p| alone(&["-p", p, "-n", "12"])).collect();
    answers.push(alone(&["-p", "Hello", "--chat", "-n", "3"]));
    answers.push(alone(&["-p", "The", "-n", "12", "--temperature", "1.5", "--seed", "7"]));
    let ids =
        [json!("p0"), json!("p1"), json!("p2"), json!("p3"), json!("p4"), json!("p5"), json!(null), json!([1, null])];
    let indices = [0, 1, 2, 3, 4, 5, 7, 8];
    for (((got, alone), id), index) in results.iter().zip(&answers).zip(&ids).zip(indices) {
        assert_eq!(keys(got), expected);
        assert_eq!((&got["id"], &got["index"], &got["error"]), (id, &json!(index), &Value::Null));
        for key in ["text", "tokens", "stop"] {
            assert_eq!(got[key], alone[key], "{key} of {got}");
        }
        assert_eq!(got["prompt_tokens"], alone["prompt_tokens"].as_array().unwrap().len());
        assert!(got["reused_tokens"].as_u64() <= got["prompt_tokens"].as_u64());
    }
}

#[test]
fn bad_lines_are_results() {
    let lines = ["{\"prompt\": \"The\"", "[]", "{\"id\": 5}", "{\"id\": 6, \"prompt\": \"The\", \"temperature\": -1}"];
    let long = json!({ "id": 7, "prompt": "The quick brown fox ".repeat(20) }).to_string();
    let chat = json!({ "id": 8, "messages": [{ "role": "user", "content": "x" }] }).to_string();
    let lines: Vec<String> = lines.map(str::to_owned).into_iter().chain([long, chat]).chain(prompts()).collect();
    let files = Files::new(&lines);
    let ran = files.batch(&tiny(), &["-n", "4", "--ctx", "32"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("6 failed") && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    let results = files.results();
    assert_eq!(results.len(), lines.len());
    let errors = [
        (json!(null), "input", "not JSON"),
        (json!(null), "input", "object"),
        (json!(5), "input", "neither"),
        (json!(6), "input", "temperature"),
        (json!(7), "context", "context"),
        (json!(8), "input", "template"),
    ];
    for (got, (id, kind, word)) in results.iter().zip(errors) {
        assert_eq!((&got["id"], &got["error"]["kind"], &got["stop"]), (&id, &json!(kind), &Value::Null), "{got}");
        assert!(got["error"]["message"].as_str().unwrap().contains(word), "{got}");
    }
    for got in &results[6..] {
        assert!(got["error"].is_null() && got["tokens"].as_array().unwrap().len() <= 4, "{got}");
    }
}

#[test]
fn resumed_after_a_torn_line_it_is_as_if_nothing_had_happened() {
    let files = Files::new(&prompts());
    let flags = ["-n", "12", "--ignore-eos", "--ctx", "64", "--sequences", "2"];
    let resume = [&flags[..], &["--resume"]].concat();
    // Resuming what does not exist is beginning.
    done(&files.batch(&tiny(), &resume));
    let whole = fs::read(&files.output).unwrap();
    let all = files.results();
    let lines: Vec<&[u8]> = whole.split_inclusive(|&b| b == b'\n').collect();
    for kept in [0, 1, 4, 5] {
        for torn in [0, 3, 40, lines[kept].len() - 1] {
            let start = lines[..kept].concat();
            fs::write(&files.output, [&start, &lines[kept][..torn]].concat()).unwrap();
            done(&files.batch(&tiny(), &resume));
            assert!(fs::read(&files.output).unwrap().starts_with(&start));
            let results = files.results();
            assert_eq!(results.len(), all.len());
            for (got, expected) in results.iter().zip(&all) {
                // How much of a prompt was known depends on what else was under way.
                for key in ["id", "index", "text", "tokens", "stop", "error", "input"] {
                    assert_eq!(got[key], expected[key]);
                }
            }
        }
    }
    // All done: nothing to do.
    let before = fs::read_to_string(&files.output).unwrap();
    done(&files.batch(&tiny(), &resume));
    assert_eq!(fs::read_to_string(&files.output).unwrap(), before);
}

#[test]
fn outputs_of_others_are_refused_and_stay() {
    let files = Files::new(&prompts());
    let flags = ["-n", "2", "--ctx", "64"];
    done(&files.batch(&tiny(), &flags));
    let before = fs::read_to_string(&files.output).unwrap();
    let refused = |flags: &[&str], code, words: &[&str]| {
        files.batch(&tiny(), flags).failed(code, words);
        assert_eq!(fs::read_to_string(&files.output).unwrap(), before);
    };
    refused(&flags, 2, &["out.jsonl", "--resume"]);
    refused(&["-n", "3", "--ctx", "64", "--resume"], 3, &["another input, model or settings"]);
    fs::write(&files.input, prompts()[..5].join("\n")).unwrap();
    refused(&["-n", "2", "--ctx", "64", "--resume"], 3, &["lines that", "in.jsonl"]);
    fs::write(&files.input, prompts().join("\n").replace("zebra", "horse")).unwrap();
    refused(&["-n", "2", "--ctx", "64", "--resume"], 3, &["line 5 of", "in.jsonl"]);
    // An output with a line that nobody knows.
    fs::write(&files.output, "Dear diary,\n").unwrap();
    files.batch(&tiny(), &["--resume"]).failed(3, &["line 1 is not a result"]);
    assert_eq!(fs::read_to_string(&files.output).unwrap(), "Dear diary,\n");
}

#[test]
fn what_cannot_work_is_one_error() {
    let files = Files::new(&prompts());
    let (model, input) = (tiny(), text(&files.input));
    run(&["batch", text(&model), "--in", "/no/such/file", "--out", "-"]).failed(3, &["/no/such/file"]);
    run(&["batch", text(&model), "--in", text(&model), "--out", "-"]).failed(3, &["folder"]);
    run(&["batch", text(&model), "--in", input, "--out", "/no/such/folder/x"]).failed(3, &["/no/such/folder/x"]);
    run(&["batch", text(&model), "--in", input, "--out", "-", "--resume"]).failed(2, &["--resume"]);
    run(&["batch", text(&model), "--in", "-", "--out", text(&files.output), "--resume"]).failed(2, &["--resume"]);
    run(&["batch", text(&model), "--in", input, "--out", "-", "--temperature", "-1"]).failed(2, &["temperature"]);
    run(&["batch", text(&model), "--in", input, "--out", "-", "--sequences", "0"]).failed(2, &["--sequences"]);
    run(&["batch", text(&model), "--in", input, "--out", "-", "--ctx", "1000000000"]).failed(4, &["available"]);
    run(&["batch", text(&model), "--in", input, "--out", "-", "--system", "x"]).failed(2, &["--chat"]);
    // Nothing to do is no error.
    let empty = Files::new(&[]);
    done(&empty.batch(&model, &["--ctx", "64"]));
}

#[test]
fn a_program_at_the_other_end_gets_each_result_at_once() {
    let model = tiny();
    let flags = ["batch", text(&model), "--in", "-", "--out", "-", "-n", "4", "--ctx", "64", "--ignore-eos"];
    let mut child = tern(&flags).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for (index, line) in prompts().iter().enumerate() {
        writeln!(input, "{line}").unwrap();
        input.flush().unwrap();
        let mut result = String::new();
        output.read_line(&mut result).unwrap();
        let result: Value = serde_json::from_str(&result).unwrap();
        assert_eq!((&result["index"], &result["tokens"].as_array().unwrap().len()), (&json!(index), &4));
    }
    drop(input);
    done(&ended(child.wait_with_output().unwrap()));
}

#[test]
#[cfg(unix)]
fn an_interrupt_leaves_whole_lines_to_go_on_from() {
    let mut lines = prompts();
    lines.push(json!({ "prompt": "The", "max_tokens": 1_000_000 }).to_string());
    let files = Files::new(&lines);
    let model = tiny();
    let flags = ["-n", "4", "--ignore-eos", "--ctx", "100000", "--sequences", "2"];
    let start = ["batch", text(&model), "--in", text(&files.input), "--out", text(&files.output)];
    let mut child = tern(&[&start[..], &flags].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let written = || fs::read_to_string(&files.output).unwrap_or_default();
    while written().lines().count() < PROMPTS.len() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ran = ended(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (130, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("6 of 7 prompts") && ran.stderr.contains("--resume"), "{}", ran.stderr);
    assert_eq!(files.results().len(), PROMPTS.len());
    // Less room lets the endless one end.
    let resume = ["-n", "4", "--ignore-eos", "--ctx", "100", "--sequences", "2", "--resume"];
    done(&files.batch(&model, &resume));
    let results = files.results();
    assert_eq!((results.len(), &results[6]["stop"]), (7, &json!("context")));
}
