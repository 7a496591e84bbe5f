//! Why the program ends, and with which exit code.

use crate::terminal;
use std::process::ExitCode;
use tern::ErrorKind;

/// For `--help`; the table below must agree with it.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done (also when the reader of a pipe has gone away)
  1    failed for another reason
  2    wrong usage: flags or settings
  3    a model or input file is missing, broken or not supported
  4    out of memory, or the text does not fit the context
  5    a backend is missing, was refused or failed
  130  cancelled with Ctrl-C";

/// Exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success = 0,
    Failure = 1,
    Usage = 2,
    Input = 3,
    Capacity = 4,
    Backend = 5,
    Cancelled = 130,
}

/// The end of the program before its time.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// One line for people; empty where there is nothing to say.
    pub message: String,
}

/// Result of most functions here.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The user gave up, and knows it.
    pub fn cancelled() -> Self {
        Self::new(Exit::Cancelled, "")
    }

    /// Writing a result failed. That a reader has had enough is no failure.
    pub fn output(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(Exit::Success, ""),
            _ => Self::new(Exit::Failure, format!("cannot write the output: {error}")),
        }
    }

    /// Says why on stderr, in one line.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            terminal::error_line(&self.message);
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<tern::Error> for Failure {
    fn from(error: tern::Error) -> Self {
        if error.is_cancelled() {
            return Self::cancelled();
        }
        let exit = match (&error, error.kind()) {
            (tern::Error::Setting { .. } | tern::Error::Empty, _) => Exit::Usage,
            (_, ErrorKind::Input | ErrorKind::Unsupported | ErrorKind::Io) => Exit::Input,
            (_, ErrorKind::Memory | ErrorKind::Context) => Exit::Capacity,
            (_, ErrorKind::Backend) => Exit::Backend,
            _ => Exit::Failure,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<tern::backend::BackendError> for Failure {
    fn from(error: tern::backend::BackendError) -> Self {
        tern::Error::from(error).into()
    }
}

/// An error's kind in JSON.
pub fn kind(error: &tern::Error) -> &'static str {
    match error.kind() {
        ErrorKind::Input => "input",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Memory => "memory",
        ErrorKind::Context => "context",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Backend => "backend",
        ErrorKind::Io => "io",
        ErrorKind::Internal => "internal",
    }
}

/// Help and version are results; a usage error becomes one line. The longer form is `--help`.
pub fn from_clap(error: &clap::Error) -> Result<()> {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match error.kind() {
        DisplayHelp | DisplayVersion => error.print().map_err(|e| Failure::output(&e)),
        DisplayHelpOnMissingArgumentOrSubcommand => {
            // Clap writes this one to stderr; when that is closed there is nobody to tell.
            let _ = error.print();
            Err(Failure::new(Exit::Usage, ""))
        }
        _ => Err(Failure::new(Exit::Usage, one_line(&error.render().to_string()))),
    }
}

/// What comes before clap's usage block, in one line.
fn one_line(rendered: &str) -> String {
    let useful = rendered.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let text = useful.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ").replace(" tip: ", "; tip: ");
    let text = text.trim_start_matches("error: ").trim_end_matches("For more information, try '--help'.").trim();
    format!("{text} (see --help)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_are_one_line() {
        let rendered = "error: unexpected argument '--speed' found\n\n  tip: a similar argument exists: '--seed'\n\nUsage: tern run\n\nFor more information, try '--help'.\n";
        assert_eq!(
            one_line(rendered),
            "unexpected argument '--speed' found; tip: a similar argument exists: '--seed' (see --help)"
        );
    }

    #[test]
    fn a_closed_pipe_is_success() {
        let failure = Failure::output(&std::io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Success, ""));
        assert_eq!(Failure::output(&std::io::ErrorKind::StorageFull.into()).exit, Exit::Failure);
    }

    #[test]
    fn settings_are_usage_and_files_are_input() {
        let setting = tern::Error::Setting { setting: "temperature", found: "-1".into(), expected: "0 or more" };
        assert_eq!(Failure::from(setting).exit, Exit::Usage);
        let file = tern::Error::Io { path: "x".into(), error: std::io::ErrorKind::NotFound.into() };
        assert_eq!(Failure::from(file).exit, Exit::Input);
        assert_eq!(Failure::from(tern::Error::Cancelled).exit, Exit::Cancelled);
    }
}
