//! What is wrong with a configuration is told all at once, before anything is opened.

use incident_response::core::*;
use incident_response::plan::decision::Policy;
use incident_response::plan::plan::Playbooks;
use incident_response::{EngineSettings, Load, LoadDir, Responder, STOP_VARIABLE};

use crate::world::*;

fn lines(error: &ConfigError) -> Vec<String> {
    error.problems().iter().map(ToString::to_string).collect()
}

fn assert_named(error: &ConfigError, wanted: &[&str]) {
    let lines = lines(error);
    for words in wanted {
        assert!(lines.iter().any(|line| line.contains(words)), "nothing names `{words}`:\n{error}");
    }
}

#[test]
fn an_empty_builder_names_everything_that_is_missing() {
    let error = Responder::builder().build().unwrap_err();
    assert_named(&error, &["`source`", "`journal`", "`topology`"]);
    assert_eq!(error.problems().len(), 3, "{error}");
}

#[tokio::test(start_paused = true)]
async fn every_mistake_is_told_at_once() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let playbooks = "[[playbook]]\nname = \"p\"\nversion = 1\nwhen = { entities = [\"ghost\"] }\n\
        [[playbook.step]]\nid = \"a\"\naction = \"world.destroy\"\nexpected_effect = \"x\"\n\
        [[playbook.step]]\nid = \"b\"\naction = \"world.heal\"\ntarget = { entity = \"phantom\" }\n\
        params = { force = true }\nexpected_effect = \"x\"\n";
    let policy = "tier = \"approve\"\n[[rule]]\nname = \"r\"\neffect = \"permit\"\n\
        when = { actions = [\"world.explode\"], targets = [\"spectre\"] }\n";
    let settings = EngineSettings {
        poll_every_ms: 0,
        verify_every_ms: 0,
        answer_within_ms: 0,
        snapshot_every_ms: 0,
        lease_ms: 0,
        plans: 0,
        diagnoses: 0,
        ..EngineSettings::default()
    };
    let error = Responder::builder()
        .name("two words")
        .clock(clock)
        .topology(topology())
        .source(Eyes(world.clone()))
        .source(Eyes(world.clone()))
        .detector(Doctor::default())
        .detector(Doctor::default())
        .executor(Hands(world.clone()))
        .executor(Hands(world))
        .playbooks(Playbooks::parse(playbooks, "playbooks.toml").unwrap())
        .policy(Policy::parse(policy, "policy.toml").unwrap())
        .settings(settings)
        .build()
        .unwrap_err();
    drop(journal);
    assert_named(
        &error,
        &[
            "settings.poll_every_ms",
            "settings.verify_every_ms",
            "settings.answer_within_ms",
            "settings.snapshot_every_ms",
            "settings.lease_ms",
            "settings.plans",
            "settings.diagnoses",
            "`journal`",
            "two words",
            "`source`: two are named `eyes`",
            "`detector`: two are named `doctor`",
            "`executor`: two are named `hands`",
            "`world.heal` is claimed by two executors",
            "`world.unheal` is claimed by two executors",
            "no executor has the action `world.destroy`",
            "no entity is named `ghost`",
            "no entity is named `phantom`",
            "params.force`",
            "no executor has the action `world.explode`",
            "no entity is named `spectre`",
            "`approver`",
        ],
    );
}

#[cfg(feature = "file")]
#[tokio::test(start_paused = true)]
async fn one_sink_may_not_be_given_twice() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let folder = Folder::new();
    let export = |name: &str| {
        std::sync::Arc::new(incident_response::adapters::file::FileExport::open(folder.path().join(name)).unwrap())
    };
    let builder = responder(&world, &clock, &journal, "act").audit_sink(export("a")).audit_sink(export("b"));
    assert_named(&builder.build().unwrap_err(), &["`audit_sink`: two are named"]);
}

/// The child of the next test: it builds with the variable that its parent set, and says what came of it.
#[test]
fn child_that_builds() {
    if std::env::var("INCIDENT_RESPONSE_TEST_CHILD").is_err() {
        return;
    }
    let error = Responder::builder().build().unwrap_err();
    println!("stopped: {}", lines(&error).iter().any(|line| line.contains(STOP_VARIABLE)));
}

#[test]
fn the_stop_variable_prevents_a_start() {
    // Variables belong to the whole process, so each value is tried in a process of its own.
    for (value, stops) in [
        (None, false),
        (Some(""), false),
        (Some("0"), false),
        (Some("false"), false),
        (Some("1"), true),
        (Some("no"), true),
    ] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "building::child_that_builds", "--nocapture"]).env("INCIDENT_RESPONSE_TEST_CHILD", "1");
        match value {
            Some(value) => child.env(STOP_VARIABLE, value),
            None => child.env_remove(STOP_VARIABLE),
        };
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&format!("stopped: {stops}")), "{value:?}: {said}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    let missing = folder.path().join("missing.toml");
    for error in [Policy::from_file(&missing).unwrap_err(), Topology::from_file(folder.path()).unwrap_err()] {
        assert_eq!(error.problems().len(), 1);
        assert_named(&error, &["cannot be read", folder.path().to_str().unwrap()]);
    }
    std::fs::write(&missing, b"\xff\xfe not text").unwrap();
    assert_named(&Playbooks::from_file(&missing).unwrap_err(), &["missing.toml: cannot be read"]);
    let nowhere = folder.path().join("nowhere");
    assert_named(&Playbooks::from_dir(&nowhere).unwrap_err(), &["nowhere: cannot be read"]);
    std::fs::create_dir(&nowhere).unwrap();
    std::fs::write(nowhere.join("notes.md"), "no playbook").unwrap();
    assert_named(&Playbooks::from_dir(&nowhere).unwrap_err(), &["nowhere: holds no `.toml` or `.json` file"]);
}

#[test]
fn several_bad_files_are_told_at_once_with_line_and_field() {
    let folder = Folder::new();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let good = "[[playbook]]\nname = \"good\"\nversion = 1\n\
        [[playbook.step]]\nid = \"a\"\naction = \"world.heal\"\nexpected_effect = \"x\"\n";
    write("a-good.toml", good);
    write("b-syntax.toml", "[[playbook]]\nname = \n");
    write("c-field.toml", &good.replace("good", "c").replace("version = 1", "version = 1\ncolour = \"red\""));
    write("d-time.toml", &format!("{}timeout_ms = 0\n", good.replace("good", "d")));
    write("e-twice.toml", good);
    write("f.json", "{\"playbook\": [{\"name\": \"f\", \"version\": \"one\"}]}");
    write("ignored.txt", "[[[");
    let error = Playbooks::from_dir(folder.path()).unwrap_err();
    assert_named(
        &error,
        &[
            "b-syntax.toml:2:",
            "c-field.toml:4:",
            "colour",
            "d-time.toml:8:",
            "timeout_ms",
            "`good`",
            "f.json",
            "version",
        ],
    );
    for name in ["c-field.toml", "d-time.toml", "e-twice.toml"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    let error = Playbooks::from_dir(folder.path()).unwrap_err();
    assert_eq!(error.problems().len(), 2, "{error}");
    std::fs::remove_file(folder.path().join("b-syntax.toml")).unwrap();
    std::fs::remove_file(folder.path().join("f.json")).unwrap();
    assert_eq!(Playbooks::from_dir(folder.path()).unwrap().iter().len(), 1);
}
