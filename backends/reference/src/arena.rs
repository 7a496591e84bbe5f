//! Which bytes of the arena hold what, so that reading what is not there is an error.

use crate::{Error, Result};

/// Bytes that a tensor was written to.
#[derive(Clone, Copy, Debug)]
struct Span {
    begin: u64,
    end: u64,
    tensor: usize,
}

/// What has been written to the arena in this step.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    spans: Vec<Span>,
}

impl Arena {
    /// `tensor` was written to `begin..end`.
    pub(crate) fn wrote(&mut self, tensor: usize, begin: u64, end: u64) {
        let old = std::mem::take(&mut self.spans);
        for span in old {
            // What the new tensor covers is gone; what sticks out on either side stays.
            let left = Span { end: span.end.min(begin), ..span };
            let right = Span { begin: span.begin.max(end), ..span };
            self.spans.extend([left, right].into_iter().filter(|s| s.begin < s.end));
        }
        self.spans.push(Span { begin, end, tensor });
    }

    /// Op `op` is about to read `tensor` from `begin..end`. Where an op of this step yielded the tensor
    /// (`own`), its bytes must still be those; else (a view of other tensors) they must have been written.
    pub(crate) fn read(&self, op: usize, tensor: usize, begin: u64, end: u64, own: bool) -> Result<()> {
        let mut covered = 0;
        for span in &self.spans {
            let (from, to) = (span.begin.max(begin), span.end.min(end));
            if from >= to {
                continue;
            }
            if own && span.tensor != tensor {
                let what = format!("its bytes {from}..{to} now hold tensor {}", span.tensor);
                return Err(Error::Arena { op, tensor, what });
            }
            covered += to - from;
        }
        if covered < end - begin {
            let what = format!("{} of its {} bytes were not written in this step", end - begin - covered, end - begin);
            return Err(Error::Arena { op, tensor, what });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overwritten_and_missing_bytes_are_noticed() {
        let mut arena = Arena::default();
        arena.wrote(1, 0, 100);
        assert!(arena.read(5, 1, 0, 100, true).is_ok());
        arena.wrote(2, 40, 60);
        assert!(arena.read(5, 1, 0, 100, true).is_err());
        assert!(arena.read(5, 2, 40, 60, true).is_ok());
        // A view of both.
        assert!(arena.read(5, 3, 0, 100, false).is_ok());
        assert!(arena.read(5, 3, 0, 101, false).is_err());
    }
}
