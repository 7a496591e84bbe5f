//! Results to stdout, everything else to stderr. Nothing here panics when either is closed.

use crate::failure::{Failure, Result};
use crate::machine::terminal_width;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{BufWriter, IsTerminal, Stderr, Stdout, Write, stderr, stdin, stdout};
use std::time::{Duration, Instant};

/// May colours be used on this stream? Not where NO_COLOR (no-color.org) is set, nor on dumb terminals.
fn color(is_terminal: bool) -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    is_terminal && !unwanted && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Do people sit at both ends?
pub fn is_interactive() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// Do people read stderr?
pub fn is_watched() -> bool {
    stderr().is_terminal()
}

/// Dim text for stderr.
pub fn dim(text: &str) -> Cow<'_, str> {
    if color(is_watched()) { format!("\x1b[2m{text}\x1b[0m").into() } else { text.into() }
}

/// Bold text for stdout.
pub fn bold(text: &str) -> Cow<'_, str> {
    if color(stdout().is_terminal()) { format!("\x1b[1m{text}\x1b[0m").into() } else { text.into() }
}

/// A line for people, on stderr. When that is closed there is nobody to tell.
pub fn note(line: &str) {
    let _ = match terminal_width() {
        Some(width) => writeln!(stderr(), "{}", wrapped(line, width)),
        None => writeln!(stderr(), "{line}"),
    };
}

/// The text with line breaks between words where it would be wider than `width`. Whoever sends it to a file gets it as it is.
fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let mut used = 0;
        for (i, word) in line.split(' ').enumerate() {
            let columns = columns(word);
            if i > 0 && used + 1 + columns > width {
                out.push('\n');
                used = 0;
            } else if i > 0 {
                out.push(' ');
                used += 1;
            }
            out.push_str(word);
            used += columns;
        }
    }
    out
}

/// Columns that a text takes, about: colours take none.
fn columns(text: &str) -> usize {
    let colours: usize = text.split("\x1b[").skip(1).map(|s| 2 + s.find('m').map_or(0, |end| end + 1)).sum();
    text.chars().count() - colours
}

/// The line that says why the program fails.
pub fn error_line(message: &str) {
    let label = if color(is_watched()) { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    note(&format!("{label} {}", printable(&message.split_whitespace().collect::<Vec<_>>().join(" "))));
}

/// The text without control characters other than line breaks and tabs: what a model writes, and what a file
/// contains, must not steer the terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(harmful) { text.replace(harmful, "\u{fffd}").into() } else { text.into() }
}

/// "1 thread", "2 threads".
pub fn count(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Where results go.
pub struct Out {
    stream: BufWriter<Stdout>,
    terminal: bool,
}

impl Out {
    pub fn new() -> Self {
        let stream = stdout();
        Self { terminal: stream.is_terminal(), stream: BufWriter::new(stream) }
    }

    /// Text as it is; only on a terminal without control characters.
    pub fn text(&mut self, text: &str) -> Result<()> {
        let text = if self.terminal { printable(text) } else { text.into() };
        self.raw(text.as_bytes())
    }

    /// A line of our own making, which may have colours.
    pub fn line(&mut self, line: &str) -> Result<()> {
        self.raw(line.as_bytes())?;
        self.raw(b"\n")
    }

    /// One JSON value on one line.
    pub fn json(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.stream, value).map_err(|e| Failure::output(&e.into()))?;
        self.raw(b"\n")?;
        self.flush()
    }

    /// Makes everything so far visible.
    pub fn flush(&mut self) -> Result<()> {
        self.stream.flush().map_err(|e| Failure::output(&e))
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(|e| Failure::output(&e))
    }
}

/// A line on stderr that changes while something takes long, and goes away. Silent where nobody watches.
pub struct Progress {
    stream: Option<Stderr>,
    started: Instant,
    shown: Option<Instant>,
}

impl Progress {
    /// What takes less than this needs no progress line.
    const PATIENCE: Duration = Duration::from_millis(400);
    const INTERVAL: Duration = Duration::from_millis(100);

    pub fn new() -> Self {
        Self { stream: is_watched().then(stderr), started: Instant::now(), shown: None }
    }

    /// Shows what `line` makes, if it is time to.
    pub fn update(&mut self, line: impl FnOnce() -> String) {
        let due = self.shown.map_or(self.started.elapsed() > Self::PATIENCE, |t| t.elapsed() > Self::INTERVAL);
        if let (true, Some(stream)) = (due, &mut self.stream) {
            self.shown = Some(Instant::now());
            // Of a longer line only the last row would go away.
            let line: String = line().chars().take(terminal_width().unwrap_or(80) - 1).collect();
            let _ = write!(stream, "\r\x1b[K{}", printable(&line));
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if let (Some(_), Some(stream)) = (self.shown.take(), &mut self.stream) {
            let _ = write!(stream, "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_fit_the_terminal() {
        assert_eq!(wrapped("one two three", 20), "one two three");
        assert_eq!(wrapped("one two three", 7), "one two\nthree");
        assert_eq!(wrapped("enormous x\ny", 3), "enormous\nx\ny");
        assert_eq!(wrapped("\x1b[2mone two\x1b[0m three", 7), "\x1b[2mone two\x1b[0m\nthree");
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\tb\nc"), "a\tb\nc");
        assert_eq!(printable("a\x1b[31mb\x07"), "a\u{fffd}[31mb\u{fffd}");
    }
}
