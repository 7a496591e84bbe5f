//! Strings that know which of their bytes came from a user.
//!
//! A control token is a control token only where the template wrote all of its bytes. Every operation of the template
//! language copies bytes from its operands or makes new ones, so provenance is exact: it is carried as a list of byte ranges
//! through concatenation, slicing, trimming, replacing, changes of case and JSON.

use std::ops::Range;
use std::rc::Rc;

use super::meter::Meter;
use crate::error::TextError;

/// Memory charged per range of user bytes.
const RANGE_BYTES: usize = 16;

/// Memory charged per string besides its bytes: the structure itself and what an allocator adds.
const TEXT_BYTES: usize = 128;

/// A string with the ranges of its bytes that came from a user, rising and apart.
#[derive(Debug)]
pub(crate) struct Text {
    text: String,
    user: Vec<Range<usize>>,
    /// Marked by `safe` or `escape`: what is added to it is escaped, as Python's `Markup` does.
    safe: bool,
    charged: usize,
    meter: Rc<Meter>,
}

impl Drop for Text {
    fn drop(&mut self) {
        self.meter.release(self.charged);
    }
}

impl Text {
    /// An empty string, charged to `meter` as it grows.
    pub(crate) fn new(meter: &Rc<Meter>) -> Self {
        Self { text: String::new(), user: Vec::new(), safe: false, charged: 0, meter: Rc::clone(meter) }
    }

    /// A copy of `text`, all of it from the template or all from a user.
    pub(crate) fn copy(meter: &Rc<Meter>, text: &str, user: bool) -> Result<Self, TextError> {
        let mut out = Self::new(meter);
        out.push(text, user)?;
        Ok(out)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn meter(&self) -> &Rc<Meter> {
        &self.meter
    }

    /// Whether `safe` or `escape` marked it.
    pub(crate) fn is_safe(&self) -> bool {
        self.safe
    }

    /// Marked or not.
    pub(crate) fn marked(mut self, safe: bool) -> Self {
        self.safe = safe;
        self
    }

    /// With `&`, `<`, `>` and quotes as HTML writes them; unchanged where it is marked.
    pub(crate) fn escaped(&self) -> Result<Text, TextError> {
        if self.safe {
            return self.part(0..self.text.len());
        }
        let text = self.map_chars(|c, out| match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        })?;
        Ok(text.marked(true))
    }

    /// Appends text.
    pub(crate) fn push(&mut self, text: &str, user: bool) -> Result<(), TextError> {
        let start = self.text.len();
        self.charge(text.len())?;
        self.text.push_str(text);
        if user { self.mark(start..start + text.len()) } else { Ok(()) }
    }

    /// Appends a part of another string with its provenance.
    pub(crate) fn push_part(&mut self, other: &Text, part: Range<usize>) -> Result<(), TextError> {
        let base = self.text.len();
        self.charge(part.len())?;
        self.text.push_str(&other.text[part.clone()]);
        let first = other.user.partition_point(|r| r.end <= part.start);
        for range in &other.user[first..] {
            if range.start >= part.end {
                break;
            }
            let (start, end) = (range.start.max(part.start), range.end.min(part.end));
            self.mark(base + start - part.start..base + end - part.start)?;
        }
        Ok(())
    }

    /// Appends another string.
    pub(crate) fn push_text(&mut self, other: &Text) -> Result<(), TextError> {
        self.push_part(other, 0..other.text.len())
    }

    /// A part of this string.
    pub(crate) fn part(&self, part: Range<usize>) -> Result<Text, TextError> {
        let mut out = Text::new(&self.meter);
        out.push_part(self, part)?;
        Ok(out.marked(self.safe))
    }

    /// Every character through `map`, which gives its replacement; provenance stays with the character.
    pub(crate) fn map_chars(&self, mut map: impl FnMut(char, &mut String)) -> Result<Text, TextError> {
        self.meter.tick(self.text.len() / 8)?;
        let mut out = Text::new(&self.meter);
        let mut buffer = String::new();
        for (at, c) in self.text.char_indices() {
            buffer.clear();
            map(c, &mut buffer);
            out.push(&buffer, self.is_user(at))?;
        }
        Ok(out.marked(self.safe))
    }

    /// Whether any byte of a part came from a user.
    pub(crate) fn is_touched(&self, part: Range<usize>) -> bool {
        let next = self.user.partition_point(|r| r.end <= part.start);
        self.user.get(next).is_some_and(|r| r.start < part.end)
    }

    /// Whether the byte at `at` came from a user.
    pub(crate) fn is_user(&self, at: usize) -> bool {
        let next = self.user.partition_point(|r| r.end <= at);
        self.user.get(next).is_some_and(|r| r.start <= at)
    }

    /// The string and its ranges from users.
    pub(crate) fn into_parts(mut self) -> (String, Vec<Range<usize>>) {
        (std::mem::take(&mut self.text), std::mem::take(&mut self.user))
    }

    fn mark(&mut self, range: Range<usize>) -> Result<(), TextError> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(last) = self.user.last_mut().filter(|last| last.end == range.start) {
            last.end = range.end;
            return Ok(());
        }
        self.charge(RANGE_BYTES)?;
        self.user.push(range);
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), TextError> {
        let bytes = if self.charged == 0 { bytes + TEXT_BYTES } else { bytes };
        self.meter.take(bytes)?;
        self.charged += bytes;
        // Copying a kilobyte takes about as long as a step.
        self.meter.tick(bytes / 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provenance_follows_the_bytes() {
        let meter = Meter::new(0);
        let mut a = Text::copy(&meter, "<|", false).unwrap();
        a.push("user", true).unwrap();
        a.push("|>", false).unwrap();
        let part = a.part(1..5).unwrap();
        assert_eq!((part.as_str(), part.user.first()), ("|use", Some(&(1..4))));
        let mut twice = Text::new(&meter);
        twice.push_text(&a).unwrap();
        twice.push_text(&part).unwrap();
        assert_eq!(twice.user, [2..6, 9..12]);
        let upper = part.map_chars(|c, out| out.extend(c.to_uppercase())).unwrap();
        assert_eq!((upper.as_str(), upper.user.first()), ("|USE", Some(&(1..4))));
    }
}
