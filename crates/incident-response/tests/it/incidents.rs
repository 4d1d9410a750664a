//! The life of incidents: what grows keeps its plan, what goes on is never lost, what a person has takes in no other fault, and
//! people steer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use incident_response::core::journal::{Body, Fact};
use incident_response::core::*;
use incident_response::plan::plan::Playbooks;
use incident_response::{Builder, Handle};

use crate::healing::assert_sound;
use crate::hostile::{Says, anomaly, part};
use crate::world::*;

struct Stage {
    world: World,
    clock: SimClock,
    journal: MemoryJournal,
}

impl Stage {
    fn new() -> Self {
        Self { world: World::new(RecoveryClass::Keyed), clock: SimClock::new(), journal: MemoryJournal::new() }
    }

    fn responder(&self, tier: &str) -> Builder {
        responder(&self.world, &self.clock, &self.journal, tier)
    }

    /// Runs for `secs` of simulated time; `on` is shown every record.
    async fn run(&self, builder: Builder, secs: u64, mut on: impl AsyncFnMut(&Handle, &Record)) -> Vec<Record> {
        let engine = builder.build().unwrap().open().await.unwrap();
        let handle = engine.handle();
        let mut news = handle.records();
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(engine.run_until(async {
            let _ = wait.await;
        }));
        let end = tokio::time::Instant::now() + Duration::from_secs(secs);
        let mut seen = Vec::new();
        while let Ok(record) = tokio::time::timeout_at(end, news.recv()).await {
            let record = record.unwrap();
            on(&handle, &record).await;
            seen.push(record);
        }
        let _ = done.send(());
        running.await.unwrap().unwrap();
        assert_sound(&self.journal, &self.clock).await;
        seen
    }

    fn did(&self) -> Vec<String> {
        self.world.effects().iter().map(|effect| effect.call.to_string()).collect()
    }
}

fn ann() -> Person {
    Person::named("ann")
}

fn moves(records: &[Record], incident: u64) -> Vec<IncidentState> {
    let moved = |record: &Record| match &record.body {
        Body::Fact(Fact::IncidentMoved { incident: of, to, .. }) if *of == IncidentId::numbered(incident) => Some(*to),
        _ => None,
    };
    records.iter().filter_map(moved).collect()
}

fn opened(records: &[Record]) -> usize {
    records.iter().filter(|r| matches!(r.body, Body::Fact(Fact::IncidentOpened { .. }))).count()
}

fn escalated(record: &Record, incident: u64) -> bool {
    matches!(&record.body, Body::Fact(Fact::IncidentMoved { incident: of, to: IncidentState::HandedOver, .. })
        if *of == IncidentId::numbered(incident))
}

#[tokio::test(start_paused = true)]
async fn an_incident_that_grows_keeps_its_plan_while_cause_and_class_stay() {
    let stage = Stage::new();
    let n = AtomicUsize::new(0);
    let grows = part(move |batch: &SignalBatch| {
        let at = batch.metrics.first().map(|s| s.at).unwrap_or_default();
        let n = n.fetch_add(1, Ordering::SeqCst);
        Says::This(if n < 30 { vec![anomaly(&format!("storm/{n:03}"), "middle", Phase::Began, at)] } else { vec![] })
    });
    let builder = bare(&stage.world, &stage.clock, &stage.journal, "act")
        .source(Eyes(stage.world.clone()))
        .detector(grows)
        .executor(Hands(stage.world.clone()));
    let records = stage.run(builder, 12, async |_: &Handle, _: &Record| {}).await;
    let diagnoses = records.iter().filter(|r| matches!(r.body, Body::Fact(Fact::HypothesisFormed { .. }))).count();
    let plans = records.iter().filter(|r| matches!(r.body, Body::Fact(Fact::PlanAccepted { .. }))).count();
    assert_eq!(stage.did().first().map(String::as_str), Some("world.heal middle"));
    assert_eq!(plans, 1, "{diagnoses} diagnoses");
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_when_its_incident_closes_opens_another() {
    let stage = Stage::new();
    stage.world.fall_sick("middle");
    stage.world.fall_sick("back");
    // The step is verified by a limit of its own target, so the incident closes while `middle` is sick still.
    let text = "[[playbook]]\nname = \"heal\"\nversion = 1\n[[playbook.step]]\nid = \"heal\"\naction = \"world.heal\"\n\
                expected_effect = \"well\"\ntimeout_ms = 2000\nverification = { anomalies_end = false, \
                limits = [{ metric = \"sick\", is = \"at_most\", value = 0 }], hold_ms = 500, within_ms = 9000 }\n";
    let builder = stage.responder("act").playbooks(Playbooks::parse(text, "p.toml").unwrap());
    let records = stage.run(builder, 120, async |_: &Handle, _: &Record| {}).await;
    assert_eq!(opened(&records), 2);
    assert!(stage.world.lock().sick.is_empty(), "{:?}", stage.did());
    assert!(moves(&records, 2).contains(&IncidentState::Closed));
}

/// `back` has no playbook, so a person gets what blames it; `middle` has one.
fn only_middle() -> Playbooks {
    let text = "[[playbook]]\nname = \"heal\"\nversion = 1\nwhen = { entities = [\"middle\"] }\n[[playbook.step]]\n\
                id = \"heal\"\naction = \"world.heal\"\nexpected_effect = \"well\"\ntimeout_ms = 2000\n\
                verification = { hold_ms = 500, within_ms = 9000 }\n";
    Playbooks::parse(text, "p.toml").unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_person_has_swallows_no_other_fault() {
    let stage = Stage::new();
    stage.world.fall_sick("back");
    let records = stage
        .run(stage.responder("act").playbooks(only_middle()), 200, async |_: &Handle, record: &Record| {
            if escalated(record, 1) {
                stage.world.fall_sick("middle");
            }
        })
        .await;
    assert_eq!(opened(&records), 2);
    assert_eq!(stage.did(), ["world.heal middle"]);
    assert_eq!(moves(&records, 1), [IncidentState::HandedOver], "a person still has it");
    assert!(moves(&records, 2).contains(&IncidentState::Closed));
}

#[tokio::test(start_paused = true)]
async fn more_symptoms_of_what_a_person_has_join_it_once_their_cause_is_known() {
    let stage = Stage::new();
    stage.world.fall_sick("back");
    let more = AtomicUsize::new(0);
    let late = part(move |batch: &SignalBatch| {
        // Every ten seconds another symptom at the same service.
        let n = more.fetch_add(1, Ordering::SeqCst);
        let at = batch.metrics.first().map(|s| s.at).unwrap_or_default();
        let says = n > 40 && n.is_multiple_of(20);
        Says::This(if says { vec![anomaly(&format!("late/{n:03}"), "back", Phase::Began, at)] } else { vec![] })
    });
    let builder = stage.responder("act").playbooks(only_middle()).detector(late);
    let mut open = 0;
    let records = stage
        .run(builder, 90, async |handle: &Handle, _: &Record| open = open.max(handle.status().incidents.len()))
        .await;
    assert!(opened(&records) > 3);
    assert!(open <= 2, "{open} incidents of one cause were open at once");
    let grew = records.iter().filter(
        |r| matches!(&r.body, Body::Fact(Fact::IncidentGrew { incident, .. }) if *incident == IncidentId::numbered(1)),
    );
    assert!(grew.count() >= 3);
    assert_eq!(stage.did(), Vec::<String>::new(), "nothing is done to what a person is at work on");
}

#[tokio::test(start_paused = true)]
async fn a_person_closes_an_incident_and_what_goes_on_opens_no_other_until_it_ended() {
    let stage = Stage::new();
    stage.world.fall_sick("back");
    let mut closed_at = None;
    let records = stage
        .run(stage.responder("act").playbooks(only_middle()), 200, async |handle: &Handle, record: &Record| {
            if escalated(record, 1) {
                let refused = handle.close(IncidentId::numbered(1), ann(), " ").await.unwrap_err();
                assert!(refused.message().contains("no reason"), "{refused}");
                handle.close(IncidentId::numbered(1), ann(), "it was scaled in").await.unwrap();
                let again = handle.close(IncidentId::numbered(1), ann(), "twice").await.unwrap_err();
                assert_eq!(again.kind(), ErrorKind::Conflict);
                closed_at = Some(record.at.mono_ns);
            }
            // A minute later it is well again, and then it breaks anew: that is a new incident.
            let since = closed_at.map_or(0, |at| record.at.mono_ns.saturating_sub(at) / 1_000_000_000);
            match since {
                60..70 => stage.world.lock().sick.clear(),
                70.. => stage.world.fall_sick("back"),
                _ => {}
            }
        })
        .await;
    let ends = records.iter().position(|r| closed(std::slice::from_ref(r))).unwrap();
    let next = records[ends..].iter().find(|r| matches!(r.body, Body::Fact(Fact::IncidentOpened { .. }))).unwrap();
    assert!(next.at.mono_ns - closed_at.unwrap() >= 70_000_000_000);
    assert_eq!(opened(&records), 2);
}

#[tokio::test(start_paused = true)]
async fn no_incident_is_closed_under_a_step_that_is_under_way() {
    let stage = Stage::new();
    stage.world.lock().heals.clear();
    stage.world.fall_sick("middle");
    let mut refused = 0;
    stage
        .run(stage.responder("act"), 60, async |handle: &Handle, record: &Record| {
            if matches!(&record.body, Body::Fact(Fact::StepMoved { to: StepState::Verifying, .. })) {
                let orders = [
                    handle.close(IncidentId::numbered(1), ann(), "enough").await,
                    handle.run_playbook(IncidentId::numbered(1), "heal", ann(), "once more").await,
                ];
                for order in orders {
                    let error = order.unwrap_err();
                    assert!(error.message().contains("take the incident over first"), "{error}");
                    refused += 1;
                }
            }
        })
        .await;
    assert_eq!(refused, 2);
    assert_eq!(stage.did(), ["world.heal middle", "world.unheal middle"]);
}

#[tokio::test(start_paused = true)]
async fn a_person_orders_a_playbook_whatever_its_conditions_say_and_the_policy_decides() {
    for (tier, acts) in [("act", true), ("observe", false)] {
        let stage = Stage::new();
        stage.world.fall_sick("back");
        let mut ordered = false;
        let records = stage
            .run(stage.responder(tier).playbooks(only_middle()), 120, async |handle: &Handle, record: &Record| {
                if escalated(record, 1) && !ordered {
                    ordered = true;
                    let nobody = handle.run_playbook(IncidentId::numbered(9), "heal", ann(), "try").await.unwrap_err();
                    assert_eq!(nobody.kind(), ErrorKind::Conflict);
                    handle.run_playbook(IncidentId::numbered(1), "heal", ann(), "it helped last time").await.unwrap();
                }
            })
            .await;
        let wanted: &[&str] = if acts { &["world.heal back"] } else { &[] };
        assert_eq!(stage.did(), wanted, "{tier}");
        assert_eq!(moves(&records, 1).contains(&IncidentState::Closed), acts, "{tier}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_playbook_that_is_not_there_leaves_the_incident_with_the_person() {
    let stage = Stage::new();
    stage.world.fall_sick("back");
    let mut ordered = false;
    let records = stage
        .run(stage.responder("act").playbooks(only_middle()), 60, async |handle: &Handle, record: &Record| {
            if escalated(record, 1) && !ordered {
                ordered = true;
                handle.run_playbook(IncidentId::numbered(1), "heel", ann(), "try").await.unwrap();
            }
        })
        .await;
    let why = records.iter().rev().find_map(|r| match &r.body {
        Body::Fact(Fact::IncidentMoved { to: IncidentState::HandedOver, because, .. }) => Some(because.clone()),
        _ => None,
    });
    assert!(why.unwrap().contains("playbook `heel` makes no plan"));
    assert_eq!(stage.did(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_escalated_incident_is_given_back_and_healed() {
    let stage = Stage::new();
    stage.world.fall_sick("middle");
    stage.world.lock().replies = vec![Reply::Refused];
    let mut given = 0;
    let records = stage
        .run(stage.responder("act"), 120, async |handle: &Handle, record: &Record| {
            if matches!(record.body, Body::Fact(Fact::IncidentOpened { .. })) {
                let early = handle.resume_automation(IncidentId::numbered(1), ann(), "go on").await.unwrap_err();
                assert!(early.message().contains("at work on it"), "{early}");
            }
            if escalated(record, 1) && given == 0 {
                given += 1;
                handle.resume_automation(IncidentId::numbered(1), ann(), "it was the firewall").await.unwrap();
            }
        })
        .await;
    assert_eq!(given, 1);
    // What was refused once is not proposed again, so the person gets it back rather than the same call.
    assert_eq!(moves(&records, 1).iter().filter(|to| **to == IncidentState::HandedOver).count(), 2);
}
