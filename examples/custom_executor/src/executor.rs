//! The part that is yours: how the library acts on your platform. Begin by changing this file.

use async_trait::async_trait;
use incident_response::core::Digest;
use incident_response::prelude::{
    ActionName, ActionSpec, Attempt, Call, Ctx, Error, ErrorKind, Executor, Permit, Preview, Probe, Probed,
    RecoveryClass, Result, Reversibility, RiskClass,
};

use crate::platform::Platform;

/// The name of the one action; playbook and policy use it.
const RESTART: &str = "worker.restart";

/// Restarts workers of the [`Platform`].
#[derive(Debug, Clone)]
pub(crate) struct WorkerExecutor(pub(crate) Platform);

impl WorkerExecutor {
    /// The present generation of a worker, if action and worker are ours at all.
    fn generation(&self, call: &Call) -> Result<u64> {
        let unsupported = || Error::new(ErrorKind::Unsupported, "workers", format!("`{call}` is not done here"));
        if call.action.as_str() != RESTART {
            return Err(unsupported());
        }
        self.0.generation(call.target.as_str()).ok_or_else(unsupported)
    }
}

#[async_trait]
impl Executor for WorkerExecutor {
    fn name(&self) -> &str {
        "workers"
    }

    /// What can be done, how bad it can get, and what can be known when an answer is lost.
    fn catalogue(&self) -> Vec<ActionSpec> {
        vec![ActionSpec {
            name: ActionName::literal(RESTART),
            description: "ends a worker and starts it again".to_owned(),
            params: ActionSpec::no_params(),
            risk: RiskClass::Low,
            // A restart leaves nothing to take back.
            reversibility: Reversibility::Transient,
            // The platform remembers keys, so that sending the same restart again is harmless. Without such a memory this
            // would be `Probe` or, if nobody can tell, `Blind`.
            recovery: RecoveryClass::Keyed,
            blast_radius: 1,
            changes_target: true,
        }]
    }

    /// Reads only. The digest stands for what the restart relies on: if somebody else restarts the worker in between, it
    /// differs, and the kernel does not send a restart that was meant for another process.
    async fn preview(&self, _ctx: &Ctx, call: &Call) -> Result<Preview> {
        let generation = self.generation(call)?;
        let summary = format!("{} runs in generation {generation}; it starts again", call.target);
        Ok(Preview { state: Digest::of(format!("{} {generation}", call.target).as_bytes()), summary, undo: None })
    }

    async fn execute(&self, _ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        // An error before `redeem` is proof enough: the permit is revoked, and nothing was sent.
        self.generation(permit.call())?;
        // The last thing before the effect: a halt, a lost lease or a deadline that came in the meantime stops it here.
        let effect = permit.redeem()?;
        let summary = self.0.restart(effect.call().target.as_str(), &effect.key().to_string());
        match summary {
            Some(summary) => Ok(Attempt::applied(summary)),
            // The platform itself says that it did nothing. Over a network a lost reply would be an error instead: after
            // `redeem` every error means that the effect may be there.
            None => Ok(effect.not_applied(Error::new(ErrorKind::NotFound, "workers", "the worker is gone")).into()),
        }
    }

    /// Asked when the reply of an attempt was lost. What is not there yet may still be on its way: that is `Unknown`.
    async fn probe(&self, _ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        self.generation(&probe.call)?;
        Ok(if self.0.has_done(&probe.key.to_string()) { Probed::Applied } else { Probed::Unknown })
    }
}
