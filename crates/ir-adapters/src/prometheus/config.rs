//! What is read from a Prometheus server, and within which bounds.

use std::collections::BTreeSet;

use ir_core::config::Problem;
use ir_core::{MetricKind, PartName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most bounds of native histograms.
const MAX_BOUNDS: usize = 200;

/// Which samples a query gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Samples {
    /// Every sample as it was scraped, once. The query must be a plain selector: `http_requests_total{env="prod"}`.
    #[default]
    Raw,
    /// The value of an expression at every step. Steps are aligned to the epoch, so that they are the same after a restart.
    Steps,
}

/// One query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrometheusQuery {
    /// Its name: where it was read up to is kept under it.
    pub name: String,
    /// A selector, or an expression in PromQL.
    pub query: String,
    /// Which samples it gives. `raw`.
    #[serde(default)]
    pub samples: Samples,
    /// The metric's name where the result has none, as that of most expressions. The query's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// How the values behave. By default the targets say it, or else the metric's name: `up`, `.._total`, `.._count` and `.._sum` are counters,
    /// `.._bucket` with a label `le` is a bucket, everything else is a gauge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<MetricKind>,
    /// The unit. By default what the targets say, or else the metric's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
}

/// What is read, and within which bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrometheusConfig {
    /// The source's name in records. `prometheus`.
    pub name: String,
    /// Where the server is: `http://prometheus:9090`, with a path before `/api` if there is one.
    pub url: String,
    /// The queries.
    pub query: Vec<PrometheusQuery>,
    /// The labels that name the entity, the first that a series has counts. `service`, `job`.
    pub entity_labels: Vec<String>,
    /// Labels that are left out, because they change without meaning: `pod`, `instance` ...
    pub drop_labels: Vec<String>,
    /// The distance between steps, in milliseconds. 15,000.
    #[schemars(range(min = 1))]
    pub step_ms: u64,
    /// How far behind now is read, in milliseconds: longer than a scrape takes. 2,000.
    pub lag_ms: u64,
    /// How far back the first poll begins, in milliseconds, so that baselines are warm at once. 0.
    pub backfill_ms: u64,
    /// The length of one slice of raw samples, in milliseconds. 300,000.
    #[schemars(range(min = 1))]
    pub slice_ms: u64,
    /// The most slices of one query in one poll. 12.
    #[schemars(range(min = 1))]
    pub max_slices: usize,
    /// The most series of one query; what is beyond is dropped and counted. 20,000.
    #[schemars(range(min = 1))]
    pub max_series: usize,
    /// How often the server is asked what the targets say of their metrics, in seconds; 0 for never. 600.
    pub metadata_secs: u64,
    /// The upper bounds to which the values of native histograms are counted, ascending, in their own unit. Powers of two
    /// from 1/1024 to 1024.
    pub histogram_bounds: Vec<f64>,
    /// How long one slice may take, in milliseconds. The server's own limit does not bound a heavy query. 10,000.
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
    /// The most bytes of one slice. 64 MiB.
    #[schemars(range(min = 1))]
    pub max_bytes: usize,
}

impl Default for PrometheusConfig {
    fn default() -> Self {
        Self {
            name: "prometheus".to_owned(),
            url: String::new(),
            query: Vec::new(),
            entity_labels: ["service", "job"].map(str::to_owned).to_vec(),
            drop_labels: Vec::new(),
            step_ms: 15_000,
            lag_ms: 2_000,
            backfill_ms: 0,
            slice_ms: 300_000,
            max_slices: 12,
            max_series: 20_000,
            metadata_secs: 600,
            histogram_bounds: (-10..=10).map(|power| 2.0_f64.powi(power)).collect(),
            timeout_ms: 10_000,
            max_bytes: 64 << 20,
        }
    }
}

impl PrometheusConfig {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if self.query.is_empty() {
            problems.push(Problem::at("query", "at least one query is needed"));
        }
        let mut names = BTreeSet::new();
        for (n, query) in self.query.iter().enumerate() {
            if !names.insert(&query.name) {
                problems.push(Problem::at(format!("query[{n}].name"), format!("`{}` is named twice", query.name)));
            }
            if query.query.trim().is_empty() {
                problems.push(Problem::at(format!("query[{n}].query"), "is empty"));
            }
        }
        if self.entity_labels.is_empty() {
            problems.push(Problem::at("entity_labels", "name at least one label"));
        }
        let ascends = self.histogram_bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascends || self.histogram_bounds.iter().any(|bound| !bound.is_finite()) {
            problems.push(Problem::at("histogram_bounds", "they are finite and ascend"));
        }
        if self.histogram_bounds.len() > MAX_BOUNDS {
            problems.push(Problem::at("histogram_bounds", format!("there are more than {MAX_BOUNDS}")));
        }
        let bounds = [
            ("step_ms", self.step_ms == 0),
            ("slice_ms", self.slice_ms == 0),
            ("max_slices", self.max_slices == 0),
            ("max_series", self.max_series == 0),
            ("timeout_ms", self.timeout_ms == 0),
            ("max_bytes", self.max_bytes == 0),
        ];
        let zero = bounds.into_iter().filter(|(_, is_zero)| *is_zero);
        problems.extend(zero.map(|(field, _)| Problem::at(field, "must be more than 0")));
        problems
    }
}
