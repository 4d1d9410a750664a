//! The builder: takes all parts, and reports every mistake at once before anything connects.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ir_core::journal::{Content, Event, PartRecord, Started};
use ir_core::kernel::{GateConfig, RequiredSink};
use ir_core::{
    Approver, AuditSink, Catalogue, Classifier, Clock, ConfigError, Correlator, Ctx, Detector, Diagnoser, Executor,
    Findings, Gate, Journal, LessonStore, PartName, Planner, Problem, Result, SignalSource, SnapshotStore, Topology,
    Verifier, Vocabulary,
};
use ir_detect::ScrapeAssembler;
use ir_detect::observations::ObservationStore;
use ir_plan::decision::Policy;
use ir_plan::plan::{PlaybookPlanner, Playbooks};
use tokio::sync::{broadcast, mpsc, watch};

use super::config::{EngineConfig, EngineSettings};
use super::detectors::Rest;
use super::guard::{GuardedSink, as_recorded};
use super::handle::Handle;
use super::heartbeat::Heartbeats;
use super::observe::{Judgements, Observer};
use super::perform::Parts;
use super::polls::Polls;
use super::replay::{Found, Replayer};
use super::shell::{Shell, Work};
use super::status::Status;

/// While this variable is set to anything but nothing, `0` or `false`, no responder is built: it only ever prevents a start.
pub const STOP_VARIABLE: &str = "INCIDENT_RESPONSE_STOP";

/// Puts a [`Responder`] together.
#[derive(Debug, Default)]
pub struct Builder {
    name: Option<String>,
    clock: Option<Arc<dyn Clock>>,
    sources: Vec<Arc<dyn SignalSource>>,
    scrapes: ScrapeAssembler,
    observations: Option<Arc<ObservationStore>>,
    detectors: Vec<Arc<dyn Detector>>,
    correlator: Option<Arc<dyn Correlator>>,
    diagnoser: Option<Arc<dyn Diagnoser>>,
    classifier: Option<Arc<dyn Classifier>>,
    planners: Vec<Arc<dyn Planner>>,
    playbooks: Option<Playbooks>,
    approvers: Vec<Arc<dyn Approver>>,
    executors: Vec<Arc<dyn Executor>>,
    verifier: Option<Arc<dyn Verifier>>,
    lessons: Option<Arc<dyn LessonStore>>,
    snapshots: Option<Arc<dyn SnapshotStore>>,
    journal: Option<Arc<dyn Journal>>,
    sinks: Vec<Arc<dyn AuditSink>>,
    required_sinks: Vec<Arc<dyn AuditSink>>,
    topology: Option<Topology>,
    entities_change: bool,
    policy: Option<Policy>,
    settings: EngineSettings,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $method:ident, $field:ident: one $trait:ident;)*) => {
        $( $(#[$doc])*
        #[must_use]
        pub fn $method(mut self, part: impl $trait) -> Self {
            self.$field = Some(Arc::new(part));
            self
        } )*
    };
    ($($(#[$doc:meta])* $method:ident, $field:ident: many $trait:ident;)*) => {
        $( $(#[$doc])*
        #[must_use]
        pub fn $method(mut self, part: impl $trait) -> Self {
            self.$field.push(Arc::new(part));
            self
        } )*
    };
}

impl Builder {
    setters! {
        /// The clock; the machine's own unless another is given.
        clock, clock: one Clock;
        /// Joins anomalies into incidents; by time, topology and shared change unless another is given.
        correlator, correlator: one Correlator;
        /// Ranks causes; over the causal graph unless another is given.
        diagnoser, diagnoser: one Diagnoser;
        /// Says what an incident is; by rules unless another is given.
        classifier, classifier: one Classifier;
        /// Measures whether a step helped; by the signals unless another is given.
        verifier, verifier: one Verifier;
        /// Keeps lessons; they stand in the journal in any case.
        lessons, lessons: one LessonStore;
        /// Keeps detectors' states, so that a restart need not learn anew.
        snapshots, snapshots: one SnapshotStore;
        /// The one log. Required.
        journal, journal: one Journal;
    }

    setters! {
        /// Brings signals. At least one is required.
        source, sources: many SignalSource;
        /// Finds anomalies, beside those given before.
        detector, detectors: many Detector;
        /// Makes plans when the planners and playbooks given before propose nothing.
        planner, planners: many Planner;
        /// Brings requests to people. Required at tiers `approve` and `veto`.
        approver, approvers: many Approver;
        /// Performs actions. Without one the responder can only observe and recommend.
        executor, executors: many Executor;
        /// Gets a copy of every record, in order, at least once.
        audit_sink, sinks: many AuditSink;
        /// The same, and nothing is done before it has the record of the intention.
        required_audit_sink, required_sinks: many AuditSink;
    }

    /// The name of this responder: the writer of its journal. `responder`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Several detectors at once, such as `Detectors::standard()`.
    #[must_use]
    pub fn detectors(mut self, detectors: impl IntoIterator<Item = Arc<dyn Detector>>) -> Self {
        self.detectors.extend(detectors);
        self
    }

    /// Keeps the recent past for diagnoses and verifications: 20,000 series with the defaults, unless another is given.
    #[must_use]
    pub fn observations(mut self, store: ObservationStore) -> Self {
        self.observations = Some(Arc::new(store));
        self
    }

    /// Assembles samples into scrapes, once for all detectors; with the defaults unless another is given.
    #[must_use]
    pub fn scrapes(mut self, assembler: ScrapeAssembler) -> Self {
        self.scrapes = assembler;
        self
    }

    /// Who depends on whom. Required.
    #[must_use]
    pub fn topology(mut self, topology: Topology) -> Self {
        (self.topology, self.entities_change) = (Some(topology), false);
        self
    }

    /// The same, read from a platform whose entities come and go. A policy or playbook may name entities that are not there now:
    /// a warning says how many, while with [`topology`](Self::topology) such a name is an error.
    #[must_use]
    pub fn discovered_topology(mut self, topology: Topology) -> Self {
        (self.topology, self.entities_change) = (Some(topology), true);
        self
    }

    /// Playbooks, checked against the executors' actions.
    #[must_use]
    pub fn playbooks(mut self, playbooks: Playbooks) -> Self {
        self.playbooks = Some(playbooks);
        self
    }

    /// The policy; without one the responder observes.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Times and counts.
    #[must_use]
    pub fn settings(mut self, settings: EngineSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Checks everything. Nothing is opened or connected to. What is doubtful is logged here, and kept in
    /// [`Responder::warnings`] and [`Status::warnings`](super::status::Status::warnings).
    ///
    /// # Errors
    ///
    /// All mistakes at once: what is missing, names used twice, actions that two executors claim, playbooks and policy that name
    /// actions or entities that there are not, rules and freezes that forbid something by a kind, environment or class that
    /// there is not, settings out of range, and the stop variable.
    pub fn build(self) -> Result<Responder, ConfigError> {
        let mut problems = self.settings.problems();
        if std::env::var(STOP_VARIABLE).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false")) {
            problems.push(Problem::at(STOP_VARIABLE, "is set, so nothing is started"));
        }
        let mut missing = |there: bool, field: &str, message: &str| {
            if !there {
                problems.push(Problem::at(field, message));
            }
        };
        missing(!self.sources.is_empty(), "source", "is missing: nothing could be seen");
        missing(self.journal.is_some(), "journal", "is missing: nothing is done without a record");
        missing(self.topology.is_some(), "topology", "is missing: no name could be resolved");
        let name = PartName::new(self.name.as_deref().unwrap_or("responder"))
            .map_err(|error| problems.push(Problem::at("name", error.message())))
            .ok();
        problems.extend(self.name_problems());

        let topology = self.topology.clone().unwrap_or_default();
        let policy = match self.policy.clone().map_or_else(|| Policy::new(Default::default()), Ok) {
            Ok(policy) => Some(policy),
            Err(error) => {
                problems.extend(error.into_problems());
                None
            }
        };
        let mut executors = BTreeMap::new();
        let mut actions = Vec::new();
        for executor in &self.executors {
            for action in executor.catalogue() {
                if executors.insert(action.name.clone(), executor.clone()).is_some() {
                    let message = format!("`{}` is claimed by two executors", action.name);
                    problems.push(Problem::at("executor", message));
                } else {
                    actions.push(action);
                }
            }
        }
        let catalogue = match Catalogue::new(actions) {
            Ok(catalogue) => catalogue,
            Err(error) => {
                problems.extend(error.within("executor").into_problems());
                Catalogue::default()
            }
        };
        let parts = crate::defaults::parts(&mut problems);
        let classifier = self.classifier.as_ref().or(parts.as_ref().map(|defaults| &defaults.classifier));
        let mut vocabulary =
            Vocabulary::new(&catalogue, &topology, classifier.into_iter().flat_map(|one| one.classes()));
        if self.entities_change {
            vocabulary = vocabulary.with_changing_entities();
        }
        let (n_entities, room) = (topology.entities().len(), self.scrapes.config().max_targets);
        if n_entities > room {
            let message = format!(
                "has {n_entities} entities, and the assembler of scrapes keeps {room} targets: those beyond would not be \
                 watched. Give an assembler, detectors and a store with more room"
            );
            problems.push(topology.places().locate(Problem::at("topology", message)));
        }
        let mut found = self.doubts();
        if let Some(playbooks) = &self.playbooks {
            found.extend(playbooks.check_against(&catalogue, &vocabulary));
        }
        if let Some(policy) = &policy {
            found.extend(policy.check_against(&vocabulary));
            let asks = matches!(policy.tier(), ir_core::AutonomyTier::Approve | ir_core::AutonomyTier::Veto);
            if asks && self.approvers.is_empty() {
                problems.push(Problem::at("approver", format!("is missing: tier `{}` asks people", policy.tier())));
            }
        }
        problems.extend(found.errors);
        let warnings = found.warnings;
        match (name, policy, self.journal.clone(), parts) {
            (Some(name), Some(policy), Some(journal), Some(defaults)) if problems.is_empty() => {
                let config = EngineConfig { topology, catalogue, policy, settings: self.settings.clone() };
                let recorded = as_recorded("settings", &config.to_value()?)
                    .map_err(|error| ConfigError::one(Problem::at("", error.message())))?;
                for warning in &warnings {
                    tracing::warn!(%warning, "the configuration is doubtful");
                }
                Ok(Responder { name, journal, config, recorded, executors, defaults, warnings, builder: self })
            }
            _ => Err(ConfigError::of(problems)),
        }
    }

    /// What each document says well enough, and what together can hardly be meant.
    fn doubts(&self) -> Findings {
        let mut warnings = Vec::new();
        if let Some(empty) = self.topology.as_ref().filter(|topology| topology.entities().len() == 0) {
            let message = "the topology has no entity: no signal belongs to anything, and nothing can be acted on";
            warnings.push(empty.places().locate(Problem::at("", message)));
        }
        let has_playbooks = self.playbooks.as_ref().is_some_and(|playbooks| playbooks.iter().len() > 0);
        match &self.policy {
            None if has_playbooks => {
                warnings.push(Problem::at("policy", "is missing: without one nothing is done, whatever playbooks say"));
            }
            Some(policy) if has_playbooks && !policy.gives_tier() => {
                let message = "`tier` is not given, so the policy only observes: no playbook does anything";
                warnings.push(policy.places().locate(Problem::at("", message)));
            }
            _ => {}
        }
        Findings { errors: Vec::new(), warnings }
    }

    /// Names that are no names, or that two parts of a kind share.
    fn name_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (role, names) in self.names() {
            let mut seen = std::collections::BTreeSet::new();
            for name in names {
                if let Err(error) = PartName::new(&name) {
                    problems.push(Problem::at(role, error.message()));
                }
                if !seen.insert(name.clone()) {
                    problems.push(Problem::at(role, format!("two are named `{name}`")));
                }
            }
        }
        // Its snapshots stand beside those of the detectors, under names.
        let reserved = ScrapeAssembler::NAME;
        if self.detectors.iter().any(|detector| detector.name() == reserved) {
            problems.push(Problem::at("detector", format!("`{reserved}` is the name of the scrape assembler")));
        }
        problems
    }

    fn names(&self) -> Vec<(&'static str, Vec<String>)> {
        fn of<T: ?Sized>(parts: &[Arc<T>], name: impl Fn(&T) -> &str) -> Vec<String> {
            parts.iter().map(|part| name(part).to_owned()).collect()
        }
        vec![
            ("source", of(&self.sources, |part| part.name())),
            ("detector", of(&self.detectors, |part| part.name())),
            ("planner", of(&self.planners, |part| part.name())),
            ("approver", of(&self.approvers, |part| part.name())),
            ("executor", of(&self.executors, |part| part.name())),
            ("audit_sink", of(&self.sinks, |part| part.name())),
            ("required_audit_sink", of(&self.required_sinks, |part| part.name())),
        ]
    }
}

/// A checked responder, ready to run.
#[derive(Debug)]
pub struct Responder {
    name: PartName,
    journal: Arc<dyn Journal>,
    config: EngineConfig,
    recorded: serde_json::Value,
    executors: BTreeMap<ir_core::ActionName, Arc<dyn Executor>>,
    defaults: crate::defaults::Defaults,
    warnings: Vec<Problem>,
    builder: Builder,
}

/// A responder whose journal is open and read: it runs as soon as it is told to.
#[derive(Debug)]
pub struct Engine {
    shell: Shell,
    started: Event,
    handle: Handle,
}

impl Responder {
    /// Begins putting one together.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What is doubtful in the configuration: it may be meant, and probably is not. A name in a permit or a playbook that nothing
    /// has, a rule without a condition, a limit that has no effect, an empty topology, playbooks beside a policy without a tier.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Opens the journal, reads it, and finds the state again in which the process before left off.
    ///
    /// # Errors
    ///
    /// Those of the journal; `Conflict` when another process writes it. That this version comes to other conclusions than were recorded
    /// is no error: the records are the truth, incidents about which it thinks otherwise go to people, and
    /// [`replay`](crate::replay) tells the difference.
    pub async fn open(self) -> Result<Engine> {
        let Self { name, journal, config, recorded, executors, defaults, warnings, builder } = self;
        let clock = builder.clock.clone().unwrap_or_else(|| defaults.clock.clone());
        let (ctx, stop) = Ctx::stoppable(clock.clone());
        let (effects_ctx, effects_stop) = Ctx::stoppable(clock.clone());
        let heartbeats = Heartbeats::default();
        let settings = config.settings.clone();
        let within = Duration::from_millis(settings.answer_within_ms);
        let guarded = |sinks: &[Arc<dyn AuditSink>]| -> Vec<Arc<dyn AuditSink>> {
            let guard = |sink: &Arc<dyn AuditSink>| Arc::new(GuardedSink { sink: sink.clone(), within }) as _;
            sinks.iter().map(guard).collect()
        };
        let gate_config = GateConfig {
            name,
            journal: journal.clone(),
            required_sinks: guarded(&builder.required_sinks).into_iter().map(RequiredSink).collect(),
            clock,
            lease_ttl_ms: settings.lease_ms,
            append_within_ms: settings.append_within_ms,
        };
        let mut replayer = Replayer::believing();
        let gate = Gate::open(&ctx, gate_config, |record| replayer.feed(record)).await?;
        let n_read = replayer.n_records();
        let Found { machine, memory, owed } = replayer.finish(gate.state());
        if let Some(doubt) = &machine.doubt {
            tracing::warn!(doubt, "what is open goes to people");
        }

        let store = builder.observations.clone().unwrap_or_default();
        let mut planners: Vec<Arc<dyn Planner>> = Vec::new();
        planners
            .extend(builder.playbooks.clone().map(|books| Arc::new(PlaybookPlanner::new(books)) as Arc<dyn Planner>));
        planners.extend(builder.planners.iter().cloned());
        let answer_within = Duration::from_millis(settings.answer_within_ms);
        let parts = Parts {
            correlator: builder.correlator.clone().unwrap_or(defaults.correlator),
            diagnoser: builder.diagnoser.clone().unwrap_or(defaults.diagnoser),
            classifier: builder.classifier.clone().unwrap_or(defaults.classifier),
            planners,
            approvers: builder.approvers.clone(),
            verifier: builder.verifier.clone().unwrap_or(defaults.verifier),
            lessons: builder.lessons.clone(),
            executors,
            topology: config.topology.clone(),
            catalogue: config.catalogue.clone(),
            store: store.clone(),
            answer_within,
        };
        let judgements = Judgements::new(memory.unheard.clone());
        // Stored states go on from where the sources had been read when they were stored.
        let mut cursors = memory.cursors.clone();
        if builder.snapshots.is_some() {
            cursors.extend(memory.snapshot_cursors.clone());
        }
        let mut observer = Observer {
            scrapes: builder.scrapes.clone(),
            polls: Polls::new(&builder.sources, cursors, answer_within),
            detectors: builder.detectors.clone(),
            snapshots: builder.snapshots.clone(),
            store,
            poll_every: Duration::from_millis(settings.poll_every_ms),
            answer_within,
            snapshot_every: Duration::from_millis(settings.snapshot_every_ms),
            judgements: judgements.clone(),
            heard: memory.heard,
            store_rest: Rest::default(),
        };
        let forgetful = observer.restore(&ctx, &memory.snapshots).await;

        let started = Event::Started(Started {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: gate.epoch(),
            config: Content::Here(recorded),
            policy: config.policy.digest(),
            limits: config.policy.limits().clone(),
            parts: part_records(&builder),
            forgetful,
        });
        let (requests_in, requests) = mpsc::channel(64);
        let (status, status_out) = watch::channel(Arc::new(Status { warnings: warnings.clone(), ..Status::default() }));
        let records = broadcast::Sender::new(4096);
        let handle = Handle {
            requests: requests_in,
            halt: gate.halt_handle(),
            status: status_out,
            records: records.clone(),
            heartbeats: heartbeats.clone(),
            clock: ctx.clock().clone(),
        };
        let mut shell = Shell {
            gate,
            machine,
            parts: Arc::new(parts),
            journal,
            // A required sink is given each intention by the gate, and everything else like any other.
            sinks: [guarded(&builder.sinks), guarded(&builder.required_sinks)].concat(),
            observer: Some(observer),
            judgements,
            memory,
            ctx,
            stop,
            requests,
            status,
            records,
            checkpoint_every: settings.checkpoint_every,
            renew_every_ns: settings.lease_ms.saturating_mul(1_000_000) / 3,
            effects_ctx,
            effects_stop,
            shutdown_within_ns: settings.shutdown_within_ms.saturating_mul(1_000_000),
            heartbeats,
            work: Work::after(n_read),
            warnings,
        };
        shell.write_owed(owed).await?;
        Ok(Engine { shell, started, handle })
    }

    /// Opens the journal and runs until `stop` is ready.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open) and [`Engine::run_until`].
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send) -> Result<()> {
        self.open().await?.run_until(stop).await
    }
}

impl Engine {
    /// Reaches the engine while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until `stop` is ready. Then executors in flight are asked to stop through their `Ctx`, and waited for at most
    /// `shutdown_within_ms`; [`Status::waits_for`](super::status::Status::waits_for) names what it waits for. What is left in flight
    /// is recorded, and the next start settles it.
    ///
    /// # Errors
    ///
    /// When the journal fails or does not answer within `append_within_ms`, and when the observer ends: nothing acts any more, and
    /// only a new start can go on.
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send) -> Result<()> {
        self.shell.run(self.started, stop).await
    }
}

fn part_records(builder: &Builder) -> Vec<PartRecord> {
    let named = |(role, names): (&'static str, Vec<String>)| {
        names
            .into_iter()
            .filter_map(move |name| Some(PartRecord { role: role.to_owned(), name: PartName::new(name).ok()? }))
    };
    builder.names().into_iter().flat_map(named).collect()
}
