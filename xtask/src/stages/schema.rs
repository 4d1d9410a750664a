//! Stage and command `schema`: the JSON schemas under `docs/schema` are what the code says.
//!
//! The schemas are written by the workspace's own code: a cargo example named `schema` (`crates/NAME/examples/schema.rs`) is
//! run with a folder as its only argument and writes one file per document there. This file only finds it and compares.

use super::Site;
use super::outside::Outside;
use crate::fail::{Context, Failure, Result};
use crate::run::Task;
use crate::workspace::{Workspace, everything};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const FOLDER: &str = "docs/schema";
const EXAMPLE: &str = "schema";

/// File name and text.
type Files = BTreeMap<String, String>;

/// The checked-in schemas are current.
pub(super) fn run(site: &Site) -> Result<String> {
    schema(&site.workspace, true)
}

/// `cargo xtask schema`: writes the schemas, or with `check` only compares them.
pub(crate) fn command(check: bool) -> Result<()> {
    schema(&Workspace::load()?, check).map(|note| println!("{note}"))
}

fn schema(workspace: &Workspace, check: bool) -> Result<String> {
    let folder = workspace.root.join(FOLDER);
    let written = read(&folder)?;
    let generated = generate(workspace)?;
    let differences = differences(&written, &generated);
    if differences.is_empty() {
        return Ok(format!("{} schemas, all current", generated.len()));
    }
    if check {
        let lines = differences.join("\n    ");
        return Err(Failure::new(format!("`{FOLDER}` is not current: run `cargo xtask schema`\n    {lines}")));
    }
    fs::create_dir_all(&folder).context(|| format!("cannot make `{}`", folder.display()))?;
    for name in written.keys().filter(|name| !generated.contains_key(*name)) {
        fs::remove_file(folder.join(name)).context(|| format!("cannot remove `{name}`"))?;
    }
    for (name, text) in &generated {
        fs::write(folder.join(name), text).context(|| format!("cannot write `{name}`"))?;
    }
    Ok(differences.join("\n"))
}

/// Runs the generator of the workspace. None is not an error: a workspace without documents has no schemas.
fn generate(workspace: &Workspace) -> Result<Files> {
    if !workspace.packages.iter().any(|p| p.examples.iter().any(|e| e == EXAMPLE)) {
        return Ok(Files::new());
    }
    let outside = Outside::new(workspace, EXAMPLE)?;
    Task::cargo("build").arg("--quiet").args(everything(workspace, false)).args(["--example", EXAMPLE]).run()?;
    Task::new(workspace.target.join("debug/examples").join(EXAMPLE)).arg(&outside.dir).run()?;
    read(&outside.dir)
}

/// The files of a folder, hidden ones left out; a folder that is not there is empty.
fn read(folder: &Path) -> Result<Files> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Files::new()) };
    let mut files = Files::new();
    for entry in entries {
        let path = entry.context(|| format!("cannot list `{}`", folder.display()))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if path.is_file() && !name.starts_with('.') {
            files.insert(name, fs::read_to_string(&path).context(|| format!("cannot read `{}`", path.display()))?);
        }
    }
    Ok(files)
}

fn differences(written: &Files, generated: &Files) -> Vec<String> {
    let names: BTreeSet<&String> = written.keys().chain(generated.keys()).collect();
    let difference = |name: &String| match (written.get(name), generated.get(name)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(_), Some(_)) => Some(format!("{name}: changed")),
        (Some(_), None) => Some(format!("{name}: no code writes it")),
        (None, _) => Some(format!("{name}: new")),
    };
    names.into_iter().filter_map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_named() {
        let files =
            |list: &[(&str, &str)]| list.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect::<Files>();
        let written = files(&[("a", "1"), ("b", "1"), ("gone", "1")]);
        let generated = files(&[("a", "1"), ("b", "2"), ("new", "1")]);
        assert_eq!(differences(&written, &generated), ["b: changed", "gone: no code writes it", "new: new"]);
        assert!(differences(&written, &written).is_empty());
    }
}
