//! Where the script changes: SentencePiece's rule for its trainer, which Hugging Face has as `UnicodeScripts`.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

use crate::error::TextError;

/// The scripts of Unicode 9, of which the table is: later ones, and characters that came later, are of no script.
const NAMES: &str = "Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki \
    Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Common Coptic \
    Cuneiform Cypriot Cyrillic Deseret Devanagari Duployan Egyptian_Hieroglyphs Elbasan Ethiopic Georgian Glagolitic Gothic \
    Grantha Greek Gujarati Gurmukhi Han Hangul Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited Inscriptional_Pahlavi \
    Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kayah_Li Kharoshthi Khmer Khojki Khudawadi Lao Latin Lepcha Limbu \
    Linear_A Linear_B Lisu Lycian Lydian Mahajani Malayalam Mandaic Manichaean Marchen Meetei_Mayek Mende_Kikakui \
    Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean New_Tai_Lue Newa Nko Ogham Ol_Chiki \
    Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_South_Arabian Old_Turkic Oriya Osage Osmanya \
    Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian \
    Siddham SignWriting Sinhala Sora_Sompeng Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri \
    Tamil Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Ugaritic Vai Warang_Citi Yi";

/// Characters that another script has since than in Unicode 9, then SentencePiece's own: the prolonged sound mark of both kana,
/// and the space, which is of none.
const OTHERS: [(char, &str); 6] = [
    ('\u{589}', "Common"),
    ('\u{61c}', "Common"),
    ('\u{953}', "Devanagari"),
    ('\u{954}', "Devanagari"),
    ('ー', "Han"),
    (' ', "Any"),
];

/// Of no script of its own: goes with what is before it.
const ANY: u8 = 0;

/// Scripts of characters.
pub(super) struct Scripts {
    /// Where runs of one script begin, rising from U+0000.
    runs: Vec<(u32, u8)>,
}

impl Scripts {
    /// The table, made once.
    ///
    /// # Errors
    /// [`TextError::Regex`] if the Unicode tables lack a script: they do not.
    pub(super) fn table() -> Result<&'static Self, TextError> {
        static TABLE: LazyLock<Result<Scripts, TextError>> = LazyLock::new(Scripts::new);
        TABLE.as_ref().map_err(Clone::clone)
    }

    fn new() -> Result<Self, TextError> {
        let number = |name: &str| {
            // Kana counts as Chinese.
            let name = if matches!(name, "Hiragana" | "Katakana") { "Han" } else { name };
            NAMES.split_ascii_whitespace().position(|n| n == name).map_or(ANY, |at| at as u8 + 1)
        };
        let mut ranges = Vec::new();
        for name in NAMES.split_ascii_whitespace() {
            let of_script = class(&format!(r"[\p{{Script={name}}}&&\p{{Age=9.0}}]"))?;
            ranges.extend(of_script.into_iter().map(|(start, end)| (start, end, number(name))));
        }
        let single = |(c, name): (char, &str)| (u32::from(c), u32::from(c), number(name));
        ranges.extend(OTHERS.into_iter().map(single));
        Ok(Self { runs: runs(&ranges) })
    }

    fn of(&self, c: char) -> u8 {
        let next = self.runs.partition_point(|&(start, _)| start <= u32::from(c));
        self.runs[next - 1].1
    }

    /// Gives `sink` the pieces of `text`. What comes before the first character of a script is left out.
    pub(super) fn cut(
        &self,
        text: &str,
        sink: &mut dyn FnMut(usize, usize) -> Result<(), TextError>,
    ) -> Result<(), TextError> {
        let mut open = None;
        for (at, c) in text.char_indices() {
            let script = self.of(c);
            match open {
                _ if script == ANY => {}
                Some((_, last)) if last == script => {}
                _ => {
                    if let Some((start, _)) = open.replace((at, script)) {
                        sink(start, at)?;
                    }
                }
            }
        }
        open.map_or(Ok(()), |(start, _)| sink(start, text.len()))
    }
}

/// The ranges of a class.
fn class(pattern: &str) -> Result<Vec<(u32, u32)>, TextError> {
    let failed = |message: String| TextError::Regex { pattern: pattern.to_owned(), message };
    let parsed = regex_syntax::parse(pattern).map_err(|e| failed(e.to_string()))?;
    match parsed.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            Ok(class.ranges().iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect())
        }
        // A class of one character.
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).unwrap_or_default();
            Ok(text.chars().map(|c| (u32::from(c), u32::from(c))).collect())
        }
        _ => Err(failed("not a class".to_owned())),
    }
}

/// Runs out of ranges, of which later ones go before earlier ones.
fn runs(ranges: &[(u32, u32, u8)]) -> Vec<(u32, u8)> {
    let mut of = vec![ANY; char::MAX as usize + 1];
    for &(start, end, script) in ranges {
        of[start as usize..=end as usize].fill(script);
    }
    let mut runs = vec![(0, of[0])];
    runs.extend(
        of.windows(2).enumerate().filter(|(_, pair)| pair[0] != pair[1]).map(|(at, pair)| (at as u32 + 1, pair[1])),
    );
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where runs begin in Hugging Face's table: as many, and their sum.
    #[test]
    fn the_table_is_that_of_unicode_9() {
        let scripts = Scripts::new().unwrap();
        let (count, sum) = (scripts.runs.len(), scripts.runs.iter().map(|&(start, _)| u64::from(start)).sum::<u64>());
        assert_eq!((count, sum), (1489, 71_919_113));
    }

    #[test]
    fn pieces_begin_where_the_script_changes() {
        let scripts = Scripts::new().unwrap();
        let pieces = |text: &'static str| {
            let mut out = Vec::new();
            scripts
                .cut(text, &mut |start, end| {
                    out.push(&text[start..end]);
                    Ok(())
                })
                .unwrap();
            out
        };
        assert_eq!(pieces("どこで生れ。Yes"), ["どこで生れ", "。", "Yes"]);
        assert_eq!(pieces("Apples are りんご 林檎"), ["Apples are ", "りんご 林檎"]);
        assert_eq!(pieces("  ab1カー"), ["ab", "1", "カー"]);
        assert_eq!((pieces(" "), pieces("")), (vec![], vec![]));
    }
}
