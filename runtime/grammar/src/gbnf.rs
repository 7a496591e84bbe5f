//! GBNF, the grammar notation of llama.cpp (`grammars/README.md` there): parsed here, so that errors have a place, and written
//! down in the engine's notation.
//!
//! The engine has two levels: a lexer for regular expressions and a parser over what it yields. So a grammar is divided: all
//! that is regular, however it is spread over rules, becomes lexemes as long as possible; only recursion is left to the parser.

mod divide;
mod parse;
mod regular;

pub use divide::lark;
pub use parse::parse;

/// Name of the language in errors.
pub const LANGUAGE: &str = "GBNF";

/// A parsed grammar.
#[derive(Debug)]
pub struct Grammar {
    /// Bodies of the rules; all references are to rules that are there.
    pub rules: Vec<Expr>,
    /// The rule that is the whole text.
    pub root: usize,
}

/// What a rule stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// Characters one after the other.
    Literal(String),
    /// One character of a set: ranges, ends included.
    Class { negated: bool, ranges: Vec<(char, char)> },
    /// Any character.
    Any,
    /// A control token by its text, with the angle brackets.
    Token(String),
    /// Another rule.
    Rule(usize),
    /// All of them in order.
    Seq(Vec<Expr>),
    /// One of them.
    Alt(Vec<Expr>),
    /// The same several times.
    Repeat { item: Box<Expr>, min: u32, max: Option<u32> },
}

impl Expr {
    /// Calls `visit` with each rule that is referred to, in order, and how many expressions it is inside of.
    fn references(&self, depth: usize, visit: &mut impl FnMut(usize, usize)) {
        match self {
            Self::Rule(rule) => visit(*rule, depth),
            Self::Seq(items) | Self::Alt(items) => items.iter().for_each(|i| i.references(depth + 1, visit)),
            Self::Repeat { item, .. } => item.references(depth + 1, visit),
            Self::Literal(_) | Self::Class { .. } | Self::Any | Self::Token(_) => {}
        }
    }

    /// Does a control token occur?
    fn has_token(&self) -> bool {
        match self {
            Self::Token(_) => true,
            Self::Seq(items) | Self::Alt(items) => items.iter().any(Self::has_token),
            Self::Repeat { item, .. } => item.has_token(),
            Self::Rule(_) | Self::Literal(_) | Self::Class { .. } | Self::Any => false,
        }
    }
}
