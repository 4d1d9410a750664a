//! The director with everybody: a whole story, and one that is cut short.

use serde_json::Value;

use crate::stage::{Player, processes_with, until};

#[test]
fn a_person_who_does_the_right_thing_makes_a_right_run() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("outcome.json");
    let run = folder.path().join("run");
    let mut director = Player::start(&[
        "--fault",
        "bad-deploy",
        "--tier",
        "observe",
        "--person-after",
        "1",
        "--alert-now",
        "--run",
        run.to_str().unwrap(),
        "--json",
        json.to_str().unwrap(),
    ]);
    let status = director.0.wait().unwrap();
    let outcome: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert!(status.success(), "{outcome:#}");
    assert_eq!((&outcome["right"], &outcome["healer"]), (&true.into(), &"person".into()));
    let effects = outcome["effects"].as_array().unwrap();
    assert_eq!((effects.len(), &effects[0]["kind"]), (1, &"rollback".into()));
    assert_eq!(effects[0]["service"], outcome["target"]);
    assert_ne!(outcome["harmless_service"], outcome["target"]);
    assert!(outcome["outage_bins"].as_u64().unwrap() >= 1);
    assert_eq!(processes_with(run.to_str().unwrap()), 0, "everybody has gone home");
}

#[test]
fn nobody_outlives_a_director_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut director = Player::start(&["--run", run.to_str().unwrap()]);
    until("all have started", || run.join("processes.json").exists());
    director.kill();
    until("all are gone", || processes_with(run.to_str().unwrap()) == 0);
}
