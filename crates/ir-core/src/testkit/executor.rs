//! The laws of [`Executor`], run against a world of the tester's that counts effects from the target's point of view.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::gate::{GateRig, Granted};
use super::{Law, Lawful};
use crate::ctx::Ctx;
use crate::entity::EntityId;
use crate::error::ErrorKind;
use crate::execution::{
    ActionSpec, Applied, Attempt, Catalogue, Direction, Executor, Probe, Probed, RecoveryClass, Reversibility,
};
use crate::id::ActionName;
use crate::kernel::StepState;
use crate::plan::Call;

const CATALOGUE: Law = Law::new("Executor", 1, "`catalogue` is the same at every call and passes `Catalogue::new`.");
const PREVIEW: Law =
    Law::new("Executor", 2, "`preview` changes nothing; equal states of the target give equal digests.");
const REDEEMS: Law = Law::new(
    "Executor",
    3,
    "`execute` calls `Permit::redeem` right before its first byte goes out, and sends nothing when that fails.",
);
const DEADLINE: Law = Law::new("Executor", 4, "`execute` sends nothing after the deadline of the redeemed effect.");
const HONEST: Law = Law::new(
    "Executor",
    5,
    "`execute` gives `Attempt::NotApplied` only where this attempt changed nothing and never will.",
);
const UNDO: Law = Law::new("Executor", 6, "The undo that `preview` names brings the state back to an equal digest.");
const KEYED: Law =
    Law::new("Executor", 7, "`Keyed`: the same key again returns the first result and has no second effect.");
const FENCED: Law =
    Law::new("Executor", 8, "`FenceProbe`: after a probe with a fence, an attempt with a lower token has no effect.");
const PROBE: Law = Law::new("Executor", 9, "`probe` tells the truth, or `Unknown`, and changes no workload.");
const SETTLED: Law = Law::new(
    "Executor",
    10,
    "After an effect the preview of its undo keeps the same digest until somebody else changes the target.",
);
const FOREIGN: Law = Law::new(
    "Executor",
    11,
    "`preview` and `execute` refuse an action or a target that is not its own as `Unsupported`, and send nothing.",
);

/// What an executor acts on, as its tester sees it.
#[async_trait]
pub trait World: Send + Sync {
    /// An executor on fresh targets, in a state in which every one of [`calls`](Self::calls) works. The value from the call
    /// before may still be there.
    async fn fresh(&self) -> Arc<dyn Executor>;

    /// Calls that work on fresh targets: at least one for each action that can be called on a fresh target.
    fn calls(&self) -> Vec<Call>;

    /// How many effects there were on the targets of the latest [`fresh`](Self::fresh), by their own count. Never asked of
    /// the executor.
    async fn effects(&self) -> u64;

    /// How long an attempt may take here, in milliseconds. The laws wait so long a few times.
    fn timeout_ms(&self) -> u64;
}

/// Runs every law; those of a recovery class on the actions that declare it. With targets in memory use the clock
/// [`AutoClock`](super::AutoClock), which never waits; with real I/O a real clock, and a [`World::timeout_ms`] that the target can
/// meet. Each law can also be run by itself.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_all(ctx: &Ctx, world: &dyn World) -> Lawful {
    law_1_catalogue_is_sound(world).await?;
    for call in world.calls() {
        law_2_preview_changes_nothing(ctx, world, &call).await?;
        law_3_nothing_without_redeeming(ctx, world, &call).await?;
        law_4_nothing_after_the_deadline(ctx, world, &call).await?;
        law_5_not_applied_is_true(ctx, world, &call).await?;
        law_6_undo_brings_back(ctx, world, &call).await?;
        law_7_a_key_has_one_effect(ctx, world, &call).await?;
        law_8_a_fence_holds(ctx, world, &call).await?;
        law_9_probe_tells_the_truth(ctx, world, &call).await?;
        law_10_the_state_after_an_effect_stays(ctx, world, &call).await?;
        law_11_strangers_are_refused(ctx, world, &call).await?;
    }
    Ok(())
}

/// Law 1.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_1_catalogue_is_sound(world: &dyn World) -> Lawful {
    let law = &CATALOGUE;
    let executor = world.fresh().await;
    let actions = executor.catalogue();
    law.hold(actions == executor.catalogue(), || "two calls gave different catalogues".to_owned())?;
    let catalogue = Catalogue::new(actions).map_err(|error| law.broken(format!("it does not pass: {error}")))?;
    law.hold(!world.calls().is_empty(), || "the world offers no call".to_owned())?;
    for call in world.calls() {
        let spec = catalogue.action(&call.action).ok_or_else(|| law.broken(format!("`{}` is missing", call.action)))?;
        let problems = spec.check_params(&call.params);
        law.hold(problems.is_empty(), || format!("`{call}` does not fit its schema: {problems:?}"))?;
    }
    Ok(())
}

/// Law 2.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_2_preview_changes_nothing(ctx: &Ctx, world: &dyn World, call: &Call) -> Lawful {
    let law = &PREVIEW;
    let executor = world.fresh().await;
    let before = world.effects().await;
    let first = law.works("a preview", executor.preview(ctx, call).await)?;
    let second = law.works("a preview", executor.preview(ctx, call).await)?;
    law.same("the digest of the same state", &second.state, &first.state)?;
    law.same("the number of effects after previews", &world.effects().await, &before)?;
    let spec = spec(law, &*executor, call)?;
    let needs_undo = matches!(spec.reversibility, Reversibility::Undo { .. });
    law.hold(!needs_undo || first.undo.is_some(), || format!("`{call}` can be undone and the preview does not say how"))
}

/// Law 3.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_3_nothing_without_redeeming(ctx: &Ctx, world: &dyn World, call: &Call) -> Lawful {
    let law = &REDEEMS;
    let executor = world.fresh().await;
    let mut rig = law.works("opening a gate", GateRig::open(ctx).await)?;
    let before = world.effects().await;
    let (_, granted) = permit(law, &mut rig, &*executor, call, world).await?;
    rig.gate().halt_handle().halt("law", "it must not be sent");
    let result = executor.execute(ctx, granted.permit).await;
    law.hold(result.is_err(), || "it says that something was done under a halt".to_owned())?;
    law.same("the number of effects under a halt", &world.effects().await, &before)?;
    law.hold(!granted.watch.was_redeemed(), || "a permit was redeemed under a halt".to_owned())?;

    let executor = world.fresh().await;
    let mut rig = law.works("opening a gate", GateRig::open(ctx).await)?;
    let before = world.effects().await;
    let (_, granted) = permit(law, &mut rig, &*executor, call, world).await?;
    applied(law, "an execution", executor.execute(ctx, granted.permit).await)?;
    law.hold(granted.watch.was_redeemed(), || "it was done and the permit was not redeemed".to_owned())?;
    let after = world.effects().await;
    let changes = spec(law, &*executor, call)?.changes_target;
    law.hold(!changes || after > before, || "it says that it was done and the target saw nothing".to_owned())
}

/// Law 4, as far as it can be seen from outside: a permit that comes after its deadline.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_4_nothing_after_the_deadline(ctx: &Ctx, world: &dyn World, call: &Call) -> Lawful {
    let law = &DEADLINE;
    let executor = world.fresh().await;
    let mut rig = law.works("opening a gate", GateRig::open(ctx).await)?;
    let before = world.effects().await;
    let granted = rig.permit(&*executor, call, 1).await;
    let (_, granted) = law.works("authorizing", granted)?;
    law.works("waiting", ctx.sleep("law", Duration::from_millis(5)).await)?;
    let result = executor.execute(ctx, granted.permit).await;
    law.hold(result.is_err(), || "it says that something was done after the deadline".to_owned())?;
    law.same("the number of effects after the deadline", &world.effects().await, &before)
}

/// Law 5, as far as it can be seen from outside: an attempt on a fresh target.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_5_not_applied_is_true(ctx: &Ctx, world: &dyn World, call: &Call) -> Lawful {
    let law = &HONEST;
    let executor = world.fresh().await;
    let before = world.effects().await;
    let mut rig = law.works("opening a gate", GateRig::open(ctx).await)?;
    let (_, granted) = permit(law, &mut rig, &*executor, call, world).await?;
    let ended = executor.execute(ctx, granted.permit).await;
    let denied = matches!(ended, Ok(Attempt::NotApplied(_)));
    law.hold(!denied || world.effects().await == before, || {
        "it says that nothing was changed, and the target saw an effect".to_owned()
    })
}

/// Law 6, for actions that can be undone.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_6_undo_brings_back(ctx: &Ctx, world: &dyn World, call: &Call) -> Lawful {
    let law = &UNDO;
    let executor = world.fresh().await;
    if !matches!(spec(law, &*executor, call)?.reversibility, Reversibility::Undo { .. }) {
        return Ok(());
    }
    let mut rig = law.works("opening a gate", GateRig::open(ctx).await)?;
    let before = law.works("a preview", executor.preview(ctx, call).await)?;
    let (step, granted) = permit(law, &mut rig, &*executor, call, world).await?;
    applied(law, "the do", executor.execute(ctx, granted.permit).await)?;
    law.works("recording the effect", rig.applied(&*executor, &step).await)?;
    law.works("moving on", rig.go(&step, &[StepState::Compensating]).await)?;
    let granted = law.works("authorizing", rig.authorize(&*executor, &step, Direction::Undo).await)?;
    applied(law, "the undo", executor.execute(ctx, granted.permit).await)?;
    let after = law.works("a preview", executor.preview(ctx, call).await)?;
    law.same("the digest after do and undo", &after.state, &before.state)
}

/// Law 7, for actions of class `Keyed`.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_7_a_key_has_one_effect(ctx: &Ctx, world: &dyn World, call: &Call) -> Lawful {
    let law = &KEYED;
    let executor = world.fresh().await;
    if spec(law, &*executor, call)?.recovery != RecoveryClass::Keyed {
        return Ok(());
    }
    let mut rig = law.works("opening a gate", GateRig::open(ctx).await)?;
    let (step, granted) = permit(law, &mut rig, &*executor, call, world).await?;
    let first = applied(law, "the first send", executor.execute(ctx, granted.permit).await)?;
    let before = world.effects().await;
    for n in 2..=3 {
        let granted = law.works("authorizing again", rig.authorize(&*executor, &step, Direction::Do).await)?;
        let again = applied(law, &format!("send {n} of the same key"), executor.execute(ctx, granted.permit).await)?;
        law.same(&format!("the result of send {n}"), &again, &first)?;
        law.same(&format!("the number of effects after send {n}"), &world.effects().await, &before)?;
    }
    Ok(())
}

/// Law 8, for actions of class `FenceProbe`.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_8_a_fence_holds(ctx: &Ctx, world: &dyn World, call: &Call) -> Lawful {
    let law = &FENCED;
    let executor = world.fresh().await;
    if spec(law, &*executor, call)?.recovery != RecoveryClass::FenceProbe {
        return Ok(());
    }
    let mut rig = law.works("opening a gate", GateRig::open(ctx).await)?;
    let (step, granted) = permit(law, &mut rig, &*executor, call, world).await?;
    let before = world.effects().await;
    let key = key(&rig, &step);
    let (fence, _) = law.works("minting a fence", rig.gate_mut().fence(ctx, &step).await)?;
    let probe = Probe { call: call.clone(), key: key.ok_or_else(|| law.broken("no key"))?, fence: Some(fence) };
    let probed = law.works("a probe", executor.probe(ctx, &probe).await)?;
    law.hold(probed != Probed::Applied, || "nothing was sent and the probe says it was applied".to_owned())?;
    let late = executor.execute(ctx, granted.permit).await;
    let done = matches!(late, Ok(Attempt::Applied(_)));
    law.hold(!done, || "an attempt with an older token says that it was done".to_owned())?;
    law.same("the number of effects behind the fence", &world.effects().await, &before)
}

/// Law 9.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_9_probe_tells_the_truth(ctx: &Ctx, world: &dyn World, call: &Call) -> Lawful {
    let law = &PROBE;
    let executor = world.fresh().await;
    let spec = spec(law, &*executor, call)?;
    let mut rig = law.works("opening a gate", GateRig::open(ctx).await)?;
    let (step, granted) = permit(law, &mut rig, &*executor, call, world).await?;
    let key = key(&rig, &step).ok_or_else(|| law.broken("no key"))?;
    let before = world.effects().await;
    // Nothing was sent: what a probe may say of that is asked when the class promises an answer.
    drop(granted);
    let settles = if let RecoveryClass::Probe { settles_within_ms } = spec.recovery { settles_within_ms } else { 0 };
    let wait = Duration::from_millis(world.timeout_ms().saturating_add(settles));
    law.works("waiting", ctx.sleep("law", wait).await)?;
    let probe = Probe { call: call.clone(), key, fence: None };
    let probed = law.works("a probe", executor.probe(ctx, &probe).await)?;
    law.hold(probed != Probed::Applied, || "nothing was sent and the probe says it was applied".to_owned())?;
    law.same("the number of effects after a probe", &world.effects().await, &before)?;

    let executor = world.fresh().await;
    let mut rig = law.works("opening a gate", GateRig::open(ctx).await)?;
    let (step, granted) = permit(law, &mut rig, &*executor, call, world).await?;
    let key = self::key(&rig, &step).ok_or_else(|| law.broken("no key"))?;
    applied(law, "an execution", executor.execute(ctx, granted.permit).await)?;
    let before = world.effects().await;
    for _ in 0..2 {
        let probe = Probe { call: call.clone(), key, fence: None };
        let probed = law.works("a probe", executor.probe(ctx, &probe).await)?;
        law.hold(probed != Probed::NotApplied, || "it was applied and the probe says it was not".to_owned())?;
    }
    law.same("the number of effects after probes", &world.effects().await, &before)
}

/// Law 10, for actions that can be undone.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_10_the_state_after_an_effect_stays(ctx: &Ctx, world: &dyn World, call: &Call) -> Lawful {
    let law = &SETTLED;
    let executor = world.fresh().await;
    if !matches!(spec(law, &*executor, call)?.reversibility, Reversibility::Undo { .. }) {
        return Ok(());
    }
    let mut rig = law.works("opening a gate", GateRig::open(ctx).await)?;
    let (step, granted) = permit(law, &mut rig, &*executor, call, world).await?;
    let inverse = rig.gate().state().step(&step).and_then(|entry| entry.inverse.clone());
    let inverse = inverse.ok_or_else(|| law.broken("the preview named no undo"))?;
    applied(law, "an execution", executor.execute(ctx, granted.permit).await)?;
    let first = law.works("a preview of the undo", executor.preview(ctx, &inverse).await)?;
    law.works("waiting", ctx.sleep("law", Duration::from_millis(world.timeout_ms())).await)?;
    let second = law.works("a preview of the undo", executor.preview(ctx, &inverse).await)?;
    law.same("the digest of the state after the effect", &second.state, &first.state)
}

/// Law 11.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_11_strangers_are_refused(ctx: &Ctx, world: &dyn World, call: &Call) -> Lawful {
    let law = &FOREIGN;
    let executor = world.fresh().await;
    let before = world.effects().await;
    let nobody = law.works("naming", EntityId::new("nobody-knows-this-one"))?;
    let foreign = law.works("naming", ActionName::new("nobody.knows.this"))?;
    let strange = [
        ("a target that is not its own", Call { target: nobody, ..call.clone() }),
        ("an action that is not its own", Call { action: foreign, ..call.clone() }),
    ];
    for (what, strange) in &strange {
        law.fails(&format!("a preview of {what}"), ErrorKind::Unsupported, executor.preview(ctx, strange).await)?;
        let mut rig = law.works("opening a gate", GateRig::open(ctx).await)?;
        let knows = Knowing { name: strange.action.clone(), of: spec(law, &*executor, call)? };
        let granted = rig.permit_unseen(&knows, strange, world.timeout_ms()).await;
        let (_, granted) = law.works("authorizing", granted)?;
        law.fails(&format!("executing {what}"), ErrorKind::Unsupported, executor.execute(ctx, granted.permit).await)?;
    }
    law.same("the number of effects", &world.effects().await, &before)
}

/// What was done; every other end of an attempt as an error, a proved refusal too. For tests that do not care which it was.
///
/// # Errors
///
/// That of `execute`, or the failure of the proof that nothing was changed.
pub fn done(ended: crate::error::Result<Attempt>) -> crate::error::Result<Applied> {
    match ended? {
        Attempt::Applied(applied) => Ok(applied),
        Attempt::NotApplied(proof) => {
            let failure = proof.failure();
            Err(crate::error::Error::new(failure.kind, failure.component.clone(), failure.message.clone()))
        }
    }
}

/// The failure of an attempt that is proved to have had no effect; `None` where that is not proved.
#[must_use]
pub fn refused(ended: crate::error::Result<Attempt>) -> Option<crate::error::Failure> {
    match ended {
        Ok(Attempt::NotApplied(proof)) => Some(proof.failure().clone()),
        Ok(Attempt::Applied(_)) | Err(_) => None,
    }
}

fn applied(law: &Law, what: &str, ended: crate::error::Result<Attempt>) -> Lawful<Applied> {
    match law.works(what, ended)? {
        Attempt::Applied(applied) => Ok(applied),
        Attempt::NotApplied(proof) => Err(law.broken(format!("{what} was not applied: {}", proof.failure()))),
    }
}

async fn permit(
    law: &Law,
    rig: &mut GateRig,
    executor: &dyn Executor,
    call: &Call,
    world: &dyn World,
) -> Lawful<(crate::id::StepRef, Granted)> {
    law.works("authorizing", rig.permit(executor, call, world.timeout_ms()).await)
}

fn key(rig: &GateRig, step: &crate::id::StepRef) -> Option<crate::execution::EffectKey> {
    Some(rig.gate().state().step(step)?.open.as_ref()?.intent.key)
}

fn spec(law: &Law, executor: &dyn Executor, call: &Call) -> Lawful<ActionSpec> {
    let found = executor.catalogue().into_iter().find(|spec| spec.name == call.action);
    found.ok_or_else(|| law.broken(format!("`{}` is not in the catalogue", call.action)))
}

/// Knows one action by name, so that a plan with it passes the checks. Does nothing at all.
#[derive(Debug)]
struct Knowing {
    name: ActionName,
    of: ActionSpec,
}

#[async_trait]
impl Executor for Knowing {
    fn name(&self) -> &str {
        "knowing"
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        let spec = ActionSpec { name: self.name.clone(), reversibility: Reversibility::Transient, ..self.of.clone() };
        vec![spec]
    }

    async fn preview(&self, _: &Ctx, call: &Call) -> crate::error::Result<crate::execution::Preview> {
        Err(unsupported(call))
    }

    async fn execute(&self, _: &Ctx, permit: crate::kernel::Permit) -> crate::error::Result<Attempt> {
        Err(unsupported(permit.call()))
    }

    async fn probe(&self, _: &Ctx, probe: &Probe) -> crate::error::Result<Probed> {
        Err(unsupported(&probe.call))
    }
}

fn unsupported(call: &Call) -> crate::error::Error {
    crate::error::Error::new(ErrorKind::Unsupported, "knowing", format!("`{call}` is not performed here"))
}
