//! Stage `packages`: how many packages each library and each of its features brings, against `docs/packages.toml`, the
//! budgets, and no C code in what comes by default.

use super::Site;
use crate::fail::{Context, Failure, Result};
use crate::run::Task;
use crate::workspace::{Package, Workspace};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

const TABLE: &str = "docs/packages.toml";

/// Most packages with default features, the library itself counted.
const BUDGETS: &[(&str, usize)] = &[("ir-core", 60), ("incident-response", 90)];

/// Packages that exist to build or bind foreign code.
const BUILDERS_OF_C: &[&str] = &["cc", "cmake", "bindgen"];

/// Name and version.
type Id = (String, String);

/// Counts by library, then by selection: `default`, `none`, `full`, or a feature alone.
type Counts = BTreeMap<String, BTreeMap<String, usize>>;

/// Compares the tree with the table, the budgets and the rule against C code.
pub(super) fn run(site: &Site) -> Result<String> {
    let workspace = &site.workspace;
    let found = count(workspace)?;
    let mut problems = over_budget(&found, BUDGETS);
    problems.extend(c_code_by_default(workspace)?);
    let path = workspace.root.join(TABLE);
    let written = match fs::read_to_string(&path) {
        Ok(text) => parse(&text)?,
        Err(e) => return Err(Failure::new(format!("cannot read `{TABLE}`: {e}; run `cargo xtask packages --write`"))),
    };
    let differences = differences(&written, &found);
    if !differences.is_empty() {
        problems
            .push(format!("`{TABLE}` is not current: look at the difference, then run `cargo xtask packages --write`"));
        problems.extend(differences);
    }
    if !problems.is_empty() {
        return Err(Failure::new(problems.join("\n")));
    }
    let default = |name: &str| found.get(name).and_then(|c| c.get("default"));
    let told = BUDGETS.iter().filter_map(|(name, most)| Some(format!("{name} {} of {most}", default(name)?)));
    Ok(told.collect::<Vec<_>>().join(", "))
}

/// `cargo xtask packages`: prints the counts, or with `write` puts them into the table.
pub(crate) fn command(write: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    let text = render(&count(&workspace)?);
    if !write {
        print!("{text}");
        return Ok(());
    }
    let path = workspace.root.join(TABLE);
    let told = || format!("cannot write `{}`", path.display());
    fs::create_dir_all(path.parent().unwrap_or(&workspace.root)).context(told)?;
    fs::write(&path, text).context(told)?;
    println!("wrote {TABLE}");
    Ok(())
}

fn count(workspace: &Workspace) -> Result<Counts> {
    let mut counts = Counts::new();
    for package in workspace.libraries() {
        let mut of = BTreeMap::new();
        of.insert("default".to_owned(), tree(package, &[])?.len());
        of.insert("none".to_owned(), tree(package, &["--no-default-features"])?.len());
        for feature in package.lone_features() {
            let alone = ["--no-default-features", "--features", feature];
            of.insert(feature.to_owned(), tree(package, &alone)?.len());
        }
        counts.insert(package.name.clone(), of);
    }
    Ok(counts)
}

/// What a build of this package for this machine compiles, itself included.
fn tree(package: &Package, features: &[&str]) -> Result<BTreeSet<Id>> {
    let task = Task::cargo("tree").args(["-p", &package.name, "-e", "normal,build", "--prefix", "none"]).args(features);
    Ok(ids(&task.output()?))
}

/// The packages in the output of `cargo tree --prefix none`, where one may stand many times.
fn ids(text: &str) -> BTreeSet<Id> {
    let id = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.trim_start_matches('v').to_owned()))
    };
    text.lines().filter_map(id).collect()
}

fn over_budget(found: &Counts, budgets: &[(&str, usize)]) -> Vec<String> {
    let over = budgets.iter().filter_map(|(name, most)| {
        let count = *found.get(*name)?.get("default")?;
        (count > *most).then(|| format!("`{name}` brings {count} packages by default: the budget is {most}"))
    });
    over.collect()
}

fn differences(written: &Counts, found: &Counts) -> Vec<String> {
    let flat = |counts: &Counts| {
        let each = |(name, of): (&String, &BTreeMap<String, usize>)| {
            let name = name.clone();
            of.iter().map(move |(what, n)| ((name.clone(), what.clone()), *n)).collect::<Vec<_>>()
        };
        counts.iter().flat_map(each).collect::<BTreeMap<_, _>>()
    };
    let (written, found) = (flat(written), flat(found));
    let keys: BTreeSet<_> = written.keys().chain(found.keys()).collect();
    let told = |n: Option<&usize>| n.map_or_else(|| "none".to_owned(), usize::to_string);
    let line = |key: &(String, String)| {
        let (old, new) = (written.get(key), found.get(key));
        (old != new).then(|| format!("    {} {}: {} in the table, {} now", key.0, key.1, told(old), told(new)))
    };
    keys.into_iter().filter_map(line).collect()
}

fn render(counts: &Counts) -> String {
    let mut text = String::from(
        "# How many packages each library brings (`cargo tree -e normal,build`, itself included): with default features, with\n\
         # none, and with each feature alone. Written by `cargo xtask packages --write`, compared by `cargo xtask test`.\n",
    );
    for (name, of) in counts {
        // Writing into a String cannot fail.
        writeln!(text, "\n[{name}]").ok();
        for (what, n) in of {
            writeln!(text, "{what} = {n}").ok();
        }
    }
    text
}

fn parse(text: &str) -> Result<Counts> {
    let table: toml::Table = text.parse().context(|| format!("`{TABLE}` is not TOML"))?;
    let mut counts = Counts::new();
    for (name, of) in table {
        let of = of.as_table().ok_or_else(|| Failure::new(format!("`{TABLE}`: `{name}` is not a table")))?;
        for (what, n) in of {
            let n = n.as_integer().and_then(|n| usize::try_from(n).ok());
            let n = n.ok_or_else(|| Failure::new(format!("`{TABLE}`: `{name}.{what}` is not a count")))?;
            counts.entry(name.clone()).or_default().insert(what.clone(), n);
        }
    }
    Ok(counts)
}

fn c_code_by_default(workspace: &Workspace) -> Result<Vec<String>> {
    let with_build_script = with_build_script()?;
    let mut problems = Vec::new();
    for package in workspace.libraries() {
        let found = c_code(&tree(package, &[])?, &with_build_script);
        problems.extend(found.into_iter().map(|what| {
            let name = &package.name;
            format!(
                "`{name}` brings C code by default: {what}; `cargo tree -p {name} -e normal,build -i {what}` tells why"
            )
        }));
    }
    Ok(problems)
}

/// The packages that compile or bind C: builders of it, and `-sys` crates with a build script.
///
/// A `-sys` crate without one (`windows-sys`, `linux-raw-sys`) holds declarations only.
fn c_code(tree: &BTreeSet<Id>, with_build_script: &BTreeSet<Id>) -> Vec<String> {
    let is_c = |id: &&Id| {
        BUILDERS_OF_C.contains(&id.0.as_str()) || (id.0.ends_with("-sys") && with_build_script.contains(*id))
    };
    tree.iter().filter(is_c).map(|id| id.0.clone()).collect()
}

fn with_build_script() -> Result<BTreeSet<Id>> {
    let version = Task::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Failure::new("`rustc -vV` tells no host"))?;
    // Only this machine's packages: the others need not even be downloaded.
    let text = Task::cargo("metadata").args(["--format-version", "1", "--filter-platform", host]).output()?;
    let value: Value = serde_json::from_str(&text).context(|| "cannot read the answer of `cargo metadata`".into())?;
    let packages = value["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let built = |p: &&Value| {
        let targets = p["targets"].as_array().map_or(&[][..], Vec::as_slice);
        targets.iter().any(|t| t["kind"].as_array().is_some_and(|k| k.iter().any(|k| k == "custom-build")))
    };
    let id = |p: &Value| Some((p["name"].as_str()?.to_owned(), p["version"].as_str()?.to_owned()));
    Ok(packages.iter().filter(built).filter_map(id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(list: &[(&str, &str)]) -> BTreeSet<Id> {
        list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn counts(list: &[(&str, &str, usize)]) -> Counts {
        let mut all = Counts::new();
        for (name, what, n) in list {
            all.entry((*name).to_owned()).or_default().insert((*what).to_owned(), *n);
        }
        all
    }

    #[test]
    fn a_package_counts_once_and_two_versions_count_twice() {
        let text =
            "a v0.1.0 (/w/a)\nserde v1.0.2\nderive v2.0.0 (proc-macro)\nserde v1.0.2 (*)\nsyn v2.0.1\nsyn v3.0.0\n\n";
        let want = [("a", "0.1.0"), ("derive", "2.0.0"), ("serde", "1.0.2"), ("syn", "2.0.1"), ("syn", "3.0.0")];
        assert_eq!(ids(text), set(&want));
    }

    #[test]
    fn c_code_is_a_builder_of_it_or_a_sys_crate_with_a_build_script() {
        let tree = set(&[("cc", "1"), ("z-sys", "1"), ("windows-sys", "1"), ("libc", "1"), ("accent", "1")]);
        let scripts = set(&[("z-sys", "1"), ("libc", "1")]);
        assert_eq!(c_code(&tree, &scripts), ["cc", "z-sys"]);
        assert!(c_code(&set(&[("z-sys", "2")]), &scripts).is_empty());
    }

    #[test]
    fn the_table_survives_writing_and_reading() {
        let table = counts(&[("ir-core", "default", 3), ("ir-core", "none", 2), ("facade", "x-y", 9)]);
        assert_eq!(parse(&render(&table)).unwrap(), table);
        assert!(parse("[a]\nx = 'many'").unwrap_err().to_string().contains("`a.x` is not a count"));
    }

    #[test]
    fn differences_name_both_sides() {
        let old = counts(&[("a", "default", 3), ("a", "gone", 1), ("b", "default", 5)]);
        let new = counts(&[("a", "default", 4), ("a", "new", 1), ("b", "default", 5)]);
        let want = [
            "    a default: 3 in the table, 4 now",
            "    a gone: 1 in the table, none now",
            "    a new: none in the table, 1 now",
        ];
        assert_eq!(differences(&old, &new), want);
        assert!(differences(&new, &new).is_empty());
    }

    #[test]
    fn a_budget_is_broken_by_one_more_than_it_allows() {
        let found = counts(&[("a", "default", 61), ("b", "default", 60)]);
        let problems = over_budget(&found, &[("a", 60), ("b", 60), ("absent", 1)]);
        assert_eq!(problems, ["`a` brings 61 packages by default: the budget is 60"]);
    }
}
