//! The results' file: a line for each prompt, written as it ends, and what an earlier run has written.

use crate::failure::{Exit, Failure, Result};
use crate::input::{Line, Lines};
use crate::terminal::Out;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::path::Path;

/// A result has more tokens than characters, each with a few digits.
const MAX_LINE_BYTES: usize = 256 << 20;
/// How a line of ours begins.
const BEGINNING: &[u8] = b"{\"id\":";

/// A line of the output. Its JSON form is an interface.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    pub id: &'a Value,
    pub index: u64,
    pub text: &'a str,
    pub tokens: &'a [u32],
    /// Null where there is an error.
    pub stop: Option<&'a str>,
    pub prompt_tokens: usize,
    pub reused_tokens: usize,
    pub error: Option<Problem>,
    pub input: &'a str,
}

/// Why a prompt has no result.
#[derive(Debug, Serialize)]
pub struct Problem {
    pub kind: &'static str,
    pub message: String,
}

/// Results of earlier runs.
pub struct Written {
    name: String,
    /// Hashes by index.
    hashes: HashMap<u64, String>,
}

impl Written {
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    pub fn contains(&self, index: u64) -> bool {
        self.hashes.contains_key(&index)
    }

    pub fn hash(&self, index: u64) -> Option<&String> {
        self.hashes.get(&index)
    }

    /// It has results for something else.
    pub fn foreign(&self, what: &str) -> Failure {
        let name = &self.name;
        let why = format!("{name}: it has results for {what} of another input, model or settings; name another --out");
        Failure::new(Exit::Input, why)
    }
}

/// Where results go.
pub enum Results {
    Stdout(Out),
    File { name: String, file: File },
}

pub fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

impl Results {
    /// Opens the file for more results. Those that are there are an error, but where it is to be resumed.
    pub fn open(path: &Path, resume: bool) -> Result<(Self, Written)> {
        let name = path.display().to_string();
        let mut written = Written { name: name.clone(), hashes: HashMap::new() };
        if is_stdout(path) {
            return Ok((Self::Stdout(Out::new()), written));
        }
        let wrong = |e: std::io::Error| Failure::new(Exit::Input, format!("{name}: {e}"));
        let mut file =
            OpenOptions::new().read(resume).write(true).create(true).truncate(false).open(path).map_err(wrong)?;
        // Elsewhere a lock would keep others from reading it.
        if cfg!(unix) && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(Failure::new(Exit::Usage, format!("{name}: another process is writing it")));
        }
        if resume {
            let end = written.read(&file)?;
            file.set_len(end).map_err(wrong)?;
            file.seek(SeekFrom::Start(end)).map_err(wrong)?;
        } else if file.metadata().map_err(wrong)?.len() > 0 {
            let what = format!("{name}: it is there already; --resume goes on with it, or name another file");
            return Err(Failure::new(Exit::Usage, what));
        }
        Ok((Self::File { name, file }, written))
    }

    /// Adds a line, and makes it visible.
    pub fn write(&mut self, record: &Record<'_>) -> Result<()> {
        match self {
            Self::Stdout(out) => out.json(record),
            Self::File { name, file } => {
                let mut line = serde_json::to_vec(record).map_err(|e| Failure::output(&e.into()))?;
                line.push(b'\n');
                file.write_all(&line)
                    .map_err(|e| Failure::new(Exit::Failure, format!("{name}: cannot write the results: {e}")))
            }
        }
    }
}

/// What is needed of a line to know whose result it is.
#[derive(Deserialize)]
struct Known {
    index: u64,
    input: String,
}

impl Written {
    /// Takes over what is there; returns where it ends, without a last line that was cut off.
    fn read(&mut self, file: &File) -> Result<u64> {
        let mut lines = Lines::new(BufReader::new(file), &self.name, MAX_LINE_BYTES);
        let mut line = lines.line()?;
        while let Some(this) = line {
            let next = lines.line()?;
            match known(&this) {
                Some(Known { index, input }) => self.hashes.insert(index, input),
                None if next.is_none() && is_torn(&this) => return Ok(this.start),
                None => {
                    let what = format!("{}: line {} is not a result of tern batch", self.name, this.index + 1);
                    return Err(Failure::new(Exit::Input, what));
                }
            };
            line = next;
        }
        Ok(lines.offset())
    }
}

fn known(line: &Line) -> Option<Known> {
    serde_json::from_slice(&line.bytes).ok().filter(|_| line.whole)
}

/// One of ours that was not finished; anything else belongs to somebody.
fn is_torn(line: &Line) -> bool {
    let ours = line.bytes.starts_with(BEGINNING) || BEGINNING.starts_with(&line.bytes);
    let complete = serde_json::from_slice::<Value>(&line.bytes).is_ok();
    // A line break may be all that is missing.
    ours && (!complete || serde_json::from_slice::<Known>(&line.bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(index: u64) -> String {
        let (id, tokens) = (Value::from("a"), [1, 2]);
        let record = Record {
            id: &id,
            index,
            text: "x\ny",
            tokens: &tokens,
            stop: Some("eos"),
            prompt_tokens: 3,
            reused_tokens: 0,
            error: None,
            input: "0123456789abcdef",
        };
        serde_json::to_string(&record).unwrap()
    }

    #[test]
    fn the_line_is_the_interface() {
        let expected = r#"{"id":"a","index":4,"text":"x\ny","tokens":[1,2],"stop":"eos","prompt_tokens":3,"reused_tokens":0,"error":null,"input":"0123456789abcdef"}"#;
        assert_eq!(record(4), expected);
    }

    /// The file's content after it was opened to be resumed, and how many results it has.
    fn resumed(content: &str) -> Result<(String, usize)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, content).unwrap();
        let (_, written) = Results::open(&path, true)?;
        Ok((std::fs::read_to_string(path).unwrap(), written.len()))
    }

    #[test]
    fn a_torn_line_is_cut_off() {
        let two = format!("{}\n{}\n", record(0), record(2));
        assert_eq!(resumed(&two).unwrap(), (two.clone(), 2));
        assert_eq!(resumed("").unwrap(), (String::new(), 0));
        for torn in ["{", "{\"id\":", &record(1)[..50], &record(1), "{\"id\":\n"] {
            assert_eq!(resumed(&format!("{two}{torn}")).unwrap(), (two.clone(), 2), "{torn}");
        }
    }

    #[test]
    fn the_files_of_others_stay() {
        let prompt = "{\"id\":1,\"prompt\":\"x\"}";
        for content in ["Dear diary,\n", "Dear diary", "{}\n", prompt, &format!("{{\"id\":\n{}\n", record(0))] {
            assert_eq!(resumed(content).err().unwrap().exit, Exit::Input, "{content}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn one_writer_and_nothing_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let (first, _) = Results::open(&path, false).unwrap();
        assert!(Results::open(&path, false).err().unwrap().message.contains("another process"));
        drop(first);
        std::fs::write(&path, record(0)).unwrap();
        assert!(Results::open(&path, false).err().unwrap().message.contains("--resume"));
    }
}
