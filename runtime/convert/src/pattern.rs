//! Which tensors a user means.

use crate::error::ConvertError;
use regex_lite::Regex;

/// Names of tensors by pattern.
///
/// * `blk.*.attn_v.weight`: with `*` (anything) or `?` (one character), the whole name.
/// * `/blk\.[0-3]\./`: between slashes, a regular expression that is found anywhere in the name.
/// * `attn_v`, `blk.0`, `output.weight`: otherwise the name or a part of it between dots; `output` does not mean
///   `blk.0.attn_output.weight`.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Expression(Regex),
    Part,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`ConvertError::Pattern`] where it is empty or no regular expression.
    pub fn new(text: &str) -> Result<Self, ConvertError> {
        let refused = |why: String| ConvertError::Pattern { pattern: text.to_owned(), why };
        let expression = |e: &str| Regex::new(e).map(Kind::Expression).map_err(|e| refused(e.to_string()));
        let inner = text.strip_prefix('/').and_then(|t| t.strip_suffix('/'));
        let kind = match inner {
            _ if text.is_empty() => return Err(refused("is empty".into())),
            Some(inner) => expression(inner)?,
            None if text.contains(['*', '?']) => expression(&glob(text))?,
            None => Kind::Part,
        };
        Ok(Self { text: text.to_owned(), kind })
    }

    /// Does it mean this tensor?
    pub fn matches(&self, name: &str) -> bool {
        match &self.kind {
            Kind::Expression(regex) => regex.is_match(name),
            // Both with dots around them: a part begins and ends at one.
            Kind::Part => format!(".{name}.").contains(&format!(".{}.", self.text)),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn glob(text: &str) -> String {
    let mut expression = String::from("^");
    for c in text.chars() {
        match c {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            c => expression.push_str(&regex_lite::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    expression + "$"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_say() {
        let cases = [
            ("attn_v", "blk.0.attn_v.weight", true),
            ("output", "blk.0.attn_output.weight", false),
            ("output.weight", "output.weight", true),
            ("output.weight", "blk.0.attn_output.weight", false),
            ("blk.1", "blk.11.attn_v.weight", false),
            ("blk.1", "blk.1.attn_v.weight", true),
            ("blk.*.attn_?.weight", "blk.3.attn_q.weight", true),
            ("blk.*.attn_?.weight", "blk.3.attn_q.bias", false),
            ("*down*", "blk.3.ffn_down.weight", true),
            ("attn*", "blk.3.attn_q.weight", false),
            (r"/blk\.[0-3]\./", "blk.3.attn_q.weight", true),
            (r"/blk\.[0-3]\./", "blk.31.attn_q.weight", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(Pattern::new(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "/(/"] {
            assert!(matches!(Pattern::new(text), Err(ConvertError::Pattern { .. })), "{text}");
        }
    }
}
