//! What an incident is: a table of rules, each with the confidence it has earned.

use async_trait::async_trait;
use ir_core::anomaly::Symptom;
use ir_core::{
    AnomalyDirection, Cause, ChangeKind, ClassName, Classification, Classifier, ConfigError, Ctx, EntityId, Error,
    ErrorKind, Hypothesis, Incident, PartName, Probability, Problem, Result, Severity,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The class of what no rule fits.
pub use ir_core::UNKNOWN_CLASS as UNKNOWN;

/// One rule: all that is said must hold, what is not said does not matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassRule {
    /// The class it stands for.
    pub class: ClassName,
    /// Whether the hypothesis must (`true`) or must not (`false`) blame a change.
    #[serde(default)]
    pub change: Option<bool>,
    /// The cause itself must show at least one of these; empty: anything.
    #[serde(default)]
    pub symptoms: Vec<Symptom>,
    /// Whether that symptom must (`true`) or must not (`false`) be the cause's telemetry being gone.
    #[serde(default)]
    pub gone: Option<bool>,
    /// How often this rule is right when it fits, 0 to 1.
    pub confidence: f64,
}

/// Settings of [`RuleClassifier`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleClassifierConfig {
    /// The rules, most specific first: the first that fits decides.
    pub rules: Vec<ClassRule>,
}

impl Default for RuleClassifierConfig {
    /// Six classes, a change first, since about two in three outages follow one: binary pushes were the trigger of 37 % and
    /// configuration pushes of 31 % of Google's outages (Beyer, Murphy, Rensin, Kawahara and Thorne, The Site Reliability
    /// Workbook, 2018, appendix C, table C-1). The confidences are our own guesses until they are measured.
    fn default() -> Self {
        let rule = |class: &'static str, change, symptoms: &[Symptom], confidence| ClassRule {
            class: ClassName::literal(class),
            change,
            symptoms: symptoms.to_vec(),
            gone: None,
            confidence,
        };
        let rules = vec![
            rule(
                "bad_deploy",
                Some(true),
                &[Symptom::Errors, Symptom::Latency, Symptom::Saturation, Symptom::Absence],
                0.9,
            ),
            rule("unavailable", None, &[Symptom::Absence], 0.9),
            rule("resource_exhaustion", None, &[Symptom::Saturation], 0.85),
            rule("errors", None, &[Symptom::Errors], 0.85),
            rule("latency", None, &[Symptom::Latency], 0.8),
            rule("downstream", None, &[Symptom::Downstream], 0.5),
        ];
        Self { rules }
    }
}

/// Classifies by [`ClassRule`]s over the leading cause: the first rule that fits decides, its confidence is lowered by the
/// probability of the cause.
///
/// # Examples
///
/// ```
/// use ir_plan::classification::{RuleClassifier, RuleClassifierConfig};
///
/// let classifier = RuleClassifier::new(RuleClassifierConfig::default())?;
/// # Ok::<(), ir_core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RuleClassifier {
    config: RuleClassifierConfig,
    name: PartName,
}

impl RuleClassifier {
    /// Checks the rules.
    ///
    /// # Errors
    ///
    /// All problems: a confidence outside 0 to 1.
    pub fn new(config: RuleClassifierConfig) -> Result<Self, ConfigError> {
        let problems: Vec<Problem> = config
            .rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| !(0.0..=1.0).contains(&rule.confidence))
            .map(|(n, rule)| {
                Problem::at(format!("rules[{n}].confidence"), format!("`{}` is not within 0 and 1", rule.confidence))
            })
            .collect();
        ConfigError::check(problems, Self { config, name: PartName::literal("rules") })
    }
}

#[async_trait]
impl Classifier for RuleClassifier {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn classes(&self) -> Vec<ClassName> {
        let mut classes: Vec<ClassName> = self.config.rules.iter().map(|rule| rule.class.clone()).collect();
        classes.sort();
        classes.dedup();
        classes
    }

    async fn classify(&self, _ctx: &Ctx, incident: &Incident, hypothesis: &Hypothesis) -> Result<Classification> {
        if incident.anomalies.is_empty() {
            let message = format!("incident `{}` has no anomalies", incident.id);
            return Err(Error::new(ErrorKind::InvalidInput, "classifier", message));
        }
        let severity = severity(incident);
        let fitting = hypothesis
            .leading()
            .and_then(|cause| Some((cause, self.config.rules.iter().find(|rule| fits(rule, incident, cause))?)));
        let Some((cause, rule)) = fitting else {
            let because = match &hypothesis.abstains {
                Some(missing) => format!("the cause is not known: {missing}"),
                None => "no rule fits".to_owned(),
            };
            let class = ClassName::literal(UNKNOWN);
            let (confidence, by) = (Probability::ZERO, self.name.clone());
            return Ok(Classification { class, confidence, severity, because: vec![because], similar: Vec::new(), by });
        };
        let confidence = Probability::saturating(rule.confidence * cause.probability.as_f64().sqrt());
        let mut because = vec![format!("`{}` is blamed with probability {}", cause.entity, cause.probability)];
        if let Some(change) = &cause.change {
            because.push(format!("{} of `{}` came before it", kind_name(change.kind), change.entity));
        }
        let shown: Vec<String> =
            own_symptoms(incident, &cause.entity).map(|(symptom, _)| format!("{symptom:?}").to_lowercase()).collect();
        if !shown.is_empty() {
            because.push(format!("it shows {}", dedup(shown).join(", ")));
        }
        Ok(Classification {
            class: rule.class.clone(),
            confidence,
            severity,
            because,
            similar: Vec::new(),
            by: self.name.clone(),
        })
    }
}

const fn kind_name(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Deploy => "a deploy",
        ChangeKind::Rollback => "a rollback",
        ChangeKind::Config => "a change of configuration",
        ChangeKind::Flag => "a change of a flag",
        ChangeKind::Scale => "a change of capacity",
        ChangeKind::Restart => "a restart",
        _ => "a change",
    }
}

fn dedup(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words.dedup();
    words
}

fn own_symptoms<'a>(
    incident: &'a Incident,
    entity: &'a EntityId,
) -> impl Iterator<Item = (Symptom, AnomalyDirection)> + 'a {
    incident.anomalies.iter().filter(move |a| a.entity == *entity).map(|a| (a.symptom, a.direction))
}

fn fits(rule: &ClassRule, incident: &Incident, cause: &Cause) -> bool {
    let change_fits = rule.change.is_none_or(|wanted| wanted == cause.change.is_some());
    let nothing_asked = rule.symptoms.is_empty() && rule.gone.is_none();
    let symptom_fits = nothing_asked
        || own_symptoms(incident, &cause.entity).any(|(symptom, direction)| {
            let gone_fits = rule.gone.is_none_or(|wanted| wanted == (direction == AnomalyDirection::Gone));
            (rule.symptoms.is_empty() || rule.symptoms.contains(&symptom)) && gone_fits
        });
    change_fits && symptom_fits
}

/// By what users see: how many show errors or are gone, and how strongly.
fn severity(incident: &Incident) -> Severity {
    let serious = |symptom: Symptom| matches!(symptom, Symptom::Errors | Symptom::Absence);
    let mut hit: Vec<&EntityId> = incident.anomalies.iter().filter(|a| serious(a.symptom)).map(|a| &a.entity).collect();
    hit.sort();
    hit.dedup();
    match hit.len() {
        0 if incident.anomalies.iter().any(|a| a.symptom == Symptom::Latency) => Severity::Medium,
        0 => Severity::Low,
        1 => Severity::High,
        _ => Severity::Critical,
    }
}

#[cfg(test)]
mod tests;
