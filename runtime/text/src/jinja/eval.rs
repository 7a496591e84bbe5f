//! Running a parsed template.

use std::rc::Rc;

use super::ast::{Ast, Const, Escape, Expr, For, Op, Stmt, StmtKind, Target};
use super::call::{FUNCTIONS, Given};
use super::format;
use super::meter::Meter;
use super::methods::DICT_METHODS;
use super::ops;
use super::text::Text;
use super::value::{Closure, Frames, Loop, Value, runtime};
use crate::error::TextError;

type Result<T> = std::result::Result<T, TextError>;

/// What a statement asks of the loop around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

/// One rendering.
pub(super) struct Interp<'t> {
    pub(super) ast: &'t Ast,
    pub(super) meter: Rc<Meter>,
    pub(super) globals: Vec<(String, Value)>,
    /// Variables by block, the outermost first. Visible are the first and those from `base`: a macro does not see the blocks
    /// it is called from.
    pub(super) scopes: Frames,
    pub(super) base: usize,
    pub(super) out: Text,
    /// How many captures `out` is inside of.
    pub(super) captures: usize,
    pub(super) out_cap: usize,
    pub(super) loop_depth: usize,
    /// What the place in the source says about escaping, and what the last `autoescape` on the way here said: what is written
    /// goes by the first, `join`, `replace` and the results of macros and `set` blocks by the second.
    pub(super) escape: Escape,
    pub(super) eval_escape: bool,
    /// Recursive loops by when they began, each with the number of frames around it.
    pub(super) recursive: Vec<(&'t For, usize)>,
    pub(super) now: i64,
}

impl<'t> Interp<'t> {
    /// Runs statements in the current scope.
    pub(super) fn run(&mut self, body: &'t [Stmt]) -> Result<Flow> {
        let _deeper = self.meter.enter()?;
        for stmt in body {
            self.meter.tick(1)?;
            let flow = self.statement(&stmt.kind).map_err(|e| match e {
                TextError::TemplateRuntime { line: 0, message } => {
                    TextError::TemplateRuntime { line: stmt.line, message }
                }
                other => other,
            })?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn scoped(&mut self, body: &'t [Stmt]) -> Result<Flow> {
        self.scopes.push(Vec::new());
        let result = self.run(body);
        self.scopes.pop();
        result
    }

    fn statement(&mut self, stmt: &'t StmtKind) -> Result<Flow> {
        match stmt {
            StmtKind::Data(text) => self.out.push(text, false)?,
            StmtKind::Emit(expr) => {
                let value = self.eval(expr)?;
                let escapes = match self.escape {
                    Escape::AsEvaluated { constants } if expr.is_constant(false) => constants,
                    _ => self.escapes(),
                };
                if escapes {
                    let text = format::to_text(&value, &self.meter)?.escaped()?;
                    self.out.push_text(&text)?;
                } else {
                    format::display(&value, &mut self.out)?;
                }
            }
            StmtKind::If(branches) => {
                for (condition, body) in branches {
                    let holds = match condition {
                        Some(condition) => self.eval(condition)?.is_true(),
                        None => true,
                    };
                    if holds {
                        return self.run(body);
                    }
                }
            }
            StmtKind::For(statement) => {
                let source = self.eval(&statement.iter)?;
                let known = self.recursive.len();
                if statement.recursive {
                    self.recursive.push((statement, self.scopes.len()));
                }
                let depth = std::mem::replace(&mut self.loop_depth, 0);
                let result = self.for_loop(statement, &source, statement.recursive.then_some(known));
                self.loop_depth = depth;
                self.recursive.truncate(known);
                result?;
            }
            StmtKind::Set(target, value) => {
                let value = self.eval(value)?;
                self.assign(target, value)?;
            }
            StmtKind::SetBlock { target, filters, body } => {
                let mut value = self.filtered_block(filters, body)?;
                if self.eval_escape {
                    value = self.marked(&value)?;
                }
                self.assign(target, value)?;
            }
            StmtKind::FilterBlock { filters, body } => {
                let value = self.filtered_block(filters, body)?;
                format::display(&value, &mut self.out)?;
            }
            StmtKind::With { bindings, body } => {
                let mut frame = Vec::with_capacity(bindings.len());
                for (name, value) in bindings {
                    frame.push((name.clone(), self.eval(value)?));
                }
                self.scopes.push(frame);
                let flow = self.run(body);
                self.scopes.pop();
                return flow;
            }
            StmtKind::Autoescape { value, escape, body } => return self.autoescape(value, *escape, body),
            StmtKind::Plain(body) => return self.run(body),
            StmtKind::Block { scoped, body } => {
                let base = if *scoped { self.base } else { self.scopes.len() };
                let around = (std::mem::replace(&mut self.base, base), std::mem::take(&mut self.escape));
                let result = self.scoped(body);
                (self.base, self.escape) = around;
                result?;
            }
            StmtKind::Macro(index) => {
                if let Some(definition) = self.ast.macros.get(*index) {
                    let around = if self.scopes.len() > 1 { Some(self.closure()?) } else { None };
                    self.bind(&definition.name, Value::Macro(*index, around));
                }
            }
            StmtKind::CallBlock { callee, call } => self.call_block(*callee, call)?,
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
        }
        if self.captures == 0 && self.out.as_str().len() > self.out_cap {
            return Err(TextError::TemplateLimit { limit: "bytes written", value: self.out_cap });
        }
        Ok(Flow::Next)
    }

    /// Whether what is written here is escaped.
    pub(super) fn escapes(&self) -> bool {
        match self.escape {
            Escape::Off => false,
            Escape::On => true,
            Escape::AsEvaluated { .. } => self.eval_escape,
        }
    }

    /// `Markup(value)`.
    pub(super) fn marked(&self, value: &Value) -> Result<Value> {
        let text = format::to_text(value, &self.meter)?;
        Ok(Value::text(text.part(0..text.as_str().len())?.marked(true)))
    }

    fn autoescape(&mut self, value: &'t Expr, escape: Escape, body: &'t [Stmt]) -> Result<Flow> {
        let value = self.eval(value)?.is_true();
        let around = (self.escape, self.eval_escape);
        (self.escape, self.eval_escape) = (escape, value);
        let flow = self.scoped(body);
        self.escape = around.0;
        // Jinja does not come to its end of the block on the way out of a loop.
        if !matches!(flow, Ok(Flow::Break | Flow::Continue)) {
            self.eval_escape = around.1;
        }
        flow
    }

    fn filtered_block(&mut self, filters: &'t [(String, super::ast::Args)], body: &'t [Stmt]) -> Result<Value> {
        self.scopes.push(Vec::new());
        let text = self.capture(body);
        self.scopes.pop();
        let mut value = Value::text(text?.marked(self.escapes()));
        for (name, args) in filters {
            let given = self.given(args)?;
            value = self.filter(name, value, &given)?;
        }
        Ok(value)
    }

    fn call_block(&mut self, callee: usize, call: &'t Expr) -> Result<()> {
        let Expr::Call { callee: target, args } = call else { return Err(runtime("a call block needs a call")) };
        let Value::Macro(index, around) = self.eval(target)? else { return Err(runtime("a call block calls a macro")) };
        let given = self.given(args)?;
        let caller = Value::Macro(callee, Some(self.closure()?));
        let value = self.call_macro(index, around, &given, Some(caller))?;
        format::display(&value, &mut self.out)
    }

    /// The variables of the blocks around; those of the outermost are always seen.
    fn closure(&self) -> Result<Rc<Closure>> {
        let visible = self.scopes.get(self.base.max(1)..).unwrap_or_default();
        self.meter.tick(visible.iter().map(Vec::len).sum())?;
        Closure::new(&self.meter, visible.to_vec())
    }

    /// Runs a loop over the items of `source`; `again` is its place among the recursive ones.
    fn for_loop(&mut self, statement: &'t For, source: &Value, again: Option<usize>) -> Result<()> {
        let mut items = self.iterate(source)?;
        if let Some(condition) = &statement.condition {
            let mut kept = Vec::new();
            for item in items {
                self.meter.tick(1)?;
                self.scopes.push(Vec::new());
                let holds = self.assign(&statement.target, item.clone()).and_then(|()| self.eval(condition));
                self.scopes.pop();
                if holds?.is_true() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            return self.scoped(&statement.otherwise).map(|_| ());
        }
        let Value::List(items) = Value::list(&self.meter, items)? else { return Ok(()) };
        let mut state: Option<Rc<Loop>> = None;
        for (index, item) in items.items.iter().enumerate() {
            self.meter.tick(1)?;
            let last_changed = state.take().map(|s| s.last_changed.take()).unwrap_or_default().into();
            let now = Rc::new(Loop { items: Rc::clone(&items), index, depth: self.loop_depth, again, last_changed });
            self.scopes.push(vec![("loop".to_string(), Value::Loop(Rc::clone(&now)))]);
            let flow = self.assign(&statement.target, item.clone()).and_then(|()| self.run(&statement.body));
            self.scopes.pop();
            state = Some(now);
            if flow? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// `loop(items)`: the loop again, a level deeper, as text. It sees what the loop saw when it began.
    pub(super) fn loop_again(&mut self, state: &Loop, given: &Given) -> Result<Value> {
        let Some(&(statement, frames)) = state.again.and_then(|at| self.recursive.get(at)) else {
            return Err(runtime("the loop is not recursive"));
        };
        let _deeper = self.meter.enter()?;
        let items = given.need(0, "items", "loop")?.clone();
        let inner = self.scopes.split_off(frames.min(self.scopes.len()));
        let depth = std::mem::replace(&mut self.loop_depth, state.depth + 1);
        let outer = std::mem::replace(&mut self.out, Text::new(&self.meter));
        let escape = std::mem::replace(&mut self.escape, statement.escape);
        self.captures += 1;
        let result = self.for_loop(statement, &items, state.again);
        self.captures -= 1;
        let marked = self.escapes();
        self.escape = escape;
        self.loop_depth = depth;
        self.scopes.truncate(frames);
        self.scopes.extend(inner);
        let text = std::mem::replace(&mut self.out, outer);
        result.map(|()| Value::text(text.marked(marked)))
    }

    fn assign(&mut self, target: &'t Target, value: Value) -> Result<()> {
        match target {
            Target::Name(name) => self.bind(name, value),
            Target::Tuple(parts) => {
                let values = self.iterate(&value)?;
                if values.len() != parts.len() {
                    return Err(runtime(format!("cannot unpack {} values into {}", values.len(), parts.len())));
                }
                for (part, value) in parts.iter().zip(values) {
                    self.assign(part, value)?;
                }
            }
            Target::Attr(name, attribute) => match self.lookup(name) {
                Value::Namespace(fields) => fields.set(attribute, value)?,
                other => return Err(runtime(format!("cannot set an attribute of a {}", other.kind()))),
            },
        }
        Ok(())
    }

    /// Sets a variable of the innermost block.
    pub(super) fn bind(&mut self, name: &str, value: Value) {
        let Some(frame) = self.scopes.last_mut() else { return };
        match frame.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => frame.push((name.to_string(), value)),
        }
    }

    fn lookup(&self, name: &str) -> Value {
        let inner = self.scopes.get(self.base..).unwrap_or_default().iter().rev();
        let outer = self.scopes.first().into_iter().filter(|_| self.base > 0);
        let found = inner.chain(outer).chain([&self.globals]).find_map(|frame| frame.iter().find(|(n, _)| n == name));
        match found {
            Some((_, value)) => value.clone(),
            // `self` has the blocks of a template as attributes; there are none to be had.
            None if name == "self" => Value::Namespace(Rc::default()),
            None => FUNCTIONS.iter().find(|f| **f == name).map_or(Value::Undefined, |f| Value::Func(f)),
        }
    }

    /// The value of an expression.
    pub(super) fn eval(&mut self, expr: &'t Expr) -> Result<Value> {
        let _deeper = self.meter.enter()?;
        self.meter.tick(1)?;
        match expr {
            Expr::Const(value) => self.constant(value),
            Expr::Name(name) => Ok(self.lookup(name)),
            Expr::List(items) | Expr::Tuple(items) => {
                let values: Result<Vec<Value>> = items.iter().map(|item| self.eval(item)).collect();
                Value::sequence(&self.meter, values?, matches!(expr, Expr::Tuple(_)))
            }
            Expr::Dict(entries) => self.dict(entries),
            Expr::Not(inner) => Ok(Value::Bool(!self.eval(inner)?.is_true())),
            Expr::Neg(inner) => match self.eval(inner)? {
                Value::Float(value) => Ok(Value::Float(-value)),
                value => match value.as_int().and_then(i128::checked_neg) {
                    Some(value) => Ok(Value::Int(value)),
                    None => Err(runtime(format!("a {} has no negative", value.kind()))),
                },
            },
            Expr::Pos(inner) => match self.eval(inner)? {
                Value::Bool(value) => Ok(Value::Int(i128::from(value))),
                value @ (Value::Int(_) | Value::Float(_)) => Ok(value),
                value => Err(runtime(format!("unary + does not take a {}", value.kind()))),
            },
            Expr::And(left, right) => {
                let left = self.eval(left)?;
                if left.is_true() { self.eval(right) } else { Ok(left) }
            }
            Expr::Or(left, right) => {
                let left = self.eval(left)?;
                if left.is_true() { Ok(left) } else { self.eval(right) }
            }
            Expr::Binary(op, left, right) => {
                if *op == Op::Concat && self.escape == Escape::On && !expr.is_constant(true) {
                    return self.concat_escaped(left, right);
                }
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                ops::binary(*op, left, &right, &self.meter)
            }
            Expr::Compare(first, links) => {
                let mut left = self.eval(first)?;
                for (cmp, right) in links {
                    let right = self.eval(right)?;
                    if !ops::compare(*cmp, &left, &right, &self.meter)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expr::If { condition, then, otherwise } => match (self.eval(condition)?.is_true(), otherwise) {
                (true, _) => self.eval(then),
                (false, Some(otherwise)) => self.eval(otherwise),
                (false, None) => Ok(Value::Undefined),
            },
            Expr::Attr(of, name) => {
                let of = self.eval(of)?;
                self.attribute(&of, name)
            }
            Expr::Item(of, index) => {
                let (of, index) = (self.eval(of)?, self.eval(index)?);
                match (&of, &index) {
                    (Value::Loop(_), Value::Str(name)) => self.attribute(&of, name.as_str()),
                    _ => ops::item(&of, &index),
                }
            }
            Expr::Slice { of, start, stop, step } => self.slice(of, [start, stop, step]),
            Expr::Call { callee, args } => self.call_expr(callee, args),
            Expr::Filter { of, name, args } => {
                let of = self.eval(of)?;
                let given = self.given(args)?;
                // What is computed before rendering goes by the place in the source.
                let around = self.eval_escape;
                let early = match self.escape {
                    Escape::AsEvaluated { .. } => around,
                    constant => constant == Escape::On,
                };
                if early != around && expr.is_constant(true) {
                    self.eval_escape = early;
                }
                let result = self.filter(name, of, &given);
                self.eval_escape = around;
                result
            }
            Expr::Test { of, name, args, negated } => {
                let of = self.eval(of)?;
                let given = self.given(args)?;
                Ok(Value::Bool(self.test(name, &of, &given)? != *negated))
            }
        }
    }

    /// A chain of `~`, which is computed early as a whole or not at all.
    fn concat_escaped(&mut self, left: &'t Expr, right: &'t Expr) -> Result<Value> {
        let _deeper = self.meter.enter()?;
        let left = match left {
            Expr::Binary(Op::Concat, a, b) => self.concat_escaped(a, b)?,
            other => self.eval(other)?,
        };
        let right = self.eval(right)?;
        ops::concat_escaped(left, &right, &self.meter)
    }

    fn constant(&mut self, value: &Const) -> Result<Value> {
        Ok(match value {
            Const::None => Value::None,
            Const::Bool(value) => Value::Bool(*value),
            Const::Int(value) => Value::Int(*value),
            Const::Float(value) => Value::Float(*value),
            Const::Str(text) => Value::str(&self.meter, text)?,
        })
    }

    fn dict(&mut self, entries: &'t [(Expr, Expr)]) -> Result<Value> {
        let mut out: Vec<(Value, Value)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let (key, value) = (self.eval(key)?, self.eval(value)?);
            let plain = matches!(
                key,
                Value::Undefined
                    | Value::None
                    | Value::Bool(_)
                    | Value::Int(_)
                    | Value::Float(_)
                    | Value::Str(_)
                    | Value::Func(_)
                    | Value::Method(_)
            );
            if !plain {
                return Err(runtime(format!("a {} cannot be a key", key.kind())));
            }
            let mut known = None;
            for (i, (other, _)) in out.iter().enumerate() {
                if other.equals(&key, &self.meter)? {
                    known = Some(i);
                    break;
                }
            }
            match known {
                Some(i) => out[i].1 = value,
                None => out.push((key, value)),
            }
        }
        Value::map(&self.meter, out)
    }

    fn slice(&mut self, of: &'t Expr, bounds: [&'t Option<Box<Expr>>; 3]) -> Result<Value> {
        let of = self.eval(of)?;
        let mut values = [Value::None, Value::None, Value::None];
        for (value, bound) in values.iter_mut().zip(bounds) {
            if let Some(bound) = bound {
                *value = self.eval(bound)?;
            }
        }
        let [start, stop, step] = &values;
        ops::slice(&of, [start, stop, step], &self.meter)
    }

    fn call_expr(&mut self, callee: &'t Expr, args: &'t super::ast::Args) -> Result<Value> {
        if let Expr::Attr(of, name) = callee {
            let of = self.eval(of)?;
            let given = self.given(args)?;
            return match &of {
                Value::Loop(state) => self.loop_call(state, name, &given),
                Value::Turns(turns) => turns.method(name),
                Value::Namespace(_) => {
                    let function = self.attribute(&of, name)?;
                    self.call(&function, &given)
                }
                _ => self.method(&of, name, &given),
            };
        }
        let function = self.eval(callee)?;
        let given = self.given(args)?;
        if let (Value::Undefined, Expr::Name(name)) = (&function, callee) {
            return Err(runtime(format!("function {name:?} is undefined")));
        }
        self.call(&function, &given)
    }

    fn loop_call(&mut self, state: &Rc<Loop>, name: &str, given: &Given) -> Result<Value> {
        match name {
            "cycle" if !given.positional.is_empty() => {
                Ok(given.positional[state.index % given.positional.len()].clone())
            }
            "changed" => {
                let now = Value::sequence(&self.meter, given.positional.clone(), true)?;
                let same = match &*state.last_changed.borrow() {
                    Some(before) => before.equals(&now, &self.meter)?,
                    None => false,
                };
                *state.last_changed.borrow_mut() = Some(now);
                Ok(Value::Bool(!same))
            }
            _ => Err(TextError::Unsupported {
                what: "chat template method",
                found: format!("loop.{}", crate::error::short(name)),
            }),
        }
    }

    /// `of.name`
    pub(super) fn attribute(&mut self, of: &Value, name: &str) -> Result<Value> {
        Ok(match of {
            Value::Undefined => return Err(runtime(format!("an undefined value has no attribute {name:?}"))),
            // Python finds a dict's method before its key.
            Value::Map(_) if DICT_METHODS.contains(&name) => {
                DICT_METHODS.iter().find(|m| **m == name).map_or(Value::Undefined, |m| Value::Method(m))
            }
            Value::Map(map) => {
                self.meter.tick(map.entries.len() / 16)?;
                map.get_str(name).cloned().unwrap_or(Value::Undefined)
            }
            Value::Namespace(fields) => {
                let fields = fields.fields.borrow();
                fields.iter().find(|(k, _)| k == name).map_or(Value::Undefined, |(_, v)| v.clone())
            }
            Value::Turns(turns) => turns.attribute(name),
            Value::Loop(state) => {
                let (at, n) = (state.index, state.items.items.len());
                let neighbour = |at: Option<usize>| {
                    at.and_then(|at| state.items.items.get(at)).cloned().unwrap_or(Value::Undefined)
                };
                match name {
                    "index" => Value::Int(at as i128 + 1),
                    "index0" => Value::Int(at as i128),
                    "revindex" => Value::Int((n - at) as i128),
                    "revindex0" => Value::Int((n - at) as i128 - 1),
                    "first" => Value::Bool(at == 0),
                    "last" => Value::Bool(at + 1 == n),
                    "length" => Value::Int(n as i128),
                    "depth" => Value::Int(state.depth as i128 + 1),
                    "depth0" => Value::Int(state.depth as i128),
                    "previtem" => neighbour(at.checked_sub(1)),
                    "nextitem" => neighbour(at.checked_add(1)),
                    _ => Value::Undefined,
                }
            }
            Value::Macro(index, _) => match (self.ast.macros.get(*index), name) {
                (Some(of), "name") => Value::str(&self.meter, &of.name)?,
                (Some(of), "arguments") => {
                    let names =
                        of.params.iter().map(|(name, _)| Value::str(&self.meter, name)).collect::<Result<_>>()?;
                    Value::sequence(&self.meter, names, true)?
                }
                (Some(of), "catch_kwargs") => Value::Bool(of.uses.kwargs),
                (Some(of), "catch_varargs") => Value::Bool(of.uses.varargs),
                (Some(of), "caller") => Value::Bool(of.uses.caller),
                _ => Value::Undefined,
            },
            _ => Value::Undefined,
        })
    }
}
