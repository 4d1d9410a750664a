//! Calls the detectors, each from a task of its own: one that hangs, panics or is slow is isolated, and the others see every batch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ir_core::journal::{Observed, Unseen};
use ir_core::{
    Anomaly, Ctx, Detector, Error, ErrorKind, Failure, Feedback, PartName, Phase, Result, SignalBatch, Snapshot,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::guard::{guarded, noted};
use super::perform::failure;
use super::status::DetectorStatus;

/// Calls that may wait for a detector that is busy. A detector that is slower than the poll cycle for a moment catches up from
/// here; what does not fit is counted as unseen.
const MAX_WAITING: usize = 8;
/// Panics in a row that begin a quarantine. A missed deadline begins one at once: it has cost the whole deadline.
const MAX_PANICS: u32 = 3;
/// The first quarantine lasts 10 s, each further one twice as long, up to 10 minutes.
const REST_FIRST_NS: u64 = 10_000_000_000;
const REST_MOST_NS: u64 = 600_000_000_000;

/// A growing time in which something that failed is not called.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rest {
    until_mono_ns: u64,
    times: u32,
}

impl Rest {
    pub(crate) fn begin(&mut self, now_mono_ns: u64) {
        let length = REST_FIRST_NS.saturating_mul(1_u64.checked_shl(self.times).unwrap_or(u64::MAX)).min(REST_MOST_NS);
        self.until_mono_ns = now_mono_ns.saturating_add(length);
        // 2^6 times 10 s is above the longest rest already.
        self.times = (self.times + 1).min(6);
    }

    pub(crate) const fn is_over(&self, now_mono_ns: u64) -> bool {
        now_mono_ns >= self.until_mono_ns
    }
}

/// All detectors, in the order in which they were given.
#[derive(Debug)]
pub(crate) struct Detectors {
    lanes: Vec<Lane>,
    answers: mpsc::Receiver<(usize, Answer)>,
    /// Ends the tasks when it is dropped.
    _tasks: JoinSet<()>,
    answer_within: Duration,
    /// What the present poll cycle brought, by detector.
    found: BTreeMap<usize, Vec<Anomaly>>,
    /// Numbers the requests for snapshots, so that an answer that comes too late is told from one that is waited for.
    asked: u64,
    snapshots: BTreeMap<usize, Snapshot>,
}

/// One call of a detector.
#[derive(Debug)]
enum Work {
    Detect(Arc<SignalBatch>),
    Feedback(Arc<Vec<Feedback>>),
    Snapshot(u64),
}

#[derive(Debug)]
enum Answer {
    /// What it found, and how much it has left out because of its bounds.
    Detected(Result<(Vec<Anomaly>, u64)>),
    /// A batch that waited when the quarantine began.
    Skipped,
    Informed,
    Snapshot(u64, Result<Snapshot>),
}

/// What is known of one detector.
#[derive(Debug)]
struct Lane {
    name: PartName,
    work: mpsc::Sender<Work>,
    /// Whether its task skips the batches that wait.
    skip: Arc<AtomicBool>,
    /// Calls without an answer.
    outstanding: usize,
    /// Since when the detector owes the next answer.
    busy_since: u64,
    panics: u32,
    quarantine: Option<Quarantine>,
    /// Why the last call in this poll cycle failed.
    failure: Option<Failure>,
    /// Batches lost since the last record, and since the start.
    unseen: u64,
    unseen_in_all: u64,
    beyond_bounds: u64,
    began: bool,
    /// Feedback that could not be delivered yet.
    owed: VecDeque<Arc<Vec<Feedback>>>,
    snapshot_rest: Rest,
}

#[derive(Debug)]
struct Quarantine {
    rest: Rest,
    because: Failure,
    /// It is called again, and has not succeeded yet.
    on_trial: bool,
}

impl Detectors {
    /// Starts one task for each detector. A call may take `answer_within`.
    pub(crate) fn start(ctx: &Ctx, parts: &[Arc<dyn Detector>], answer_within: Duration) -> Self {
        let (answers_in, answers) = mpsc::channel((parts.len() * (MAX_WAITING + 1)).max(1));
        let mut tasks = JoinSet::new();
        let mut lanes = Vec::new();
        for part in parts {
            let Ok(name) = PartName::new(part.name()) else { continue };
            let (work, work_out) = mpsc::channel(MAX_WAITING);
            let skip = Arc::new(AtomicBool::new(false));
            let task = Task { ctx: ctx.clone(), n: lanes.len(), name: name.clone(), skip: skip.clone(), answer_within };
            tasks.spawn(task.serve(part.clone(), work_out, answers_in.clone()));
            lanes.push(Lane::new(name, work, skip));
        }
        let (found, snapshots) = (BTreeMap::new(), BTreeMap::new());
        Self { lanes, answers, _tasks: tasks, answer_within, found, asked: 0, snapshots }
    }

    /// Shows a batch to every detector, and waits at most `patience` for those that were idle. What a busy one finds belongs to a
    /// later poll cycle.
    pub(crate) async fn detect(&mut self, ctx: &Ctx, batch: Arc<SignalBatch>, patience: Duration) {
        let now = ctx.now().mono_ns;
        let mut awaited = BTreeSet::new();
        for (n, lane) in self.lanes.iter_mut().enumerate() {
            let idle = lane.outstanding == 0;
            if lane.offer(&batch, now) && idle {
                awaited.insert(n);
            }
        }
        self.collect(ctx, &awaited, patience).await;
        let (now, blocked_after) = (ctx.now().mono_ns, nanos(self.answer_within).saturating_mul(2));
        for lane in &mut self.lanes {
            lane.note_blocked(now, blocked_after);
        }
    }

    /// Delivers what people said, before the next batch.
    pub(crate) fn inform(&mut self, feedback: Vec<Feedback>, now_mono_ns: u64) {
        let feedback = Arc::new(feedback);
        for lane in &mut self.lanes {
            lane.owed.push_back(feedback.clone());
            if lane.quarantine.is_none() {
                lane.inform(now_mono_ns);
            }
        }
    }

    /// The states of the detectors that are idle and answer in time, in order. Each reports what it found before its state.
    pub(crate) async fn snapshots(&mut self, ctx: &Ctx) -> Vec<Snapshot> {
        let now = ctx.now().mono_ns;
        self.asked += 1;
        self.snapshots.clear();
        let mut awaited = BTreeSet::new();
        for (n, lane) in self.lanes.iter_mut().enumerate() {
            let may = lane.outstanding == 0 && lane.quarantine.is_none() && lane.snapshot_rest.is_over(now);
            if may && lane.give(Work::Snapshot(self.asked), now) {
                awaited.insert(n);
            }
        }
        self.collect(ctx, &awaited, self.answer_within / 4).await;
        let now = ctx.now().mono_ns;
        for n in awaited.iter().filter(|n| !self.snapshots.contains_key(n)) {
            if let Some(lane) = self.lanes.get_mut(*n) {
                lane.snapshot_rest.begin(now);
            }
        }
        std::mem::take(&mut self.snapshots).into_values().collect()
    }

    /// Whether an episode began or ended in this poll cycle.
    pub(crate) fn has_turned(&self) -> bool {
        self.found.values().flatten().any(|anomaly| anomaly.phase != Phase::Grew)
    }

    /// Ends the poll cycle: what was found, in the order of the detectors, and what was not seen.
    pub(crate) fn drain(&mut self, observed: &mut Observed, now_mono_ns: u64) {
        observed.anomalies.extend(std::mem::take(&mut self.found).into_values().flatten());
        let late_after = nanos(self.answer_within) / 4;
        for lane in &mut self.lanes {
            observed.failures.extend(lane.failing(now_mono_ns, late_after));
            if std::mem::take(&mut lane.began) {
                observed.quarantined.push(lane.name.clone());
            }
            let batches = std::mem::take(&mut lane.unseen);
            if batches > 0 {
                observed.unseen.push(Unseen { detector: lane.name.clone(), batches });
            }
        }
    }

    pub(crate) fn status(&self) -> Vec<DetectorStatus> {
        let of = |lane: &Lane| DetectorStatus {
            name: lane.name.clone(),
            quarantined: lane.quarantine.is_some(),
            unseen: lane.unseen_in_all,
            beyond_bounds: lane.beyond_bounds,
        };
        self.lanes.iter().map(of).collect()
    }

    /// Takes answers until every detector in `awaited` is idle, or `patience` has passed.
    async fn collect(&mut self, ctx: &Ctx, awaited: &BTreeSet<usize>, patience: Duration) {
        let enough = ctx.sleep("observer", patience);
        futures::pin_mut!(enough);
        let busy = |lanes: &[Lane]| awaited.iter().any(|n| lanes.get(*n).is_some_and(|lane| lane.outstanding > 0));
        while busy(&self.lanes) {
            tokio::select! {
                biased;
                Some((n, answer)) = self.answers.recv() => self.receive(n, answer, ctx.now().mono_ns),
                _ = &mut enough => break,
            }
        }
        while let Ok((n, answer)) = self.answers.try_recv() {
            self.receive(n, answer, ctx.now().mono_ns);
        }
    }

    fn receive(&mut self, n: usize, answer: Answer, now: u64) {
        let Some(lane) = self.lanes.get_mut(n) else { return };
        lane.outstanding = lane.outstanding.saturating_sub(1);
        lane.busy_since = now;
        match answer {
            Answer::Detected(Ok((anomalies, beyond_bounds))) => {
                lane.beyond_bounds = beyond_bounds;
                lane.succeeded();
                self.found.entry(n).or_default().extend(anomalies);
            }
            Answer::Detected(Err(error)) => lane.failed(&error, now),
            Answer::Skipped => lane.lose(),
            Answer::Snapshot(asked, Ok(snapshot)) if asked == self.asked => {
                lane.snapshot_rest = Rest::default();
                self.snapshots.insert(n, snapshot);
            }
            Answer::Snapshot(_, Err(error)) => {
                tracing::warn!(detector = lane.name.as_str(), %error, "the state of a detector could not be read");
            }
            // A state that came too late: what was found since is recorded without it.
            Answer::Snapshot(_, Ok(_)) | Answer::Informed => {}
        }
    }
}

impl Lane {
    fn new(name: PartName, work: mpsc::Sender<Work>, skip: Arc<AtomicBool>) -> Self {
        Self {
            name,
            work,
            skip,
            outstanding: 0,
            busy_since: 0,
            panics: 0,
            quarantine: None,
            failure: None,
            unseen: 0,
            unseen_in_all: 0,
            beyond_bounds: 0,
            began: false,
            owed: VecDeque::new(),
            snapshot_rest: Rest::default(),
        }
    }

    /// Gives the detector a batch, unless it is in quarantine or has too many waiting; else the batch counts as unseen.
    fn offer(&mut self, batch: &Arc<SignalBatch>, now: u64) -> bool {
        if let Some(quarantine) = &mut self.quarantine {
            // INVARIANT (one call at a time): a trial begins after every call before it has ended.
            if !quarantine.rest.is_over(now) || self.outstanding > 0 {
                self.lose();
                return false;
            }
            quarantine.on_trial = true;
            self.skip.store(false, Ordering::SeqCst);
        }
        self.inform(now);
        let given = self.give(Work::Detect(batch.clone()), now);
        if !given {
            self.lose();
        }
        given
    }

    fn inform(&mut self, now: u64) {
        while let Some(feedback) = self.owed.front().cloned() {
            if !self.give(Work::Feedback(feedback), now) {
                return;
            }
            self.owed.pop_front();
        }
    }

    fn give(&mut self, work: Work, now: u64) -> bool {
        if self.work.try_send(work).is_err() {
            return false;
        }
        if self.outstanding == 0 {
            self.busy_since = now;
        }
        self.outstanding += 1;
        true
    }

    fn lose(&mut self) {
        self.unseen += 1;
        self.unseen_in_all += 1;
    }

    fn succeeded(&mut self) {
        // An answer that was on its way when the quarantine began ends none.
        if self.quarantine.as_ref().is_none_or(|quarantine| quarantine.on_trial) {
            (self.panics, self.quarantine) = (0, None);
        }
    }

    fn failed(&mut self, error: &Error, now: u64) {
        self.lose();
        self.failure = Some(noted(error));
        match error.kind() {
            ErrorKind::Timeout => self.isolate(noted(error), now),
            // A panic: see `guarded`.
            ErrorKind::Unknown => {
                self.panics += 1;
                if self.panics >= MAX_PANICS {
                    self.isolate(noted(error), now);
                }
            }
            // An error is an answer: the detector works and could not use this batch.
            _ => self.panics = 0,
        }
    }

    fn isolate(&mut self, because: Failure, now: u64) {
        self.skip.store(true, Ordering::SeqCst);
        match &mut self.quarantine {
            Some(quarantine) if quarantine.on_trial => {
                quarantine.on_trial = false;
                quarantine.rest.begin(now);
            }
            Some(_) => {}
            None => {
                let because = Failure { message: format!("in quarantine: {}", because.message), ..because };
                tracing::warn!(detector = self.name.as_str(), %because, "a detector is in quarantine");
                let mut rest = Rest::default();
                rest.begin(now);
                self.quarantine = Some(Quarantine { rest, because, on_trial: false });
                self.began = true;
            }
        }
    }

    /// A detector that does not even give its thread back has no deadline that could end its call. It is in quarantine until the
    /// call ends.
    fn note_blocked(&mut self, now: u64, blocked_after: u64) {
        if self.outstanding > 0 && now.saturating_sub(self.busy_since) >= blocked_after {
            let because = failure(self.name.as_str(), ErrorKind::Timeout, "it blocks its thread and cannot be stopped");
            self.isolate(because, now);
        }
    }

    /// Why it does not report now. The same words as long as it lasts, because only a change is recorded at once.
    fn failing(&mut self, now: u64, late_after: u64) -> Option<Failure> {
        let failed = self.failure.take();
        if let Some(quarantine) = &self.quarantine {
            return Some(quarantine.because.clone());
        }
        let late = self.outstanding > 0 && now.saturating_sub(self.busy_since) >= late_after;
        let message = "it was shown signals and does not answer";
        failed.or_else(|| late.then(|| failure(self.name.as_str(), ErrorKind::Timeout, message)))
    }
}

/// What the task of one detector owns.
struct Task {
    ctx: Ctx,
    n: usize,
    name: PartName,
    skip: Arc<AtomicBool>,
    answer_within: Duration,
}

impl Task {
    /// Makes one call after the other, each with its own deadline, until nobody waits for answers.
    async fn serve(
        self,
        part: Arc<dyn Detector>,
        mut work: mpsc::Receiver<Work>,
        answers: mpsc::Sender<(usize, Answer)>,
    ) {
        let name = self.name.as_str();
        while let Some(next) = work.recv().await {
            let ctx = &self.ctx.with_timeout(self.answer_within);
            let answer = match next {
                Work::Detect(_) if self.skip.load(Ordering::SeqCst) => Answer::Skipped,
                Work::Detect(batch) => {
                    // The call itself stands inside, so that a panic before the first await is caught as well.
                    let found = guarded(ctx, name, async { part.detect(ctx, &batch).await }).await;
                    // Only of one that has answered, since a detector that hangs may hold its own locks.
                    Answer::Detected(found.map(|found| (found, part.beyond_bounds())))
                }
                Work::Feedback(feedback) => {
                    for one in feedback.iter() {
                        if let Err(error) = guarded(ctx, name, async { part.feedback(ctx, one).await }).await {
                            tracing::warn!(detector = name, %error, "a detector could not use feedback");
                        }
                    }
                    Answer::Informed
                }
                Work::Snapshot(asked) => {
                    Answer::Snapshot(asked, guarded(ctx, name, async { part.snapshot(ctx).await }).await)
                }
            };
            if answers.send((self.n, answer)).await.is_err() {
                return;
            }
        }
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
