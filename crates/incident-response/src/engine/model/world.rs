//! The world of the model: targets that count their effects, permits that are out, and a shell without tasks.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};

use ir_core::anomaly::Symptom;
use ir_core::journal::{CommandId, Content, Event, Fenced, GateFact, Halted, Observed, Report, Started};
use ir_core::kernel::{self, AuthorizeRequest, Limits};
use ir_core::plan::{Call, PlanDraft, Provenance, Step, Verification};
use ir_core::*;
use ir_plan::decision::Policy;

use crate::engine::command::{Command, Ordered};
use crate::engine::config::{EngineConfig, EngineSettings};
use crate::engine::machine::{Machine, Output};

const SETTLES_MS: u64 = 500;
const TIMEOUT_MS: u64 = 2_000;

/// What a plan looks like and how much the world may do to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scene {
    pub(super) class: RecoveryClass,
    /// Whether the effect helps; where it does not, it is taken back.
    pub(super) helps: bool,
    /// The do is answered at once, and the world's choices begin with the undo.
    pub(super) undo_only: bool,
    /// A second step that is built on the first and that a person must approve.
    pub(super) second: bool,
    /// Attempts that the world answers in any way; later ones are answered at once.
    pub(super) answers: u8,
    /// Halts (each with a resume), ends of the lease, and restarts.
    pub(super) halts: u8,
    pub(super) leases: u8,
    pub(super) restarts: u8,
    pub(super) mutant: Option<Mutant>,
}

/// A fault that was once there, planted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mutant {
    /// Any error after redeeming, a lost answer too, is taken for "nothing was changed".
    ErrorsDeny,
    /// A refused repetition is taken for the end of the whole step.
    RefusalSpeaksForAll,
    /// A permit outlives the settlement of its attempt.
    PermitOutlives,
    /// An effect lands later than its class promises: the same as a probe that comes too early.
    LandsTooLate,
    /// The target does not keep the fence.
    FenceIsIgnored,
    /// The target does not know keys that it has seen.
    KeysAreForgotten,
}

impl Mutant {
    /// Each with a scene in which it can do harm and the property that must notice it.
    pub(super) fn all() -> Vec<(Self, Scene, &'static str)> {
        let probe = RecoveryClass::Probe { settles_within_ms: SETTLES_MS };
        let rows = [
            (Self::ErrorsDeny, RecoveryClass::Blind, "not applied"),
            (Self::RefusalSpeaksForAll, RecoveryClass::Keyed, "not applied"),
            (Self::PermitOutlives, RecoveryClass::Blind, "not applied"),
            (Self::LandsTooLate, probe, "no effect is doubled"),
            (Self::FenceIsIgnored, RecoveryClass::FenceProbe, "no effect is doubled"),
            (Self::KeysAreForgotten, RecoveryClass::Keyed, "no effect is doubled"),
        ];
        let scene = |mutant, class| Scene { mutant: Some(mutant), ..Scene::single(class, true) };
        rows.into_iter().map(|(mutant, class, property)| (mutant, scene(mutant, class), property)).collect()
    }
}

impl Scene {
    /// One step, three answers in any way, and nothing else.
    fn single(class: RecoveryClass, helps: bool) -> Self {
        let (undo_only, second, mutant) = (false, false, None);
        Self { class, helps, undo_only, second, answers: 3, halts: 0, leases: 0, restarts: 0, mutant }
    }

    /// All scenes: with two disturbances each and an undo by itself, or with all three from the do to the undo where `whole`.
    pub(super) fn all(whole: bool) -> Vec<Self> {
        let probe = RecoveryClass::Probe { settles_within_ms: SETTLES_MS };
        let classes = [RecoveryClass::Keyed, RecoveryClass::FenceProbe, probe, RecoveryClass::Blind];
        let disturbed = |scene: &Self| match whole {
            true => vec![Self { halts: 1, leases: 1, restarts: 1, ..scene.clone() }],
            false => {
                vec![Self { halts: 1, restarts: 1, ..scene.clone() }, Self { leases: 1, restarts: 1, ..scene.clone() }]
            }
        };
        let single = |class, helps: bool| Self { undo_only: !helps && !whole, ..Self::single(class, helps) };
        let singles = classes.into_iter().flat_map(|class| [true, false].map(|helps| single(class, helps)));
        let pairs = classes.into_iter().map(|class| Self {
            second: true,
            answers: 2,
            restarts: 1,
            ..Self::single(class, false)
        });
        singles.flat_map(|scene| disturbed(&scene)).chain(pairs).collect()
    }

    pub(super) fn name(&self) -> String {
        let class = match self.class {
            RecoveryClass::Keyed => "keyed",
            RecoveryClass::FenceProbe => "fence_probe",
            RecoveryClass::Probe { .. } => "probe",
            RecoveryClass::Blind => "blind",
        };
        let steps = if self.second { "two steps" } else { "one step" };
        let ends = match (self.helps, self.undo_only) {
            (true, _) => "helps",
            (false, true) => "its undo",
            (false, false) => "taken back",
        };
        let with = [("halt", self.halts), ("lease end", self.leases), ("restart", self.restarts)];
        let with: Vec<&str> = with.into_iter().filter(|(_, n)| *n > 0).map(|(name, _)| name).collect();
        format!("{class}, {steps}, {ends}, {}", with.join(", "))
    }

    /// Sequences of answers that are tried, without what may come between them.
    pub(super) fn sequences(&self) -> usize {
        (1..=u32::from(self.answers)).map(|n| Answer::ALL.len().pow(n)).sum()
    }
}

/// What the world makes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    /// It fails before its permit is redeemed.
    FailsFirst,
    /// The effect takes place and the answer arrives.
    Arrives,
    /// The effect takes place and the answer is lost.
    LostAfter,
    /// The request is lost.
    LostBefore,
    /// The target refuses, and says so.
    Refused,
    /// The effect takes place and nothing is heard.
    SilentAfter,
    /// It is on its way and nothing is heard: the effect may land later.
    SilentBefore,
}

impl Answer {
    pub(super) const ALL: [Self; 7] = [
        Self::FailsFirst,
        Self::Arrives,
        Self::LostAfter,
        Self::LostBefore,
        Self::Refused,
        Self::SilentAfter,
        Self::SilentBefore,
    ];
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Choice {
    /// An attempt is answered.
    Answered(usize, Answer),
    /// What is on its way lands.
    Lands(usize),
    /// An answer comes long after it was given up.
    Late(usize),
    /// Nothing else happens until the next timer.
    Timer,
    Halt,
    Resume,
    LeaseEnds,
    LeaseRenewed,
    /// The process dies and starts again, with or without the machine it runs on.
    Restart(bool),
    Approve,
    Refuse,
    Modify,
}

/// An attempt that is out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flight {
    step: StepId,
    direction: Direction,
    attempt: u32,
    token: u64,
    key: EffectKey,
    deadline_ns: u64,
    /// The class promises that nothing lands later.
    lands_until_ns: u64,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The executor has the permit.
    Permit,
    /// The request is on its way; an answer may still come.
    Sent { landed: bool },
    /// The same, and who waited for the answer is gone.
    Orphan,
}

/// One target's own account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Target {
    does: u8,
    undoes: u8,
    fence: u64,
    keys: Vec<EffectKey>,
    tokens: Vec<u64>,
    in_place: bool,
}

/// The whole state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sim {
    scene: Scene,
    machine: Machine,
    now: Moment,
    targets: BTreeMap<StepId, Target>,
    flights: Vec<Flight>,
    intended: Vec<u64>,
    token: u64,
    answers: u8,
    halts: u8,
    leases: u8,
    restarts: u8,
    modified: bool,
    lease_over: bool,
    ground_was_taken: bool,
}

impl Hash for Sim {
    /// Everything that decides what may follow, with times as distances from now.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let left = (self.answers, self.halts, self.leases, self.restarts, self.modified, self.lease_over);
        (left, self.ground_was_taken, self.machine.essence()).hash(state);
        format!("{:?}", self.targets).hash(state);
        for flight in &self.flights {
            let left = |ns: u64| ns.saturating_sub(self.now.mono_ns);
            (left(flight.deadline_ns), left(flight.lands_until_ns)).hash(state);
            (&flight.step, flight.direction, flight.attempt, flight.token).hash(state);
            format!("{:?}", flight.phase).hash(state);
        }
    }
}

fn name<T: TryFrom<String>>(text: &str) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(text.to_owned()).expect("a name of the model")
}

const TARGETS: [(&str, &str); 2] = [("a", "front"), ("b", "back")];

fn config(scene: &Scene) -> EngineConfig {
    let spec = |action: &str, undo: &str| ActionSpec {
        name: name(action),
        description: action.to_owned(),
        params: serde_json::json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": []}),
        risk: RiskClass::Low,
        reversibility: Reversibility::Undo { action: name(undo) },
        recovery: scene.class,
        blast_radius: 1,
        changes_target: true,
    };
    let topology = "[[entity]]\nid = \"front\"\n[[entity]]\nid = \"back\"\nprotected = true\n";
    let policy = "tier = \"act\"\napproval_expires_secs = 60\n[[rule]]\nname = \"all\"\neffect = \"permit\"\n";
    let settings = EngineSettings {
        plans: 1,
        verify_every_ms: 1_000,
        patience_ms: 4_000,
        answer_within_ms: 1_000,
        ..EngineSettings::default()
    };
    EngineConfig {
        topology: Topology::parse(topology, "model").expect("a topology"),
        catalogue: Catalogue::new([spec("model.do", "model.undo"), spec("model.undo", "model.do")])
            .expect("a catalogue"),
        policy: Policy::parse(policy, "model").expect("a policy"),
        settings,
    }
}

fn call(target: &str) -> Call {
    Call { action: name("model.do"), target: name(target), params: serde_json::Map::new() }
}

fn state_of(target: &Target) -> Digest {
    Digest::of(if target.in_place { b"in place" } else { b"before" })
}

impl Sim {
    pub(super) fn new(scene: Scene) -> Self {
        let targets = TARGETS.iter().map(|(step, _)| (name(step), Target::default())).collect();
        let now = Moment { wall: Timestamp::default(), mono_ns: 1_000_000_000, boot: BootId::new("first") };
        let (answers, halts, leases, restarts) = (scene.answers, scene.halts, scene.leases, scene.restarts);
        let mut sim = Self {
            scene,
            machine: Machine::new(),
            now,
            targets,
            flights: Vec::new(),
            intended: Vec::new(),
            token: 0,
            answers,
            halts,
            leases,
            restarts,
            modified: false,
            lease_over: false,
            ground_was_taken: false,
        };
        sim.start();
        let anomaly = sim.anomaly();
        sim.apply(Event::Observed(Observed { anomalies: vec![anomaly], ..Observed::default() }));
        // The way to the first permit has no choices.
        while sim.flights.is_empty() {
            sim.fire();
        }
        if sim.scene.undo_only {
            sim.answered(0, Answer::Arrives);
            while sim.flights.is_empty() {
                sim.fire();
            }
        }
        sim
    }

    fn start(&mut self) {
        let epoch = self.machine.kernel().epoch() + 1;
        let fact = GateFact::Claimed { holder: name("model"), epoch, journal: Digest::of(b"model") };
        let output = self.absorb(&fact);
        self.perform(output);
        let started = Started {
            version: "model".into(),
            epoch,
            config: Content::Here(config(&self.scene).to_value().expect("a value")),
            policy: Digest::ZERO,
            limits: Limits { per_target_day: 100, per_environment: 100, ..Limits::default() },
            parts: Vec::new(),
            forgetful: Vec::new(),
        };
        self.apply(Event::Started(started));
    }

    fn anomaly(&self) -> Anomaly {
        Anomaly {
            id: name("sick"),
            detector: name("doctor"),
            version: 1,
            entity: name("front"),
            peer: None,
            subject: "sick".into(),
            labels: Labels::new(),
            symptom: Symptom::Errors,
            direction: AnomalyDirection::Up,
            phase: ir_core::Phase::Began,
            onset: self.now.wall,
            at: self.now.wall,
            score: Score::ONE,
            expected: Measured(0.0),
            seen: Measured(1.0),
            threshold: Measured(0.5),
            because: "sick".into(),
        }
    }

    fn draft(&self, incident: &IncidentId, plan: &PlanId) -> PlanDraft {
        let verification =
            Verification { anomalies_end: false, hold_ms: 0, within_ms: 1_500, ..Verification::default() };
        let count = if self.scene.second { 2 } else { 1 };
        let steps = TARGETS.iter().take(count).enumerate().map(|(n, (id, target))| Step {
            id: name(id),
            call: call(target),
            after: if n == 0 { Vec::new() } else { vec![name("a")] },
            phase: ir_core::plan::ResponsePhase::Recover,
            expected_effect: "well".into(),
            risk: RiskClass::Low,
            undo: None,
            verification: verification.clone(),
            timeout_ms: TIMEOUT_MS,
        });
        PlanDraft {
            id: plan.clone(),
            incident: incident.clone(),
            revision: 1,
            provenance: Provenance::Playbook { name: "model".into(), version: 1 },
            modified_by: None,
            hypothesis: HypothesisId::of(incident, 1),
            confidence: Probability::ONE,
            because: "model".into(),
            steps: steps.collect(),
        }
    }

    fn apply(&mut self, event: Event) {
        let output = self.machine.apply(&self.now, &event).expect("the machine has started");
        self.perform(output);
    }

    /// Nothing illegal may follow from what the gate did.
    fn absorb(&mut self, fact: &GateFact) -> Output {
        let output = self.machine.absorb(&self.now, fact);
        assert_eq!(self.machine.take_illegal(), None);
        output
    }

    /// A shell without tasks: every command is answered at once, but for attempts, which are the world's.
    fn perform(&mut self, output: Output) {
        let mut queue: VecDeque<Ordered> = output.commands.into();
        while let Some(Ordered { id, command }) = queue.pop_front() {
            let output = match self.answer(&command, id) {
                Done::Report(report) => {
                    let event = Event::Reported { command: id, report: *report };
                    self.machine.apply(&self.now, &event).expect("the machine has started")
                }
                Done::Output(output) => output,
            };
            queue.extend(output.commands);
        }
    }

    fn answer(&mut self, command: &Command, _: CommandId) -> Done {
        let report = match command {
            Command::Correlate { anomalies } => {
                let into = |anomaly: &AnomalyId| Grouping {
                    anomaly: anomaly.clone(),
                    into: Placement::Open { key: "all".into() },
                    because: "model".into(),
                };
                Report::Correlated { groupings: anomalies.iter().map(into).collect(), intervals: Vec::new() }
            }
            Command::Diagnose { hypothesis, .. } => {
                let cause = Cause {
                    entity: name("front"),
                    probability: Probability::ONE,
                    path: vec![name("front")],
                    change: None,
                    evidence: Vec::new(),
                };
                let (id, by) = (hypothesis.clone(), name("model"));
                Report::Diagnosed(Hypothesis { id, by, causes: vec![cause], abstains: None })
            }
            Command::Classify { .. } => Report::Classified(Classification {
                class: name("model"),
                confidence: Probability::ONE,
                severity: Severity::Low,
                because: Vec::new(),
                similar: Vec::new(),
                by: name("model"),
            }),
            Command::Plan { incident, plan, .. } => {
                Report::Planned(Planned { by: name("model"), drafts: vec![self.draft(incident, plan)] })
            }
            Command::Preview { step, call } => {
                let undo = Call { action: name("model.undo"), ..call.clone() };
                let state = state_of(&self.targets[&step.step]);
                let preview = Preview { state, summary: "model".into(), undo: Some(undo) };
                Report::Previewed { preview, read: self.now.clone() }
            }
            Command::Ask { .. } => Report::Asked { delivered: vec![name("desk")], failed: Vec::new() },
            Command::Keep { .. } => Report::Kept,
            Command::Verify { .. } => {
                let holds = if self.scene.helps { Holds::Yes } else { Holds::No };
                if self.scene.helps {
                    // What helped ended the anomaly, or its incident would open anew without end.
                    let ended = Anomaly { phase: ir_core::Phase::Ended, ..self.anomaly() };
                    let observed = Observed { anomalies: vec![ended], ..Observed::default() };
                    self.apply(Event::Observed(observed));
                }
                let verified = Verified { by: name("model"), holds, readings: Vec::new(), because: "model".into() };
                Report::Verified { verified, pace: Pace::default() }
            }
            Command::Probe { step, key, fence, .. } => return self.probe(step, *key, *fence),
            Command::Send { step, direction, .. } => return Done::Output(self.send(step, *direction)),
        };
        Done::Report(Box::new(report))
    }

    fn probe(&mut self, step: &StepRef, key: EffectKey, fence: bool) -> Done {
        let direction = self.machine.kernel().step(step).and_then(|entry| entry.open.as_ref());
        let direction = direction.map_or(Direction::Do, |open| open.intent.direction);
        if fence {
            self.token += 1;
            let fact = GateFact::Fenced(Fenced { step: step.clone(), token: self.token });
            let output = self.absorb(&fact);
            self.perform(output);
        }
        let target = self.targets.get_mut(&step.step).expect("a target of the model");
        if fence {
            target.fence = self.token;
        }
        let there = target.keys.contains(&key);
        let after = (there && direction == Direction::Do).then(|| state_of(target));
        let probed = if there { Probed::Applied } else { Probed::NotApplied };
        Done::Report(Box::new(Report::Probed { probed, after }))
    }

    /// Reads the target and asks the kernel, as the gate does.
    fn send(&mut self, step: &StepRef, direction: Direction) -> Output {
        let precondition = Precondition { state: state_of(&self.targets[&step.step]), read: self.now.clone() };
        let request = AuthorizeRequest { step: step.clone(), direction, precondition: precondition.clone() };
        let fact = match kernel::check(self.machine.kernel(), &request, &self.now) {
            Err(refusals) => GateFact::Refused { step: step.clone(), direction, precondition, refusals },
            Ok(intent) => {
                self.token = intent.token;
                self.intended.push(intent.token);
                self.flights.push(Flight {
                    step: step.step.clone(),
                    direction,
                    attempt: intent.attempt,
                    token: intent.token,
                    key: intent.key,
                    deadline_ns: intent.deadline_mono_ns,
                    lands_until_ns: self.lands_until(intent.deadline_mono_ns),
                    phase: Phase::Permit,
                });
                GateFact::Intent(intent)
            }
        };
        let output = self.absorb(&fact);
        // What the world may not answer any more in any way it likes is answered at once.
        if self.answers == 0
            && let Some(n) = self.flights.iter().rposition(|flight| flight.phase == Phase::Permit)
        {
            self.perform(output);
            self.answered(n, if self.may_redeem(n) { Answer::Arrives } else { Answer::FailsFirst });
            return Output::default();
        }
        output
    }

    fn may_redeem(&self, n: usize) -> bool {
        let halted = self.machine.kernel().halted().is_some();
        !halted && !self.lease_over && self.now.mono_ns < self.flights[n].deadline_ns
    }

    pub(super) fn choices(&self, choices: &mut Vec<Choice>) {
        for (n, flight) in self.flights.iter().enumerate() {
            match flight.phase {
                Phase::Permit if self.may_redeem(n) => {
                    choices.extend(Answer::ALL.map(|answer| Choice::Answered(n, answer)));
                }
                Phase::Permit => choices.push(Choice::Answered(n, Answer::FailsFirst)),
                Phase::Sent { landed } => {
                    choices.push(Choice::Late(n));
                    if !landed && self.may_land(flight) {
                        choices.push(Choice::Lands(n));
                    }
                }
                Phase::Orphan if self.may_land(flight) => choices.push(Choice::Lands(n)),
                Phase::Orphan => {}
            }
        }
        if self.machine.next_timer().is_some() {
            choices.push(Choice::Timer);
        }
        let halted = self.machine.kernel().halted().is_some();
        if halted {
            choices.push(Choice::Resume);
        } else if self.halts > 0 {
            choices.push(Choice::Halt);
        }
        if self.lease_over {
            choices.push(Choice::LeaseRenewed);
        } else if self.leases > 0 && self.flights.iter().any(|flight| flight.phase == Phase::Permit) {
            choices.push(Choice::LeaseEnds);
        }
        if self.restarts > 0 && !self.flights.is_empty() {
            choices.extend([Choice::Restart(false), Choice::Restart(true)]);
        }
        if self.machine.requests().next().is_some() {
            choices.extend([Choice::Approve, Choice::Refuse]);
            if !self.modified {
                choices.push(Choice::Modify);
            }
        }
    }

    /// What the class promises of the time within which an effect may still land.
    fn lands_until(&self, deadline_ns: u64) -> u64 {
        match self.scene.class {
            RecoveryClass::Probe { settles_within_ms } if self.scene.mutant != Some(Mutant::LandsTooLate) => {
                deadline_ns.saturating_add(settles_within_ms * 1_000_000)
            }
            _ => u64::MAX,
        }
    }

    fn may_land(&self, flight: &Flight) -> bool {
        self.now.mono_ns <= flight.lands_until_ns
    }

    pub(super) fn choose(&mut self, choice: Choice) {
        match choice {
            Choice::Answered(n, answer) => {
                self.answers = self.answers.saturating_sub(1);
                self.answered(n, answer);
            }
            Choice::Lands(n) => {
                self.land(n);
                match &mut self.flights[n].phase {
                    Phase::Sent { landed } => *landed = true,
                    _ => drop(self.flights.remove(n)),
                }
            }
            Choice::Late(n) => {
                let flight = self.flights.remove(n);
                match flight.phase {
                    Phase::Sent { landed: true } => self.executed(&flight, applied()),
                    _ => {
                        self.executed(&flight, unknown());
                        // It may still land.
                        self.flights.push(Flight { phase: Phase::Orphan, ..flight });
                    }
                }
            }
            Choice::Timer => self.fire(),
            Choice::Halt => {
                self.halts -= 1;
                let epoch = self.machine.kernel().halt_epoch() + 1;
                self.gate(GateFact::Halted(Halted { epoch, by: "model".into(), reason: "model".into() }));
            }
            Choice::Resume => {
                let epoch = self.machine.kernel().halt_epoch() + 1;
                self.gate(GateFact::Resumed { epoch, by: vec![Person::named("ann")], reason: "model".into() });
            }
            Choice::LeaseEnds => {
                self.leases -= 1;
                self.lease_over = true;
            }
            Choice::LeaseRenewed => self.lease_over = false,
            Choice::Restart(reboot) => self.restart(reboot),
            Choice::Approve => self.say(ir_core::Answer::Approve),
            Choice::Refuse => self.say(ir_core::Answer::Refuse),
            Choice::Modify => self.modify(),
        }
    }

    fn gate(&mut self, fact: GateFact) {
        let output = self.absorb(&fact);
        self.perform(output);
    }

    fn answered(&mut self, n: usize, answer: Answer) {
        if matches!(answer, Answer::Arrives | Answer::LostAfter | Answer::SilentAfter) {
            self.land(n);
        }
        if matches!(answer, Answer::SilentAfter | Answer::SilentBefore) {
            self.flights[n].phase = Phase::Sent { landed: answer == Answer::SilentAfter };
            return;
        }
        let flight = self.flights.remove(n);
        let fenced = self.scene.class == RecoveryClass::FenceProbe && flight.token < self.targets[&flight.step].fence;
        match answer {
            Answer::Arrives if fenced => self.executed(&flight, not_applied()),
            Answer::Arrives => self.executed(&flight, applied()),
            Answer::FailsFirst | Answer::Refused => {
                if answer == Answer::FailsFirst && self.scene.mutant == Some(Mutant::PermitOutlives) {
                    // The executor handed its permit on before it failed.
                    self.flights.push(Flight { phase: Phase::Orphan, ..flight.clone() });
                }
                if self.scene.mutant == Some(Mutant::RefusalSpeaksForAll) {
                    for attempt in 1..flight.attempt {
                        self.executed(&Flight { attempt, ..flight.clone() }, not_applied());
                    }
                }
                self.executed(&flight, not_applied());
            }
            _ if self.scene.mutant == Some(Mutant::ErrorsDeny) => self.executed(&flight, not_applied()),
            _ => self.executed(&flight, unknown()),
        }
    }

    fn executed(&mut self, flight: &Flight, result: AttemptResult) {
        let plan = self.machine.kernel().plans().next().map(|(id, _)| id.clone());
        let Some(plan) = plan else { return };
        let is_do = flight.direction == Direction::Do && matches!(result, AttemptResult::Applied { .. });
        let after = is_do.then(|| state_of(&self.targets[&flight.step]));
        self.apply(Event::Executed(Execution {
            step: StepRef { plan, step: flight.step.clone() },
            direction: flight.direction,
            attempt: flight.attempt,
            by: name("hands"),
            result,
            after,
        }));
    }

    /// An effect reaches its target.
    fn land(&mut self, n: usize) {
        let flight = self.flights[n].clone();
        let known = self.scene.mutant != Some(Mutant::KeysAreForgotten);
        let fences = self.scene.mutant != Some(Mutant::FenceIsIgnored);
        let ground = flight.direction == Direction::Undo && flight.step == name::<StepId>("a");
        let others = self.targets.iter().any(|(step, target)| *step != flight.step && target.in_place);
        let target = self.targets.get_mut(&flight.step).expect("a target of the model");
        let repeated = self.scene.class == RecoveryClass::Keyed && known && target.keys.contains(&flight.key);
        let fenced = self.scene.class == RecoveryClass::FenceProbe && fences && flight.token < target.fence;
        if repeated || fenced {
            return;
        }
        match flight.direction {
            Direction::Do => target.does += 1,
            Direction::Undo => target.undoes += 1,
        }
        target.in_place = flight.direction == Direction::Do;
        target.keys.push(flight.key);
        target.tokens.push(flight.token);
        self.ground_was_taken |= ground && others;
    }

    /// Time goes on to the next timer.
    fn fire(&mut self) {
        let Some((timer, due)) = self.machine.next_timer().map(|(timer, due)| (timer.to_owned(), due)) else { return };
        let passed = due.saturating_sub(self.now.mono_ns);
        self.now.mono_ns += passed;
        self.now.wall = self.now.wall.plus(std::time::Duration::from_nanos(passed));
        self.apply(Event::TimerFired { timer });
    }

    fn restart(&mut self, reboot: bool) {
        self.restarts -= 1;
        self.lease_over = false;
        // Permits die with the process; what was sent may still arrive.
        self.flights.retain(|flight| flight.phase == Phase::Orphan || flight.phase == Phase::Sent { landed: false });
        for flight in &mut self.flights {
            flight.phase = Phase::Orphan;
        }
        // What can land no more is gone, and the other times are as far away on the new clock as on the old.
        self.flights.retain(|flight| self.now.mono_ns <= flight.lands_until_ns);
        if reboot {
            let old = self.now.mono_ns;
            self.now = Moment { mono_ns: 500_000_000, boot: BootId::new("second"), ..self.now.clone() };
            let moved = |ns: u64| if ns == u64::MAX { ns } else { self.now.mono_ns + ns.saturating_sub(old) };
            for flight in &mut self.flights {
                flight.deadline_ns = moved(flight.deadline_ns);
                flight.lands_until_ns = moved(flight.lands_until_ns);
            }
        }
        self.start();
    }

    fn say(&mut self, answer: ir_core::Answer) {
        let Some(request) = self.machine.requests().next().cloned() else { return };
        let (by, reason) = (Person::named("ann"), "model".into());
        let (request, plan_digest) = (request.id, request.plan_digest);
        self.apply(Event::Answered(ApprovalAnswer { request, plan_digest, by, answer, reason }));
    }

    fn modify(&mut self) {
        self.modified = true;
        let params = Some([("n".to_owned(), serde_json::json!(1))].into_iter().collect());
        let change = StepChange { step: name("b"), action: None, params, drop: false };
        self.say(ir_core::Answer::Modify { changes: vec![change] });
    }

    /// Where it stands, for the message of a property that does not hold.
    pub(super) fn essence(&self) -> String {
        format!("{}; {:?}", self.machine.essence(), self.flights)
    }

    // What must hold.

    fn entries(&self) -> impl Iterator<Item = (StepId, &kernel::StepEntry)> {
        self.machine.kernel().steps().map(|(step, entry)| (step.step, entry))
    }

    pub(super) fn effects_are_intended(&self) -> bool {
        self.targets.values().flat_map(|target| &target.tokens).all(|token| self.intended.contains(token))
    }

    pub(super) fn effects_are_single(&self) -> bool {
        self.targets.values().all(|target| target.does <= 1 && target.undoes <= 1)
    }

    pub(super) fn not_applied_is_true(&self) -> bool {
        self.entries().filter(|(_, entry)| entry.state == StepState::NotApplied).all(|(step, _)| {
            let coming = self
                .flights
                .iter()
                .any(|flight| flight.step == step && flight.direction == Direction::Do && self.may_come(flight));
            !self.targets[&step].in_place && !coming
        })
    }

    /// Whether an effect that is on its way would still take place.
    fn may_come(&self, flight: &Flight) -> bool {
        let unsent = flight.phase == Phase::Permit && !self.may_redeem_ever(flight);
        let landed = flight.phase == Phase::Sent { landed: true };
        let target = &self.targets[&flight.step];
        let fenced = self.scene.class == RecoveryClass::FenceProbe && flight.token < target.fence;
        !unsent && !landed && !fenced && self.may_land(flight)
    }

    fn may_redeem_ever(&self, flight: &Flight) -> bool {
        self.now.mono_ns < flight.deadline_ns
    }

    pub(super) fn done_is_true(&self) -> bool {
        self.entries().all(|(step, entry)| {
            let target = &self.targets[&step];
            match entry.state {
                StepState::Applied | StepState::Verifying | StepState::Done => target.does == 1,
                StepState::RolledBack => target.does == 1 && target.undoes == 1 && !target.in_place,
                _ => true,
            }
        })
    }

    pub(super) const fn ground_stays(&self) -> bool {
        !self.ground_was_taken
    }

    /// When nothing is left that could happen by itself, every step is at its end, and only what waits for a person is locked.
    pub(super) fn all_comes_to_an_end(&self) -> bool {
        let mut choices = Vec::new();
        self.choices(&mut choices);
        if choices.iter().any(|choice| !matches!(choice, Choice::Lands(_) | Choice::Halt | Choice::Restart(_))) {
            return true;
        }
        self.entries().all(|(_, entry)| {
            let locked = self.machine.kernel().lock_of(&entry.call.target).is_some();
            entry.state.is_terminal() && (!locked || entry.state.waits_for_person())
        })
    }
}

enum Done {
    Report(Box<Report>),
    Output(Output),
}

fn applied() -> AttemptResult {
    AttemptResult::Applied { applied: Applied { summary: "model".into() } }
}

fn failure() -> Failure {
    Failure { kind: ErrorKind::Conflict, component: "model".into(), message: "model".into() }
}

fn not_applied() -> AttemptResult {
    AttemptResult::NotApplied { failure: failure() }
}

fn unknown() -> AttemptResult {
    AttemptResult::Unknown { failure: failure() }
}
