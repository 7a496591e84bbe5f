//! GBNF text to rules.

use super::{Expr, Grammar, LANGUAGE};
use crate::error::GrammarError;
use crate::limits::{MAX_NESTING, MAX_REPETITIONS, MAX_RULES};
use std::collections::HashMap;

type Result<T> = std::result::Result<T, GrammarError>;

/// Parses a grammar.
///
/// # Errors
/// [`GrammarError::Syntax`], also for a rule that is missing or there twice; [`GrammarError::TooLarge`].
pub fn parse(text: &str) -> Result<Grammar> {
    let mut parser = Parser { text, at: 0, depth: 0, names: HashMap::new(), places: Vec::new(), rules: Vec::new() };
    parser.grammar()?;
    let Some(&root) = parser.names.get("root") else { return Err(parser.error(0, "there is no rule named root")) };
    if let Some(missing) = parser.rules.iter().position(Option::is_none) {
        let (name, place) = parser.places[missing];
        return Err(parser.error(place, format!("the rule {name} is not defined")));
    }
    Ok(Grammar { root, rules: parser.rules.into_iter().flatten().collect() })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    names: HashMap<&'a str, usize>,
    /// Name of each rule, and where it was first seen.
    places: Vec<(&'a str, usize)>,
    rules: Vec<Option<Expr>>,
}

impl<'a> Parser<'a> {
    fn grammar(&mut self) -> Result<()> {
        self.space(true);
        while self.at < self.text.len() {
            let start = self.at;
            let rule = self.name()?;
            self.space(false);
            if !self.eat("::=") {
                return Err(self.error(self.at, "expected ::= after the name of a rule"));
            }
            self.space(true);
            let body = self.alternatives(false)?;
            match self.rules.get_mut(rule) {
                Some(slot @ None) => *slot = Some(body),
                _ => return Err(self.error(start, "the rule is there twice")),
            }
            if self.at < self.text.len() && !self.rest().starts_with(['\n', '\r']) {
                return Err(self.error(self.at, "expected an item of the rule, or the end of the line"));
            }
            self.space(true);
        }
        Ok(())
    }

    fn alternatives(&mut self, nested: bool) -> Result<Expr> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            let (found, what) = (self.depth, "the depth of its groups");
            return Err(GrammarError::TooLarge { language: LANGUAGE, what, found, limit: MAX_NESTING });
        }
        let mut options = vec![self.sequence(nested)?];
        while self.eat("|") {
            self.space(true);
            options.push(self.sequence(nested)?);
        }
        self.depth -= 1;
        Ok(if options.len() == 1 { options.remove(0) } else { Expr::Alt(options) })
    }

    fn sequence(&mut self, nested: bool) -> Result<Expr> {
        let mut items = Vec::new();
        while let Some(c) = self.rest().chars().next() {
            let item = match c {
                '"' => self.literal()?,
                '[' => self.class()?,
                '.' => {
                    self.at += 1;
                    Expr::Any
                }
                '<' => self.token()?,
                '!' => return Err(self.error(self.at, "tokens that may not come (!<...>) are not supported")),
                '(' => {
                    let start = self.at;
                    self.at += 1;
                    self.space(true);
                    let group = self.alternatives(true)?;
                    if !self.eat(")") {
                        return Err(self.error(start, "the group has no end"));
                    }
                    group
                }
                c if is_word(c) => Expr::Rule(self.name()?),
                _ => break,
            };
            self.space(nested);
            let item = self.repeated(item, nested)?;
            items.push(item);
        }
        Ok(if items.len() == 1 { items.remove(0) } else { Expr::Seq(items) })
    }

    fn repeated(&mut self, mut item: Expr, nested: bool) -> Result<Expr> {
        loop {
            let start = self.at;
            let (min, max) = if self.eat("*") {
                (0, None)
            } else if self.eat("+") {
                (1, None)
            } else if self.eat("?") {
                (0, Some(1))
            } else if self.eat("{") {
                self.space(nested);
                let min = self.number()?;
                self.space(nested);
                let max = if self.eat(",") {
                    self.space(nested);
                    if self.rest().starts_with('}') { None } else { Some(self.number()?) }
                } else {
                    Some(min)
                };
                self.space(nested);
                if !self.eat("}") {
                    return Err(self.error(self.at, "expected } after the number of repetitions"));
                }
                (min, max)
            } else {
                return Ok(item);
            };
            if max.is_some_and(|max| max < min) {
                return Err(self.error(start, "at most fewer repetitions than at least"));
            }
            self.space(nested);
            item = Expr::Repeat { item: Box::new(item), min, max };
        }
    }

    fn number(&mut self) -> Result<u32> {
        let digits = self.rest().len() - self.rest().trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = self.rest()[..digits].parse::<u32>().ok().filter(|&n| n <= MAX_REPETITIONS);
        let found = format!("expected a number of repetitions, at most {MAX_REPETITIONS}");
        let number = number.ok_or_else(|| self.error(self.at, found))?;
        self.at += digits;
        Ok(number)
    }

    /// The number of the rule whose name comes next.
    fn name(&mut self) -> Result<usize> {
        let length = self.rest().find(|c| !is_word(c)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.error(self.at, "expected the name of a rule"));
        }
        let (name, place) = (&self.text[self.at..self.at + length], self.at);
        self.at += length;
        if let Some(&rule) = self.names.get(name) {
            return Ok(rule);
        }
        let found = self.rules.len() + 1;
        if found > MAX_RULES {
            let what = "the number of its rules";
            return Err(GrammarError::TooLarge { language: LANGUAGE, what, found, limit: MAX_RULES });
        }
        self.names.insert(name, self.rules.len());
        self.places.push((name, place));
        self.rules.push(None);
        Ok(self.rules.len() - 1)
    }

    fn literal(&mut self) -> Result<Expr> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.rest().chars().next() {
                None | Some('\n' | '\r') => return Err(self.error(start, "the string has no end")),
                Some('"') => break self.at += 1,
                Some(_) => text.push(self.character()?),
            }
        }
        Ok(Expr::Literal(text))
    }

    fn class(&mut self) -> Result<Expr> {
        let start = self.at;
        self.at += 1;
        let negated = self.eat("^");
        let mut ranges = Vec::new();
        while !self.eat("]") {
            if self.rest().is_empty() || self.rest().starts_with(['\n', '\r']) {
                return Err(self.error(start, "the set of characters has no end"));
            }
            let (place, first) = (self.at, self.character()?);
            let last = if self.rest().starts_with('-') && !self.rest().starts_with("-]") {
                self.at += 1;
                self.character()?
            } else {
                first
            };
            if last < first {
                return Err(self.error(place, "the range's end comes before its beginning"));
            }
            ranges.push((first, last));
        }
        match (negated, ranges.is_empty()) {
            (true, true) => Ok(Expr::Any),
            (false, true) => Err(self.error(start, "the set has no characters")),
            _ => Ok(Expr::Class { negated, ranges }),
        }
    }

    fn token(&mut self) -> Result<Expr> {
        let length = self.rest().find('>').filter(|&l| l > 1 && !self.rest()[..l].contains(char::is_whitespace));
        let length = length.ok_or_else(|| self.error(self.at, "expected a token's name and >"))? + 1;
        let name = self.rest()[..length].to_owned();
        self.at += length;
        Ok(Expr::Token(name))
    }

    /// A character of a string or a set, escapes resolved.
    fn character(&mut self) -> Result<char> {
        let start = self.at;
        let Some(c) = self.next() else { return Err(self.error(start, "the text ends here")) };
        if c != '\\' {
            return Ok(c);
        }
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some(c @ ('\\' | '"' | '[' | ']')) => return Ok(c),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => return Err(self.error(start, "unknown escape")),
        };
        let hex = self.rest().get(..digits).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = hex.and_then(|d| u32::from_str_radix(d, 16).ok()).and_then(char::from_u32);
        let code = code.ok_or_else(|| self.error(start, "the escape stands for no character"))?;
        self.at += digits;
        Ok(code)
    }

    /// Skips spaces and comments, and ends of lines where these mean nothing.
    fn space(&mut self, newlines: bool) {
        while let Some(c) = self.rest().chars().next() {
            match c {
                ' ' | '\t' => self.at += 1,
                '#' => self.at += self.rest().find(['\n', '\r']).unwrap_or(self.rest().len()),
                '\n' | '\r' if newlines => self.at += 1,
                _ => break,
            }
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        self.at += if found { expected.len() } else { 0 };
        found
    }

    fn error(&self, at: usize, what: impl Into<String>) -> GrammarError {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        GrammarError::Syntax { language: LANGUAGE, line, column, what: what.into() }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}
