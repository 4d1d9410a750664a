//! People in charge: approve, refuse, modify, object, or say nothing.

use incident_response::core::journal::{Body, Fact};
use incident_response::core::*;

use crate::healing::assert_sound;
use crate::world::*;

/// Runs at `tier` and answers each request as `answer` says.
async fn run_with(
    tier: &str,
    answer: impl Fn(&ApprovalRequest, usize) -> Vec<ApprovalAnswer> + Send,
) -> (World, Vec<Record>, MemoryJournal, SimClock) {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.fall_sick("middle");
    let engine = responder(&world, &clock, &journal, tier).build().unwrap().open().await.unwrap();
    let handle = engine.handle();
    let mut news = handle.records();
    let (done, wait) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(engine.run_until(async {
        let _ = wait.await;
    }));
    let (mut seen, mut n) = (Vec::new(), 0);
    while !closed(&seen) && !handed_over(&seen) {
        let record = news.recv().await.unwrap();
        if let Body::Fact(Fact::ApprovalOpened(request)) = &record.body {
            for answer in answer(request, n) {
                // What does not count is refused with a reason, and the journal has it too.
                if let Err(error) = handle.answer(answer).await {
                    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                }
            }
            n += 1;
        }
        seen.push(record);
    }
    let _ = done.send(());
    running.await.unwrap().unwrap();
    assert_sound(&journal, &clock).await;
    (world, seen, journal, clock)
}

fn say(request: &ApprovalRequest, answer: Answer, reason: &str) -> ApprovalAnswer {
    ApprovalAnswer {
        request: request.id.clone(),
        plan_digest: request.plan_digest,
        by: Person::named("ann"),
        answer,
        reason: reason.into(),
    }
}

fn rejected(records: &[Record]) -> usize {
    records.iter().filter(|r| matches!(r.body, Body::Fact(Fact::AnswerRejected { .. }))).count()
}

#[tokio::test(start_paused = true)]
async fn an_approved_step_is_done() {
    let (world, records, ..) = run_with("approve", |request, _| {
        assert!(!request.why.is_empty() && !request.undo.is_empty() && !request.alternatives.is_empty());
        vec![say(request, Answer::Approve, "looks right")]
    })
    .await;
    assert_eq!(world.effects().len(), 1);
    assert!(closed(&records));
}

#[tokio::test(start_paused = true)]
async fn a_refused_step_is_not_done_and_a_person_has_the_incident() {
    let (world, records, ..) = run_with("approve", |request, _| vec![say(request, Answer::Refuse, "not now")]).await;
    assert_eq!(world.effects(), []);
    assert_eq!(steps(&records).into_values().collect::<Vec<_>>(), [StepState::Denied]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_refusal_at_approve_and_consent_at_veto() {
    let (world, records, ..) = run_with("approve", |_, _| vec![]).await;
    assert_eq!(world.effects(), []);
    assert_eq!(steps(&records).into_values().collect::<Vec<_>>(), [StepState::Expired]);
    let (world, records, ..) = run_with("veto", |_, _| vec![]).await;
    assert_eq!(world.effects().len(), 1);
    assert!(closed(&records));
}

#[tokio::test(start_paused = true)]
async fn an_objection_in_the_veto_window_counts() {
    let (world, ..) = run_with("veto", |request, _| vec![say(request, Answer::Refuse, "leave it")]).await;
    assert_eq!(world.effects(), []);
}

#[tokio::test(start_paused = true)]
async fn answers_without_reason_for_another_plan_or_twice_do_not_count() {
    let (world, records, ..) = run_with("approve", |request, _| {
        let mut other = say(request, Answer::Approve, "for another plan");
        other.plan_digest = Digest::ZERO;
        let good = say(request, Answer::Approve, "now");
        vec![say(request, Answer::Approve, " "), other, good.clone(), good]
    })
    .await;
    assert_eq!(world.effects().len(), 1);
    assert_eq!(rejected(&records), 3);
}

#[tokio::test(start_paused = true)]
async fn a_modified_plan_is_decided_anew() {
    let (world, records, ..) = run_with("approve", |request, n| {
        if n == 0 {
            let change = StepChange { step: request.step.step.clone(), action: None, params: None, drop: false };
            vec![say(request, Answer::Modify { changes: vec![change] }, "otherwise")]
        } else {
            vec![say(request, Answer::Approve, "as modified")]
        }
    })
    .await;
    assert_eq!(steps(&records).into_values().collect::<Vec<_>>(), [StepState::Done]);
    let revised =
        records.iter().filter(|r| matches!(&r.body, Body::Fact(Fact::PlanRevised { plan, .. }) if plan.revision == 2));
    assert_eq!(revised.count(), 1);
    assert_eq!(world.effects().len(), 1);
}
