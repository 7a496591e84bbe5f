//! Texts that state facts, and questions about them.

use tern::Model;
use tern::learn::{Example, Fact, Random};

/// Names are made of these: 320 of them, more than a small model learns by heart.
const NAMES: [&str; 2] = [
    "Al Bel Cor Dan Ed Fer Gil Hel Ir Jor Kar Lin Mar Nor Or Per Quin Ros Sel Tor",
    "ana bert dis eric fin gard ian kus lena mond nor ola rik sa tis wen",
];
/// What is told of people: sentences that state it, the question, the answers.
const KINDS: [([&str; 4], &str, &str); 3] = [
    (
        ["{n} lives in {v}.", "These days {n} stays in {v}.", "Last year {n} moved to {v}.", "{n} came from {v}."],
        "Where is the home of {n}?",
        "Lisbon Vienna Oslo Madrid Prague Dublin Athens Warsaw Cairo Lima Boston Kyoto Zagreb Riga Geneva Naples",
    ),
    (
        ["{n} is a {v}.", "By trade {n} is a {v}.", "In the end {n} became a {v}.", "{n} was a {v}."],
        "What is the work of {n}?",
        "baker tailor pilot nurse lawyer farmer painter teacher sailor miller barber cook judge singer plumber gardener",
    ),
    (
        ["{n} plays the {v}.", "For a while {n} practised the {v}.", "On Sundays {n} plays the {v}.", "{n} has a {v}."],
        "What is the pastime of {n}?",
        "violin flute piano cello harp drum trumpet guitar organ banjo oboe tuba lute viola bassoon zither",
    ),
];
/// What is said in between.
const FILLERS: [&str; 6] = [
    "It rained all morning.",
    "The tram was late again.",
    "Nobody minds the noise.",
    "Supper was on the table at six.",
    "There was fog over the river.",
    "The shop has new windows.",
];

/// All names.
fn names() -> Vec<String> {
    let [first, last] = NAMES.map(|list| list.split_whitespace());
    first.flat_map(|a| last.clone().map(move |b| format!("{a}{b}"))).collect()
}

/// The words of all texts, each with the space before it.
pub fn words() -> Vec<String> {
    let names = names().join(" ");
    let said = KINDS.iter().flat_map(|(said, asked, values)| said.iter().chain([asked, values]));
    let mut words: Vec<String> = said
        .chain([&names.as_str()])
        .chain(&FILLERS)
        .flat_map(|text| text.split_whitespace())
        .map(|word| format!(" {}", word.trim_matches(['.', '?', ','])))
        .filter(|word| !word.contains('{'))
        .collect();
    words.sort();
    words.dedup();
    words
}

/// A sentence in which every word has the space before it, as the tokens do.
fn sentence(said: &str, name: &str, value: &str) -> String {
    format!(" {}", said.replace("{n}", name).replace("{v}", value))
}

/// What a text is like.
#[derive(Clone, Copy, PartialEq)]
pub enum Style {
    /// Nothing but facts, all of one kind: it takes the name to tell which is asked for.
    Plain,
    /// With other sentences in between, and facts of any kind.
    Varied,
}

impl Style {
    /// Texts of a step: about as many tokens.
    pub fn batch(self) -> usize {
        match self {
            Self::Plain => 32,
            Self::Varied => 12,
        }
    }
}

/// A text that states `n` facts, and these. `fresh`: of people who are in no text that models are trained on, a quarter of all.
pub fn text(n: usize, style: Style, fresh: bool, random: &mut Random) -> (String, Vec<Fact>) {
    let mut names: Vec<String> =
        names().into_iter().enumerate().filter(|(i, _)| (i % 4 == 0) == fresh).map(|(_, n)| n).collect();
    random.shuffle(&mut names);
    let (mut text, mut facts) = (String::new(), Vec::new());
    let first = random.below(KINDS.len());
    for name in &names[..n] {
        let (said, asked, values) = KINDS[if style == Style::Plain { first } else { random.below(KINDS.len()) }];
        let values: Vec<&str> = values.split_whitespace().collect();
        let value = values[random.below(values.len())];
        while style == Style::Varied && random.below(3) == 0 {
            text += &sentence(FILLERS[random.below(FILLERS.len())], "", "");
        }
        let statement = sentence(said[random.below(said.len())], name, value);
        text += &statement;
        facts.push(Fact { statement, question: sentence(asked, name, ""), answer: format!(" {value}") });
    }
    (text, facts)
}

/// A text with questions about it. In plain ones only the answers count: that is where looking up is learned.
pub fn example(model: &Model, style: Style, random: &mut Random) -> Example {
    let n = match style {
        Style::Plain => 2 + random.below(4),
        Style::Varied => 1 << random.below(5),
    };
    let (mut text, facts) = text(n, style, false, random);
    // Sometimes without the text, so that models learn how little they know then.
    if style == Style::Varied && random.below(8) == 0 {
        text.clear();
    }
    let all = style == Style::Varied && random.below(2) == 0;
    let mut tokens = model.encode(&text).unwrap();
    let mut counts = vec![all; tokens.len()];
    for _ in 0..6 {
        // Some are asked for more than once, or the last answers would be those that were not given yet.
        let fact = &facts[random.below(n)];
        // As a session asks that has read a text, and as the probe does with the statement in view.
        let between = if random.below(2) == 0 { "" } else { "\n\n" };
        tokens.extend(model.encode(&format!("{between}{}", fact.question)).unwrap());
        counts.resize(tokens.len(), all);
        tokens.extend(model.encode(&fact.answer).unwrap());
        counts.resize(tokens.len(), true);
    }
    Example { tokens, counts }
}
