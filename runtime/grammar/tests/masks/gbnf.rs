//! GBNF against a recogniser that keeps all ways to go on as stacks, as llama.cpp's does.

use crate::common::{Oracle, TOKENIZERS, compare, tokenizer};
use std::collections::BTreeSet;
use tern_grammar::{GrammarCompiler, GrammarError};

/// Rules in a plain form: each a list of alternatives, each a list of symbols.
struct Rules(&'static [(&'static str, &'static [&'static [Symbol]])]);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Symbol {
    /// A rule.
    R(&'static str),
    /// A byte of a range.
    B(u8, u8),
}
use Symbol::{B, R};

type Stack = Vec<Symbol>;

impl Rules {
    /// Replaces the rules on top of a stack, whose top is last; an empty stack is a complete text.
    fn open(&self, stack: Stack, out: &mut BTreeSet<Stack>) {
        match stack.last() {
            Some(R(name)) => {
                let rule = self.0.iter().find(|r| r.0 == *name).unwrap();
                for alternative in rule.1 {
                    let rest = &stack[..stack.len() - 1];
                    self.open([rest, &alternative.iter().rev().copied().collect::<Vec<_>>()].concat(), out);
                }
            }
            _ => {
                out.insert(stack);
            }
        }
    }

    fn stacks(&self, text: &[u8]) -> BTreeSet<Stack> {
        let mut stacks = BTreeSet::new();
        self.open(vec![R("root")], &mut stacks);
        for &byte in text {
            let mut next = BTreeSet::new();
            for mut stack in stacks {
                if let Some(B(first, last)) = stack.pop()
                    && (first..=last).contains(&byte)
                {
                    self.open(stack, &mut next);
                }
            }
            stacks = next;
        }
        stacks
    }
}

impl Oracle for Rules {
    fn viable(&self, text: &[u8]) -> bool {
        !self.stacks(text).is_empty()
    }

    fn complete(&self, text: &[u8]) -> bool {
        self.stacks(text).contains(&Stack::new())
    }
}

const fn c(byte: u8) -> Symbol {
    B(byte, byte)
}

/// Sums with parentheses and spaces, in both notations.
const SUMS: &str = r#"
# Recursive: a sum in parentheses is a term.
root ::= sum
sum  ::= term (ws [-+] ws term)*   # left to right
term ::= num | "(" ws sum ws ")"
num  ::= [0-9]+ ("." [0-9]{1,2})?
ws   ::= " "?
"#;
const SUM_RULES: Rules = Rules(&[
    ("root", &[&[R("sum")]]),
    ("sum", &[&[R("term"), R("more")]]),
    ("more", &[&[], &[R("ws"), R("op"), R("ws"), R("term"), R("more")]]),
    ("op", &[&[c(b'-')], &[c(b'+')]]),
    ("term", &[&[R("num")], &[c(b'('), R("ws"), R("sum"), R("ws"), c(b')')]]),
    ("num", &[&[B(b'0', b'9'), R("digits"), R("part")]]),
    ("digits", &[&[], &[B(b'0', b'9'), R("digits")]]),
    ("part", &[&[], &[c(b'.'), B(b'0', b'9')], &[c(b'.'), B(b'0', b'9'), B(b'0', b'9')]]),
    ("ws", &[&[], &[c(b' ')]]),
]);

/// Nested lists of words, with rules that match nothing, escapes and repetitions.
const LISTS: &str = r#"root ::= list
list ::= "\x5b" (item ("," item)*)? "]" tail
item ::= word{1,2} | list |
         "\u00e9"
word ::= [a-c]
tail ::= none "!"? none
none ::= ""
"#;
const LIST_RULES: Rules = Rules(&[
    ("root", &[&[R("list")]]),
    ("list", &[&[c(b'['), R("items"), c(b']'), R("tail")]]),
    ("items", &[&[], &[R("item"), R("more")]]),
    ("more", &[&[], &[c(b','), R("item"), R("more")]]),
    ("item", &[&[R("word")], &[R("word"), R("word")], &[R("list")], &[c(0xc3), c(0xa9)]]),
    ("word", &[&[B(b'a', b'c')]]),
    ("tail", &[&[], &[c(b'!')]]),
]);

/// Without recursion: one regular expression, in which nothing is cut off too early or too late.
const REGULAR: &str = r#"root ::= a+ "ab" | b "c"
a ::= [a-b]
b ::= a a?"#;
const REGULAR_RULES: Rules = Rules(&[
    ("root", &[&[R("a"), R("as"), c(b'a'), c(b'b')], &[R("a"), c(b'c')], &[R("a"), R("a"), c(b'c')]]),
    ("as", &[&[], &[R("a"), R("as")]]),
    ("a", &[&[B(b'a', b'b')]]),
]);

#[test]
fn masks_are_those_of_brute_force() {
    for path in TOKENIZERS {
        let tokenizer = tokenizer(path);
        let compiler = GrammarCompiler::new(&tokenizer).unwrap();
        for (source, rules) in [(SUMS, SUM_RULES), (LISTS, LIST_RULES), (REGULAR, REGULAR_RULES)] {
            let constraint = compiler.gbnf(source).unwrap_or_else(|e| panic!("{source}: {e}"));
            assert!(compare(&constraint, &tokenizer, &rules, 12) > 20);
        }
    }
}

#[test]
fn control_tokens_come_where_they_are_named() {
    let tokenizer = tokenizer(TOKENIZERS[0]);
    let control: Vec<u32> = (0..tokenizer.vocab_size() as u32).filter(|&id| tokenizer.is_control(id)).collect();
    let named = *control.iter().find(|&&id| !tokenizer.is_end(id)).unwrap();
    let compiler = GrammarCompiler::new(&tokenizer).unwrap();
    let source = format!("root ::= {} [a-z]{{2}}", tokenizer.token_text(named).unwrap());
    let constraint = compiler.gbnf(&source).unwrap();
    let mut matcher = constraint.begin().unwrap();
    let allowed = crate::common::allowed(&mut *matcher, &tokenizer);
    assert_eq!((0..).zip(&allowed).filter(|a| *a.1).map(|a| a.0).collect::<Vec<u32>>(), [named]);
    matcher.push(named).unwrap();
    let allowed = crate::common::allowed(&mut *matcher, &tokenizer);
    assert!(control.iter().all(|&id| !allowed[id as usize]) && allowed.contains(&true));
}

#[test]
fn errors_say_where() {
    let compiler = GrammarCompiler::new(&tokenizer(TOKENIZERS[0])).unwrap();
    let cases = [
        ("", 1, 1, "no rule named root"),
        ("root ::= a", 1, 10, "rule a is not defined"),
        ("root ::= \"a\n", 1, 10, "string has no end"),
        ("root ::= [a\n", 1, 10, "set of characters has no end"),
        ("root ::= [z-a]", 1, 11, "end comes before"),
        ("root ::= []", 1, 10, "no characters"),
        ("root ::= (\"é\" \"b\"", 1, 10, "group has no end"),
        ("root = \"a\"", 1, 6, "expected ::="),
        ("root ::= \"a\"\nroot ::= \"b\"", 2, 1, "twice"),
        ("root ::= \"é\" )", 1, 14, "expected an item"),
        ("root ::= \"\\q\"", 1, 11, "unknown escape"),
        ("root ::= \"\\ud800\"", 1, 11, "no character"),
        ("root ::= \"a\"{3,2}", 1, 13, "fewer"),
        ("root ::= \"a\"{5000}", 1, 14, "at most 2000"),
        ("root ::= !<a>", 1, 10, "not supported"),
        ("root ::= < a>", 1, 10, "token's name"),
    ];
    for (source, line, column, what) in cases {
        match compiler.gbnf(source) {
            Err(GrammarError::Syntax { language: "GBNF", line: l, column: c, what: w }) => {
                assert_eq!((l, c), (line, column), "{source:?}: {w}");
                assert!(w.contains(what), "{source:?}: {w}");
            }
            other => panic!("{source:?}: {other:?}"),
        }
    }
    assert!(matches!(compiler.gbnf("root ::= <no-such-token>"), Err(GrammarError::Refused { .. })));
}
