//! Stage `benches`: every bench runs once in test mode, so that it still compiles and ends.

use super::Site;
use crate::fail::Result;
use crate::run::Task;
use crate::workspace::everything;

/// Runs the benches of every package that has some.
pub(super) fn run(site: &Site) -> Result<String> {
    let benches: Vec<&String> = site.workspace.packages.iter().flat_map(|package| &package.benches).collect();
    if benches.is_empty() {
        return Ok("no benches yet".into());
    }
    // Under `cargo test` criterion runs each bench once. Optimising them would take longer than all else here.
    let task = Task::cargo("test").args(everything(&site.workspace, site.deep));
    task.args(benches.iter().flat_map(|name| ["--bench", name.as_str()])).run()?;
    Ok(format!("{} benches", benches.len()))
}
