//! Tokens to a syntax tree: statements here, expressions in [`expr`].

mod expr;

use super::ast::{Args, Ast, Const, Escape, Expr, For, Macro, Stmt, StmtKind, Target, Uses};
use super::lexer::{Tok, Token};
use crate::error::TextError;
use crate::limits::MAX_TEMPLATE_NESTING;

pub(super) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    loops: usize,
    macros: Vec<Macro>,
    /// What the macro being read uses.
    uses: Uses,
    escape: Escape,
}

/// Parses a template.
pub(crate) fn parse(tokens: Vec<Token>) -> Result<Ast, TextError> {
    let (uses, escape) = (Uses::default(), Escape::Off);
    let mut parser = Parser { tokens, at: 0, depth: 0, loops: 0, macros: Vec::new(), uses, escape };
    let body = parser.body(&[])?;
    Ok(Ast { body, macros: parser.macros })
}

impl Parser {
    fn peek(&self) -> Option<&Tok> {
        self.tokens.get(self.at).map(|t| &t.kind)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.line)
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, TextError> {
        Err(TextError::TemplateSyntax { line: self.line(), message: message.into() })
    }

    /// An error that says what stands here instead.
    fn expected<T>(&self, what: &str) -> Result<T, TextError> {
        let found = match self.peek() {
            None => "the end".to_string(),
            Some(Tok::Name(name)) => format!("{name:?}"),
            Some(Tok::Op(op)) => format!("{op:?}"),
            Some(Tok::Data(_)) => "text".to_string(),
            Some(Tok::BlockEnd) => "\"%}\"".to_string(),
            Some(Tok::EmitEnd) => "\"}}\"".to_string(),
            Some(Tok::BlockStart) => "\"{%\"".to_string(),
            Some(Tok::EmitStart) => "\"{{\"".to_string(),
            Some(Tok::Str(_)) => "a string".to_string(),
            Some(Tok::Int(_) | Tok::Float(_)) => "a number".to_string(),
        };
        self.error(format!("expected {what}, found {found}"))
    }

    /// One level deeper. Levels are given back all at once by whoever remembers the depth from before: on an error nobody does,
    /// and nobody needs to.
    fn deeper(&mut self) -> Result<(), TextError> {
        self.depth += 1;
        if self.depth > MAX_TEMPLATE_NESTING {
            return Err(TextError::TemplateLimit { limit: "nesting", value: MAX_TEMPLATE_NESTING });
        }
        Ok(())
    }

    fn op(&mut self, op: &str) -> bool {
        let found = matches!(self.peek(), Some(Tok::Op(o)) if *o == op);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Tok::Name(n)) if n == word);
        self.at += usize::from(found);
        found
    }

    fn need_op(&mut self, op: &str) -> Result<(), TextError> {
        if self.op(op) { Ok(()) } else { self.expected(&format!("{op:?}")) }
    }

    fn name(&mut self, what: &str) -> Result<String, TextError> {
        match self.peek() {
            Some(Tok::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.expected(what),
        }
    }

    fn block_end(&mut self) -> Result<(), TextError> {
        if self.peek() == Some(&Tok::BlockEnd) {
            self.at += 1;
            Ok(())
        } else {
            self.expected("\"%}\"")
        }
    }

    /// Statements up to one of the tags `until`, of which the name is left to be read (or up to the end, where it is empty).
    fn body(&mut self, until: &[&str]) -> Result<Vec<Stmt>, TextError> {
        let depth = self.depth;
        self.deeper()?;
        let mut out = Vec::new();
        loop {
            let line = self.line();
            let kind = match self.peek() {
                None if until.is_empty() => break,
                None => return self.error(format!("expected one of the tags {until:?}, found the end")),
                Some(Tok::Data(text)) => {
                    let text = text.clone();
                    self.at += 1;
                    StmtKind::Data(text)
                }
                Some(Tok::EmitStart) => {
                    self.at += 1;
                    let value = self.tuple_or_expr()?;
                    if self.peek() != Some(&Tok::EmitEnd) {
                        return self.expected("\"}}\"");
                    }
                    self.at += 1;
                    StmtKind::Emit(value)
                }
                Some(Tok::BlockStart) => {
                    self.at += 1;
                    if matches!(self.peek(), Some(Tok::Name(n)) if until.contains(&n.as_str())) {
                        break;
                    }
                    self.statement()?
                }
                Some(_) => return self.expected("text or a tag"),
            };
            out.push(Stmt { line, kind });
        }
        self.depth = depth;
        Ok(out)
    }

    /// The rest of a block after its opening tag, with the closing tag.
    fn block_body(&mut self, end: &str) -> Result<Vec<Stmt>, TextError> {
        self.block_end()?;
        let body = self.body(&[end])?;
        self.at += 1;
        // `{% endmacro name %}` is allowed.
        if matches!(self.peek(), Some(Tok::Name(_))) {
            self.at += 1;
        }
        self.block_end()?;
        Ok(body)
    }

    fn statement(&mut self) -> Result<StmtKind, TextError> {
        let name = self.name("the name of a tag")?;
        match name.as_str() {
            "if" => self.if_statement(),
            "for" => self.for_statement(),
            "set" => self.set_statement(),
            "macro" => self.macro_statement(),
            "call" => self.call_statement(),
            "with" => self.with_statement(),
            "autoescape" => self.autoescape_statement(),
            "block" => self.block_statement(),
            "print" => {
                let value = self.tuple_or_expr()?;
                self.block_end()?;
                Ok(StmtKind::Emit(value))
            }
            "filter" => {
                let filters = self.filter_chain()?;
                Ok(StmtKind::FilterBlock { filters, body: self.block_body("endfilter")? })
            }
            // Marks what a model wrote, for training; it renders as its body.
            "generation" => Ok(StmtKind::Plain(self.block_body("endgeneration")?)),
            "break" | "continue" if self.loops == 0 => self.error(format!("{name:?} outside of a loop")),
            "break" => self.block_end().map(|()| StmtKind::Break),
            "continue" => self.block_end().map(|()| StmtKind::Continue),
            _ => Err(TextError::Unsupported { what: "chat template tag", found: crate::error::short(&name) }),
        }
    }

    fn if_statement(&mut self) -> Result<StmtKind, TextError> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple_or_expr()?;
            self.block_end()?;
            let body = self.body(&["elif", "else", "endif"])?;
            branches.push((Some(condition), body));
            if self.word("elif") {
                continue;
            }
            if self.word("else") {
                self.block_end()?;
                branches.push((None, self.body(&["endif"])?));
            }
            self.at += 1;
            self.block_end()?;
            return Ok(StmtKind::If(branches));
        }
    }

    fn for_statement(&mut self) -> Result<StmtKind, TextError> {
        let target = self.target()?;
        if !self.word("in") {
            return self.expected("\"in\"");
        }
        let iter = self.tuple_or_expr_without_if()?;
        let condition = if self.word("if") { Some(self.expr()?) } else { None };
        let recursive = self.word("recursive");
        self.block_end()?;
        self.loops += 1;
        let body = self.body(&["else", "endfor"])?;
        self.loops -= 1;
        let otherwise = if self.word("else") {
            self.block_end()?;
            self.body(&["endfor"])?
        } else {
            Vec::new()
        };
        self.at += 1;
        self.block_end()?;
        Ok(StmtKind::For(Box::new(For { target, iter, condition, body, otherwise, recursive, escape: self.escape })))
    }

    fn set_statement(&mut self) -> Result<StmtKind, TextError> {
        let target = self.target()?;
        if self.op("=") {
            let value = self.tuple_or_expr()?;
            self.block_end()?;
            return Ok(StmtKind::Set(target, value));
        }
        let filters = if self.op("|") { self.filter_chain()? } else { Vec::new() };
        Ok(StmtKind::SetBlock { target, filters, body: self.block_body("endset")? })
    }

    fn macro_statement(&mut self) -> Result<StmtKind, TextError> {
        let name = self.name("the name of a macro")?;
        let params = self.params()?;
        self.finish_macro(name, params, "endmacro").map(StmtKind::Macro)
    }

    /// Reads a macro's body and keeps it. It runs on its own: `break` in it cannot end a loop around it.
    fn finish_macro(
        &mut self,
        name: String,
        params: Vec<(String, Option<super::ast::Expr>)>,
        end: &str,
    ) -> Result<usize, TextError> {
        let loops = std::mem::take(&mut self.loops);
        let around = std::mem::take(&mut self.uses);
        let body = self.block_body(end)?;
        self.loops = loops;
        let uses = self.uses;
        // What an inner macro uses, the outer one counts as using, as in Jinja.
        self.uses = Uses {
            varargs: around.varargs || uses.varargs,
            kwargs: around.kwargs || uses.kwargs,
            caller: around.caller || uses.caller,
        };
        self.macros.push(Macro { name, params, body, uses, escape: self.escape });
        Ok(self.macros.len() - 1)
    }

    fn call_statement(&mut self) -> Result<StmtKind, TextError> {
        let params = if self.peek() == Some(&Tok::Op("(")) { self.params()? } else { Vec::new() };
        let call = self.expr()?;
        Ok(StmtKind::CallBlock { callee: self.finish_macro("caller".into(), params, "endcall")?, call })
    }

    fn block_statement(&mut self) -> Result<StmtKind, TextError> {
        self.name("the name of a block")?;
        let scoped = self.word("scoped");
        self.word("required");
        let (loops, escape) = (std::mem::take(&mut self.loops), std::mem::take(&mut self.escape));
        let body = self.block_body("endblock")?;
        (self.loops, self.escape) = (loops, escape);
        Ok(StmtKind::Block { scoped, body })
    }

    fn autoescape_statement(&mut self) -> Result<StmtKind, TextError> {
        let value = self.expr()?;
        let known = match &value {
            Expr::Const(Const::Bool(on)) => Some(*on),
            Expr::Const(Const::None) => Some(false),
            _ => None,
        };
        let escape = match (known, self.escape) {
            // Inside of such a block Jinja takes nothing for known any more.
            (Some(constants), Escape::AsEvaluated { .. }) => Escape::AsEvaluated { constants },
            (Some(true), _) => Escape::On,
            (Some(false), _) => Escape::Off,
            (None, around) => Escape::AsEvaluated {
                constants: matches!(around, Escape::On | Escape::AsEvaluated { constants: true }),
            },
        };
        let around = std::mem::replace(&mut self.escape, escape);
        let body = self.block_body("endautoescape")?;
        self.escape = around;
        Ok(StmtKind::Autoescape { value, escape, body })
    }

    fn with_statement(&mut self) -> Result<StmtKind, TextError> {
        let mut bindings = Vec::new();
        while self.peek() != Some(&Tok::BlockEnd) {
            let name = self.name("a name")?;
            self.need_op("=")?;
            bindings.push((name, self.expr()?));
            if !self.op(",") {
                break;
            }
        }
        Ok(StmtKind::With { bindings, body: self.block_body("endwith")? })
    }

    fn params(&mut self) -> Result<Vec<(String, Option<super::ast::Expr>)>, TextError> {
        self.need_op("(")?;
        let mut params = Vec::new();
        while !self.op(")") {
            let name = self.name("a parameter")?;
            let default = if self.op("=") { Some(self.expr()?) } else { None };
            params.push((name, default));
            if !self.op(",") {
                self.need_op(")")?;
                break;
            }
        }
        Ok(params)
    }

    fn filter_chain(&mut self) -> Result<Vec<(String, Args)>, TextError> {
        let mut chain = Vec::new();
        loop {
            let name = self.name("a filter")?;
            let args = if self.op("(") { self.args()? } else { Args::default() };
            chain.push((name, args));
            if !self.op("|") {
                return Ok(chain);
            }
        }
    }

    /// What a loop or `set` assigns to: a name, `namespace.attribute`, or several with commas between.
    fn target(&mut self) -> Result<Target, TextError> {
        let first = self.target_part()?;
        if let Target::Name(name) = &first
            && self.op(".")
        {
            return Ok(Target::Attr(name.clone(), self.name("an attribute")?));
        }
        self.targets_after(first)
    }

    fn targets_after(&mut self, first: Target) -> Result<Target, TextError> {
        if self.peek() != Some(&Tok::Op(",")) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.op(",") {
            match self.peek() {
                Some(Tok::Name(n)) if n != "in" => parts.push(self.target_part()?),
                Some(Tok::Op("(")) => parts.push(self.target_part()?),
                _ => break,
            }
        }
        Ok(Target::Tuple(parts))
    }

    fn target_part(&mut self) -> Result<Target, TextError> {
        if !self.op("(") {
            return self.name("a name to assign to").map(Target::Name);
        }
        let depth = self.depth;
        self.deeper()?;
        let first = self.target_part()?;
        let inner = self.targets_after(first)?;
        self.need_op(")")?;
        self.depth = depth;
        Ok(inner)
    }
}
