//! Sources that mean harm: a typed error or a constraint, soon, and on a thread's ordinary stack.

use crate::common::{TOKENIZERS, allowed, tokenizer};
use std::time::Instant;
use tern::Error;
use tern_grammar::{GrammarCompiler, GrammarError};

/// Compiles and takes a few steps. The bound in seconds is far above what is needed, so that only a blow-up reaches it.
fn soon(name: &str, compile: impl FnOnce() -> Result<tern::Constraint, GrammarError>) -> String {
    let (start, tokenizer) = (Instant::now(), tokenizer(TOKENIZERS[0]));
    let outcome = match compile() {
        Err(error) => error.to_string(),
        Ok(constraint) => {
            let mut matcher = constraint.begin().unwrap();
            let mut steps = 0;
            loop {
                let mut logits = vec![0.0; tokenizer.vocab_size()];
                match matcher.mask(&mut logits) {
                    Err(Error::Constraint { what }) => break what,
                    Err(other) => panic!("{name}: {other}"),
                    Ok(()) => {}
                }
                let next = allowed(&mut *matcher, &tokenizer).iter().position(|&a| a);
                match next {
                    Some(next) if steps < 20 && !matcher.is_done() => matcher.push(next as u32).unwrap(),
                    _ => break "a constraint".to_owned(),
                }
                steps += 1;
            }
        }
    };
    println!("{name}: {outcome} after {:?}", start.elapsed());
    assert!(start.elapsed().as_secs() < 20, "{name} took {:?}", start.elapsed());
    assert!(!outcome.contains("panic"), "{name}: {outcome}");
    outcome
}

#[test]
fn nothing_blows_up() {
    let compiler = GrammarCompiler::new(&tokenizer(TOKENIZERS[0])).unwrap();
    let nested =
        |open: &str, inner: &str, close: &str, n: usize| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    for n in [60, 100, 100_000] {
        soon(&format!("{n} groups"), || compiler.regex(&nested("(", "a", ")", n)));
        soon(&format!("{n} groups in GBNF"), || compiler.gbnf(&format!("root ::= {}", nested("(", "\"a\"", ")", n))));
        soon(&format!("{n} starred groups"), || compiler.regex(&nested("(", "a|b", ")*", n)));
        soon(&format!("{n} arrays"), || compiler.json_schema(&nested("{\"items\":", "{}", "}", n)));
        soon(&format!("{n} alternatives"), || compiler.json_schema(&nested("{\"anyOf\":[", "{}", "]}", n)));
    }
    soon("repetitions of repetitions", || compiler.regex("((a{1,1000}){1,1000}){1,1000}"));
    soon("many repetitions", || compiler.regex("(a|b|ab){1,2000}"));
    soon("a late choice", || compiler.regex("(a|b)*a(a|b){40}"));
    soon("repetitions in GBNF", || compiler.gbnf("root ::= ((\"a\"{1,2000}){1,2000}){1,2000}"));
    soon("ambiguity", || compiler.gbnf("root ::= root root | \"a\" | \"\""));
    soon("left recursion", || compiler.gbnf("root ::= root \"a\" | \"b\""));
    assert!(soon("nothing at all", || compiler.gbnf("root ::= root")).contains("no text satisfies it"));
    soon("only itself in parentheses", || compiler.gbnf("root ::= \"(\" root \")\""));
    let doubling: String = (0..60).map(|i| format!("r{i} ::= r{} r{}\n", i + 1, i + 1)).collect();
    soon("doubling", || compiler.gbnf(&format!("root ::= r0\n{doubling}r60 ::= \"a\"")));
    let chain = |n: usize, last: &str| {
        let rules: String = (0..n).map(|i| format!("r{i} ::= \"a\" r{} | \"b\"\n", i + 1)).collect();
        format!("root ::= r0\n{rules}r{n} ::= {last}")
    };
    soon("a long regular chain", || compiler.gbnf(&chain(900, "\"c\"")));
    soon("a long recursive chain", || compiler.gbnf(&chain(900, "\"c\" root \"d\"")));
    soon("a recursive chain that is as long as possible", || compiler.gbnf(&chain(80, "\"c\" root \"d\"")));
    soon("too many rules", || compiler.gbnf(&chain(20_000, "\"c\"")));
    soon("a reference to itself", || compiler.json_schema(r##"{"$ref":"#"}"##));
    soon("references in a circle", || {
        compiler.json_schema(r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##)
    });
    let all: Vec<String> = (0..24).map(|i| format!(r#"{{"anyOf":[{{"minimum":{i}}},{{"maximum":{i}}}]}}"#)).collect();
    soon("products of alternatives", || compiler.json_schema(&format!(r#"{{"allOf":[{}]}}"#, all.join(","))));
    soon("long strings", || compiler.json_schema(r#"{"type":"string","minLength":100000,"maxLength":10000000}"#));
    soon("long arrays", || compiler.json_schema(r#"{"type":"array","minItems":1000000}"#));
    soon("huge numbers", || compiler.json_schema(r#"{"type":"integer","minimum":1e300,"maximum":1e308}"#));
    let names: Vec<String> = (0..3000).map(|i| format!(r#""p{i}":{{"type":"integer"}}"#)).collect();
    soon("many properties", || compiler.json_schema(&format!(r#"{{"properties":{{{}}}}}"#, names.join(","))));
}

#[test]
fn what_is_refused_is_told() {
    let compiler = GrammarCompiler::new(&tokenizer(TOKENIZERS[0])).unwrap();
    let error = |e: Result<tern::Constraint, GrammarError>| e.unwrap_err();
    match error(compiler.json_schema("{\"type\":\n  oops}")) {
        GrammarError::Syntax { line: 2, column: 3, .. } => {}
        other => panic!("{other:?}"),
    }
    match error(compiler.regex("a(b")) {
        GrammarError::Syntax { line: 1, column: 2, what, .. } => assert!(what.contains("unclosed"), "{what}"),
        other => panic!("{other:?}"),
    }
    for (source, named) in [
        (r#"{"type":"strange"}"#, "strange"),
        (r#"{"not":{"type":"string"}}"#, "not"),
        (r#"{"$ref":"http://example.com/schema"}"#, "example.com"),
        (r#"{"type":"string","pattern":"a(?=b)"}"#, "look-around"),
        (r#"{"type":"integer","minimum":5,"maximum":4}"#, "minimum"),
        ("3", "object"),
    ] {
        let error = error(compiler.json_schema(source)).to_string();
        println!("{source}: {error}");
        assert!(!error.contains('\n') && !error.contains("panic"), "{source}: {error}");
        assert!(error.contains(named), "{source}: {error}");
    }
    let deep = GrammarError::TooLarge {
        language: "JSON Schema",
        what: "its depth",
        found: 100,
        limit: tern_grammar::MAX_NESTING,
    };
    assert_eq!(error(compiler.json_schema(&format!("{}1{}", "[".repeat(100), "]".repeat(100)))), deep);
}
