//! The deterministic machine: events in, facts and commands out. No clock, no float arithmetic, no trait object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ir_core::journal::{Body, CommandId, Event, Fact, GateFact, Intent, Observed, Record, Report, Started};
use ir_core::persistent::PersistentMap;
use ir_core::{
    Anomaly, AnomalyId, ApprovalRequest, Call, Change, ClassName, EntityId, Error, ErrorKind, Failure, Hypothesis,
    Incident, IncidentId, Moment, Pace, PartName, Plan, PlanId, Preview, Result, StepId, StepRef, Timestamp, Tried,
    kernel,
};

use serde::{Deserialize, Serialize};

use super::backoff;
use super::command::{Command, Ordered};
use super::config::EngineConfig;
use super::outstanding::{Outstanding, Subject, Waiting};
use super::timer::{TimerKey, Timers};

/// What one event leads to. Facts become durable before any command is performed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// What follows, in order.
    pub facts: Vec<Fact>,
    /// What is to be done outside, in order.
    pub commands: Vec<Ordered>,
}

/// The plan an incident is being answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanRun<P = Plan> {
    pub(crate) plan: P,
    pub(crate) previews: BTreeMap<StepId, Preview>,
    pub(crate) verifying: BTreeMap<StepId, VerifyRun>,
    /// What people are asked, by step.
    pub(crate) asks: BTreeMap<StepId, Ask>,
    /// Steps that wait for what passes with time.
    pub(crate) delays: BTreeMap<StepId, Delay>,
    pub(crate) decided: Option<Moment>,
    pub(crate) first_effect: Option<Moment>,
    /// No further step is begun; what was done is being taken back.
    pub(crate) failing: Option<String>,
    /// What was done is to be taken back, and so is what was in flight when it failed.
    pub(crate) taking_back: bool,
    /// Whom it blames and what it takes the incident for: while that holds, a growing incident keeps its plan.
    pub(crate) made_for: Option<(EntityId, ClassName)>,
    /// A person stopped it, so no other plan follows.
    pub(crate) overridden: bool,
}

impl PlanRun {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            previews: BTreeMap::new(),
            verifying: BTreeMap::new(),
            asks: BTreeMap::new(),
            delays: BTreeMap::new(),
            decided: None,
            first_effect: None,
            failing: None,
            taking_back: false,
            made_for: None,
            overridden: false,
        }
    }
}

/// A request that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) request: ApprovalRequest,
    /// Approvers that have it.
    pub(crate) delivered: Vec<PartName>,
    /// Deliveries that did not reach every approver.
    pub(crate) failures: u32,
}

/// How long a step has waited for what passes with time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delay {
    pub(crate) because: String,
    pub(crate) times: u32,
    pub(crate) total_ms: u64,
}

/// How long a step's success has lasted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerifyRun {
    /// Since when it has held, and how many scrapes there were by then.
    pub(crate) held_since: Option<HeldSince>,
    pub(crate) pace: Pace,
    #[serde(with = "ir_core::wire::int53")]
    pub(crate) began_mono_ns: u64,
    pub(crate) over: bool,
}

/// When a success began, and how many scrapes there were by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldSince {
    #[serde(with = "ir_core::wire::int53")]
    pub(crate) mono_ns: u64,
    pub(crate) scrapes: u32,
}

/// An incident and everything that is going on about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IncidentRun {
    pub(crate) incident: Arc<Incident>,
    pub(crate) opened: Moment,
    pub(crate) hypothesis: Option<Hypothesis>,
    /// Diagnoses so far: they number the hypotheses.
    pub(crate) diagnoses: u32,
    /// Diagnoses in a row that named no cause.
    pub(crate) abstentions: u32,
    /// More anomalies joined while a diagnosis was under way.
    pub(crate) grew: bool,
    /// The playbook that a person ordered, until its plan is there.
    pub(crate) ordered: Option<String>,
    pub(crate) plans: u32,
    /// How many of them were before a person gave the incident back.
    pub(crate) plans_before: u32,
    /// The escalated incident that it would have joined.
    pub(crate) follows: Option<IncidentId>,
    /// Kept apart in a checkpoint.
    #[serde(skip)]
    pub(crate) run: Option<PlanRun>,
    pub(crate) tried: Vec<Tried>,
    /// Anomalies whose detector started anew and does not know them.
    pub(crate) forgotten: Vec<AnomalyId>,
    /// It was noted that it takes no more anomalies.
    pub(crate) is_full: bool,
}

impl IncidentRun {
    pub(crate) fn new(incident: Incident, opened: Moment) -> Self {
        Self {
            incident: Arc::new(incident),
            opened,
            hypothesis: None,
            diagnoses: 0,
            abstentions: 0,
            grew: false,
            ordered: None,
            plans: 0,
            plans_before: 0,
            follows: None,
            run: None,
            tried: Vec::new(),
            forgotten: Vec::new(),
            is_full: false,
        }
    }
}

/// An anomaly that belongs to no incident yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) anomaly: Anomaly,
    /// Why the correlator left it out when it was asked last.
    pub(crate) ignored: Option<String>,
}

/// A fact that the kernel's fold refuses, so that it must never become durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Illegal {
    pub(crate) because: String,
    /// The one plan that it is about, as far as the kernel knows that plan.
    pub(crate) plan: Option<PlanId>,
}

/// The machine. Equal events, equal facts, on every machine and at every time.
///
/// A copy of it costs nothing that grows with the number of incidents, and neither does an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub(crate) config: Option<Arc<EngineConfig>>,
    pub(crate) kernel: kernel::State,
    pub(crate) incidents: PersistentMap<IncidentId, IncidentRun>,
    /// The incident of each anomaly that belongs to one.
    pub(crate) homes: PersistentMap<AnomalyId, IncidentId>,
    /// Anomalies that belong to no incident yet.
    pub(crate) pending: PersistentMap<AnomalyId, Pending>,
    /// Something that the correlator goes by has changed since it was asked.
    pub(crate) uncorrelated: bool,
    /// Anomalies of incidents that a person closed: they open nothing until they have ended.
    pub(crate) dismissed: PersistentMap<AnomalyId, ()>,
    pub(crate) changes: Arc<Vec<Change>>,
    /// The usual time between two scrapes, by entity, as far as it was needed. Milliseconds.
    pub(crate) intervals: PersistentMap<EntityId, u64>,
    pub(crate) timers: Timers,
    pub(crate) outstanding: Outstanding,
    pub(crate) n_commands: u64,
    pub(crate) n_incidents: u64,
    pub(crate) now: Option<Moment>,
    pub(crate) out: Output,
    /// The first illegal fact that the present event led to.
    pub(crate) illegal: Option<Illegal>,
    /// Plans that an illegal fact was about: they send nothing more.
    pub(crate) isolated: BTreeSet<PlanId>,
    /// When an event was dropped last.
    pub(crate) last_dropped: Option<Moment>,
    /// At a start: why what is open is doubtful.
    pub(crate) doubt: Option<String>,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine before its first event.
    #[must_use]
    pub fn new() -> Self {
        Self {
            config: None,
            kernel: kernel::State::default(),
            incidents: PersistentMap::default(),
            homes: PersistentMap::default(),
            pending: PersistentMap::default(),
            uncorrelated: false,
            dismissed: PersistentMap::default(),
            changes: Arc::default(),
            intervals: PersistentMap::default(),
            timers: Timers::default(),
            outstanding: Outstanding::default(),
            n_commands: 0,
            n_incidents: 0,
            now: None,
            out: Output::default(),
            illegal: None,
            isolated: BTreeSet::new(),
            last_dropped: None,
            doubt: None,
        }
    }

    /// The same fold as the gate's.
    #[must_use]
    pub const fn kernel(&self) -> &kernel::State {
        &self.kernel
    }

    /// The incidents that are not closed, by name.
    pub fn incidents(&self) -> impl ExactSizeIterator<Item = &Arc<Incident>> {
        self.incidents.values().map(|run| &run.incident)
    }

    /// What people are asked now.
    pub fn requests(&self) -> impl Iterator<Item = &ApprovalRequest> {
        // By plan, because there are fewer plans than incidents.
        let run_of = |(id, entry): (&PlanId, &kernel::PlanEntry)| {
            self.incidents.get(&entry.incident)?.run.as_ref().filter(|run| run.plan.id == *id)
        };
        self.kernel.plans().filter_map(run_of).flat_map(|run| run.asks.values()).map(|ask| &ask.request)
    }

    /// What that passes with time keeps a step from being sent.
    #[must_use]
    pub fn delayed_by(&self, step: &StepRef) -> Option<&str> {
        let run = self.incidents.get(&self.incident_of(step)?)?.run.as_ref()?;
        (run.plan.id == step.plan).then_some(run)?.delays.get(&step.step).map(|delay| delay.because.as_str())
    }

    /// The next timer, and when it is due on the monotonic clock.
    #[must_use]
    pub fn next_timer(&self) -> Option<(&str, u64)> {
        self.timers.next()
    }

    /// Takes one event that happened at `at`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the first event is no `Started`, or one carries a configuration that cannot be read: the machine is as
    /// before then. Also when an illegal fact follows from the event: the machine is spent then. Drop the event, and feed the
    /// records to a new machine.
    pub fn apply(&mut self, at: &Moment, event: &Event) -> Result<Output> {
        if let Event::Started(started) = event {
            self.config = Some(Arc::new(read_config(started)?));
        } else if self.config.is_none() && !matches!(event, Event::TailRepaired(_) | Event::CarriedOver(_)) {
            return Err(Error::new(ErrorKind::InvalidInput, "engine", "the engine has not started"));
        }
        self.now = Some(at.clone());
        self.illegal = None;
        // Whether an answer resolves an attempt is asked before it is folded: afterwards the attempt is resolved.
        let resolves =
            matches!(event, Event::Executed(e) if self.kernel.is_unresolved(&e.step, e.direction, e.attempt));
        self.fold(&Body::Event(event.clone()));
        match event {
            Event::Started(started) => self.on_started(&started.forgetful),
            Event::CarriedOver(carried) => self.on_carried_over(carried),
            Event::Observed(observed) => {
                self.note_quarantined(observed);
                self.on_observed(observed);
            }
            Event::Reported { command, report } => self.on_reported(*command, report),
            Event::Executed(execution) if resolves => self.on_executed(execution),
            // A late answer, or one of an attempt that is settled: an observation that changes nothing.
            Event::Executed(_) => {}
            Event::Answered(answer) => self.on_answered(answer),
            Event::Overridden { incident, by, reason, undo } => self.on_overridden(incident, by, reason, *undo),
            Event::ClosedByPerson { incident, by, reason } => self.on_closed_by_person(incident, by, reason),
            Event::PlaybookOrdered { incident, playbook, by, reason } => {
                self.on_playbook_ordered(incident, playbook, by, reason);
            }
            Event::AutomationResumed { incident, by, reason } => self.on_automation_resumed(incident, by, reason),
            Event::SettledByPerson { step, by, applied, reason } => self.on_settled(step, &by.name, *applied, reason),
            Event::TimerFired { timer } => {
                if let Some(key) = self.timers.take(timer, at) {
                    self.on_timer(key);
                }
            }
            // Judgements are for the detectors, which stand outside.
            Event::TailRepaired(_) | Event::Stopping | Event::LeftInFlight { .. } | Event::Judged { .. } => {}
            Event::Dropped { event, timer, command, because, plan, .. } => {
                self.degraded(event, format!("it was dropped: {because}"));
                self.give_up_on(timer.as_deref(), *command);
                self.isolate(plan.as_ref(), because);
            }
        }
        #[cfg(test)]
        self.sabotage(event);
        match &self.illegal {
            None => Ok(std::mem::take(&mut self.out)),
            Some(illegal) => Err(Error::new(ErrorKind::InvalidInput, "engine", illegal.because.clone())),
        }
    }

    /// The illegal fact that `apply` or `absorb` came to, once.
    pub(crate) fn take_illegal(&mut self) -> Option<Illegal> {
        self.illegal.take()
    }

    /// Whether the plan sends nothing more.
    pub(crate) fn is_isolated(&self, plan: &PlanId) -> bool {
        self.isolated.contains(plan)
    }

    /// Plans that send nothing more.
    pub(crate) fn isolated(&self) -> impl Iterator<Item = &PlanId> {
        self.isolated.iter()
    }

    /// Whether an event was dropped less than an hour before `at`. Between two boots only the wall clock can tell.
    pub(crate) fn dropped_lately(&self, at: &Moment) -> bool {
        const HOUR_NS: u64 = 3_600_000_000_000;
        self.last_dropped.as_ref().is_some_and(|last| {
            let apart = || last.wall.as_nanos().abs_diff(at.wall.as_nanos());
            at.mono_since(last).unwrap_or_else(apart) < HOUR_NS
        })
    }

    /// Takes what the gate did. That is durable already and cannot be dropped: where an illegal fact follows from it, nothing follows.
    pub fn absorb(&mut self, at: &Moment, fact: &GateFact) -> Output {
        self.now = Some(at.clone());
        // A replay does not ask for what an earlier record led to: the event that says so follows in the journal.
        self.illegal = None;
        self.fold(&Body::Gate(fact.clone()));
        let before = self.clone();
        let output = self.follow_gate(fact);
        match self.illegal.take() {
            None => output,
            Some(illegal) => {
                *self = Self { illegal: Some(illegal), ..before };
                // The gate has answered, whatever follows from it.
                if let GateFact::Intent(Intent { step, .. }) | GateFact::Refused { step, .. } = fact {
                    self.forget_commands(step, |c| matches!(c, Command::Send { .. }));
                }
                Output::default()
            }
        }
    }

    fn follow_gate(&mut self, fact: &GateFact) -> Output {
        match fact {
            GateFact::Intent(intent) => self.on_intent(intent),
            GateFact::Refused { step, direction, precondition, refusals } => {
                self.on_refused(step, *direction, &precondition.state, refusals);
            }
            GateFact::Resumed { .. } => self.on_resumed(),
            GateFact::Claimed { .. } | GateFact::Checkpoint(_) | GateFact::Fenced(_) | GateFact::Halted(_) => {}
        }
        #[cfg(test)]
        self.sabotage_gate(fact);
        std::mem::take(&mut self.out)
    }

    /// Folds what happened into the kernel's state, which is the gate's as well.
    fn fold(&mut self, body: &Body) {
        let Some(at) = self.now.clone() else { return };
        // INVARIANT (same fold): the gate refuses exactly what fails here, so nothing illegal ever becomes durable.
        if let Err(error) = self.kernel.fold_body(body, &at) {
            let plan = plan_of(body).filter(|plan| self.kernel.plan(plan).is_some()).cloned();
            self.illegal.get_or_insert_with(|| Illegal { because: error.message().to_owned(), plan });
        }
    }

    fn note_quarantined(&mut self, observed: &Observed) {
        for detector in &observed.quarantined {
            let because = "it missed its deadline or panicked again and again: it sees nothing until it is tried again";
            self.degraded(format!("detector {detector}"), because);
        }
    }

    /// What waited for a dropped event waits no more: else the timer would run out again at once, and a command would never end.
    fn give_up_on(&mut self, timer: Option<&str>, command: Option<CommandId>) {
        if let Some(timer) = timer {
            self.timers.stop_text(timer);
        }
        let Some(waiting) = command.and_then(|id| self.outstanding.remove(id)) else { return };
        if let Command::Correlate { anomalies } = &waiting.command {
            return self.correlate_alone(anomalies);
        }
        if let Command::Diagnose { incident, .. } | Command::Classify { incident } | Command::Plan { incident, .. } =
            waiting.command
        {
            self.hand_over(&incident, "the answer about it was dropped, because an illegal fact followed from it");
        }
    }

    /// What the machine knows of that plan is wrong, so the plan sends nothing more, and a person decides.
    fn isolate(&mut self, plan: Option<&PlanId>, because: &str) {
        self.last_dropped.clone_from(&self.now);
        let Some(plan) = plan else { return };
        self.isolated.insert(plan.clone());
        let Some(incident) = self.kernel.plan(plan).map(|entry| entry.incident.clone()) else { return };
        let is_send = |command: &Command| matches!(command, Command::Send { .. });
        let steps = self.kernel.plan(plan).into_iter().flat_map(|entry| entry.steps.keys());
        let steps = steps.map(|step| StepRef { plan: plan.clone(), step: step.clone() });
        let held_back: Vec<StepRef> = steps.filter(|step| self.waits_for(step, is_send)).collect();
        for step in &held_back {
            self.forget_commands(step, is_send);
        }
        if let Some(run) = self.incidents.get_mut(&incident).and_then(|run| run.run.as_mut()) {
            run.taking_back = false;
        }
        self.leave_to_person(&incident, &format!("the engine is wrong about its plan: {because}"), false);
        for step in held_back {
            self.give_up_sending(&step, ISOLATED);
        }
        // What is in flight still has an end, whatever was dropped.
        for (step, _) in self.steps_of(&incident) {
            let timeout_ms = self.kernel.step(&step).filter(|entry| entry.open.is_some()).map(|entry| entry.timeout_ms);
            if let Some(timeout_ms) = timeout_ms.filter(|_| !self.is_settling(&step)) {
                self.start_timer(TimerKey::Deadline(step), timeout_ms);
            }
        }
    }

    // What the stages are written with.

    /// Notes a fact, and folds it at once so that later facts of the same event see it.
    pub(crate) fn fact(&mut self, fact: Fact) {
        self.fold(&Body::Fact(fact.clone()));
        self.out.facts.push(fact);
    }

    /// Gives a command.
    pub(crate) fn command(&mut self, command: Command) {
        self.command_again(command, 0);
    }

    fn command_again(&mut self, command: Command, failures: u32) {
        self.n_commands += 1;
        let id = CommandId(self.n_commands);
        self.outstanding.insert(id, command.clone(), failures);
        self.out.commands.push(Ordered { id, command });
    }

    /// Whether a command about `subject` for which `wanted` says so waits for its answer.
    pub(crate) fn waits_for(&self, subject: impl Into<Subject>, wanted: impl Fn(&Command) -> bool) -> bool {
        self.outstanding.about(&subject.into()).any(|(_, command)| wanted(command))
    }

    /// Whether the answer of that command is still waited for.
    pub(crate) fn is_outstanding(&self, command: CommandId) -> bool {
        self.outstanding.get(command).is_some()
    }

    /// Forgets commands about `subject`; their answers, should they come, are passed over.
    pub(crate) fn forget_commands(&mut self, subject: impl Into<Subject>, unwanted: impl Fn(&Command) -> bool) {
        let subject = subject.into();
        let about = self.outstanding.about(&subject);
        let ids: Vec<CommandId> = about.filter(|(_, command)| unwanted(command)).map(|(id, _)| id).collect();
        for id in ids {
            self.outstanding.remove(id);
            self.timers.stop(&TimerKey::Again(id));
        }
    }

    pub(crate) fn degraded(&mut self, what: impl Into<String>, because: impl Into<String>) {
        self.fact(Fact::Degraded { what: what.into(), because: because.into() });
    }

    pub(crate) fn start_timer(&mut self, key: TimerKey, length_ms: u64) {
        if let Some(now) = &self.now {
            self.timers.start(key, now, length_ms);
        }
    }

    /// The longest usual time between two scrapes of the entities that an incident concerns. Milliseconds; 0 until it is known.
    pub(crate) fn interval_ms(&self, id: &IncidentId) -> u64 {
        let entities = self.incidents.get(id).into_iter().flat_map(|run| &run.incident.anomalies).map(|a| &a.entity);
        entities.filter_map(|entity| self.intervals.get(entity)).copied().max().unwrap_or(0)
    }

    pub(crate) fn settings(&self) -> super::config::EngineSettings {
        self.config.as_ref().map(|config| config.settings.clone()).unwrap_or_default()
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.now.as_ref().map(|now| now.wall).unwrap_or_default()
    }

    pub(crate) fn mono_ns(&self) -> u64 {
        self.now.as_ref().map(|now| now.mono_ns).unwrap_or_default()
    }

    /// The incident whose plan has this step.
    pub(crate) fn incident_of(&self, step: &StepRef) -> Option<IncidentId> {
        self.kernel.plan(&step.plan).map(|plan| plan.incident.clone())
    }

    /// The plan's own words for a step.
    pub(crate) fn planned_step(&self, step: &StepRef) -> Option<&ir_core::Step> {
        let run = self.incidents.get(&self.incident_of(step)?)?.run.as_ref()?;
        if run.plan.id == step.plan { run.plan.step(&step.step) } else { None }
    }

    pub(crate) fn run_of(&mut self, step: &StepRef) -> Option<&mut PlanRun> {
        let incident = self.incident_of(step)?;
        let run = self.incidents.get_mut(&incident)?.run.as_mut()?;
        (run.plan.id == step.plan).then_some(run)
    }

    /// An answer: it must belong to a command that waits, or it is too late and passed over.
    fn on_reported(&mut self, id: CommandId, report: &Report) {
        let Some(Waiting { command, failures }) = self.outstanding.remove(id) else { return };
        match (command, report) {
            (command, Report::Failed(failure)) => self.on_failed(command, failures, failure),
            (Command::Correlate { anomalies }, Report::Correlated { groupings, intervals }) => {
                self.intervals.extend(intervals.iter().cloned());
                self.on_correlated(&anomalies, groupings);
                self.correlate();
            }
            (Command::Diagnose { incident, .. }, Report::Diagnosed(hypothesis)) => {
                self.on_diagnosed(&incident, hypothesis)
            }
            (Command::Classify { incident }, Report::Classified(class)) => self.on_classified(&incident, class),
            (Command::Plan { incident, .. }, Report::Planned(planned)) => self.on_planned(&incident, planned),
            (Command::Preview { step, .. }, Report::Previewed { preview, .. }) => self.on_previewed(&step, preview),
            (Command::Probe { step, .. }, Report::Probed { probed, after }) => self.on_probed(&step, *probed, *after),
            (Command::Verify { step, .. }, Report::Verified { verified, pace }) => {
                self.on_verified(&step, verified, *pace);
            }
            (Command::Ask { request, .. }, Report::Asked { delivered, failed }) => {
                self.on_asked(&request, delivered, failed);
            }
            (Command::Keep { .. }, Report::Kept) => {}
            (command, _) => {
                self.degraded(
                    format!("{command:?}").chars().take(80).collect::<String>(),
                    "its answer is of another kind",
                );
            }
        }
    }

    /// A component failed. Where calling it again is harmless that is done after a delay; else the stage says what follows.
    fn on_failed(&mut self, command: Command, failures: u32, failure: &Failure) {
        let failures = failures + 1;
        // An executor that is away or asks to be called less often is waited for; everything else is tried a few times.
        let executor = matches!(command, Command::Preview { .. } | Command::Send { .. } | Command::Probe { .. });
        let settings = self.settings();
        let more = if executor && passes_with_time(failure.kind) {
            let waited = (1..failures).map(|n| backoff::delay_ms(&settings, "", n)).fold(0, u64::saturating_add);
            waited < settings.patience_ms
        } else {
            failures < settings.retries.max(1)
        };
        if more && !matches!(command, Command::Correlate { .. }) {
            return self.command_later(command, failures);
        }
        self.degraded(name_of(&command), failure.to_string());
        match command {
            Command::Correlate { anomalies } => self.correlate_alone(&anomalies),
            Command::Diagnose { incident, .. } => self.hand_over(&incident, "no diagnosis could be made"),
            Command::Classify { incident } => self.on_unclassified(&incident, failure),
            Command::Plan { incident, .. } => self.hand_over(&incident, "no plan could be made"),
            Command::Preview { step, .. } => self.on_unreadable(&step, failure),
            Command::Send { step, .. } => {
                self.give_up_sending(&step, &format!("its target could not be read right before: {failure}"));
            }
            Command::Probe { step, .. } => self.on_probed(&step, ir_core::Probed::Unknown, None),
            Command::Verify { step, .. } => self.on_unverified(&step),
            Command::Ask { request, .. } => self.on_asked(&request, &[], std::slice::from_ref(failure)),
            // The lesson stands in the journal.
            Command::Keep { .. } => {}
        }
    }

    /// Gives a command whose component failed, once its delay is over.
    fn command_later(&mut self, command: Command, failures: u32) {
        self.n_commands += 1;
        let id = CommandId(self.n_commands);
        let delay_ms = backoff::delay_ms(&self.settings(), &id.0.to_string(), failures);
        self.outstanding.insert(id, command, failures);
        self.start_timer(TimerKey::Again(id), delay_ms);
    }

    fn give_again(&mut self, id: CommandId) {
        if let Some(command) = self.outstanding.get(id).cloned() {
            self.out.commands.push(Ordered { id, command });
        }
    }

    fn on_timer(&mut self, key: TimerKey) {
        match key {
            TimerKey::Settle(incident) => self.diagnose(&incident),
            TimerKey::Quiet(incident) => self.on_quiet(&incident),
            TimerKey::Forget(incident) => self.on_forgotten(&incident),
            TimerKey::Approval(step) => self.on_approval_over(&step),
            TimerKey::Ask(step) => self.deliver(&step),
            TimerKey::Retry(step) => self.retry(&step),
            TimerKey::Again(id) => self.give_again(id),
            TimerKey::Deadline(step) => self.on_deadline(&step),
            TimerKey::Probe(step) => self.probe(&step),
            TimerKey::Verify(step) => self.verify(&step),
            TimerKey::VerifyEnd(step) => self.on_verify_over(&step),
        }
    }

    /// After a start every wait begins anew, every question is asked again, and what was in flight is settled.
    fn on_started(&mut self, forgetful: &[PartName]) {
        if let Some(now) = self.now.clone() {
            self.timers.restart(&now, |key| matches!(key, TimerKey::Again(_)));
        }
        let again = std::mem::take(&mut self.outstanding);
        // What was in flight is settled by its class from the beginning, and only then probed or sent again.
        let again =
            again.iter().filter(|(_, command)| !matches!(command, Command::Send { .. } | Command::Probe { .. }));
        for (_, command) in again {
            self.command(command.clone());
        }
        // How long a success had lasted was measured on another clock, or not at all meanwhile.
        let now_ns = self.mono_ns();
        let verifies = |run: &IncidentRun| run.run.as_ref().is_some_and(|plan| !plan.verifying.is_empty());
        let verifying: Vec<IncidentId> =
            self.incidents.iter().filter(|(_, run)| verifies(run)).map(|(id, _)| id.clone()).collect();
        for id in verifying {
            let plan = self.incidents.get_mut(&id).and_then(|run| run.run.as_mut());
            for verify in plan.into_iter().flat_map(|plan| plan.verifying.values_mut()) {
                (verify.held_since, verify.began_mono_ns) = (None, now_ns);
            }
        }
        self.settle_doubt();
        self.recover_steps();
        self.await_forgotten(forgetful);
        // It may be another correlator, or another topology.
        self.uncorrelated = true;
        self.correlate();
    }

    /// What a person or an earlier call of this machine may be told of a call.
    pub(crate) fn describe(call: &Call) -> String {
        format!("`{call}`")
    }
}

/// Why a step of an isolated plan is not sent.
pub(crate) const ISOLATED: &str = "an illegal fact was about its plan, which sends nothing more";

/// The one plan that a fact is about.
fn plan_of(body: &Body) -> Option<&PlanId> {
    match body {
        Body::Fact(fact) => match fact {
            Fact::PlanAccepted { plan, .. } | Fact::PlanRevised { plan, .. } => Some(&plan.id),
            Fact::StepPreviewed { step, .. }
            | Fact::ApprovalDelivered { step, .. }
            | Fact::StepMoved { step, .. }
            | Fact::StepDelayed { step, .. }
            | Fact::AttemptCleared { step, .. }
            | Fact::AttemptFound { step, .. }
            | Fact::AttemptUnknown { step, .. } => Some(&step.plan),
            Fact::Decided(decision) => Some(&decision.step.plan),
            Fact::ApprovalCounted(approved) => Some(&approved.step.plan),
            // The fold refuses none of these.
            Fact::IncidentOpened { .. }
            | Fact::IncidentGrew { .. }
            | Fact::IncidentMoved { .. }
            | Fact::HypothesisFormed { .. }
            | Fact::PlanRejected { .. }
            | Fact::ApprovalOpened(_)
            | Fact::AnswerRejected { .. }
            | Fact::OrderRejected { .. }
            | Fact::OutcomeReached(_)
            | Fact::LessonDrawn(_)
            | Fact::Degraded { .. } => None,
        },
        Body::Event(_) | Body::Gate(_) | Body::Spilled { .. } => None,
    }
}

/// Whether a failure of that kind may be over after a while.
pub(crate) const fn passes_with_time(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::Timeout)
}

fn read_config(started: &Started) -> Result<EngineConfig> {
    EngineConfig::deserialize(started.config.here()?).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, "engine", format!("the recorded configuration cannot be read: {error}"))
    })
}

fn name_of(command: &Command) -> &'static str {
    match command {
        Command::Correlate { .. } => "correlation",
        Command::Diagnose { .. } => "diagnosis",
        Command::Classify { .. } => "classification",
        Command::Plan { .. } => "planning",
        Command::Preview { .. } => "preview",
        Command::Ask { .. } => "asking people",
        Command::Send { .. } => "reading before the effect",
        Command::Probe { .. } => "probe",
        Command::Verify { .. } => "verification",
        Command::Keep { .. } => "keeping a lesson",
    }
}

/// The bodies of an output, behind `event`.
#[must_use]
pub fn bodies(event: Event, facts: &[Fact]) -> Vec<Body> {
    std::iter::once(Body::Event(event)).chain(facts.iter().cloned().map(Body::Fact)).collect()
}

/// What of a record the machine must take: events and what the gate did. Facts it comes to by itself.
pub(crate) fn takes(record: &Record) -> bool {
    matches!(record.body, Body::Event(_) | Body::Gate(_))
}

/// Words for an event in the record that says that it was dropped.
pub(crate) fn describe_event(event: &Event) -> String {
    match event {
        Event::Started(_) => "the start".to_owned(),
        Event::TailRepaired(_) => "the repair of the journal".to_owned(),
        Event::CarriedOver(_) => "what was carried over".to_owned(),
        Event::Observed(_) => "a poll cycle".to_owned(),
        Event::Reported { command, .. } => format!("the answer to command {}", command.0),
        Event::Executed(execution) => format!("the answer to an attempt of step `{}`", execution.step),
        Event::Answered(answer) => format!("the answer of {} to a request", answer.by.name),
        Event::Overridden { incident, by, .. } => format!("the order of {} to take over {incident}", by.name),
        Event::ClosedByPerson { incident, by, .. } => format!("the order of {} to close {incident}", by.name),
        Event::PlaybookOrdered { incident, by, .. } => {
            format!("the order of {} to run a playbook for {incident}", by.name)
        }
        Event::AutomationResumed { incident, by, .. } => format!("the order of {} to resume {incident}", by.name),
        Event::SettledByPerson { step, by, .. } => format!("the order of {} to settle step `{step}`", by.name),
        Event::Judged { by, .. } => format!("the feedback of {}", by.name),
        Event::TimerFired { timer } => format!("the timer `{timer}`"),
        Event::Stopping => "the stop".to_owned(),
        Event::LeftInFlight { .. } => "the list of what is in flight".to_owned(),
        Event::Dropped { event, .. } => event.clone(),
    }
}

#[cfg(test)]
thread_local! {
    /// Facts that a test makes the machine come to: each is offered every event and every decision of the gate until it gives one.
    pub(crate) static SABOTAGE: std::cell::RefCell<std::collections::VecDeque<Saboteur>> = const {
        std::cell::RefCell::new(std::collections::VecDeque::new())
    };
}

/// Gives the facts that the machine must come to after an event, or after what the gate did.
#[cfg(test)]
pub(crate) type Saboteur = fn(&Machine, Option<&Event>, Option<&GateFact>) -> Option<Fact>;

#[cfg(test)]
impl Machine {
    fn sabotage(&mut self, event: &Event) {
        self.follow_saboteur(Some(event), None);
    }

    fn sabotage_gate(&mut self, fact: &GateFact) {
        self.follow_saboteur(None, Some(fact));
    }

    fn follow_saboteur(&mut self, event: Option<&Event>, gate: Option<&GateFact>) {
        let next = SABOTAGE.with_borrow(|facts| facts.front().copied());
        if let Some(fact) = next.and_then(|saboteur| saboteur(self, event, gate)) {
            SABOTAGE.with_borrow_mut(std::collections::VecDeque::pop_front);
            self.fact(fact);
        }
    }

    /// Everything that decides what may follow, with times as distances from now: for the exhaustive model.
    pub(crate) fn essence(&self) -> String {
        use std::fmt::Write as _;
        let now = self.now.clone().unwrap_or_else(|| Moment {
            wall: Timestamp::default(),
            mono_ns: 0,
            boot: ir_core::BootId::new("none"),
        });
        let mut text = format!("{:?} {}", self.kernel.halted().is_some(), self.kernel.epoch());
        for (step, entry) in self.kernel.steps() {
            let open = entry.open.as_ref().map(|open| {
                let left = open.intent.deadline_mono_ns.saturating_sub(now.mono_ns);
                (open.intent.direction, open.intent.attempt, open.intent.token, left, open.at.boot == now.boot)
            });
            let sent = (entry.do_attempts, entry.undo_attempts, &entry.unresolved, open, entry.fence, entry.spent);
            let ages: Vec<Option<u64>> = entry.approvals.iter().map(|(_, at)| now.mono_since(at)).collect();
            let asked = (entry.covers, entry.delivered.is_some(), ages, entry.decision.is_some());
            let lock = self.kernel.lock_of(&entry.call.target).is_some();
            let _ = write!(text, "; {step} {} {sent:?} {asked:?} {:?} {lock}", entry.state, entry.after_state);
        }
        for run in self.incidents.values() {
            let _ = write!(text, "; {:?} {} {}", run.incident.state, run.diagnoses, run.plans);
            if let Some(plan) = &run.run {
                let waits: Vec<_> = plan.delays.iter().map(|(id, delay)| (id, delay.times, delay.total_ms)).collect();
                let asks: Vec<_> =
                    plan.asks.iter().map(|(id, ask)| (id, &ask.request.id, ask.delivered.len())).collect();
                let flags = (plan.failing.is_some(), plan.taking_back, plan.overridden, plan.plan.revision);
                let _ = write!(text, " {flags:?} {waits:?} {asks:?} {:?}", plan.verifying.keys());
            }
        }
        for (timer, due) in self.timers.all() {
            let _ = write!(text, "; {timer} in {}", due.saturating_sub(now.mono_ns));
        }
        for (_, command) in self.outstanding.iter() {
            let _ = write!(text, "; {}", name_of(command));
        }
        text
    }
}
