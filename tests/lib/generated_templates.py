"""Templates by the language's own grammar, one expression or statement each, so that a difference names its cause."""

import random

NAMES = [
    "s", "t", "n", "f", "l", "d", "m", "e", "b", "u.missing", "missing", "none", "messages", "d.a", "d['b']", "m[0].role", "l[0]", "words",
    "messages[0].content", "true", "deep",
]
TEXTS = ["''", "'a'", "'Hello, World'", "'é ß ŉ ǆ'", "'  x\\ty \\n'", "'a,b,,c'", "'%s-%s'", "'it\\'s'", "'12'", "' 3.5 '", "'<b>&\"'", "'ÀÉÎ'", "'они'", "'a\\nb\\r\\nc\\n'", "'x' * 3", "'Straße ﬁ'"]
NUMBERS = ["0", "1", "-1", "3", "7", "2.5", "-2.5", "0.1", "1e3", "1e16", "1e22", "1.5e-7", "10 ** 20", "1_000", "True", "0.5", "1.0", "100"]
FILTERS = [
    "trim", "upper", "lower", "title", "capitalize", "length", "count", "tojson", "tojson(indent=2)", "tojson(indent=4, ensure_ascii=true)", "tojson(sort_keys=true)",
    "tojson(separators=(',', ':'))", "list", "first", "last", "reverse | list", "join", "join(', ')", "join('|', attribute='role')", "string", "int", "int(5)", "float",
    "float(1.5)", "abs", "round", "round(1)", "round(1, 'floor')", "round(0, 'ceil')", "sort", "sort(reverse=true)", "sort(attribute='role')", "sort(case_sensitive=true)",
    "unique | list", "sum", "min", "max", "items | list", "dictsort", "dictsort(by='value')", "dictsort(reverse=true)", "default('d')", "default('d', true)",
    "d", "default(1, boolean=true)", "replace('l', 'L')", "replace('', '-')", "replace('a', 'b', 1)", "indent", "indent(2, true)", "indent('> ')", "indent(2, false, true)",
    "map(attribute='role') | list", "map('upper') | list", "map('length') | list", "map('default', 'x') | list", "map(attribute='zz', default=0) | list",
    "selectattr('role') | list", "selectattr('role', 'equalto', 'user') | list", "rejectattr('name', 'defined') | list", "select('string') | list", "reject('none') | list",
    "select | list", "select('in', ['a', 1]) | list", "safe", "escape", "e", "safe + '<'", "format(1)", "format('a', 'b')", "string | length", "tojson | length", "trim('lHe')",
    "batch(2) | list", "batch(2, '-') | list", "slice(2) | list", "slice(3, 0) | list", "groupby('role') | list", "wordcount", "truncate(5)", "truncate(8, true, '')",
    "center(20)", "striptags", "urlencode", "wordwrap(5)", "pprint", "forceescape", "map('first') | list", "first | upper", "last | string", "attr('role')", "attr('upper')",
    "max(attribute='role')", "unique(attribute='role') | list", "sum(attribute='n')", "sum(start=2)", "sort(attribute='role,content')", "filesizeformat",
]
METHODS = [
    "strip()", "lstrip('H')", "rstrip()", "strip('dH')", "split()", "split(',')", "split(None, 1)", "split(',', 1)", "rsplit(',', 1)", "split(' ', maxsplit=1)", "rsplit(None, 1)",
    "startswith('H')", "endswith(('x', 'd'))", "upper()", "lower()", "title()", "capitalize()", "replace('l', '')", "replace('l', 'L', 1)", "items() | list",
    "keys() | list", "values() | list", "get('a')", "get('zz', 'd')", "get('zz')", "format(1, a=2)", "join(['a', 'b'])", "join('xy')", "find('l')", "rfind('l')", "count('l')",
    "index('l')", "splitlines()", "splitlines(true)", "isdigit()", "isalpha()", "isalnum()", "isspace()", "isupper()", "islower()", "istitle()", "isnumeric()", "isdecimal()",
    "removeprefix('He')", "removesuffix('ld')", "zfill(7)", "center(9)", "center(9, '*')", "ljust(8, '.')", "rjust(8)", "swapcase()", "partition(',')", "rpartition(',')",
    "casefold()", "expandtabs(4)", "isidentifier()", "copy()", "count(1)", "index(1)", "append(1)", "pop()", "update({})", "encode()", "startswith('e', 1)", "find('l', 3)", "count('')",
    "find('')", "split('')", "items", "real", "__class__", "translate({})", "isascii()", "bit_length()", "is_integer()", "keys()", "values()", "items()",
]
TESTS = [
    "defined", "undefined", "none", "string", "mapping", "sequence", "iterable", "number", "integer", "float", "boolean", "true", "false", "odd", "even", "divisibleby(2)",
    "divisibleby 3", "eq(1)", "ne('a')", "lt(3)", "in ['user', 1]", "in 'Hello'", "sameas none", "sameas true", "upper", "lower", "callable", "ge 2", "equalto 1", "gt(1)", "le 2.5",
    "filter", "test", "escaped", "greaterthan 1", "lessthan(2)", "in d",
]
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or", "+", "~", "=="]
SUBSCRIPTS = ["0", "-1", "1:", ":-1", "::-1", "::2", "'role'", "1:1", ":99", "-2:", "5", "-9", "'a'", "1:3", "-1:0:-1", "none", "1.5", "true", "::0", "b", "0:n"]
CALLS = [
    "range(3) | list", "range(1, 9, 3) | list", "range(5, 0, -2) | list", "range(0) | list", "namespace(v=2).v", "dict(a=1, b=[2])", "dict({'x': 1}, y=2)", "strftime_now('%d %b %Y %H:%M')",
    "strftime_now('%A %B %-d %j %y %I %p %U %W %w %%')", "range(3)", "namespace", "cycler(1, 2).next()", "joiner('-')()", "strftime_now('%Y-%m-%d %c %x %X %e %k %l %Z %z %f %G %V %u %C %h %n %t %s %D %F %T %R %r %P %E')",
]

CONTEXT = {
    "s": "Hello, World", "t": " ünï \n\ttext ", "n": 7, "f": 2.5, "l": [3, 1, 2], "d": {"a": 1, "b": [1, "x"], "c d": None}, "e": [], "b": False,
    "m": [{"role": "user", "content": "Hi", "n": 1}, {"role": "tool", "content": None, "n": 2.5}, {"role": "user", "content": "ß"}], "u": {}, "words": ["b", "A", "c", "é", "B", ""],
    "deep": {"x": {"y": [{"z": 1}, []], "w": {}}, "é": "\u0001\u007f\u2028\U0001f600'\"\\"},
}


class Source:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def expr(self, depth=0):
        r, sub = self.r, lambda: self.expr(depth + 1)
        if depth > 2:
            return r.choice([r.choice(NAMES), r.choice(TEXTS), r.choice(NUMBERS)])
        kind = r.randrange(22)
        if kind < 2:
            return r.choice(NAMES)
        if kind == 2:
            return r.choice(TEXTS)
        if kind == 3:
            return r.choice(NUMBERS)
        if kind == 4:
            return r.choice([f"[{sub()}, {sub()}]", f"({sub()}, {sub()})", f"({sub()},)", "[]", "()", "{}", f"{{'k': {sub()}, {r.choice(TEXTS)}: {sub()}}}", f"{{1: {sub()}, true: 2, none: 3}}"])
        if kind < 9:
            return f"({sub()}) | {r.choice(FILTERS)}"
        if kind < 12:
            return f"({sub()}).{r.choice(METHODS)}"
        if kind < 14:
            return f"({sub()}) is {r.choice(['', 'not '])}{r.choice(TESTS)}"
        if kind < 17:
            return f"{sub()} {r.choice(BINARY)} {sub()}"
        if kind == 17:
            return r.choice([f"{sub()} if {sub()} else {sub()}", f"{sub()} if {sub()}"])
        if kind == 18:
            return f"({sub()})[{r.choice(SUBSCRIPTS)}]"
        if kind == 19:
            return f"{r.choice(['not', '-', '+'])} {sub()}"
        if kind == 20:
            return r.choice(CALLS)
        return f"{sub()} {r.choice(['<', '==', '>='])} {sub()} {r.choice(['<', '!=', '<='])} {sub()}"

    def statement(self, depth=0):
        r = self.r
        body = lambda: "".join(self.statement(depth + 1) for _ in range(r.randrange(3))) if depth < 3 else "."
        o, c = r.choice(["{%", "{%-", "{%+", "{%"]), r.choice(["%}", "-%}", "+%}", "%}"])
        tag = lambda text: f"{o} {text} {c}"
        kind = r.randrange(19) if depth < 3 else r.randrange(4)
        if kind == 0:
            return r.choice(["text", "\n", "  \n", " a \n  b", "\n\n", "\t", "é", "{", "}}", "#", "{ {"])
        if kind < 3:
            return "{{" + r.choice(["", "-", ""]) + f" {self.expr(1)} " + r.choice(["", "-", ""]) + "}}"
        if kind == 3:
            return r.choice(["{# c #}", "{#- c -#}", "\n  {# c #}\n", "{# {{ x }} #}", "{#+ c +#}"])
        if kind < 6:
            middle = (tag(f"elif {self.expr(1)}") + body() if r.random() < 0.4 else "") + (tag("else") + body() if r.random() < 0.5 else "")
            return tag(f"if {self.expr(1)}") + body() + middle + tag("endif")
        if kind < 10:
            head = r.choice(["x", "x, y", "a, (b, c)", "x"]) if r.random() < 0.3 else "x"
            over = r.choice(["l", "m", "s", "d", "d.items()", "range(3)", "words", "e", "missing", self.expr(2), "m | selectattr('n', 'defined')", "[1, [2, [3]]]"])
            head += f" in {over}" + r.choice(["", "", " if x", " if loop.first", " if x is string"]) + r.choice(["", "", " recursive"])
            inner = r.choice(["{{ loop.index }}", "{{ loop.last }},", "{{ x }};", "{{ loop.previtem }}", "{{ loop.nextitem }}", "{{ loop.cycle('a', 'b') }}", "{{ loop.changed(x) }}",
                              "{{ loop.depth0 }}{{ loop(x) if x is sequence and x is not string }}", "{{ loop.revindex0 }}{{ loop.length }}", "{{ loop }}", "{% set q = x %}"])
            end = (tag(r.choice(["if loop.index > 1"])) + tag(r.choice(["break", "continue"])) + tag("endif") if r.random() < 0.3 else "")
            return tag(f"for {head}") + inner + end + body() + (tag("else") + "none" if r.random() < 0.3 else "") + tag("endfor")
        if kind < 12:
            return tag(f"set {r.choice(['q', 's', 'q, w', 'ns.v', 'l'])} = {self.expr(1)}") + r.choice(["", "{{ q }}", "{{ ns.v }}"])
        if kind == 12:
            return tag("set q" + r.choice(["", " | upper", " | trim | length"])) + body() + tag("endset") + "[{{ q }}]"
        if kind == 13:
            call = r.choice(["{{ f(1) }}", "{{ f(b=2, a='é') }}", "{{ f() }}", "{{ f(1, 2, 3) }}", "{% call f(1) %}in{% endcall %}", "{% call(z) f(2) %}{{ z }}{% endcall %}", "{{ f(1, k=4) }}", "{{ f.name }}{{ f.arguments }}"])
            inner = r.choice(["{{ a }}{{ b }}", "{{ varargs }}{{ kwargs }}", "{{ caller('Z') if caller else a }}", "{{ s }}{{ q }}{{ x }}", "{{ caller() }}"])
            return tag(f"macro f(a, b={self.expr(2)})") + inner + body() + tag("endmacro") + call
        if kind == 14:
            return tag(r.choice(["filter upper", "filter indent(2)", "filter trim | length", "filter replace('a', 'b')"])) + body() + tag("endfilter")
        if kind == 15:
            return r.choice([tag("generation") + body() + tag("endgeneration"), tag("raw") + "{{ x }}{% if %}" + tag("endraw"), tag("with q = 1, w = q") + "{{ q }}{{ w }}" + body() + tag("endwith"),
                             tag("block bb") + body() + tag("endblock"), tag("autoescape true") + "{{ '<' }}" + tag("endautoescape"), tag(f"print {self.expr(1)}")])
        if kind == 16:
            flag = r.choice(["true", "true", "false", "b", "n > 1", "not b", "none"])
            inner = r.choice(["{{ '<' ~ ('>'|safe) ~ s }}", "{{ ['<', '&'|safe] | join('>') }}", "{{ t | replace('t', '<') }}", "{{ ('<%s>'|safe) % '&' }}", "{{ x ~ ('<i>'|e) }}", "{{ d }}", "{{ ('<'|safe) + '&' }}"])
            return tag(f"autoescape {flag}") + inner + body() + tag("endautoescape")
        if kind == 17:
            text = r.choice(["'a-b--c well-known ' ~ s", "'x' * 30 ~ ' ' ~ t", "'one two-three -- four, five---six\\n\\n  seven' ", "s ~ ' <b>&lt;' ~ t ~ '<!-- x -->&amp;&eacute;&#x41;'", "s ~ '\\u00a0a\\u00e9-\\u00df\\u00e9 1-2'"])
            return "{{ (" + text + ") | " + r.choice([f"wordwrap({r.randrange(1, 12)})", f"wordwrap({r.randrange(1, 9)}, false)", f"wordwrap({r.randrange(1, 9)}, wrapstring='<br>')", f"wordwrap({r.randrange(1, 9)}, true, '|', false)", "striptags", "pprint", "list | pprint", "forceescape", "e | striptags | e"]) + " }}" + r.choice(["", "{{ (m + [d, deep] * 3) | pprint }}", "{{ {'k': m, 1: (s * 9, l), none: (t * 20).split()} | pprint }}", "{{ [s * 12, (s ~ t) * 9] | pprint }}"])
        return tag("set ns = namespace(v=1)") + tag("for i in l") + tag("set ns.v = ns.v + i") + tag("endfor") + "{{ ns.v }}"


def cases(n, seed, now):
    for i in range(n):
        source = Source(f"{seed}/{i}")
        text = "{{ " + source.expr() + " }}" if i % 2 else "{% set ns = namespace(v=0) %}" + "".join(source.statement() for _ in range(1 + i % 3))
        yield {"place": text if len(text) < 600 else text[:600] + "...", "template": text, "messages": [{"role": "user", "content": "Hi"}], "variables": CONTEXT, "now": now}
