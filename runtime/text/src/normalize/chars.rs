//! Rules on single characters, as Hugging Face's normalizers have them.

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::is_combining_mark;

/// General category M.
pub(super) fn is_mark(c: char) -> bool {
    is_combining_mark(c)
}

/// General category Mn.
pub(super) fn is_non_spacing(c: char) -> bool {
    c.is_mark_nonspacing()
}

/// Without control characters, each kind of whitespace a space.
pub(super) fn clean(text: &str) -> String {
    let control = |c: char| !matches!(c, '\t' | '\n' | '\r') && c.is_other();
    let kept = text.chars().filter(|&c| !(c == '\0' || c == '\u{fffd}' || control(c)));
    kept.map(|c| if c.is_whitespace() { ' ' } else { c }).collect()
}

/// Spaces around Chinese characters.
pub(super) fn space_chinese(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_chinese(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// The blocks that BERT lists; the gap before U+2B920 is Hugging Face's.
fn is_chinese(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{20000}'..='\u{2a6df}' | '\u{2a700}'..='\u{2b73f}'
        | '\u{2b740}'..='\u{2b81f}' | '\u{2b920}'..='\u{2ceaf}' | '\u{f900}'..='\u{faff}' | '\u{2f800}'..='\u{2fa1f}')
}

/// Without control characters; other kinds of whitespace and what has no width become spaces.
pub(super) fn nmt(text: &str) -> String {
    let removed = |c| matches!(c, '\u{1}'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{8f}' | '\u{9f}');
    let space = |c| {
        matches!(
            c,
            '\t' | '\n' | '\u{c}' | '\r' | '\u{1680}' | '\u{200b}'
                ..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{2581}' | '\u{feff}' | '\u{fffd}'
        )
    };
    text.chars().filter(|&c| !removed(c)).map(|c| if space(c) { ' ' } else { c }).collect()
}
