//! Packages that stand outside the workspace, as a user's would: a folder for them, patches to our libraries, the check.

use crate::fail::{Context, Failure, Result};
use crate::run::Task;
use crate::workspace::{Package, Workspace};
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// An empty folder outside the workspace, removed at the end.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) dir: PathBuf,
}

impl Outside {
    /// Makes the folder. Its name follows from the workspace, not from chance: cargo's cache knows packages by their path, so
    /// another name each time would fill the target folder without end.
    pub(super) fn new(workspace: &Workspace, label: &str) -> Result<Self> {
        let clone = crate::hash::fnv(workspace.root.as_os_str().as_encoded_bytes());
        let dir = std::env::temp_dir().join(format!("incident-response-{label}-{clone:016x}"));
        let told = || format!("cannot empty `{}`", dir.display());
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context(told),
            _ => {}
        }
        fs::create_dir(&dir).context(told)?;
        Ok(Self { dir })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // It lies in the folder for temporary files: what cannot be removed now is removed by the system later.
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// Makes a manifest stand alone: path dependencies become versions, the libraries come from `library` folders by patch.
///
/// Fails when a path dependency names no version, because then it could not be replaced by one.
pub(super) fn stand_alone<'a>(
    manifest: &mut Table,
    libraries: impl IntoIterator<Item = &'a Package>,
    library: impl Fn(&Package) -> PathBuf,
) -> Result<()> {
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(table) = manifest.get_mut(section).and_then(Value::as_table_mut) else { continue };
        for (name, dependency) in table.iter_mut() {
            let Some(dependency) = dependency.as_table_mut() else { continue };
            if dependency.remove("path").is_some() && !dependency.contains_key("version") {
                return Err(Failure::new(format!("`{section}.{name}` has a path and no version")));
            }
        }
    }
    let patch = |p: &Package| {
        let path = Value::String(library(p).display().to_string());
        (p.name.clone(), Value::Table([("path".to_owned(), path)].into_iter().collect()))
    };
    let patches: Table = libraries.into_iter().map(patch).collect();
    manifest
        .insert("patch".into(), Value::Table([("crates-io".to_owned(), Value::Table(patches))].into_iter().collect()));
    // Without a table of its own, cargo would look for a workspace in the folders above.
    manifest.insert("workspace".into(), Value::Table(Table::new()));
    Ok(())
}

/// Type-checks the package in `folder` with the versions of our lock file and into our target folder.
pub(super) fn check(workspace: &Workspace, folder: &Path, manifest: &Table) -> Result<()> {
    let path = folder.join("Cargo.toml");
    let text = toml::to_string(manifest).context(|| format!("cannot write `{}`", path.display()))?;
    fs::write(&path, text).context(|| format!("cannot write `{}`", path.display()))?;
    let lock = workspace.root.join("Cargo.lock");
    if lock.is_file() {
        fs::copy(&lock, folder.join("Cargo.lock")).context(|| format!("cannot copy `{}`", lock.display()))?;
    }
    let mut task = Task::cargo("check").dir(folder).env("CARGO_TARGET_DIR", &workspace.target);
    if let Some(debug) = dev_debug(&workspace.root) {
        // The same profile as in the workspace, so that what it has built is used again.
        task = task.env("CARGO_PROFILE_DEV_DEBUG", debug);
    }
    task.run()
}

fn dev_debug(root: &Path) -> Option<String> {
    let manifest: Table = fs::read_to_string(root.join("Cargo.toml")).ok()?.parse().ok()?;
    manifest.get("profile")?.get("dev")?.get("debug")?.as_str().map(str::to_owned)
}

/// Copies a folder, but neither hidden entries nor built code.
pub(super) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let told = || format!("cannot copy `{}`", from.display());
    fs::create_dir_all(to).context(told)?;
    for entry in fs::read_dir(from).context(told)? {
        let entry = entry.context(told)?;
        let name = entry.file_name();
        if name == "target" || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let (source, copy) = (entry.path(), to.join(&name));
        if source.is_dir() {
            copy_folder(&source, &copy)?;
        } else {
            let text = fs::read(&source).context(|| format!("cannot read `{}`", source.display()))?;
            fs::write(&copy, text).context(|| format!("cannot write `{}`", copy.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample;

    #[test]
    fn path_dependencies_become_versions_and_libraries_come_by_patch() {
        let text =
            "[dependencies]\ntiny = { version = '0.1', path = '../../crates/tiny', features = ['x'] }\nother = '1'\n";
        let mut manifest: Table = text.parse().unwrap();
        stand_alone(&mut manifest, [&sample("tiny", &[])], |p| Path::new("/elsewhere").join(&p.name)).unwrap();
        let tiny = &manifest["dependencies"]["tiny"];
        assert_eq!((tiny.get("path"), tiny["version"].as_str()), (None, Some("0.1")));
        assert_eq!(tiny["features"][0].as_str(), Some("x"));
        assert_eq!(manifest["patch"]["crates-io"]["tiny"]["path"].as_str(), Some("/elsewhere/tiny"));
        assert!(manifest["workspace"].as_table().unwrap().is_empty());
    }

    #[test]
    fn a_path_without_a_version_could_not_be_copied_out() {
        let mut manifest: Table = "[dev-dependencies]\ntiny = { path = '../tiny' }".parse().unwrap();
        let why = stand_alone(&mut manifest, [], |_| PathBuf::new()).unwrap_err().to_string();
        assert_eq!(why, "`dev-dependencies.tiny` has a path and no version");
    }

    #[test]
    fn built_code_and_hidden_files_stay_behind() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/src/main.rs", "a/target/x", "a/.git/y", "a/Cargo.toml"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let to = dir.path().join("b");
        copy_folder(&dir.path().join("a"), &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("src/main.rs")).unwrap(), "a/src/main.rs");
        assert!(to.join("Cargo.toml").exists() && !to.join("target").exists() && !to.join(".git").exists());
    }
}
