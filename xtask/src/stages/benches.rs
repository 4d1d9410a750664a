//! Stage `benches`: every bench runs once in test mode, so that it still compiles and ends.

use super::Site;
use crate::fail::Result;
use crate::run::Task;
use crate::workspace::full_features;

/// Runs the benches of every package that has some.
pub(super) fn run(site: &Site) -> Result<String> {
    let mut count = 0;
    for package in site.workspace.packages.iter().filter(|p| !p.benches.is_empty()) {
        let benches = package.benches.iter().flat_map(|name| ["--bench", name]);
        // Under `cargo test` criterion runs each bench once. Optimising them would take longer than all else here.
        Task::cargo("test")
            .args(["-p", &package.name])
            .args(full_features([package], site.deep))
            .args(benches)
            .run()?;
        count += package.benches.len();
    }
    Ok(if count == 0 { "no benches yet".into() } else { format!("{count} benches") })
}
