//! A workspace in a temporary folder, and running the program in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Two libraries, one of which needs the other, and an example that needs both ways of depending.
const FILES: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\nresolver = '3'\nmembers = ['crates/*', 'examples/*']\n[profile.dev]\ndebug = 'line-tables-only'\n",
    ),
    (
        "crates/tiny-core/Cargo.toml",
        "[package]\nname = 'tiny-core'\nversion = '0.1.0'\nedition = '2024'\ndescription = 'x'\nlicense = 'MIT'\n\
         repository = 'https://example.org'\n[features]\ndefault = []\nextra = []\n",
    ),
    (
        "crates/tiny-core/src/lib.rs",
        "//! Core.\n#[cfg(feature = \"extra\")]\npub mod extra;\n/// One.\npub fn one() -> u32 {\n    1\n}\n",
    ),
    ("crates/tiny-core/src/extra.rs", "//! More.\n/// Two.\npub fn two() -> u32 {\n    crate::one() + 1\n}\n"),
    (
        "crates/tiny/Cargo.toml",
        "[package]\nname = 'tiny'\nversion = '0.1.0'\nedition = '2024'\ndescription = 'x'\nlicense = 'MIT'\n\
         repository = 'https://example.org'\n[features]\nextra = ['tiny-core/extra']\n\
         [dependencies]\ntiny-core = { version = '0.1.0', path = '../tiny-core' }\n",
    ),
    ("crates/tiny/src/lib.rs", "//! Facade.\npub use tiny_core::*;\n"),
    (
        "examples/show/Cargo.toml",
        "[package]\nname = 'show'\nversion = '0.1.0'\nedition = '2024'\npublish = false\n\
         [dependencies]\ntiny = { version = '0.1', path = '../../crates/tiny', features = ['extra'] }\n\
         [package.metadata.check]\nrun = [['ok'], ['ok', 'twice']]\n",
    ),
    (
        "examples/show/src/main.rs",
        "fn main() {\n    let ok = std::env::args().nth(1).as_deref() == Some(\"ok\");\n    \
         std::process::exit(if ok && tiny::extra::two() == 2 { 0 } else { 3 });\n}\n",
    ),
];

/// A workspace that is removed at the end.
pub(crate) struct Fixture {
    dir: TempDir,
}

/// How the program ended, and all it wrote.
pub(crate) struct Told {
    pub(crate) ok: bool,
    pub(crate) text: String,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        for (path, text) in FILES {
            fixture.write(path, text);
        }
        fixture
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("work").join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Replaces a part of a file; the part must be there.
    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "`{from}` is not in {path}");
        self.write(path, &text.replace(from, to));
    }

    /// Runs the program at the root of the workspace, with a target folder and a folder for temporary files of its own.
    pub(crate) fn xtask(&self, args: &[&str]) -> Told {
        let temp = self.dir.path().join("temp");
        fs::create_dir_all(&temp).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(args).current_dir(self.path("")).env("TMPDIR", temp).env("CARGO_NET_OFFLINE", "true");
        told(command.env("CARGO_TARGET_DIR", self.dir.path().join("target")))
    }

    /// Records the workspace as it stands as a commit on `main`.
    pub(crate) fn commit(&self) {
        let steps: [&[&str]; 3] = [&["init", "-q", "-b", "main"], &["add", "."], &["commit", "-q", "-m", "x"]];
        for step in steps {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=x", "-c", "user.email=x@example.org"]).args(step).current_dir(self.path(""));
            assert!(told(&mut git).ok, "git {step:?}");
        }
    }

    pub(crate) fn stage(&self, name: &str) -> Told {
        self.xtask(&["test", "--only", name])
    }
}

/// Runs a command to its end.
pub(crate) fn told(command: &mut Command) -> Told {
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    Told { ok: out.status.success(), text }
}

impl Told {
    #[track_caller]
    pub(crate) fn passes(&self, with: &str) {
        assert!(self.ok && self.text.contains(with), "should pass with `{with}`:\n{}", self.text);
    }

    #[track_caller]
    pub(crate) fn fails(&self, with: &str) {
        assert!(!self.ok && self.text.contains(with), "should fail with `{with}`:\n{}", self.text);
    }
}

/// Whether a folder holds nothing.
pub(crate) fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}
