//! Incidents: anomalies that belong together, with class and severity.

use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::anomaly::Anomaly;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::hypothesis::Hypothesis;
use crate::id::{AnomalyId, ClassName, IncidentId, PartName};
use crate::score::Probability;
use crate::signal::Change;
use crate::time::Timestamp;
use crate::topology::Topology;

/// How bad it is, from a nuisance to everything down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look in the morning.
    Low,
    /// Users may notice.
    Medium,
    /// Users notice.
    High,
    /// The service as a whole fails.
    Critical,
}

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// Anomalies are still coming in; the cause is being looked for.
    Open,
    /// A plan is being decided or carried out.
    Responding,
    /// A person has it; the library only watches.
    HandedOver,
    /// Over.
    Closed,
}

/// Anomalies that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// Its name.
    pub id: IncidentId,
    /// Where it stands.
    pub state: IncidentState,
    /// How bad.
    pub severity: Severity,
    /// When the earliest anomaly began.
    pub onset: Timestamp,
    /// When it was opened.
    pub opened: Timestamp,
    /// The anomalies, latest report of each, in the order they joined.
    pub anomalies: Vec<Anomaly>,
    /// Changes near the onset.
    pub changes: Vec<Change>,
    /// The class, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
}

impl Incident {
    /// The anomalies that have not ended.
    pub fn ongoing(&self) -> impl Iterator<Item = &Anomaly> {
        self.anomalies.iter().filter(|a| a.phase != crate::anomaly::Phase::Ended)
    }
}

/// Where one anomaly belongs, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grouping {
    /// The anomaly.
    pub anomaly: AnomalyId,
    /// What becomes of it.
    pub into: Placement,
    /// Why, in a sentence.
    pub because: String,
}

/// What becomes of an anomaly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Placement {
    /// It joins an open incident.
    Join {
        /// Which.
        incident: IncidentId,
    },
    /// It opens an incident, together with all others of the same answer that have the same `key`.
    Open {
        /// Any text that is the same for those that belong together.
        key: String,
    },
    /// It is left alone for now: too weak, or flapping.
    Ignore,
}

/// What a correlator sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrelationInput {
    /// Anomalies that have no incident yet.
    pub anomalies: Vec<Anomaly>,
    /// The incidents that are open.
    pub open: Vec<Arc<Incident>>,
    /// Changes of the last while.
    pub changes: Vec<Change>,
    /// Who depends on whom.
    pub topology: Topology,
}

/// Joins anomalies into incidents.
///
/// # Contract
///
/// 1. Every anomaly of the input gets exactly one placement, in the order of the input.
/// 2. `Join` names an incident of the input.
/// 3. The same input gives the same answer.
/// 4. The order of incidents and changes in the input does not matter.
///
/// # Cancellation
///
/// Dropping the future is safe.
///
/// # Errors
///
/// Any; the engine then opens one incident for each entity, which loses grouping and nothing else.
#[async_trait]
pub trait Correlator: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// Where each anomaly belongs.
    async fn correlate(&self, ctx: &Ctx, input: &CorrelationInput) -> Result<Vec<Grouping>>;
}

crate::forward! {
    Correlator {
        fn name(&self) -> &str;
        async fn correlate(&self, ctx: &Ctx, input: &CorrelationInput) -> Result<Vec<Grouping>>;
    }
}

/// The class of an incident of which no classifier could tell what it is.
pub const UNKNOWN_CLASS: &str = "unknown";

/// What an incident is, and how sure that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Classification {
    /// The class: playbooks and policy go by it.
    pub class: ClassName,
    /// How sure.
    pub confidence: Probability,
    /// How bad.
    pub severity: Severity,
    /// The rules that spoke for it, in words.
    pub because: Vec<String>,
    /// Past incidents it resembles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<IncidentId>,
    /// The classifier.
    pub by: PartName,
}

/// Says what an incident is.
///
/// # Contract
///
/// 1. The same incident and hypothesis give the same answer.
/// 2. An incident without anomalies is `InvalidInput`.
/// 3. A classification cites at least one reason.
/// 4. `classes` is the same at every call, and names every class that a classification can have, [`UNKNOWN_CLASS`] excepted.
///
/// # Cancellation
///
/// Dropping the future is safe.
///
/// # Errors
///
/// `InvalidInput` as above. The engine treats an error as "class unknown, confidence 0".
#[async_trait]
pub trait Classifier: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// The classes it can give. Policy and playbooks may name these and no others: a rule about a class that no incident can be
    /// of never fits.
    fn classes(&self) -> Vec<ClassName>;

    /// The class of `incident`, given what is thought to have caused it.
    async fn classify(&self, ctx: &Ctx, incident: &Incident, hypothesis: &Hypothesis) -> Result<Classification>;
}

crate::forward! {
    Classifier {
        fn name(&self) -> &str;
        fn classes(&self) -> Vec<ClassName>;
        async fn classify(&self, ctx: &Ctx, incident: &Incident, hypothesis: &Hypothesis) -> Result<Classification>;
    }
}
