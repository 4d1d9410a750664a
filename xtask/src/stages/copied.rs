//! Stage `copied`: every example still builds when a team copies its folder out of the workspace.

use super::Site;
use super::outside::{Outside, check, copy_folder, stand_alone};
use crate::fail::{Context, Failure, Result};
use crate::workspace::{Package, Workspace};
use std::fs;
use toml::Table;

/// Copies each example out, replaces its path dependencies by versions, and checks it there.
pub(super) fn run(site: &Site) -> Result<String> {
    let outside = Outside::new(&site.workspace, "copied")?;
    let mut count = 0;
    for example in site.workspace.examples() {
        copied(&site.workspace, example, &outside).map_err(|e| Failure::new(format!("`{}`: {e}", example.name)))?;
        count += 1;
    }
    Ok(if count == 0 { "no examples yet".into() } else { format!("{count} examples") })
}

fn copied(workspace: &Workspace, example: &Package, outside: &Outside) -> Result<()> {
    let folder = outside.dir.join(&example.name);
    copy_folder(&example.folder, &folder)?;
    let text = fs::read_to_string(folder.join("Cargo.toml")).context(|| "cannot read its manifest".into())?;
    let mut manifest: Table = text.parse().context(|| "cannot read its manifest".into())?;
    stand_alone(&mut manifest, workspace.libraries(), |library| library.folder.clone())?;
    check(workspace, &folder, &manifest)
}
