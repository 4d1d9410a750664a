//! The tokio shell: one loop that hands records to the gate, performs commands, and feeds what comes back to the machine.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ir_core::journal::{Body, CommandId, Event, Fact, GateFact, Observed, Record, Report};
use ir_core::kernel::{AuthorizeRequest, Authorized, PermitWatch};
use ir_core::{
    AttemptResult, AuditSink, Ctx, Direction, ErrorKind, Execution, Executor, Failure, Gate, Journal, PartName,
    Problem, Result, StepRef, Stop,
};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::checkpoint::{self, Memory};
use super::command::{Command, Ordered};
use super::detectors::nanos;
use super::guard::as_recorded;
use super::handle::{Envelope, Request};
use super::heartbeat::{Beat, Heartbeats};
use super::machine::{Illegal, Machine, bodies, describe_event};
use super::observe::{Cycle, Judgements, Observer};
use super::perform::{Attempted, Parts, Performed, execute, failure};
use super::status::{DetectorStatus, Incidents, Status, StepStatus};

/// Poll cycles of which nothing came are recorded together, at most this far apart. A failure that goes on, or comes and goes, is
/// recorded as often.
const QUIET_CYCLES_NS: u64 = 300_000_000_000;
/// The status is published after every turn; with more open incidents than these it rests in between, because it costs more, the more
/// there are.
const ALWAYS_PUBLISHED: u64 = 64;
const PUBLISH_PER_INCIDENT_NS: u64 = 50_000;
/// Commands that only think are performed so many at a time: a mass of incidents must not keep the loop from its turn.
const MAX_THINKING: usize = 16;
/// How long in-flight effects are waited for beyond their deadline when the engine ends.
const GRACE_NS: u64 = 1_000_000_000;
/// A loop that has nothing to do comes round that often, so that its heartbeat shows that it could.
const BEAT_EVERY: Duration = Duration::from_secs(5);

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
    pub(crate) memory: Memory,
    pub(crate) ctx: Ctx,
    pub(crate) stop: Stop,
    pub(crate) requests: mpsc::Receiver<Envelope>,
    pub(crate) status: watch::Sender<Arc<Status>>,
    pub(crate) records: broadcast::Sender<Record>,
    pub(crate) renew_every_ns: u64,
    pub(crate) checkpoint_every: u64,
    /// What executors get: it is stopped before everything else.
    pub(crate) effects_ctx: Ctx,
    pub(crate) effects_stop: Stop,
    pub(crate) shutdown_within_ns: u64,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) work: Work,
    /// What is doubtful in the configuration.
    pub(crate) warnings: Vec<Problem>,
}

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Work {
    jobs: JoinSet<Performed>,
    /// The command each job answers.
    commands: HashMap<tokio::task::Id, Begun>,
    effects: JoinSet<Event>,
    /// The attempt that each effect is, and the other end of its permit.
    sent: HashMap<tokio::task::Id, (ir_core::journal::Intent, PermitWatch)>,
    /// Events that came about in the loop itself.
    queue: VecDeque<Event>,
    quiet: Option<(Observed, u64)>,
    last_deadline_ns: u64,
    dropped: u64,
    rounds: u64,
    failing: Vec<Failure>,
    /// When what failed, or lost signals, was recorded last, by component.
    told: HashMap<String, u64>,
    /// Thinking that waits for its turn.
    thinking: VecDeque<(Ordered, super::perform::Job)>,
    n_thinking: usize,
    /// The status has changed since it was published; when it may be again.
    unpublished: bool,
    publish_at: u64,
    since_checkpoint: u64,
    damage: Option<String>,
    n_records: u64,
    detectors: Vec<DetectorStatus>,
    beyond_bounds: u64,
    /// Since the observer ended: why, and until when what is in flight may still be settled.
    blind: Option<(Failure, u64)>,
    /// The engine is ending: nothing that follows from an event is begun any more.
    stopping: bool,
    waits_for: Vec<StepRef>,
}

/// A job under way.
#[derive(Debug)]
struct Begun {
    command: CommandId,
    thinks: bool,
}

impl Work {
    /// At a start that read so many records.
    pub(crate) fn after(n_read: u64) -> Self {
        Self { since_checkpoint: n_read, ..Self::default() }
    }
}

/// What became of an event.
enum Handled {
    /// It is on record; for what a person asked for, why it did not count.
    Recorded(Option<String>),
    /// An illegal fact followed from it, and nothing was written.
    Illegal(Illegal),
}

impl Shell {
    /// Runs until `stop` is ready, the journal fails, or the observer ends.
    pub(crate) async fn run(mut self, started: Event, stop: impl Future<Output = ()> + Send) -> Result<()> {
        let (cycles_in, cycles) = mpsc::channel(4);
        let beat = self.heartbeats.add("main", &self.ctx);
        let mut observing = JoinSet::new();
        if let Some(observer) = self.observer.take() {
            let beat = self.heartbeats.add("observer", &self.ctx);
            observing.spawn(observer.run(self.ctx.clone(), cycles_in, beat));
        }
        let mut background = JoinSet::new();
        for sink in self.sinks.drain(..) {
            let beat = self.heartbeats.add(format!("audit {}", sink.name()), &self.ctx);
            background.spawn(feed(self.ctx.clone(), self.journal.clone(), sink, self.records.subscribe(), beat));
        }
        let (damage_in, damage) = mpsc::channel(1);
        background.spawn(verify_older(self.ctx.clone(), self.journal.clone(), self.gate.began_at(), damage_in));
        let ran = self.turn(started, Sight { cycles, observing: &mut observing, damage }, &beat, stop).await;
        // Executors hear of it first, whatever it is that ends the engine.
        self.effects_stop.stop();
        self.finish(&beat).await;
        self.stop.stop();
        observing.abort_all();
        background.shutdown().await;
        ran
    }

    async fn turn(
        &mut self,
        started: Event,
        mut sight: Sight<'_>,
        beat: &Beat,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<()> {
        self.start(started).await?;
        let halt = self.gate.halt_handle();
        let clock = self.ctx.clock().clone();
        let mut renew_at = self.ctx.now().mono_ns.saturating_add(self.renew_every_ns);
        futures::pin_mut!(stop);
        loop {
            while let Some(event) = self.work.queue.pop_front() {
                self.take(event).await?;
            }
            beat.beat(&self.ctx);
            if self.work.since_checkpoint >= self.checkpoint_every {
                self.checkpoint().await?;
            }
            self.publish_when_due();
            if let Some((failure, until)) = &self.work.blind
                && (self.ctx.now().mono_ns >= *until || self.gate.state().steps().all(|(_, step)| step.open.is_none()))
            {
                return Err(ir_core::Error::new(failure.kind, "observer", failure.message.clone()));
            }
            let timer = self.machine.next_timer().map(|(name, due)| (name.to_owned(), due));
            let due = timer.as_ref().map_or(u64::MAX, |(_, due)| *due);
            let blind_until = self.work.blind.as_ref().map_or(u64::MAX, |(_, until)| *until);
            let idle_until = self.ctx.now().mono_ns.saturating_add(nanos(BEAT_EVERY));
            let publish_at = if self.work.unpublished { self.work.publish_at } else { u64::MAX };
            let wake = due.min(renew_at).min(blind_until).min(idle_until).min(publish_at);
            tokio::select! {
                biased;
                () = halt.asked() => self.record_halts().await?,
                () = &mut stop => {
                    // Before the record, which waits for the journal.
                    self.effects_stop.stop();
                    // What was read and lost since the last record counts.
                    if let Some((gathered, _)) = self.work.quiet.take() {
                        self.take(Event::Observed(gathered)).await?;
                    }
                    return self.take(Event::Stopping).await;
                }
                Some(ended) = sight.observing.join_next() => self.observer_ended(ended).await?,
                Some(event) = self.work.effects.join_next_with_id() => self.effect_ended(event).await?,
                Some(request) = self.requests.recv() => self.request(request).await?,
                Some(done) = self.work.jobs.join_next_with_id() => self.job_ended(done).await?,
                Some(cycle) = sight.cycles.recv() => self.see(cycle).await?,
                Some(damage) = sight.damage.recv() => self.damaged(damage).await?,
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

    /// What was written before the checkpoint that the start began with is not what it was. Nothing acts on it until people have looked.
    async fn damaged(&mut self, damage: String) -> Result<()> {
        tracing::error!(damage, "the older part of the journal is damaged");
        self.gate.halt_handle().halt("engine", format!("the journal is damaged: {damage}"));
        self.work.damage = Some(damage);
        self.record_halts().await
    }

    /// Writes down where everything stands, so that a start need not read what is older.
    async fn checkpoint(&mut self) -> Result<()> {
        let (engine, config) = checkpoint::store(&self.machine, &self.memory)?;
        let record = self.gate.checkpoint(&self.ctx, engine, config).await?;
        self.tell(vec![record]);
        self.work.since_checkpoint = 0;
        Ok(())
    }

    /// Records the start. Where it was dropped, the plan that was in its way is isolated now, so it is taken once more.
    async fn start(&mut self, started: Event) -> Result<()> {
        let doubtful = self.machine.doubt.is_some();
        if let Some(because) = self.take_order(started.clone()).await?
            && self.take_order(started).await?.is_some()
        {
            return Err(ir_core::Error::new(ErrorKind::InvalidInput, "engine", because));
        }
        // What was doubted once is settled: no later start reads it again.
        if doubtful { self.checkpoint().await } else { Ok(()) }
    }

    /// The observer never ends by itself. Without it nothing is seen, so nothing is begun: what is in flight is settled as far as
    /// `shutdown_within_ms` allows, and then the engine ends with an error, so that a service manager starts it again.
    async fn observer_ended(&mut self, ended: Result<(), tokio::task::JoinError>) -> Result<()> {
        let how = if ended.is_err() { "panicked" } else { "ended" };
        let message = format!("the task that polls the sources {how}: nothing is seen any more");
        tracing::error!(message);
        let failure = failure("observer", ErrorKind::Unknown, &message);
        let until = self.ctx.now().mono_ns.saturating_add(self.shutdown_within_ns);
        self.work.failing = vec![failure.clone()];
        self.work.blind = Some((failure.clone(), until));
        let (gathered, _) = self.work.quiet.take().unwrap_or_default();
        let failed = Observed { failures: vec![failure], ..Observed::default() };
        self.take(Event::Observed(join(gathered, failed))).await
    }

    /// One event: the machine says what follows, both become durable together, and only then anything is done.
    async fn take(&mut self, event: Event) -> Result<()> {
        self.take_order(event).await.map(|_| ())
    }

    /// The same for what a person asked for; gives why it did not count, if it did not.
    ///
    /// INVARIANT (nothing illegal becomes durable, and one wrong plan stops no other): an event from which an illegal fact follows is
    /// dropped as a whole, and a record says so.
    async fn take_order(&mut self, event: Event) -> Result<Option<String>> {
        let mut event = event;
        let mut dropped = None;
        loop {
            match self.handle(&event).await? {
                Handled::Recorded(rejected) => return Ok(dropped.or(rejected)),
                Handled::Illegal(illegal) => {
                    dropped.get_or_insert_with(|| format!("an illegal fact followed from it: {}", illegal.because));
                    event = self.drop_event(&event, illegal)?;
                }
            }
        }
    }

    async fn handle(&mut self, event: &Event) -> Result<Handled> {
        let at = self.ctx.now();
        let before = self.machine.clone();
        let output = match self.machine.apply(&at, event) {
            Ok(output) => output,
            Err(error) => {
                let illegal = self.machine.take_illegal();
                self.machine = before;
                return illegal.map(Handled::Illegal).ok_or(error);
            }
        };
        let rejected = output.facts.iter().find_map(|fact| match fact {
            Fact::AnswerRejected { because, .. } | Fact::OrderRejected { because, .. } => Some(because.clone()),
            _ => None,
        });
        match self.gate.append(&self.ctx, &at, bodies(event.clone(), &output.facts)).await {
            Ok((records, _)) => self.tell(records),
            // The gate refused it and goes on; the machine went ahead of it.
            Err(error) if error.kind() == ErrorKind::InvalidInput && !self.gate.is_broken() => {
                self.machine = before;
                return Ok(Handled::Illegal(Illegal { because: error.message().to_owned(), plan: None }));
            }
            Err(error) => return Err(error),
        }
        self.perform(output.commands).await?;
        Ok(Handled::Recorded(rejected))
    }

    /// Gives the event that says that `event` was dropped.
    fn drop_event(&mut self, event: &Event, illegal: Illegal) -> Result<Event> {
        tracing::error!(because = illegal.because, "an illegal fact: the event is dropped");
        if let Event::Dropped { plan: None, .. } = event {
            return Err(ir_core::Error::new(ErrorKind::InvalidInput, "engine", illegal.because));
        }
        Ok(self.dropped(Some(event), illegal))
    }

    /// The event that says that another was dropped, or what follows from a decision of the gate. Effects are halted before it is
    /// recorded, where they are.
    fn dropped(&self, what: Option<&Event>, illegal: Illegal) -> Event {
        let Illegal { because, plan } = illegal;
        let (mut timer, mut command, mut again) = (None, None, false);
        match what {
            Some(Event::TimerFired { timer: fired }) => timer = Some(fired.clone()),
            Some(Event::Reported { command: answered, .. }) => command = Some(*answered),
            // Not even the isolation of the plan was legal: it is not about that plan alone.
            Some(Event::Dropped { timer: of, command: to, .. }) => (timer, command, again) = (of.clone(), *to, true),
            _ => {}
        }
        let plan = plan.filter(|_| !again);
        let halts = plan.is_none() || self.machine.dropped_lately(&self.ctx.now());
        if halts {
            let why = if plan.is_none() { "it is about no single plan" } else { "it is the second within an hour" };
            self.gate.halt_handle().halt("engine", format!("an illegal fact ({because}), and {why}"));
        }
        let event = what.map_or_else(|| "what follows from a decision of the gate".to_owned(), describe_event);
        Event::Dropped { event, timer, command, because, plan, halts }
    }

    /// What the gate did is a record already; what follows from it becomes durable, and then something is done.
    async fn absorb(&mut self, record: Record) -> Result<()> {
        let Body::Gate(fact) = &record.body else { return Ok(()) };
        let at = record.at.clone();
        let output = self.machine.absorb(&at, fact);
        if let Some(illegal) = self.machine.take_illegal() {
            let dropped = self.dropped(None, illegal);
            self.work.queue.push_back(dropped);
        }
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
        self.work.unpublished = true;
        for record in records {
            self.work.n_records = record.seq;
            self.work.since_checkpoint += 1;
            self.memory.note(&record);
            // Nobody listening is no failure.
            let _ = self.records.send(record);
        }
    }

    async fn perform(&mut self, commands: Vec<Ordered>) -> Result<()> {
        // Whatever is not begun is begun by the next start.
        if self.work.stopping {
            return Ok(());
        }
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
                Some(job) if job.thinks() && self.work.n_thinking >= MAX_THINKING => {
                    self.work.thinking.push_back((order, job));
                }
                Some(job) => self.begin(order, job),
                None => {
                    let gone = failure("engine", ErrorKind::NotFound, "what it is about is no longer there");
                    self.work.queue.push_back(Event::Reported { command: order.id, report: Report::Failed(gone) });
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, order: Ordered, job: super::perform::Job) {
        let (parts, ctx, command) = (self.parts.clone(), self.ctx.clone(), order.id);
        let thinks = job.thinks();
        self.work.n_thinking += usize::from(thinks);
        let task = self.work.jobs.spawn(async move { parts.perform(&ctx, &order, job).await });
        self.work.commands.insert(task.id(), Begun { command, thinks });
    }

    /// A place is free for what waits to be thought about, unless nobody waits for the answer any more.
    fn think_on(&mut self) {
        self.work.n_thinking -= 1;
        while let Some((order, job)) = self.work.thinking.pop_front() {
            if self.machine.is_outstanding(order.id) {
                return self.begin(order, job);
            }
        }
    }

    async fn job_ended(&mut self, done: Result<(tokio::task::Id, Performed), tokio::task::JoinError>) -> Result<()> {
        let id = done.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
        let begun = self.work.commands.remove(&id);
        if begun.as_ref().is_some_and(|begun| begun.thinks) {
            self.think_on();
        }
        match (done, begun.map(|begun| begun.command)) {
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
        if self.machine.is_isolated(&request.step.plan) {
            return Ok(());
        }
        // Without eyes only what was sent before is sent again.
        let is_open = self.gate.state().step(&request.step).is_some_and(|step| step.open.is_some());
        if self.work.blind.is_some() && !is_open {
            return Ok(());
        }
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
                let ctx = self.effects_ctx.with_deadline(deadline);
                let (reading, answer_within) = (self.ctx.clone(), self.parts.answer_within);
                let inverse = intent.inverse.as_ref().filter(|_| intent.direction == Direction::Do);
                let undoes = inverse.and_then(|inverse| self.parts.executor(inverse).ok());
                let sent = (intent.clone(), watch.clone());
                let attempt = Attempted {
                    intent: intent.clone(),
                    gate: self.gate.name().clone(),
                    watch,
                    undoes,
                    reading,
                    answer_within,
                };
                let task = self.work.effects.spawn(execute(ctx, executor, *permit, attempt));
                self.work.sent.insert(task.id(), sent);
                self.absorb(record).await
            }
        }
    }

    async fn effect_ended(&mut self, done: Result<(tokio::task::Id, Event), tokio::task::JoinError>) -> Result<()> {
        let id = done.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
        self.work.sent.remove(&id);
        match done {
            Ok((_, event)) => self.take(event).await,
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
    async fn see(&mut self, cycle: Cycle) -> Result<()> {
        let Cycle { observed: round, detectors, beyond_bounds } = cycle;
        (self.work.detectors, self.work.beyond_bounds) = (detectors, beyond_bounds);
        self.work.rounds += 1;
        let now = self.ctx.now().mono_ns;
        self.work.unpublished = true;
        self.work.failing.clone_from(&round.failures);
        self.work.dropped += round.polls.iter().map(|poll| poll.dropped).sum::<u64>();
        // What fails on, and what goes on losing signals, is recorded when it begins, and then with the quiet cycles.
        let lost = round.polls.iter().filter(|poll| poll.dropped > 0).map(|poll| format!("lost {}", poll.source));
        let bad = round.failures.iter().map(|failure| format!("{:?} {}", failure.kind, failure.component)).chain(lost);
        let mut news = !round.quarantined.is_empty();
        for bad in bad.collect::<Vec<_>>() {
            let told = self.work.told.get(&bad).is_some_and(|at| now.saturating_sub(*at) < QUIET_CYCLES_NS);
            news |= !told;
            self.work.told.insert(bad, now);
        }
        self.work.told.retain(|_, at| now.saturating_sub(*at) < QUIET_CYCLES_NS);
        // A record that names stored states says how far the sources were read by then.
        let quiet = round.anomalies.is_empty() && round.changes.is_empty() && round.snapshots.is_empty() && !news;
        let (gathered, since) = match self.work.quiet.take() {
            Some((gathered, since)) => (join(gathered, round), since),
            None => (round, now),
        };
        if quiet && now.saturating_sub(since) < QUIET_CYCLES_NS {
            self.work.quiet = Some((gathered, since));
            return Ok(());
        }
        self.take(Event::Observed(gathered)).await
    }

    /// Waits for effects in flight, and records how they ended as long as the journal takes records. The wait has an end: what is
    /// left is recorded, and the next start settles it by its class.
    async fn finish(&mut self, beat: &Beat) {
        self.work.stopping = true;
        self.requests.close();
        // Who waits for an answer hears that the engine is gone.
        while self.requests.try_recv().is_ok() {}
        let halt = self.gate.halt_handle();
        let clock = self.ctx.clock().clone();
        let within = self.ctx.now().mono_ns.saturating_add(self.shutdown_within_ns);
        let until = self.work.last_deadline_ns.saturating_add(GRACE_NS).min(within);
        while !self.work.effects.is_empty() {
            beat.beat(&self.ctx);
            self.work.waits_for = self.work.sent.values().map(|(intent, _)| intent.step.clone()).collect();
            self.work.waits_for.sort();
            tracing::info!(
                n_effects = self.work.effects.len(),
                "the engine waits for effects in flight before it ends"
            );
            self.publish();
            let recorded = tokio::select! {
                Some(event) = self.work.effects.join_next_with_id() => self.effect_ended(event).await,
                () = halt.asked() => self.record_halts().await,
                () = clock.sleep_until(until) => break,
            };
            if let Err(error) = recorded {
                tracing::error!(%error, "how an effect ended could not be recorded");
            }
        }
        let left = match self.leave().await {
            Ok(()) if self.work.since_checkpoint > 0 && !self.gate.is_broken() && self.machine.doubt.is_none() => {
                self.checkpoint().await
            }
            left => left,
        };
        if let Err(error) = left {
            tracing::error!(%error, "how the engine ended could not be recorded");
        }
        self.publish();
    }

    /// Records what is left in flight. A permit that was not redeemed until now never will be, and that is known.
    async fn leave(&mut self) -> Result<()> {
        self.work.waits_for.clear();
        let mut left = Vec::new();
        for (intent, watch) in std::mem::take(&mut self.work.sent).into_values() {
            if !watch.revoke() {
                left.push(intent.step);
                continue;
            }
            let failure = failure("engine", ErrorKind::Stopped, "the engine ended before anything was sent");
            let (step, direction, attempt) = (intent.step, intent.direction, intent.attempt);
            let (by, result) = (PartName::literal("engine"), AttemptResult::NotApplied { failure });
            self.take(Event::Executed(Execution { step, direction, attempt, by, result, after: None })).await?;
        }
        left.sort();
        if left.is_empty() {
            return Ok(());
        }
        tracing::warn!(steps = ?left, "effects are left in flight; the next start settles them");
        self.take(Event::LeftInFlight { steps: left }).await
    }

    /// Publishes the status if it has changed and may be published again.
    fn publish_when_due(&mut self) {
        if self.work.unpublished && self.ctx.now().mono_ns >= self.work.publish_at {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let n = self.machine.incidents().len() as u64;
        let rest = n.saturating_sub(ALWAYS_PUBLISHED) * PUBLISH_PER_INCIDENT_NS;
        (self.work.unpublished, self.work.publish_at) = (false, self.ctx.now().mono_ns.saturating_add(rest));
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
            incidents: Incidents(self.machine.incidents.clone()),
            steps,
            approvals: self.machine.requests().cloned().collect(),
            dropped: self.work.dropped,
            beyond_bounds: self.work.beyond_bounds,
            rounds: self.work.rounds,
            failing: self.work.failing.clone(),
            detectors: self.work.detectors.clone(),
            observer_failed: self.work.blind.is_some(),
            isolated: self.machine.isolated().cloned().collect(),
            stopping: self.work.stopping,
            waits_for: self.work.waits_for.clone(),
            heartbeats: self.heartbeats.read(&**self.ctx.clock()),
            warnings: self.warnings.clone(),
            damage: self.work.damage.clone(),
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
    first.quarantined.extend(second.quarantined);
    for lost in second.unseen {
        match first.unseen.iter_mut().find(|known| known.detector == lost.detector) {
            Some(known) => known.batches += lost.batches,
            None => first.unseen.push(lost),
        }
    }
    for (name, digest) in second.snapshots {
        match first.snapshots.iter_mut().find(|(known, _)| *known == name) {
            Some((_, latest)) => *latest = digest,
            None => first.snapshots.push((name, digest)),
        }
    }
    first
}

/// What the loop hears from the observer.
struct Sight<'a> {
    cycles: mpsc::Receiver<Cycle>,
    /// What is wrong with the older part of the journal.
    damage: mpsc::Receiver<String>,
    observing: &'a mut JoinSet<()>,
}

/// Verifies what is older than the record with which the start began, a page at a time beside the engine. Tells of damage only.
async fn verify_older(ctx: Ctx, journal: Arc<dyn Journal>, before: u64, damage: mpsc::Sender<String>) {
    use ir_core::journal::{ChainVerifier, ReadFrom};
    let mut verifier = ChainVerifier::new();
    let looked = async {
        while verifier.next_seq() < before {
            let page = journal.read(&ctx, &ReadFrom { seq: verifier.next_seq(), max: 64 }).await?;
            if page.records.is_empty() {
                let seq = verifier.next_seq();
                return Ok::<_, ir_core::Error>(Some(verifier.fail(seq, "is missing").to_string()));
            }
            for stored in &page.records {
                if let Err(fault) = verifier.push(&stored.hash, &stored.bytes) {
                    return Ok(Some(fault.to_string()));
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(None)
    };
    match looked.await {
        Ok(None) => {}
        Ok(Some(fault)) => drop(damage.try_send(fault)),
        // Archived records are verified where they are.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.kind() == ErrorKind::InvalidInput => drop(damage.try_send(error.to_string())),
        Err(error) => tracing::warn!(%error, "the older part of the journal could not be verified"),
    }
}

/// Copies committed records to a sink: in order, at least once, and again after a failure.
async fn feed(
    ctx: Ctx,
    journal: Arc<dyn Journal>,
    sink: Arc<dyn AuditSink>,
    mut news: broadcast::Receiver<Record>,
    beat: Beat,
) {
    use ir_core::journal::ReadFrom;
    while !ctx.is_stopped() {
        beat.beat(&ctx);
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
                let idle = ctx.with_timeout(BEAT_EVERY);
                match idle.run("audit", async { Ok(news.recv().await) }).await {
                    // New records, or more of them than the channel holds, or nothing new for a while.
                    Ok(Ok(_) | Err(broadcast::error::RecvError::Lagged(_))) => {}
                    Err(error) if error.kind() == ErrorKind::Timeout => {}
                    Err(_) | Ok(Err(broadcast::error::RecvError::Closed)) => return,
                }
            }
            Err(error) => {
                tracing::warn!(sink = sink.name(), %error, "copying records failed");
                if ctx.sleep("audit", Duration::from_secs(1)).await.is_err() {
                    return;
                }
            }
        }
    }
}
