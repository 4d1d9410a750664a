//! Looking: asks the sources in rounds, lets the detectors see what came, feeds the observation store, and hands rounds over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ir_core::journal::Observed;
use ir_core::signal::PollRecord;
use ir_core::{
    Ctx, Detector, Digest, Error, Feedback, PartName, Phase, Polled, Result, SignalBatch, Snapshot, SnapshotStore,
};
use ir_detect::ScrapeAssembler;
use ir_detect::observations::ObservationStore;
use tokio::sync::mpsc;

use super::guard::{guarded, noted};
use super::polls::Polls;

/// What is kept of problems, so that a hostile source cannot fill the journal.
const MAX_PROBLEMS: usize = 8;
const MAX_PROBLEM_CHARS: usize = 200;

/// Everything that looks.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) polls: Polls,
    /// Stands before the store and all detectors, so that each sample is assembled once.
    pub(crate) scrapes: ScrapeAssembler,
    pub(crate) detectors: Vec<Arc<dyn Detector>>,
    pub(crate) snapshots: Option<Arc<dyn SnapshotStore>>,
    pub(crate) store: Arc<ObservationStore>,
    pub(crate) poll_every: Duration,
    pub(crate) answer_within: Duration,
    pub(crate) snapshot_every: Duration,
    pub(crate) judgements: Judgements,
    /// How many of the journal's judgements the detectors know of.
    pub(crate) heard: u64,
}

/// What people said of reports and no detector was told yet. Clones share it: the loop adds, the observer takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Judgements(Arc<Mutex<Vec<Vec<Feedback>>>>);

impl Judgements {
    pub(crate) fn new(waiting: Vec<Vec<Feedback>>) -> Self {
        Self(Arc::new(Mutex::new(waiting)))
    }

    pub(crate) fn add(&self, judgement: Vec<Feedback>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(judgement);
    }

    fn take(&self) -> Vec<Vec<Feedback>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer {
    /// Goes on from the stored states that the journal names last. Gives the detectors that could not.
    pub(crate) async fn restore(&mut self, ctx: &Ctx, known: &BTreeMap<PartName, Digest>) -> Vec<PartName> {
        self.restore_scrapes(ctx, known).await;
        let mut forgetful = Vec::new();
        for detector in &self.detectors {
            let Ok(name) = PartName::new(detector.name()) else { continue };
            let restored = async {
                let (Some(store), Some(digest)) = (&self.snapshots, known.get(&name)) else { return Ok(false) };
                let Some(snapshot) = store.get(ctx, &name, digest).await? else { return Ok(false) };
                guarded(ctx, detector.name(), detector.restore(ctx, &snapshot)).await?;
                Ok::<_, Error>(true)
            };
            match restored.await {
                Ok(true) => {}
                Ok(false) => forgetful.push(name),
                Err(error) => {
                    tracing::warn!(detector = detector.name(), %error, "its state could not be restored; it learns anew");
                    forgetful.push(name);
                }
            }
        }
        forgetful
    }

    /// A detector that goes on while the assembler starts anew misses one increase of each counter, which is no state to report.
    async fn restore_scrapes(&mut self, ctx: &Ctx, known: &BTreeMap<PartName, Digest>) {
        let name = PartName::literal(ScrapeAssembler::NAME);
        let (Some(store), Some(digest)) = (&self.snapshots, known.get(&name)) else { return };
        let restored = match guarded(ctx, store.name(), store.get(ctx, &name, digest)).await {
            Ok(Some(snapshot)) => self.scrapes.restore(&snapshot),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        if let Err(error) = restored {
            tracing::warn!(%error, "the state of the scrape assembler could not be restored; it starts anew");
        }
    }

    /// Looks until asked to stop.
    pub(crate) async fn run(mut self, ctx: Ctx, out: mpsc::Sender<Observed>) {
        let mut due = ctx.now().mono_ns;
        let mut snapshot_due = due.saturating_add(nanos(self.snapshot_every));
        while !ctx.is_stopped() {
            let told = self.tell_judgements(&ctx).await;
            let mut round = self.look(&ctx).await;
            // INVARIANT (anomalies are not forgotten): the state that knows an episode is stored before the round that tells of
            // it is recorded, and the record names it. So a restart never waits for the end of what no detector knows.
            let turned = round.anomalies.iter().any(|a| a.phase != Phase::Grew);
            if turned || told || ctx.now().mono_ns >= snapshot_due {
                snapshot_due = ctx.now().mono_ns.saturating_add(nanos(self.snapshot_every));
                round.snapshots = self.take_snapshots(&ctx).await;
                round.heard = if round.snapshots.is_empty() { 0 } else { self.heard };
            }
            if out.send(round).await.is_err() {
                return;
            }
            // A slow round is followed by the next at once, but missed rounds are not made up for.
            due = due.saturating_add(nanos(self.poll_every)).max(ctx.now().mono_ns);
            let wait = Duration::from_nanos(due.saturating_sub(ctx.now().mono_ns));
            if ctx.sleep("observer", wait).await.is_err() {
                return;
            }
        }
    }

    /// Tells every detector what people said since the last round; whether they said anything.
    async fn tell_judgements(&mut self, ctx: &Ctx) -> bool {
        let judgements = self.judgements.take();
        let within = ctx.with_timeout(self.answer_within);
        for feedback in judgements.iter().flatten() {
            for detector in &self.detectors {
                let told = guarded(&within, detector.name(), detector.feedback(&within, feedback)).await;
                if let Err(error) = told {
                    tracing::warn!(detector = detector.name(), %error, "it could not be told what people said");
                }
            }
        }
        self.heard += judgements.len() as u64;
        !judgements.is_empty()
    }

    /// Asks the sources and shows what came to every detector.
    async fn look(&mut self, ctx: &Ctx) -> Observed {
        let mut observed = Observed::default();
        let mut batch = SignalBatch::default();
        for (name, polled) in self.polls.round(ctx, self.poll_every).await {
            observed.polls.push(record(&name, &polled));
            merge(&mut batch, polled.batch);
        }
        observed.failures = self.polls.failures(ctx);
        self.scrapes.assemble(&mut batch);
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

    async fn take_snapshots(&self, ctx: &Ctx) -> Vec<(PartName, Digest)> {
        let Some(store) = &self.snapshots else { return Vec::new() };
        let mut taken = Vec::new();
        for detector in &self.detectors {
            let ctx = &ctx.with_timeout(self.answer_within);
            let kept = async {
                let snapshot = guarded(ctx, detector.name(), detector.snapshot(ctx)).await?;
                put(ctx, &**store, &snapshot).await
            };
            match kept.await {
                Ok(digest) => taken.push(digest),
                Err(error) => tracing::warn!(detector = detector.name(), %error, "its state could not be stored"),
            }
        }
        // Without the state of any detector that of the assembler continues nothing.
        if taken.is_empty() {
            return taken;
        }
        let ctx = &ctx.with_timeout(self.answer_within);
        let kept = async { put(ctx, &**store, &self.scrapes.snapshot()?).await };
        match kept.await {
            Ok(digest) => taken.push(digest),
            Err(error) => tracing::warn!(%error, "the state of the scrape assembler could not be stored"),
        }
        taken
    }
}

async fn put(ctx: &Ctx, store: &dyn SnapshotStore, snapshot: &Snapshot) -> Result<(PartName, Digest)> {
    guarded(ctx, store.name(), store.put(ctx, snapshot)).await?;
    Ok((snapshot.name.clone(), snapshot.digest()))
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
