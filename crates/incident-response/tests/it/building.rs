//! What is wrong with a configuration is told all at once, before anything is opened.

use incident_response::core::*;
use incident_response::plan::decision::Policy;
use incident_response::plan::plan::Playbooks;
use incident_response::{Builder, EngineSettings, Load, LoadDir, Responder, STOP_VARIABLE};

use crate::hostile::{Says, part};
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
        append_within_ms: 0,
        shutdown_within_ms: 0,
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
            "settings.append_within_ms",
            "settings.shutdown_within_ms",
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
    // `f.json` has two: its version, and that it has no step.
    assert_eq!(error.problems().len(), 3, "{error}");
    std::fs::remove_file(folder.path().join("b-syntax.toml")).unwrap();
    std::fs::remove_file(folder.path().join("f.json")).unwrap();
    assert_eq!(Playbooks::from_dir(folder.path()).unwrap().iter().len(), 1);
}

/// A worker and a database of the world, in production and staging.
const FLEET: &str = "[[entity]]\nid = \"middle\"\nkind = \"worker\"\nenvironment = \"production\"\n\
    [[entity]]\nid = \"back\"\nkind = \"database\"\nenvironment = \"staging\"\n";

const PERMIT: &str =
    "tier = \"act\"\n[[rule]]\nname = \"heal\"\neffect = \"permit\"\nwhen = { actions = [\"world.heal\"] }\n";

/// The fleet under `PERMIT` and `more`, which begins at line 6.
fn fleet(more: &str) -> Builder {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    responder(&world, &clock, &journal, "act")
        .topology(Topology::parse(FLEET, "topology.toml").unwrap())
        .policy(Policy::parse(&format!("{PERMIT}{more}"), "policy.toml").unwrap())
}

fn warnings(builder: Builder) -> Vec<String> {
    builder.build().unwrap().warnings().iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn a_misspelt_name_in_a_deny_or_freeze_does_not_build() {
    let rule =
        |effect: &str, when: &str| format!("[[rule]]\nname = \"never\"\neffect = \"{effect}\"\nwhen = {{ {when} }}\n");
    let freeze = "[[freeze]]\nname = \"year end\"\nfrom = \"2026-12-20T00:00:00Z\"\nuntil = \"2027-01-05T00:00:00Z\"\n";
    let guards = |name: &str| format!("{name} guards nothing by this name: ");
    let rule_guards = guards("rule `never`");
    // One row a place where a name guards: the text, and the message about it.
    let table = [
        (
            rule("deny", "kinds = [\"wroker\"]"),
            format!(
                "policy.toml:9: `rule[1].when.kinds[0]`: {rule_guards}no entity is of kind `wroker`: did you mean `worker`?"
            ),
        ),
        (
            rule("require_approval", "kinds = [\"database\", \"workers\"]"),
            format!(
                "policy.toml:9: `rule[1].when.kinds[1]`: {rule_guards}no entity is of kind `workers`: did you mean `worker`?"
            ),
        ),
        (
            rule("deny", "environments = [\"Production\"]"),
            format!(
                "policy.toml:9: `rule[1].when.environments[0]`: {rule_guards}no entity runs in the environment `Production`: \
                 did you mean `production`?"
            ),
        ),
        (
            rule("deny", "classes = [\"bad_deploys\"]"),
            format!(
                "policy.toml:9: `rule[1].when.classes[0]`: {rule_guards}no incident is of class `bad_deploys`: \
                 did you mean `bad_deploy`?"
            ),
        ),
        (
            rule("deny", "kinds = [\"appliance\"]"),
            format!(
                "policy.toml:9: `rule[1].when.kinds[0]`: {rule_guards}no entity is of kind `appliance`; there is: `database`, \
                 `worker`; a name that is guarded in advance belongs in `[vocabulary]`"
            ),
        ),
        (
            format!("{freeze}environments = [\"staging\", \"prod\"]\n"),
            format!(
                "policy.toml:10: `freeze[0].environments[1]`: {}no entity runs in the environment `prod`; there is: \
                 `production`, `staging`; a name that is guarded in advance belongs in `[vocabulary]`",
                guards("freeze `year end`")
            ),
        ),
    ];
    for (text, wanted) in &table {
        assert_eq!(lines(&fleet(text).build().unwrap_err()), [wanted.as_str()]);
    }
    // All at once, and spelt well none.
    let all: String = table.iter().map(|(text, _)| text.as_str()).collect::<String>();
    let numbered = all
        .split("\"never\"")
        .enumerate()
        .map(|(n, text)| if n == 0 { text.to_owned() } else { format!("\"never {n}\"{text}") });
    assert_eq!(fleet(&numbered.collect::<String>()).build().unwrap_err().problems().len(), table.len());
    let sound =
        rule("deny", "kinds = [\"worker\"], environments = [\"production\"], classes = [\"bad_deploy\", \"unknown\"]");
    let sound = format!("{sound}{freeze}environments = [\"production\"]\n");
    assert!(warnings(fleet(&sound)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_classes_are_those_of_the_classifier() {
    let deny = "[[rule]]\nname = \"never\"\neffect = \"deny\"\nwhen = { classes = [\"intrusion\"] }\n";
    assert_named(&fleet(deny).build().unwrap_err(), &["no incident is of class `intrusion`"]);
    let classifier = || part(|_: &Incident| Says::<Classification>::Hangs);
    assert!(warnings(fleet(deny).classifier(classifier())).is_empty());
    let error = fleet(&deny.replace("intrusion", "errors")).classifier(classifier()).build().unwrap_err();
    assert_named(&error, &["no incident is of class `errors`; there is: `intrusion`"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_doubtful_is_returned_shown_and_logged_once() {
    let more = "[limits]\nper_target_day = 50\n[[rule]]\nname = \"all\"\neffect = \"permit\"\n\
        [[rule]]\nname = \"queues\"\neffect = \"permit\"\nwhen = { kinds = [\"queue\"], environments = [\"producton\"] }\n";
    let playbook = "[[playbook]]\nname = \"p\"\nversion = 1\nwhen = { classes = [\"erors\"] }\n\
        [[playbook.step]]\nid = \"a\"\naction = \"world.heal\"\nexpected_effect = \"x\"\n";
    let wanted = [
        "p.toml:4: `playbook[0].when.classes[0]`: playbook `p` fits nothing by this name: no incident is of class `erors`: \
         did you mean `errors`?",
        "policy.toml:7: `limits.per_target_day`: 50 is looser than the kernel's own limit and has no effect: 3 holds",
        "policy.toml:8: `rule[1]`: rule `all` has no `when`, so it fits every step; `when = {}` says so",
        "policy.toml:14: `rule[2].when.kinds[0]`: rule `queues` permits nothing by this name: no entity is of kind `queue`; \
         there is: `database`, `worker`",
        "policy.toml:14: `rule[2].when.environments[0]`: rule `queues` permits nothing by this name: no entity runs in the \
         environment `producton`: did you mean `production`?",
    ];
    let logged = Warnings::default();
    let seen = logged.clone();
    let built = tracing::subscriber::with_default(logged, || {
        fleet(more).playbooks(Playbooks::parse(playbook, "p.toml").unwrap()).build().unwrap()
    });
    assert_eq!(built.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(), wanted);
    assert_eq!(*seen.0.lock().unwrap(), wanted);

    let engine = built.open().await.unwrap();
    let mut handle = engine.handle();
    let shown = |handle: &incident_response::Handle| -> Vec<String> {
        handle.status().warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(shown(&handle), wanted);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(engine.run_until(async { drop(stopped.await) }));
    handle.changed().await.unwrap();
    assert_eq!(shown(&handle), wanted);
    let status = serde_json::to_value(&*handle.status()).unwrap();
    assert_eq!(status["warnings"][1]["line"], 7);
    drop(stop);
    running.await.unwrap().unwrap();
    assert_eq!(seen.0.lock().unwrap().len(), wanted.len());
}

/// Keeps what is logged as a warning.
#[derive(Debug, Clone, Default)]
struct Warnings(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Text<'a>(&'a mut Vec<String>);
        impl tracing::field::Visit for Text<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "warning" {
                    self.0.push(format!("{value:?}"));
                }
            }
        }
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn documents_that_can_hardly_be_meant_together_are_reported() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let bare = || Responder::builder().clock(clock.clone()).journal(journal.clone()).source(Eyes(world.clone()));
    let acting = || bare().executor(Hands(world.clone())).topology(topology());
    let books = || {
        Playbooks::parse(
            "[[playbook]]\nname = \"p\"\nversion = 1\n[[playbook.step]]\nid = \"a\"\naction = \"world.heal\"\n\
             expected_effect = \"x\"\n",
            "p.toml",
        )
        .unwrap()
    };
    let policy = |text: &str| Policy::parse(text, "policy.toml").unwrap();
    // One row a combination, and its warnings.
    let empty = "topology.toml: the topology has no entity: no signal belongs to anything, and nothing can be acted on";
    let no_tier = "policy.toml: `tier` is not given, so the policy only observes: no playbook does anything";
    let no_policy = "`policy`: is missing: without one nothing is done, whatever playbooks say";
    let table = [
        (bare().topology(Topology::parse("", "topology.toml").unwrap()), vec![empty]),
        (acting().playbooks(books()), vec![no_policy]),
        (acting().playbooks(books()).policy(policy("")), vec![no_tier]),
        (acting().playbooks(books()).policy(policy("tier = \"observe\"")), vec![]),
        (acting().policy(policy("")), vec![]),
        (acting(), vec![]),
    ];
    for (builder, wanted) in table {
        assert_eq!(warnings(builder), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn entities_of_a_platform_that_changes_may_be_missing() {
    let deny = "[[rule]]\nname = \"never\"\neffect = \"deny\"\nwhen = { targets = [\"task-7\", \"middle\"] }\n";
    assert_named(&fleet(deny).build().unwrap_err(), &["policy.toml:9: `rule[1].when.targets[0]`", "`task-7`"]);
    let found = || Topology::parse(FLEET, "topology.toml").unwrap();
    let wanted = "policy.toml:9: `rule[1].when.targets`: 1 of 2 targets are not there now: `task-7`";
    assert_eq!(warnings(fleet(deny).discovered_topology(found())), [wanted]);
    // Kinds stay closed, and a topology that is given afterwards is one that does not change.
    let kinds = deny.replace("targets", "kinds").replace("middle", "worker");
    assert!(fleet(&kinds).discovered_topology(found()).build().is_err());
    assert!(fleet(deny).discovered_topology(found()).topology(found()).build().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_topology_beyond_the_bounds_is_refused_and_what_is_left_out_is_shown() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let builder = || responder(&world, &clock, &journal, "act");
    let room = |max_targets| {
        let config = incident_response::detect::ScrapeConfig { max_targets, ..Default::default() };
        incident_response::detect::ScrapeAssembler::new(config).unwrap()
    };
    let refused = builder().scrapes(room(2)).build().unwrap_err().to_string();
    assert!(refused.contains("has 3 entities") && refused.contains("keeps 2 targets"), "{refused}");

    // Within the bound for the topology, and beyond it by what is scraped: every value of the store that finds no room counts.
    let narrow = incident_response::detect::ObservationStoreConfig { max_series: 1, ..Default::default() };
    let store = incident_response::detect::ObservationStore::new(narrow).unwrap();
    let engine = builder().observations(store).build().unwrap().open().await.unwrap();
    let handle = engine.handle();
    engine.run_until(tokio::time::sleep(std::time::Duration::from_secs(10))).await.unwrap();
    assert!(handle.status().beyond_bounds > 20, "{}", handle.status().beyond_bounds);
}
