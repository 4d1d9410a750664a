//! An executor whose target never changes: for tests of the kernel alone.

use async_trait::async_trait;
use ir_core::plan::Call;
use ir_core::{
    ActionName, ActionSpec, Attempt, Ctx, Digest, EntityId, Executor, Permit, Preview, Probe, Probed, RecoveryClass,
    Result, Reversibility, RiskClass,
};

#[derive(Debug)]
pub(super) struct Still;

impl Still {
    pub(super) const STATE: Digest = Digest::ZERO;
}

pub(super) fn still_call(target: &str) -> Call {
    Call {
        action: ActionName::new("still.do").unwrap(),
        target: EntityId::new(target).unwrap(),
        params: serde_json::Map::new(),
    }
}

#[async_trait]
impl Executor for Still {
    fn name(&self) -> &str {
        "still"
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        let action = ActionName::new("still.do").unwrap();
        vec![ActionSpec {
            name: action.clone(),
            description: "Changes nothing.".to_owned(),
            params: ActionSpec::no_params(),
            risk: RiskClass::Low,
            reversibility: Reversibility::Undo { action },
            recovery: RecoveryClass::Keyed,
            blast_radius: 1,
            changes_target: true,
        }]
    }

    async fn preview(&self, _ctx: &Ctx, call: &Call) -> Result<Preview> {
        Ok(Preview { state: Self::STATE, summary: "as it is".to_owned(), undo: Some(call.clone()) })
    }

    async fn execute(&self, _ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        permit.redeem().map(|_| Attempt::applied("nothing"))
    }

    async fn probe(&self, _ctx: &Ctx, _probe: &Probe) -> Result<Probed> {
        Ok(Probed::Unknown)
    }
}
