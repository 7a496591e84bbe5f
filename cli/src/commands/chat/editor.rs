//! Lines from people, with editing and history, or from a pipe.

use crate::failure::{Exit, Failure, Result};
use crate::terminal::bold;
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

/// An endless line must not fill the memory.
const MAX_LINE_BYTES: u64 = 4 << 20;
const HISTORY_LINES: usize = 1000;

/// Where lines come from.
pub enum Editor {
    Terminal { editor: Box<DefaultEditor>, history: Option<PathBuf> },
    Pipe,
}

/// What came.
pub enum Input {
    Line(String),
    /// Ctrl-C.
    Interrupted,
    End,
}

impl Editor {
    pub fn new(interactive: bool, history: Option<&Path>) -> Result<Self> {
        if !interactive {
            return Ok(Self::Pipe);
        }
        let config = Config::builder().max_history_size(HISTORY_LINES).map_err(|e| terminal(&e))?;
        let mut editor = DefaultEditor::with_config(config.auto_add_history(true).build()).map_err(|e| terminal(&e))?;
        if let Some(path) = history.filter(|path| path.exists()) {
            editor.load_history(path).map_err(|e| unusable(path, &e))?;
        }
        Ok(Self::Terminal { editor: Box::new(editor), history: history.map(Path::to_owned) })
    }

    pub fn line(&mut self) -> Result<Input> {
        match self {
            Self::Terminal { editor, .. } => match editor.readline(bold("> ").as_ref()) {
                Ok(line) => Ok(Input::Line(line)),
                Err(ReadlineError::Eof) => Ok(Input::End),
                Err(ReadlineError::Interrupted) => Ok(Input::Interrupted),
                Err(error) => Err(terminal(&error)),
            },
            Self::Pipe => piped(io::stdin().lock()),
        }
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        if let Self::Terminal { editor, history: Some(path) } = self
            && let Err(error) = editor.append_history(path)
        {
            crate::terminal::note(&unusable(path, &error).message);
        }
    }
}

fn piped(source: impl BufRead) -> Result<Input> {
    let wrong = |what: &dyn std::fmt::Display| Failure::new(Exit::Input, format!("standard input: {what}"));
    let mut line = String::new();
    let count = source.take(MAX_LINE_BYTES + 1).read_line(&mut line).map_err(|e| wrong(&e))?;
    match count as u64 {
        0 => Ok(Input::End),
        n if n > MAX_LINE_BYTES => Err(wrong(&format!("a line is longer than {} MiB", MAX_LINE_BYTES >> 20))),
        _ => Ok(Input::Line(line.trim_end_matches(['\n', '\r']).to_owned())),
    }
}

fn terminal(error: &ReadlineError) -> Failure {
    Failure::new(Exit::Failure, format!("the terminal cannot be used: {error}"))
}

fn unusable(path: &Path, error: &ReadlineError) -> Failure {
    Failure::new(Exit::Input, format!("history file {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_from_a_pipe() {
        let mut source = &b"one\r\ntwo"[..];
        for expected in ["one", "two"] {
            let Input::Line(line) = piped(&mut source).unwrap() else { panic!("no line") };
            assert_eq!(line, expected);
        }
        assert!(matches!(piped(&mut source), Ok(Input::End)));
        assert_eq!(piped(&b"\xff\n"[..]).err().unwrap().exit, Exit::Input);
    }
}
