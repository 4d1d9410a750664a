//! An executor that can do nothing. It declares what a platform could do, so that plans can be made and recommended.

use async_trait::async_trait;
use incident_response::prelude::{
    ActionName, ActionSpec, Attempt, Call, Ctx, Error, ErrorKind, Executor, Permit, Preview, Probe, Probed,
    RecoveryClass, Result, Reversibility, RiskClass,
};

#[derive(Debug)]
pub(crate) struct Advice;

const NAME: &str = "advice";

#[async_trait]
impl Executor for Advice {
    fn name(&self) -> &str {
        NAME
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        let action = |name: &'static str, description: &str| ActionSpec {
            name: ActionName::literal(name),
            description: description.to_owned(),
            params: ActionSpec::no_params(),
            risk: RiskClass::Medium,
            reversibility: Reversibility::Transient,
            recovery: RecoveryClass::Blind,
            blast_radius: 1,
            changes_target: true,
        };
        vec![
            action("service.restart", "starts the same version again"),
            action("service.roll_back", "puts the former version back"),
        ]
    }

    /// Nothing is known of the target's state, and nothing needs to be: no permit is ever made for it.
    async fn preview(&self, _ctx: &Ctx, call: &Call) -> Result<Preview> {
        let summary = format!("{call}, if somebody did it");
        Ok(Preview { state: incident_response::core::Digest::ZERO, summary, undo: None })
    }

    async fn execute(&self, _ctx: &Ctx, _permit: Permit) -> Result<Attempt> {
        Err(Error::new(ErrorKind::Unsupported, NAME, "this program only reads"))
    }

    async fn probe(&self, _ctx: &Ctx, _probe: &Probe) -> Result<Probed> {
        Ok(Probed::NotApplied)
    }
}
