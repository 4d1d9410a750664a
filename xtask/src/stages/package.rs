//! Stage `package`: every crate packages, and the program of the README compiles against what was packaged.

use super::outside::{Outside, check, stand_alone};
use super::{Site, readme};
use crate::fail::{Context, Failure, Result};
use crate::run::Task;
use crate::workspace::{Package, Workspace, select};
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// Packages all crates that can be published, then compiles the README's program against their contents.
pub(super) fn run(site: &Site) -> Result<String> {
    let workspace = &site.workspace;
    let published: Vec<&Package> = workspace.published().collect();
    if published.is_empty() {
        return Ok("nothing to package".into());
    }
    // Changes that are not committed are packaged too: the stage is also run before a commit.
    let task = Task::cargo("package").args(["--no-verify", "--allow-dirty"]);
    task.args(select(published.iter().copied())).dir(&workspace.root).run()?;
    let path = workspace.root.join("README.md");
    if !path.exists() {
        return Ok(format!("{} crates; nothing published yet: no README.md", published.len()));
    }
    let text = fs::read_to_string(&path).context(|| format!("cannot read `{}`", path.display()))?;
    let program = readme::program(&text);
    let program = program.ok_or_else(|| Failure::new("README.md has no Rust block with a `fn main`"))?;
    let dependencies = match readme::dependencies(&text)? {
        Some(table) => table,
        None => mentioned(&program, &published),
    };
    compile(workspace, &published, &program, dependencies)?;
    Ok(format!("{} crates, and the README program compiles against them", published.len()))
}

/// Without a block that tells the dependencies, the program uses those of our crates that it mentions, with default features.
fn mentioned(program: &str, published: &[&Package]) -> Table {
    let used = |p: &&&Package| program.contains(&format!("{}::", p.name.replace('-', "_")));
    published.iter().filter(used).map(|p| (p.name.clone(), Value::String(p.version.clone()))).collect()
}

fn compile(workspace: &Workspace, published: &[&Package], program: &str, dependencies: Table) -> Result<()> {
    let outside = Outside::new(workspace, "package")?;
    for package in published {
        let archive = format!("{}-{}.crate", package.name, package.version);
        unpack(&workspace.target.join("package").join(archive), &outside.dir)?;
    }
    let folder = outside.dir.join("readme-program");
    let main = folder.join("src/main.rs");
    fs::create_dir_all(folder.join("src")).context(|| format!("cannot make `{}`", folder.display()))?;
    fs::write(&main, program).context(|| format!("cannot write `{}`", main.display()))?;
    let mut manifest: Table = "[package]\nname = 'readme-program'\nversion = '0.0.0'\nedition = '2024'\n"
        .parse()
        .context(|| "cannot write the manifest of the README program".into())?;
    manifest.insert("dependencies".into(), Value::Table(dependencies));
    let unpacked = |p: &Package| outside.dir.join(format!("{}-{}", p.name, p.version));
    stand_alone(&mut manifest, published.iter().copied(), unpacked)?;
    check(workspace, &folder, &manifest)
}

fn unpack(archive: &Path, into: &Path) -> Result<()> {
    // `-m` gives the files today's time. Cargo packages with times of long ago, and would take the code of this run for what
    // it compiled in the run before.
    Task::new("tar").args(["-x", "-z", "-m", "-C"]).arg(into).arg("-f").arg(archive).output().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample;

    #[test]
    fn without_a_toml_block_the_mentioned_crates_are_the_dependencies() {
        let (used, unused) = (sample("ir-core", &[]), sample("ir-plan", &[]));
        let found = mentioned("use ir_core::Signal;\nfn main() {}", &[&used, &unused]);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["ir-core"]);
        assert_eq!(found["ir-core"].as_str(), Some("0.1.0"));
    }
}
