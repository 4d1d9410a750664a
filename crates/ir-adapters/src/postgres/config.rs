//! What may be touched, and within which bounds.

use std::collections::BTreeSet;

use ir_core::config::Problem;
use ir_core::{EntityId, PartName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest name PostgreSQL keeps, in bytes: NAMEDATALEN less one.
const MAX_ROLE_BYTES: usize = 63;
/// Longer than any of the bounded times may be, in milliseconds: an hour.
const MAX_MS: u64 = 3_600_000;

/// What may be touched, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresActionsConfig {
    /// The executor's name in records. `postgres`.
    pub name: String,
    /// What the database server is called in the topology: the only target. `postgres`.
    pub entity: EntityId,
    /// The roles whose sessions and settings may be touched, as PostgreSQL spells them. None: every call is refused. Superusers,
    /// roles for replication and the executor's own role are never touched, whether they stand here or not.
    pub roles: Vec<String>,
    /// The most sessions that one call may cancel or terminate. 20.
    #[schemars(range(min = 1))]
    pub max_sessions: u32,
    /// A query or session that is younger is never touched, in seconds. 1.
    #[schemars(range(min = 1))]
    pub min_seconds: u32,
    /// How long making a connection may take, in milliseconds. 3,000.
    #[schemars(range(min = 1))]
    pub connect_timeout_ms: u64,
    /// How long the server may work on one statement, in milliseconds. 5,000.
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
    /// How long a statement may wait for somebody else's lock, in milliseconds. 1,000.
    #[schemars(range(min = 1))]
    pub lock_timeout_ms: u64,
}

impl Default for PostgresActionsConfig {
    fn default() -> Self {
        Self {
            name: "postgres".to_owned(),
            entity: EntityId::literal("postgres"),
            roles: Vec::new(),
            max_sessions: 20,
            min_seconds: 1,
            connect_timeout_ms: 3_000,
            timeout_ms: 5_000,
            lock_timeout_ms: 1_000,
        }
    }
}

impl PostgresActionsConfig {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        let mut names = BTreeSet::new();
        for (n, role) in self.roles.iter().enumerate() {
            let field = format!("roles[{n}]");
            if role.is_empty() || role.len() > MAX_ROLE_BYTES || role.contains('\0') {
                problems.push(Problem::at(&field, format!("must be a name of 1 to {MAX_ROLE_BYTES} bytes")));
            }
            if !names.insert(role) {
                problems.push(Problem::at(&field, format!("`{role}` is named twice")));
            }
        }
        for (field, value) in [("max_sessions", self.max_sessions), ("min_seconds", self.min_seconds)] {
            if value == 0 {
                problems.push(Problem::at(field, "must be more than 0"));
            }
        }
        let times = [
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("timeout_ms", self.timeout_ms),
            ("lock_timeout_ms", self.lock_timeout_ms),
        ];
        for (field, value) in times {
            if value == 0 || value > MAX_MS {
                problems.push(Problem::at(field, format!("must be 1 to {MAX_MS} (an hour)")));
            }
        }
        problems
    }
}
