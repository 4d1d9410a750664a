//! Looking: asks the sources in rounds, lets the detectors see what came, feeds the observation store, and hands rounds over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ir_core::journal::Observed;
use ir_core::signal::PollRecord;
use ir_core::{
    Ctx, Detector, Digest, Error, ErrorKind, Feedback, PartName, Polled, Result, SignalBatch, Snapshot, SnapshotStore,
};
use ir_detect::ScrapeAssembler;
use ir_detect::observations::ObservationStore;
use tokio::sync::mpsc;

use super::detectors::{Detectors, Rest, nanos};
use super::guard::guarded;
use super::heartbeat::Beat;
use super::polls::Polls;
use super::status::DetectorStatus;

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
    pub(crate) store_rest: Rest,
}

/// One poll cycle.
#[derive(Debug)]
pub(crate) struct Cycle {
    pub(crate) observed: Observed,
    pub(crate) detectors: Vec<DetectorStatus>,
    /// What the assembler of scrapes and the store of observations had no room for, since the start.
    pub(crate) beyond_bounds: u64,
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
            // One that hangs here does not keep the engine from starting.
            let ctx = &ctx.with_timeout(self.answer_within);
            let restored = async {
                let (Some(store), Some(digest)) = (&self.snapshots, known.get(&name)) else { return Ok(false) };
                let Some(snapshot) = guarded(ctx, store.name(), store.get(ctx, &name, digest)).await? else {
                    return Ok(false);
                };
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
        let ctx = &ctx.with_timeout(self.answer_within);
        let restored = match guarded(ctx, store.name(), store.get(ctx, &name, digest)).await {
            Ok(Some(snapshot)) => self.scrapes.restore(&snapshot),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        if let Err(error) = restored {
            tracing::warn!(%error, "the state of the scrape assembler could not be restored; it starts anew");
        }
    }

    /// Runs poll cycles until asked to stop.
    pub(crate) async fn run(mut self, ctx: Ctx, out: mpsc::Sender<Cycle>, beat: Beat) {
        let mut detectors = Detectors::start(&ctx, &self.detectors, self.answer_within);
        let mut due = ctx.now().mono_ns;
        let mut snapshot_due = due.saturating_add(nanos(self.snapshot_every));
        while !ctx.is_stopped() {
            beat.beat(&ctx);
            let informed = self.inform(&mut detectors, &ctx);
            let mut observed = self.look(&ctx, &mut detectors).await;
            // INVARIANT (anomalies are not forgotten): the state that knows an episode is stored before the round that tells of
            // it is recorded, and the record names it. So a restart never waits for the end of what no detector knows.
            if detectors.has_turned() || informed || ctx.now().mono_ns >= snapshot_due {
                snapshot_due = ctx.now().mono_ns.saturating_add(nanos(self.snapshot_every));
                observed.snapshots = self.take_snapshots(&ctx, &mut detectors).await;
                observed.heard = if observed.snapshots.is_empty() { 0 } else { self.heard };
            }
            let beyond_bounds = self.scrapes.counts().refused_samples + self.store.refused();
            // What a detector found before it gave its state is part of the same record.
            detectors.drain(&mut observed, ctx.now().mono_ns);
            if out.send(Cycle { observed, detectors: detectors.status(), beyond_bounds }).await.is_err() {
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

    /// Gives every detector what people said since the last cycle; whether they said anything.
    fn inform(&mut self, detectors: &mut Detectors, ctx: &Ctx) -> bool {
        let judgements = self.judgements.take();
        self.heard += judgements.len() as u64;
        let feedback: Vec<Feedback> = judgements.into_iter().flatten().collect();
        if feedback.is_empty() {
            return false;
        }
        detectors.inform(feedback, ctx.now().mono_ns);
        true
    }

    /// Asks the sources and shows what came to every detector.
    async fn look(&mut self, ctx: &Ctx, detectors: &mut Detectors) -> Observed {
        let mut observed = Observed::default();
        let mut batch = SignalBatch::default();
        for (name, polled) in self.polls.round(ctx, self.poll_every).await {
            observed.polls.push(record(&name, &polled));
            merge(&mut batch, polled.batch);
        }
        observed.failures = self.polls.failures(ctx);
        self.scrapes.assemble(&mut batch);
        self.store.observe(&batch);
        observed.changes.clone_from(&batch.changes);
        detectors.detect(ctx, Arc::new(batch), self.poll_every).await;
        observed
    }

    /// Stores the states of the detectors. A store that does not answer in time rests for a growing while, because the poll cycle
    /// waits for it.
    async fn take_snapshots(&mut self, ctx: &Ctx, detectors: &mut Detectors) -> Vec<(PartName, Digest)> {
        let Some(store) = self.snapshots.clone() else { return Vec::new() };
        if !self.store_rest.is_over(ctx.now().mono_ns) {
            return Vec::new();
        }
        let mut snapshots = detectors.snapshots(ctx).await;
        // Without the state of any detector that of the assembler continues nothing.
        if snapshots.is_empty() {
            return Vec::new();
        }
        match self.scrapes.snapshot() {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(error) => tracing::warn!(%error, "the state of the scrape assembler could not be stored"),
        }
        let ctx = &ctx.with_timeout(self.answer_within);
        let mut stored = Vec::new();
        let mut timed_out = false;
        for put in futures::future::join_all(snapshots.iter().map(|snapshot| put(ctx, &*store, snapshot))).await {
            match put {
                Ok(digest) => stored.push(digest),
                Err(error) => {
                    timed_out |= error.kind() == ErrorKind::Timeout;
                    tracing::warn!(%error, "a state could not be stored");
                }
            }
        }
        if timed_out {
            self.store_rest.begin(ctx.now().mono_ns);
        } else {
            self.store_rest = Rest::default();
        }
        // That of the assembler comes last, and means nothing where it is the only one.
        let scrapes = PartName::literal(ScrapeAssembler::NAME);
        if stored.iter().all(|(name, _)| *name == scrapes) { Vec::new() } else { stored }
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
    into.gone.extend(from.gone);
}
