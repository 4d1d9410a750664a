//! The tokio shell: one loop that hands records to the gate, performs commands, and feeds what comes back to the machine.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;

use ir_core::journal::{Body, CommandId, Event, Fact, GateFact, Observed, Record, Report};
use ir_core::kernel::{AuthorizeRequest, Authorized};
use ir_core::{
    AttemptResult, AuditSink, Ctx, Direction, ErrorKind, Execution, Executor, Failure, Gate, Journal, PartName,
    Problem, Result, Stop,
};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::command::{Command, Ordered};
use super::guard::as_recorded;
use super::handle::{Envelope, Request};
use super::machine::{Machine, bodies};
use super::observe::{Judgements, Observer};
use super::perform::{Attempted, Parts, Performed, execute, failure};
use super::status::{Status, StepStatus};

/// Rounds in which nothing was found are recorded together, at most this far apart.
const QUIET_ROUNDS_NS: u64 = 5_000_000_000;
/// How long in-flight effects are waited for beyond their deadline when the engine ends.
const GRACE_NS: u64 = 1_000_000_000;

/// Everything the loop owns.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) gate: Gate,
    pub(crate) machine: Machine,
    pub(crate) parts: Arc<Parts>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) sinks: Vec<Arc<dyn AuditSink>>,
    pub(crate) observer: Option<Observer>,
    pub(crate) judgements: Judgements,
    pub(crate) ctx: Ctx,
    pub(crate) stop: Stop,
    pub(crate) requests: mpsc::Receiver<Envelope>,
    pub(crate) status: watch::Sender<Arc<Status>>,
    pub(crate) records: broadcast::Sender<Record>,
    pub(crate) renew_every_ns: u64,
    pub(crate) work: Work,
    /// What is doubtful in the configuration.
    pub(crate) warnings: Vec<Problem>,
}

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Work {
    jobs: JoinSet<Performed>,
    /// The command each job answers.
    commands: HashMap<tokio::task::Id, CommandId>,
    effects: JoinSet<Event>,
    /// Events that came about in the loop itself.
    queue: VecDeque<Event>,
    quiet: Option<(Observed, u64)>,
    last_deadline_ns: u64,
    dropped: u64,
    rounds: u64,
    failing: Vec<Failure>,
    n_records: u64,
}

impl Shell {
    /// Runs until `stop` is ready or the journal fails.
    pub(crate) async fn run(mut self, started: Event, stop: impl Future<Output = ()> + Send) -> Result<()> {
        let (sights_in, mut sights) = mpsc::channel(4);
        let mut background = JoinSet::new();
        if let Some(observer) = self.observer.take() {
            background.spawn(observer.run(self.ctx.clone(), sights_in));
        }
        for sink in self.sinks.drain(..) {
            background.spawn(feed(self.ctx.clone(), self.journal.clone(), sink, self.records.subscribe()));
        }
        let ran = self.turn(started, &mut sights, stop).await;
        self.finish(ran.is_ok()).await;
        self.stop.stop();
        background.shutdown().await;
        ran
    }

    async fn turn(
        &mut self,
        started: Event,
        sights: &mut mpsc::Receiver<Observed>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<()> {
        self.take(started).await?;
        let halt = self.gate.halt_handle();
        let clock = self.ctx.clock().clone();
        let mut renew_at = self.ctx.now().mono_ns.saturating_add(self.renew_every_ns);
        futures::pin_mut!(stop);
        loop {
            while let Some(event) = self.work.queue.pop_front() {
                self.take(event).await?;
            }
            self.publish();
            let timer = self.machine.next_timer().map(|(name, due)| (name.to_owned(), due));
            let wake = timer.as_ref().map_or(renew_at, |(_, due)| (*due).min(renew_at));
            tokio::select! {
                biased;
                () = halt.asked() => self.record_halts().await?,
                () = &mut stop => return self.take(Event::Stopping).await,
                Some(event) = self.work.effects.join_next() => self.effect_ended(event).await?,
                Some(request) = self.requests.recv() => self.request(request).await?,
                Some(done) = self.work.jobs.join_next_with_id() => self.job_ended(done).await?,
                Some(round) = sights.recv() => self.see(round).await?,
                () = clock.sleep_until(wake) => {
                    let now = self.ctx.now().mono_ns;
                    if now >= renew_at {
                        renew_at = now.saturating_add(self.renew_every_ns);
                        self.gate.renew(&self.ctx).await?;
                    }
                    if let Some((timer, _)) = timer.filter(|(_, due)| *due <= now) {
                        self.take(Event::TimerFired { timer }).await?;
                    }
                }
            }
        }
    }

    /// One event: the machine says what follows, both become durable together, and only then anything is done.
    async fn take(&mut self, event: Event) -> Result<()> {
        self.take_order(event).await.map(|_| ())
    }

    /// The same for what a person asked for; gives why it did not count, if it did not.
    async fn take_order(&mut self, event: Event) -> Result<Option<String>> {
        let at = self.ctx.now();
        let output = self.machine.apply(&at, &event)?;
        let rejected = output.facts.iter().find_map(|fact| match fact {
            Fact::AnswerRejected { because, .. } | Fact::OrderRejected { because, .. } => Some(because.clone()),
            _ => None,
        });
        let (records, _) = self.gate.append(&self.ctx, &at, bodies(event, &output.facts)).await?;
        self.tell(records);
        self.perform(output.commands).await?;
        Ok(rejected)
    }

    /// What the gate did is a record already; what follows from it becomes durable, and then something is done.
    async fn absorb(&mut self, record: Record) -> Result<()> {
        let Body::Gate(fact) = &record.body else { return Ok(()) };
        let at = record.at.clone();
        let output = self.machine.absorb(&at, fact);
        self.tell(vec![record]);
        if !output.facts.is_empty() {
            let facts = output.facts.into_iter().map(Body::Fact).collect();
            let (records, _) = self.gate.append(&self.ctx, &at, facts).await?;
            self.tell(records);
        }
        self.perform(output.commands).await
    }

    /// Facts that the process before came to and did not live to write.
    pub(crate) async fn write_owed(&mut self, owed: VecDeque<(ir_core::Moment, Fact)>) -> Result<()> {
        for (at, fact) in owed {
            let (records, _) = self.gate.append(&self.ctx, &at, vec![Body::Fact(fact)]).await?;
            self.tell(records);
        }
        Ok(())
    }

    fn tell(&mut self, records: Vec<Record>) {
        for record in records {
            self.work.n_records = record.seq;
            // Nobody listening is no failure.
            let _ = self.records.send(record);
        }
    }

    async fn perform(&mut self, commands: Vec<Ordered>) -> Result<()> {
        for order in commands {
            let fence = match &order.command {
                Command::Probe { step, fence: true, .. } => {
                    let (fence, record) = self.gate.fence(&self.ctx, step).await?;
                    // A fence moves no step, so nothing follows from absorbing it.
                    if let Body::Gate(fact) = &record.body {
                        self.machine.absorb(&record.at, fact);
                    }
                    self.tell(vec![record]);
                    Some(fence)
                }
                _ => None,
            };
            match self.parts.job(&self.machine, &order.command, fence) {
                Some(job) => {
                    let (parts, ctx, id) = (self.parts.clone(), self.ctx.clone(), order.id);
                    let task = self.work.jobs.spawn(async move { parts.perform(&ctx, &order, job).await });
                    self.work.commands.insert(task.id(), id);
                }
                None => {
                    let gone = failure("engine", ErrorKind::NotFound, "what it is about is no longer there");
                    self.work.queue.push_back(Event::Reported { command: order.id, report: Report::Failed(gone) });
                }
            }
        }
        Ok(())
    }

    async fn job_ended(&mut self, done: Result<(tokio::task::Id, Performed), tokio::task::JoinError>) -> Result<()> {
        let id = done.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
        let command = self.work.commands.remove(&id);
        match (done, command) {
            (Ok((_, Performed::Event(event))), _) => self.take(*event).await,
            // A send that is not wanted any more is not authorized, however late the target was read for it.
            (Ok((_, Performed::Prepared { request, executor })), Some(command))
                if self.machine.is_outstanding(command) =>
            {
                self.authorize(request, executor).await
            }
            (Ok((_, Performed::Prepared { .. })), _) => Ok(()),
            (Err(error), Some(command)) => {
                tracing::error!(%error, "a part panicked");
                let failure = failure("engine", ErrorKind::Unknown, "the part panicked");
                self.take(Event::Reported { command, report: Report::Failed(failure) }).await
            }
            (Err(_), None) => Ok(()),
        }
    }

    async fn authorize(&mut self, request: AuthorizeRequest, executor: Arc<dyn Executor>) -> Result<()> {
        match self.gate.authorize(&self.ctx, &request).await? {
            Authorized::Refused { halts, record } => {
                for halt in halts {
                    self.absorb(halt).await?;
                }
                self.absorb(record).await
            }
            Authorized::Withheld { record, failure } => {
                if let Some(event) = withheld(&record, executor.name(), failure) {
                    self.work.queue.push_back(event);
                }
                self.absorb(record).await
            }
            Authorized::Granted { permit, watch, record } => {
                let Body::Gate(GateFact::Intent(intent)) = &record.body else { return Ok(()) };
                let deadline = intent.deadline_mono_ns;
                self.work.last_deadline_ns = self.work.last_deadline_ns.max(deadline);
                let ctx = self.ctx.with_deadline(deadline);
                let inverse = intent.inverse.as_ref().filter(|_| intent.direction == Direction::Do);
                let undoes = inverse.and_then(|inverse| self.parts.executor(inverse).ok());
                let attempt = Attempted {
                    intent: intent.clone(),
                    gate: self.gate.name().clone(),
                    watch,
                    undoes,
                    reading: self.ctx.clone(),
                    answer_within: self.parts.answer_within,
                };
                self.work.effects.spawn(execute(ctx, executor, *permit, attempt));
                self.absorb(record).await
            }
        }
    }

    async fn effect_ended(&mut self, event: Result<Event, tokio::task::JoinError>) -> Result<()> {
        match event {
            Ok(event) => self.take(event).await,
            Err(error) => {
                // Its deadline timer settles the attempt by its class.
                tracing::error!(%error, "the task of an effect ended without an answer");
                Ok(())
            }
        }
    }

    async fn record_halts(&mut self) -> Result<()> {
        for record in self.gate.record_halts(&self.ctx).await? {
            self.absorb(record).await?;
        }
        Ok(())
    }

    /// What a person asked for. They hear whether it counted and, if not, why; only a failure of the journal ends the loop.
    async fn request(&mut self, (request, done): Envelope) -> Result<()> {
        let answered = self.order(request).await;
        self.publish();
        let (told, ends) = match answered {
            Ok(None) => (Ok(()), Ok(())),
            Ok(Some(error)) => (Err(error), Ok(())),
            Err(error) => (Err(ir_core::Error::new(error.kind(), error.component(), error.message())), Err(error)),
        };
        let _ = done.send(told);
        ends
    }

    /// Carries an order out: `Some` says why it did not count, an error that the engine cannot go on.
    async fn order(&mut self, request: Request) -> Result<Option<ir_core::Error>> {
        let event = match request {
            Request::Answer(answer) => match as_recorded("answer", &*answer) {
                Ok(answer) => Event::Answered(answer),
                Err(error) => return Ok(Some(error)),
            },
            Request::Override { incident, by, reason, undo } => Event::Overridden { incident, by, reason, undo },
            Request::Settle { step, by, applied, reason } => Event::SettledByPerson { step, by, applied, reason },
            Request::Close { incident, by, reason } => Event::ClosedByPerson { incident, by, reason },
            Request::RunPlaybook { incident, playbook, by, reason } => {
                Event::PlaybookOrdered { incident, playbook, by, reason }
            }
            Request::ResumeAutomation { incident, by, reason } => Event::AutomationResumed { incident, by, reason },
            Request::Judge { feedback, by, reason } => {
                let feedback = match as_recorded("feedback", &feedback) {
                    Ok(feedback) => feedback,
                    Err(error) => return Ok(Some(error)),
                };
                self.take(Event::Judged { feedback: feedback.clone(), by, reason }).await?;
                // Only what is on record is told: after a restart it is told again from there.
                self.judgements.add(feedback);
                return Ok(None);
            }
            Request::Resume { by, reason } => {
                return match self.gate.resume(&self.ctx, by, reason).await {
                    Ok(records) => {
                        for record in records {
                            self.absorb(record).await?;
                        }
                        Ok(None)
                    }
                    Err(error) if error.kind() == ErrorKind::Unauthorized => Ok(Some(error)),
                    Err(error) => Err(error),
                };
            }
        };
        let rejected = self.take_order(event).await?;
        Ok(rejected.map(|because| ir_core::Error::new(ErrorKind::Conflict, "engine", because)))
    }

    /// A round in which something was found is recorded at once; others are gathered.
    async fn see(&mut self, round: Observed) -> Result<()> {
        self.work.rounds += 1;
        // What fails on is recorded when it begins, and then with the quiet rounds.
        let nothing_new = round.failures == self.work.failing;
        self.work.failing.clone_from(&round.failures);
        let dropped: u64 = round.polls.iter().map(|poll| poll.dropped).sum();
        self.work.dropped += dropped;
        let quiet = round.anomalies.is_empty() && round.changes.is_empty() && nothing_new && dropped == 0;
        let now = self.ctx.now().mono_ns;
        let (gathered, since) = match self.work.quiet.take() {
            Some((gathered, since)) => (join(gathered, round), since),
            None => (round, now),
        };
        if quiet && now.saturating_sub(since) < QUIET_ROUNDS_NS {
            self.work.quiet = Some((gathered, since));
            return Ok(());
        }
        self.take(Event::Observed(gathered)).await
    }

    /// Waits for effects in flight, and records how they ended as long as the journal takes records.
    async fn finish(&mut self, mut records: bool) {
        let until = self.work.last_deadline_ns.saturating_add(GRACE_NS);
        let clock = self.ctx.clock().clone();
        while !self.work.effects.is_empty() {
            tokio::select! {
                Some(event) = self.work.effects.join_next() => {
                    if records && let Ok(event) = event {
                        records = self.take(event).await.is_ok();
                    }
                }
                () = clock.sleep_until(until) => break,
            }
        }
        self.publish();
    }

    fn publish(&self) {
        let kernel = self.gate.state();
        let steps = kernel
            .steps()
            .filter(|(_, entry)| !entry.state.is_terminal() || entry.state.waits_for_person())
            .map(|(step, entry)| StepStatus {
                state: entry.state,
                call: entry.call.to_string(),
                in_flight: entry.open.as_ref().map(|open| open.intent.direction),
                delayed_by: self.machine.delayed_by(&step).map(str::to_owned),
                step,
            })
            .collect();
        self.status.send_replace(Arc::new(Status {
            halted: kernel.halted().map(|halted| format!("{}: {}", halted.by, halted.reason)),
            writer_failed: self.gate.is_broken(),
            records: self.work.n_records,
            incidents: self.machine.incidents().cloned().collect(),
            steps,
            approvals: self.machine.requests().cloned().collect(),
            dropped: self.work.dropped,
            rounds: self.work.rounds,
            failing: self.work.failing.clone(),
            warnings: self.warnings.clone(),
        }));
    }
}

/// A permit that was never handed out: nothing was sent, and that is known.
fn withheld(record: &Record, executor: &str, failure: ir_core::Failure) -> Option<Event> {
    let Body::Gate(GateFact::Intent(intent)) = &record.body else { return None };
    Some(Event::Executed(Execution {
        after: None,
        step: intent.step.clone(),
        direction: intent.direction,
        attempt: intent.attempt,
        by: PartName::new(executor).ok()?,
        result: AttemptResult::NotApplied { failure },
    }))
}

/// Two rounds as one: counts add up, the later cursor counts.
fn join(mut first: Observed, second: Observed) -> Observed {
    for poll in second.polls {
        match first.polls.iter_mut().find(|known| known.source == poll.source) {
            Some(known) => {
                known.cursor = poll.cursor;
                known.count += poll.count;
                known.late += poll.late;
                known.dropped += poll.dropped;
                known.problems = poll.problems;
            }
            None => first.polls.push(poll),
        }
    }
    first.anomalies.extend(second.anomalies);
    first.changes.extend(second.changes);
    for failure in second.failures {
        if !first.failures.contains(&failure) {
            first.failures.push(failure);
        }
    }
    first.heard = first.heard.max(second.heard);
    for (name, digest) in second.snapshots {
        match first.snapshots.iter_mut().find(|(known, _)| *known == name) {
            Some((_, latest)) => *latest = digest,
            None => first.snapshots.push((name, digest)),
        }
    }
    first
}

/// Copies committed records to a sink: in order, at least once, and again after a failure.
async fn feed(ctx: Ctx, journal: Arc<dyn Journal>, sink: Arc<dyn AuditSink>, mut news: broadcast::Receiver<Record>) {
    use ir_core::journal::ReadFrom;
    while !ctx.is_stopped() {
        let copied = async {
            let seq = sink.position(&ctx).await?;
            let page = journal.read(&ctx, &ReadFrom { seq, max: 512 }).await?;
            if !page.records.is_empty() {
                sink.copy(&ctx, &page.records).await?;
            }
            Ok::<_, ir_core::Error>(page.records.is_empty())
        };
        match copied.await {
            Ok(false) => {}
            Ok(true) => {
                if matches!(
                    ctx.run("audit", async { Ok(news.recv().await) }).await,
                    Err(_) | Ok(Err(broadcast::error::RecvError::Closed))
                ) {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(sink = sink.name(), %error, "copying records failed");
                if ctx.sleep("audit", std::time::Duration::from_secs(1)).await.is_err() {
                    return;
                }
            }
        }
    }
}
