//! Illegal facts: the machine is made to come to one, and what follows is asserted from outside.

use std::sync::Arc;
use std::time::Duration;

use ir_core::journal::{Body, Event, Fact, GateFact};
use ir_core::{Ctx, Direction, ErrorKind, MemoryJournal, Person, PlanId, Record, RecoveryClass, StepRef, StepState};
use tokio::sync::oneshot;

use super::handle::Handle;
use super::machine::{Machine, SABOTAGE, Saboteur};
use super::status::Status;
use super::world::*;
use crate::replay;

struct Running {
    handle: Handle,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<ir_core::Result<()>>,
}

async fn start(world: &World, clock: &SimClock, journal: &MemoryJournal, sabotage: &[Saboteur]) -> Running {
    SABOTAGE.with_borrow_mut(|facts| facts.extend(sabotage));
    let engine = responder(world, clock, journal, "act").build().unwrap().open().await.unwrap();
    let handle = engine.handle();
    let (stop, wait) = oneshot::channel();
    let task = tokio::spawn(engine.run_until(async {
        let _ = wait.await;
    }));
    Running { handle, stop, task }
}

impl Running {
    async fn sees(&self, what: &str, wanted: impl Fn(&Status) -> bool) {
        let mut handle = self.handle.clone();
        let wait = async {
            while !wanted(&handle.status()) {
                handle.changed().await.unwrap();
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(300), wait).await;
        assert!(seen.is_ok(), "{what}: {:?}", self.handle.status());
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap().unwrap();
    }
}

fn fresh() -> (World, SimClock, MemoryJournal) {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.fall_sick("middle");
    (world, clock, journal)
}

/// A move that no table of steps has.
fn backwards(step: StepRef) -> Fact {
    Fact::StepMoved { step, from: StepState::Done, to: StepState::Planned, because: "sabotage".to_owned() }
}

/// The answer of the executor leads to an illegal fact about its own plan.
fn at_the_answer(_: &Machine, event: Option<&Event>, _: Option<&GateFact>) -> Option<Fact> {
    match event {
        Some(Event::Executed(execution)) => Some(backwards(execution.step.clone())),
        _ => None,
    }
}

/// So does the measurement of whether it helped, which is the answer to a command.
fn at_the_measurement(machine: &Machine, event: Option<&Event>, _: Option<&GateFact>) -> Option<Fact> {
    let verified = matches!(event, Some(Event::Reported { report: ir_core::journal::Report::Verified { .. }, .. }));
    let step = machine.kernel().steps().next().map(|(step, _)| step);
    step.filter(|_| verified).map(backwards)
}

/// So does a timer while the step is measured.
fn at_a_timer(machine: &Machine, event: Option<&Event>, _: Option<&GateFact>) -> Option<Fact> {
    let measured = |state| matches!(state, StepState::Verifying | StepState::Done);
    let step = machine.kernel().steps().find(|(_, entry)| measured(entry.state)).map(|(step, _)| step);
    step.filter(|_| matches!(event, Some(Event::TimerFired { .. }))).map(backwards)
}

/// So does what follows from the intention, which is durable by then.
fn at_the_intention(_: &Machine, _: Option<&Event>, gate: Option<&GateFact>) -> Option<Fact> {
    match gate {
        Some(GateFact::Intent(intent)) if intent.direction == Direction::Do => Some(backwards(intent.step.clone())),
        _ => None,
    }
}

/// A poll cycle leads to a fact about a plan that nobody knows.
fn of_no_plan(_: &Machine, event: Option<&Event>, _: Option<&GateFact>) -> Option<Fact> {
    let step = StepRef { plan: "ghost".parse().unwrap(), step: "ghost".parse().unwrap() };
    matches!(event, Some(Event::Observed(_))).then(|| backwards(step))
}

/// The isolation of the plan leads to an illegal fact itself.
fn at_the_isolation(machine: &Machine, event: Option<&Event>, _: Option<&GateFact>) -> Option<Fact> {
    let step = machine.kernel().steps().next().map(|(step, _)| step);
    step.filter(|_| matches!(event, Some(Event::Dropped { .. }))).map(backwards)
}

/// The plan and whether effects were halted, of each event that was dropped.
fn dropped(records: &[Record]) -> Vec<(Option<PlanId>, bool)> {
    let of = |record: &Record| match &record.body {
        Body::Event(Event::Dropped { plan, halts, .. }) => Some((plan.clone(), *halts)),
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

fn calls(world: &World) -> Vec<String> {
    world.effects().iter().map(|effect| effect.call.to_string()).collect()
}

/// The faults were made and replay comes to the same records. What is `durable`, a replay comes to again, at the same place.
async fn assert_replays(journal: &MemoryJournal, clock: &SimClock, durable: &[Saboteur]) {
    let all_made = || SABOTAGE.with_borrow(std::collections::VecDeque::is_empty);
    assert!(all_made(), "a fault was never made");
    SABOTAGE.with_borrow_mut(|facts| facts.extend(durable));
    let report = replay(&Ctx::new(Arc::new(clock.clone())), journal).await.unwrap();
    assert_eq!(report.difference, None, "{}", report.difference.as_ref().unwrap());
    assert!(all_made());
}

#[tokio::test(start_paused = true)]
async fn an_illegal_fact_costs_one_plan_and_no_other() {
    let faults: [(&str, Saboteur, bool); 4] = [
        ("at the answer", at_the_answer, false),
        ("at the measurement", at_the_measurement, false),
        ("at a timer", at_a_timer, false),
        ("at the intention", at_the_intention, true),
    ];
    for (when, fault, is_durable) in faults {
        let (world, clock, journal) = fresh();
        let run = start(&world, &clock, &journal, &[fault]).await;
        run.sees(when, |status| !status.isolated.is_empty()).await;
        let plan = run.handle.status().isolated.first().cloned().unwrap();
        // What was in flight comes to its end, and nothing more is sent for it.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(calls(&world), ["world.heal middle"], "{when}");
        assert_eq!(run.handle.status().halted, None, "{when}");
        let open: Vec<_> = run.handle.status().steps.iter().map(|step| step.state).collect();
        assert!(open.iter().all(|state| state.is_terminal()), "{when}: {open:?}");
        for step in run.handle.status().steps.iter().filter(|step| step.state == StepState::Unknown) {
            run.handle.settle(step.step.clone(), Person::named("ann"), true, "I looked").await.unwrap();
        }
        // Observing goes on, and so does everything that is about other plans.
        world.fall_sick("front");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(calls(&world), ["world.heal middle", "world.heal front"], "{when}");
        run.stop().await;
        let records = all_records(&journal, &clock).await;
        assert_eq!(dropped(&records), [(Some(plan), false)], "{when}");
        assert!(handed_over(&records), "{when}: nobody was asked");
        assert!(degraded(&records, "was dropped"), "{when}");
        let again: &[Saboteur] = if is_durable { &[fault] } else { &[] };
        assert_replays(&journal, &clock, again).await;
        // A restart remembers it.
        let run = start(&world, &clock, &journal, again).await;
        run.sees(when, |status| status.rounds > 2).await;
        assert_eq!(run.handle.status().isolated.len(), 1, "{when}");
        run.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_illegal_fact_within_an_hour_halts_all_effects() {
    let (world, clock, journal) = fresh();
    let run = start(&world, &clock, &journal, &[at_the_answer, at_the_answer]).await;
    run.sees("the first", |status| !status.isolated.is_empty()).await;
    assert_eq!(run.handle.status().halted, None);
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.fall_sick("front");
    run.sees("the halt", |status| status.halted.is_some()).await;
    let before = calls(&world);
    world.fall_sick("back");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&world), before, "something was done under the halt");
    run.stop().await;
    let records = all_records(&journal, &clock).await;
    assert_eq!(dropped(&records).iter().map(|(_, halts)| *halts).collect::<Vec<_>>(), [false, true]);
    let by_engine = |r: &Record| matches!(&r.body, Body::Gate(GateFact::Halted(halted)) if halted.by == "engine");
    assert!(records.iter().any(by_engine), "the halt is on record, so that a restart keeps it");
    assert_replays(&journal, &clock, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn an_illegal_fact_that_is_about_no_plan_halts_all_effects_and_a_person_can_resume() {
    let (world, clock, journal) = fresh();
    let run = start(&world, &clock, &journal, &[of_no_plan]).await;
    run.sees("the halt", |status| status.halted.is_some()).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(calls(&world), Vec::<String>::new());
    run.handle.resume(vec![Person::named("ann")], "I looked").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    run.stop().await;
    assert_eq!(dropped(&all_records(&journal, &clock).await), [(None, true)]);
    assert_replays(&journal, &clock, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn where_not_even_the_isolation_is_legal_all_effects_are_halted() {
    let (world, clock, journal) = fresh();
    let run = start(&world, &clock, &journal, &[at_the_answer, at_the_isolation]).await;
    run.sees("the halt", |status| status.halted.is_some()).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    run.stop().await;
    assert_eq!(dropped(&all_records(&journal, &clock).await), [(None, true)]);
    assert_replays(&journal, &clock, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_leads_to_an_illegal_fact_is_refused_with_the_reason() {
    fn at_the_order(machine: &Machine, event: Option<&Event>, _: Option<&GateFact>) -> Option<Fact> {
        let step = machine.kernel().steps().next().map(|(step, _)| step);
        step.filter(|_| matches!(event, Some(Event::Overridden { .. }))).map(backwards)
    }
    let (world, clock, journal) = fresh();
    world.lock().heals.clear();
    let run = start(&world, &clock, &journal, &[at_the_order]).await;
    run.sees("an effect", |status| status.steps.iter().any(|step| step.state == StepState::Verifying)).await;
    let incident = run.handle.status().incidents.first().map(|incident| incident.id.clone()).unwrap();
    let refused = run.handle.take_over(incident, Person::named("ann"), "mine", true).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.message().contains("illegal"), "{refused}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&world), ["world.heal middle"], "an isolated plan takes nothing back");
    run.stop().await;
    assert_replays(&journal, &clock, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_leads_to_an_illegal_fact_isolates_the_plan_and_begins_once_more() {
    fn at_the_start(machine: &Machine, event: Option<&Event>, _: Option<&GateFact>) -> Option<Fact> {
        let step = machine.kernel().steps().next().map(|(step, _)| step);
        step.filter(|_| matches!(event, Some(Event::Started(_)))).map(backwards)
    }
    let (world, clock, journal) = fresh();
    world.lock().replies = vec![Reply::Never];
    let run = start(&world, &clock, &journal, &[]).await;
    run.sees("an effect", |status| status.steps.iter().any(|step| step.state == StepState::Intent)).await;
    run.task.abort();
    let _ = run.task.await;
    let run = start(&world, &clock, &journal, &[at_the_start]).await;
    run.sees("the start", |status| status.rounds > 3 && !status.isolated.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(calls(&world), ["world.heal middle"], "it is not sent again");
    run.stop().await;
    let records = all_records(&journal, &clock).await;
    assert_eq!(dropped(&records).len(), 1);
    assert_replays(&journal, &clock, &[]).await;
}

#[test]
fn an_hour_is_an_hour_on_one_boot_and_by_the_wall_clock_between_two() {
    let at = |secs: i64, boot: &str| ir_core::Moment {
        wall: ir_core::Timestamp::from_nanos((100_000 + secs) * 1_000_000_000),
        mono_ns: u64::try_from(secs).unwrap() * 1_000_000_000,
        boot: ir_core::BootId::new(boot),
    };
    let mut machine = Machine::new();
    assert!(!machine.dropped_lately(&at(0, "a")));
    machine.last_dropped = Some(at(10, "a"));
    assert!(machine.dropped_lately(&at(3_609, "a")));
    assert!(!machine.dropped_lately(&at(3_610, "a")));
    assert!(machine.dropped_lately(&at(3_609, "b")));
    assert!(!machine.dropped_lately(&at(3_610, "b")));
}

/// The answer of the correlator leads to an illegal fact.
fn at_the_correlation(_: &Machine, event: Option<&Event>, _: Option<&GateFact>) -> Option<Fact> {
    let correlated = matches!(event, Some(Event::Reported { report: ir_core::journal::Report::Correlated { .. }, .. }));
    let step = StepRef { plan: "ghost".parse().unwrap(), step: "ghost".parse().unwrap() };
    correlated.then(|| backwards(step))
}

/// What the dropped answer would have said is not lost: one incident an entity, as when the correlator fails.
#[tokio::test(start_paused = true)]
async fn what_waited_for_a_dropped_answer_of_the_correlator_is_asked_about_again() {
    let (world, clock, journal) = fresh();
    let engine = start(&world, &clock, &journal, &[at_the_correlation]).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let opened = engine.handle.status().incidents.len();
    engine.stop().await;
    let records = all_records(&journal, &clock).await;
    assert_eq!(dropped(&records).len(), 1);
    assert_eq!(opened, 1, "`middle` has been sick for an hour, and there is no incident");
}
