//! Text from files and standard input.

use crate::failure::{Exit, Failure, Result};
use std::io::{BufRead, Read};
use std::path::Path;

/// More than any prompt or evaluation text; an endless file must not fill the memory.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// The text of a file, or of standard input where `path` is `-`.
pub fn read_text(path: &Path) -> Result<String> {
    if path.as_os_str() == "-" {
        return read("standard input", std::io::stdin().lock());
    }
    let name = path.display().to_string();
    match std::fs::File::open(path) {
        Ok(file) => read(&name, file),
        Err(error) => Err(Failure::new(Exit::Input, format!("{name}: {error}"))),
    }
}

fn read(name: &str, source: impl Read) -> Result<String> {
    let wrong = |what: String| Failure::new(Exit::Input, format!("{name}: {what}"));
    let mut bytes = Vec::new();
    source.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(wrong(format!("longer than {} MiB; give a shorter text", MAX_TEXT_BYTES >> 20)));
    }
    String::from_utf8(bytes)
        .map_err(|e| wrong(format!("not UTF-8 at byte {}; convert it to UTF-8 first", e.utf8_error().valid_up_to())))
}

/// The lines of a file, one at a time, whatever they contain.
pub struct Lines<R> {
    source: R,
    /// What the file is called in errors.
    name: String,
    max_bytes: usize,
    next: u64,
    offset: u64,
}

/// One of [`Lines`].
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Counted from 0.
    pub index: u64,
    /// Where in the file it begins.
    pub start: u64,
    /// Without the line break; only the beginning where it is longer than what is allowed.
    pub bytes: Vec<u8>,
    pub too_long: bool,
    /// A line break ends it; only the last line may lack one.
    pub whole: bool,
}

impl<R: BufRead> Lines<R> {
    pub fn new(source: R, name: impl Into<String>, max_bytes: usize) -> Self {
        Self { source, name: name.into(), max_bytes, next: 0, offset: 0 }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next one, if there is one.
    pub fn line(&mut self) -> Result<Option<Line>> {
        let mut line = Line { index: self.next, start: self.offset, bytes: Vec::new(), too_long: false, whole: false };
        while !line.whole {
            let wrong = |e: std::io::Error| Failure::new(Exit::Input, format!("{}: {e}", self.name));
            let piece = match self.source.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                piece => piece.map_err(wrong)?,
            };
            if piece.is_empty() {
                break;
            }
            let end = piece.iter().position(|&b| b == b'\n');
            let content = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            let room = self.max_bytes - line.bytes.len();
            line.bytes.extend(content.iter().take(room));
            line.too_long |= content.len() > room;
            line.whole = end.is_some();
            let used = content.len() + usize::from(line.whole);
            self.source.consume(used);
            self.offset += used as u64;
        }
        let some = self.offset > line.start;
        self.next += u64::from(some);
        Ok(some.then_some(line))
    }
}

impl Line {
    /// Without spaces around it.
    pub fn trimmed(&self) -> &[u8] {
        self.bytes.trim_ascii()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_kind() {
        let text = b"one\n\xff\r\n\nfar too long\nlast";
        // A buffer of three bytes, so that lines come in pieces.
        let mut lines = Lines::new(std::io::BufReader::with_capacity(3, &text[..]), "x", 5);
        let mut got = Vec::new();
        while let Some(line) = lines.line().unwrap() {
            assert_eq!((line.index, line.whole), (got.len() as u64, got.len() < 4));
            assert!(text[line.start as usize..].starts_with(&line.bytes));
            got.push((line.trimmed().to_vec(), line.too_long));
        }
        let expected: [(&[u8], bool); 5] =
            [(b"one", false), (b"\xff", false), (b"", false), (b"far t", true), (b"last", false)];
        assert_eq!(got, expected.map(|(bytes, too_long)| (bytes.trim_ascii().to_vec(), too_long)));
        assert_eq!(lines.line().unwrap(), None);
    }

    #[test]
    fn only_utf8_and_not_endless() {
        assert_eq!(read("x", "grüße".as_bytes()).unwrap(), "grüße");
        let failure = read("x", &b"ab\xff"[..]).unwrap_err();
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::Input, "x: not UTF-8 at byte 2; convert it to UTF-8 first")
        );
        assert!(read_text(Path::new("/no/such/file")).unwrap_err().message.starts_with("/no/such/file: "));
    }
}
