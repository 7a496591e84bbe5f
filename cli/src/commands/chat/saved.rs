//! Files of conversations, seen from outside.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Far more than the length in front, and the metadata, which comes first.
const HEAD_BYTES: u64 = 4096;
/// What only a session's metadata has.
const MARK: &[u8] = b"\"tern.session\"";

/// Is there nothing, or a conversation? Any other file stays as it is.
pub fn may_replace(path: &Path) -> bool {
    let head = File::open(path).and_then(|file| {
        let mut head = Vec::new();
        file.take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok(head)
    });
    match head {
        Ok(head) => head.is_empty() || head.windows(MARK.len()).any(|bytes| bytes == MARK),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}
