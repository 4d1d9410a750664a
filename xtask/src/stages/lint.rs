//! Stages that are one cargo command or a few: `fmt`, `clippy` and `doc`.

use super::Site;
use crate::fail::Result;
use crate::run::Task;
use crate::workspace::{full_features, select};

/// All code is formatted.
pub(super) fn fmt(_: &Site) -> Result<String> {
    Task::cargo("fmt").args(["--all", "--check"]).run().map(|()| String::new())
}

/// Clippy is silent with default features, with none and with all.
pub(super) fn clippy(site: &Site) -> Result<String> {
    let clippy =
        |which: &[String]| Task::cargo("clippy").args(which).args(["--all-targets", "--", "-D", "warnings"]).run();
    clippy(&["--workspace".into()])?;
    let libraries = select(site.workspace.libraries());
    if !libraries.is_empty() {
        clippy(&[libraries, vec!["--no-default-features".into()]].concat())?;
    }
    let full = full_features(&site.workspace.packages, site.deep);
    if full.is_empty() {
        return Ok("no features yet".into());
    }
    clippy(&[vec!["--workspace".into()], full].concat()).map(|()| String::new())
}

/// The documentation builds without a warning.
pub(super) fn doc(site: &Site) -> Result<String> {
    let task = Task::cargo("doc").args(["--workspace", "--no-deps"]);
    let task = task.args(full_features(&site.workspace.packages, site.deep)).env("RUSTDOCFLAGS", "-D warnings");
    task.run().map(|()| String::new())
}
