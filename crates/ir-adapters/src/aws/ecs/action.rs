//! What can be done to a service, as the catalogue tells it.

use ir_core::execution::ActionSpec;
use ir_core::{ActionName, RecoveryClass, Reversibility, RiskClass};
use serde_json::json;

use super::{COUNT, DEFINITION};

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Rollback,
    Redeploy,
    Scale,
}

impl Action {
    pub(super) const ALL: [Self; 3] = [Self::Rollback, Self::Redeploy, Self::Scale];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rollback => "ecs.rollback",
            Self::Redeploy => "ecs.redeploy",
            Self::Scale => "ecs.scale",
        }
    }

    pub(super) fn spec(self, settles_within_ms: u64) -> ActionSpec {
        let name = ActionName::literal(self.name());
        let (description, params, risk, reversibility) = match self {
            Self::Rollback => {
                let definition = json!({
                    "type": "string", "minLength": 1, "maxLength": 512,
                    "description": "`family:revision` or an ARN; the revision before the present one where nothing is said",
                });
                (
                    "Puts a former task definition of the same family in place.",
                    json!({ "type": "object", "properties": { DEFINITION: definition }, "required": [] }),
                    RiskClass::Medium,
                    Reversibility::Undo { action: name.clone() },
                )
            }
            Self::Redeploy => (
                "Starts the tasks of the service anew, with the task definition that it has.",
                ActionSpec::no_params(),
                RiskClass::Medium,
                Reversibility::Transient,
            ),
            Self::Scale => {
                let count =
                    json!({ "type": "integer", "minimum": 0, "maximum": 10_000, "description": "how many tasks" });
                (
                    "Changes how many tasks the service runs.",
                    json!({ "type": "object", "properties": { COUNT: count }, "required": [COUNT] }),
                    RiskClass::Medium,
                    Reversibility::Undo { action: name.clone() },
                )
            }
        };
        ActionSpec {
            name,
            description: description.to_owned(),
            params,
            risk,
            reversibility,
            recovery: RecoveryClass::Probe { settles_within_ms },
            blast_radius: 1,
            changes_target: true,
        }
    }
}
