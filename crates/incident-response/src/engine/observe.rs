//! Looking at the sources: polls them, lets the detectors see what came, feeds the observation store, and hands rounds over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ir_core::journal::Observed;
use ir_core::signal::PollRecord;
use ir_core::{Ctx, Cursor, Detector, Error, PartName, Polled, Result, SignalBatch, SignalSource, SnapshotStore};
use ir_detect::observations::ObservationStore;
use tokio::sync::mpsc;

use super::guard::{guarded, noted};

/// What is kept of problems, so that a hostile source cannot fill the journal.
const MAX_PROBLEMS: usize = 8;
const MAX_PROBLEM_CHARS: usize = 200;

/// A round of looking, or detectors' states that were stored.
#[derive(Debug)]
pub(crate) enum Sight {
    Round(Observed),
    Snapshots(Vec<(PartName, ir_core::Digest)>),
}

/// Everything that looks.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) sources: Vec<Arc<dyn SignalSource>>,
    pub(crate) detectors: Vec<Arc<dyn Detector>>,
    pub(crate) snapshots: Option<Arc<dyn SnapshotStore>>,
    pub(crate) store: Arc<ObservationStore>,
    pub(crate) cursors: BTreeMap<PartName, Cursor>,
    pub(crate) poll_every: Duration,
    pub(crate) answer_within: Duration,
    pub(crate) snapshot_every: Duration,
}

impl Observer {
    /// Goes on from stored states whose digests the journal knows.
    pub(crate) async fn restore(&self, ctx: &Ctx, known: &BTreeMap<PartName, ir_core::Digest>) -> Vec<Error> {
        let mut failures = Vec::new();
        let Some(store) = &self.snapshots else { return failures };
        for detector in &self.detectors {
            let restored = async {
                let name = PartName::new(detector.name())?;
                let Some(snapshot) = store.get(ctx, &name).await? else { return Ok(()) };
                // A state the journal does not know is no state of this engine.
                if known.get(&name) == Some(&snapshot.digest()) {
                    guarded(ctx, detector.name(), detector.restore(ctx, &snapshot)).await
                } else {
                    Ok(())
                }
            };
            if let Err(error) = restored.await {
                failures.push(error);
            }
        }
        failures
    }

    /// Looks until asked to stop.
    pub(crate) async fn run(mut self, ctx: Ctx, out: mpsc::Sender<Sight>) {
        let mut due = ctx.now().mono_ns;
        let mut snapshot_due = due.saturating_add(nanos(self.snapshot_every));
        while !ctx.is_stopped() {
            let round = self.look(&ctx).await;
            let began = round.anomalies.iter().any(|a| a.phase == ir_core::Phase::Began);
            if out.send(Sight::Round(round)).await.is_err() {
                return;
            }
            // What has just been found must not be forgotten by a crash, so it is stored at once.
            if began || ctx.now().mono_ns >= snapshot_due {
                snapshot_due = ctx.now().mono_ns.saturating_add(nanos(self.snapshot_every));
                if let Some(taken) = self.take_snapshots(&ctx).await
                    && out.send(Sight::Snapshots(taken)).await.is_err()
                {
                    return;
                }
            }
            // A slow round is followed by the next at once, but missed rounds are not made up for.
            due = due.saturating_add(nanos(self.poll_every)).max(ctx.now().mono_ns);
            let wait = Duration::from_nanos(due.saturating_sub(ctx.now().mono_ns));
            if ctx.sleep("observer", wait).await.is_err() {
                return;
            }
        }
    }

    /// Polls all sources at once and shows what came to every detector.
    async fn look(&mut self, ctx: &Ctx) -> Observed {
        let polls = self.sources.iter().map(|source| self.poll(ctx, source));
        let polled = futures::future::join_all(polls).await;
        let mut observed = Observed::default();
        let mut batch = SignalBatch::default();
        for (source, polled) in self.sources.iter().zip(polled) {
            match polled.and_then(|polled| Ok((PartName::new(source.name())?, polled))) {
                Ok((name, polled)) => {
                    observed.polls.push(record(&name, &polled));
                    self.cursors.insert(name, polled.next);
                    merge(&mut batch, polled.batch);
                }
                Err(error) => observed.failures.push(noted(&error)),
            }
        }
        self.store.observe(&batch);
        let within = ctx.with_timeout(self.answer_within);
        for detector in &self.detectors {
            match guarded(&within, detector.name(), detector.detect(&within, &batch)).await {
                Ok(anomalies) => observed.anomalies.extend(anomalies),
                Err(error) => observed.failures.push(noted(&error)),
            }
        }
        observed.changes = batch.changes;
        observed
    }

    async fn poll(&self, ctx: &Ctx, source: &Arc<dyn SignalSource>) -> Result<Polled> {
        let ctx = ctx.with_timeout(self.answer_within);
        let cursor =
            PartName::new(source.name()).ok().and_then(|name| self.cursors.get(&name)).cloned().unwrap_or_default();
        guarded(&ctx, source.name(), source.poll(&ctx, &cursor)).await
    }

    async fn take_snapshots(&self, ctx: &Ctx) -> Option<Vec<(PartName, ir_core::Digest)>> {
        let store = self.snapshots.as_ref()?;
        let mut taken = Vec::new();
        for detector in &self.detectors {
            let ctx = &ctx.with_timeout(self.answer_within);
            let kept = async {
                let snapshot = guarded(ctx, detector.name(), detector.snapshot(ctx)).await?;
                guarded(ctx, store.name(), store.put(ctx, &snapshot)).await?;
                Ok::<_, Error>((snapshot.name.clone(), snapshot.digest()))
            };
            match kept.await {
                Ok(digest) => taken.push(digest),
                Err(error) => tracing::warn!(detector = detector.name(), %error, "snapshot failed"),
            }
        }
        Some(taken)
    }
}

fn record(source: &PartName, polled: &Polled) -> PollRecord {
    let shorten = |text: &String| text.chars().take(MAX_PROBLEM_CHARS).collect();
    PollRecord {
        source: source.clone(),
        cursor: polled.next.clone(),
        count: polled.batch.len() as u64,
        late: polled.late,
        dropped: polled.dropped,
        problems: polled.problems.iter().take(MAX_PROBLEMS).map(shorten).collect(),
    }
}

fn merge(into: &mut SignalBatch, from: SignalBatch) {
    into.metrics.extend(from.metrics);
    into.logs.extend(from.logs);
    into.spans.extend(from.spans);
    into.events.extend(from.events);
    into.changes.extend(from.changes);
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
