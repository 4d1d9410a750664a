//! Which metric means what, and how much is kept: configuration that all detectors share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Check;

/// The names of the metrics and labels that a service tells about itself. The defaults are those of the Prometheus client
/// libraries where there is a custom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricNames {
    /// Counter of answered requests, with the label `code`. Default `http_requests_total`.
    pub requests: String,
    /// Histogram of the time to answer in seconds, without `_bucket`, `_sum`, `_count`. Default
    /// `http_request_duration_seconds`.
    pub request_seconds: String,
    /// Counter of calls to others, with the labels `peer` and `code`. Default `downstream_requests_total`.
    pub calls: String,
    /// Histogram of the time that calls took in seconds, with the label `peer`. Default
    /// `downstream_request_duration_seconds`.
    pub call_seconds: String,
    /// Gauge of the memory a process holds in bytes. Default `process_resident_memory_bytes`.
    pub memory: String,
    /// Gauge of the time a process started, in seconds since the epoch. Default `process_start_time_seconds`.
    pub start_time: String,
    /// Label with the HTTP status, or a word such as `timeout` where there was no answer. Default `code`.
    pub code: String,
    /// Label with the entity that was called. Default `peer`.
    pub peer: String,
}

impl Default for MetricNames {
    fn default() -> Self {
        Self {
            requests: "http_requests_total".to_owned(),
            request_seconds: "http_request_duration_seconds".to_owned(),
            calls: "downstream_requests_total".to_owned(),
            call_seconds: "downstream_request_duration_seconds".to_owned(),
            memory: "process_resident_memory_bytes".to_owned(),
            start_time: "process_start_time_seconds".to_owned(),
            code: "code".to_owned(),
            peer: "peer".to_owned(),
        }
    }
}

impl MetricNames {
    pub(crate) fn check(&self) -> Check {
        let mut check = Check::default();
        for (field, name) in [
            ("requests", &self.requests),
            ("request_seconds", &self.request_seconds),
            ("calls", &self.calls),
            ("call_seconds", &self.call_seconds),
            ("memory", &self.memory),
            ("start_time", &self.start_time),
            ("code", &self.code),
            ("peer", &self.peer),
        ] {
            check.named(field, name);
        }
        check
    }
}

/// How much a detector may keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Entities at most; the scrapes of those beyond are counted and left out. Default 20,000: some hundred megabytes when all of
    /// them serve requests.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_entities: usize,
    /// Series of one entity at most, where a detector learns of each; those beyond are not watched. Default 2,000: a label with no bound must not fill memory.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_series: usize,
    /// What was silent for so long is forgotten. Seconds, default 3,600: gone for an hour is gone on purpose.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub forget_secs: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_entities: 20_000, max_series: 2_000, forget_secs: 3_600 }
    }
}

impl Bounds {
    pub(crate) fn check(&self) -> Check {
        let mut check = Check::default();
        check.count("max_entities", self.max_entities, 1, 1_000_000);
        check.count("max_series", self.max_series, 1, 1_000_000);
        check.count("forget_secs", usize::try_from(self.forget_secs).unwrap_or(usize::MAX), 1, 31_536_000);
        check
    }
}
