//! Regular expressions against automata of `regex-automata`.

use crate::common::{Oracle, TOKENIZERS, compare, tokenizer};
use regex_automata::dfa::{Automaton, dense::DFA};
use regex_automata::util::start::Config;
use regex_automata::{Anchored, nfa::thompson};
use tern_grammar::GrammarCompiler;

struct Regex(DFA<Vec<u32>>);

impl Regex {
    fn new(pattern: &str) -> Self {
        // `\z`: the text as a whole.
        let whole = format!(r"(?:{pattern})\z");
        let builder = DFA::builder().thompson(thompson::Config::new()).build(&whole);
        Self(builder.unwrap())
    }

    fn state(&self, text: &[u8]) -> regex_automata::util::primitives::StateID {
        let start = self.0.start_state(&Config::new().anchored(Anchored::Yes)).unwrap();
        text.iter().fold(start, |s, &b| self.0.next_state(s, b))
    }
}

impl Oracle for Regex {
    fn viable(&self, text: &[u8]) -> bool {
        !self.0.is_dead_state(self.state(text))
    }

    fn complete(&self, text: &[u8]) -> bool {
        self.0.is_match_state(self.0.next_eoi_state(self.state(text)))
    }
}

#[test]
fn masks_are_those_of_an_automaton() {
    let patterns = [
        r"[a-z]+",
        r"(foo|bar|foobar)x?",
        r"\d{3}-\d{4}",
        r"(a|b)*abb",
        r"[^a]{2,5}",
        r"é+[ü-ÿ]?",
        r".*",
        r"(yes|no)(, (yes|no)){0,3}",
        r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?",
        r#""([^"\\\x00-\x1f]|\\["\\/bfnrt])*""#,
        r"(the|them|theme)/ ?n",
        r"\p{Greek}+",
    ];
    for path in TOKENIZERS {
        let tokenizer = tokenizer(path);
        let compiler = GrammarCompiler::new(&tokenizer).unwrap();
        for pattern in patterns {
            let masks = compare(&compiler.regex(pattern).unwrap(), &tokenizer, &Regex::new(pattern), 6);
            assert!(masks > 0, "{pattern}");
        }
    }
}

#[test]
fn anchors_at_the_ends_say_nothing() {
    let tokenizer = tokenizer(TOKENIZERS[0]);
    let compiler = GrammarCompiler::new(&tokenizer).unwrap();
    for (pattern, same) in [("^ab+$", "ab+"), (r"a\$", r"a\$"), ("^", ""), (r"^a\\$", r"a\\")] {
        compare(&compiler.regex(pattern).unwrap(), &tokenizer, &Regex::new(same), 4);
    }
}
