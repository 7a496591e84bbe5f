//! A grammar in the engine's notation (Lark's): terminals for what is regular, rules for the rest.

use super::regular::{Regular, descent, is_regular, nullable, regular};
use super::{Expr, Grammar, LANGUAGE};
use crate::error::GrammarError;
use crate::limits::MAX_DEPTH;
use std::fmt::Write;

/// Writes the grammar down.
///
/// # Errors
/// [`GrammarError::TooLarge`] for rules that are too deep inside one another.
pub fn lark(grammar: &Grammar) -> Result<String, GrammarError> {
    let known = regular(grammar);
    let found = known.iter().map(|k| k.height).max().unwrap_or(0).max(descent(grammar, &known));
    if found > MAX_DEPTH {
        let what = "the depth of rules inside one another";
        return Err(GrammarError::TooLarge { language: LANGUAGE, what, found, limit: MAX_DEPTH });
    }
    let mut out = Writer { known: &known, statements: String::new(), terminals: 0 };
    for (rule, body) in grammar.rules.iter().enumerate() {
        let mut text = String::new();
        if known[rule].is {
            out.terminal_text(body, &mut text);
            let _ = writeln!(out.statements, "R{rule}: {text}");
        } else {
            out.rule_text(body, &mut text);
            let _ = writeln!(out.statements, "r{rule}: {text}");
        }
    }
    let mut start = String::new();
    out.rule_text(&Expr::Rule(grammar.root), &mut start);
    let _ = writeln!(out.statements, "start: {start}");
    Ok(out.statements)
}

struct Writer<'a> {
    known: &'a [Regular],
    statements: String,
    /// Those that are not a rule's.
    terminals: usize,
}

impl Writer<'_> {
    /// An expression over terminals: part of a rule.
    fn rule_text(&mut self, expr: &Expr, out: &mut String) {
        if is_regular(expr, self.known) {
            return self.lexeme(expr, out);
        }
        match expr {
            Expr::Rule(rule) => {
                let _ = write!(out, "r{rule}");
            }
            Expr::Token(name) => out.push_str(name),
            Expr::Seq(items) => self.grouped(items, " ", Expr::Seq, out),
            Expr::Alt(items) => {
                // All that is regular is one alternative, wherever it stands: their order means nothing.
                let (regular, others): (Vec<_>, Vec<_>) =
                    items.iter().cloned().partition(|i| is_regular(i, self.known));
                let items: Vec<Expr> =
                    (!regular.is_empty()).then_some(Expr::Alt(regular)).into_iter().chain(others).collect();
                self.grouped(&items, " | ", Expr::Alt, out);
            }
            Expr::Repeat { item, min, max } => {
                out.push('(');
                self.rule_text(item, out);
                out.push(')');
                repetition(*min, *max, out);
            }
            Expr::Literal(_) | Expr::Class { .. } | Expr::Any => self.lexeme(expr, out),
        }
    }

    /// Items with `between` between them, neighbours that are regular joined to one.
    fn grouped(&mut self, items: &[Expr], between: &str, join: fn(Vec<Expr>) -> Expr, out: &mut String) {
        out.push('(');
        let known = self.known;
        for (i, run) in items.chunk_by(|a, b| is_regular(a, known) && is_regular(b, known)).enumerate() {
            out.push_str(if i > 0 { between } else { "" });
            match run {
                [one] => self.rule_text(one, out),
                several => self.lexeme(&join(several.to_vec()), out),
            }
        }
        out.push(')');
    }

    /// A regular expression as one lexeme, which is never empty.
    fn lexeme(&mut self, expr: &Expr, out: &mut String) {
        let mut text = String::new();
        self.terminal_text(expr, &mut text);
        let name = self.terminals;
        self.terminals += 1;
        let empty = nullable(expr, self.known);
        let some = if empty { " & /(?s:.)+/" } else { "" };
        let _ = writeln!(self.statements, "T{name}: ({text}){some}");
        let _ = write!(out, "T{name}{}", if empty { "?" } else { "" });
    }

    /// An expression over characters: part of a terminal.
    fn terminal_text(&self, expr: &Expr, out: &mut String) {
        let joined = |items: &[Expr], between: &str, out: &mut String| {
            out.push('(');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { between } else { "" });
                self.terminal_text(item, out);
            }
            out.push_str(if items.is_empty() { "\"\")" } else { ")" });
        };
        match expr {
            Expr::Literal(text) if text.is_empty() => out.push_str("\"\""),
            Expr::Literal(text) => {
                out.push('/');
                text.chars().for_each(|c| character(c, out));
                out.push('/');
            }
            Expr::Class { negated, ranges } => {
                out.push_str(if *negated { "/[^" } else { "/[" });
                for &(first, last) in ranges {
                    character(first, out);
                    out.push('-');
                    character(last, out);
                }
                out.push_str("]/");
            }
            Expr::Any => out.push_str("/(?s:.)/"),
            Expr::Rule(rule) => {
                let _ = write!(out, "R{rule}");
            }
            // Not regular, so never here.
            Expr::Token(_) => {}
            Expr::Seq(items) => joined(items, " ", out),
            Expr::Alt(items) => joined(items, " | ", out),
            Expr::Repeat { item, min, max } => {
                out.push('(');
                self.terminal_text(item, out);
                out.push(')');
                repetition(*min, *max, out);
            }
        }
    }
}

/// A character in a regular expression, whatever it means there.
fn character(c: char, out: &mut String) {
    let _ = write!(out, "\\x{{{:x}}}", u32::from(c));
}

fn repetition(min: u32, max: Option<u32>, out: &mut String) {
    let _ = match (min, max) {
        (0, None) => write!(out, "*"),
        (1, None) => write!(out, "+"),
        (0, Some(1)) => write!(out, "?"),
        (min, None) => write!(out, "{{{min},}}"),
        (min, Some(max)) => write!(out, "{{{min},{max}}}"),
    };
}
