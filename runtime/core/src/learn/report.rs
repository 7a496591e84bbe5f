//! What came of learning, as a page for people: plain HTML without scripts, fonts or anything else from elsewhere, so that an app can
//! show it in its settings. The same as JSON is [`Outcome`] through serde.

use super::evidence::{Bound, Verdict};
use super::learner::{Evidence, Outcome};
use std::fmt::Write;

/// Documents in the table; the rest is counted.
const ROWS: usize = 50;

const STYLE: &str = "\
:root{color-scheme:light dark;--good:#1a7f4b;--bad:#b3261e;--wait:#8a6100;--line:#8884;--bar:#4a7ab5}\
@media(prefers-color-scheme:dark){:root{--good:#5fcf97;--bad:#ff8a80;--wait:#e3b341}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}\
p{margin:.25rem 0}.small{font-size:.875rem;opacity:.75}\
.good{color:var(--good)}.bad{color:var(--bad)}.wait{color:var(--wait)}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{padding:.35rem .5rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}\
td.n,th.n{text-align:right;white-space:nowrap}td.w{overflow-wrap:anywhere}\
.bar{background:var(--line);height:.6rem;border-radius:.3rem;overflow:hidden;min-width:6rem;margin-top:.45rem}\
.bar i{display:block;height:100%;background:var(--bar)}.bar i.bad{background:var(--bad)}";

/// The page.
pub fn html(outcome: &Outcome) -> String {
    let mut page = Page(String::new());
    let o = outcome;
    let (class, headline) = headline(o);
    page.put(format_args!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{name}: what was learned</title>\n<style>{STYLE}</style>\n<h1 class=\"{class}\">{headline}</h1>\n\
         <p>{}</p>\n<p class=\"small\">{name}, on {}</p>\n",
        escape(&sentence(o)),
        escape(o.base.as_deref().unwrap_or("a model without a name")),
        name = escape(&o.name),
    ));
    if o.gain.documents > 0 {
        page.gain(o);
        page.harm(o);
    }
    if let Some(recall) = &o.recall {
        page.put(format_args!(
            "<h2>Facts remembered</h2>\n<p>{} Asked without the text at hand: {:.2} nats per token before, {:.2} after; with the \
             text at hand {:.2}. ({} facts)</p>\n",
            match recall.share() {
                Some(share) => format!("{} of what reading the text gives.", percent(share)),
                None => "Reading the text did not help with these questions, so nothing can be said.".to_owned(),
            },
            recall.base,
            recall.learned,
            recall.ceiling,
            recall.facts
        ));
    }
    page.text(o);
    page.cost(o);
    page.documents(o);
    page.put(format_args!("</html>\n"));
    page.0
}

struct Page(String);

impl Page {
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(text);
    }

    fn gain(&mut self, o: &Outcome) {
        let g = &o.gain;
        let most = g.before.max(g.after).max(f64::MIN_POSITIVE);
        self.put(format_args!(
            "<h2>How well your text is predicted</h2>\n<p>Measured on {} documents{}. Bits per byte: less is better.</p>\n\
             <table>\n",
            g.documents,
            match o.evidence {
                Evidence::HeldOut => " that were never learned from",
                Evidence::LeaveOneOut => ", each after learning from the others alone",
            }
        ));
        for (label, value) in [("Before", g.before), ("After", g.after)] {
            self.put(format_args!(
                "<tr><td>{label}</td><td class=\"n\">{value:.3}</td><td>{}</td></tr>\n",
                bar(value / most, false)
            ));
        }
        let (low, high) = (g.low / g.before.max(f64::MIN_POSITIVE), g.high / g.before.max(f64::MIN_POSITIVE));
        self.put(format_args!(
            "</table>\n<p>Better by {} (95% interval: {} to {}).</p>\n",
            percent(g.share()),
            percent(low),
            percent(high)
        ));
    }

    fn harm(&mut self, o: &Outcome) {
        self.put(format_args!(
            "<h2>What should stay as it was</h2>\n<p>Measured on the model's own answers to everyday questions ({} tokens).</p>\n\
             <table>\n<tr><th>What</th><th class=\"n\">Found</th><th class=\"n\">Allowed</th><th></th></tr>\n",
            o.anchor_tokens
        ));
        let rows = [
            (Bound::AnchorRise, o.harm.anchor_rise, o.bounds.anchor_rise),
            (Bound::Divergence, o.harm.divergence, o.bounds.divergence),
            (Bound::Norm, o.harm.norm, o.bounds.norm),
        ];
        for (bound, found, limit) in rows {
            let broken = found.is_nan() || found > limit;
            self.put(format_args!(
                "<tr><td>{}</td><td class=\"n\">{found:.4}</td><td class=\"n\">{limit:.4}</td><td>{}</td></tr>\n",
                capital(bound.name()),
                bar(found / limit, broken)
            ));
        }
        self.put(format_args!("</table>\n"));
        if o.shrunk < 1.0 {
            let size = percent(f64::from(o.shrunk));
            self.put(format_args!("<p>What was learned counts {size}, so that these are kept.</p>\n"));
        }
    }

    fn text(&mut self, o: &Outcome) {
        self.put(format_args!("<h2>The text</h2>\n<table>\n"));
        let mut row = |label: &str, documents: usize, bytes: u64| {
            if documents > 0 {
                self.put(format_args!(
                    "<tr><td>{label}</td><td class=\"n\">{documents} documents</td><td class=\"n\">{}</td></tr>\n",
                    size(bytes)
                ));
            }
        };
        row("Learned from", o.trained_documents, o.trained_bytes);
        let tested = match o.evidence {
            Evidence::HeldOut => "Held out, to test with",
            Evidence::LeaveOneOut => "Left out in turn, to test with",
        };
        row(tested, o.gain.documents, o.gain.bytes);
        for (origin, count) in &o.left.origins {
            row(&format!("Left out: written by {}", writer(origin.as_str())), count.documents, count.bytes);
        }
        let left = [
            ("Left out: the same again", o.left.duplicates),
            ("Left out: nearly the same", o.left.near_duplicates),
            ("Left out: too much from one source", o.left.capped),
        ];
        left.into_iter().for_each(|(label, count)| row(label, count.documents, count.bytes));
        self.put(format_args!("</table>\n"));
        if let Some(order) = &o.order {
            let share = percent(order.share());
            self.put(format_args!("<p class=\"small\">The order of words saves the model {share} of the bits.</p>\n"));
        }
    }

    fn cost(&mut self, o: &Outcome) {
        self.put(format_args!(
            "<h2>What it took</h2>\n<p>{} in all, {} of it learning: {} steps, {} tokens.",
            duration(o.seconds),
            duration(o.learn_seconds),
            o.steps,
            o.tokens
        ));
        if let Some(bytes) = o.memory {
            self.put(format_args!(" At most {} of memory.", size(bytes)));
        }
        self.put(format_args!("</p>\n"));
    }

    fn documents(&mut self, o: &Outcome) {
        if o.held_out.is_empty() {
            return;
        }
        let folder = folder(o.held_out.iter().map(|s| s.source.as_str()));
        self.put(format_args!("<h2>Document by document</h2>\n"));
        if !folder.is_empty() {
            self.put(format_args!("<p class=\"small\">All of {}</p>\n", escape(folder)));
        }
        self.put(format_args!(
            "<table>\n<tr><th>Tested with</th><th class=\"n\">Before</th><th class=\"n\">After</th></tr>\n"
        ));
        for scored in o.held_out.iter().take(ROWS) {
            let m = &scored.measure;
            let bits = |nats: f64| nats / std::f64::consts::LN_2 / m.bytes.max(1) as f64;
            self.put(format_args!(
                "<tr><td class=\"w\">{}</td><td class=\"n\">{:.3}</td><td class=\"n\">{:.3}</td></tr>\n",
                escape(scored.source.strip_prefix(folder).unwrap_or(&scored.source)),
                bits(m.before),
                bits(m.after)
            ));
        }
        self.put(format_args!("</table>\n"));
        if o.held_out.len() > ROWS {
            self.put(format_args!("<p class=\"small\">and {} more</p>\n", o.held_out.len() - ROWS));
        }
    }
}

/// The folder that all sources are in, with its separator; empty where there is none.
fn folder<'a>(mut sources: impl Iterator<Item = &'a str>) -> &'a str {
    let parent = |path: &'a str| path.rfind(['/', '\\']).and_then(|end| path.get(..=end)).unwrap_or_default();
    let mut common = sources.next().map(parent).unwrap_or_default();
    for source in sources {
        while !source.starts_with(common) {
            common = parent(common.get(..common.len() - 1).unwrap_or_default());
        }
    }
    common
}

fn headline(o: &Outcome) -> (&'static str, &'static str) {
    match o.verdict {
        Verdict::Commit => ("good", "Learned"),
        Verdict::Refused { .. } => ("bad", "Not learned"),
        Verdict::Nothing => ("wait", "Nothing new"),
        Verdict::NotEnough { .. } => ("wait", "Not enough text yet"),
    }
}

fn sentence(o: &Outcome) -> String {
    match o.verdict {
        Verdict::Commit => {
            "It helps with text of this kind, and what the model did before it still does. It can be undone.".to_owned()
        }
        Verdict::Refused { bound, found, limit } => {
            let word = if bound.is_least() { "at least" } else { "at most" };
            format!("Nothing has changed. The {} is {found:.3}; it must be {word} {limit:.3}.", bound.name())
        }
        Verdict::Nothing => {
            "Nothing has changed. There is no text to learn from that was not learned before.".to_owned()
        }
        Verdict::NotEnough { have, need } => format!(
            "Nothing has changed. There are {have} documents to test with; it takes about {need} to be sure that it helps."
        ),
    }
}

fn writer(origin: &str) -> &str {
    match origin {
        "web" => "strangers on the web",
        "tool" => "a tool",
        "model" => "a model",
        _ => "somebody else",
    }
}

fn bar(share: f64, bad: bool) -> String {
    let width = if share.is_nan() { 100.0 } else { (share * 100.0).clamp(0.0, 100.0) };
    let class = if bad { " class=\"bad\"" } else { "" };
    format!("<div class=\"bar\"><i{class} style=\"width:{width:.1}%\"></i></div>")
}

fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1}%", share * 100.0) } else { "unknown".to_owned() }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn duration(seconds: f64) -> String {
    if seconds < 100.0 { format!("{seconds:.1} s") } else { format!("{:.1} minutes", seconds / 60.0) }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Names of files come from anywhere.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::evidence::{Gain, Measure};
    use crate::learn::learner::Scored;

    /// An outcome with everything in it.
    fn outcome(verdict: Verdict) -> Outcome {
        let mut o = Outcome::without("notes", verdict, 1);
        o.base = Some("Base <1>".into());
        o.gain = Gain { documents: 2, bytes: 3000, before: 1.5, after: 1.25, low: 0.1, high: 0.4, deviation: 0.1 };
        let measure = Measure { bytes: 1000, before: 1000.0, after: 900.0 };
        o.held_out = vec![Scored { source: "<script>alert('x')</script>".into(), measure }];
        o
    }

    #[test]
    fn names_are_text_and_nothing_is_fetched() {
        let page = html(&outcome(Verdict::Commit));
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)") && page.contains("Base &lt;1&gt;"));
        for word in ["<script", "http", "src=", "url(", "@import", "<link"] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.contains("16.7%") && page.contains("1.500") && page.contains("Learned"));
    }

    #[test]
    fn a_folder_is_named_once() {
        assert_eq!(folder(["/a/b/c.md", "/a/b/d/e.md", "/a/bc.md"].into_iter()), "/a/");
        assert_eq!(folder(["notes/a", "notes/b"].into_iter()), "notes/");
        assert_eq!(folder(["note 1", "note 2"].into_iter()), "");
        assert_eq!(folder(["/x", "y"].into_iter()), "");
        assert_eq!(folder(std::iter::empty()), "");
        let mut o = outcome(Verdict::Commit);
        o.held_out =
            ["/home/me/a.md", "/home/me/b.md"].map(|s| Scored { source: s.into(), measure: Measure::default() }).into();
        let page = html(&o);
        assert!(page.contains("All of /home/me/") && page.contains(">a.md<") && !page.contains(">/home/me/a.md<"));
    }

    #[test]
    fn the_bound_is_named() {
        let page = html(&outcome(Verdict::Refused { bound: Bound::AnchorRise, found: 0.031, limit: 0.02 }));
        assert!(page.contains("Not learned") && page.contains("0.031") && page.contains("at most 0.020"));
        let page = html(&outcome(Verdict::NotEnough { have: 3, need: 12 }));
        assert!(page.contains("There are 3 documents") && page.contains("about 12"));
    }

    #[test]
    fn all_of_it_is_json_and_comes_back() {
        let outcome = outcome(Verdict::NotEnough { have: 3, need: 12 });
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
    }
}
