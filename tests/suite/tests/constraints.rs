//! Structured output: whatever a model of random numbers says under a constraint is of its form, however it is computed.

use serde_json::{Map, Value, json};
use tern::{
    BatchOptions, Constraint, Drafts, Error, Event, Form, GenerateOptions, Matcher, Model, Sampling, Session,
    SessionOptions, Speculation, StopReason,
};
use tern_grammar::GrammarCompiler;
use tern_tests::{goldens, open};

/// Random numbers that are the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    /// A schema whose values are short, since the model has no wish to end.
    fn schema(&mut self, depth: u64) -> Value {
        let kinds = if depth == 0 { 6 } else { 9 };
        match self.below(kinds) {
            0 => {
                let min = self.below(3);
                json!({ "type": "string", "minLength": min, "maxLength": min + self.below(6) })
            }
            1 => {
                let low = self.below(2000) as i64 - 1000;
                json!({ "type": "integer", "minimum": low, "maximum": low + self.below(500) as i64 })
            }
            2 => json!({ "enum": ["a", "ab", 3, -1.5, null, true, "\"\n\u{e9}"] }),
            3 => json!({ "const": [1, { "k": "v" }] }),
            4 => json!({ "type": ["boolean", "null"] }),
            5 => json!({ "$ref": "#/$defs/point" }),
            6 => {
                let min = self.below(3);
                json!({ "type": "array", "items": self.schema(depth - 1), "minItems": min, "maxItems": min + self.below(3) })
            }
            7 => json!({ "anyOf": [self.schema(depth - 1), self.schema(depth - 1)] }),
            _ => {
                let names = ["name", "n", "a b", "\u{fc}ber", "x\"y"];
                let (mut properties, mut required) = (Map::new(), Vec::new());
                for name in names.iter().take(1 + self.below(5) as usize) {
                    properties.insert((*name).to_owned(), self.schema(depth - 1));
                    if self.below(2) == 0 {
                        required.push(*name);
                    }
                }
                json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
            }
        }
    }
}

/// Is a value what a schema of [`Random::schema`] describes? Written from the specification's words.
fn valid(value: &Value, schema: &Value, root: &Value) -> bool {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let at_least = |key, found: Option<i64>| schema.get(key).is_none_or(|k: &Value| found >= k.as_i64());
    let at_most = |key, found: Option<i64>| schema.get(key).is_none_or(|k: &Value| found <= k.as_i64());
    let characters = value.as_str().map(|s| s.chars().count() as i64);
    let (count, number) = (value.as_array().map(|a| a.len() as i64), value.as_i64());
    let types = schema.get("type").is_none_or(|t| match t {
        Value::Array(several) => several.iter().any(|t| t == kind),
        one => one == kind,
    });
    let object = value.as_object().is_none_or(|fields| {
        let known = schema.get("properties");
        let required = schema["required"].as_array();
        required.is_none_or(|r| r.iter().all(|name| fields.contains_key(name.as_str().unwrap())))
            && fields.iter().all(|(name, value)| match known.and_then(|k| k.get(name)) {
                Some(schema) => valid(value, schema, root),
                None => schema.get("additionalProperties") != Some(&json!(false)),
            })
    });
    let items = value.as_array().zip(schema.get("items"));
    types
        && object
        && (characters.is_none() || at_least("minLength", characters) && at_most("maxLength", characters))
        && (count.is_none() || at_least("minItems", count) && at_most("maxItems", count))
        && (number.is_none() || at_least("minimum", number) && at_most("maximum", number))
        && items.is_none_or(|(items, schema)| items.iter().all(|i| valid(i, schema, root)))
        && schema.get("enum").is_none_or(|all| all.as_array().unwrap().contains(value))
        && schema.get("const").is_none_or(|only| only == value)
        && schema.get("anyOf").is_none_or(|any| any.as_array().unwrap().iter().any(|s| valid(value, s, root)))
        && schema
            .get("$ref")
            .is_none_or(|at| valid(value, root.pointer(at.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), root))
}

fn tiny() -> Model {
    open(&goldens().join("tiny-llama"), "", 1)
}

fn session(model: &Model) -> Session {
    model.session(SessionOptions { isolated: true, ..Default::default() }).unwrap()
}

fn sampled(seed: u64) -> Sampling {
    Sampling { temperature: 1.0, seed, ..Default::default() }
}

fn under(constraint: &Constraint, sampling: Sampling) -> GenerateOptions {
    let constraint = Some(constraint.clone());
    GenerateOptions { max_tokens: 200, sampling, constraint, logprobs: true, ..Default::default() }
}

/// All that is told of a generation but for its times: tokens with the bits of their log-probabilities, text, end.
type Told = (Vec<(u32, Option<u32>)>, String, Option<StopReason>);

fn told(events: impl Iterator<Item = Result<Event, Error>>) -> Told {
    let mut told = Told::default();
    for event in events {
        let event = event.unwrap();
        told.1 += event.text();
        match event {
            Event::Token(t) => told.0.push((t.id, t.logprob.map(f32::to_bits))),
            Event::Done(f) => told.2 = Some(f.reason),
        }
    }
    told
}

#[test]
fn random_schemas_give_valid_json() {
    let model = tiny();
    let compiler = GrammarCompiler::new(model.tokenizer()).unwrap();
    let mut random = Random(11);
    let mut ended = 0;
    for round in 0..60u64 {
        let mut schema = random.schema(3);
        schema["$defs"] = json!({ "point": {
            "type": "object",
            "properties": { "x": { "type": "integer", "minimum": 0, "maximum": 99 } },
            "required": ["x"],
            "additionalProperties": false,
        } });
        let constraint = compiler.json_schema(&schema.to_string()).unwrap_or_else(|e| panic!("{schema}: {e}"));
        let sampling = if round % 4 == 0 { Sampling::default() } else { sampled(round) };
        let prompt = model.encode("The answer").unwrap();
        let (_, text, reason) = told(session(&model).generate(&prompt, under(&constraint, sampling)).unwrap());
        if reason == Some(StopReason::End) {
            ended += 1;
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{schema}\n{text}\n{e}"));
            assert!(valid(&value, &schema, &schema), "{schema}\n{text}");
            // And the judge is no yes-man.
            assert!(!valid(&json!({ "no": "such thing" }), &schema, &schema), "{schema}");
        }
    }
    assert!(ended > 45, "{ended} of 60 ended");
}

#[test]
fn drafts_change_nothing() {
    let model = tiny();
    let compiler = GrammarCompiler::new(model.tokenizer()).unwrap();
    let constraints = [
        compiler.gbnf("root ::= \"[\" (item (\",\" \" \"? item)*)? \"]\"\nitem ::= [a-c]{1,3} | root").unwrap(),
        compiler.regex(r"(the |tern |a ){3,40}end").unwrap(),
    ];
    let mut accepted = 0;
    for (constraint, sampling) in constraints.iter().flat_map(|c| [(c, Sampling::default()), (c, sampled(3))]) {
        let prompt = model.encode("the tern a the tern a [a, b, a, b,").unwrap();
        let options = under(constraint, sampling);
        let plain = session(&model);
        let expected = told(plain.generate(&prompt, options.clone()).unwrap());
        for drafts in [Drafts::Lookup, Drafts::Model(model.clone())] {
            let speculation = Speculation { drafts, always: true };
            let session = session(&model);
            let options = GenerateOptions { speculation, ..options.clone() };
            let mut timings = None;
            let events = session.generate(&prompt, options).unwrap().inspect(|event| {
                if let Ok(Event::Done(f)) = event {
                    timings = Some(f.timings);
                }
            });
            assert_eq!(told(events), expected);
            assert_eq!(session.tokens(), plain.tokens());
            accepted += timings.unwrap().accepted_tokens;
        }
    }
    assert!(accepted > 20, "{accepted} drafts came true");
}

#[test]
fn sessions_share_a_constraint() {
    let model = tiny();
    let compiler = GrammarCompiler::new(model.tokenizer()).unwrap();
    let schema = r#"{"type":"array","items":{"type":"string","maxLength":5},"minItems":2,"maxItems":6}"#;
    let constraint = compiler.json_schema(schema).unwrap();
    let prompts: Vec<_> = (0..6).map(|i| model.encode(&format!("List {i}:")).unwrap()).collect();
    let alone: Vec<Told> = (0..6u64)
        .zip(&prompts)
        .map(|(i, prompt)| {
            // Compiled anew, so that nothing is shared.
            let fresh = compiler.json_schema(schema).unwrap();
            told(session(&model).generate(prompt, under(&fresh, sampled(i))).unwrap())
        })
        .collect();
    std::thread::scope(|scope| {
        for (i, (prompt, expected)) in (0..).zip(prompts.iter().zip(&alone)) {
            let (model, constraint) = (&model, &constraint);
            scope.spawn(move || {
                assert_eq!(told(session(model).generate(prompt, under(constraint, sampled(i))).unwrap()), *expected);
            });
        }
    });
    let mut batch = model.batch(BatchOptions { sequences: 3, ..Default::default() }).unwrap();
    for (i, prompt) in (0..).zip(&prompts) {
        batch.add(prompt.clone(), under(&constraint, sampled(i)));
    }
    let mut together = vec![Vec::new(); prompts.len()];
    for (i, event) in batch {
        together[i].push(event.unwrap());
    }
    for (events, expected) in together.into_iter().zip(&alone) {
        assert_eq!(told(events.into_iter().map(Ok)), *expected);
    }
}

#[test]
fn the_end_comes_where_the_form_ends() {
    let model = tiny();
    let compiler = GrammarCompiler::new(model.tokenizer()).unwrap();
    let (tokenizer, prompt) = (model.tokenizer(), model.encode("The").unwrap());
    for ignore_end in [false, true] {
        let options = |c: &Constraint| GenerateOptions { ignore_end, ..under(c, sampled(5)) };
        // Nothing may follow: no token is spent on saying so.
        let only = compiler.regex("one two").unwrap();
        let (tokens, text, reason) = told(session(&model).generate(&prompt, options(&only)).unwrap());
        assert_eq!((text.as_str(), reason), ("one two", Some(StopReason::End)));
        let bytes: Vec<u8> = tokens.iter().flat_map(|t| tokenizer.token_bytes(t.0).unwrap()).collect();
        assert_eq!(bytes, b"one two");
        // More may follow, and the likeliest token is an end.
        let more = compiler.regex("(ab)+").unwrap();
        let likely_end = Sampling { logit_bias: vec![(tokenizer.end_ids()[0], 1e4)], ..sampled(5) };
        let ending = GenerateOptions { sampling: likely_end, ..options(&more) };
        let (_, text, reason) = told(session(&model).generate(&prompt, ending).unwrap());
        assert_eq!((text.as_str(), reason), ("ab", Some(StopReason::End)));
        let empty = compiler.regex("").unwrap();
        assert_eq!(
            told(session(&model).generate(&prompt, options(&empty)).unwrap()),
            (vec![], String::new(), Some(StopReason::End))
        );
    }
    // A bias that forbids all that the form allows.
    let digits = compiler.regex("[0-9]").unwrap();
    let logit_bias = (0..tokenizer.vocab_size() as u32).map(|id| (id, f32::NEG_INFINITY)).collect();
    let sampling = Sampling { logit_bias, ..Default::default() };
    let error = session(&model).generate(&prompt, under(&digits, sampling)).unwrap().next().unwrap().unwrap_err();
    assert!(matches!(error, Error::Constraint { .. }), "{error}");
}

/// A form of an application's own: tokens of even numbers.
struct Even;

impl Form for Even {
    fn begin(&self) -> Result<Box<dyn Matcher>, Error> {
        Ok(Box::new(Self))
    }

    fn describe(&self) -> String {
        "even".to_owned()
    }
}

impl Matcher for Even {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), Error> {
        logits.iter_mut().skip(1).step_by(2).for_each(|l| *l = f32::NEG_INFINITY);
        Ok(())
    }

    fn allowed(&mut self, ids: &[u32]) -> Result<usize, Error> {
        Ok(ids.iter().take_while(|&id| id % 2 == 0).count())
    }

    fn push(&mut self, _: u32) -> Result<(), Error> {
        Ok(())
    }

    fn is_done(&self) -> bool {
        false
    }
}

#[test]
fn forms_can_be_an_applications_own() {
    let model = tiny();
    for sampling in [Sampling::default(), sampled(9)] {
        let options = under(&Constraint::new(Even), sampling);
        let (tokens, _, _) = told(session(&model).generate(&[1, 2, 3], options).unwrap());
        assert!(!tokens.is_empty() && tokens.iter().all(|t| t.0 % 2 == 0));
    }
}
