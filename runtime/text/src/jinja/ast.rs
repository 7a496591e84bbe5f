//! The syntax tree: plain data, so that a compiled template can be shared among threads.

/// An expression.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Const(Const),
    Name(String),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Neg(Box<Expr>),
    Pos(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    /// `a < b <= c`
    Compare(Box<Expr>, Vec<(Cmp, Expr)>),
    /// `then if condition else otherwise`
    If {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Option<Box<Expr>>,
    },
    Attr(Box<Expr>, String),
    Item(Box<Expr>, Box<Expr>),
    Slice {
        of: Box<Expr>,
        start: Option<Box<Expr>>,
        stop: Option<Box<Expr>>,
        step: Option<Box<Expr>>,
    },
    Call {
        callee: Box<Expr>,
        args: Args,
    },
    Filter {
        of: Box<Expr>,
        name: String,
        args: Args,
    },
    Test {
        of: Box<Expr>,
        name: String,
        args: Args,
        negated: bool,
    },
}

/// A literal.
#[derive(Debug, Clone)]
pub(crate) enum Const {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
}

/// Operators that take two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
    Concat,
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

impl Expr {
    /// Whether Jinja computes it before rendering: it names nothing and calls nothing; filters and tests only if `filters`.
    pub(crate) fn is_constant(&self, filters: bool) -> bool {
        let constant = |e: &Expr| e.is_constant(filters);
        let all = |list: &[Expr]| list.iter().all(constant);
        let args = |args: &Args| {
            let more = args.spread.iter().chain(&args.named_spread).all(|e| constant(e));
            all(&args.positional) && args.named.iter().all(|(_, e)| constant(e)) && more
        };
        match self {
            Self::Const(_) => true,
            Self::Name(_) | Self::Call { .. } => false,
            Self::List(items) | Self::Tuple(items) => all(items),
            Self::Dict(entries) => entries.iter().all(|(k, v)| constant(k) && constant(v)),
            Self::Not(of) | Self::Neg(of) | Self::Pos(of) | Self::Attr(of, _) => constant(of),
            Self::And(a, b) | Self::Or(a, b) | Self::Binary(_, a, b) | Self::Item(a, b) => constant(a) && constant(b),
            Self::Compare(first, links) => constant(first) && links.iter().all(|(_, e)| constant(e)),
            Self::If { condition, then, otherwise } => {
                constant(condition) && constant(then) && otherwise.iter().all(|e| constant(e))
            }
            Self::Slice { of, start, stop, step } => {
                constant(of) && [start, stop, step].into_iter().flatten().all(|e| constant(e))
            }
            // These see the variables.
            Self::Filter { name, .. }
                if matches!(&**name, "map" | "select" | "reject" | "selectattr" | "rejectattr") =>
            {
                false
            }
            Self::Filter { of, args: given, .. } | Self::Test { of, args: given, .. } => {
                filters && constant(of) && args(given)
            }
        }
    }
}

/// Arguments of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Args {
    pub positional: Vec<Expr>,
    pub named: Vec<(String, Expr)>,
    /// `*list`
    pub spread: Option<Box<Expr>>,
    /// `**dict`
    pub named_spread: Option<Box<Expr>>,
}

/// What is assigned to.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Name(String),
    Tuple(Vec<Target>),
    /// `namespace.attribute`
    Attr(String, String),
}

/// Whether what stands at a place of the source is escaped when it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Escape {
    #[default]
    Off,
    On,
    /// An expression says. What Jinja computes before rendering does not know what, and goes by the place around.
    AsEvaluated {
        constants: bool,
    },
}

/// A statement.
#[derive(Debug, Clone)]
pub(crate) struct Stmt {
    pub line: usize,
    pub kind: StmtKind,
}

#[derive(Debug, Clone)]
pub(crate) enum StmtKind {
    Data(String),
    Emit(Expr),
    /// Conditions in order; the last branch may have none.
    If(Vec<(Option<Expr>, Vec<Stmt>)>),
    For(Box<For>),
    Set(Target, Expr),
    SetBlock {
        target: Target,
        filters: Vec<(String, Args)>,
        body: Vec<Stmt>,
    },
    With {
        bindings: Vec<(String, Expr)>,
        body: Vec<Stmt>,
    },
    FilterBlock {
        filters: Vec<(String, Args)>,
        body: Vec<Stmt>,
    },
    /// What is written inside is escaped, or not.
    Autoescape {
        value: Expr,
        escape: Escape,
        body: Vec<Stmt>,
    },
    /// A block without effect of its own.
    Plain(Vec<Stmt>),
    /// Index into the template's macros.
    Macro(usize),
    CallBlock {
        callee: usize,
        call: Expr,
    },
    /// A named block. Nothing extends a chat template, so it stands where it is written; it sees the variables around it only
    /// where it says `scoped`.
    Block {
        scoped: bool,
        body: Vec<Stmt>,
    },
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(crate) struct For {
    pub target: Target,
    pub iter: Expr,
    pub condition: Option<Expr>,
    pub body: Vec<Stmt>,
    pub otherwise: Vec<Stmt>,
    /// Whether `loop(items)` in it runs it again, a level deeper.
    pub recursive: bool,
    pub escape: Escape,
}

#[derive(Debug, Clone)]
pub(crate) struct Macro {
    pub name: String,
    pub params: Vec<(String, Option<Expr>)>,
    pub body: Vec<Stmt>,
    pub uses: Uses,
    pub escape: Escape,
}

/// Which of the names that stand for what a call brings besides the parameters occur in a macro. One that does not occur is
/// not accepted in a call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Uses {
    pub varargs: bool,
    pub kwargs: bool,
    pub caller: bool,
}

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Ast {
    pub body: Vec<Stmt>,
    pub macros: Vec<Macro>,
}
