//! Properties over random histories, judged by a small model that counts for itself.

use std::collections::{BTreeMap, BTreeSet};

use ir_core::execution::{AttemptResult, Execution, Precondition};
use ir_core::journal::{Approved, Content, Event, Started, StepTerms};
use ir_core::kernel::{State, check};
use ir_core::plan::{Call, PlanDraft, Provenance, ResponsePhase, Step, Verification};
use ir_core::{
    AutonomyTier, BootId, Clock, Decision, HypothesisId, IncidentId, ManualClock, PlanId, Preview, Probability, Quorum,
    RecoveryClass, Reversibility, RiskClass, StepId, StepRef, Verdict,
};
use proptest::prelude::*;

use super::*;

const JOURNAL: Digest = Digest::ZERO;
const N_PLANS: usize = 3;
const N_STEPS: usize = 2;
const APPROVAL_MS: u64 = 5_000;
const PER_DAY: u32 = 1;
const PER_MINUTE: u32 = 1;
const DAY_NS: u64 = 86_400_000_000_000;

fn limits() -> Limits {
    Limits { per_environment: PER_MINUTE, environment_window_ms: 60_000, per_target_day: PER_DAY, ..Limits::default() }
}

fn step_ref(n: usize) -> StepRef {
    let plan = PlanId::of(&IncidentId::numbered(1), (n / N_STEPS % N_PLANS) as u32 + 1);
    StepRef { plan, step: StepId::new(format!("s{}", n % N_STEPS)).unwrap() }
}

/// The recovery class of each step's do, one of each kind over the plans.
fn recovery(n: usize) -> RecoveryClass {
    match n % 4 {
        0 => RecoveryClass::Keyed,
        1 => RecoveryClass::Blind,
        2 => RecoveryClass::Probe { settles_within_ms: 10 },
        _ => RecoveryClass::FenceProbe,
    }
}

/// What can be known of a lost attempt.
fn class(n: usize, direction: Direction) -> RecoveryClass {
    match direction {
        Direction::Do => recovery(n),
        Direction::Undo => recovery(n + 1),
    }
}

fn target(n: usize) -> &'static str {
    ["web", "db"][n % 2]
}

fn accept(plan: usize, undoable: bool) -> Fact {
    let incident = IncidentId::numbered(1);
    let id = step_ref(plan * N_STEPS).plan;
    let call = |n: usize| still_call(target(n));
    let numbers = || plan * N_STEPS..(plan + 1) * N_STEPS;
    let steps = numbers().map(|n| Step {
        id: step_ref(n).step,
        call: call(n),
        after: Vec::new(),
        phase: ResponsePhase::Recover,
        expected_effect: "x".into(),
        risk: RiskClass::Low,
        undo: None,
        verification: Verification::default(),
        timeout_ms: 1_000,
    });
    let terms = numbers().map(|n| StepTerms {
        step: step_ref(n).step,
        recovery: recovery(n),
        undo_recovery: recovery(n + 1),
        reversibility: if undoable { Reversibility::Undo { action: call(n).action } } else { Reversibility::Transient },
        risk: RiskClass::Low,
        changes_target: true,
        environment: "default".into(),
        group: None,
        group_size: 1,
        protected: false,
    });
    let plan = PlanDraft {
        id,
        incident: incident.clone(),
        revision: 1,
        provenance: Provenance::Reasoner,
        modified_by: None,
        hypothesis: HypothesisId::of(&incident, 1),
        confidence: Probability::ONE,
        because: "x".into(),
        steps: steps.collect(),
    };
    Fact::PlanAccepted { digest: digest_of(plan.id.as_str()), plan, terms: terms.collect() }
}

fn digest_of(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

#[derive(Debug, Clone)]
enum Op {
    Accept(usize, bool),
    Preview(usize, bool),
    Decide(usize, Verdict, AutonomyTier),
    Approve(usize, u8),
    /// People were reached with what the latest preview shows.
    Deliver(usize),
    Move(usize, StepState, StepState),
    /// Goes one of the ways that the table has.
    Next(usize, usize),
    /// Everything that a step needs before it is sent, with or without the people it needs.
    Prepare(usize, u8, bool),
    /// The do took place and is to be taken back.
    TakeBack(usize, bool),
    /// Asks the kernel; what it grants is recorded.
    Authorize(usize, Direction),
    /// Records an intention whether the kernel would or not.
    Forge(usize, Direction, u32, u64),
    Clear(usize),
    /// The executor answers an attempt: it had no effect, or nobody knows.
    Answer(usize, Direction, u32, bool),
    Fence(usize),
    Halt,
    Resume,
    Pass(u64),
    SetWall(i64),
    Reboot(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let step = || 0..N_PLANS * N_STEPS;
    let state = || prop::sample::select(StepState::ALL.to_vec());
    let verdict = prop_oneof![
        1 => Just(Verdict::Deny),
        1 => Just(Verdict::Recommend),
        3 => (1_u32..3).prop_map(|n| Verdict::RequireApproval { quorum: Quorum::of("anyone", n) }),
        2 => Just(Verdict::Allow),
    ];
    let tier = prop::sample::select(vec![
        AutonomyTier::Observe,
        AutonomyTier::Approve,
        AutonomyTier::Veto,
        AutonomyTier::Act,
        AutonomyTier::Act,
    ]);
    let direction = || prop_oneof![3 => Just(Direction::Do), 2 => Just(Direction::Undo)];
    // Most moves follow the table, or nothing would ever get far.
    let moves = || {
        let good: Vec<(StepState, StepState)> = StepState::ALL
            .into_iter()
            .flat_map(|from| StepState::ALL.into_iter().map(move |to| (from, to)))
            .filter(|(from, to)| from.may_move_to(*to))
            .collect();
        let early = vec![
            (StepState::Planned, StepState::Ready),
            (StepState::Intent, StepState::Applied),
            (StepState::Applied, StepState::Compensating),
        ];
        prop_oneof![2 => prop::sample::select(good), 4 => prop::sample::select(early)]
    };
    let op = prop_oneof![
        3 => (0..N_PLANS, any::<bool>()).prop_map(|(plan, undoable)| Op::Accept(plan, undoable)),
        3 => (step(), any::<bool>()).prop_map(|(n, undo)| Op::Preview(n, undo)),
        3 => (step(), verdict, tier).prop_map(|(n, verdict, tier)| Op::Decide(n, verdict, tier)),
        3 => (step(), 0..3_u8).prop_map(|(n, who)| Op::Approve(n, who)),
        7 => (step(), moves()).prop_map(|(n, (from, to))| Op::Move(n, from, to)),
        1 => (step(), state(), state()).prop_map(|(n, from, to)| Op::Move(n, from, to)),
        6 => (step(), 0..4_u8, any::<bool>()).prop_map(|(n, people, send)| Op::Prepare(n, people, send)),
        8 => (step(), 0..8_usize).prop_map(|(n, way)| Op::Next(n, way)),
        5 => (step(), any::<bool>()).prop_map(|(n, send)| Op::TakeBack(n, send)),
        9 => (step(), direction()).prop_map(|(n, direction)| Op::Authorize(n, direction)),
        1 => (step(), direction(), 0..4_u32, 0..40_u64).prop_map(|(n, d, attempt, token)| Op::Forge(n, d, attempt, token)),
        2 => step().prop_map(Op::Deliver),
        2 => step().prop_map(Op::Clear),
        3 => (step(), direction(), 1..4_u32, any::<bool>()).prop_map(|(n, d, attempt, none)| Op::Answer(n, d, attempt, none)),
        2 => step().prop_map(Op::Fence),
        1 => Just(Op::Halt),
        4 => Just(Op::Resume),
        2 => prop_oneof![0..2_000_u64, 4_000..6_000_u64, 50_000..70_000_u64, Just(86_400_000)].prop_map(Op::Pass),
        1 => any::<i64>().prop_map(Op::SetWall),
        1 => prop_oneof![0..2_000_000_000_u64, 0..3 * DAY_NS].prop_map(Op::Reboot),
    ];
    prop::collection::vec(op, 1..80)
}

/// A time on the model's own clock: every boot is a new number, and nothing is ever compared across boots.
type Stamp = (u32, u64);

/// What the test counts for itself.
#[derive(Debug, Default)]
struct Model {
    boot: u32,
    decided: BTreeMap<StepRef, (Verdict, AutonomyTier, Stamp)>,
    approvals: Vec<(StepRef, String, Stamp)>,
    /// First sends of each target.
    sends: Vec<(&'static str, Stamp)>,
    do_sends: BTreeMap<StepRef, u32>,
    /// Attempts in the step's present direction that may have had an effect, with the highest token among them.
    doubts: BTreeMap<StepRef, (Direction, BTreeSet<u32>, u64)>,
    delivered: BTreeMap<StepRef, (Digest, Stamp)>,
    fences: BTreeMap<StepRef, u64>,
    token: u64,
}

struct World {
    clock: ManualClock,
    state: State,
    model: Model,
    seq: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self { clock: ManualClock::new(), state: State::default(), model: Model::default(), seq: 0 };
        world.start();
        world
    }

    fn start(&mut self) {
        let epoch = self.state.epoch() + 1;
        let started = Started {
            version: "x".into(),
            epoch,
            config: Content::Here(serde_json::Value::Null),
            policy: Digest::ZERO,
            limits: limits(),
            parts: Vec::new(),
            forgetful: Vec::new(),
        };
        assert!(self.write(GateFact::Claimed { holder: PartName::new("gate").unwrap(), epoch, journal: JOURNAL }));
        assert!(self.write(Event::Started(started)));
    }

    fn stamp(&self) -> Stamp {
        (self.model.boot, self.clock.now().mono_ns)
    }

    /// Folds a copy, as the gate does; false when the record is refused.
    fn write(&mut self, body: impl Into<Body>) -> bool {
        self.seq += 1;
        let at = self.clock.now();
        let record = Record { v: 1, seq: self.seq, left: 0, prev: Digest::ZERO, at, body: body.into() };
        let mut next = self.state.clone();
        let taken = next.fold(&record).is_ok();
        if taken {
            self.state = next;
            // A record proves what is too old to count, whatever boots follow.
            let (boot, now) = self.stamp();
            self.model.sends.retain(|(_, (of, sent))| *of != boot || *sent >= now.saturating_sub(DAY_NS));
        }
        taken
    }

    fn do_op(&mut self, op: Op) {
        let stamp = self.stamp();
        match op {
            Op::Accept(plan, undoable) => {
                self.write(accept(plan, undoable));
            }
            Op::Preview(n, undo) => {
                let undo = undo.then(|| still_call(target(n)));
                let preview = Preview { state: Still::STATE, summary: "x".into(), undo };
                self.write(Fact::StepPreviewed { step: step_ref(n), preview });
            }
            Op::Decide(n, verdict, tier) => {
                let step = step_ref(n);
                let decision = Decision {
                    plan_digest: digest_of(step.plan.as_str()),
                    step: step.clone(),
                    verdict: verdict.clone(),
                    tier,
                    veto_ms: Some(1_000),
                    approval_expires_ms: APPROVAL_MS,
                    votes: Vec::new(),
                    nearest: None,
                    policy: Digest::ZERO,
                };
                if self.write(Fact::Decided(decision)) {
                    self.model.decided.insert(step, (verdict, tier, stamp));
                }
            }
            Op::Approve(n, who) => {
                let step = step_ref(n);
                let by = Person::named(format!("p{who}"));
                let plan_digest = digest_of(step.plan.as_str());
                let name = by.name.clone();
                // What people are shown is the latest preview.
                let covers = self.state.step(&step).and_then(|entry| entry.covers).unwrap_or(Digest::ZERO);
                let approved = Approved { step: step.clone(), plan_digest, covers, by, reason: "x".into() };
                if self.write(Fact::ApprovalCounted(approved)) {
                    self.model.approvals.push((step, name, stamp));
                }
            }
            Op::Move(n, from, to) => {
                let before = self.state.step(&step_ref(n)).map(|entry| entry.state);
                if self.write(Fact::StepMoved { step: step_ref(n), from, to, because: "x".into() }) {
                    assert_eq!(before, Some(from));
                    assert!(from.may_move_to(to) && to != StepState::Intent);
                    let doubts =
                        self.model.doubts.remove(&step_ref(n)).map(|(_, doubts, _)| doubts).unwrap_or_default();
                    assert!(to != StepState::NotApplied || doubts.is_empty(), "not applied, with {doubts:?} in doubt");
                    assert!(to != StepState::Applied || !doubts.is_empty(), "applied, and nothing was sent");
                    assert!(to != StepState::RolledBack || !doubts.is_empty(), "rolled back, and nothing was sent");
                }
            }
            Op::Next(n, way) => {
                let Some(entry) = self.state.step(&step_ref(n)) else { return };
                let from = entry.state;
                let ways: Vec<StepState> = StepState::ALL.into_iter().filter(|to| from.may_move_to(*to)).collect();
                if !ways.is_empty() {
                    self.do_op(Op::Move(n, from, ways[way % ways.len()]));
                }
            }
            Op::Prepare(n, people, send) => {
                self.do_op(Op::Accept(n / N_STEPS, true));
                self.do_op(Op::Preview(n, true));
                let verdict = match people {
                    0 => Verdict::Allow,
                    _ => Verdict::RequireApproval { quorum: Quorum::of("anyone", 2) },
                };
                self.do_op(Op::Decide(n, verdict, AutonomyTier::Act));
                for who in 1..people {
                    self.do_op(Op::Approve(n, who));
                }
                self.do_op(Op::Move(n, StepState::Planned, StepState::Ready));
                if send {
                    self.authorize(n, Direction::Do);
                }
            }
            Op::TakeBack(n, send) => {
                let (step, by) = (step_ref(n), PartName::new("x").unwrap());
                let attempt = self.state.step(&step).map_or(0, |entry| entry.do_attempts);
                let result = AttemptResult::Applied { applied: ir_core::Applied { summary: "x".into() } };
                let after = Some(Still::STATE);
                let direction = Direction::Do;
                assert!(self.write(Event::Executed(Execution { step, direction, attempt, by, result, after })));
                self.do_op(Op::Move(n, StepState::Intent, StepState::Applied));
                self.do_op(Op::Move(n, StepState::Applied, StepState::Compensating));
                if send {
                    self.authorize(n, Direction::Undo);
                }
            }
            Op::Authorize(n, direction) => self.authorize(n, direction),
            Op::Forge(n, direction, attempt, token) => {
                let before = self.state.clone();
                let intent = self.forged(n, direction, attempt, token);
                if self.write(GateFact::Intent(intent.clone())) {
                    self.sent(n, &intent, &before);
                }
            }
            Op::Clear(n) => {
                if self.write(Fact::AttemptCleared { step: step_ref(n), because: "x".into() }) {
                    let (direction, doubts, token) = self.model.doubts.get_mut(&step_ref(n)).unwrap();
                    doubts.clear();
                    match class(n, *direction) {
                        RecoveryClass::FenceProbe => assert!(self.model.fences[&step_ref(n)] > *token, "no fence"),
                        RecoveryClass::Probe { .. } => {}
                        class => panic!("a probe proves nothing of {class:?}"),
                    }
                }
            }
            Op::Deliver(n) => {
                let Some(covers) = self.state.step(&step_ref(n)).and_then(|entry| entry.covers) else { return };
                assert!(self.write(Fact::ApprovalDelivered { step: step_ref(n), covers, by: Vec::new() }));
                self.model.delivered.insert(step_ref(n), (covers, stamp));
            }
            Op::Answer(n, direction, attempt, none) => {
                let failure =
                    ir_core::Failure { kind: ir_core::ErrorKind::Unknown, component: "x".into(), message: "x".into() };
                let result = match none {
                    true => AttemptResult::NotApplied { failure },
                    false => AttemptResult::Unknown { failure },
                };
                let (step, by) = (step_ref(n), PartName::new("x").unwrap());
                assert!(self.write(Event::Executed(Execution { step, direction, attempt, by, result, after: None })));
                if let Some((of, doubts, _)) = self.model.doubts.get_mut(&step_ref(n))
                    && none
                    && *of == direction
                {
                    doubts.remove(&attempt);
                }
            }
            Op::Fence(n) => {
                let token = self.model.token + 1;
                let fenced = ir_core::journal::Fenced { step: step_ref(n), token };
                assert!(self.write(GateFact::Fenced(fenced)));
                self.model.token = token;
                self.model.fences.insert(step_ref(n), token);
            }
            Op::Halt => {
                let epoch = self.state.halt_epoch() + 1;
                self.write(GateFact::Halted(Halted { epoch, by: "x".into(), reason: "x".into() }));
            }
            Op::Resume => {
                let epoch = self.state.halt_epoch() + 1;
                self.write(GateFact::Resumed { epoch, by: vec![Person::named("ann")], reason: "x".into() });
            }
            Op::Pass(ms) => self.clock.advance(Duration::from_millis(ms)),
            Op::SetWall(nanos) => self.clock.set_wall(ir_core::Timestamp::from_nanos(nanos)),
            Op::Reboot(mono_ns) => {
                self.model.boot += 1;
                self.clock.reboot(BootId::new(format!("boot {}", self.model.boot)), mono_ns);
                // Everything sent before counts as sent at the start of the new boot.
                let start = self.stamp();
                for (_, sent) in &mut self.model.sends {
                    *sent = start;
                }
                self.start();
            }
        }
    }

    fn forged(&self, n: usize, direction: Direction, attempt: u32, token: u64) -> Intent {
        let step = step_ref(n);
        let call: Call = still_call(target(n));
        Intent {
            key: ir_core::EffectKey::of(JOURNAL, digest_of(step.plan.as_str()), &step, direction),
            step,
            direction,
            attempt,
            token,
            inverse: Some(call.clone()),
            call,
            deadline_mono_ns: u64::MAX,
            precondition: Precondition { state: Still::STATE, read: self.clock.now() },
            tier: AutonomyTier::Act,
            spends: Vec::new(),
            epoch: self.state.epoch(),
            halt_epoch: self.state.halt_epoch(),
        }
    }

    fn authorize(&mut self, n: usize, direction: Direction) {
        let precondition = Precondition { state: Still::STATE, read: self.clock.now() };
        let request = AuthorizeRequest { step: step_ref(n), direction, precondition };
        let now = self.clock.now();
        match check(&self.state, &request, &now) {
            Err(refusals) => assert!(!refusals.is_empty(), "a refusal says why"),
            Ok(intent) => {
                assert_eq!(check(&self.state, &request, &now), Ok(intent.clone()), "the check is pure");
                self.may_be_sent(n, &intent);
                let before = self.state.clone();
                assert!(self.write(GateFact::Intent(intent.clone())), "what the check grants, the fold takes");
                self.sent(n, &intent, &before);
            }
        }
    }

    /// What must hold of everything that the kernel grants.
    fn may_be_sent(&self, n: usize, intent: &Intent) {
        let step = step_ref(n);
        let entry = self.state.step(&step).unwrap();
        assert!(self.state.halted().is_none(), "nothing is granted under a halt");
        if intent.direction == Direction::Undo {
            assert_eq!(entry.state, StepState::Compensating);
            assert_eq!(Some(&intent.call), entry.inverse.as_ref(), "the undo is the one fixed with the do");
            self.may_follow(n, Direction::Undo);
            return;
        }
        let (verdict, tier, _) = &self.model.decided[&step];
        let (boot, now) = self.stamp();
        let first = entry.state == StepState::Ready;
        assert!(first || entry.state == StepState::Intent);
        match verdict {
            Verdict::Allow => {
                assert!(*tier >= AutonomyTier::Veto);
                let reached = self.model.delivered.get(&step).filter(|(covers, _)| Some(*covers) == entry.covers);
                let waited = reached.is_some_and(|(_, at)| at.0 == boot && now - at.1 >= 1_000_000_000);
                assert!(*tier > AutonomyTier::Veto || !first || waited, "the veto window is over");
            }
            Verdict::RequireApproval { quorum } if first => {
                assert!(*tier >= AutonomyTier::Approve);
                let people: Vec<Person> = self
                    .model
                    .approvals
                    .iter()
                    .filter(|(of, _, (b, at))| *of == step && *b == boot && now - at < APPROVAL_MS * 1_000_000)
                    .map(|(_, name, _)| Person::named(name))
                    .collect();
                assert!(quorum.is_met_by(people.iter()), "{quorum} of {people:?}");
            }
            Verdict::RequireApproval { .. } => {}
            Verdict::Deny | Verdict::Observe | Verdict::Recommend => panic!("granted against {verdict}"),
        }
        if first {
            let since = |window: u64| now.saturating_sub(window);
            let of_target =
                self.model.sends.iter().filter(|(of, (_, at))| *of == target(n) && *at >= since(DAY_NS)).count();
            assert!(of_target < PER_DAY as usize, "one change of a target too many within a day");
            let recent = self.model.sends.iter().filter(|(_, (_, at))| *at >= since(60_000_000_000)).count();
            assert!(recent < PER_MINUTE as usize, "one change of the environment too many within a minute");
            let other = self.state.lock_of(&still_call(target(n)).target).filter(|plan| **plan != step.plan);
            assert_eq!(other, None, "the target is locked");
        } else {
            self.may_follow(n, Direction::Do);
        }
    }

    /// Another attempt may follow.
    fn may_follow(&self, n: usize, direction: Direction) {
        let doubts = self.model.doubts.get(&step_ref(n)).filter(|(of, _, _)| *of == direction);
        let doubts = doubts.map(|(_, doubts, _)| doubts.clone()).unwrap_or_default();
        assert!(
            doubts.is_empty() || class(n, direction) == RecoveryClass::Keyed,
            "sent again though {doubts:?} may have had an effect"
        );
    }

    /// What must hold of everything that the fold takes, granted or forged.
    fn sent(&mut self, n: usize, intent: &Intent, before: &State) {
        let step = step_ref(n);
        assert!(before.halted().is_none());
        assert!(intent.token > self.model.token, "tokens rise");
        self.model.token = intent.token;
        assert_eq!(self.state.lock_of(&intent.call.target), Some(&step.plan));
        self.may_follow(n, intent.direction);
        let doubts = self.model.doubts.entry(step.clone()).or_insert((intent.direction, BTreeSet::new(), 0));
        assert_eq!(doubts.0, intent.direction);
        doubts.1.insert(intent.attempt);
        doubts.2 = intent.token;
        if intent.direction == Direction::Do {
            let sends = self.model.do_sends.entry(step.clone()).or_default();
            *sends += 1;
            assert_eq!(intent.attempt, *sends);
            if intent.attempt == 1 {
                let stamp = self.stamp();
                self.model.sends.push((target(n), stamp));
            }
        }
    }

    fn invariants(&self) {
        for (step, entry) in self.state.steps() {
            let sent = self.model.do_sends.get(&step).copied().unwrap_or(0);
            assert_eq!(entry.do_attempts, sent);
            if entry.state == StepState::Intent {
                assert!(entry.open.is_some(), "`{step}` is in flight without an attempt");
                assert_eq!(entry.unresolved, self.model.doubts[&step].1);
                assert_eq!(self.state.lock_of(&entry.call.target), Some(&step.plan));
            }
            if matches!(entry.state, StepState::Applied | StepState::Verifying | StepState::Unknown) {
                assert_eq!(self.state.lock_of(&entry.call.target), Some(&step.plan), "`{step}` let its target go");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn whatever_happens_the_kernel_grants_and_takes_only_what_is_legal(ops in ops()) {
        let mut world = World::new();
        for op in ops {
            world.do_op(op);
            world.invariants();
        }
    }
}

/// The histories above are worth something only if they get somewhere.
#[test]
fn random_histories_reach_sends_undos_and_repeats() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut n_first, mut n_again, mut n_undo) = (0, 0, 0);
    for _ in 0..400 {
        let mut world = World::new();
        for op in ops().new_tree(&mut runner).unwrap().current() {
            world.do_op(op);
        }
        for (_, entry) in world.state.steps() {
            n_first += u32::from(entry.do_attempts > 0);
            n_again += u32::from(entry.do_attempts > 1);
            n_undo += u32::from(entry.undo_attempts > 0);
        }
    }
    assert!(n_first > 60 && n_again > 5 && n_undo > 5, "{n_first} sends, {n_again} repeats, {n_undo} undos");
}
