//! The parts that are used where the user gives none.

use std::sync::Arc;

use ir_adapters::clock::SystemClock;
use ir_core::{Classifier, Clock, ConfigError, Correlator, Diagnoser, Problem, Verifier};
use ir_detect::hypothesis::{GraphDiagnoser, GraphDiagnoserConfig};
use ir_detect::incident::{CorrelatorConfig, StandardCorrelator};
use ir_plan::classification::{RuleClassifier, RuleClassifierConfig};
use ir_plan::outcome::SignalVerifier;

#[derive(Debug)]
pub(crate) struct Defaults {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) correlator: Arc<dyn Correlator>,
    pub(crate) diagnoser: Arc<dyn Diagnoser>,
    pub(crate) classifier: Arc<dyn Classifier>,
    pub(crate) verifier: Arc<dyn Verifier>,
}

/// The defaults; should one not pass its own check, that is a problem like any other.
pub(crate) fn parts(problems: &mut Vec<Problem>) -> Option<Defaults> {
    let mut keep = |error: ConfigError| problems.extend(error.into_problems());
    let correlator = StandardCorrelator::new(CorrelatorConfig::default()).map_err(&mut keep).ok();
    let diagnoser = GraphDiagnoser::new(GraphDiagnoserConfig::default()).map_err(&mut keep).ok();
    let classifier = RuleClassifier::new(RuleClassifierConfig::default()).map_err(&mut keep).ok();
    Some(Defaults {
        clock: Arc::new(SystemClock::new()),
        correlator: Arc::new(correlator?),
        diagnoser: Arc::new(diagnoser?),
        classifier: Arc::new(classifier?),
        verifier: Arc::new(SignalVerifier::new()),
    })
}
