//! Reading documents from files: the one place of the library's middle that opens them, as a trait of the prelude.

use std::path::{Path, PathBuf};

use ir_core::{ConfigError, Problem, Topology};
use ir_plan::decision::Policy;
use ir_plan::plan::Playbooks;

/// Documents that can be read from files. TOML, or JSON for files that begin with `{`.
pub trait Load: Sized {
    /// Reads one file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or all problems in it, each with file, line and field.
    fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError>;
}

/// Documents of which a folder may hold several.
pub trait LoadDir: Load {
    /// Reads every `.toml` and `.json` file of a folder, by name.
    ///
    /// # Errors
    ///
    /// A folder that cannot be read or holds none, or all problems in all files.
    fn from_dir(path: impl AsRef<Path>) -> Result<Self, ConfigError>;
}

fn text(path: &Path) -> Result<(String, String), ConfigError> {
    let origin = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((text, origin)),
        Err(error) => Err(unreadable(&origin, &error)),
    }
}

fn unreadable(origin: &str, error: &std::io::Error) -> ConfigError {
    let message = format!("cannot be read: {error}");
    ConfigError::one(Problem { origin: Some(origin.to_owned()), ..Problem::at("", message) })
}

macro_rules! load {
    ($($document:ty),*) => { $(
        impl Load for $document {
            fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
                let (text, origin) = text(path.as_ref())?;
                Self::parse(&text, &origin)
            }
        }
    )* };
}

load!(Topology, Policy, Playbooks);

impl LoadDir for Playbooks {
    fn from_dir(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(&origin, &error))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|file| file.extension().is_some_and(|end| end == "toml" || end == "json"))
            .collect();
        files.sort();
        let mut all = Self::default();
        let mut problems = Vec::new();
        for file in &files {
            match Self::from_file(file).and_then(|books| all.clone().merge(books)) {
                Ok(merged) => all = merged,
                Err(error) => problems.extend(error.into_problems()),
            }
        }
        if files.is_empty() {
            problems.push(Problem { origin: Some(origin), ..Problem::at("", "holds no `.toml` or `.json` file") });
        }
        ConfigError::check(problems, all)
    }
}
