//! Expressions, with Jinja's precedences: `if`, `or`, `and`, `not`, comparisons, `+ -`, `~`, `* / // %`, `**`, unary, then
//! attributes, calls, filters and tests.

use super::Parser;
use crate::error::TextError;
use crate::jinja::ast::{Args, Cmp, Const, Expr, Op};
use crate::jinja::lexer::Tok;

type Parsed = Result<Expr, TextError>;

/// Binary operators by level, the loosest first.
const LEVELS: &[&[(&str, Op)]] = &[
    &[("+", Op::Add), ("-", Op::Sub)],
    &[("~", Op::Concat)],
    &[("*", Op::Mul), ("/", Op::Div), ("//", Op::FloorDiv), ("%", Op::Rem)],
    &[("**", Op::Pow)],
];

/// Words that cannot be the argument of a test written without parentheses.
const NOT_AN_ARGUMENT: &[&str] = &["else", "or", "and", "is", "if", "in", "not", "recursive"];

impl Parser {
    /// An expression, or several with commas between, which make a tuple.
    pub(super) fn tuple_or_expr(&mut self) -> Parsed {
        let first = self.expr()?;
        self.tuple_after(first, Self::expr)
    }

    /// As above, without a condition at its end: in `for x in xs if c` that belongs to the loop.
    pub(super) fn tuple_or_expr_without_if(&mut self) -> Parsed {
        let first = self.or_expr()?;
        self.tuple_after(first, Self::or_expr)
    }

    fn tuple_after(&mut self, first: Expr, item: fn(&mut Self) -> Parsed) -> Parsed {
        if self.peek() != Some(&Tok::Op(",")) {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.op(",") {
            match self.peek() {
                Some(Tok::BlockEnd | Tok::EmitEnd | Tok::Op(")")) | None => break,
                _ => items.push(item(self)?),
            }
        }
        Ok(Expr::Tuple(items))
    }

    pub(super) fn expr(&mut self) -> Parsed {
        let depth = self.depth;
        self.deeper()?;
        let mut value = self.or_expr()?;
        while self.word("if") {
            self.deeper()?;
            let condition = Box::new(self.or_expr()?);
            let otherwise = if self.word("else") { Some(Box::new(self.expr()?)) } else { None };
            value = Expr::If { condition, then: Box::new(value), otherwise };
        }
        self.depth = depth;
        Ok(value)
    }

    fn or_expr(&mut self) -> Parsed {
        let depth = self.depth;
        let mut left = self.and_expr()?;
        while self.word("or") {
            self.deeper()?;
            left = Expr::Or(Box::new(left), Box::new(self.and_expr()?));
        }
        self.depth = depth;
        Ok(left)
    }

    fn and_expr(&mut self) -> Parsed {
        let depth = self.depth;
        let mut left = self.not_expr()?;
        while self.word("and") {
            self.deeper()?;
            left = Expr::And(Box::new(left), Box::new(self.not_expr()?));
        }
        self.depth = depth;
        Ok(left)
    }

    fn not_expr(&mut self) -> Parsed {
        let depth = self.depth;
        let mut nots = 0;
        while self.word("not") {
            self.deeper()?;
            nots += 1;
        }
        let mut value = self.comparison()?;
        for _ in 0..nots {
            value = Expr::Not(Box::new(value));
        }
        self.depth = depth;
        Ok(value)
    }

    fn comparison(&mut self) -> Parsed {
        let depth = self.depth;
        let left = self.binary(0)?;
        let mut links = Vec::new();
        loop {
            let cmp = match self.peek() {
                Some(Tok::Op("==")) => Cmp::Eq,
                Some(Tok::Op("!=")) => Cmp::Ne,
                Some(Tok::Op("<")) => Cmp::Lt,
                Some(Tok::Op("<=")) => Cmp::Le,
                Some(Tok::Op(">")) => Cmp::Gt,
                Some(Tok::Op(">=")) => Cmp::Ge,
                Some(Tok::Name(n)) if n == "in" => Cmp::In,
                Some(Tok::Name(n)) if n == "not" => {
                    match self.tokens.get(self.at + 1).map(|t| &t.kind) {
                        Some(Tok::Name(n)) if n == "in" => self.at += 1,
                        _ => break,
                    }
                    Cmp::NotIn
                }
                _ => break,
            };
            self.at += 1;
            self.deeper()?;
            links.push((cmp, self.binary(0)?));
        }
        self.depth = depth;
        Ok(if links.is_empty() { left } else { Expr::Compare(Box::new(left), links) })
    }

    fn binary(&mut self, level: usize) -> Parsed {
        let Some(operators) = LEVELS.get(level) else { return self.unary(true) };
        let depth = self.depth;
        let mut left = self.binary(level + 1)?;
        while let Some(&(_, op)) = operators.iter().find(|(text, _)| self.peek_op(text)) {
            self.at += 1;
            self.deeper()?;
            left = Expr::Binary(op, Box::new(left), Box::new(self.binary(level + 1)?));
        }
        self.depth = depth;
        Ok(left)
    }

    fn peek_op(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Tok::Op(o)) if *o == op)
    }

    fn unary(&mut self, with_filters: bool) -> Parsed {
        let depth = self.depth;
        self.deeper()?;
        let value = if self.op("-") {
            Expr::Neg(Box::new(self.unary(false)?))
        } else if self.op("+") {
            Expr::Pos(Box::new(self.unary(false)?))
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        let value = if with_filters { self.filters(value)? } else { value };
        self.depth = depth;
        Ok(value)
    }

    fn primary(&mut self) -> Parsed {
        let Some(token) = self.peek().cloned() else { return self.expected("an expression") };
        let value = match token {
            Tok::Name(name) => match name.as_str() {
                "true" | "True" => Expr::Const(Const::Bool(true)),
                "false" | "False" => Expr::Const(Const::Bool(false)),
                "none" | "None" => Expr::Const(Const::None),
                "and" | "or" | "not" | "in" | "is" | "if" | "else" | "elif" => return self.expected("an expression"),
                _ => {
                    match name.as_str() {
                        "varargs" => self.uses.varargs = true,
                        "kwargs" => self.uses.kwargs = true,
                        "caller" => self.uses.caller = true,
                        _ => {}
                    }
                    Expr::Name(name)
                }
            },
            Tok::Int(value) => Expr::Const(Const::Int(value)),
            Tok::Float(value) => Expr::Const(Const::Float(value)),
            Tok::Str(mut text) => {
                // Strings that follow each other are one.
                while let Some(Tok::Str(more)) = self.tokens.get(self.at + 1).map(|t| &t.kind) {
                    text.push_str(more);
                    self.at += 1;
                }
                Expr::Const(Const::Str(text))
            }
            Tok::Op("(") => {
                self.at += 1;
                if self.op(")") {
                    return Ok(Expr::Tuple(Vec::new()));
                }
                let inner = self.tuple_or_expr()?;
                self.need_op(")")?;
                return Ok(inner);
            }
            Tok::Op("[") => {
                self.at += 1;
                return self.list();
            }
            Tok::Op("{") => {
                self.at += 1;
                return self.dict();
            }
            _ => return self.expected("an expression"),
        };
        self.at += 1;
        Ok(value)
    }

    fn list(&mut self) -> Parsed {
        let mut items = Vec::new();
        while !self.op("]") {
            items.push(self.expr()?);
            if !self.op(",") {
                self.need_op("]")?;
                break;
            }
        }
        Ok(Expr::List(items))
    }

    fn dict(&mut self) -> Parsed {
        let mut entries = Vec::new();
        while !self.op("}") {
            let key = self.expr()?;
            self.need_op(":")?;
            entries.push((key, self.expr()?));
            if !self.op(",") {
                self.need_op("}")?;
                break;
            }
        }
        Ok(Expr::Dict(entries))
    }

    fn postfix(&mut self, mut value: Expr) -> Parsed {
        loop {
            if self.op(".") {
                self.deeper()?;
                value = match self.peek() {
                    Some(&Tok::Int(index)) => {
                        self.at += 1;
                        Expr::Item(Box::new(value), Box::new(Expr::Const(Const::Int(index))))
                    }
                    _ => Expr::Attr(Box::new(value), self.name("an attribute")?),
                };
            } else if self.op("[") {
                self.deeper()?;
                value = self.subscript(value)?;
            } else if self.op("(") {
                self.deeper()?;
                value = Expr::Call { callee: Box::new(value), args: self.args()? };
            } else {
                return Ok(value);
            }
        }
    }

    fn subscript(&mut self, of: Expr) -> Parsed {
        let mut parts: [Option<Box<Expr>>; 3] = [None, None, None];
        let mut colons = 0;
        loop {
            if self.op("]") {
                break;
            }
            if self.op(":") {
                colons += 1;
                if colons > 2 {
                    return self.expected("\"]\"");
                }
                continue;
            }
            if parts[colons].is_some() {
                return self.expected("\"]\"");
            }
            parts[colons] = Some(Box::new(self.expr()?));
        }
        let [start, stop, step] = parts;
        match (colons, start) {
            (0, Some(index)) => Ok(Expr::Item(Box::new(of), index)),
            (0, None) => self.expected("an index"),
            (_, start) => Ok(Expr::Slice { of: Box::new(of), start, stop, step }),
        }
    }

    fn filters(&mut self, mut value: Expr) -> Parsed {
        loop {
            if self.op("|") {
                self.deeper()?;
                let name = self.name("a filter")?;
                let args = if self.op("(") { self.args()? } else { Args::default() };
                value = Expr::Filter { of: Box::new(value), name, args };
            } else if self.word("is") {
                self.deeper()?;
                value = self.test(value)?;
            } else if self.op("(") {
                // A call of what a filter gave.
                self.deeper()?;
                value = Expr::Call { callee: Box::new(value), args: self.args()? };
            } else {
                return Ok(value);
            }
        }
    }

    fn test(&mut self, of: Expr) -> Parsed {
        let negated = self.word("not");
        let name = self.name("a test")?;
        let mut args = Args::default();
        if self.op("(") {
            args = self.args()?;
        } else {
            let bare = match self.peek() {
                Some(Tok::Name(n)) => !NOT_AN_ARGUMENT.contains(&n.as_str()),
                Some(Tok::Str(_) | Tok::Int(_) | Tok::Float(_) | Tok::Op("[" | "{")) => true,
                _ => false,
            };
            if bare {
                let depth = self.depth;
                self.deeper()?;
                let value = self.primary()?;
                args.positional.push(self.postfix(value)?);
                self.depth = depth;
            }
        }
        Ok(Expr::Test { of: Box::new(of), name, args, negated })
    }

    /// Arguments behind `(`, with the closing parenthesis.
    pub(super) fn args(&mut self) -> Result<Args, TextError> {
        let mut args = Args::default();
        while !self.op(")") {
            if args.spread.is_none() && self.op("*") {
                args.spread = Some(Box::new(self.expr()?));
            } else if args.named_spread.is_none() && self.op("**") {
                args.named_spread = Some(Box::new(self.expr()?));
            } else {
                self.arg(&mut args)?;
            }
            if !self.op(",") {
                self.need_op(")")?;
                break;
            }
        }
        Ok(args)
    }

    fn arg(&mut self, args: &mut Args) -> Result<(), TextError> {
        let named = match (self.peek(), self.tokens.get(self.at + 1).map(|t| &t.kind)) {
            (Some(Tok::Name(name)), Some(Tok::Op("="))) => Some(name.clone()),
            _ => None,
        };
        match named {
            Some(name) => {
                self.at += 2;
                let value = self.expr()?;
                args.named.push((name, value));
            }
            None if args.named.is_empty() && args.spread.is_none() && args.named_spread.is_none() => {
                let value = self.expr()?;
                args.positional.push(value);
            }
            None => return self.expected("a named argument"),
        }
        Ok(())
    }
}
