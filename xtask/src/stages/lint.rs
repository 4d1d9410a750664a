//! Stages that are one cargo command or a few: `fmt`, `clippy` and `doc`.

use super::Site;
use crate::fail::Result;
use crate::run::Task;
use crate::workspace::{everything, select};

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
    clippy(&everything(&site.workspace, site.deep)).map(|()| String::new())
}

/// The documentation builds without a warning.
pub(super) fn doc(site: &Site) -> Result<String> {
    let task = Task::cargo("doc").arg("--no-deps").args(everything(&site.workspace, site.deep));
    task.env("RUSTDOCFLAGS", "-D warnings").run().map(|()| String::new())
}
