//! What the workspace holds, as cargo itself tells it: packages, their features and targets.

use crate::fail::{Context, Failure, Result};
use crate::run::Task;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The workspace around the current folder.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
    /// Where cargo builds: follows `CARGO_TARGET_DIR`.
    pub(crate) target: PathBuf,
    /// All members, by name.
    pub(crate) packages: Vec<Package>,
}

/// One member of the workspace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The folder of its manifest.
    pub(crate) folder: PathBuf,
    /// What it is, by the folder it lies in.
    pub(crate) place: Place,
    /// Whether its manifest allows publishing it.
    pub(crate) publish: bool,
    /// Each feature with what it switches on.
    pub(crate) features: BTreeMap<String, Vec<String>>,
    /// Names of its programs.
    pub(crate) bins: Vec<String>,
    /// Names of its benches.
    pub(crate) benches: Vec<String>,
    /// Names of its cargo examples (not the packages under `examples/`).
    pub(crate) examples: Vec<String>,
    /// The program that `cargo run` takes, where the manifest names one.
    pub(crate) default_run: Option<String>,
    /// The table `package.metadata` of its manifest.
    pub(crate) metadata: Value,
}

/// What a package is, by the folder it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Under `crates/`: a library of the project.
    Library,
    /// Under `examples/`: a starter binary.
    Example,
    /// Anywhere else: benches and tools.
    Other,
}

impl Workspace {
    /// Asks cargo about the workspace around the current folder.
    pub(crate) fn load() -> Result<Self> {
        let text = Task::cargo("metadata").args(["--format-version", "1", "--no-deps"]).output()?;
        let value = serde_json::from_str(&text).context(|| "cannot read the answer of `cargo metadata`".into())?;
        Self::from_metadata(&value)
    }

    fn from_metadata(value: &Value) -> Result<Self> {
        let root = path(value, "workspace_root")?;
        let packages = value["packages"].as_array().map_or(&[][..], Vec::as_slice);
        let mut packages = packages.iter().map(|p| package(p, &root)).collect::<Result<Vec<_>>>()?;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { target: path(value, "target_directory")?, root, packages })
    }

    /// The libraries under `crates/`.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|p| p.place == Place::Library)
    }

    /// The packages under `examples/`.
    pub(crate) fn examples(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|p| p.place == Place::Example)
    }

    /// The packages that can be published.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|p| p.publish)
    }
}

impl Package {
    /// The features that stand for all of it: `full` and `testkit` where there is a `full`, else every one.
    ///
    /// With `deep` it is every one in any case, so also those that `full` leaves out because they are costly.
    pub(crate) fn full(&self, deep: bool) -> Vec<&str> {
        let all = self.features.keys().map(String::as_str).filter(|f| *f != "default");
        if self.features.contains_key("full") && !deep {
            return all.filter(|f| matches!(*f, "full" | "testkit")).collect();
        }
        all.collect()
    }

    /// Its features except `default`, each of which must build alone.
    pub(crate) fn lone_features(&self) -> impl Iterator<Item = &str> {
        self.features.keys().map(String::as_str).filter(|f| *f != "default")
    }
}

/// The arguments that switch on all features of these packages in one call of cargo.
pub(crate) fn full_features<'a>(packages: impl IntoIterator<Item = &'a Package>, deep: bool) -> Vec<String> {
    let names = |p: &'a Package| p.full(deep).into_iter().map(move |f| format!("{}/{f}", p.name));
    let list: Vec<String> = packages.into_iter().flat_map(names).collect();
    if list.is_empty() { Vec::new() } else { vec!["--features".into(), list.join(",")] }
}

/// The arguments that select the whole workspace with all features.
///
/// Cargo switches on a dependency's features for all that it builds in one call. Stages that select the same build their
/// dependencies the same, and so find them built.
pub(crate) fn everything(workspace: &Workspace, deep: bool) -> Vec<String> {
    [vec!["--workspace".into()], full_features(&workspace.packages, deep)].concat()
}

/// The arguments that select these packages.
pub(crate) fn select<'a>(packages: impl IntoIterator<Item = &'a Package>) -> Vec<String> {
    packages.into_iter().flat_map(|p| ["-p".to_owned(), p.name.clone()]).collect()
}

fn package(value: &Value, root: &Path) -> Result<Package> {
    let manifest = path(value, "manifest_path")?;
    let folder = manifest.parent().unwrap_or(root).to_owned();
    let first = folder.strip_prefix(root).ok().and_then(|p| p.iter().next()).and_then(|c| c.to_str());
    let of_kind = |kind: &str| {
        let targets = value["targets"].as_array().map_or(&[][..], Vec::as_slice);
        let is = |t: &&Value| t["kind"].as_array().is_some_and(|k| k.iter().any(|k| k == kind));
        targets.iter().filter(is).filter_map(|t| t["name"].as_str()).map(str::to_owned).collect()
    };
    let features = value["features"].as_object().into_iter().flatten();
    let features = features.map(|(name, on)| {
        let on = on.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        (name.clone(), on)
    });
    Ok(Package {
        name: string(value, "name")?,
        version: string(value, "version")?,
        place: match first {
            Some("crates") => Place::Library,
            Some("examples") => Place::Example,
            _ => Place::Other,
        },
        publish: value["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
        features: features.collect(),
        bins: of_kind("bin"),
        benches: of_kind("bench"),
        examples: of_kind("example"),
        default_run: value["default_run"].as_str().map(str::to_owned),
        metadata: value["metadata"].clone(),
        folder,
    })
}

fn string(value: &Value, key: &str) -> Result<String> {
    let text = value[key].as_str().map(str::to_owned);
    text.ok_or_else(|| Failure::new(format!("`cargo metadata` tells no `{key}`")))
}

fn path(value: &Value, key: &str) -> Result<PathBuf> {
    string(value, key).map(PathBuf::from)
}

/// A package for tests: a library with these features.
#[cfg(test)]
pub(crate) fn sample(name: &str, features: &[(&str, &[&str])]) -> Package {
    let owned = |list: &[&str]| list.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>();
    Package {
        name: name.into(),
        version: "0.1.0".into(),
        folder: Path::new("/w/crates").join(name),
        place: Place::Library,
        publish: true,
        features: features.iter().map(|(f, on)| ((*f).to_owned(), owned(on))).collect(),
        bins: Vec::new(),
        benches: Vec::new(),
        examples: Vec::new(),
        default_run: None,
        metadata: Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn packages_are_sorted_into_places_by_their_folder() {
        let package = |name: &str, at: &str, publish: Value| {
            json!({"name": name, "version": "1.0.0", "manifest_path": format!("/w/{at}/Cargo.toml"), "publish": publish,
                "features": {"default": [], "x": ["dep:y"]},
                "targets": [{"kind": ["bin"], "name": name}, {"kind": ["bench"], "name": "speed"}]})
        };
        let all = [
            package("tool", "xtask", json!([])),
            package("shop", "examples/shop", json!([])),
            package("core", "crates/core", Value::Null),
        ];
        let answer = json!({"workspace_root": "/w", "target_directory": "/t", "packages": all});
        let workspace = Workspace::from_metadata(&answer).unwrap();
        let seen: Vec<_> = workspace.packages.iter().map(|p| (p.name.as_str(), p.place, p.publish)).collect();
        let want = [("core", Place::Library, true), ("shop", Place::Example, false), ("tool", Place::Other, false)];
        assert_eq!(seen, want);
        assert_eq!(workspace.target, Path::new("/t"));
        assert_eq!(workspace.packages[0].features["x"], ["dep:y"]);
        assert_eq!((&workspace.packages[0].bins[0][..], &workspace.packages[0].benches[0][..]), ("core", "speed"));
    }

    #[test]
    fn full_stands_for_all_features_where_there_is_one() {
        let with = sample("a", &[("default", &[]), ("full", &[]), ("testkit", &[]), ("x", &[]), ("costly", &[])]);
        let without = sample("b", &[("default", &[]), ("x", &[])]);
        let none = sample("c", &[("default", &[])]);
        assert_eq!(full_features([&with, &without, &none], false), ["--features", "a/full,a/testkit,b/x"]);
        assert_eq!(with.full(true), ["costly", "full", "testkit", "x"]);
        assert!(full_features([&none], false).is_empty());
    }
}
