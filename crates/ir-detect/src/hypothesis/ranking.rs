//! The factors, their weights, and the order that follows.

use std::collections::BTreeSet;
use std::time::Duration;

use ir_core::{Case, EntityId, Evidence, Measured, Timestamp};

use super::GraphDiagnoserConfig;
use super::changes;
use super::evidence::{Blame, OwnKind, Picture, Seen, Symptoms, Telemetry};
use super::graph::Graph;

/// A candidate with its probability.
#[derive(Debug)]
pub(crate) struct Ranked {
    pub(crate) entity: EntityId,
    pub(crate) probability: f64,
    pub(crate) evidence: Vec<Evidence>,
    /// The onset of its own trouble, when a change came shortly before it.
    pub(crate) changed_before: Option<Timestamp>,
}

/// All candidates, most likely first; empty without symptoms in the topology.
pub(crate) fn rank(config: &GraphDiagnoserConfig, case: &Case, graph: &Graph, picture: &Picture) -> Vec<Ranked> {
    let symptomatic = picture.symptomatic();
    let mut candidates: BTreeSet<EntityId> = symptomatic.iter().chain(picture.blame.keys()).cloned().collect();
    for entity in &symptomatic {
        candidates.extend(graph.below(entity));
    }
    candidates.retain(|entity| graph.contains(entity));
    let view = View { config, case, graph, picture, symptomatic, telemetry: Telemetry(&case.observations) };
    let mut ranked: Vec<(f64, Ranked)> = candidates.into_iter().map(|entity| view.weigh(entity)).collect();
    // Softmax with the largest taken out first, so that no sum overflows.
    let largest = ranked.iter().map(|(sum, _)| *sum).fold(config.other_nats, f64::max);
    let total: f64 =
        ranked.iter().map(|(sum, _)| (sum - largest).exp()).sum::<f64>() + (config.other_nats - largest).exp();
    for (sum, candidate) in &mut ranked {
        candidate.probability = (*sum - largest).exp() / total;
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.entity.cmp(&b.1.entity)));
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}

struct View<'a> {
    config: &'a GraphDiagnoserConfig,
    case: &'a Case,
    graph: &'a Graph,
    picture: &'a Picture,
    symptomatic: BTreeSet<EntityId>,
    telemetry: Telemetry<'a>,
}

/// Evidence of a weak anomaly counts half, of one that stands alone fully.
fn trust(seen: &Seen) -> f64 {
    (0.5 + seen.score).min(1.0)
}

impl View<'_> {
    fn weigh(&self, entity: EntityId) -> (f64, Ranked) {
        let nothing = Symptoms::default();
        let symptoms = self.picture.symptoms.get(&entity).unwrap_or(&nothing);
        let changed_before = self.changed_before(&entity, symptoms);
        let mut factors = vec![self.own_symptoms(&entity, symptoms)];
        factors.extend(self.blamed(&entity));
        factors.extend(self.explains(&entity));
        factors.extend(self.callee_suspect(&entity, symptoms));
        factors.extend(self.onset_first(&entity, symptoms));
        if let Some(change) = changed_before.and_then(|onset| self.change(&entity, onset)) {
            let because = format!("{:?} at {}, before its own trouble began", change.kind, change.at);
            factors.push(("change_before", self.config.change_nats, because));
        }
        let sum = factors.iter().map(|(_, weight, _)| weight).sum();
        let evidence = factors
            .into_iter()
            .map(|(factor, weight, because)| Evidence { factor: factor.to_owned(), weight: Measured(weight), because })
            .collect();
        (sum, Ranked { entity, probability: 0.0, evidence, changed_before })
    }

    fn own_symptoms(&self, entity: &EntityId, symptoms: &Symptoms) -> Factor {
        let name = "own_symptoms";
        let mut weights: Vec<(f64, &str)> = symptoms
            .own
            .iter()
            .map(|(kind, seen)| {
                let full = match kind {
                    OwnKind::Absence if self.answers_well(entity, seen) => self.config.telemetry_only_nats,
                    OwnKind::Other => self.config.passed_on_nats / 2.0,
                    _ => self.config.own_nats,
                };
                (full * trust(seen), seen.because.as_str())
            })
            .collect();
        weights.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        if let Some((first, because)) = weights.first() {
            let further = (weights.len() - 1) as f64 * self.config.further_own_nats;
            // A weak first symptom does not become a strong one by company.
            return (name, first + further.min((first / 2.0).max(0.0)), (*because).to_owned());
        }
        if let Some(seen) = &symptoms.passed_on {
            let weight = self.config.passed_on_nats * trust(seen);
            let because = &seen.because;
            return match self.graph.below(entity).is_empty() {
                true => (name, 0.0, format!("neither surely its own nor anybody else's: {because}")),
                false => (name, -weight, format!("only what points at somebody it depends on: {because}")),
            };
        }
        let blamed = self.picture.blame.get(entity).is_some_and(Blame::is_any);
        match self.telemetry.knows(entity) {
            // Callers notice first, so being blamed without showing it yet is half of an alibi.
            true if blamed => {
                (name, -self.config.healthy_nats / 2.5, format!("{entity} reports, and shows nothing yet"))
            }
            true => (name, -self.config.healthy_nats, format!("{entity} reports, and shows nothing")),
            false if blamed => (name, 0.0, format!("nothing is measured of {entity}")),
            false => (
                name,
                -self.config.healthy_nats / 2.0,
                format!("nothing is measured of {entity}, and nobody blames it"),
            ),
        }
    }

    /// Whether those who call a silent entity go on being served: then only its telemetry is gone.
    fn answers_well(&self, entity: &EntityId, absence: &Seen) -> bool {
        let blamed = self.picture.blame.get(entity).is_some_and(Blame::is_any);
        !blamed && self.telemetry.answers_well(entity, absence.onset) == Some(true)
    }

    fn blamed(&self, entity: &EntityId) -> Option<Factor> {
        let blame = self.picture.blame.get(entity)?;
        let direct = self.config.blamed_nats;
        let late = self.config.blamed_late_nats;
        let (weight, seen) =
            [(direct, &blame.unreachable), (direct, &blame.own), (late, &blame.late), (late / 2.0, &blame.relayed)]
                .into_iter()
                .filter_map(|(full, seen)| seen.as_ref().map(|seen| (full * trust(seen), seen)))
                .max_by(|a, b| a.0.total_cmp(&b.0))?;
        let callers: Vec<&str> =
            self.picture.blamed_by.get(entity).into_iter().flatten().map(EntityId::as_str).collect();
        Some(("blamed_by_callers", weight, format!("by {}: {}", callers.join(", "), seen.because)))
    }

    fn explains(&self, entity: &EntityId) -> Vec<Factor> {
        let above = self.graph.above(entity);
        // An entity that is gone also explains that nobody asks its callees any more; they need no other cause.
        let (explained, left): (Vec<&EntityId>, Vec<&EntityId>) =
            self.symptomatic.iter().partition(|other| *other == entity || above.contains(*other));
        let total = self.symptomatic.len().max(1) as f64;
        let names = |entities: &[&EntityId]| entities.iter().map(|e| e.as_str()).collect::<Vec<_>>().join(", ");
        let mut factors = Vec::new();
        if !explained.is_empty() {
            let share = explained.len() as f64 / total;
            let because = format!("a fault of {entity} would show at {}", names(&explained));
            factors.push(("explains", self.config.explains_nats * share, because));
        }
        if !left.is_empty() {
            let share = left.len() as f64 / total;
            let because = format!("it would not show at {}", names(&left));
            factors.push(("unexplained", -self.config.unexplained_nats * share, because));
        }
        factors
    }

    /// Explaining away: a suspect below makes whatever is passed on expected.
    fn callee_suspect(&self, entity: &EntityId, symptoms: &Symptoms) -> Option<Factor> {
        let suspicion = |callee: &EntityId| -> f64 {
            let suspect = self.picture.symptoms.get(callee).is_some_and(Symptoms::is_suspect);
            let blame = self.picture.blame.get(callee);
            match blame {
                _ if suspect => 1.0,
                Some(blame) if blame.is_direct() => 1.0,
                Some(_) => 0.5,
                None => 0.0,
            }
        };
        let (suspect, callee) = self
            .graph
            .below(entity)
            .into_iter()
            .map(|callee| (suspicion(&callee), callee))
            .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(&a.1)))?;
        if suspect == 0.0 {
            return None;
        }
        // What only the entity itself can have done is not explained by anybody else.
        let explained = if symptoms.is_suspect() { 1.0 / 6.0 } else { 1.0 };
        let because = format!("{callee}, on which it depends, is suspect and would explain it");
        Some(("callee_suspect", -self.config.callee_nats * suspect * explained, because))
    }

    fn onset_first(&self, entity: &EntityId, symptoms: &Symptoms) -> Option<Factor> {
        let resolution = Duration::try_from_secs_f64(self.config.onset_resolution_secs).unwrap_or_default();
        let own = symptoms.onset()?;
        let others = self.symptomatic.iter().filter(|other| *other != entity);
        let next = others.filter_map(|other| self.picture.symptoms.get(other)?.onset()).min()?;
        let first = next.since(own) > resolution;
        first.then(|| ("onset_first", self.config.onset_nats, format!("it began at {own}, all others from {next} on")))
    }

    /// The onset of the entity's own trouble when a change may have caused it. A change without own symptoms is a decoy.
    fn changed_before(&self, entity: &EntityId, symptoms: &Symptoms) -> Option<Timestamp> {
        if !symptoms.is_suspect() {
            return None;
        }
        let onset = symptoms.onset()?;
        self.change(entity, onset).map(|_| onset)
    }

    fn change(&self, entity: &EntityId, onset: Timestamp) -> Option<&ir_core::Change> {
        let window = Duration::try_from_secs_f64(self.config.change_secs).unwrap_or_default();
        changes::before(&self.case.incident.changes, entity, onset, window)
    }
}

type Factor = (&'static str, f64, String);
