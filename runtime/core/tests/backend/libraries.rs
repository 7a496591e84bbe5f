//! Plugins in libraries: the good one works, each broken one has its own error, and nothing crashes.

use crate::setup::Rig;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tern::backend::{BackendError, Outcome, Registry};

/// The folder with the test plugins, built on first use.
pub fn built() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // This test is `<target>/<profile>/deps/backend-<hash>`.
        let exe = std::env::current_exe().unwrap();
        let profile = exe.ancestors().nth(2).unwrap();
        let name = match profile.file_name().and_then(|n| n.to_str()).unwrap() {
            "debug" => "dev",
            other => other,
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "tern-test-plugins", "--examples", "--profile", name])
            .arg("--manifest-path")
            .arg(root.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(profile.parent().unwrap())
            .status();
        assert!(status.unwrap().success(), "the test plugins do not build");
        profile.join("examples")
    })
}

pub fn file_name(name: &str) -> String {
    format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// A folder of plugins that goes when it is dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tern-backends-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Puts the test plugin `toy_<toy>` and a manifest for `name` here.
    pub fn add(&self, toy: &str, name: &str) -> &Self {
        let library = file_name(&format!("toy_{toy}"));
        std::fs::copy(built().join(&library), self.0.join(&library)).unwrap();
        self.describe(name, &manifest(name, &library))
    }

    pub fn describe(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.0.join(format!("tern-{name}.json")), text).unwrap();
        self
    }

    pub fn search(&self) -> Registry {
        let mut registry = Registry::new();
        registry.search(std::slice::from_ref(&self.0));
        registry
    }

    /// The one error that a search yields, its path cut to the file name.
    pub fn refusal(&self) -> (BackendError, String) {
        let registry = self.search();
        let [report] = registry.reports() else { panic!("{:?}", registry.reports()) };
        let Outcome::Refused(error) = &report.outcome else { panic!("{report:?}") };
        let line = error.to_string();
        assert!(!line.contains('\n'), "{line}");
        (error.clone(), line.replace(&format!("{}{}", self.0.display(), std::path::MAIN_SEPARATOR), ""))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn manifest(name: &str, library: &str) -> String {
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    format!(
        r#"{{"name": "{name}", "library": "{library}", "abi_major": 1, "abi_minor": 0,
            "requires": {{"arch": "{arch}", "os": "{os}"}}, "score": 10, "a field of later": [1]}}"#
    )
}

#[test]
fn a_good_library_is_found_and_works() {
    let folder = Folder::new();
    let registry = folder.add("good", "good").search();
    let [report] = registry.reports() else { panic!("{:?}", registry.reports()) };
    assert!(matches!(&report.outcome, Outcome::Chosen { version, score: 10 } if version == "1.2.3"), "{report:?}");
    assert_eq!(report.path.as_deref(), Some(folder.0.join("tern-good.json").as_path()));
    let backend = registry.get("good").unwrap();
    assert!(backend.origin().ends_with(&file_name("toy_good")));
    drop(registry);
    let rig = Rig::new(backend.open(0, 0, "").unwrap()).unwrap();
    drop((backend, folder));
    rig.run(1).unwrap();
    assert_eq!(rig.result(2).unwrap(), [100.0, 101.0]);
}

#[test]
fn older_and_newer_minors_work() {
    let folder = Folder::new();
    let registry = folder.add("past", "past").add("future", "future").search();
    assert_eq!(registry.best().unwrap().name(), "future");
    let future = registry.get("future").unwrap();
    assert_eq!(future.abi_minor(), tern_abi::MINOR + 1);
    Rig::new(future.open(0, 0, "").unwrap()).unwrap().run(1).unwrap();

    let past = registry.get("past").unwrap().open(0, 0, "").unwrap();
    past.alloc(16).unwrap().write(0, &[1]).unwrap();
    let error = Rig::new(past).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "backend \"past\" does not have bind_set_create");
}

#[test]
fn panics_stop_at_the_boundary() {
    let folder = Folder::new();
    let registry = folder.add("panics", "panics").add("good", "good").search();
    let device = registry.get("panics").unwrap().open(0, 0, "").unwrap();
    let error = crate::setup::weight(&device).unwrap_err();
    assert!(matches!(error, BackendError::Panicked { call: "weight_prepare", .. }), "{error}");
    assert!(error.to_string().contains("prepare, on purpose"), "{error}");
    Rig::new(registry.get("good").unwrap().open(0, 0, "").unwrap()).unwrap().run(1).unwrap();
}

#[test]
fn each_broken_library_has_its_own_error() {
    let refusal = |toy: &str, name: &str| Folder::new().add(toy, name).refusal();
    let (error, line) = refusal("unusable", "unusable");
    assert_eq!(line, "backend \"unusable\" cannot be used here: no toy chip in this machine");
    assert!(matches!(error, BackendError::Unusable { .. }));

    let (error, line) = refusal("entry_fails", "x");
    let library = file_name("toy_entry_fails");
    assert_eq!(line, format!("backend {library}: its entry failed: unavailable (driver too old \u{fffd})"));
    assert!(matches!(error, BackendError::Entry { .. }));

    let (error, line) = refusal("no_table", "x");
    assert_eq!(line, format!("backend {}: its table is wrong: the entry stored no table", file_name("toy_no_table")));
    assert!(matches!(error, BackendError::Table { .. }));

    let (error, line) = refusal("no_symbol", "x");
    let library = file_name("toy_no_symbol");
    assert_eq!(line, format!("backend library {library}: it does not export tern_backend_v1"));
    assert!(matches!(error, BackendError::MissingSymbol { .. }));

    let (error, line) = refusal("other_major", "x");
    let library = file_name("toy_other_major");
    assert_eq!(line, format!("backend {library}: it speaks ABI version 2, this runtime version 1"));
    assert!(matches!(error, BackendError::AbiMajor { found: 2, .. }));

    let (error, line) = refusal("good", "better");
    assert_eq!(
        line, "backend manifest tern-better.json: its library calls itself \"good\", not \"better\"",
        "a manifest for another library"
    );
    assert!(matches!(error, BackendError::Manifest { .. }));
}

#[test]
fn damaged_libraries_are_refused() {
    let library = file_name("toy_good");
    let whole = std::fs::read(built().join(&library)).unwrap();
    let mut zeroed = vec![0; 1 << 16];
    zeroed[..64].copy_from_slice(&whole[..64]);
    let garbage: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let cuts = [0, 10, 64, 1000, 20_000, 200_000].map(|len| whole[..len].to_vec());
    for bytes in cuts.into_iter().chain([zeroed, garbage]) {
        let folder = Folder::new();
        std::fs::write(folder.0.join(&library), &bytes).unwrap();
        let (error, line) = folder.describe("good", &manifest("good", &library)).refusal();
        assert!(matches!(error, BackendError::Load { .. }), "{} bytes: {line}", bytes.len());
    }
    let (error, _) = Folder::new().describe("good", &manifest("good", &library)).refusal();
    assert!(matches!(error, BackendError::Load { .. }), "no library at all: {error}");
}

/// The command that the README gives.
#[cfg(unix)]
#[test]
fn the_plugins_that_the_script_builds_are_found() {
    let target = built().ancestors().nth(2).unwrap();
    let folder = Folder::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("backends/build-plugins");
    let mut command = Command::new(script);
    command.arg(&folder.0).arg("reference").env("CARGO_TARGET_DIR", target).env("PROFILE", "dev");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), folder.0.to_str().unwrap());
    let registry = folder.search();
    assert_eq!(registry.names(), ["reference"], "{:?}", registry.reports());
    let device = registry.best().unwrap().open(0, 0, "").unwrap();
    let mut rows = [0.0; 4];
    crate::setup::weight(&device).unwrap().read_rows(1, &mut rows).unwrap();
    assert_eq!(rows, [4.0, 5.0, 6.0, 7.0]);
}
