//! Time, where the platform has a clock.

/// A point in time.
#[derive(Clone, Copy)]
pub struct Now(Option<std::time::Instant>);

impl Now {
    /// This moment.
    pub fn read() -> Self {
        // The clock of wasm32-unknown-unknown panics.
        let none = cfg!(all(target_family = "wasm", target_os = "unknown"));
        Self((!none).then(std::time::Instant::now))
    }

    /// Is there no clock?
    pub fn is_none(self) -> bool {
        self.0.is_none()
    }

    /// What has passed since; 0 where there is no clock.
    pub fn nanoseconds(self) -> u64 {
        self.0.map_or(0, |at| at.elapsed().as_nanos() as u64)
    }
}
