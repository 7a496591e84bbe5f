//! Ending a stream of text at the first stop string.
//!
//! Text comes in pieces that know nothing of the stop strings' borders, so what may be the beginning of one is held back
//! until it is decided. Each stop string has a Knuth-Morris-Pratt automaton: a byte costs one step per stop string, however
//! the text is cut, and the automaton's state is the number of bytes to hold back.

use crate::error::TextError;
use crate::limits::{MAX_STOP_BYTES, MAX_STOPS};

/// What [`StopMatcher::push`] gives back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Text that is before any stop string.
    pub text: String,
    /// Index of the stop string that was found, which ends the stream.
    pub stop: Option<usize>,
}

#[derive(Debug, Clone)]
struct Needle {
    bytes: Vec<u8>,
    /// For each length matched, the longest shorter one that also ends here.
    back: Vec<usize>,
    matched: usize,
}

impl Needle {
    fn new(text: &str) -> Self {
        let bytes = text.as_bytes().to_vec();
        let mut back = vec![0; bytes.len() + 1];
        let mut k = 0;
        for i in 1..bytes.len() {
            while k > 0 && bytes[i] != bytes[k] {
                k = back[k];
            }
            if bytes[i] == bytes[k] {
                k += 1;
            }
            back[i + 1] = k;
        }
        Self { bytes, back, matched: 0 }
    }

    fn step(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.bytes[self.matched] != byte {
            self.matched = self.back[self.matched];
        }
        if self.bytes[self.matched] == byte {
            self.matched += 1;
        }
        self.matched == self.bytes.len()
    }
}

/// Finds stop strings in streamed text. The stop string whose last byte comes first ends the stream; of several that end
/// there, the longest. The result does not depend on how the text is cut into pieces.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    needles: Vec<Needle>,
    held: String,
    stopped: Option<usize>,
}

impl StopMatcher {
    /// For these stop strings; none means that nothing is held back.
    ///
    /// # Errors
    /// [`TextError::EmptyStop`], [`TextError::TooLarge`].
    pub fn new<S: AsRef<str>>(stops: &[S]) -> Result<Self, TextError> {
        if stops.len() > MAX_STOPS {
            return Err(TextError::TooLarge { what: "number of stop strings", found: stops.len(), limit: MAX_STOPS });
        }
        let mut needles = Vec::with_capacity(stops.len());
        for (index, stop) in stops.iter().enumerate() {
            let stop = stop.as_ref();
            if stop.is_empty() {
                return Err(TextError::EmptyStop { index });
            }
            if stop.len() > MAX_STOP_BYTES {
                return Err(TextError::TooLarge {
                    what: "bytes of a stop string",
                    found: stop.len(),
                    limit: MAX_STOP_BYTES,
                });
            }
            needles.push(Needle::new(stop));
        }
        Ok(Self { needles, held: String::new(), stopped: None })
    }

    /// Takes text; gives what is certain not to belong to a stop string. After a stop string was found, text is ignored.
    pub fn push(&mut self, text: &str) -> Stopped {
        if self.stopped.is_some() {
            return Stopped { text: String::new(), stop: self.stopped };
        }
        let from = self.held.len();
        self.held.push_str(text);
        for (at, &byte) in text.as_bytes().iter().enumerate() {
            let mut best: Option<(usize, usize)> = None;
            for (index, needle) in self.needles.iter_mut().enumerate() {
                if needle.step(byte) && best.is_none_or(|(_, len)| needle.bytes.len() > len) {
                    best = Some((index, needle.bytes.len()));
                }
            }
            if let Some((index, len)) = best {
                // The automaton saw `len` bytes since the stream began, and what it may need is never given out.
                let end = from + at + 1;
                self.stopped = Some(index);
                let mut text = std::mem::take(&mut self.held);
                text.truncate(end.saturating_sub(len));
                return Stopped { text, stop: Some(index) };
            }
        }
        let hold = self.needles.iter().map(|n| n.matched).max().unwrap_or(0);
        let tail = self.held.split_off(self.held.len() - hold);
        Stopped { text: std::mem::replace(&mut self.held, tail), stop: None }
    }

    /// The end of the stream: what was held back and turned out not to be a stop string. The matcher is then as new.
    pub fn finish(&mut self) -> String {
        for needle in &mut self.needles {
            needle.matched = 0;
        }
        self.stopped = None;
        std::mem::take(&mut self.held)
    }

    /// The stop string that ended the stream.
    pub fn stopped(&self) -> Option<usize> {
        self.stopped
    }
}
