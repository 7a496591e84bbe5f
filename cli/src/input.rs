//! Text from files and standard input.

use crate::failure::{Exit, Failure, Result};
use std::io::Read;
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

#[cfg(test)]
mod tests {
    use super::*;

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
