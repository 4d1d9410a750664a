//! Stage `features`: each feature builds alone; only those whose folder changed, unless `--deep` or git cannot tell.

use super::Site;
use crate::fail::Result;
use crate::run::Task;
use crate::workspace::Package;
use std::collections::BTreeSet;
use std::path::Path;

/// Checks each feature of each library alone, and each changed library without any.
pub(super) fn run(site: &Site) -> Result<String> {
    let changed = if site.deep { None } else { changed_files(&site.workspace.root) };
    let libraries: Vec<&Package> = site.workspace.libraries().collect();
    let root = &site.workspace.root;
    let mut checked = 0;
    let mut all = 0;
    for package in &libraries {
        let mut names: Vec<&str> = package.lone_features().collect();
        all += names.len();
        let bare = match &changed {
            None => true,
            Some(files) => {
                let touched = Touched { files, root, libraries: &libraries };
                names.retain(|feature| touched.feature(package, feature));
                touched.everything() || !touched.inside(package).is_empty()
            }
        };
        checked += names.len();
        let check = Task::cargo("check").args(["-p", &package.name, "--no-default-features"]);
        if bare {
            check.run()?;
        }
        for name in &names {
            check.clone().args(["--features", name]).run()?;
        }
    }
    let why = match (&changed, site.deep) {
        (_, true) => "",
        (None, _) => " (git cannot tell what changed)",
        (Some(_), _) => " (those whose folder changed)",
    };
    Ok(format!("{checked} of {all} features alone{why}"))
}

/// The files that differ from where this branch left the main one, or from the commit before when we are on it.
///
/// None when git is missing, or has no commit to compare with (a shallow clone, a first commit).
fn changed_files(root: &Path) -> Option<Vec<String>> {
    let git = |args: &[&str]| Task::new("git").args(args).dir(root).output().ok();
    let head = git(&["rev-parse", "HEAD"])?;
    let mains = ["origin/HEAD", "origin/main", "main"];
    let base = mains.iter().find_map(|main| git(&["merge-base", "HEAD", main])).filter(|base| *base != head);
    let base = base.or_else(|| git(&["rev-parse", "--verify", "HEAD~1"]))?;
    let tracked = git(&["diff", "--name-only", "--relative", base.trim()])?;
    let new = git(&["ls-files", "--others", "--exclude-standard"])?;
    Some(tracked.lines().chain(new.lines()).map(str::to_owned).collect())
}

/// Which features a set of changed files (relative to `root`) concerns.
struct Touched<'a> {
    files: &'a [String],
    root: &'a Path,
    libraries: &'a [&'a Package],
}

impl Touched<'_> {
    /// Whether a file changed that concerns every package.
    fn everything(&self) -> bool {
        self.files.iter().any(|f| matches!(f.as_str(), "Cargo.toml" | "Cargo.lock" | ".cargo/config.toml"))
    }

    /// The changed files of a package, relative to its folder.
    fn inside(&self, package: &Package) -> Vec<&Path> {
        let folder = package.folder.strip_prefix(self.root).unwrap_or(&package.folder);
        self.files.iter().filter_map(|f| Path::new(f).strip_prefix(folder).ok()).collect()
    }

    fn feature(&self, package: &Package, feature: &str) -> bool {
        self.everything() || self.reached(package, feature, &mut BTreeSet::new())
    }

    /// Follows what the feature switches on, in this package and in the libraries it forwards to.
    fn reached(&self, package: &Package, feature: &str, seen: &mut BTreeSet<(String, String)>) -> bool {
        if !seen.insert((package.name.clone(), feature.to_owned())) {
            return false;
        }
        if self.own(package, feature) {
            return true;
        }
        let on = package.features.get(feature).map_or(&[][..], Vec::as_slice);
        on.iter().any(|value| match value.split_once('/') {
            Some((to, name)) => {
                let to = self.libraries.iter().find(|p| p.name == to.trim_end_matches('?'));
                to.is_some_and(|to| self.reached(to, name, seen))
            }
            None => package.features.contains_key(value) && self.reached(package, value, seen),
        })
    }

    /// A manifest or a crate root concerns every feature of its package. A feature with a module of its name is concerned by
    /// that module; one that switches nothing else on and has no module, by any source file.
    fn own(&self, package: &Package, feature: &str) -> bool {
        let files = self.inside(package);
        if files.iter().any(|f| *f == Path::new("Cargo.toml") || *f == Path::new("src/lib.rs")) {
            return true;
        }
        let modules = module_names(feature);
        let of_module = |f: &Path| {
            let mut parts = f.strip_prefix("src").into_iter().flatten().filter_map(|part| part.to_str());
            parts.any(|part| modules.iter().any(|m| part.strip_suffix(".rs").unwrap_or(part) == m))
        };
        if files.iter().any(|f| of_module(f)) {
            return true;
        }
        let forwards = package.features.get(feature).is_some_and(|on| on.iter().any(|v| !v.starts_with("dep:")));
        let source = files.iter().any(|f| f.starts_with("src"));
        source && !forwards && !modules.iter().any(|m| has_module(&package.folder.join("src"), m))
    }
}

/// The modules a feature may gate: `aws-ec2` gates `aws_ec2`, or a part of `aws`.
fn module_names(feature: &str) -> Vec<String> {
    let whole = feature.replace('-', "_");
    let first = feature.split('-').next().unwrap_or(feature).to_owned();
    if first == whole { vec![whole] } else { vec![whole, first] }
}

fn has_module(folder: &Path, name: &str) -> bool {
    if folder.join(name).is_dir() || folder.join(format!("{name}.rs")).is_file() {
        return true;
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().map(|e| e.path()).any(|path| path.is_dir() && has_module(&path, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample;

    fn touched(files: &[&str]) -> Vec<String> {
        let adapters = sample(
            "ir-adapters",
            &[
                ("default", &[]),
                ("aws", &["dep:sdk"]),
                ("aws-ec2", &["aws"]),
                ("loki", &["_http"]),
                ("_http", &["dep:h"]),
            ],
        );
        let facade =
            sample("facade", &[("default", &[]), ("loki", &["ir-adapters?/loki"]), ("aws", &["ir-adapters/aws"])]);
        let files: Vec<String> = files.iter().map(|f| (*f).to_owned()).collect();
        let libraries = [&adapters, &facade];
        let touched = Touched { files: &files, root: Path::new("/w"), libraries: &libraries };
        let names = |p: &Package| {
            let hit: Vec<String> =
                p.lone_features().filter(|f| touched.feature(p, f)).map(|f| format!("{}/{f}", p.name)).collect();
            hit
        };
        libraries.iter().flat_map(|p| names(p)).collect()
    }

    #[test]
    fn a_feature_is_checked_when_its_folder_or_what_it_forwards_to_changed() {
        let aws = ["ir-adapters/aws", "ir-adapters/aws-ec2", "facade/aws"];
        // `_http` has no module in this made-up tree, so any source file concerns it, and `loki` with it.
        let rest = ["ir-adapters/_http", "ir-adapters/loki", "facade/loki"];
        let found = touched(&["crates/ir-adapters/src/aws/source.rs"]);
        assert!(aws.iter().chain(&rest).all(|f| found.contains(&(*f).to_owned())), "{found:?}");
        assert_eq!(touched(&["README.md", "crates/ir-adapters/README.md"]), [""; 0]);
    }

    #[test]
    fn a_manifest_concerns_all_features_of_its_package_and_the_lock_file_all() {
        assert_eq!(touched(&["crates/facade/Cargo.toml"]), ["facade/aws", "facade/loki"]);
        assert_eq!(touched(&["Cargo.lock"]).len(), 6);
    }

    #[test]
    fn a_feature_with_a_module_is_not_concerned_by_another_module() {
        let dir = tempfile::tempdir().unwrap();
        let mut package = sample("a", &[("loki", &["dep:x"]), ("aws", &["dep:y"])]);
        package.folder = dir.path().join("a");
        std::fs::create_dir_all(package.folder.join("src/deep/loki")).unwrap();
        std::fs::create_dir_all(package.folder.join("src/aws")).unwrap();
        let files = ["a/src/aws/mod.rs".to_owned()];
        let touched = Touched { files: &files, root: dir.path(), libraries: &[&package] };
        assert!(touched.feature(&package, "aws"));
        assert!(!touched.feature(&package, "loki"));
    }

    #[test]
    fn features_that_switch_each_other_on_do_not_loop() {
        let package = sample("a", &[("x", &["y"]), ("y", &["x"])]);
        let files = ["other/file".to_owned()];
        let touched = Touched { files: &files, root: Path::new("/w"), libraries: &[&package] };
        assert!(!touched.feature(&package, "x"));
    }
}
