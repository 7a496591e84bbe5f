//! Template source to tokens, with Jinja's rules for whitespace as Hugging Face sets them: `trim_blocks`, `lstrip_blocks`,
//! and no newline at the very end.

use crate::error::TextError;

/// A token and the line it begins on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub line: usize,
    pub kind: Tok,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tok {
    /// Text outside of tags.
    Data(String),
    /// `{{` and `}}`
    EmitStart,
    EmitEnd,
    /// `{%` and `%}`
    BlockStart,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    Op(&'static str),
}

/// Longest first, so that a prefix of one does not win over it.
const OPERATORS: &[&str] = &[
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", "<", ">", "=", ".",
    ":", "|", ",",
];

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
    /// Whether what comes next begins a line, for `lstrip_blocks`.
    line_starting: bool,
}

/// Splits a template into tokens.
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, TextError> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { source, at: 0, line: 1, tokens: Vec::new(), line_starting: true };
    lexer.run()?;
    Ok(lexer.tokens)
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn error(&self, message: impl Into<String>) -> TextError {
        TextError::TemplateSyntax { line: self.line, message: message.into() }
    }

    fn emit(&mut self, kind: Tok) {
        self.tokens.push(Token { line: self.line, kind });
    }

    fn advance(&mut self, bytes: usize) {
        let text = &self.source[self.at..self.at + bytes];
        self.line += text.bytes().filter(|&b| b == b'\n').count();
        if let Some(last) = text.chars().next_back() {
            self.line_starting = last == '\n';
        }
        self.at += bytes;
    }

    fn skip_space(&mut self) {
        let n = self.rest().len() - self.rest().trim_start().len();
        if n > 0 {
            self.advance(n);
        }
    }

    fn run(&mut self) -> Result<(), TextError> {
        while self.at < self.source.len() {
            let rest = self.rest();
            let start = rest
                .match_indices('{')
                .map(|(i, _)| i)
                .find(|&i| matches!(rest.as_bytes().get(i + 1), Some(b'{' | b'%' | b'#')));
            let Some(start) = start else {
                let data = rest.to_string();
                self.emit(Tok::Data(data));
                return Ok(());
            };
            let kind = rest.as_bytes()[start + 1];
            let sign = rest.as_bytes().get(start + 2).copied().filter(|&b| b == b'-' || (b == b'+' && kind != b'{'));
            let data = &rest[..start];
            let line_start = data.rfind('\n').map_or(0, |i| i + 1);
            let kept = match sign {
                Some(b'-') => data.trim_end(),
                None if kind != b'{'
                    && (line_start > 0 || self.line_starting)
                    && data[line_start..].trim_start().is_empty() =>
                {
                    &data[..line_start]
                }
                _ => data,
            };
            if !kept.is_empty() {
                let kept = kept.to_string();
                self.emit(Tok::Data(kept));
            }
            self.advance(start + 2 + usize::from(sign.is_some()));
            match kind {
                b'#' => self.comment()?,
                b'%' => self.block()?,
                _ => {
                    self.emit(Tok::EmitStart);
                    self.inside("}}", Tok::EmitEnd)?;
                }
            }
        }
        Ok(())
    }

    fn comment(&mut self) -> Result<(), TextError> {
        let Some(end) = self.rest().find("#}") else { return Err(self.error("comment without end")) };
        let sign = self.rest()[..end].bytes().next_back();
        self.advance(end + 2);
        self.after_tag(sign, true);
        Ok(())
    }

    /// What a closing tag takes with it.
    fn after_tag(&mut self, sign: Option<u8>, trims: bool) {
        self.line_starting = false;
        match sign {
            Some(b'-') => self.skip_space(),
            Some(b'+') => {}
            _ if trims && self.rest().starts_with('\n') => self.advance(1),
            _ => {}
        }
    }

    fn block(&mut self) -> Result<(), TextError> {
        if let Some(len) = tag(self.rest(), "raw") {
            let dash = self.rest().as_bytes()[len - 3] == b'-';
            self.advance(len);
            if dash {
                self.skip_space();
            }
            return self.raw();
        }
        self.emit(Tok::BlockStart);
        self.inside("%}", Tok::BlockEnd)
    }

    fn raw(&mut self) -> Result<(), TextError> {
        let rest = self.rest();
        let found = rest.match_indices("{%").find_map(|(at, _)| {
            let sign = rest.as_bytes().get(at + 2).copied().filter(|b| matches!(b, b'-' | b'+'));
            let inner = at + 2 + usize::from(sign.is_some());
            tag(&rest[inner..], "endraw").map(|len| (at, sign, inner + len))
        });
        let Some((at, sign, end)) = found else { return Err(self.error("raw block without end")) };
        let data = &rest[..at];
        let line_start = data.rfind('\n').map_or(0, |i| i + 1);
        let data = match sign {
            Some(b'-') => data.trim_end(),
            None if line_start > 0 && data[line_start..].trim().is_empty() => &data[..line_start],
            _ => data,
        };
        let data = data.to_string();
        let close = rest.as_bytes()[end - 3];
        self.emit(Tok::Data(data));
        self.advance(end);
        self.after_tag(Some(close).filter(|b| matches!(b, b'-' | b'+')), true);
        Ok(())
    }

    /// Tokens up to the end of a tag.
    fn inside(&mut self, close: &str, end: Tok) -> Result<(), TextError> {
        let mut open: Vec<&'static str> = Vec::new();
        loop {
            self.skip_space();
            let rest = self.rest();
            let Some(first) = rest.chars().next() else { return Err(self.error("tag without end")) };
            if open.is_empty() {
                let sign = rest.bytes().next().filter(|b| *b == b'-' || (*b == b'+' && close == "%}"));
                let (sign, tail) = match sign {
                    Some(b) if rest[1..].starts_with(close) => (Some(b), 1),
                    _ => (None, 0),
                };
                if rest[tail..].starts_with(close) {
                    self.advance(tail + close.len());
                    self.emit(end);
                    self.after_tag(sign, close == "%}");
                    return Ok(());
                }
            }
            if first == '"' || first == '\'' {
                self.string(first)?;
            } else if first.is_ascii_digit() {
                self.number()?;
            } else if first.is_alphabetic() || first == '_' {
                let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let name = rest[..len].to_string();
                self.advance(len);
                self.emit(Tok::Name(name));
            } else {
                let Some(&op) = OPERATORS.iter().find(|op| rest.starts_with(**op)) else {
                    return Err(self.error(format!("unexpected character {first:?}")));
                };
                match op {
                    "(" | "[" | "{" => open.push(op),
                    ")" | "]" | "}" => {
                        let fits = matches!((open.pop(), op), (Some("("), ")") | (Some("["), "]") | (Some("{"), "}"));
                        if !fits {
                            return Err(self.error(format!("unexpected {op:?}")));
                        }
                    }
                    _ => {}
                }
                self.advance(op.len());
                self.emit(Tok::Op(op));
            }
        }
    }

    fn number(&mut self) -> Result<(), TextError> {
        let rest = self.rest();
        let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(s.len());
        let mut len = digits(rest);
        let mut float = false;
        if rest[len..].starts_with('.') && rest[len + 1..].starts_with(|c: char| c.is_ascii_digit()) {
            float = true;
            len += 1 + digits(&rest[len + 1..]);
        }
        if rest[len..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[len + 1..].starts_with(['+', '-']));
            let exponent = digits(&rest[len + 1 + sign..]);
            if exponent > 0 {
                float = true;
                len += 1 + sign + exponent;
            }
        }
        let text = rest[..len].replace('_', "");
        let token = if float { text.parse().map(Tok::Float).ok() } else { text.parse().map(Tok::Int).ok() };
        let token = token.ok_or_else(|| self.error(format!("bad number {}", crate::error::short(&text))))?;
        self.advance(len);
        self.emit(token);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), TextError> {
        let rest = self.rest();
        let mut out = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.advance(at + 1);
                self.emit(Tok::Str(out));
                return Ok(());
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            let Some((_, escaped)) = chars.next() else { break };
            let digits = match escaped {
                'n' => {
                    out.push('\n');
                    continue;
                }
                't' => {
                    out.push('\t');
                    continue;
                }
                'r' => {
                    out.push('\r');
                    continue;
                }
                'b' => {
                    out.push('\u{8}');
                    continue;
                }
                'f' => {
                    out.push('\u{c}');
                    continue;
                }
                'v' => {
                    out.push('\u{b}');
                    continue;
                }
                'a' => {
                    out.push('\u{7}');
                    continue;
                }
                '0' => {
                    out.push('\0');
                    continue;
                }
                '\n' => continue,
                '\\' | '\'' | '"' => {
                    out.push(escaped);
                    continue;
                }
                'x' => 2,
                'u' => 4,
                'U' => 8,
                _ => {
                    out.push('\\');
                    out.push(escaped);
                    continue;
                }
            };
            let code = (0..digits).try_fold(0u32, |code, _| {
                let digit = chars.next()?.1.to_digit(16)?;
                Some(code.wrapping_mul(16) + digit)
            });
            match code.and_then(char::from_u32) {
                Some(c) => out.push(c),
                None => return Err(self.error("bad escape in a string")),
            }
        }
        Err(self.error("string without end"))
    }
}

/// Length of ` name %}` at the start of `rest`, where it stands alone in its tag.
fn tag(rest: &str, name: &str) -> Option<usize> {
    let inner = rest.trim_start().strip_prefix(name)?.trim_start();
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let tail = inner.strip_prefix("%}")?;
    Some(rest.len() - tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(source: &str) -> String {
        tokens(source)
            .unwrap()
            .into_iter()
            .filter_map(|t| if let Tok::Data(d) = t.kind { Some(d) } else { None })
            .collect()
    }

    #[test]
    fn whitespace_around_tags_follows_jinja() {
        assert_eq!(data("a\n  {% x %}\nb\n"), "a\nb");
        assert_eq!(data("a\n  {{ x }}\nb\n\n"), "a\n  \nb\n");
        assert_eq!(data("a\n  {%- x -%}\n\n b"), "ab");
        assert_eq!(data("a\n  {%+ x +%}\n b"), "a\n  \n b");
        assert_eq!(data("a {# c #}\n b {% x %} {% y %}\nc"), "a  b  c");
        assert_eq!(data("{% raw %}{{ x }}{% endraw %}\n!"), "{{ x }}!");
        assert_eq!(data("  {% x %}\n  {% y %}z"), "z");
    }

    #[test]
    fn braces_balance_before_a_tag_ends() {
        let kinds: Vec<Tok> = tokens("{{ {'a': {}}}}").unwrap().into_iter().map(|t| t.kind).collect();
        assert_eq!(kinds.last(), Some(&Tok::EmitEnd));
        assert!(tokens("{{ (] }}").is_err());
        assert!(tokens("{{ 'a").is_err());
        assert!(tokens("{{ é").is_err());
        assert!(matches!(&tokens(r"{{ '\x41\u00e9\q' }}").unwrap()[1].kind, Tok::Str(s) if s == "Aé\\q"));
    }
}
