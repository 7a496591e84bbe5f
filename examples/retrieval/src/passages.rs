//! A text as passages: some sentences each, few enough for an encoder to see all of them.

/// Cuts `text` at the ends of paragraphs where passages have at least `least` tokens, and at the ends of sentences where they would
/// have more than `most`. `count` counts the tokens of a piece. A sentence that is longer is a passage of its own.
pub fn passages(text: &str, least: usize, most: usize, mut count: impl FnMut(&str) -> usize) -> Vec<String> {
    let mut passages = Vec::new();
    let (mut passage, mut tokens) = (String::new(), 0);
    for (sentence, ends_paragraph) in sentences(text) {
        let more = count(sentence);
        if tokens > 0 && tokens + more > most {
            passages.push(std::mem::take(&mut passage));
            tokens = 0;
        }
        if !passage.is_empty() {
            passage.push(' ');
        }
        passage.push_str(sentence);
        tokens += more;
        if ends_paragraph && tokens >= least {
            passages.push(std::mem::take(&mut passage));
            tokens = 0;
        }
    }
    if !passage.is_empty() {
        passages.push(passage);
    }
    passages
}

/// The sentences of a text, and whether each is the last one of its paragraph. A sentence ends where white space follows a full stop
/// or the like; a paragraph ends at an empty line.
fn sentences(text: &str) -> Vec<(&str, bool)> {
    let mut found = Vec::new();
    let mut paragraphs: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some((at, len)) = empty_line(rest) {
        paragraphs.push(&rest[..at]);
        rest = &rest[at + len..];
    }
    paragraphs.push(rest);
    for paragraph in paragraphs {
        let mut start = 0;
        let mut ended = false;
        let before = found.len();
        for (at, c) in paragraph.char_indices() {
            if ended && c.is_whitespace() {
                push(&mut found, &paragraph[start..at]);
                start = at;
            }
            ended = matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？')
                || ended && matches!(c, '"' | '\'' | ')' | '»' | '”');
        }
        push(&mut found, &paragraph[start..]);
        if let Some(last) = found[before..].last_mut() {
            last.1 = true;
        }
    }
    found
}

fn push<'a>(found: &mut Vec<(&'a str, bool)>, sentence: &'a str) {
    let sentence = sentence.trim();
    if !sentence.is_empty() {
        found.push((sentence, false));
    }
}

/// Where the first empty line begins, and how long it is with the line end before it.
fn empty_line(text: &str) -> Option<(usize, usize)> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if at > 0 && line.trim().is_empty() && line.ends_with('\n') {
            return Some((at, line.len()));
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::passages;

    fn words(text: &str) -> usize {
        text.split_whitespace().count()
    }

    #[test]
    fn paragraphs_and_sentences() {
        let text = "One two. Three four!\n\nFive six seven eight.\r\n\r\n\nNine.\nTen eleven? \"Twelve.\" Thirteen";
        assert_eq!(
            passages(text, 4, 5, words),
            ["One two. Three four!", "Five six seven eight.", "Nine. Ten eleven? \"Twelve.\" Thirteen"]
        );
        assert_eq!(passages(text, 1, 2, words)[..3], ["One two.", "Three four!", "Five six seven eight."]);
        assert_eq!(passages("Ещё. Раз. \n", 100, 100, words), ["Ещё. Раз."]);
        assert!(passages(" \n\n\n", 1, 1, words).is_empty());
    }
}
