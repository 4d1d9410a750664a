//! The kernel: single rules by example, then properties over random histories.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ir_core::journal::{Appended, Batch, Body, Event, Fact, GateFact, Halted, Holder, Intent, Lease, Page, ReadFrom};
use ir_core::kernel::{AuthorizeRequest, Authorized, GateConfig, HaltHandle, Limits};
use ir_core::testkit::{AutoClock, GateRig};
use ir_core::{Ctx, Digest, Direction, Gate, Journal, MemoryJournal, PartName, Person, Record, Result, StepState};

mod histories;
mod toy;

use toy::{Still, still_call};

fn ctx() -> Ctx {
    Ctx::new(Arc::new(AutoClock::new()))
}

/// Halts the gate while a record is being written.
#[derive(Debug)]
struct HaltsDuringAppend {
    inner: MemoryJournal,
    handle: std::sync::Mutex<Option<HaltHandle>>,
    armed: AtomicBool,
}

#[async_trait]
impl Journal for HaltsDuringAppend {
    fn name(&self) -> &str {
        "halts during append"
    }
    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended> {
        if self.armed.swap(false, Ordering::SeqCst)
            && let Some(handle) = &*self.handle.lock().unwrap()
        {
            handle.halt("test", "stop now");
        }
        self.inner.append(ctx, batch).await
    }
    async fn read(&self, ctx: &Ctx, from: &ReadFrom) -> Result<Page> {
        self.inner.read(ctx, from).await
    }
    async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
        self.inner.blob(ctx, digest).await
    }
    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease> {
        self.inner.claim(ctx, holder).await
    }
}

#[tokio::test]
async fn a_halt_that_comes_while_a_resume_is_written_stays_in_force() {
    let ctx = ctx();
    let journal = Arc::new(HaltsDuringAppend {
        inner: MemoryJournal::new(),
        handle: std::sync::Mutex::default(),
        armed: AtomicBool::new(false),
    });
    let config = GateConfig {
        name: PartName::new("gate").unwrap(),
        journal: journal.clone(),
        required_sinks: Vec::new(),
        clock: ctx.clock().clone(),
        lease_ttl_ms: 60_000,
        append_within_ms: ir_core::kernel::APPEND_WITHIN_MS,
    };
    let mut gate = Gate::open(&ctx, config, |_| Ok(())).await.unwrap();
    let handle = gate.halt_handle();
    handle.halt("test", "first");
    gate.record_halts(&ctx).await.unwrap();
    *journal.handle.lock().unwrap() = Some(handle.clone());
    journal.armed.store(true, Ordering::SeqCst);
    gate.resume(&ctx, vec![Person::named("ann")], "over".to_owned()).await.unwrap();
    assert!(handle.is_halted(), "the second halt came after the resume was decided");
    gate.record_halts(&ctx).await.unwrap();
    assert_eq!(gate.state().halted().unwrap().reason, "stop now");
}

#[tokio::test]
async fn a_done_step_can_be_taken_back_when_a_later_step_of_its_plan_failed() {
    let ctx = ctx();
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let executor = Still;
    let (step, granted) = rig.permit(&executor, &still_call("web"), 1_000).await.unwrap();
    drop(granted);
    rig.applied(&executor, &step).await.unwrap();
    rig.go(&step, &[StepState::Verifying, StepState::Done]).await.unwrap();
    assert_eq!(rig.gate().state().lock_of(&still_call("web").target), None);
    rig.go(&step, &[StepState::Compensating]).await.unwrap();
    assert_eq!(rig.gate().state().lock_of(&still_call("web").target), Some(&step.plan));
    rig.authorize(&executor, &step, Direction::Undo).await.unwrap();
}

#[tokio::test]
async fn a_done_step_is_not_taken_back_while_another_plan_changes_its_target() {
    let ctx = ctx();
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let executor = Still;
    let (first, _) = rig.permit(&executor, &still_call("web"), 1_000).await.unwrap();
    rig.applied(&executor, &first).await.unwrap();
    rig.go(&first, &[StepState::Done]).await.unwrap();
    let (second, _) = rig.permit(&executor, &still_call("web"), 1_000).await.unwrap();
    rig.go(&first, &[StepState::Compensating]).await.unwrap();
    let refused = rig.authorize(&executor, &first, Direction::Undo).await.unwrap_err();
    assert!(refused.message().contains("locked"), "{refused}");
    rig.not_applied(&second).await.unwrap();
    // The target is free again: the plan that wants to take its step back may have it now.
    rig.authorize(&executor, &first, Direction::Undo).await.unwrap();
}

async fn ready_rig() -> (Ctx, GateRig, ir_core::StepRef, Intent) {
    let ctx = ctx();
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let step = rig.ready(&Still, &still_call("web"), 1_000).await.unwrap();
    let state = rig.gate().state();
    let precondition = ir_core::execution::Precondition { state: Still::STATE, read: ctx.now() };
    let request = AuthorizeRequest { step: step.clone(), direction: Direction::Do, precondition };
    let intent = ir_core::kernel::check(state, &request, &ctx.now()).unwrap();
    (ctx, rig, step, intent)
}

fn record(ctx: &Ctx, body: Body) -> Record {
    Record { v: 1, seq: 1, left: 0, prev: Digest::ZERO, at: ctx.now(), body }
}

#[tokio::test]
async fn an_intention_that_no_gate_would_write_is_refused_by_the_fold() {
    let (ctx, mut rig, step, good) = ready_rig().await;
    let fold = |rig: &GateRig, intent: Intent| {
        let mut state = rig.gate().state().clone();
        state.fold(&record(&ctx, GateFact::Intent(intent).into())).map(|()| state)
    };
    assert!(fold(&rig, good.clone()).is_ok());
    // One row a reason: a token from before, an attempt left out, an undo of what was not done, another lease.
    let rows = [
        ("token", Intent { token: 0, ..good.clone() }),
        ("attempt", Intent { attempt: 2, ..good.clone() }),
        ("undo", Intent { direction: Direction::Undo, ..good.clone() }),
        ("epoch", Intent { epoch: good.epoch + 1, ..good.clone() }),
        ("halt epoch", Intent { halt_epoch: good.halt_epoch + 1, ..good.clone() }),
    ];
    for (what, intent) in rows {
        assert!(fold(&rig, intent).is_err(), "{what}");
    }
    let mut halted = rig.gate().state().clone();
    let halt = Halted { epoch: 1, by: "test".to_owned(), reason: "test".to_owned() };
    halted.fold(&record(&ctx, GateFact::Halted(halt).into())).unwrap();
    let late = Intent { halt_epoch: 1, ..good.clone() };
    assert!(halted.fold(&record(&ctx, GateFact::Intent(late).into())).is_err(), "under a halt");

    let (other, _) = rig.permit(&Still, &still_call("web"), 1_000).await.unwrap();
    let token = rig.gate().state().step(&other).unwrap().open.as_ref().unwrap().intent.token + 1;
    assert!(fold(&rig, Intent { token, ..good.clone() }).is_err(), "the target is locked by another plan");
    rig.not_applied(&other).await.unwrap();
    rig.go(&step, &[StepState::Cancelled]).await.unwrap();
    assert!(fold(&rig, Intent { token, ..good }).is_err(), "the step is no longer ready");
}

#[tokio::test]
async fn an_approval_ends_with_its_time_and_with_its_boot() {
    let auto = Arc::new(AutoClock::new());
    let ctx = Ctx::new(auto.clone());
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let step = rig.ready(&Still, &still_call("web"), 1_000).await.unwrap();
    let entry = rig.gate().state().step(&step).unwrap().clone();
    let digest = entry.covers.unwrap();
    assert_eq!(entry.approvers(&digest, &ctx.now()).count(), 2);
    assert_eq!(entry.approvers(&Digest::ZERO, &ctx.now()).count(), 0, "something else was not approved");
    let before = ctx.now();
    auto.manual().advance(Duration::from_millis(3_600_000 - 1));
    assert_eq!(entry.approvers(&digest, &ctx.now()).count(), 2);
    auto.manual().advance(Duration::from_millis(1));
    assert_eq!(entry.approvers(&digest, &ctx.now()).count(), 0, "its time is over");
    auto.manual().reboot(ir_core::BootId::new("next"), before.mono_ns);
    assert_eq!(entry.approvers(&digest, &ctx.now()).count(), 0, "after a boot nobody can prove its time");
}

#[tokio::test]
async fn a_required_sink_that_fails_withholds_the_permit() {
    #[derive(Debug)]
    struct Full;
    #[async_trait]
    impl ir_core::AuditSink for Full {
        fn name(&self) -> &str {
            "full"
        }
        async fn copy(&self, _: &Ctx, _: &[ir_core::journal::EncodedRecord]) -> Result<()> {
            Err(ir_core::Error::new(ir_core::ErrorKind::Unavailable, "full", "no room"))
        }
        async fn position(&self, _: &Ctx) -> Result<u64> {
            Ok(1)
        }
    }
    let ctx = ctx();
    let place = MemoryJournal::new();
    let (request, step) = {
        let mut rig = GateRig::open_on(&ctx, Arc::new(place.clone()), Limits::default()).await.unwrap();
        let step = rig.ready(&Still, &still_call("web"), 1_000).await.unwrap();
        let precondition = ir_core::execution::Precondition { state: Still::STATE, read: ctx.now() };
        (AuthorizeRequest { step: step.clone(), direction: Direction::Do, precondition }, step)
    };
    let config = GateConfig {
        name: PartName::new("rig").unwrap(),
        journal: Arc::new(place),
        required_sinks: vec![ir_core::kernel::RequiredSink(Arc::new(Full))],
        clock: ctx.clock().clone(),
        lease_ttl_ms: 60_000,
        append_within_ms: ir_core::kernel::APPEND_WITHIN_MS,
    };
    let mut gate = Gate::open(&ctx, config, |_| Ok(())).await.unwrap();
    let answer = gate.authorize(&ctx, &request).await.unwrap();
    assert!(matches!(answer, Authorized::Withheld { .. }), "{answer:?}");
    assert_eq!(gate.state().step(&step).unwrap().state, StepState::Intent, "the intention is durable all the same");
    let moved =
        |to| vec![Fact::StepMoved { step: step.clone(), from: StepState::Intent, to, because: "x".into() }.into()];
    gate.append(&ctx, &ctx.now(), moved(StepState::NotApplied)).await.unwrap_err();
    // No permit was minted, so it is certain that nothing was sent.
    let execution = ir_core::testkit::gate::not_applied(&step, 1);
    gate.append(&ctx, &ctx.now(), vec![execution.into()]).await.unwrap();
    gate.append(&ctx, &ctx.now(), moved(StepState::NotApplied)).await.unwrap();
}

/// A journal that stops answering: appends when `appends` is set, claims when `claims` is.
#[derive(Debug, Default)]
struct Silent {
    inner: MemoryJournal,
    appends: AtomicBool,
    claims: AtomicBool,
}

#[async_trait]
impl Journal for Silent {
    fn name(&self) -> &str {
        "silent"
    }
    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended> {
        let appended = self.inner.append(ctx, batch).await;
        // The worst case: the records are there, and the answer never comes.
        if self.appends.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        appended
    }
    async fn read(&self, ctx: &Ctx, from: &ReadFrom) -> Result<Page> {
        self.inner.read(ctx, from).await
    }
    async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
        self.inner.blob(ctx, digest).await
    }
    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease> {
        if self.claims.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.inner.claim(ctx, holder).await
    }
}

fn silent(ctx: &Ctx, journal: &Arc<Silent>) -> GateConfig {
    GateConfig {
        name: PartName::new("gate").unwrap(),
        journal: journal.clone(),
        required_sinks: Vec::new(),
        clock: ctx.clock().clone(),
        lease_ttl_ms: 60_000,
        append_within_ms: 2_500,
    }
}

#[tokio::test]
async fn an_append_without_an_answer_has_an_unknown_result_and_only_a_new_gate_goes_on() {
    let (ctx, journal) = (ctx(), Arc::new(Silent::default()));
    let mut gate = Gate::open(&ctx, silent(&ctx, &journal), |_| Ok(())).await.unwrap();
    journal.appends.store(true, Ordering::SeqCst);
    let before = ctx.now().mono_ns;
    gate.halt_handle().halt("test", "now");
    let error = gate.record_halts(&ctx).await.unwrap_err();
    assert_eq!(error.kind(), ir_core::ErrorKind::Timeout, "{error}");
    assert_eq!(ctx.now().mono_ns - before, 2_500_000_000);
    assert!(gate.is_broken());
    journal.appends.store(false, Ordering::SeqCst);
    let at = ctx.now();
    let later = gate.append(&ctx, &at, vec![Body::Event(ir_core::journal::Event::Stopping)]).await.unwrap_err();
    assert_eq!(later.kind(), ir_core::ErrorKind::Stopped, "{later}");
    // The record had become durable: who reads again knows of it.
    let gate = Gate::open(&ctx, silent(&ctx, &journal), |_| Ok(())).await.unwrap();
    assert!(gate.state().halted().is_some());
}

#[tokio::test]
async fn a_claim_without_an_answer_holds_up_neither_the_start_nor_the_renewal() {
    let (ctx, journal) = (ctx(), Arc::new(Silent::default()));
    let mut gate = Gate::open(&ctx, silent(&ctx, &journal), |_| Ok(())).await.unwrap();
    journal.claims.store(true, Ordering::SeqCst);
    assert_eq!(gate.renew(&ctx).await.unwrap_err().kind(), ir_core::ErrorKind::Timeout);
    let opened = Gate::open(&ctx, silent(&ctx, &journal), |_| Ok(())).await;
    assert_eq!(opened.unwrap_err().kind(), ir_core::ErrorKind::Timeout);
}

#[tokio::test]
async fn changes_that_a_record_proves_old_do_not_come_back_with_a_reboot() {
    let auto = Arc::new(AutoClock::new());
    let ctx = Ctx::new(auto.clone());
    let limits = Limits { per_target_day: 1, ..Limits::default() };
    let mut rig = GateRig::open_on(&ctx, Arc::new(MemoryJournal::new()), limits).await.unwrap();
    let (step, _) = rig.permit(&Still, &still_call("web"), 1_000).await.unwrap();
    let before = ctx.now();
    auto.manual().advance(Duration::from_secs(2 * 86_400));
    let later = ctx.now();
    auto.manual().reboot(ir_core::BootId::new("next"), before.mono_ns);
    for (proved, left) in [(true, 1), (false, 0)] {
        let mut state = rig.gate().state().clone();
        if proved {
            state.fold_body(&Body::Event(Event::Stopping), &later).unwrap();
        }
        let (holder, epoch, journal) = (PartName::literal("next"), state.epoch() + 1, state.journal().unwrap());
        let claimed = Body::Gate(GateFact::Claimed { holder, epoch, journal });
        state.fold_body(&claimed, &ctx.now()).unwrap();
        let entry = state.step(&step).unwrap();
        let allowed = ir_core::kernel::allowances(&state, entry, &ctx.now());
        assert_eq!(allowed.iter().find(|one| one.rule == "budget_target").unwrap().left, left, "proved: {proved}");
    }
}
