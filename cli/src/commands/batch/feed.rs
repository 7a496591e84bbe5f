//! The prompts' lines: read ahead on a thread of their own, so that nobody waits for a slow writer of a pipe while there is
//! work to do.

use super::results::Written;
use crate::failure::{Exit, Failure, Result};
use crate::input::{Line, Lines};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// A prompt that fits any context is far shorter.
const MAX_LINE_BYTES: usize = 16 << 20;
/// Lines that wait at most; the batch has a queue of its own.
const READ_AHEAD: usize = 4;

/// Where the prompts are.
pub struct Input {
    name: String,
    source: Source,
}

enum Source {
    /// Can be read twice.
    File(File),
    /// Standard input, or a named pipe.
    Stream(Box<dyn Read + Send>),
}

impl Input {
    pub fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self { name: "standard input".to_owned(), source: Source::Stream(Box::new(std::io::stdin())) });
        }
        let name = path.display().to_string();
        let wrong = |what: String| Failure::new(Exit::Input, format!("{name}: {what}"));
        let file = File::open(path).map_err(|e| wrong(e.to_string()))?;
        let metadata = file.metadata().map_err(|e| wrong(e.to_string()))?;
        if metadata.is_dir() {
            return Err(wrong("a folder; give a file with a JSON object on each line".to_owned()));
        }
        let source = if metadata.is_file() { Source::File(file) } else { Source::Stream(Box::new(file)) };
        Ok(Self { name, source })
    }

    pub fn rereadable(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// Reads a file once before its prompts are worked on: counts them, and makes sure that `written` are results of them.
    pub fn check(&mut self, written: &Written, hash: impl Fn(&Line) -> String) -> Result<Option<u64>> {
        let Source::File(file) = &mut self.source else { return Ok(None) };
        let mut lines = Lines::new(BufReader::new(&*file), &self.name, MAX_LINE_BYTES);
        let (mut count, mut known) = (0, 0);
        while let Some(line) = lines.line()? {
            if line.trimmed().is_empty() {
                continue;
            }
            count += 1;
            if let Some(recorded) = written.hash(line.index) {
                known += 1;
                if *recorded != hash(&line) {
                    return Err(written.foreign(&format!("line {} of {}", line.index + 1, self.name)));
                }
            }
        }
        if known < written.len() {
            return Err(written.foreign(&format!("lines that {} does not have", self.name)));
        }
        file.rewind().map_err(|e| Failure::new(Exit::Input, format!("{}: {e}", self.name)))?;
        Ok(Some(count))
    }
}

/// Lines as they come, without blank ones.
pub struct Feed {
    lines: Receiver<Result<Line>>,
    /// Came while it was waited for.
    waiting: Option<Result<Line>>,
}

/// What a [`Feed`] has.
pub enum Next {
    Line(Line),
    NotYet,
    End,
}

impl Feed {
    pub fn new(input: Input) -> Self {
        let (sender, lines) = sync_channel(READ_AHEAD);
        let source: Box<dyn Read + Send> = match input.source {
            Source::File(file) => Box::new(file),
            Source::Stream(stream) => stream,
        };
        // It ends when nobody takes what it reads; where it waits for input then, the end of the program ends it.
        std::thread::spawn(move || {
            let mut source = Lines::new(BufReader::new(source), input.name, MAX_LINE_BYTES);
            while let Some(line) = source.line().transpose() {
                let last = line.is_err();
                if line.as_ref().is_ok_and(|l| l.trimmed().is_empty()) {
                    continue;
                }
                if sender.send(line).is_err() || last {
                    break;
                }
            }
        });
        Self { lines, waiting: None }
    }

    /// What there is.
    pub fn next(&mut self) -> Result<Next> {
        use std::sync::mpsc::TryRecvError::{Disconnected, Empty};
        match self.waiting.take().map_or_else(|| self.lines.try_recv(), Ok) {
            Ok(line) => line.map(Next::Line),
            Err(Empty) => Ok(Next::NotYet),
            Err(Disconnected) => Ok(Next::End),
        }
    }

    /// Waits a moment for the next line.
    pub fn wait(&mut self, patience: Duration) {
        self.waiting = self.lines.recv_timeout(patience).ok();
    }
}
