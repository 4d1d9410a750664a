//! Stage `components`: what the tests need beside Rust, listed in `components.toml`; installs it, or names the line that does.

use super::Site;
use crate::fail::{Context, Failure, Result};
use crate::run::Task;
use std::path::Path;
use toml::{Table, Value};

const LIST: &str = include_str!("../../components.toml");

/// One thing that must be on the machine.
#[derive(Debug, PartialEq)]
struct Component {
    name: String,
    /// A command that ends with exit code 0 when the component is there.
    present: Vec<String>,
    source: Source,
}

/// What brings a component.
#[derive(Debug, PartialEq)]
enum Source {
    /// Debian packages.
    Debian(Vec<String>),
    /// Python packages, installed into our own venv.
    Pip(Vec<String>),
    /// A line that only a person runs.
    ByHand(String),
}

/// The machine as this stage sees it; tests put their own in its place.
trait Machine {
    /// Whether Debian packages may be installed: we are root and `apt-get` is there.
    fn may_install(&self) -> bool;
    /// Whether anything at all may be installed.
    fn forbidden(&self) -> bool;
    /// Whether a command ends with exit code 0.
    fn works(&self, words: &[String]) -> bool;
    /// Runs a command that changes the machine.
    fn run(&mut self, words: &[String]) -> Result<()>;
}

struct Here {
    forbidden: bool,
}

impl Machine for Here {
    fn may_install(&self) -> bool {
        let root = Task::new("id").arg("-u").output().is_ok_and(|uid| uid.trim() == "0");
        root && Task::new("apt-get").arg("--version").works()
    }

    fn forbidden(&self) -> bool {
        self.forbidden
    }

    fn works(&self, words: &[String]) -> bool {
        task(words).is_some_and(|t| t.works())
    }

    fn run(&mut self, words: &[String]) -> Result<()> {
        task(words).map_or(Ok(()), |t| t.env("DEBIAN_FRONTEND", "noninteractive").run())
    }
}

fn task(words: &[String]) -> Option<Task> {
    words.split_first().map(|(program, args)| Task::new(program).args(args))
}

/// Sees to it that every component is there.
pub(super) fn run(site: &Site) -> Result<String> {
    let venv = site.workspace.target.join("venv");
    let components = parse(LIST, &venv)?;
    let installed = ensure(&components, &venv, &mut Here { forbidden: site.no_install })?;
    Ok(if installed.is_empty() {
        format!("{} present", components.len())
    } else {
        format!("installed {}", installed.join(", "))
    })
}

/// Installs what is missing and returns its names; fails with the lines to run where it may not.
fn ensure(components: &[Component], venv: &Path, machine: &mut dyn Machine) -> Result<Vec<String>> {
    let missing: Vec<&Component> = components.iter().filter(|c| !machine.works(&c.present)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let python = words(&["python3", "-c", "import ensurepip, venv"]);
    let plan = plan(&missing, venv, !machine.works(&python), !venv.join("bin/pip").exists());
    let by_hand = |line: &&Line| {
        machine.forbidden() || line.who == Who::Person || (line.who == Who::Root && !machine.may_install())
    };
    if plan.iter().any(|line| by_hand(&line)) {
        let names: Vec<&str> = missing.iter().map(|c| c.name.as_str()).collect();
        let lines: Vec<String> = plan.iter().map(|l| format!("    {}", l.shell())).collect();
        return Err(Failure::new(format!("missing: {}; run\n{}", names.join(", "), lines.join("\n"))));
    }
    for line in &plan {
        machine.run(&line.words)?;
    }
    let still: Vec<&str> = missing.iter().filter(|c| !machine.works(&c.present)).map(|c| c.name.as_str()).collect();
    if still.is_empty() {
        return Ok(missing.iter().map(|c| c.name.clone()).collect());
    }
    Err(Failure::new(format!("installed, but still not answering: {}", still.join(", "))))
}

/// One line that changes the machine, and who may run it.
#[derive(Debug, PartialEq)]
struct Line {
    who: Who,
    words: Vec<String>,
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum Who {
    Root,
    Anyone,
    Person,
}

impl Line {
    fn shell(&self) -> String {
        let line = match (self.who, self.words.split_first()) {
            // The words of a person's line are already a line.
            (Who::Person, _) => self.words.join(" "),
            (_, Some((program, args))) => Task::new(program).args(args).line(),
            (_, None) => String::new(),
        };
        if self.who == Who::Root { format!("sudo {line}") } else { line }
    }
}

/// The lines that install these components: one for Debian, one for the venv, one for pip, and those for people.
fn plan(missing: &[&Component], venv: &Path, no_python: bool, no_venv: bool) -> Vec<Line> {
    let mut debian: Vec<String> = Vec::new();
    let mut pip: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for component in missing {
        match &component.source {
            Source::Debian(packages) => debian.extend(packages.iter().cloned()),
            Source::Pip(packages) => pip.extend(packages.iter().cloned()),
            Source::ByHand(line) => lines.push(Line { who: Who::Person, words: vec![line.clone()] }),
        }
    }
    if !pip.is_empty() && no_venv && no_python {
        debian.extend(words(&["python3", "python3-venv"]));
    }
    if !debian.is_empty() {
        lines.push(Line { who: Who::Root, words: words(&["apt-get", "update"]) });
        let install = words(&["apt-get", "install", "-y", "--no-install-recommends"]);
        lines.push(Line { who: Who::Root, words: install.into_iter().chain(debian).collect() });
    }
    if !pip.is_empty() {
        let venv_text = venv.display().to_string();
        if no_venv {
            lines.push(Line { who: Who::Anyone, words: words(&["python3", "-m", "venv", &venv_text]) });
        }
        let install = [venv.join("bin/pip").display().to_string(), "install".into()];
        lines.push(Line { who: Who::Anyone, words: install.into_iter().chain(pip).collect() });
    }
    lines
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

fn parse(text: &str, venv: &Path) -> Result<Vec<Component>> {
    let table: Table = text.parse().context(|| "`components.toml` is not TOML".into())?;
    let list = table.get("component").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().map(|value| component(value, venv)).collect()
}

fn component(value: &Value, venv: &Path) -> Result<Component> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = |key: &str| {
        let items = value.get(key).and_then(Value::as_array)?;
        items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()
    };
    let name = text("name").ok_or_else(|| Failure::new("a component has no `name`"))?;
    let wrong = |what: &str| Failure::new(format!("component `{name}`: {what}"));
    let present =
        list("present").filter(|p| !p.is_empty()).ok_or_else(|| wrong("`present` must be a list of words"))?;
    let venv = venv.display().to_string();
    let present = present.into_iter().map(|word| word.replace("{venv}", &venv)).collect();
    let source = match (list("debian"), list("pip"), text("by_hand")) {
        (Some(packages), None, None) => Source::Debian(packages),
        (None, Some(packages), None) => Source::Pip(packages),
        (None, None, Some(line)) => Source::ByHand(line),
        _ => return Err(wrong("give exactly one of `debian`, `pip` and `by_hand`")),
    };
    Ok(Component { name, present, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which installing `x` makes the command `x` work.
    struct Fake {
        root: bool,
        forbidden: bool,
        there: Vec<String>,
        ran: Vec<String>,
        broken: bool,
    }

    impl Machine for Fake {
        fn may_install(&self) -> bool {
            self.root
        }
        fn forbidden(&self) -> bool {
            self.forbidden
        }
        fn works(&self, words: &[String]) -> bool {
            self.there.contains(&words[0])
        }
        fn run(&mut self, words: &[String]) -> Result<()> {
            self.ran.push(words.join(" "));
            if !self.broken {
                self.there.extend(words.iter().cloned());
            }
            Ok(())
        }
    }

    fn fake(root: bool) -> Fake {
        Fake { root, forbidden: false, there: vec!["here".into()], ran: Vec::new(), broken: false }
    }

    fn list() -> Vec<Component> {
        let text = r#"
            component = [
                { name = "here", present = ["here"], debian = ["here"] },
                { name = "a", present = ["a"], debian = ["a", "a-data"] },
                { name = "b", present = ["b"], pip = ["b"] },
            ]"#;
        parse(text, Path::new("/no/venv")).unwrap()
    }

    #[test]
    fn the_list_of_this_project_is_well_formed() {
        assert!(!parse(LIST, Path::new("/v")).unwrap().is_empty());
    }

    #[test]
    fn what_is_missing_is_installed_and_what_is_there_is_left_alone() {
        let mut machine = fake(true);
        assert_eq!(ensure(&list(), Path::new("/no/venv"), &mut machine).unwrap(), ["a", "b"]);
        let want = [
            "apt-get update",
            "apt-get install -y --no-install-recommends a a-data python3 python3-venv",
            "python3 -m venv /no/venv",
            "/no/venv/bin/pip install b",
        ];
        assert_eq!(machine.ran, want);
        machine.ran.clear();
        assert!(ensure(&list(), Path::new("/no/venv"), &mut machine).unwrap().is_empty());
        assert!(machine.ran.is_empty());
    }

    #[test]
    fn without_permission_it_names_the_lines_and_changes_nothing() {
        for (root, forbidden) in [(false, false), (true, true)] {
            let mut machine = Fake { forbidden, ..fake(root) };
            let why = ensure(&list(), Path::new("/no/venv"), &mut machine).unwrap_err().to_string();
            assert!(why.starts_with("missing: a, b; run\n    sudo apt-get update\n    sudo apt-get install"), "{why}");
            assert!(why.ends_with("    /no/venv/bin/pip install b"), "{why}");
            assert!(machine.ran.is_empty());
        }
    }

    #[test]
    fn pip_alone_needs_no_root_once_python_can_make_a_venv() {
        let only_b: Vec<Component> = list().into_iter().filter(|c| c.name == "b").collect();
        let mut machine = fake(false);
        machine.there.push("python3".into());
        assert_eq!(ensure(&only_b, Path::new("/no/venv"), &mut machine).unwrap(), ["b"]);
        assert_eq!(machine.ran, ["python3 -m venv /no/venv", "/no/venv/bin/pip install b"]);
    }

    #[test]
    fn a_line_for_people_is_told_as_it_stands_and_never_run() {
        let text = r#"component = [{ name = "fmt", present = ["fmt"], by_hand = "rustup component add rustfmt" }]"#;
        let mut machine = fake(true);
        let why = ensure(&parse(text, Path::new("/v")).unwrap(), Path::new("/v"), &mut machine).unwrap_err();
        assert_eq!(why.to_string(), "missing: fmt; run\n    rustup component add rustfmt");
        assert!(machine.ran.is_empty());
    }

    #[test]
    fn an_installation_that_does_not_help_is_a_failure() {
        let mut machine = Fake { broken: true, ..fake(true) };
        let why = ensure(&list(), Path::new("/no/venv"), &mut machine).unwrap_err().to_string();
        assert_eq!(why, "installed, but still not answering: a, b");
    }

    #[test]
    fn a_wrong_entry_is_named() {
        let both = r#"component = [{ name = "x", present = ["x"], debian = [], pip = [] }]"#;
        let why = parse(both, Path::new("/v")).unwrap_err().to_string();
        assert_eq!(why, "component `x`: give exactly one of `debian`, `pip` and `by_hand`");
        let empty = r#"component = [{ name = "x", present = [], pip = [] }]"#;
        assert!(parse(empty, Path::new("/v")).unwrap_err().to_string().contains("`present`"));
    }

    #[test]
    fn the_venv_is_filled_into_the_check() {
        let text = r#"component = [{ name = "x", present = ["{venv}/bin/x"], pip = ["x"] }]"#;
        assert_eq!(parse(text, Path::new("/v")).unwrap()[0].present, ["/v/bin/x"]);
    }
}
