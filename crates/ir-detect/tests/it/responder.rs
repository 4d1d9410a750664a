//! The shortest engine that brings detectors, correlator and diagnoser together, as the real one will.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ir_core::{
    Anomaly, AnomalyId, Case, Change, CorrelationInput, Correlator, Ctx, Detector, Diagnoser, Hypothesis, HypothesisId,
    Incident, IncidentId, IncidentState, ManualClock, Phase, Placement, Severity, SignalBatch, Timestamp, Topology,
};
use ir_detect::{Detectors, GraphDiagnoser, ObservationStore, StandardCorrelator};

pub(crate) struct Responder {
    pub(crate) ctx: Ctx,
    detectors: Vec<Arc<dyn Detector>>,
    store: ObservationStore,
    topology: Topology,
    pending: BTreeMap<AnomalyId, Anomaly>,
    pub(crate) incidents: Vec<Incident>,
    changes: Vec<Change>,
    now: Timestamp,
}

impl Responder {
    pub(crate) fn new(topology: Topology) -> Self {
        Self {
            ctx: Ctx::new(Arc::new(ManualClock::new())),
            detectors: Detectors::standard(),
            store: ObservationStore::default(),
            topology,
            pending: BTreeMap::new(),
            incidents: Vec::new(),
            changes: Vec::new(),
            now: Timestamp::default(),
        }
    }

    /// Takes a batch; gives the anomalies it reported.
    pub(crate) async fn take(&mut self, batch: &SignalBatch) -> Vec<Anomaly> {
        self.changes.extend(batch.changes.iter().cloned());
        self.now = batch.metrics.iter().map(|sample| sample.at).max().unwrap_or(self.now);
        self.store.observe(batch);
        let mut reports = Vec::new();
        for detector in &self.detectors {
            reports.extend(detector.detect(&self.ctx, batch).await.unwrap());
        }
        for report in &reports {
            let known = self.incidents.iter_mut().flat_map(|i| &mut i.anomalies).find(|a| a.id == report.id);
            match known {
                Some(known) => *known = report.clone(),
                None => drop(self.pending.insert(report.id.clone(), report.clone())),
            }
        }
        self.correlate().await;
        reports
    }

    async fn correlate(&mut self) {
        let input = CorrelationInput {
            anomalies: self.pending.values().cloned().collect(),
            open: self.incidents.iter().cloned().map(Into::into).collect(),
            changes: self.changes.clone(),
            topology: self.topology.clone(),
        };
        let groupings = StandardCorrelator::default().correlate(&self.ctx, &input).await.unwrap();
        assert_eq!(groupings.len(), input.anomalies.len());
        let mut opened: BTreeMap<String, usize> = BTreeMap::new();
        for (grouping, anomaly) in groupings.into_iter().zip(input.anomalies) {
            assert_eq!(grouping.anomaly, anomaly.id);
            let index = match grouping.into {
                Placement::Join { incident } => self.incidents.iter().position(|i| i.id == incident).unwrap(),
                Placement::Open { key } => *opened.entry(key).or_insert_with(|| {
                    self.incidents.push(self.open(&anomaly));
                    self.incidents.len() - 1
                }),
                Placement::Ignore => {
                    if anomaly.phase == Phase::Ended {
                        self.pending.remove(&anomaly.id);
                    }
                    continue;
                }
            };
            self.pending.remove(&anomaly.id);
            self.incidents[index].anomalies.push(anomaly);
        }
    }

    fn open(&self, first: &Anomaly) -> Incident {
        Incident {
            id: IncidentId::numbered(self.incidents.len() as u64 + 1),
            state: IncidentState::Open,
            severity: Severity::Medium,
            onset: first.onset,
            opened: self.now,
            anomalies: Vec::new(),
            changes: self.changes.clone(),
            classification: None,
        }
    }

    pub(crate) fn case(&self, incident: &Incident) -> Case {
        Case {
            id: HypothesisId::of(&incident.id, 1),
            incident: Incident { changes: self.changes.clone(), ..incident.clone() },
            topology: self.topology.clone(),
            observations: self.store.cut(self.now, Duration::from_secs(60)),
        }
    }

    pub(crate) async fn diagnose(&self, incident: &Incident) -> Hypothesis {
        GraphDiagnoser::default().diagnose(&self.ctx, &self.case(incident)).await.unwrap()
    }
}
