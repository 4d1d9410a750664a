//! Hypotheses: which entity is at fault, how likely, by which evidence, on which path to the symptoms.

use std::time::Duration;

use async_trait::async_trait;
use ir_core::{Case, Cause, ConfigError, Ctx, Diagnoser, Hypothesis, PartName, Probability, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Check;

mod changes;
mod evidence;
mod graph;
mod ranking;

use evidence::Picture;
use graph::Graph;
use ranking::{Ranked, rank};

/// How a [`GraphDiagnoser`] weighs. Weights are log-likelihood ratios in nats: 0.7 doubles the odds, 4 makes them 55 times.
/// They were set by what each symptom means, not fitted to any data set, because such weights do not carry over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GraphDiagnoserConfig {
    /// Symptoms that only the entity itself can have made: own errors, absence, exclusive latency, saturation. Default 4.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub own_nats: f64,
    /// Each further kind of such symptoms. Default 1.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub further_own_nats: f64,
    /// Symptoms that only a callee's fault makes (errors passed on, time spent in calls): against it when it has callees,
    /// neither way when it has none. Default 1.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub passed_on_nats: f64,
    /// An entity that reports and shows nothing is less likely by this. Default 2.5.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub healthy_nats: f64,
    /// Telemetry is gone, but callers go on getting good answers: instead of `own_nats`. Default -1: nothing is to be done to a
    /// service that serves.
    #[schemars(range(min = -20.0, max = 20.0))]
    pub telemetry_only_nats: f64,
    /// Callers got no answer, or an error of its own, from it. Default 2.5.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub blamed_nats: f64,
    /// Callers got late answers from it. Default 1; errors that it passed on count half of this.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub blamed_late_nats: f64,
    /// Times the share of symptomatic entities that it explains. Default 2.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub explains_nats: f64,
    /// Times the share that it leaves unexplained, against it. Default 3.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub unexplained_nats: f64,
    /// Something it depends on would explain its symptoms, against it. Default 3.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub callee_nats: f64,
    /// It began before all others by more than the resolution. Default 0.3: a tie-break.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub onset_nats: f64,
    /// Onsets closer than this are equal. Seconds, default 2: two looks.
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub onset_resolution_secs: f64,
    /// It was changed before its own trouble began. Default ln 2, one bit.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub change_nats: f64,
    /// A change further back is not taken for the cause. Seconds, default 300.
    #[schemars(range(min = 0.0, max = 864_000.0))]
    pub change_secs: f64,
    /// The weight of "something else", which competes with all candidates. Default 1.5.
    #[schemars(range(min = -20.0, max = 20.0))]
    pub other_nats: f64,
    /// A leader below this is none. Default 0.6.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_probability: f64,
    /// And it must lead by this. Default 0.3.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_margin: f64,
    /// Causes listed at most. Default 10.
    #[schemars(range(min = 1, max = 1000))]
    pub max_causes: usize,
}

impl Default for GraphDiagnoserConfig {
    fn default() -> Self {
        Self {
            own_nats: 4.0,
            further_own_nats: 1.0,
            passed_on_nats: 1.0,
            healthy_nats: 2.5,
            telemetry_only_nats: -1.0,
            blamed_nats: 2.5,
            blamed_late_nats: 1.0,
            explains_nats: 2.0,
            unexplained_nats: 3.0,
            callee_nats: 3.0,
            onset_nats: 0.3,
            onset_resolution_secs: 2.0,
            change_nats: std::f64::consts::LN_2,
            change_secs: 300.0,
            other_nats: 1.5,
            min_probability: 0.6,
            min_margin: 0.3,
            max_causes: 10,
        }
    }
}

impl GraphDiagnoserConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        for (field, value) in [
            ("own_nats", self.own_nats),
            ("further_own_nats", self.further_own_nats),
            ("passed_on_nats", self.passed_on_nats),
            ("healthy_nats", self.healthy_nats),
            ("blamed_nats", self.blamed_nats),
            ("blamed_late_nats", self.blamed_late_nats),
            ("explains_nats", self.explains_nats),
            ("unexplained_nats", self.unexplained_nats),
            ("callee_nats", self.callee_nats),
            ("onset_nats", self.onset_nats),
            ("change_nats", self.change_nats),
        ] {
            check.within(field, value, 0.0, 20.0);
        }
        check.within("onset_resolution_secs", self.onset_resolution_secs, 0.0, 3600.0);
        check.within("change_secs", self.change_secs, 0.0, 864_000.0);
        check.within("telemetry_only_nats", self.telemetry_only_nats, -20.0, 20.0);
        check.within("other_nats", self.other_nats, -20.0, 20.0);
        check.within("min_probability", self.min_probability, 0.0, 1.0);
        check.within("min_margin", self.min_margin, 0.0, 1.0);
        check.count("max_causes", self.max_causes, 1, 1000);
        check.done()
    }
}

/// Ranks causes over the dependency graph by typed evidence: a factor model with explaining away.
///
/// For each candidate (whoever shows symptoms, is blamed, or is depended on by those) the weights of all factors are added:
///
/// | factor | speaks |
/// |---|---|
/// | `own_symptoms` | for who made errors itself, is gone, is slow by itself, fills up; against who reports and shows nothing |
/// | `blamed_by_callers` | for whom callers cannot reach, or get errors of its own or late answers from |
/// | `explains` | for whom many symptomatic entities depend on |
/// | `unexplained` | against whom symptoms elsewhere do not depend on |
/// | `callee_suspect` | against whose symptoms a suspect further down explains |
/// | `onset_first` | for who began clearly first (a tie-break) |
/// | `change_before` | for who was changed shortly before its own trouble began (one bit) |
///
/// A softmax over the sums and "something else" gives the probabilities. One cause is looked for, not several.
///
/// Topology explains away, it does not propagate: that an anomalous node none of whose callees is anomalous beats random
/// walks and learned graphs was found on PetShop (M. Hardt et al. 2023, arXiv:2311.04806), and that discovered graphs do not
/// help by RCAEval (L. Pham et al. 2024, arXiv:2412.17015). Time: candidates times edges.
#[derive(Debug, Default)]
pub struct GraphDiagnoser {
    config: GraphDiagnoserConfig,
}

impl GraphDiagnoser {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its field.
    pub fn new(config: GraphDiagnoserConfig) -> Result<Self, ConfigError> {
        ConfigError::check(config.check(), Self { config })
    }

    fn cause(&self, case: &Case, graph: &Graph, picture: &Picture, ranked: Ranked) -> Result<Cause> {
        let path = graph.path(&ranked.entity, &picture.symptomatic());
        let window = Duration::try_from_secs_f64(self.config.change_secs).unwrap_or_default();
        let change = ranked
            .changed_before
            .and_then(|onset| changes::before(&case.incident.changes, &ranked.entity, onset, window));
        // Rounded down, so that all of them never add up to more than 1.
        let millionths = (ranked.probability.clamp(0.0, 1.0) * 1e6).floor() as u32;
        Ok(Cause {
            entity: ranked.entity,
            probability: Probability::from_millionths(millionths)?,
            path,
            change: change.cloned(),
            evidence: ranked.evidence,
        })
    }

    fn abstains(&self, picture: &Picture, causes: &[Cause]) -> Option<String> {
        let Some(leader) = causes.first() else {
            return Some(match picture.n_anomalies {
                0 => "there are no anomalies: nothing says what is wrong".to_owned(),
                _ => "no entity with symptoms is in the topology: say who depends on whom".to_owned(),
            });
        };
        let second = causes.get(1).map_or(0.0, |cause| cause.probability.as_f64());
        let lead = leader.probability.as_f64();
        if lead >= self.config.min_probability && lead - second >= self.config.min_margin {
            return None;
        }
        let rival = causes.get(1).map_or_else(|| "something else".to_owned(), |cause| cause.entity.to_string());
        Some(format!(
            "{} leads with {lead:.2} only, {rival} has {second:.2}: an own symptom of either (errors it made itself, time it \
             spent itself, its telemetry) would decide",
            leader.entity
        ))
    }
}

#[async_trait]
impl Diagnoser for GraphDiagnoser {
    fn name(&self) -> &str {
        "graph_diagnoser"
    }

    async fn diagnose(&self, _ctx: &Ctx, case: &Case) -> Result<Hypothesis> {
        let picture = Picture::of(case);
        let graph = Graph::around(&case.topology, picture.symptoms.keys().chain(picture.blame.keys()));
        let mut causes = Vec::new();
        for ranked in rank(&self.config, case, &graph, &picture).into_iter().take(self.config.max_causes) {
            causes.push(self.cause(case, &graph, &picture, ranked)?);
        }
        let abstains = self.abstains(&picture, &causes);
        Ok(Hypothesis { id: case.id.clone(), by: PartName::new(self.name())?, causes, abstains })
    }
}

#[cfg(test)]
mod tests;
