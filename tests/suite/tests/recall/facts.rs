//! Texts that state facts, and questions about them.

use tern::Model;
use tern::learn::{Example, Fact, Random};

const NAMES: &str = "Anna Bruno Clara David Elena Felix Greta Hugo Irene Jonas Karla Lukas Maria Nils Olga Peter Quentin Rosa Simon \
    Tilda Ulrich Vera Walter Xenia Yusuf Zora Amir Bella Carlos Dora Emil Frida";
/// What is told of people: sentences that state it, the question, the answers.
const KINDS: [([&str; 3], &str, &str); 3] = [
    (
        ["{n} lives in {v}.", "{n} has moved to {v}.", "These days {n} is at home in {v}."],
        "Where does {n} live?",
        "Lisbon Vienna Oslo Madrid Prague Dublin Athens Warsaw Cairo Lima Boston Kyoto Zagreb Riga Geneva Naples",
    ),
    (
        ["{n} works as a {v}.", "{n} found work as a {v}.", "By trade {n} is a {v}."],
        "What does {n} do?",
        "baker tailor pilot nurse lawyer farmer painter teacher sailor miller barber cook judge singer plumber gardener",
    ),
    (
        ["{n} plays the {v}.", "{n} took lessons on the {v}.", "Everybody knows {n} for playing the {v}."],
        "What does {n} play?",
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

/// The words of all texts, each with the space before it.
pub fn words() -> Vec<String> {
    let said = KINDS.iter().flat_map(|(said, asked, values)| said.iter().chain([asked, values]));
    let mut words: Vec<String> = said
        .chain([&NAMES])
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

/// A text that states `n` facts, and these. Which of them models are trained on and which they are asked for is a matter of what they say.
pub fn text(n: usize, fresh: bool, random: &mut Random) -> (String, Vec<Fact>) {
    let mut names: Vec<&str> = NAMES.split_whitespace().collect();
    random.shuffle(&mut names);
    let (mut text, mut facts) = (String::new(), Vec::new());
    for name in &names[..n] {
        let (kind, value) = loop {
            let (kind, value) = (random.below(KINDS.len()), random.below(16));
            if is_fresh(name, kind, value) == fresh {
                break (kind, value);
            }
        };
        let (said, asked, values) = KINDS[kind];
        let value = values.split_whitespace().nth(value).unwrap();
        while random.below(3) == 0 {
            text += &sentence(FILLERS[random.below(FILLERS.len())], "", "");
        }
        let statement = sentence(said[random.below(said.len())], name, value);
        text += &statement;
        facts.push(Fact { statement, question: sentence(asked, name, ""), answer: format!(" {value}") });
    }
    (text, facts)
}

/// Every eighth fact that there could be is in no text to train on.
fn is_fresh(name: &str, kind: usize, value: usize) -> bool {
    let place = NAMES.split_whitespace().position(|n| n == name).unwrap();
    (place + 3 * kind + 5 * value).is_multiple_of(8)
}

/// A text with questions about it; sometimes without the text, so that models learn how little they know then.
pub fn example(model: &Model, random: &mut Random) -> Example {
    let (mut text, mut facts) = self::text([1, 2, 4, 8, 16][random.below(5)], false, random);
    if random.below(8) == 0 {
        text.clear();
    }
    random.shuffle(&mut facts);
    for fact in facts.iter().take(8) {
        // As a session asks that has read a text, and as the probe does with the statement in view.
        text += if text.is_empty() || random.below(2) == 0 { "" } else { "\n\n" };
        text += &format!("{}{}", fact.question, fact.answer);
    }
    Example::of(model.encode(&text).unwrap())
}
