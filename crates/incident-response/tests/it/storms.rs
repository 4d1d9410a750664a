//! Random plans in random weather: parts that fail in every way, people who answer anything at any time, halts, and processes
//! that die. Whatever happens, what is promised holds from the targets' point of view.
//!
//! Each run follows from its seed. `IR_STORMS=2000` runs so many seeds, `IR_STORM=17` the one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use incident_response::core::journal::{
    Appended, AuditSink, Batch, Body, EncodedRecord, Event, Fact, GateFact, Holder, Intent, Journal, Lease, Page,
    ReadFrom,
};
use incident_response::core::*;
use incident_response::plan::decision::Policy;
use incident_response::plan::plan::Playbooks;
use incident_response::{Builder, EngineSettings, Handle, Responder};

use crate::healing::assert_sound;
use crate::world::{Blames, Doctor, Eyes, SERVICES, SimClock, World, all_records, entity};

/// Seeds that are run unless more are asked for.
const SEEDS: u64 = 100;
/// Simulated time after which the weather is calm, so that every run finds its end.
const STORM_NS: u64 = 120_000_000_000;
/// Simulated time within which every run must have found its end.
const END_NS: u64 = 1_500_000_000_000;

/// Numbers that follow from a seed (splitmix64).
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        let n = usize::try_from(self.below(of.len() as u64)).unwrap();
        of[n].clone()
    }
}

/// What an action is in the catalogue: its name, the name of its undo, its class.
const PAIRS: [(&str, &str, RecoveryClass); 4] = [
    ("t.keyed", "t.unkeyed", RecoveryClass::Keyed),
    ("t.fence", "t.unfence", RecoveryClass::FenceProbe),
    ("t.probe", "t.unprobe", RecoveryClass::Probe { settles_within_ms: 700 }),
    ("t.blind", "t.unblind", RecoveryClass::Blind),
];
/// Actions that a playbook may use.
const ACTIONS: [&str; 8] = ["t.keyed", "t.fence", "t.probe", "t.blind", "t.keyed", "t.passing", "t.final", "t.look"];

/// One effect at a target.
#[derive(Debug, Clone)]
struct Done {
    call: Call,
    key: String,
    token: u64,
    repeated: bool,
}

#[derive(Debug)]
struct Ground {
    dice: Dice,
    /// What is in place on each target, oldest first, and how often somebody else touched it.
    inside: BTreeMap<EntityId, (Vec<String>, u64)>,
    done: Vec<Done>,
    keys: BTreeSet<String>,
    fences: BTreeMap<EntityId, u64>,
    proofs: Vec<kernel::NotApplied>,
    /// What an executor was told to do under a halt.
    under_halt: Vec<String>,
    halted: bool,
    /// Effects that were sent and have not landed yet.
    landing: u32,
    /// Which process is alive; one that is dead sends nothing any more.
    life: u64,
    calm: bool,
    heals: BTreeSet<ActionName>,
    gone: Option<&'static str>,
}

/// Targets that keep their own account of every effect.
#[derive(Debug, Clone)]
struct Field {
    world: World,
    ground: Arc<Mutex<Ground>>,
}

impl Field {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let heals = ACTIONS.iter().filter(|_| dice.percent(30)).map(|name| ActionName::literal(name)).collect();
        let ground = Ground {
            dice,
            inside: BTreeMap::new(),
            done: Vec::new(),
            keys: BTreeSet::new(),
            fences: BTreeMap::new(),
            proofs: Vec::new(),
            under_halt: Vec::new(),
            halted: false,
            landing: 0,
            life: 0,
            calm: false,
            heals,
            gone: None,
        };
        Self { world: World::new(RecoveryClass::Keyed), ground: Arc::new(Mutex::new(ground)) }
    }

    fn lock(&self) -> MutexGuard<'_, Ground> {
        self.ground.lock().unwrap()
    }

    /// Whether something that goes wrong so often goes wrong now.
    fn bad(&self, percent: u64) -> bool {
        let mut ground = self.lock();
        !ground.calm && ground.dice.percent(percent)
    }

    fn below(&self, n: u64) -> u64 {
        self.lock().dice.below(n)
    }

    /// The effect lands.
    fn land(&self, call: &Call, key: &str, token: u64) {
        let mut guard = self.lock();
        let ground = &mut *guard;
        let fenced = class_of(&call.action) == RecoveryClass::FenceProbe;
        if fenced && token < ground.fences.get(&call.target).copied().unwrap_or_default() {
            return;
        }
        let known = !ground.keys.insert(key.to_owned());
        if known && class_of(&call.action) == RecoveryClass::Keyed {
            return;
        }
        ground.done.push(Done { call: call.clone(), key: key.to_owned(), token, repeated: known });
        let inside = ground.inside.entry(call.target.clone()).or_default();
        match PAIRS.iter().find(|(_, undo, _)| *undo == call.action.as_str()) {
            Some((done, _, _)) => {
                if let Some(n) = inside.0.iter().rposition(|action| action == done) {
                    inside.0.remove(n);
                }
            }
            None if matches!(call.action.as_str(), "t.look" | "t.passing") => {}
            None => inside.0.push(call.action.to_string()),
        }
        if ground.heals.contains(&call.action) {
            self.world.lock().sick.remove(&call.target);
        }
    }

    /// A dead process does nothing any more.
    async fn alive(&self, life: u64) {
        if self.lock().life != life {
            std::future::pending::<()>().await;
        }
    }

    async fn wait(&self, life: u64, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.alive(life).await;
    }
}

fn class_of(action: &ActionName) -> RecoveryClass {
    let pair = PAIRS.iter().find(|(name, undo, _)| *name == action.as_str() || *undo == action.as_str());
    pair.map_or(RecoveryClass::Keyed, |(_, _, class)| *class)
}

/// Performs actions, and does with its answers whatever an executor can.
#[derive(Debug)]
struct Arms(Field);

#[async_trait]
impl Executor for Arms {
    fn name(&self) -> &str {
        "arms"
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        let gone = self.0.lock().gone;
        let spec = |name: &'static str, recovery, reversibility, changes_target| ActionSpec {
            name: ActionName::literal(name),
            description: name.to_owned(),
            params: ActionSpec::no_params(),
            risk: RiskClass::Low,
            reversibility,
            recovery,
            blast_radius: 1,
            changes_target,
        };
        let undo = |name| Reversibility::Undo { action: ActionName::literal(name) };
        let pairs = PAIRS.iter().filter(|(name, _, _)| gone != Some(*name));
        let mut all: Vec<ActionSpec> = pairs
            .flat_map(|(name, back, class)| {
                [spec(name, *class, undo(*back), true), spec(back, *class, undo(*name), true)]
            })
            .collect();
        all.push(spec("t.passing", RecoveryClass::Keyed, Reversibility::Transient, true));
        all.push(spec("t.final", RecoveryClass::Keyed, Reversibility::Irreversible, true));
        all.push(spec("t.look", RecoveryClass::Keyed, Reversibility::Transient, false));
        all
    }

    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        let life = self.0.lock().life;
        if self.0.bad(10) {
            match self.0.below(4) {
                0 => return Err(Error::new(ErrorKind::Unavailable, "arms", "away")),
                1 => return Err(Error::new(ErrorKind::InvalidInput, "arms", "what?")),
                2 => panic!("the executor is broken"),
                _ => ctx.stopped().await,
            }
        }
        if self.0.bad(30) {
            let ms = self.0.below(2_500);
            self.0.wait(life, ms).await;
        }
        let inside = self.0.lock().inside.get(&call.target).cloned().unwrap_or_default();
        let pair = PAIRS.iter().find(|(name, _, _)| *name == call.action.as_str());
        let undo = pair.map(|(_, undo, _)| Call { action: ActionName::literal(undo), ..call.clone() });
        let state = Digest::of(format!("{} {inside:?}", call.target).as_bytes());
        Ok(Preview { state, summary: "as it is".into(), undo })
    }

    async fn execute(&self, _ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let field = &self.0;
        let life = field.lock().life;
        let error = |kind| Error::new(kind, "arms", "something went wrong");
        tokio::task::yield_now().await;
        field.alive(life).await;
        if field.bad(8) {
            match field.below(3) {
                0 => return Err(error(ErrorKind::Unavailable)),
                1 => return Ok(Attempt::applied("never sent")),
                _ => field.wait(life, 2_500).await,
            }
        }
        let effect = permit.redeem()?;
        if field.lock().halted {
            field.lock().under_halt.push(effect.call().to_string());
        }
        let (call, key, token) = (effect.call().clone(), effect.key().to_string(), effect.token());
        if !field.bad(55) {
            field.land(&call, &key, token);
            return Ok(Attempt::applied("done"));
        }
        match field.below(10) {
            0 => Ok(effect.not_applied(error(ErrorKind::Conflict)).into()),
            1 => Ok(effect.not_applied(error(ErrorKind::RateLimited)).into()),
            2 => Err(error(ErrorKind::Unknown)),
            3 => {
                field.land(&call, &key, token);
                Err(error(ErrorKind::Unavailable))
            }
            4 => {
                field.land(&call, &key, token);
                panic!("the executor is broken")
            }
            5 => {
                field.land(&call, &key, token);
                std::future::pending().await
            }
            // The answer comes after the deadline.
            6 => {
                field.land(&call, &key, token);
                let ms = 1_500 + field.below(3_000);
                field.wait(life, ms).await;
                if field.below(2) == 0 { Ok(Attempt::applied("done")) } else { Err(error(ErrorKind::Timeout)) }
            }
            // It gives the effect up and does not say so; the proof comes with another attempt.
            7 => {
                field.lock().proofs.push(effect.not_applied(error(ErrorKind::Conflict)));
                Err(error(ErrorKind::Unknown))
            }
            8 => {
                field.land(&call, &key, token);
                match field.lock().proofs.pop() {
                    Some(proof) => Ok(proof.into()),
                    None => Ok(Attempt::applied("done")),
                }
            }
            // It was sent and lands later, within what its class allows.
            _ => {
                let late = field.clone();
                let ms = match class_of(&call.action) {
                    RecoveryClass::Probe { settles_within_ms } => 2_000 + late.below(settles_within_ms),
                    _ => late.below(1_500),
                };
                late.lock().landing += 1;
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    late.land(&call, &key, token);
                    late.lock().landing -= 1;
                });
                Err(error(ErrorKind::Timeout))
            }
        }
    }

    async fn probe(&self, _ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        if let Some(fence) = &probe.fence {
            let mut ground = self.0.lock();
            let known = ground.fences.entry(probe.call.target.clone()).or_default();
            *known = (*known).max(fence.token());
        }
        if self.0.bad(10) {
            return if self.0.below(2) == 0 {
                Ok(Probed::Unknown)
            } else {
                Err(Error::new(ErrorKind::Unavailable, "arms", "away"))
            };
        }
        let there = self.0.lock().keys.contains(&probe.key.to_string());
        Ok(if there { Probed::Applied } else { Probed::NotApplied })
    }
}

/// Brings requests to people, mostly.
#[derive(Debug)]
struct Phone(Field);

#[async_trait]
impl Approver for Phone {
    fn name(&self) -> &str {
        "phone"
    }

    async fn ask(&self, _ctx: &Ctx, _request: &ApprovalRequest) -> Result<()> {
        if self.0.bad(30) { Err(Error::new(ErrorKind::Unavailable, "phone", "engaged")) } else { Ok(()) }
    }
}

/// A sink that must have every intention, and does not always take it.
#[derive(Debug)]
struct Drain(Field, Arc<Mutex<u64>>);

#[async_trait]
impl AuditSink for Drain {
    fn name(&self) -> &str {
        "drain"
    }

    async fn copy(&self, _ctx: &Ctx, records: &[EncodedRecord]) -> Result<()> {
        if self.0.bad(5) {
            return Err(Error::new(ErrorKind::Unavailable, "drain", "full"));
        }
        let mut next = self.1.lock().unwrap();
        *next = records.last().map_or(*next, |last| last.seq + 1);
        Ok(())
    }

    async fn position(&self, _ctx: &Ctx) -> Result<u64> {
        Ok(*self.1.lock().unwrap())
    }
}

/// A journal in memory between whose steps a process may die: before an append, after it, and before its writer knows.
#[derive(Debug, Clone)]
struct Slow(MemoryJournal);

#[async_trait]
impl Journal for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended> {
        tokio::task::yield_now().await;
        let appended = self.0.append(ctx, batch).await;
        tokio::task::yield_now().await;
        appended
    }

    async fn read(&self, ctx: &Ctx, from: &ReadFrom) -> Result<Page> {
        self.0.read(ctx, from).await
    }

    async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
        self.0.blob(ctx, digest).await
    }

    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease> {
        self.0.claim(ctx, holder).await
    }
}

/// An incident for each entity, so that plans of several incidents meet at one target.
#[derive(Debug)]
struct Apart;

#[async_trait]
impl Correlator for Apart {
    fn name(&self) -> &str {
        "apart"
    }

    async fn correlate(&self, _ctx: &Ctx, input: &CorrelationInput) -> Result<Vec<Grouping>> {
        let place = |anomaly: &Anomaly| Grouping {
            anomaly: anomaly.id.clone(),
            into: Placement::Open { key: anomaly.entity.to_string() },
            because: "each stands alone".into(),
        };
        Ok(input.anomalies.iter().map(place).collect())
    }
}

/// One run: its weather, its targets, and what it was given.
struct Storm {
    dice: Dice,
    field: Field,
    clock: SimClock,
    journal: MemoryJournal,
    drained: Arc<Mutex<u64>>,
    playbook: String,
    topology: String,
    tier: &'static str,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed ^ 0xABCD);
        let n = 1 + dice.below(4);
        let mut steps: Vec<String> = (0..n).map(|n| step(&mut dice, n)).collect();
        if dice.percent(30) {
            steps.reverse();
        }
        let entity = |name: &&str| format!("[[entity]]\nid = \"{name}\"\nprotected = {}\n", dice.clone().percent(25));
        let mut topology: String = SERVICES[..2].iter().map(entity).collect();
        topology += &format!("[[entity]]\nid = \"back\"\nprotected = {}\n", dice.percent(40));
        let storm = Self {
            field: Field::new(seed),
            clock: SimClock::new(),
            journal: MemoryJournal::new(),
            drained: Arc::new(Mutex::new(1)),
            playbook: format!("[[playbook]]\nname = \"p\"\nversion = 1\n{}", steps.concat()),
            topology,
            tier: dice.pick(&["act", "act", "veto", "approve"]),
            dice,
        };
        storm.field.world.fall_sick("middle");
        storm
    }

    fn builder(&mut self) -> Builder {
        let names: String = PAIRS
            .iter()
            .filter(|(name, _, _)| self.field.lock().gone != Some(*name))
            .map(|(name, _, _)| format!("\"{name}\", "))
            .collect();
        let rule = format!("{names}\"t.passing\", \"t.final\", \"t.look\"");
        let policy = format!(
            "tier = \"{}\"\nveto_window_secs = 3\napproval_expires_secs = 20\n\
             [[rule]]\nname = \"all\"\neffect = \"permit\"\nwhen = {{ actions = [{rule}] }}\n",
            self.tier
        );
        let settings = EngineSettings {
            settle_ms: 300,
            rediagnose_ms: 300,
            quiet_ms: 1_500,
            patience_ms: 20_000,
            answer_within_ms: 3_000,
            checkpoint_every: 20,
            ..EngineSettings::default()
        };
        let gone = self.field.lock().gone.map(|name| format!("\"{name}\""));
        let playbook = match gone {
            Some(name) if self.playbook.contains(&name) => {
                "[[playbook]]\nname = \"q\"\nversion = 1\n".to_owned() + &written("only", "t.look", "front", "")
            }
            _ => self.playbook.clone(),
        };
        Responder::builder()
            .clock(self.clock.clone())
            .journal(Slow(self.journal.clone()))
            .topology(Topology::parse(&self.topology, "topology.toml").unwrap())
            .correlator(Apart)
            .diagnoser(Blames)
            .playbooks(Playbooks::parse(&playbook, "playbooks.toml").unwrap())
            .policy(Policy::parse(&policy, "policy.toml").unwrap())
            .approver(Phone(self.field.clone()))
            .required_audit_sink(Drain(self.field.clone(), self.drained.clone()))
            .settings(settings)
            .source(Eyes(self.field.world.clone()))
            .detector(Doctor::default())
            .executor(Arms(self.field.clone()))
    }

    /// The whole run: lives follow each other until all has found its end.
    async fn run(&mut self) {
        let start = self.clock.now().wall;
        let mut lives = 0;
        loop {
            let elapsed = u64::try_from(self.clock.now().wall.since(start).as_nanos()).unwrap();
            assert!(elapsed < END_NS, "it does not come to its end");
            self.field.lock().life += 1;
            if self.live(start).await {
                break;
            }
            self.field.lock().life += 1;
            lives += 1;
            if self.dice.percent(50) {
                self.clock.reboot(&format!("boot {lives}"));
            }
            if self.dice.percent(30) {
                self.tier = self.dice.pick(&["act", "act", "veto", "approve", "recommend"]);
            }
            self.field.lock().gone = self.dice.percent(15).then(|| self.dice.pick(&PAIRS).0);
        }
    }

    /// One life; says whether everything ended in it. Otherwise the process was killed.
    async fn live(&mut self, start: Timestamp) -> bool {
        // A halt that was not recorded before the process died is forgotten.
        let records = all_records(&self.journal, &self.clock).await;
        self.field.lock().halted = fold(&records).halted().is_some();
        let engine = self.builder().build().unwrap().open().await.unwrap();
        let handle = engine.handle();
        let mut news = handle.records();
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        let mut running = tokio::spawn(engine.run_until(async {
            let _ = wait.await;
        }));
        let mut quiet = 0;
        loop {
            let _ = tokio::time::timeout(Duration::from_secs(3), news.recv()).await;
            if running.is_finished() {
                let ended = (&mut running).await;
                panic!("the engine ended by itself: {ended:?}");
            }
            let elapsed = u64::try_from(self.clock.now().wall.since(start).as_nanos()).unwrap();
            self.field.lock().calm |= elapsed > STORM_NS;
            let calm = self.field.lock().calm;
            assert!(elapsed < END_NS, "it does not come to its end: {:?}", handle.status().steps);
            if is_over(&handle) {
                quiet += 1;
                if quiet > 12 {
                    break;
                }
            } else {
                quiet = 0;
            }
            if !calm && self.dice.percent(2) {
                running.abort();
                let _ = running.await;
                return false;
            }
            self.act(&handle, calm).await;
        }
        let _ = done.send(());
        running.await.unwrap().unwrap();
        true
    }

    /// What people and the world do between two records.
    async fn act(&mut self, handle: &Handle, calm: bool) {
        let status = handle.status();
        let ann = Person::named(self.dice.pick(&["ann", "bob", "cid"]));
        if status.halted.is_some() || self.field.lock().halted {
            if calm || self.dice.percent(10) {
                self.field.lock().halted = false;
                // An engine that is gone is noticed by the one who waits for its records.
                let _ = handle.resume(vec![ann.clone()], "go on").await;
            }
        } else if !calm && self.dice.percent(2) {
            handle.halt("ann", "stop");
            self.field.lock().halted = true;
        }
        for request in &status.approvals {
            if self.dice.percent(12) {
                let words = self.words(request, &status);
                let given = ApprovalAnswer {
                    request: request.id.clone(),
                    plan_digest: request.plan_digest,
                    by: Person::named(self.dice.pick(&["ann", "bob", "cid"])),
                    answer: words,
                    reason: "looked at it".into(),
                };
                let _ = handle.answer(given).await;
            }
        }
        if calm {
            return;
        }
        if self.dice.percent(4) {
            let any = self.dice.percent(20);
            let waiting = status.steps.iter().filter(|s| any || s.state.waits_for_person());
            let waiting: Vec<StepRef> = waiting.map(|s| s.step.clone()).collect();
            if !waiting.is_empty() {
                let step = self.dice.pick(&waiting);
                let applied = self.in_place(&step).await;
                // They say what is so, once everything that was sent has landed.
                if self.field.lock().landing == 0 {
                    let _ = handle.settle(step, ann.clone(), applied, "I looked").await;
                }
            }
        }
        if self.dice.percent(1)
            && let Some(incident) = status.incidents.first()
        {
            let undo = self.dice.percent(50);
            let _ = handle.take_over(incident.id.clone(), ann, "mine", undo).await;
        }
        if self.dice.percent(2) {
            let name = self.dice.pick(&SERVICES);
            self.field.world.fall_sick(name);
        }
        if self.dice.percent(1) {
            self.field.world.lock().sick.clear();
        }
        if self.dice.percent(2) {
            let name = entity(self.dice.pick(&SERVICES));
            self.field.lock().inside.entry(name).or_default().1 += 1;
        }
    }

    /// Whether the effect of a step is in place.
    async fn in_place(&self, step: &StepRef) -> bool {
        let records = all_records(&self.journal, &self.clock).await;
        let keys = |wanted: Direction| -> BTreeSet<String> {
            let intents = records.iter().filter_map(intent);
            intents.filter(|i| i.step == *step && i.direction == wanted).map(|i| i.key.to_string()).collect()
        };
        let ground = self.field.lock();
        let landed = |keys: &BTreeSet<String>| keys.iter().any(|key| ground.keys.contains(key));
        landed(&keys(Direction::Do)) && !landed(&keys(Direction::Undo))
    }

    fn words(&mut self, request: &ApprovalRequest, status: &incident_response::Status) -> Answer {
        match self.dice.below(10) {
            0 | 1 => Answer::Refuse,
            2..=4 => {
                let steps: Vec<StepId> = status.steps.iter().map(|s| s.step.step.clone()).collect();
                let steps = if steps.is_empty() { vec![request.step.step.clone()] } else { steps };
                let n = 1 + self.dice.below(2);
                let changes = (0..n).map(|_| {
                    let action = self.dice.percent(30).then(|| ActionName::literal(self.dice.pick(&ACTIONS)));
                    StepChange { step: self.dice.pick(&steps), action, params: None, drop: self.dice.percent(60) }
                });
                Answer::Modify { changes: changes.collect() }
            }
            _ => Answer::Approve,
        }
    }

    /// What holds after every run.
    async fn check(&self) {
        let records = all_records(&self.journal, &self.clock).await;
        assert_sound(&self.journal, &self.clock).await;
        let ground = self.field.lock();
        assert_eq!(ground.under_halt, Vec::<String>::new(), "effects were sent under a halt");
        let intents: Vec<&Intent> = records.iter().filter_map(intent).collect();
        let mut in_place: Vec<StepRef> = Vec::new();
        let mut ever: BTreeMap<(StepRef, Direction), u32> = BTreeMap::new();
        for done in &ground.done {
            assert!(!done.repeated, "{done:?} is the second effect of its key");
            let intent = intents.iter().find(|i| i.key.to_string() == done.key && i.token == done.token);
            let intent = intent.filter(|i| i.call == done.call);
            assert!(intent.is_some(), "{done:?} has no intention");
            let Some(intent) = intent else { continue };
            let times = ever.entry((intent.step.clone(), intent.direction)).or_default();
            *times += 1;
            assert_eq!(*times, 1, "{done:?} is the second effect of its step in its direction");
            match intent.direction {
                Direction::Do => in_place.push(intent.step.clone()),
                Direction::Undo => {
                    assert!(in_place.contains(&intent.step), "{done:?} takes back what is not in place");
                    let on_it = in_place.iter().filter(|other| stands_on(&records, intent, other));
                    assert_eq!(
                        on_it.collect::<Vec<_>>(),
                        Vec::<&StepRef>::new(),
                        "{done:?} is taken away under others"
                    );
                    in_place.retain(|step| *step != intent.step);
                }
            }
        }
        let state = fold(&records);
        let (last, words) = last_states(&records);
        for (step, end) in &last {
            let did = ever.contains_key(&(step.clone(), Direction::Do));
            let undid = ever.contains_key(&(step.clone(), Direction::Undo));
            let what = format!("{step} is {end}, done: {did}, taken back: {undid}");
            match end {
                StepState::NotApplied | StepState::Cancelled | StepState::Denied | StepState::Expired => {
                    assert!(!did, "{what}");
                }
                StepState::Done => assert!(did && !undid || words.contains(step), "{what}"),
                StepState::RolledBack => assert!(did && undid || words.contains(step), "{what}"),
                StepState::Unknown | StepState::RollbackFailed => {}
                _ => panic!("{what}: it has no end"),
            }
        }
        for name in SERVICES.map(entity) {
            let Some(plan) = state.lock_of(&name) else { continue };
            let needed = state.plan(plan).unwrap().steps.values();
            let needed = needed.filter(|s| s.call.target == name && s.state.waits_for_person()).count();
            assert!(needed > 0, "`{name}` is locked by {plan} for nobody");
        }
        self.check_people(&records);
        check_order(&records);
        check_undos(&records);
    }

    /// Protected targets need a person and what cannot be taken back two; nobody's approval is used twice.
    fn check_people(&self, records: &[Record]) {
        let topology = Topology::parse(&self.topology, "topology.toml").unwrap();
        for intent in records.iter().filter_map(intent) {
            let changes = intent.call.action.as_str() != "t.look";
            if intent.direction == Direction::Undo || intent.attempt > 1 || !changes {
                continue;
            }
            let people: BTreeSet<&String> = intent.spends.iter().collect();
            let protected = topology.entity(&intent.call.target).unwrap().protected;
            let final_ = intent.call.action.as_str() == "t.final";
            let needed = if final_ { 2 } else { usize::from(protected) };
            assert!(people.len() >= needed, "{intent:?} needs {needed} people");
        }
    }
}

fn intent(record: &Record) -> Option<&Intent> {
    match &record.body {
        Body::Gate(GateFact::Intent(intent)) => Some(intent),
        _ => None,
    }
}

/// Whether every incident has its end and no step is under way.
fn is_over(handle: &Handle) -> bool {
    let status = handle.status();
    status.halted.is_none()
        && status.rounds > 3
        && status.records > 5
        && status.incidents.iter().all(|incident| incident.state == IncidentState::HandedOver)
        && status.steps.iter().all(|step| step.state.is_terminal())
}

/// The steps that `step` stands on, directly or over others, as the planner ordered them: an order that it gave outlives the steps
/// that a person leaves out.
fn below(records: &[Record], step: &StepRef) -> BTreeSet<StepId> {
    let accepted = records.iter().find_map(|r| match &r.body {
        Body::Fact(Fact::PlanAccepted { plan, .. }) if plan.id == step.plan => Some(plan),
        _ => None,
    });
    let Some(plan) = accepted else { return BTreeSet::new() };
    let mut below = BTreeSet::from([step.step.clone()]);
    for _ in 0..plan.steps.len() {
        let more = plan.steps.iter().filter(|step| below.contains(&step.id));
        let more: Vec<StepId> = more.flat_map(|step| plan.prerequisites(step).cloned()).collect();
        below.extend(more);
    }
    below.remove(&step.step);
    below
}

/// Whether `other` was built on the step of `undo` and leaves something in place.
fn stands_on(records: &[Record], undo: &Intent, other: &StepRef) -> bool {
    let fleeting = |i: &Intent| matches!(i.call.action.as_str(), "t.look" | "t.passing");
    let passes = records.iter().filter_map(intent).any(|i| i.step == *other && fleeting(i));
    other.plan == undo.step.plan && !passes && below(records, other).contains(&undo.step.step)
}

/// A step is sent only when every step that it stands on is done, or was left out by a person.
fn check_order(records: &[Record]) {
    let (mut done, mut left_out) = (BTreeSet::new(), BTreeSet::new());
    for record in records {
        match &record.body {
            Body::Fact(Fact::StepMoved { step, to, .. }) => {
                done.remove(step);
                if *to == StepState::Done {
                    done.insert(step.clone());
                }
            }
            Body::Fact(Fact::PlanRevised { plan, .. }) => {
                let kept: BTreeSet<&StepId> = plan.steps.iter().map(|step| &step.id).collect();
                let known = plan.steps.iter().flat_map(|step| below(records, &of(&plan.id, &step.id)));
                left_out.extend(known.filter(|id| !kept.contains(id)).map(|id| of(&plan.id, &id)));
            }
            Body::Gate(GateFact::Intent(intent)) if intent.direction == Direction::Do => {
                let missing = below(records, &intent.step).into_iter().map(|id| of(&intent.step.plan, &id));
                let missing: Vec<StepRef> = missing.filter(|s| !done.contains(s) && !left_out.contains(s)).collect();
                assert!(missing.is_empty(), "{} is sent before {missing:?}", intent.step);
            }
            _ => {}
        }
    }
}

/// No undo ends for a reason that is none, and what a person settled after it is not taken back once more.
fn check_undos(records: &[Record]) {
    let mut settled = BTreeSet::new();
    for pair in records.windows(2) {
        let Body::Fact(Fact::StepMoved { step, from, to, because }) = &pair[1].body else { continue };
        if let Body::Gate(GateFact::Refused { step: refused, direction: Direction::Do, .. }) = &pair[0].body {
            let ends = refused == step && *from == StepState::Compensating;
            assert!(!ends, "the undo of {step} ends because its do was refused: {because}");
        }
        if *from == StepState::RollbackFailed {
            settled.insert(step.clone());
        } else {
            assert!(!settled.contains(step), "a person settled {step}, and it goes from {from} to {to}: {because}");
        }
    }
}

fn of(plan: &PlanId, step: &StepId) -> StepRef {
    StepRef { plan: plan.clone(), step: step.clone() }
}

fn fold(records: &[Record]) -> kernel::State {
    let mut state = kernel::State::default();
    for record in records {
        state.fold(record).unwrap();
    }
    state
}

/// The last state of every step, and the steps of which a person said what is so.
fn last_states(records: &[Record]) -> (BTreeMap<StepRef, StepState>, BTreeSet<StepRef>) {
    let (mut last, mut words) = (BTreeMap::new(), BTreeSet::new());
    for record in records {
        match &record.body {
            Body::Fact(Fact::PlanAccepted { plan, .. } | Fact::PlanRevised { plan, .. }) => {
                for step in &plan.steps {
                    let step = StepRef { plan: plan.id.clone(), step: step.id.clone() };
                    last.entry(step).or_insert(StepState::Planned);
                }
            }
            Body::Fact(Fact::StepMoved { step, to, .. }) => {
                last.insert(step.clone(), *to);
            }
            Body::Gate(GateFact::Intent(intent)) if intent.direction == Direction::Do => {
                last.insert(intent.step.clone(), StepState::Intent);
            }
            Body::Event(Event::SettledByPerson { step, .. }) => {
                words.insert(step.clone());
            }
            _ => {}
        }
    }
    (last, words)
}

fn written(id: &str, action: &str, target: &str, more: &str) -> String {
    format!(
        "[[playbook.step]]\nid = \"{id}\"\naction = \"{action}\"\ntarget = {{ entity = \"{target}\" }}\n\
         expected_effect = \"x\"\ntimeout_ms = 2000\n{more}\n"
    )
}

/// A step that may come after any of those before it.
fn step(dice: &mut Dice, n: u64) -> String {
    let after: Vec<String> = (0..n).filter(|_| dice.percent(45)).map(|n| format!("\"s{n}\"")).collect();
    let phases = [["contain", "contain", "eradicate", "recover"], ["recover"; 4], ["recover"; 4]];
    let phase = dice.pick(&phases)[usize::try_from(n).unwrap()];
    // A step in `recover` may follow any; one in an earlier phase follows none that could be later.
    let after = if phase == "recover" { after } else { Vec::new() };
    let measured = dice.pick(&["anomalies_end = true", "anomalies_end = false", "anomalies_end = false"]);
    let limit = dice.pick(&["", "limits = [{ metric = \"sick\", is = \"at_most\", value = 5 }], "]);
    let limit = if measured.ends_with("false") {
        "limits = [{ metric = \"sick\", is = \"at_most\", value = 5 }], "
    } else {
        limit
    };
    let hold_ms = dice.pick(&[300, 500, 4_000]);
    let more = format!(
        "after = [{}]\nphase = \"{phase}\"\nverification = {{ {measured}, {limit}hold_ms = {hold_ms}, within_ms = 6000 }}",
        after.join(", ")
    );
    written(&format!("s{n}"), dice.pick(&ACTIONS), dice.pick(&SERVICES), &more)
}

/// Runs one seed; gives what went wrong.
fn sail(seed: u64) -> Option<String> {
    let run = std::panic::AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut storm = Storm::new(seed);
            storm.run().await;
            storm.check().await;
        });
    });
    let panicked = std::panic::catch_unwind(run).err()?;
    let said = panicked.downcast_ref::<String>().cloned();
    let said = said.or_else(|| panicked.downcast_ref::<&str>().map(|said| (*said).to_owned()));
    Some(format!("seed {seed}: {}", said.unwrap_or_default()))
}

#[test]
fn no_weather_breaks_a_promise() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match (number("IR_STORM"), number("IR_STORMS")) {
        (Some(seed), _) => vec![seed],
        (None, n) => (0..n.unwrap_or(SEEDS)).collect(),
    };
    let broken: Vec<String> = std::thread::scope(|scope| {
        let (even, odd): (Vec<u64>, Vec<u64>) = seeds.into_iter().partition(|seed| seed % 2 == 0);
        let halves =
            [even, odd].map(|half| scope.spawn(move || half.into_iter().filter_map(sail).collect::<Vec<String>>()));
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert!(broken.is_empty(), "{} runs broke a promise:\n{}", broken.len(), broken.join("\n"));
}
