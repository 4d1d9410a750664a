//! The laws of executors hold for a sound toy of every recovery class, and each one notices the toy that breaks it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ir_core::plan::Call;
use ir_core::testkit::executor::{self as laws, World};
use ir_core::testkit::{AutoClock, Lawful};
use ir_core::{
    ActionName, ActionSpec, Applied, Attempt, Ctx, Digest, EffectKey, EntityId, Error, ErrorKind, Executor, Permit,
    Preview, Probe, Probed, RecoveryClass, Result, Reversibility, RiskClass,
};
use serde_json::json;

/// What the toy does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    ChangingCatalogue,
    PreviewActs,
    ActsBeforeRedeeming,
    NeverRedeems,
    ActsAfterTheDeadline,
    DeniesItsEffect,
    ActsOnStrangers,
    UndoesHalf,
    RepeatsKeys,
    IgnoresFences,
    DeniesEffects,
    InventsEffects,
    ProbeActs,
    NeverSettles,
}

#[derive(Debug, Default)]
struct Target {
    value: i64,
    effects: u64,
    fence: u64,
    done: HashMap<EffectKey, Applied>,
}

#[derive(Debug)]
struct Toy {
    target: Arc<Mutex<Target>>,
    recovery: RecoveryClass,
    flaw: Flaw,
    asked: AtomicU32,
}

const BY: &str = "toy";

fn refuse(kind: ErrorKind, message: &str) -> Error {
    Error::new(kind, BY, message)
}

impl Toy {
    fn own(&self, call: &Call) -> Result<i64> {
        if call.action.as_str() != "toy.set" || call.target.as_str() != "lamp" {
            return Err(refuse(ErrorKind::Unsupported, "not mine"));
        }
        call.params.get("to").and_then(|to| to.as_i64()).ok_or_else(|| refuse(ErrorKind::InvalidInput, "no `to`"))
    }
}

impl Target {
    fn set(&mut self, to: i64) {
        self.value = to;
        self.effects += 1;
    }
}

fn set(to: i64) -> Call {
    let params = json!({ "to": to }).as_object().unwrap().clone();
    Call { action: ActionName::new("toy.set").unwrap(), target: EntityId::new("lamp").unwrap(), params }
}

#[async_trait]
impl Executor for Toy {
    fn name(&self) -> &str {
        BY
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let changing = if self.flaw == Flaw::ChangingCatalogue { asked } else { 0 };
        let action = ActionName::new("toy.set").unwrap();
        vec![ActionSpec {
            name: action.clone(),
            description: "Sets the lamp.".to_owned(),
            params: json!({"type": "object", "properties": {"to": {"type": "integer"}}, "required": ["to"]}),
            risk: RiskClass::Low,
            reversibility: Reversibility::Undo { action },
            recovery: self.recovery,
            blast_radius: 1 + changing,
            changes_target: true,
        }]
    }

    async fn preview(&self, _ctx: &Ctx, call: &Call) -> Result<Preview> {
        let to = self.own(call)?;
        let mut target = self.target.lock().unwrap();
        if self.flaw == Flaw::PreviewActs {
            target.set(to);
        }
        let restless = if self.flaw == Flaw::NeverSettles && target.effects > 0 {
            self.asked.fetch_add(1, Ordering::SeqCst)
        } else {
            0
        };
        let state = Digest::of(format!("{} {restless}", target.value).as_bytes());
        let back = if self.flaw == Flaw::UndoesHalf { target.value + 1 } else { target.value };
        Ok(Preview { state, summary: format!("{} to {to}", target.value), undo: Some(set(back)) })
    }

    async fn execute(&self, _ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let to = match self.own(permit.call()) {
            Err(error) => {
                if self.flaw == Flaw::ActsOnStrangers {
                    self.target.lock().unwrap().set(0);
                }
                return Err(error);
            }
            Ok(to) => to,
        };
        let applied = Applied { summary: format!("set to {to}") };
        if self.flaw == Flaw::ActsBeforeRedeeming {
            self.target.lock().unwrap().set(to);
        }
        if self.flaw == Flaw::NeverRedeems {
            self.target.lock().unwrap().set(to);
            return Ok(applied.into());
        }
        let effect = match permit.redeem() {
            Ok(effect) => effect,
            Err(error) => {
                if self.flaw == Flaw::ActsAfterTheDeadline && error.message().contains("deadline") {
                    self.target.lock().unwrap().set(to);
                }
                return Err(error);
            }
        };
        let mut target = self.target.lock().unwrap();
        if effect.token() < target.fence && self.flaw != Flaw::IgnoresFences {
            return Ok(effect.not_applied(refuse(ErrorKind::Conflict, "an older token")).into());
        }
        if let Some(first) = target.done.get(&effect.key())
            && self.flaw != Flaw::RepeatsKeys
        {
            return Ok(first.clone().into());
        }
        if self.flaw != Flaw::ActsBeforeRedeeming {
            target.set(to);
        }
        target.done.insert(effect.key(), applied.clone());
        if self.flaw == Flaw::DeniesItsEffect {
            return Ok(effect.not_applied(refuse(ErrorKind::Conflict, "not now")).into());
        }
        Ok(applied.into())
    }

    async fn probe(&self, _ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        let to = self.own(&probe.call)?;
        let mut target = self.target.lock().unwrap();
        if let Some(fence) = &probe.fence {
            target.fence = target.fence.max(fence.token());
        }
        if self.flaw == Flaw::ProbeActs {
            target.set(to);
        }
        if self.recovery == RecoveryClass::Blind {
            return Ok(Probed::Unknown);
        }
        let applied = match self.flaw {
            Flaw::DeniesEffects => false,
            Flaw::InventsEffects => true,
            _ => target.done.contains_key(&probe.key),
        };
        Ok(if applied { Probed::Applied } else { Probed::NotApplied })
    }
}

struct Toys {
    recovery: RecoveryClass,
    flaw: Flaw,
    wrap: fn(Toy) -> Arc<dyn Executor>,
    target: Mutex<Arc<Mutex<Target>>>,
}

fn toys(recovery: RecoveryClass, flaw: Flaw) -> Toys {
    Toys { recovery, flaw, wrap: |toy| Arc::new(toy), target: Mutex::default() }
}

#[async_trait]
impl World for Toys {
    async fn fresh(&self) -> Arc<dyn Executor> {
        let target = Arc::new(Mutex::new(Target::default()));
        *self.target.lock().unwrap() = target.clone();
        (self.wrap)(Toy { target, recovery: self.recovery, flaw: self.flaw, asked: AtomicU32::new(0) })
    }

    fn calls(&self) -> Vec<Call> {
        vec![set(5)]
    }

    async fn effects(&self) -> u64 {
        self.target.lock().unwrap().lock().unwrap().effects
    }

    fn timeout_ms(&self) -> u64 {
        1_000
    }
}

const PROBE: RecoveryClass = RecoveryClass::Probe { settles_within_ms: 100 };

fn ctx() -> Ctx {
    Ctx::new(Arc::new(AutoClock::new()))
}

#[tokio::test]
async fn sound_toys_of_every_class_keep_every_law_as_themselves_in_a_box_and_in_an_arc() {
    let wraps: [fn(Toy) -> Arc<dyn Executor>; 3] =
        [|toy| Arc::new(toy), |toy| Arc::new(Box::new(toy)), |toy| Arc::new(Arc::new(toy))];
    for recovery in [RecoveryClass::Keyed, RecoveryClass::FenceProbe, PROBE, RecoveryClass::Blind] {
        for wrap in wraps {
            let world = Toys { wrap, ..toys(recovery, Flaw::None) };
            laws::check_all(&ctx(), &world).await.unwrap();
        }
    }
}

fn noticed(result: Lawful, law: u32) {
    let violation = result.expect_err("the law did not notice");
    assert_eq!(violation.law.number, law, "{violation}");
}

#[tokio::test]
async fn each_law_notices_the_executor_that_breaks_it() {
    let (ctx, call) = (ctx(), set(5));
    noticed(laws::law_1_catalogue_is_sound(&toys(PROBE, Flaw::ChangingCatalogue)).await, 1);
    noticed(laws::law_2_preview_changes_nothing(&ctx, &toys(PROBE, Flaw::PreviewActs), &call).await, 2);
    for flaw in [Flaw::ActsBeforeRedeeming, Flaw::NeverRedeems] {
        noticed(laws::law_3_nothing_without_redeeming(&ctx, &toys(PROBE, flaw), &call).await, 3);
    }
    let late = toys(PROBE, Flaw::ActsAfterTheDeadline);
    noticed(laws::law_4_nothing_after_the_deadline(&ctx, &late, &call).await, 4);
    let denies = toys(PROBE, Flaw::DeniesItsEffect);
    noticed(laws::law_5_not_applied_is_true(&ctx, &denies, &call).await, 5);
    noticed(laws::law_6_undo_brings_back(&ctx, &toys(PROBE, Flaw::UndoesHalf), &call).await, 6);
    let keyed = toys(RecoveryClass::Keyed, Flaw::RepeatsKeys);
    noticed(laws::law_7_a_key_has_one_effect(&ctx, &keyed, &call).await, 7);
    let fenced = toys(RecoveryClass::FenceProbe, Flaw::IgnoresFences);
    noticed(laws::law_8_a_fence_holds(&ctx, &fenced, &call).await, 8);
    for flaw in [Flaw::DeniesEffects, Flaw::InventsEffects, Flaw::ProbeActs] {
        noticed(laws::law_9_probe_tells_the_truth(&ctx, &toys(PROBE, flaw), &call).await, 9);
    }
    let restless = toys(PROBE, Flaw::NeverSettles);
    noticed(laws::law_10_the_state_after_an_effect_stays(&ctx, &restless, &call).await, 10);
    let strangers = toys(PROBE, Flaw::ActsOnStrangers);
    noticed(laws::law_11_strangers_are_refused(&ctx, &strangers, &call).await, 11);
}
