//! From matches to pieces.

use crate::error::TextError;
use crate::spec::Behavior;

/// A stretch of text, and whether it counts as a match.
type Stretch = (usize, usize, bool);

/// Gives `sink` the pieces of `text` that `matches` (rising, apart) make under `behavior`, none of them empty.
pub(super) fn cut(
    text: &str,
    matches: impl Iterator<Item = Result<(usize, usize), TextError>>,
    behavior: Behavior,
    invert: bool,
    sink: &mut dyn FnMut(usize, usize) -> Result<(), TextError>,
) -> Result<(), TextError> {
    let mut joiner = Joiner { behavior, held: None, sink };
    let mut at = 0;
    for found in matches {
        let (start, end) = found?;
        if start > at {
            joiner.take((at, start, invert))?;
        }
        joiner.take((start, end, !invert))?;
        at = end;
    }
    if at < text.len() {
        joiner.take((at, text.len(), invert))?;
    }
    joiner.finish()
}

/// Joins stretches with their neighbours; holds one that the next may still join.
struct Joiner<'s> {
    behavior: Behavior,
    held: Option<Stretch>,
    sink: &'s mut dyn FnMut(usize, usize) -> Result<(), TextError>,
}

impl Joiner<'_> {
    fn take(&mut self, next: Stretch) -> Result<(), TextError> {
        if self.behavior == Behavior::Removed && next.2 {
            return Ok(());
        }
        // The kind of a joined piece is that of its last part where parts join forward, of its first where they join back.
        let joined = match (self.behavior, self.held) {
            (_, None) | (Behavior::Removed | Behavior::Isolated, _) => None,
            (Behavior::Contiguous, Some((start, _, kind))) => (kind == next.2).then_some((start, next.1, kind)),
            (Behavior::MergedWithPrevious, Some((start, _, kind))) => {
                (next.2 && !kind).then_some((start, next.1, true))
            }
            (Behavior::MergedWithNext, Some((start, _, kind))) => (kind && !next.2).then_some((start, next.1, false)),
        };
        match joined {
            Some(joined) => self.held = Some(joined),
            None => {
                self.finish()?;
                self.held = Some(next);
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TextError> {
        match self.held.take() {
            Some((start, end, _)) if start < end => (self.sink)(start, end),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, behavior: Behavior, invert: bool) -> Vec<&str> {
        let dashes = text.match_indices('-').map(|(at, m)| Ok((at, at + m.len())));
        let mut out = Vec::new();
        cut(text, dashes, behavior, invert, &mut |start, end| {
            out.push(&text[start..end]);
            Ok(())
        })
        .unwrap();
        out
    }

    /// Results of Hugging Face's `Split`.
    #[test]
    fn behaviours_join_as_documented() {
        let text = "the-final--countdown";
        assert_eq!(pieces(text, Behavior::Removed, false), ["the", "final", "countdown"]);
        assert_eq!(pieces(text, Behavior::Isolated, false), ["the", "-", "final", "-", "-", "countdown"]);
        assert_eq!(pieces(text, Behavior::MergedWithPrevious, false), ["the-", "final-", "-", "countdown"]);
        assert_eq!(pieces(text, Behavior::MergedWithNext, false), ["the", "-final", "-", "-countdown"]);
        assert_eq!(pieces(text, Behavior::Contiguous, false), ["the", "-", "final", "--", "countdown"]);
        assert_eq!(pieces(text, Behavior::Removed, true), ["-", "-", "-"]);
    }
}
