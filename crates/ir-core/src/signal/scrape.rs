//! Scrapes: everything that one target returned at one time.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MetricKind, Series};
use crate::entity::{EntityId, Labels};
use crate::time::Timestamp;

/// The labels that tell the targets of one entity apart. This is the one list of them: assembly of scrapes, intervals and
/// whatever is learned about single instances go by it.
///
/// | label | set by |
/// |---|---|
/// | `exported_pod`, `pod` | Kubernetes service discovery; the exported one names the pod that a metric is about |
/// | `instance` | Prometheus: host and port that were scraped |
/// | `service.instance.id`, `service_instance_id` | OpenTelemetry, as it is sent and as a label |
/// | `task` | ECS and Nomad |
///
/// All of them that a series has belong to the identity: a pod that is scraped at two ports is two targets, each with a time
/// and an interval of its own.
pub const TARGET_LABELS: [&str; 6] =
    ["exported_pod", "instance", "pod", "service.instance.id", "service_instance_id", "task"];

/// What is scraped: one endpoint of an entity.
///
/// # Examples
///
/// ```
/// # use ir_core::{EntityId, Labels, MetricKind, Series, Target};
/// let series = Series {
///     entity: EntityId::new("web")?,
///     metric: "http_requests_total".to_owned(),
///     kind: MetricKind::Counter,
///     unit: String::new(),
///     labels: [("code", "200"), ("pod", "web-1")].into_iter().collect(),
/// };
/// assert_eq!(Target::of(&series).to_string(), r#"web{pod="web-1"}"#);
/// # Ok::<(), ir_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The entity it belongs to.
    pub entity: EntityId,
    /// Its identifying labels, those of [`TARGET_LABELS`]; none when the entity has one target only and does not name it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Target {
    /// The target that `series` comes from.
    #[must_use]
    pub fn of(series: &Series) -> Self {
        let labels = series.labels.iter().filter(|(name, _)| TARGET_LABELS.contains(name)).collect();
        Self { entity: series.entity.clone(), labels }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.entity)?;
        if self.labels.is_empty() { Ok(()) } else { write!(f, "{}", self.labels) }
    }
}

/// Everything that one target returned at one time, and what is known of the target from its scrapes before.
#[derive(Debug, Clone, PartialEq)]
pub struct Scrape {
    /// What was scraped. Shared by all scrapes of the target.
    pub target: Arc<Target>,
    /// When it was scraped: the time of all of its samples.
    pub at: Timestamp,
    /// The scrape before that returned values: increases count from there. `None` on the first one and after the clock was set
    /// back.
    pub before: Option<Timestamp>,
    /// The value of the `up` sample; `None` without one.
    pub up: Option<bool>,
    /// Whether the process is another one than before: its start time changed.
    pub restarted: bool,
    /// The usual time between two scrapes of the target: the median of the recent ones. `None` until it is known.
    pub interval: Option<Duration>,
    /// Counts the scrapes of the target, from 1.
    pub number: u64,
    /// The values, in the order in which they came, each series once. `up`, NaN and infinities are left out.
    pub samples: Vec<ScrapedSample>,
    /// Whether it is the last of those that the targets of one entity returned at the same time: they come one after the other,
    /// and who judges the entity as a whole takes them together up to this one.
    pub completes_entity: bool,
}

/// One value of a scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapedSample {
    /// What it belongs to.
    pub series: Arc<Series>,
    /// The value: finite.
    pub value: f64,
    /// Of a counter or bucket: by how much it grew since [`Scrape::before`], resets handled. `None` for all else, and where
    /// nothing can be said: below 0, and steps of more than 2^64.
    pub increase: Option<f64>,
}

impl Scrape {
    /// Seconds that the increases cover.
    #[must_use]
    pub fn span_secs(&self) -> Option<f64> {
        let secs = self.at.since(self.before?).as_secs_f64();
        (secs > 0.0).then_some(secs)
    }
}

impl ScrapedSample {
    /// Whether the value itself says something: true for all but counters and buckets, of which only increases do.
    #[must_use]
    pub fn is_level(&self) -> bool {
        !matches!(self.series.kind, MetricKind::Counter | MetricKind::Bucket)
    }
}
