//! Text out of HTML, as Python's `Markup.striptags` and `html.unescape` have it.

use std::ops::Range;
use std::sync::LazyLock;

use super::text::Text;
use super::text_ops::is_space;
use crate::error::TextError;

type Result<T> = std::result::Result<T, TextError>;

/// The named character references of the HTML standard, sorted: a name, with its `;` where it has one, and code points.
static NAMES: LazyLock<Vec<(&str, &str)>> =
    LazyLock::new(|| include_str!("entities.txt").lines().filter_map(|line| line.split_once(' ')).collect());

/// Most characters of a name that is looked for.
const NAME_CHARS: usize = 32;

/// What the numbers from 0x80 mean: those of Windows, since pages were written so.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Without tags and comments, runs of whitespace a space, references replaced.
pub(super) fn strip_tags(text: &Text) -> Result<Text> {
    let s = text.as_str();
    text.meter().tick(s.len() / 16)?;
    let mut bare = Text::new(text.meter());
    let mut at = 0;
    while let Some(start) = s[at..].find('<').map(|found| at + found) {
        text.meter().tick(1)?;
        let close = |from: usize, mark: &str| s[from..].find(mark).map(|found| from + found + mark.len());
        let end = if s[start..].starts_with("<!--") { close(start + 4, "-->") } else { close(start, ">") };
        let Some(end) = end else { break };
        bare.push_part(text, at..start)?;
        at = end;
    }
    bare.push_part(text, at..s.len())?;
    unescaped(&single_spaces(&bare)?)
}

/// Runs of whitespace become a space, at the ends nothing. A space counts as written by whoever wrote any of the run.
fn single_spaces(text: &Text) -> Result<Text> {
    let s = text.as_str();
    text.meter().tick(s.len() / 16)?;
    let mut out = Text::new(text.meter());
    let mut at = s.len() - s.trim_start_matches(is_space).len();
    while at < s.len() {
        let end = s[at..].find(is_space).map_or(s.len(), |found| at + found);
        out.push_part(text, at..end)?;
        at = s.len() - s[end..].trim_start_matches(is_space).len();
        if at < s.len() {
            out.push(" ", text.is_touched(end..at))?;
        }
    }
    Ok(out)
}

/// `&lt;`, `&#60;` and their like become characters; one counts as written by whoever wrote any of the reference.
fn unescaped(text: &Text) -> Result<Text> {
    let s = text.as_str();
    let mut out = Text::new(text.meter());
    let mut at = 0;
    while let Some(start) = s[at..].find('&').map(|found| at + found) {
        text.meter().tick(1)?;
        out.push_part(text, at..start)?;
        let (end, known) = reference(&s[start + 1..]).map_or((1, None), |(length, known)| (1 + length, known));
        match known {
            Some(character) => out.push(&character, text.is_touched(start..start + end))?,
            None => out.push_part(text, start..start + end)?,
        }
        at = start + end;
    }
    out.push_part(text, at..s.len())?;
    Ok(out)
}

/// The reference behind an `&`: its length and what it stands for, if it is known; `None` where there is none.
fn reference(s: &str) -> Option<(usize, Option<String>)> {
    let digits = |from: usize, is: fn(&char) -> bool| {
        let rest = s.get(from..)?;
        let length = rest.find(|c| !is(&c)).unwrap_or(rest.len());
        (length > 0).then(|| from..from + length)
    };
    let number = |place: Range<usize>, radix: u32| {
        let code = u32::from_str_radix(s[place.clone()].trim_start_matches('0'), radix);
        let code = if s[place.clone()].bytes().all(|b| b == b'0') { Ok(0) } else { code };
        let end = place.end + usize::from(s[place.end..].starts_with(';'));
        (end, Some(code.map_or_else(|_| "\u{fffd}".to_owned(), of_number)))
    };
    if s.starts_with(['#']) {
        if s[1..].starts_with(['x', 'X']) {
            return digits(2, char::is_ascii_hexdigit).map(|place| number(place, 16));
        }
        return digits(1, char::is_ascii_digit).map(|place| number(place, 10));
    }
    let stops = |c| matches!(c, '\t' | '\n' | '\x0c' | ' ' | '<' | '&' | '#' | ';');
    let end = s.char_indices().take(NAME_CHARS).take_while(|&(_, c)| !stops(c)).last();
    let end = end.map(|(at, c)| at + c.len_utf8())?;
    let whole = end + usize::from(s[end..].starts_with(';'));
    // The longest name that it begins with, of at least two characters.
    let ends = s[..whole].char_indices().skip(2).map(|(at, _)| at).chain([whole]).collect::<Vec<_>>();
    let known = ends.into_iter().rev().find_map(|end| Some((end, of_name(&s[..end])?)));
    Some(match known {
        Some((end, text)) => (end, Some(text)),
        None => (whole, None),
    })
}

fn of_name(name: &str) -> Option<String> {
    let at = NAMES.binary_search_by(|(known, _)| known.cmp(&name)).ok()?;
    let codes = NAMES[at].1.split(' ').filter_map(|code| u32::from_str_radix(code, 16).ok());
    Some(codes.filter_map(char::from_u32).collect())
}

fn of_number(code: u32) -> String {
    match code {
        0 => "\u{fffd}".to_owned(),
        0x80..=0x9f => WINDOWS[code as usize - 0x80].to_string(),
        // What is no character of any text.
        0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef => String::new(),
        _ if code & 0xfffe == 0xfffe && code <= 0x10_ffff => String::new(),
        _ => char::from_u32(code).unwrap_or('\u{fffd}').to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::meter::Meter;
    use super::*;

    fn stripped(text: &str) -> String {
        let text = Text::copy(&Meter::new(0), text, true).unwrap();
        strip_tags(&text).unwrap().as_str().to_owned()
    }

    /// Results of markupsafe 3.0.4.
    #[test]
    fn tags_and_references_go_as_in_python() {
        assert_eq!(stripped(" a <b>b</b>\n<!-- <c> -->d <e"), "a b d <e");
        assert_eq!(stripped("<!-->x"), "<!-->x");
        assert_eq!(
            stripped("&lt;b&gt; &amp;lt; &notit; &not &x; &#60;&#x3c;x &#x80;&#0;&#1;&#xffffffffff;"),
            "<b> &lt; ¬it; ¬ &x; <<x €\u{fffd}\u{fffd}"
        );
        assert_eq!(stripped("&NotEqualTilde;&acE;& &#; &;"), "≂\u{338}∾\u{333}& &#; &;");
        assert!(NAMES.is_sorted() && NAMES.len() == 2231);
    }

    #[test]
    fn what_a_user_wrote_stays_a_users() {
        let meter = Meter::new(0);
        let mut text = Text::copy(&meter, "&l", false).unwrap();
        text.push("t;|", true).unwrap();
        text.push(" x", false).unwrap();
        let (text, user) = strip_tags(&text).unwrap().into_parts();
        assert_eq!((text.as_str(), user.len(), user.first()), ("<| x", 1, Some(&(0..2))));
    }
}
