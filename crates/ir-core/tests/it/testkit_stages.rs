//! The laws of the stages between signal and lesson hold for sound toys, and each one notices the toy that breaks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ir_core::incident::CorrelationInput;
use ir_core::plan::{PlanDraft, PlanInput};
use ir_core::testkit::{AutoClock, Lawful, detector, diagnoser, incident, planner, samples, verifier};
use ir_core::{
    Anomaly, Case, Cause, Check, ClassName, Classification, Classifier, Correlator, Ctx, Detector, Diagnoser, EntityId,
    Error, ErrorKind, Feedback, Grouping, Holds, Hypothesis, Incident, IncidentId, Labels, Measured, MetricKind,
    MetricSample, PartName, Phase, Placement, Planner, Probability, Result, Score, Series, SignalBatch, Snapshot,
    Timestamp, Verified, Verifier,
};

fn ctx() -> Ctx {
    Ctx::new(Arc::new(AutoClock::new()))
}

fn noticed(result: Lawful, law: u32) {
    let violation = result.expect_err("the law did not notice");
    assert_eq!(violation.law.number, law, "{violation}");
}

/// Keeps the laws when `flaw` is 0, and breaks the law of that number otherwise. Counts its calls, for answers that change.
#[derive(Debug, Default)]
struct Toy {
    flaw: u32,
    calls: AtomicU64,
    seen: AtomicU64,
    /// How many were seen when the entity was gone last.
    over: AtomicU64,
}

fn toy(flaw: u32) -> Toy {
    Toy { flaw, ..Toy::default() }
}

impl Toy {
    fn call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::SeqCst)
    }
}

fn part() -> PartName {
    PartName::new("toy").unwrap()
}

/// Tells of every tenth finite value above 5.
#[async_trait]
impl Detector for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    async fn detect(&self, _ctx: &Ctx, batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let mut found = Vec::new();
        for sample in &batch.metrics {
            if self.flaw == 2 && !sample.value.is_finite() {
                return Err(Error::new(ErrorKind::InvalidInput, "toy", "cannot calculate with that"));
            }
            if !(sample.value.is_finite() && sample.value > 5.0) {
                continue;
            }
            let n = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
            if n.is_multiple_of(10) {
                let because = if self.flaw == 5 { String::new() } else { "it is large".to_owned() };
                found.push(Anomaly {
                    detector: part(),
                    entity: sample.series.entity.clone(),
                    seen: Measured(sample.value),
                    score: Score::ONE,
                    because,
                    ..samples::anomaly("ledger", n)
                });
            }
        }
        if self.flaw == 1 && batch.metrics.len() < 3 {
            found.clear();
        }
        for gone in batch.gone.iter().filter(|_| self.flaw != 6) {
            let seen = self.seen.load(Ordering::SeqCst);
            let over = self.over.swap(seen, Ordering::SeqCst);
            found.extend((over + 1..=seen).filter(|n| n.is_multiple_of(10)).map(|n| Anomaly {
                detector: part(),
                entity: gone.entity.clone(),
                phase: Phase::Ended,
                because: format!("gone: {}", gone.reason),
                ..samples::anomaly("ledger", n)
            }));
        }
        Ok(found)
    }

    async fn snapshot(&self, _ctx: &Ctx) -> Result<Snapshot> {
        let seen = if self.flaw == 3 { 0 } else { self.seen.load(Ordering::SeqCst) };
        Ok(Snapshot { name: part(), version: 1, bytes: seen.to_le_bytes().to_vec() })
    }

    async fn restore(&self, _ctx: &Ctx, from: &Snapshot) -> Result<()> {
        if self.flaw != 4 && (from.name != part() || from.version != 1) {
            return Err(Error::new(ErrorKind::InvalidInput, "toy", "not mine"));
        }
        let bytes =
            from.bytes.as_slice().try_into().map_err(|_| Error::new(ErrorKind::InvalidInput, "toy", "short"))?;
        self.seen.store(u64::from_le_bytes(bytes), Ordering::SeqCst);
        Ok(())
    }

    async fn feedback(&self, _ctx: &Ctx, _feedback: &Feedback) -> Result<()> {
        Ok(())
    }
}

fn signals() -> Vec<SignalBatch> {
    let entity = EntityId::new("ledger").unwrap();
    let series = Arc::new(Series {
        entity,
        metric: "queue".into(),
        kind: MetricKind::Gauge,
        unit: String::new(),
        labels: Labels::new(),
    });
    let sample = |n: i64| MetricSample { series: series.clone(), at: Timestamp::from_millis(n), value: 6.0 };
    (0..6)
        .map(|batch| SignalBatch {
            metrics: (batch * 13..(batch + 1) * 13).map(sample).collect(),
            ..Default::default()
        })
        .collect()
}

#[tokio::test]
async fn each_law_of_detectors_notices_the_detector_that_breaks_it() {
    let (ctx, signals) = (ctx(), signals());
    detector::check_all(&ctx, &|| Arc::new(toy(0)), &signals).await.unwrap();
    detector::check_all(&ctx, &|| Arc::new(Box::new(toy(0))), &signals).await.unwrap();
    detector::check_all(&ctx, &|| Arc::new(Arc::new(toy(0))), &signals).await.unwrap();
    for flaw in 1..=6 {
        noticed(detector::check_all(&ctx, &|| Arc::new(toy(flaw)), &signals).await, flaw);
    }
}

#[async_trait]
impl Correlator for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    async fn correlate(&self, _ctx: &Ctx, input: &CorrelationInput) -> Result<Vec<Grouping>> {
        let calls = self.call();
        let place = |anomaly: &Anomaly| {
            let mut incident = input.open.iter().map(|open| open.id.clone()).min().unwrap();
            if self.flaw == 2 {
                incident = IncidentId::numbered(99);
            }
            if self.flaw == 4 {
                incident = input.open[0].id.clone();
            }
            let because = if self.flaw == 3 { format!("{calls}") } else { "near".to_owned() };
            Grouping { anomaly: anomaly.id.clone(), into: Placement::Join { incident }, because }
        };
        Ok(input.anomalies.iter().skip(usize::from(self.flaw == 1)).map(place).collect())
    }
}

#[tokio::test]
async fn each_law_of_correlators_notices_the_correlator_that_breaks_it() {
    let (ctx, input) = (ctx(), samples::correlation_input());
    incident::check_correlator(&ctx, &toy(0), &input).await.unwrap();
    for flaw in 1..=4 {
        noticed(incident::check_correlator(&ctx, &toy(flaw), &input).await, flaw);
    }
}

#[async_trait]
impl Classifier for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    fn classes(&self) -> Vec<ClassName> {
        if self.flaw == 4 { Vec::new() } else { vec![samples::classification().class] }
    }

    async fn classify(&self, _ctx: &Ctx, incident: &Incident, _hypothesis: &Hypothesis) -> Result<Classification> {
        if incident.anomalies.is_empty() && self.flaw != 2 {
            return Err(Error::new(ErrorKind::InvalidInput, "toy", "nothing to classify"));
        }
        let mut answer = samples::classification();
        match self.flaw {
            1 => answer.because.push(self.call().to_string()),
            3 => answer.because.clear(),
            _ => {}
        }
        Ok(answer)
    }
}

#[tokio::test]
async fn each_law_of_classifiers_notices_the_classifier_that_breaks_it() {
    let (ctx, incident, hypothesis) = (ctx(), samples::incident(), samples::hypothesis());
    incident::check_classifier(&ctx, &toy(0), &incident, &hypothesis).await.unwrap();
    for flaw in 1..=4 {
        noticed(incident::check_classifier(&ctx, &toy(flaw), &incident, &hypothesis).await, flaw);
    }
}

#[async_trait]
impl Diagnoser for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    async fn diagnose(&self, _ctx: &Ctx, case: &Case) -> Result<Hypothesis> {
        let calls = self.call();
        let mut suspects: Vec<&Anomaly> = case.incident.anomalies.iter().collect();
        if self.flaw != 4 {
            suspects.sort_by(|a, b| (a.onset, &a.entity).cmp(&(b.onset, &b.entity)));
        }
        let half = |n: usize| Probability::from_millionths(500_000 >> n).unwrap();
        let mut causes: Vec<Cause> = suspects
            .iter()
            .enumerate()
            .map(|(n, anomaly)| Cause {
                entity: anomaly.entity.clone(),
                probability: half(n),
                path: vec![anomaly.entity.clone()],
                change: None,
                evidence: Vec::new(),
            })
            .collect();
        match self.flaw {
            1 if calls % 2 == 1 => causes.truncate(1),
            2 => causes.iter_mut().for_each(|cause| cause.probability = Probability::ONE),
            3 => causes.iter_mut().for_each(|cause| cause.path.clear()),
            5 => {
                let last = case.topology.entities().last().unwrap().id.clone();
                let is_new = last.as_str().starts_with("law") || case.topology.entities().len() > 4;
                if is_new {
                    causes.reverse();
                }
            }
            _ => {}
        }
        if self.flaw == 5 {
            causes.iter_mut().for_each(|cause| cause.probability = half(3));
        }
        let abstains = (causes.is_empty() && self.flaw != 6).then(|| "there is nothing to explain".to_owned());
        Ok(Hypothesis { id: case.id.clone(), by: part(), causes, abstains })
    }
}

#[tokio::test]
async fn each_law_of_diagnosers_notices_the_diagnoser_that_breaks_it() {
    let (ctx, case) = (ctx(), samples::case());
    diagnoser::check_all(&ctx, &toy(0), &case).await.unwrap();
    for flaw in 1..=6 {
        noticed(diagnoser::check_all(&ctx, &toy(flaw), &case).await, flaw);
    }
}

#[async_trait]
impl Planner for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    async fn plan(&self, _ctx: &Ctx, input: &PlanInput) -> Result<Vec<PlanDraft>> {
        let mut draft = samples::plan_draft();
        let tried = input.tried.contains(&draft.steps[0].call) && self.flaw != 3;
        if tried || (input.hypothesis.leading().is_none() && self.flaw != 4) {
            return Ok(Vec::new());
        }
        match self.flaw {
            1 => draft.because = self.call().to_string(),
            2 => draft.steps[0].call.target = EntityId::new("nobody").unwrap(),
            _ => {}
        }
        Ok(vec![draft])
    }
}

#[tokio::test]
async fn each_law_of_planners_notices_the_planner_that_breaks_it() {
    let (ctx, input) = (ctx(), samples::plan_input());
    planner::check_all(&ctx, &toy(0), &input).await.unwrap();
    for flaw in 1..=4 {
        noticed(planner::check_all(&ctx, &toy(flaw), &input).await, flaw);
    }
}

#[async_trait]
impl Verifier for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    async fn verify(&self, _ctx: &Ctx, check: &Check) -> Result<Verified> {
        let history = check.observations.series.iter().find(|h| h.series.entity == check.call.target);
        let latest = history.and_then(|h| Some((h.times.last()?, h.values.last()?)));
        let holds = match latest {
            None if self.flaw == 2 => Holds::Yes,
            None => Holds::Unknown,
            Some((at, _)) if *at < check.applied && self.flaw != 3 => Holds::Unknown,
            Some((_, value)) if *value <= check.verification.limits[0].value.0 => Holds::Yes,
            Some(_) => Holds::No,
        };
        let because = if self.flaw == 1 { self.call().to_string() } else { "by the latest value".to_owned() };
        Ok(Verified { by: part(), holds, readings: Vec::new(), because })
    }
}

#[tokio::test]
async fn each_law_of_verifiers_notices_the_verifier_that_breaks_it() {
    let (ctx, check) = (ctx(), samples::check());
    verifier::check_all(&ctx, &toy(0), &check).await.unwrap();
    for flaw in 1..=3 {
        noticed(verifier::check_all(&ctx, &toy(flaw), &check).await, flaw);
    }
}
