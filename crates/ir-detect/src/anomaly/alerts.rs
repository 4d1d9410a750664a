//! Alerts of other systems: somebody wrote a rule, and it fires. That is an anomaly without a question of statistics.
//!
//! An alert is an episode from its first report until it is resolved, or not heard of for long. Repeated reports, which every
//! alerting system sends, say nothing new.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ir_core::anomaly::Direction;
use ir_core::{
    AlertState, Anomaly, AnomalyId, ConfigError, Ctx, Detector, Digest, EventKind, EventRecord, Feedback, Gone, Labels,
    Measured, PartName, Phase, Problem, Result, Score, SignalBatch, Snapshot, Symptom, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::episode::because_gone;
use crate::check::Check;
use crate::stored::StoredForm;

const NAME: &str = "alerts";
/// Of the form of the snapshot.
const VERSION: u32 = 2;
/// A rule has fired, which is certain; that it means trouble is the opinion of who wrote it.
const SCORE: f64 = 0.9;
/// Of what another system writes, so much stands in a record.
const MAX_SUMMARY_CHARS: usize = 200;
const FORM: StoredForm = StoredForm { name: NAME, version: VERSION, max_bytes: 64 << 20 };

/// How an [`AlertDetector`] reads alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertConfig {
    /// What kind of symptom an alert is, by its name. What is not listed is `other`.
    pub symptoms: BTreeMap<String, Symptom>,
    /// Labels to tell siblings by. Default: none, the alert's own key does that already.
    pub labels: Vec<String>,
    /// The field with a sentence for people. Default `summary`.
    pub summary: String,
    /// An alert that was not reported for so long counts as over, in seconds of the events' own time. Default 86,400:
    /// Alertmanager repeats itself every four hours if nobody says otherwise.
    #[schemars(range(min = 1))]
    pub forget_after_secs: u64,
    /// The most alerts followed at once. Default 10,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_alerts: usize,
}

impl Default for AlertConfig {
    fn default() -> Self {
        Self {
            symptoms: BTreeMap::new(),
            labels: Vec::new(),
            summary: "summary".to_owned(),
            forget_after_secs: 86_400,
            max_alerts: 10_000,
        }
    }
}

impl AlertConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.named("summary", &self.summary);
        check.within("forget_after_secs", self.forget_after_secs as f64, 1.0, 1e9);
        check.count("max_alerts", self.max_alerts, 1, 1_000_000);
        check.done()
    }
}

/// Reports the alerts of other systems as anomalies.
///
/// The subject is the alert's name. Feedback changes nothing: the rule belongs to somebody else. About 500 bytes an alert.
#[derive(Debug, Default)]
pub struct AlertDetector {
    config: AlertConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    firing: BTreeMap<String, Firing>,
    /// The latest time of any event.
    latest: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct Firing {
    #[serde(with = "crate::stored::as_json")]
    report: Anomaly,
    /// As the other system says it; the onset is never after we heard of it.
    since: Timestamp,
    heard: Timestamp,
    /// Whether its episode has ended before it, because the entity is gone. It must not begin again when it is repeated.
    is_over: bool,
}

impl AlertDetector {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its field.
    pub fn new(config: AlertConfig) -> Result<Self, ConfigError> {
        let problems = config.check();
        ConfigError::check(problems, Self { config, state: Mutex::default() })
    }

    fn take(&self, state: &mut State, event: &EventRecord, alert: &AlertState, out: &mut Vec<Anomaly>) -> Result<()> {
        state.latest = state.latest.max(event.at);
        self.forget(state, out);
        let begun = state.firing.get_mut(&alert.key);
        match begun {
            Some(known) if alert.firing && known.since == alert.since => {
                known.heard = known.heard.max(event.at);
                return Ok(());
            }
            // A report that was overtaken by a newer one.
            Some(known) if alert.since < known.since => return Ok(()),
            Some(_) => {
                let known = state.firing.remove(&alert.key);
                out.extend(known.and_then(|known| known.ended(event.at, "is resolved")));
            }
            None => {}
        }
        if !alert.firing {
            return Ok(());
        }
        if state.firing.len() >= self.config.max_alerts {
            tracing::warn!(detector = NAME, "too many alerts at once, one is not followed");
            return Ok(());
        }
        let report = self.began(event, alert)?;
        out.push(report.clone());
        state.firing.insert(alert.key.clone(), Firing { report, since: alert.since, heard: event.at, is_over: false });
        Ok(())
    }

    fn began(&self, event: &EventRecord, alert: &AlertState) -> Result<Anomaly> {
        let short = Digest::of_parts([event.entity.as_str().as_bytes(), alert.key.as_bytes()]).short();
        let summary = event.fields.get(&self.config.summary).map(|text| text.chars().take(MAX_SUMMARY_CHARS));
        let says = summary.map(|text| format!(": {}", text.collect::<String>())).unwrap_or_default();
        let siblings = event.fields.iter().filter(|(key, _)| self.config.labels.iter().any(|wanted| wanted == key));
        Ok(Anomaly {
            id: AnomalyId::new(format!("{NAME}/{short}/{}", alert.since.as_nanos()))?,
            detector: PartName::new(NAME)?,
            version: VERSION,
            entity: event.entity.clone(),
            peer: None,
            subject: event.name.clone(),
            labels: siblings.collect::<Labels>(),
            symptom: self.config.symptoms.get(&event.name).copied().unwrap_or(Symptom::Other),
            direction: Direction::Up,
            phase: Phase::Began,
            onset: alert.since.min(event.at),
            at: event.at,
            score: Score::saturating(SCORE),
            expected: Measured(0.0),
            seen: Measured(1.0),
            threshold: Measured(1.0),
            because: format!("alert `{}` of `{}` fires since {}{says}", event.name, event.entity, alert.since),
        })
    }

    fn forget(&self, state: &mut State, out: &mut Vec<Anomaly>) {
        let oldest = state.latest.minus(Duration::from_secs(self.config.forget_after_secs));
        let silent: Vec<String> =
            state.firing.iter().filter(|(_, known)| known.heard < oldest).map(|(key, _)| key.clone()).collect();
        for key in silent {
            let known = state.firing.remove(&key);
            let why = "was not reported for long, so it counts as over";
            out.extend(known.and_then(|known| known.ended(state.latest, why)));
        }
    }
}

impl Firing {
    /// The end of its episode, unless that has ended before.
    fn ended(self, at: Timestamp, why: &str) -> Option<Anomaly> {
        let Self { report, is_over, .. } = self;
        let because =
            format!("alert `{}` of `{}` {why}; it fired since {}", report.subject, report.entity, report.onset);
        (!is_over).then_some(Anomaly { phase: Phase::Ended, at, because, ..report })
    }

    /// The same when the entity is gone. The other system may go on to say that the alert fires.
    fn end_gone(&mut self, gone: &Gone) -> Option<Anomaly> {
        if self.report.entity != gone.entity || std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let (at, because) = (gone.at.max(self.report.onset), because_gone(gone, self.report.onset));
        Some(Anomaly { phase: Phase::Ended, at, because, ..self.report.clone() })
    }
}

#[async_trait]
impl Detector for AlertDetector {
    fn name(&self) -> &str {
        NAME
    }

    async fn detect(&self, _ctx: &Ctx, batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::new();
        for event in &batch.events {
            if let EventKind::Alert(alert) = &event.kind {
                self.take(&mut state, event, alert, &mut out)?;
            }
        }
        for gone in &batch.gone {
            out.extend(state.firing.values_mut().filter_map(|firing| firing.end_gone(gone)));
        }
        Ok(out)
    }

    async fn snapshot(&self, _ctx: &Ctx) -> Result<Snapshot> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        FORM.write(&*state)
    }

    async fn restore(&self, _ctx: &Ctx, from: &Snapshot) -> Result<()> {
        let restored = FORM.read(from)?;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = restored;
        Ok(())
    }

    async fn feedback(&self, _ctx: &Ctx, _feedback: &Feedback) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
