//! Where downloads are kept.

use crate::failure::{Exit, Failure, Result};
use std::path::PathBuf;

/// `$TERN_CACHE`, else `tern` in the user's folder for caches.
pub fn folder() -> Result<PathBuf> {
    from(|name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)).ok_or_else(|| {
        Failure::new(Exit::Failure, "there is no home folder for the cache; set TERN_CACHE to a folder for downloads")
    })
}

fn from(var: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if let Some(own) = var("TERN_CACHE") {
        return Some(own);
    }
    let users = if cfg!(windows) {
        var("LOCALAPPDATA")
    } else {
        var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")))
    };
    Some(users?.join("tern"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_wins() {
        let folder = |set: &[&str]| from(|name| set.contains(&name).then(|| PathBuf::from(format!("/{name}"))));
        assert_eq!(folder(&["TERN_CACHE", "HOME"]), Some("/TERN_CACHE".into()));
        assert_eq!(folder(&["XDG_CACHE_HOME", "HOME"]), Some("/XDG_CACHE_HOME/tern".into()));
        assert_eq!(folder(&["HOME"]), Some("/HOME/.cache/tern".into()));
        assert_eq!(folder(&[]), None);
    }
}
