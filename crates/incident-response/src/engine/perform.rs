//! Performing commands: each is one call of one part, and comes back as one event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ir_core::journal::{Event, Intent, Report};
use ir_core::kernel::{AuthorizeRequest, Fence, PermitWatch};
use ir_core::persistent::PersistentMap;
use ir_core::{
    ActionName, AnomalyId, Approver, Attempt, AttemptResult, Case, Catalogue, Change, Check, Classifier,
    CorrelationInput, Correlator, Ctx, Diagnoser, Digest, Direction, EntityId, Error, ErrorKind, Execution, Executor,
    Failure, HypothesisId, Incident, IncidentId, Lesson, LessonStore, Pace, PartName, Permit, Placement, PlanInput,
    Planned, Planner, Precondition, Probe, Probed, Provenance, Result, StepRef, Timestamp, Topology, UNKNOWN_CLASS,
    Verification, Verifier,
};
use ir_detect::observations::ObservationStore;

use super::command::{Command, Ordered};
use super::guard::{as_recorded, guarded, noted, shortened};
use super::machine::{IncidentRun, Machine, Pending};

/// How much history a diagnoser and a verifier see at least.
const HISTORY: Duration = Duration::from_secs(15 * 60);
/// And how many scrapes of it, where they are far apart.
const HISTORY_SCRAPES: u64 = 20;

/// The parts that answer commands.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) correlator: Arc<dyn Correlator>,
    pub(crate) diagnoser: Arc<dyn Diagnoser>,
    pub(crate) classifier: Arc<dyn Classifier>,
    pub(crate) planners: Vec<Arc<dyn Planner>>,
    pub(crate) approvers: Vec<Arc<dyn Approver>>,
    pub(crate) verifier: Arc<dyn Verifier>,
    pub(crate) lessons: Option<Arc<dyn LessonStore>>,
    pub(crate) executors: BTreeMap<ActionName, Arc<dyn Executor>>,
    pub(crate) topology: Topology,
    pub(crate) catalogue: Catalogue,
    pub(crate) store: Arc<ObservationStore>,
    pub(crate) answer_within: Duration,
}

/// What comes back.
#[derive(Debug)]
pub(crate) enum Performed {
    /// An event for the machine.
    Event(Box<Event>),
    /// A step's target was read: now the gate is asked.
    Prepared { request: AuthorizeRequest, executor: Arc<dyn Executor> },
}

/// A command with everything it needs from the machine, so that it can run beside the loop.
#[derive(Debug)]
pub(crate) enum Job {
    Correlate(Box<Uncorrelated>),
    Diagnose { id: HypothesisId, incident: Arc<Incident>, until: Timestamp, window: Duration },
    Classify(Box<(ir_core::Incident, ir_core::Hypothesis)>),
    Plan(Box<PlanInput>),
    Preview(ir_core::Call),
    Ask { request: Box<ir_core::ApprovalRequest>, delivered: Vec<PartName> },
    Send { step: StepRef, direction: Direction, call: ir_core::Call },
    Probe { probe: Box<Probe>, inverse: Option<ir_core::Call> },
    Verify(Box<Unverified>),
    Keep(Box<Lesson>),
}

/// What waits for an incident, and all that the correlator may go by. Shared with the machine, and put together beside the loop.
#[derive(Debug)]
pub(crate) struct Uncorrelated {
    asked: BTreeSet<AnomalyId>,
    pending: PersistentMap<AnomalyId, Pending>,
    open: PersistentMap<IncidentId, IncidentRun>,
    changes: Arc<Vec<Change>>,
    intervals: PersistentMap<EntityId, u64>,
}

/// A step whose success is measured, without the observations: they are cut beside the loop.
#[derive(Debug)]
pub(crate) struct Unverified {
    step: StepRef,
    call: ir_core::Call,
    verification: Verification,
    applied: Timestamp,
    incident: Arc<Incident>,
    until: Timestamp,
    window: Duration,
}

impl Unverified {
    /// The target, what the limits are about, and what was sick.
    fn concerned(&self) -> BTreeSet<EntityId> {
        let limits = self.verification.limits.iter().filter_map(|limit| limit.entity.as_ref());
        let sick = self.incident.anomalies.iter().map(|anomaly| &anomaly.entity);
        [&self.call.target].into_iter().chain(limits).chain(sick).cloned().collect()
    }
}

/// Whatever may have to do with an incident: what is sick or blamed, all that it depends on, and all that depends on it.
fn concerned(topology: &Topology, incident: &Incident) -> BTreeSet<EntityId> {
    let named = incident.anomalies.iter().flat_map(|anomaly| [Some(&anomaly.entity), anomaly.peer.as_ref()]).flatten();
    let named: BTreeSet<&EntityId> = named.collect();
    named.into_iter().flat_map(|entity| topology.concerned_by(entity)).cloned().collect()
}

impl Job {
    /// Whether it only thinks about one incident: there may be as many as there are incidents. The correlator is asked about all at once,
    /// and what is new must not wait behind what is old.
    pub(crate) const fn thinks(&self) -> bool {
        matches!(self, Self::Diagnose { .. } | Self::Classify(_) | Self::Plan(_))
    }
}

impl Parts {
    /// Cuts from the machine's state what a command needs; `None` when what it is about is gone.
    pub(crate) fn job(&self, machine: &Machine, command: &Command, fence: Option<Fence>) -> Option<Job> {
        let run = |id: &IncidentId| machine.incidents.get(id);
        let now = machine.wall();
        Some(match command {
            Command::Correlate { anomalies } => Job::Correlate(Box::new(Uncorrelated {
                asked: anomalies.clone(),
                pending: machine.pending.clone(),
                open: machine.incidents.clone(),
                changes: machine.changes.clone(),
                intervals: machine.intervals.clone(),
            })),
            Command::Diagnose { incident, hypothesis } => Job::Diagnose {
                id: hypothesis.clone(),
                incident: run(incident)?.incident.clone(),
                until: now,
                window: history(machine, incident, Duration::ZERO),
            },
            Command::Classify { incident } => {
                let run = run(incident)?;
                Job::Classify(Box::new((Incident::clone(&run.incident), run.hypothesis.clone()?)))
            }
            Command::Plan { incident, plan, playbook } => {
                let run = run(incident)?;
                Job::Plan(Box::new(PlanInput {
                    playbook: playbook.clone(),
                    id: plan.clone(),
                    incident: Incident::clone(&run.incident),
                    hypothesis: run.hypothesis.clone()?,
                    classification: run.incident.classification.clone()?,
                    topology: self.topology.clone(),
                    catalogue: self.catalogue.clone(),
                    tried: run.tried.iter().map(|tried| tried.call.clone()).collect(),
                }))
            }
            Command::Preview { call, .. } => Job::Preview(call.clone()),
            Command::Ask { request, delivered } => Job::Ask { request: request.clone(), delivered: delivered.clone() },
            Command::Send { step, direction, call } => {
                Job::Send { step: step.clone(), direction: *direction, call: call.clone() }
            }
            Command::Probe { step, call, key, .. } => {
                let entry = machine.kernel().step(step)?;
                let is_do = entry.open.as_ref()?.intent.direction == Direction::Do;
                let probe = Box::new(Probe { call: call.clone(), key: *key, fence });
                Job::Probe { probe, inverse: entry.inverse.clone().filter(|_| is_do) }
            }
            Command::Verify { step, incident, call, verification, applied } => Job::Verify(Box::new(Unverified {
                step: step.clone(),
                call: call.clone(),
                verification: verification.clone(),
                applied: *applied,
                incident: run(incident)?.incident.clone(),
                until: now,
                // All that was scraped since the effect counts.
                window: history(machine, incident, now.since(*applied)),
            })),
            Command::Keep { lesson } => Job::Keep(lesson.clone()),
        })
    }

    /// Performs a job. Every part has `answer_within` to answer.
    pub(crate) async fn perform(&self, ctx: &Ctx, order: &Ordered, job: Job) -> Performed {
        let within = ctx.with_timeout(self.answer_within);
        let report = match self.answer(&within, job).await {
            Ok(Answered::Report(report)) => {
                as_recorded("engine", &report).unwrap_or_else(|error| Report::Failed(noted(&error)))
            }
            Ok(Answered::Prepared(request, executor)) => return Performed::Prepared { request, executor },
            Err(error) => Report::Failed(noted(&error)),
        };
        Performed::Event(Box::new(Event::Reported { command: order.id, report }))
    }

    async fn answer(&self, ctx: &Ctx, job: Job) -> Result<Answered> {
        let report = match job {
            Job::Correlate(about) => {
                let part = &self.correlator;
                let input = CorrelationInput {
                    anomalies: about
                        .asked
                        .iter()
                        .filter_map(|id| about.pending.get(id))
                        .map(|p| p.anomaly.clone())
                        .collect(),
                    open: about.open.values().map(|run| run.incident.clone()).collect(),
                    changes: about.changes.to_vec(),
                    topology: self.topology.clone(),
                };
                let mut groupings = ctx.run(part.name(), part.correlate(ctx, &input)).await?;
                // Only what is new is recorded: an anomaly that is left out as before, and an interval that is as before, are not.
                groupings.retain(|grouping| {
                    let known = about.pending.get(&grouping.anomaly).and_then(|pending| pending.ignored.as_ref());
                    grouping.into != Placement::Ignore || known != Some(&grouping.because)
                });
                let mut intervals = self.intervals(&input);
                intervals.retain(|(entity, interval_ms)| about.intervals.get(entity) != Some(interval_ms));
                Report::Correlated { groupings, intervals }
            }
            Job::Diagnose { id, incident, until, window } => {
                let part = &self.diagnoser;
                let case = Case {
                    id,
                    observations: self.store.cut_of(&concerned(&self.topology, &incident), until, window),
                    incident: Arc::unwrap_or_clone(incident),
                    topology: self.topology.clone(),
                };
                Report::Diagnosed(ctx.run(part.name(), part.diagnose(ctx, &case)).await?)
            }
            Job::Classify(about) => {
                let part = &self.classifier;
                let found = ctx.run(part.name(), part.classify(ctx, &about.0, &about.1)).await?;
                // Rules were checked against the classes that it names. One beside them would slip past those that forbid, so it
                // counts as unknown, which no rule that forbids lets pass.
                if found.class.as_str() != UNKNOWN_CLASS && !part.classes().contains(&found.class) {
                    let message = format!("`{}` is not among the classes that it names", found.class);
                    return Err(Error::new(ErrorKind::InvalidInput, part.name(), message));
                }
                Report::Classified(found)
            }
            Job::Plan(input) => Report::Planned(self.plan(ctx, &input).await?),
            Job::Preview(call) => {
                let part = self.executor(&call)?;
                let read = ctx.now();
                let preview = ctx.run(part.name(), part.preview(ctx, &call)).await?;
                Report::Previewed { preview, read }
            }
            Job::Ask { request, delivered } => {
                // One that cannot be reached must not keep the request from the others.
                let missing: Vec<(PartName, &Arc<dyn Approver>)> = self
                    .approvers
                    .iter()
                    .filter_map(|part| Some((PartName::new(part.name()).ok()?, part)))
                    .filter(|(name, _)| !delivered.contains(name))
                    .collect();
                let asked = missing.iter().map(|(_, part)| guarded(ctx, part.name(), part.ask(ctx, &request)));
                let answers = futures::future::join_all(asked).await;
                let (mut delivered, mut failed) = (Vec::new(), Vec::new());
                for ((name, _), answer) in missing.into_iter().zip(answers) {
                    match answer {
                        Ok(()) => delivered.push(name),
                        Err(error) => failed.push(noted(&error)),
                    }
                }
                Report::Asked { delivered, failed }
            }
            Job::Send { step, direction, call } => {
                let part = self.executor(&call)?;
                let read = ctx.now();
                let state = ctx.run(part.name(), part.preview(ctx, &call)).await?.state;
                let precondition = Precondition { state, read };
                return Ok(Answered::Prepared(AuthorizeRequest { step, direction, precondition }, part));
            }
            Job::Probe { probe, inverse } => {
                let part = self.executor(&probe.call)?;
                let probed = ctx.run(part.name(), part.probe(ctx, &probe)).await?;
                let after = match inverse.filter(|_| probed == Probed::Applied) {
                    Some(inverse) => state_of(ctx, &self.executor(&inverse)?, &inverse).await,
                    None => None,
                };
                Report::Probed { probed, after }
            }
            Job::Verify(about) => {
                let part = &self.verifier;
                let concerned = about.concerned();
                let Unverified { step, call, verification, applied, incident, until, window } = *about;
                let observations = self.store.cut_of(&concerned, until, window);
                let incident = Arc::unwrap_or_clone(incident);
                let check = Check { step, call, verification, applied, incident, observations };
                let verified = ctx.run(part.name(), part.verify(ctx, &check)).await?;
                Report::Verified { verified, pace: Pace::of(&check.observations, concerned.iter(), applied) }
            }
            Job::Keep(lesson) => {
                if let Some(part) = &self.lessons {
                    ctx.run(part.name(), part.put(ctx, &lesson)).await?;
                }
                Report::Kept
            }
        };
        Ok(Answered::Report(report))
    }

    /// What the first planner that proposes something proposes. One that fails does not keep the others from being asked.
    async fn plan(&self, ctx: &Ctx, input: &PlanInput) -> Result<Planned> {
        let mut by = PartName::literal("engine");
        let mut failed = None;
        for (n, part) in self.planners.iter().enumerate() {
            by = PartName::new(part.name())?;
            // A silent planner leaves the others their share of the time.
            let left = u32::try_from(self.planners.len() - n).unwrap_or(u32::MAX);
            let ctx = &ctx.remaining().map_or_else(|| ctx.clone(), |time| ctx.with_timeout(time / left));
            match guarded(ctx, part.name(), part.plan(ctx, input)).await {
                Ok(drafts) => {
                    let wanted = |draft: &ir_core::PlanDraft| match (&input.playbook, &draft.provenance) {
                        (None, _) => true,
                        (Some(ordered), Provenance::Playbook { name, .. }) => name == ordered,
                        (Some(_), _) => false,
                    };
                    let drafts: Vec<_> = drafts.into_iter().filter(wanted).collect();
                    if !drafts.is_empty() {
                        return Ok(Planned { by, drafts });
                    }
                }
                Err(error) => {
                    tracing::warn!(planner = part.name(), %error, "it made no plan; the next one is asked");
                    failed = failed.or(Some(error));
                }
            }
        }
        failed.map_or(Ok(Planned { by, drafts: Vec::new() }), Err)
    }

    /// How often the entities of these anomalies, and those next to them, are scraped.
    fn intervals(&self, input: &CorrelationInput) -> Vec<(EntityId, u64)> {
        let sick: BTreeSet<&EntityId> = input.anomalies.iter().map(|anomaly| &anomaly.entity).collect();
        let below = sick.iter().flat_map(|entity| self.topology.dependencies_of(entity)).map(|edge| &edge.to);
        let above = sick.iter().flat_map(|entity| self.topology.dependents_of(entity)).map(|edge| &edge.from);
        let near: BTreeSet<&EntityId> = below.chain(above).chain(sick.iter().copied()).collect();
        let interval_ms = |entity: &EntityId| {
            let usual = self.store.interval_of_entity(entity)?;
            Some((entity.clone(), u64::try_from(usual.as_millis()).unwrap_or(u64::MAX)))
        };
        near.into_iter().filter_map(interval_ms).collect()
    }

    pub(crate) fn executor(&self, call: &ir_core::Call) -> Result<Arc<dyn Executor>> {
        let missing =
            || Error::new(ErrorKind::NotFound, "engine", format!("no executor has the action `{}`", call.action));
        self.executors.get(&call.action).cloned().ok_or_else(missing)
    }
}

#[derive(Debug)]
enum Answered {
    Report(Report),
    Prepared(AuthorizeRequest, Arc<dyn Executor>),
}

/// How much history is cut for an incident: enough scrapes of its entities, and all since something happened `since` ago.
fn history(machine: &Machine, incident: &IncidentId, since: Duration) -> Duration {
    let scrapes = Duration::from_millis(machine.interval_ms(incident).saturating_mul(HISTORY_SCRAPES));
    HISTORY.max(scrapes).max(since.saturating_add(HISTORY))
}

/// One attempt and what its end is judged by.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub(crate) intent: Intent,
    pub(crate) gate: PartName,
    pub(crate) watch: PermitWatch,
    /// Who previews the undo of a do, so that it is known how the do left the target.
    pub(crate) undoes: Option<Arc<dyn Executor>>,
    /// For that preview: a stop ends the wait for the executor, and what it did is read all the same.
    pub(crate) reading: Ctx,
    pub(crate) answer_within: Duration,
}

/// Has the effect. Never dropped by the engine before the process ends.
pub(crate) async fn execute(ctx: Ctx, executor: Arc<dyn Executor>, permit: Permit, attempt: Attempted) -> Event {
    let by = PartName::new(executor.name()).unwrap_or_else(|_| PartName::literal("executor"));
    let name = by.as_str().to_owned();
    // A task of its own, so that a component that panics does not take the engine down.
    let answer = tokio::spawn(async move { executor.execute(&ctx, permit).await }).await;
    let Attempted { intent, gate, watch, undoes, reading, answer_within } = attempt;
    let result = ended(&name, answer, &intent, &gate, &watch);
    let after = match (&result, intent.direction, undoes.zip(intent.inverse)) {
        (AttemptResult::Applied { .. }, Direction::Do, Some((part, inverse))) => {
            // With its own time to answer, since the answer of the attempt may have come late.
            state_of(&reading.with_timeout(answer_within), &part, &inverse).await
        }
        _ => None,
    };
    let (step, direction, attempt) = (intent.step, intent.direction, intent.attempt);
    Event::Executed(Execution { step, direction, attempt, by, result, after })
}

/// What is known of an attempt whose executor has ended.
///
/// INVARIANT (no claim without proof): "applied" needs a redeemed permit; "not applied" needs the executor's proof for just this
/// attempt, or a permit that is revoked in the same step and was never redeemed. Everything else is unknown.
fn ended(
    name: &str,
    answer: std::result::Result<Result<Attempt>, tokio::task::JoinError>,
    intent: &Intent,
    gate: &PartName,
    watch: &PermitWatch,
) -> AttemptResult {
    let unsent = watch.revoke();
    let failure = match answer {
        Ok(Ok(Attempt::Applied(applied))) if !unsent => return AttemptResult::Applied { applied },
        Ok(Ok(Attempt::NotApplied(proof))) if proof.is_of(gate, intent.token) => {
            return AttemptResult::NotApplied { failure: shortened(proof.failure().clone()) };
        }
        Ok(Ok(Attempt::Applied(_))) => {
            // It broke its contract, so its word proves nothing, not even that nothing was sent.
            let message = "it says that it is done and never redeemed its permit";
            return AttemptResult::Unknown { failure: failure(name, ErrorKind::InvalidInput, message) };
        }
        Ok(Ok(Attempt::NotApplied(_))) => {
            failure(name, ErrorKind::InvalidInput, "its proof that nothing was changed is of another attempt")
        }
        Ok(Err(error)) => noted(&error),
        Err(_) => failure(name, ErrorKind::Unknown, "it panicked"),
    };
    if unsent { AttemptResult::NotApplied { failure } } else { AttemptResult::Unknown { failure } }
}

/// The state that a call would find now; `None` where it cannot be read.
async fn state_of(ctx: &Ctx, part: &Arc<dyn Executor>, call: &ir_core::Call) -> Option<Digest> {
    match guarded(ctx, part.name(), part.preview(ctx, call)).await {
        Ok(preview) => Some(preview.state),
        Err(error) => {
            tracing::warn!(%call, %error, "the state after the effect could not be read; an undo will ask a person");
            None
        }
    }
}

pub(crate) fn failure(component: &str, kind: ErrorKind, message: &str) -> Failure {
    Failure { kind, component: component.to_owned(), message: message.to_owned() }
}
