//! Templates made to hurt end in an error, soon, on a small stack.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail loudly too.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tern_text::{ChatTemplate, Message, RenderOptions, TextError};

/// Half of what WebAssembly and Windows give a main thread.
const STACK: usize = 512 << 10;

fn render(source: String, message: Message) -> Result<String, TextError> {
    let thread = std::thread::Builder::new().stack_size(STACK);
    let run = move || ChatTemplate::new(&source)?.render(&[message], &RenderOptions::default());
    thread.spawn(run).unwrap().join().unwrap()
}

fn check(name: &str, source: String, message: Message) {
    let start = Instant::now();
    match render(source, message) {
        Err(TextError::TemplateLimit { .. }) => {}
        other => panic!("{name}: {:?}", other.map(|s| s.len())),
    }
    // Generous: a loaded machine, a build without optimization. Without limits these would not end at all.
    assert!(start.elapsed() < Duration::from_secs(60), "{name}: {:?}", start.elapsed());
}

#[test]
fn endless_and_growing_templates_end() {
    let forever = |body: &str| {
        format!(
            "{{% set ns = namespace(s='x', l=[1], m={{}}) %}}{{% for i in range(100000) %}}{body}{{% endfor %}}{{{{ ns.s | length }}}}"
        )
    };
    let cases = [
        ("nested loops", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_string()),
        ("huge range", "{% for a in range(10 ** 18) %}{% endfor %}".into()),
        ("doubled by ~", forever("{% set ns.s = ns.s ~ ns.s %}")),
        ("doubled by +", forever("{% set ns.s = ns.s + ns.s %}")),
        ("doubled by *", forever("{% set ns.s = ns.s * 9 %}")),
        ("one product", "{{ 'abc' * 10 ** 15 }}".into()),
        ("empty product", "{{ '' * 10 ** 15 }}".into()),
        ("list product", "{{ [1] * 10 ** 15 }}".into()),
        ("doubled by replace", forever("{% set ns.s = ns.s | replace('x', 'xx') %}")),
        ("doubled by join", forever("{% set ns.s = [ns.s, ns.s] | join(ns.s) %}")),
        ("doubled by format", forever("{% set ns.s = '%s%s' | format(ns.s, ns.s) %}")),
        ("doubled by a block", forever("{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}")),
        ("doubled by a macro", format!("{{% macro m(s) %}}{{{{ s }}}}{{{{ s }}}}{{% endmacro %}}{}", forever("{% set ns.s = m(ns.s) %}"))),
        ("doubled by json", forever("{% set ns.s = ns.s | tojson | tojson %}")),
        ("doubled by wrapping", forever("{% set ns.s = (ns.s ~ ns.s) | wordwrap(1) %}")),
        ("doubled by escaping", "{% set ns = namespace(s='&') %}{% autoescape true %}{% for i in range(100000) %}{% set ns.s = (ns.s | string) | forceescape %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{% endautoescape %}".into()),
        ("printed for people", forever("{% set ns.l = [ns.l, ns.l] %}{% if i == 60 %}{{ ns.l | pprint }}{% endif %}")),
        ("wrapped again and again", "{% set x = 'a b-c ' * 200000 %}{% for i in range(100000) %}{% set y = x | wordwrap(7) %}{% endfor %}".into()),
        ("stripped again and again", "{% set x = '<a>&amp;b ' * 200000 %}{% for i in range(100000) %}{% set y = x | striptags %}{% endfor %}".into()),
        ("doubled list", forever("{% set ns.l = ns.l + ns.l %}")),
        ("deep list", forever("{% set ns.l = [ns.l] %}")),
        ("deep map", forever("{% set ns.m = {'m': ns.m} %}")),
        ("wide sharing", forever("{% set ns.l = [ns.l, ns.l] %}{% if i == 60 %}{{ ns.l }}{% endif %}")),
        ("wide equality", forever("{% set ns.l = [ns.l, ns.l] %}{% if i == 60 %}{% set n = namespace(l=[1]) %}{% for j in range(61) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l == ns.l }}{% endif %}")),
        ("output", "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}".into()),
        ("recursion", "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}".into()),
        ("mutual recursion", "{% macro a() %}{% if true %}{{ [b()] | first }}{% endif %}{% endmacro %}{% macro b() %}{{ a() | upper }}{% endmacro %}{{ a() }}".into()),
        ("caller recursion", "{% macro a() %}{% call a() %}{{ caller() }}{% endcall %}{% endmacro %}{{ a() }}".into()),
        ("loop recursion", "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}".into()),
        ("wide loop recursion", "{% for x in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}".into()),
        ("closures", format!("{{% for i in [1] %}}{}{{% endfor %}}", "{% macro m() %}{{ m }}{% endmacro %}".repeat(20_000))),
        ("padding", "{{ 'x'.center(10 ** 15) }}".into()),
        ("zeros", "{{ '-'.zfill(10 ** 15) }}".into()),
        ("batches", "{{ [1] | batch(10 ** 15, 0) | list }}".into()),
        ("slices", "{{ [1] | slice(10 ** 15) | list }}".into()),
        ("parentheses", format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000))),
        ("brackets", format!("{{{{ {}{} }}}}", "[".repeat(100_000), "]".repeat(100_000))),
        ("braces", format!("{{{{ {}1{} }}}}", "{1:".repeat(100_000), "}".repeat(100_000))),
        ("nots", format!("{{{{ {}1 }}}}", "not ".repeat(100_000))),
        ("minus", format!("{{{{ {}1 }}}}", "-".repeat(100_000))),
        ("chain", format!("{{{{ 1{} }}}}", " + 1".repeat(100_000))),
        ("attributes", format!("{{{{ a{} }}}}", ".a".repeat(100_000))),
        ("filters", format!("{{{{ 1{} }}}}", "|abs".repeat(100_000))),
        ("conditions", format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(50_000))),
        ("blocks", "{% if true %}".repeat(50_000)),
    ];
    for (name, source) in cases {
        check(name, source, Message::new("user", "x"));
    }
}

#[test]
fn deep_input_ends() {
    let mut deep = json!(1);
    for _ in 0..2000 {
        deep = json!([deep]);
    }
    check(
        "deep content",
        "{{ messages }}".into(),
        Message { role: "user".into(), content: deep.clone(), extra: Default::default() },
    );
    // The value itself unwinds level by level, on a thread that has room.
    std::thread::Builder::new().stack_size(8 << 20).spawn(move || drop(deep)).unwrap().join().unwrap();
    let mut fits = json!("leaf");
    for _ in 0..90 {
        fits = json!({ "k": fits });
    }
    let text = render("{{ messages[0].content | tojson }}".into(), Message::new("user", fits)).unwrap();
    assert!(text.contains("leaf"));
}

#[test]
fn what_is_nested_as_deep_as_allowed_fits_the_stack() {
    let mut accepted = 0;
    for depth in 1..200 {
        for source in [
            format!("{{{{ {}1{} }}}}", "(".repeat(depth), ")".repeat(depth)),
            format!("{{{{ {}1{} }}}}", "[".repeat(depth), "]".repeat(depth)),
            format!("{}x{}", "{% for i in [1] %}".repeat(depth), "{% endfor %}".repeat(depth)),
            format!(
                "{{% macro m(n) %}}{{% if n %}}{{{{ [m(n - 1)] | map('upper') | join('') ~ {}'x'{} }}}}{{% endif %}}{{% endmacro %}}{{{{ m({depth}) }}}}",
                "(".repeat(20),
                ")".repeat(20)
            ),
        ] {
            match render(source, Message::new("user", "")) {
                Ok(_) => accepted += 1,
                Err(TextError::TemplateLimit { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(accepted > 100, "{accepted}");
}

#[test]
fn a_long_conversation_is_no_attack() {
    let messages: Vec<Message> =
        (0..2000).map(|i| Message::new(if i % 2 == 0 { "user" } else { "assistant" }, "word ".repeat(200))).collect();
    let source = "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + '<|' + m.role + '|>' + m.content | trim %}{% endfor %}{{ ns.t }}";
    let text = ChatTemplate::new(source).unwrap().render(&messages, &RenderOptions::default()).unwrap();
    assert!(text.len() > 1_900_000);
}

#[test]
fn errors_say_where_and_what() {
    let fails = |source: &str| render(source.into(), Message::new("user", "x")).unwrap_err();
    assert!(matches!(fails("a\n{{ 1 + }}"), TextError::TemplateSyntax { line: 2, .. }));
    assert!(matches!(fails("{% if 1 %}"), TextError::TemplateSyntax { .. }));
    assert!(matches!(fails("{% endif %}"), TextError::Unsupported { .. }));
    assert!(matches!(fails("{% break %}"), TextError::TemplateSyntax { .. }));
    assert!(matches!(fails("\n\n{{ nothing.at_all }}"), TextError::TemplateRuntime { line: 3, .. }));
    let gaps = "{{ ([0, 'a', [], none, {}, (1,), 0.5] * 99) | sort }}";
    assert!(matches!(fails(gaps), TextError::TemplateRuntime { .. }));
    assert!(matches!(fails("{{ 1 // 0 }}"), TextError::TemplateRuntime { .. }));
    assert!(matches!(fails("{{ 10 ** 99 }}"), TextError::TemplateRuntime { .. }));
    assert!(matches!(fails("{{ 'x' | nonsense }}"), TextError::Unsupported { what: "chat template filter", .. }));
    assert!(matches!(fails("{{ 'x'.nonsense() }}"), TextError::Unsupported { what: "chat template method", .. }));
    assert!(matches!(fails("{{ 'x' is nonsense }}"), TextError::Unsupported { what: "chat template test", .. }));
    for tag in ["include 'x'", "import 'x' as y", "extends 'x'", "from 'x' import y", "trans"] {
        assert!(
            matches!(fails(&format!("{{% {tag} %}}")), TextError::Unsupported { what: "chat template tag", .. }),
            "{tag}"
        );
    }
    assert!(matches!(fails("{{ raise_exception('no') }}"), TextError::TemplateRaised { message } if message == "no"));
    assert!(matches!(fails("{% set ns = namespace() %}{% set ns.me = ns %}"), TextError::TemplateRuntime { .. }));
    assert!(matches!(ChatTemplate::new(&" ".repeat((1 << 20) + 1)), Err(TextError::TooLarge { .. })));
}

/// Whatever a template's source is, it ends in text or in an error.
#[test]
fn mutilated_templates_do_not_panic() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/templates");
    let content: Value = json!([{"type": "text", "text": "é"}]);
    for name in ["language.jinja", "llama3-tools.jinja"] {
        let source = std::fs::read_to_string(path.join(name)).unwrap();
        let places: Vec<usize> = source.char_indices().map(|(at, _)| at).collect();
        let mut seed = 7usize;
        let mut next = |n: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..1500 {
            let (a, b) = (places[next(places.len())], places[next(places.len())]);
            let mutant = match next(4) {
                0 => source[..a].to_string(),
                1 => format!("{}{}", &source[..a.min(b)], &source[a.max(b)..]),
                2 => format!(
                    "{}{}{}",
                    &source[..a],
                    ["{{", "%}", "'", "(", "|", "-", "é", "\\", "[::", "**"][next(10)],
                    &source[a..]
                ),
                _ => format!(
                    "{}{}{}",
                    &source[..a],
                    &source[b..(b + 20).min(source.len())].chars().take(9).collect::<String>(),
                    &source[a..]
                ),
            };
            if let Ok(template) = ChatTemplate::new(&mutant) {
                let _ = template.render(&[Message::new("user", content.clone())], &RenderOptions::default());
            }
        }
    }
}
