//! Sources that mostly parse: statements and expressions by the language's own grammar.

use std::fmt::Write;

use crate::bytes::Choices;

const NAMES: &[&str] = &[
    "messages",
    "messages[1].content",
    "messages[2]",
    "m",
    "x",
    "x.a",
    "x.b",
    "ns.v",
    "tools",
    "loop.index",
    "loop",
    "bos_token",
    "undefined_name",
    "a",
    "b",
    "add_generation_prompt",
    "messages[0]['role']",
];

const FILTERS: &[&str] = &[
    "trim",
    "upper",
    "lower",
    "title",
    "capitalize",
    "length",
    "tojson",
    "tojson(indent=2)",
    "list",
    "first",
    "last",
    "reverse",
    "join",
    "join(', ')",
    "join('|', attribute='role')",
    "string",
    "int",
    "float",
    "abs",
    "round(1)",
    "sort",
    "sort(reverse=true)",
    "unique",
    "sum",
    "min",
    "max",
    "items",
    "dictsort",
    "default('d')",
    "default('d', true)",
    "replace('l', 'L')",
    "indent(2)",
    "indent(3, true)",
    "map(attribute='role')",
    "map('upper')",
    "selectattr('role')",
    "selectattr('role', 'equalto', 'user')",
    "rejectattr('name', 'defined')",
    "select('string')",
    "reject('none')",
    "safe",
    "escape",
    "format(1)",
    "batch(2)",
    "slice(2)",
    "groupby('role')",
    "wordcount",
    "truncate(5)",
    "center(9)",
    "striptags",
    "urlencode",
    "wordwrap(5)",
    "xmlattr",
    "pprint",
    "filesizeformat",
    "random",
    "forceescape",
    "nonsense",
];

const METHODS: &[&str] = &[
    "strip()",
    "lstrip('H')",
    "rstrip()",
    "split()",
    "split('é')",
    "split('\n', 1)",
    "startswith('H')",
    "endswith('x')",
    "upper()",
    "lower()",
    "title()",
    "capitalize()",
    "replace('H', 'J')",
    "items()",
    "keys()",
    "values()",
    "get('role')",
    "get('zz', 'd')",
    "format(1, a=2)",
    "join(['a', 'b'])",
    "find('H')",
    "count('H')",
    "index('H')",
    "splitlines()",
    "append(1)",
    "pop()",
    "rsplit('H')",
    "zfill(9)",
    "removeprefix('H')",
    "isdigit()",
    "center(9)",
    "encode()",
    "copy()",
];

const TESTS: &[&str] = &[
    "defined",
    "undefined",
    "none",
    "string",
    "mapping",
    "sequence",
    "iterable",
    "number",
    "integer",
    "float",
    "boolean",
    "true",
    "false",
    "odd",
    "even",
    "divisibleby(2)",
    "eq(1)",
    "ne('a')",
    "lt(3)",
    "in ['user', 1]",
    "sameas none",
    "upper",
    "lower",
    "callable",
    "ge 2",
    "filter",
    "test",
];

const BINARY: &[&str] =
    &["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"];

/// A source.
pub fn template(c: &mut Choices<'_>) -> String {
    let mut out = String::from("{%- set ns = namespace(v=1) -%}");
    for _ in 0..1 + c.below(6) {
        statement(c, &mut out, 0);
    }
    if c.once_in(6) {
        let cut = (0..=c.below(out.len())).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        let rest = out.split_off(cut);
        out.push_str(c.word(&["{{", "%}", "'", "(", "|", "-", "é", "[::", "**", "{#", "#}", "{%", "}}", " is ", "\n"]));
        out.extend(rest.chars().skip(c.below(9)));
    }
    out
}

fn statement(c: &mut Choices<'_>, out: &mut String, depth: usize) {
    let kind = if depth > 3 { c.below(3) } else { c.below(14) };
    let (open, close) = (c.word(&["{%", "{%-", "{%+"]), c.word(&["%}", "-%}", "+%}"]));
    let tag = |out: &mut String, text: &str| {
        let _ = write!(out, "{open} {text} {close}");
    };
    match kind {
        0 => {
            let text = c.text(6);
            let _ = write!(out, "{}\n  ", text.replace(['{', '\u{e000}'], " "));
        }
        1 | 2 => {
            let _ = write!(out, "{{{{ {} }}}}", expression(c, 0));
        }
        3 | 4 => {
            tag(out, &format!("if {}", expression(c, 1)));
            body(c, out, depth);
            if c.once_in(2) {
                tag(out, &format!("elif {}", expression(c, 1)));
                body(c, out, depth);
            }
            if c.once_in(2) {
                tag(out, "else");
                body(c, out, depth);
            }
            tag(out, "endif");
        }
        5..=7 => {
            let target = c.word(&["m", "a, b", "m", "a"]);
            let (of, condition) = (expression(c, 2), if c.once_in(4) { " if m" } else { "" });
            let recursive = if c.once_in(8) { " recursive" } else { "" };
            tag(out, &format!("for {target} in {of}{condition}{recursive}"));
            body(c, out, depth);
            if c.once_in(4) {
                tag(out, c.word(&["break", "continue"]));
            }
            if c.once_in(6) {
                tag(out, "else");
                body(c, out, depth);
            }
            tag(out, "endfor");
        }
        8 | 9 => {
            let target = c.word(&["a", "b", "ns.v", "a, b", "x"]);
            tag(out, &format!("set {target} = {}", expression(c, 1)));
        }
        10 => {
            tag(out, &format!("set a{}", c.word(&["", " | upper", " | trim"])));
            body(c, out, depth);
            tag(out, "endset");
        }
        11 => {
            tag(out, &format!("macro f{depth}(a, b={})", expression(c, 2)));
            body(c, out, depth);
            tag(out, "endmacro");
            if c.once_in(2) {
                let _ = write!(out, "{{{{ f{depth}({}) }}}}", expression(c, 2));
            } else {
                tag(out, &format!("call f{depth}({})", expression(c, 2)));
                body(c, out, depth);
                tag(out, "endcall");
            }
        }
        12 => {
            let name = c.pick(&[
                "filter upper",
                "filter indent(2)",
                "generation",
                "with a = messages",
                "raw",
                "autoescape false",
                "block q",
            ]);
            let end = name.split(' ').next().unwrap_or_default();
            tag(out, name);
            body(c, out, depth);
            tag(out, &format!("end{end}"));
        }
        _ => {
            let of = expression(c, 1);
            tag(out, &format!("{} {of}", c.word(&["include", "import", "do", "extends", "print", "debug"])));
        }
    }
}

fn body(c: &mut Choices<'_>, out: &mut String, depth: usize) {
    for _ in 0..c.below(4) {
        statement(c, out, depth + 1);
    }
}

fn expression(c: &mut Choices<'_>, depth: usize) -> String {
    if depth > 4 {
        return c.word(NAMES).to_string();
    }
    let sub = |c: &mut Choices<'_>| expression(c, depth + 1);
    match c.below(18) {
        0..=3 => c.word(NAMES).to_string(),
        4 => format!("'{}'", c.text(5).replace(['\'', '\\', '\u{e000}'], "")),
        5 => c.word(&["0", "1", "-1", "2.5", "1e3", "true", "none", "10 ** 12", "''", "[]", "{}"]).to_string(),
        6 => format!("[{}, {}]", sub(c), sub(c)),
        7 => format!("{{'k': {}, 'role': {}}}", sub(c), sub(c)),
        8 | 9 => format!("({}) | {}", sub(c), c.word(FILTERS)),
        10 => format!("({}).{}", sub(c), c.word(METHODS)),
        11 => format!("({}) is {}{}", sub(c), c.word(&["", "not "]), c.word(TESTS)),
        12 | 13 => format!("{} {} {}", sub(c), c.word(BINARY), sub(c)),
        14 => format!("{} if {} else {}", sub(c), sub(c), sub(c)),
        15 => format!("({})[{}]", sub(c), c.word(&["0", "-1", "1:", ":-1", "::-1", "::2", "'role'", "1:1", ":99"])),
        16 => format!("{} {}", c.word(&["not", "-", "+"]), sub(c)),
        _ => c
            .word(&[
                "range(3)",
                "range(1, 9, 2)",
                "namespace(v=2)",
                "dict(a=1)",
                "strftime_now('%d %b')",
                "loop.cycle(1, 2)",
                "caller()",
                "joiner()",
                "cycler(1)",
                "lipsum()",
                "raise_exception('e')",
            ])
            .to_string(),
    }
}
