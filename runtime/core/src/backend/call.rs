//! One call across the boundary: room for its error message, and what its status means.

use super::error::{BackendError, Result};
use tern_abi::{ErrorBuffer, Header, Status, status};

/// A message longer than this is cut by the plugin.
const MESSAGE_BYTES: usize = 512;

/// What a plugin writes an error to.
pub(super) struct ErrorSpace {
    buffer: ErrorBuffer,
    text: [u8; MESSAGE_BYTES],
}

impl ErrorSpace {
    pub(super) fn new() -> Self {
        let buffer = ErrorBuffer {
            header: Header::of::<ErrorBuffer>(),
            code: status::OK,
            reserved: 0,
            native: 0,
            len: 0,
            capacity: MESSAGE_BYTES as u64,
            message: std::ptr::null_mut(),
        };
        Self { buffer, text: [0; MESSAGE_BYTES] }
    }

    /// The buffer to pass; valid until `self` moves.
    pub(super) fn as_ptr(&mut self) -> *mut ErrorBuffer {
        self.buffer.message = self.text.as_mut_ptr();
        &mut self.buffer
    }

    /// What the plugin wrote, as one line.
    pub(super) fn message(&self) -> String {
        let len = usize::try_from(self.buffer.len).unwrap_or(usize::MAX).min(MESSAGE_BYTES);
        let text = one_line(&self.text[..len]);
        if text.is_empty() { "no reason given".to_owned() } else { text }
    }

    /// The code the plugin wrote, for functions that do not return one.
    pub(super) fn code(&self) -> Status {
        self.buffer.code
    }

    /// The error that `status` stands for.
    pub(super) fn error(&self, backend: &str, call: &'static str, status: Status) -> BackendError {
        let (backend, message) = (backend.to_owned(), self.message());
        match status {
            status::PANIC => BackendError::Panicked { backend, call, message },
            status::UNSUPPORTED => BackendError::Unsupported { backend, call, message },
            status::OUT_OF_MEMORY => BackendError::OutOfMemory { backend, call, message },
            status::CANCELLED => BackendError::Cancelled { backend, call },
            status::DEVICE_LOST => BackendError::DeviceLost { backend, call, message },
            status if status < 0 => BackendError::Call { backend, call, status, native: self.buffer.native, message },
            status => BackendError::BadAnswer { backend, call, reason: format!("it returned status {status}") },
        }
    }
}

/// Makes a call that is done when it returns.
pub(super) fn call(backend: &str, name: &'static str, function: impl FnOnce(*mut ErrorBuffer) -> Status) -> Result<()> {
    let mut space = ErrorSpace::new();
    match function(space.as_ptr()) {
        status::OK => Ok(()),
        status => Err(space.error(backend, name, status)),
    }
}

/// Text from a plugin, fit for one line of an error or a log.
pub(super) fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a plugin in any language may do with the buffer it is given.
    fn fail(text: &[u8], claimed: u64, status: Status) -> BackendError {
        let error = call("toy", "run", |err| {
            // SAFETY: `call` passes its own buffer with 512 bytes of room.
            unsafe {
                std::ptr::copy_nonoverlapping(text.as_ptr(), (*err).message, text.len());
                (*err).len = claimed;
                (*err).native = 7;
            }
            status
        });
        error.expect_err("it failed")
    }

    #[test]
    fn a_message_becomes_one_line() {
        let error = fail(b"two\nlines\0", 10, status::INTERNAL);
        assert_eq!(error.to_string(), "backend \"toy\", run: internal error (code 7): two lines");
    }

    #[test]
    fn a_wrong_length_and_broken_utf8_are_survived() {
        let BackendError::Call { message, .. } = fail(b"\xff\xfe", u64::MAX, status::INTERNAL) else { panic!() };
        assert!(message.starts_with("\u{fffd}\u{fffd}") && message.len() <= 3 * MESSAGE_BYTES);
    }

    #[test]
    fn statuses_have_their_own_variants() {
        assert!(matches!(fail(b"", 0, status::PANIC), BackendError::Panicked { .. }));
        assert!(matches!(fail(b"", 0, status::CANCELLED), BackendError::Cancelled { .. }));
        assert!(matches!(fail(b"", 0, status::OUT_OF_MEMORY), BackendError::OutOfMemory { .. }));
        assert!(matches!(fail(b"", 0, status::DEVICE_LOST), BackendError::DeviceLost { .. }));
        assert!(matches!(fail(b"", 0, status::UNSUPPORTED), BackendError::Unsupported { .. }));
        assert!(matches!(fail(b"", 0, -77), BackendError::Call { status: -77, .. }));
        assert!(matches!(fail(b"", 0, 5), BackendError::BadAnswer { .. }));
        assert!(matches!(fail(b"", 0, status::PENDING), BackendError::BadAnswer { .. }));
    }
}
