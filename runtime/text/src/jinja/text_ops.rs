//! What Python's strings can do, with provenance kept.

use std::ops::Range;
use std::rc::Rc;

use super::call::Given;
use super::format;
use super::text::Text;
use super::value::{Value, runtime};
use crate::error::TextError;

type Result<T> = std::result::Result<T, TextError>;

/// Python's idea of whitespace: Unicode's and four separators of ASCII.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Which ends to strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Both,
    Left,
    Right,
}

/// `strip`, `lstrip`, `rstrip`.
pub(crate) fn strip(text: &Text, ends: Ends, chars: Option<&str>) -> Result<Text> {
    let s = text.as_str();
    let inside = |c: char| match chars {
        Some(chars) => chars.contains(c),
        None => is_space(c),
    };
    let start = if ends == Ends::Right { 0 } else { s.len() - s.trim_start_matches(inside).len() };
    let end = if ends == Ends::Left { s.len() } else { start + s[start..].trim_end_matches(inside).len() };
    text.part(start..end)
}

/// `replace`; what is put into a marked text is escaped.
pub(crate) fn replace(text: &Text, old: &str, new: &Text, count: Option<usize>) -> Result<Text> {
    let s = text.as_str();
    let escaped = if text.is_safe() { Some(new.escaped()?) } else { None };
    let new = escaped.as_ref().unwrap_or(new);
    text.meter().tick(s.len() / 64)?;
    let mut out = Text::new(text.meter());
    let mut at = 0;
    for (found, _) in s.match_indices(old).take(count.unwrap_or(usize::MAX)) {
        text.meter().tick(1)?;
        out.push_part(text, at..found)?;
        out.push_text(new)?;
        at = found + old.len();
    }
    out.push_part(text, at..s.len())?;
    Ok(out.marked(text.is_safe()))
}

/// `split` and `rsplit`, as ranges.
fn cuts(s: &str, separator: Option<&str>, limit: usize, from_right: bool) -> Vec<Range<usize>> {
    let mut cuts: Vec<Range<usize>> = Vec::new();
    match separator {
        Some(separator) if from_right => {
            cuts.extend(s.rmatch_indices(separator).take(limit).map(|(at, m)| at..at + m.len()))
        }
        Some(separator) => cuts.extend(s.match_indices(separator).take(limit).map(|(at, m)| at..at + m.len())),
        None => {
            let mut start = None;
            for (at, c) in s.char_indices().chain([(s.len(), 'x')]) {
                match (is_space(c), start) {
                    (true, None) => start = Some(at),
                    (false, Some(from)) => {
                        cuts.push(from..at);
                        start = None;
                    }
                    _ => {}
                }
            }
            // Whitespace at the ends separates nothing.
            cuts.retain(|c| c.start > 0 && c.end < s.len());
            if from_right {
                cuts.reverse();
            }
            cuts.truncate(limit);
        }
    }
    if from_right {
        cuts.reverse();
    }
    cuts
}

/// The parts between separators; without one, between runs of whitespace.
pub(crate) fn split(
    text: &Text,
    separator: Option<&str>,
    limit: Option<usize>,
    from_right: bool,
) -> Result<Vec<Value>> {
    if separator == Some("") {
        return Err(runtime("an empty string separates nothing"));
    }
    let s = text.as_str();
    text.meter().tick(s.len() / 16)?;
    let (mut at, mut end) = (0, s.len());
    if separator.is_none() {
        at = s.len() - s.trim_start_matches(is_space).len();
        end = at + s[at..].trim_end_matches(is_space).len();
        if at == end {
            return Ok(Vec::new());
        }
    }
    let base = at;
    let cuts = cuts(&s[at..end], separator, limit.unwrap_or(usize::MAX), from_right);
    text.meter().tick(cuts.len())?;
    // Where the limit ends the search, whitespace behind what is left stays.
    if separator.is_none() && limit == Some(cuts.len()) {
        if from_right {
            at = 0;
        } else {
            end = s.len();
        }
    }
    let mut out = Vec::with_capacity(cuts.len() + 1);
    for cut in cuts {
        out.push(Value::text(text.part(at..base + cut.start)?));
        at = base + cut.end;
    }
    out.push(Value::text(text.part(at..end)?));
    Ok(out)
}

/// `splitlines`.
pub(crate) fn split_lines(text: &Text, keep_ends: bool) -> Result<Vec<Value>> {
    let s = text.as_str();
    text.meter().tick(s.len() / 16)?;
    let mut out = Vec::new();
    let mut start = 0;
    let mut chars = s.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}') {
            continue;
        }
        let mut end = at + c.len_utf8();
        if c == '\r' && chars.peek().is_some_and(|&(_, next)| next == '\n') {
            chars.next();
            end += 1;
        }
        out.push(Value::text(text.part(start..if keep_ends { end } else { at })?));
        start = end;
    }
    if start < s.len() {
        out.push(Value::text(text.part(start..s.len())?));
    }
    Ok(out)
}

/// `upper`, `lower`.
pub(crate) fn upper(text: &Text) -> Result<Text> {
    text.map_chars(|c, out| out.extend(c.to_uppercase()))
}

/// See [`upper`]. A sigma at the end of a word has a small letter of its own, so the whole is looked at.
pub(crate) fn lower(text: &Text) -> Result<Text> {
    text.meter().tick(text.as_str().len() / 8)?;
    let whole = text.as_str().to_lowercase();
    let mut at = 0;
    text.map_chars(|c, out| {
        let end = at + c.to_lowercase().map(char::len_utf8).sum::<usize>();
        out.push_str(whole.get(at..end).unwrap_or_default());
        at = end;
    })
}

/// What stands for a letter at the beginning of a word; it differs from the capital for letters made of two, and for those
/// whose alphabet has no such use of capitals. (Unicode's title case.)
fn title(c: char, out: &mut String) {
    match c {
        'Ǆ'..='ǆ' => out.push('ǅ'),
        'Ǉ'..='ǉ' => out.push('ǈ'),
        'Ǌ'..='ǌ' => out.push('ǋ'),
        'Ǳ'..='ǳ' => out.push('ǲ'),
        'ა'..='ჺ' | 'ჽ'..='ჿ' => out.push(c),
        'ŉ' => out.extend(c.to_uppercase()),
        '\u{1f80}'..='\u{1faf}' => out.extend(char::from_u32(c as u32 | 8)),
        'ᾳ' | 'ῃ' | 'ῳ' => out.extend(char::from_u32(c as u32 + 9)),
        _ => {
            let mut letters = c.to_uppercase();
            out.extend(letters.next());
            out.extend(letters.flat_map(char::to_lowercase));
        }
    }
}

/// The first letter as [`title`] has it, the others small: Python's `capitalize`.
pub(crate) fn capitalize(text: &Text) -> Result<Text> {
    words_begin(text, |_| false, title)
}

/// The same for every word, which begins behind what is no letter: Python's `title`.
pub(crate) fn title_method(text: &Text) -> Result<Text> {
    words_begin(text, |c| !is_cased(c), title)
}

/// Whether capitals stand where words begin and nowhere else, and there is one: `istitle`.
pub(crate) fn is_title(s: &str) -> bool {
    let mut before = None;
    let right = s.chars().all(|c| {
        let right = !is_cased(c) || c.is_lowercase() == before.is_some_and(is_cased);
        before = Some(c);
        right
    });
    right && s.chars().any(is_cased)
}

/// Jinja's `title`: capitals behind spaces, hyphens and opening brackets.
pub(crate) fn title_filter(text: &Text) -> Result<Text> {
    let text = words_begin(text, |c| is_space(c) || "-({[<".contains(c), |c, out| out.extend(c.to_uppercase()))?;
    Ok(text.marked(false))
}

fn is_cased(c: char) -> bool {
    c.is_uppercase() || c.is_lowercase() || matches!(c, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ')
}

fn words_begin(text: &Text, begins: impl Fn(char) -> bool, first: fn(char, &mut String)) -> Result<Text> {
    let mut start = true;
    text.map_chars(|c, out| {
        if start {
            first(c, out)
        } else {
            out.extend(c.to_lowercase())
        }
        start = begins(c);
    })
}

/// `str(value)`, escaped for a marked text that it becomes part of.
fn display_in(pattern: &Text, value: &Value, out: &mut Text) -> Result<()> {
    if pattern.is_safe() {
        return out.push_text(&format::to_text(value, pattern.meter())?.escaped()?);
    }
    format::display(value, out)
}

/// `separator.join(items)`; a marked separator escapes them.
pub(crate) fn join(separator: &Text, items: &[Value]) -> Result<Text> {
    let mut out = Text::new(separator.meter());
    for (i, item) in items.iter().enumerate() {
        separator.meter().tick(1)?;
        if i > 0 {
            out.push_text(separator)?;
        }
        display_in(separator, item, &mut out)?;
    }
    Ok(out.marked(separator.is_safe()))
}

/// `pattern % value`, with `%s`, `%r`, `%d`, `%i`, `%f` with a precision, and `%%`.
pub(crate) fn percent(pattern: &Rc<Text>, value: &Value) -> Result<Text> {
    let args = match value {
        Value::List(list) if list.tuple => list.items.clone(),
        other => vec![other.clone()],
    };
    let s = pattern.as_str();
    let mut out = Text::new(pattern.meter());
    let mut args = args.into_iter();
    let mut at = 0;
    while let Some(found) = s[at..].find('%') {
        pattern.meter().tick(1)?;
        out.push_part(pattern, at..at + found)?;
        let rest = &s[at + found + 1..];
        if rest.starts_with('%') {
            out.push("%", false)?;
            at += found + 2;
            continue;
        }
        let (precision, skip) = match rest.strip_prefix('.') {
            Some(tail) => {
                let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
                (tail[..digits].parse::<usize>().ok(), digits + 1)
            }
            None => (None, 0),
        };
        let Some(value) = args.next() else { return Err(runtime("more % fields than values")) };
        match (rest[skip..].chars().next(), &value) {
            (Some('s'), _) => display_in(pattern, &value, &mut out)?,
            (Some('r'), _) => {
                let mut shown = Text::new(pattern.meter());
                format::repr(&value, &mut shown)?;
                display_in(pattern, &Value::text(shown), &mut out)?;
            }
            (Some('d' | 'i'), _) if value.as_float().is_some() => {
                out.push(&(value.as_int().unwrap_or(value.as_float().unwrap_or(0.0) as i128)).to_string(), false)?;
            }
            (Some('f'), _) if value.as_float().is_some() => {
                out.push(&format!("{:.*}", precision.unwrap_or(6).min(64), value.as_float().unwrap_or(0.0)), false)?;
            }
            (field, _) => return Err(runtime(format!("cannot write a {} as %{}", value.kind(), field.unwrap_or(' ')))),
        }
        at += found + 1 + skip + 1;
    }
    let may_be_left = matches!(value, Value::Map(_)) || matches!(value, Value::List(list) if !list.tuple);
    if args.next().is_some() && !may_be_left {
        return Err(runtime("more values than % fields"));
    }
    out.push_part(pattern, at..s.len())?;
    Ok(out.marked(pattern.is_safe()))
}

/// `str.format` with plain fields: `{}`, `{0}`, `{name}`, `{{`, `}}`.
pub(crate) fn braces(pattern: &Rc<Text>, positional: &[Value], named: &[(String, Value)]) -> Result<Text> {
    let s = pattern.as_str();
    let mut out = Text::new(pattern.meter());
    let (mut at, mut next) = (0, 0);
    while let Some(found) = s[at..].find(['{', '}']) {
        pattern.meter().tick(1)?;
        out.push_part(pattern, at..at + found)?;
        let rest = &s[at + found..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            out.push(&rest[..1], false)?;
            at += found + 2;
            continue;
        }
        let end =
            rest.find('}').filter(|_| rest.starts_with('{')).ok_or_else(|| runtime("unbalanced braces in format"))?;
        let field = &rest[1..end];
        let value = if field.is_empty() {
            next += 1;
            positional.get(next - 1)
        } else if let Ok(index) = field.parse::<usize>() {
            positional.get(index)
        } else {
            named.iter().find(|(name, _)| name == field).map(|(_, v)| v)
        };
        let value = value.ok_or_else(|| runtime(format!("format has no value for {field:?}")))?;
        display_in(pattern, value, &mut out)?;
        at += found + end + 1;
    }
    out.push_part(pattern, at..s.len())?;
    Ok(out.marked(pattern.is_safe()))
}

/// `indent`: every line but the first (unless `first`), blank ones only if `blank`. Lines then end in `\n`, whatever they
/// ended in before.
pub(crate) fn indent(text: &Text, with: &str, first: bool, blank: bool) -> Result<Text> {
    let mut whole = text.part(0..text.as_str().len())?;
    whole.push("\n", false)?;
    let mut out = Text::new(text.meter());
    for (i, line) in split_lines(&whole, false)?.iter().enumerate() {
        let Value::Str(line) = line else { continue };
        if i > 0 {
            out.push("\n", false)?;
        }
        if if i == 0 { first } else { blank || !line.as_str().is_empty() } {
            out.push(with, false)?;
        }
        out.push_text(line)?;
    }
    Ok(out.marked(text.is_safe()))
}

/// Where `center`, `ljust` and `rjust` put a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Center,
    Right,
}

/// Filled up to a width in characters.
pub(crate) fn pad(text: &Text, width: i128, fill: &str, side: Side) -> Result<Text> {
    let s = text.as_str();
    text.meter().tick(s.len() / 64)?;
    // A marked text escapes it first.
    if fill.chars().count() != 1 || (text.is_safe() && "&<>\"'".contains(fill)) {
        return Err(runtime("the fill character must be one character"));
    }
    let chars = s.chars().count();
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(chars);
    // Python puts the odd one to the left where the width is odd.
    let left = match side {
        Side::Left => 0,
        Side::Right => missing,
        Side::Center => missing / 2 + (missing & (missing + chars) & 1),
    };
    text.meter().tick(missing)?;
    let mut out = Text::new(text.meter());
    (0..left).try_for_each(|_| out.push(fill, false))?;
    out.push_text(text)?;
    (left..missing).try_for_each(|_| out.push(fill, false))?;
    Ok(out.marked(text.is_safe()))
}

/// The bytes between the bounds that `find` and its kin take behind the text: characters, from the end where negative.
pub(crate) fn window(s: &str, given: &Given) -> Range<usize> {
    let bound = |i: usize| given.positional.get(i).and_then(Value::as_int);
    if given.positional.len() < 2 {
        return 0..s.len();
    }
    let chars = s.chars().count() as i128;
    let place = |at: i128| if at < 0 { (at + chars).max(0) } else { at.min(chars) };
    let byte = |at: i128| s.char_indices().nth(at as usize).map_or(s.len(), |(at, _)| at);
    let (start, end) = (byte(place(bound(1).unwrap_or(0))), byte(place(bound(2).unwrap_or(chars))));
    start..end.max(start)
}

/// Runs of letters, digits and underscores.
pub(crate) fn words(s: &str) -> usize {
    s.split(|c: char| !super::wrap::is_word(c)).filter(|w| !w.is_empty()).count()
}

/// Bytes for people: `13 kB`, or `13 KiB` where `binary`.
pub(crate) fn file_size(bytes: f64, binary: bool) -> String {
    const PREFIXES: &[u8] = b"kMGTPEZY";
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return "1 Byte".to_owned();
    }
    if bytes < base {
        return format!("{} Bytes", bytes as i128);
    }
    let power = (1..PREFIXES.len() as i32).find(|power| bytes < base.powi(power + 1)).unwrap_or(PREFIXES.len() as i32);
    let prefix = char::from(PREFIXES[power as usize - 1]);
    let unit = if binary { format!("{}iB", prefix.to_ascii_uppercase()) } else { format!("{prefix}B") };
    format!("{:.1} {unit}", base * bytes / base.powi(power + 1))
}

/// As in a URL, with `/` kept.
pub(crate) fn url_encoded(text: &Text) -> Result<Text> {
    let text = text.map_chars(|c, out| {
        if c.is_ascii_alphanumeric() || "_.-~/".contains(c) {
            return out.push(c);
        }
        let mut bytes = [0; 4];
        for byte in c.encode_utf8(&mut bytes).bytes() {
            out.push('%');
            out.extend(
                [byte >> 4, byte & 15].map(|d| char::from_digit(d.into(), 16).unwrap_or('0').to_ascii_uppercase()),
            );
        }
    })?;
    Ok(text.marked(false))
}
