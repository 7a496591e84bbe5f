//! Where plugins are looked for.

use std::path::{Path, PathBuf};

/// Environment variable with more folders, separated as in `PATH`.
pub const ENV_PATH: &str = "TERN_BACKEND_PATH";

/// The folders to search, best first: `explicit` ones, those of [`ENV_PATH`], `backends` beside the executable,
/// and where a package installs them. Never the current directory: whoever can write there could run code.
pub fn default_folders(explicit: &[PathBuf]) -> Vec<PathBuf> {
    let exe = std::env::current_exe().and_then(|exe| exe.canonicalize()).ok();
    let env = std::env::var_os(ENV_PATH).unwrap_or_default();
    let env: Vec<PathBuf> = split(&env);
    ordered(explicit, &env, exe.as_deref().and_then(Path::parent))
}

#[cfg(not(target_family = "wasm"))]
fn split(paths: &std::ffi::OsStr) -> Vec<PathBuf> {
    std::env::split_paths(paths).collect()
}

#[cfg(target_family = "wasm")]
fn split(_paths: &std::ffi::OsStr) -> Vec<PathBuf> {
    // There is no such environment, and `split_paths` panics.
    Vec::new()
}

fn ordered(explicit: &[PathBuf], env: &[PathBuf], exe_folder: Option<&Path>) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut add = |folder: PathBuf| {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    };
    explicit.iter().cloned().for_each(&mut add);
    // An empty entry would be the current directory.
    env.iter().filter(|f| !f.as_os_str().is_empty()).cloned().for_each(&mut add);
    if let Some(folder) = exe_folder {
        let installed = folder.parent().map(|prefix| prefix.join("lib").join("tern").join("backends"));
        // These two nobody asked for, so it is no error that they are not there.
        let own = [Some(folder.join("backends")), installed];
        own.into_iter().flatten().filter(|f| f.is_dir()).for_each(&mut add);
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explicit_comes_first_and_nothing_twice() {
        let root = std::env::temp_dir().join(format!("tern-folders-{}", std::process::id()));
        let (bin, beside) = (root.join("bin"), root.join("bin").join("backends"));
        let installed = root.join("lib").join("tern").join("backends");
        let given = [PathBuf::from("/a"), PathBuf::from("/b")];
        let env = [PathBuf::from(""), PathBuf::from("/b"), PathBuf::from("/c")];
        assert_eq!(ordered(&given, &env, Some(&bin)), ["/a", "/b", "/c"].map(PathBuf::from));
        std::fs::create_dir_all(&beside).unwrap();
        std::fs::create_dir_all(&installed).unwrap();
        assert_eq!(ordered(&[], &[], Some(&bin)), [beside, installed]);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
