//! Tests of the rule classifier.

use futures::executor::block_on;
use ir_core::anomaly::{Anomaly, Phase};
use ir_core::signal::Change;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::samples::{anomaly, at, ctx, hypothesis, id, incident, share};

fn standard() -> RuleClassifier {
    RuleClassifier::new(RuleClassifierConfig::default()).unwrap()
}

fn classify(classifier: &RuleClassifier, anomalies: Vec<Anomaly>, hypothesis: &Hypothesis) -> Classification {
    block_on(classifier.classify(&ctx(), &incident(anomalies), hypothesis)).unwrap()
}

fn shows(entity: &str, symptom: Symptom) -> Anomaly {
    anomaly(entity, symptom, Phase::Began)
}

fn after_a_change(cause: &str, probability: f64) -> Hypothesis {
    let mut hypothesis = hypothesis(cause, probability);
    let change = Change { entity: id(cause), at: at(90), kind: ChangeKind::Deploy, from: None, to: None, by: None };
    hypothesis.causes[0].change = Some(change);
    hypothesis
}

#[test]
fn each_default_rule_has_its_class_and_confidence() {
    // One row a rule and symptom: what the cause shows, whether a change is blamed, class and confidence at probability 1.
    let table = [
        (Symptom::Errors, true, "bad_deploy", 0.9),
        (Symptom::Latency, true, "bad_deploy", 0.9),
        (Symptom::Saturation, true, "bad_deploy", 0.9),
        (Symptom::Absence, true, "bad_deploy", 0.9),
        (Symptom::Absence, false, "unavailable", 0.9),
        (Symptom::Saturation, false, "resource_exhaustion", 0.85),
        (Symptom::Errors, false, "errors", 0.85),
        (Symptom::Latency, false, "latency", 0.8),
        (Symptom::Downstream, false, "downstream", 0.5),
        // A change does not make a symptom that no change rule names a bad deploy.
        (Symptom::Downstream, true, "downstream", 0.5),
        // What no rule names.
        (Symptom::Traffic, false, UNKNOWN, 0.0),
        (Symptom::Log, true, UNKNOWN, 0.0),
    ];
    for (symptom, changed, class, confidence) in table {
        let blamed = if changed { after_a_change("web", 1.0) } else { hypothesis("web", 1.0) };
        let found = classify(&standard(), vec![shows("web", symptom)], &blamed);
        assert_eq!((found.class.as_str(), found.confidence), (class, share(confidence)), "{symptom:?} {changed}");
        assert!(!found.because.is_empty());
        assert_eq!(found.by.as_str(), "rules");
    }
}

#[test]
fn the_first_rule_that_fits_decides() {
    let both = vec![shows("web", Symptom::Latency), shows("web", Symptom::Absence)];
    assert_eq!(classify(&standard(), both, &hypothesis("web", 1.0)).class.as_str(), "unavailable");
}

#[test]
fn only_symptoms_of_the_cause_count() {
    let elsewhere = vec![shows("web", Symptom::Errors), shows("db", Symptom::Latency)];
    assert_eq!(classify(&standard(), elsewhere.clone(), &hypothesis("db", 1.0)).class.as_str(), "latency");
    assert_eq!(classify(&standard(), elsewhere, &hypothesis("cache", 1.0)).class.as_str(), UNKNOWN);
}

#[test]
fn the_confidence_is_lowered_by_the_probability_of_the_cause() {
    let errors = || vec![shows("web", Symptom::Errors)];
    // 0.85 times the root of 0.64 is 0.85 times 0.8.
    assert_eq!(classify(&standard(), errors(), &hypothesis("web", 0.64)).confidence, share(0.68));
    assert_eq!(classify(&standard(), errors(), &hypothesis("web", 0.0)).confidence, Probability::ZERO);
}

#[test]
fn reasons_name_cause_change_and_symptoms() {
    let anomalies = vec![shows("web", Symptom::Latency), shows("web", Symptom::Errors), shows("web", Symptom::Errors)];
    let found = classify(&standard(), anomalies, &after_a_change("web", 0.81));
    let wanted =
        ["`web` is blamed with probability 0.81", "a deploy of `web` came before it", "it shows errors, latency"];
    assert_eq!(found.because, wanted);
}

#[test]
fn without_a_cause_the_class_is_unknown_and_says_why() {
    let mut abstaining = hypothesis("web", 0.9);
    abstaining.abstains = Some("no metrics of `db`".to_owned());
    let found = classify(&standard(), vec![shows("web", Symptom::Errors)], &abstaining);
    assert_eq!((found.class.as_str(), found.confidence), (UNKNOWN, Probability::ZERO));
    assert_eq!(found.because, ["the cause is not known: no metrics of `db`"]);
    abstaining.abstains = None;
    abstaining.causes.clear();
    let found = classify(&standard(), vec![shows("web", Symptom::Errors)], &abstaining);
    assert_eq!((found.class.as_str(), found.because), (UNKNOWN, vec!["no rule fits".to_owned()]));
}

#[test]
fn an_incident_without_anomalies_is_invalid_input() {
    let error = block_on(standard().classify(&ctx(), &incident(vec![]), &hypothesis("web", 1.0))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn severity_goes_by_how_many_fail() {
    let table = [
        (vec![("web", Symptom::Downstream)], Severity::Low),
        (vec![("web", Symptom::Latency)], Severity::Medium),
        (vec![("web", Symptom::Errors), ("db", Symptom::Latency)], Severity::High),
        (vec![("web", Symptom::Errors), ("web", Symptom::Absence)], Severity::High),
        (vec![("web", Symptom::Errors), ("db", Symptom::Absence)], Severity::Critical),
    ];
    for (shown, severity) in table {
        let anomalies = shown.iter().map(|(entity, symptom)| shows(entity, *symptom)).collect();
        assert_eq!(classify(&standard(), anomalies, &hypothesis("web", 1.0)).severity, severity, "{shown:?}");
    }
}

#[test]
fn every_demand_of_a_rule_is_asked() {
    let rule = |change, symptoms: &[Symptom], gone| ClassRule {
        class: ClassName::literal("it"),
        change,
        symptoms: symptoms.to_vec(),
        gone,
        confidence: 1.0,
    };
    let gone = Anomaly { direction: AnomalyDirection::Gone, ..shows("web", Symptom::Absence) };
    let fits = |rule: ClassRule, shown: &Anomaly, blamed: &Hypothesis| {
        let classifier = RuleClassifier::new(RuleClassifierConfig { rules: vec![rule] }).unwrap();
        classify(&classifier, vec![shown.clone()], blamed).class.as_str() == "it"
    };
    let (errors, calm, changed) = (shows("web", Symptom::Errors), hypothesis("web", 1.0), after_a_change("web", 1.0));
    let table = [
        (rule(None, &[], None), &errors, &calm, true),
        (rule(Some(true), &[], None), &errors, &calm, false),
        (rule(Some(true), &[], None), &errors, &changed, true),
        (rule(Some(false), &[], None), &errors, &changed, false),
        (rule(None, &[Symptom::Latency], None), &errors, &calm, false),
        (rule(None, &[Symptom::Latency, Symptom::Errors], None), &errors, &calm, true),
        (rule(None, &[Symptom::Absence], Some(true)), &gone, &calm, true),
        (rule(None, &[Symptom::Absence], Some(false)), &gone, &calm, false),
        (rule(None, &[Symptom::Errors], Some(true)), &errors, &calm, false),
        (rule(None, &[Symptom::Errors], Some(false)), &errors, &calm, true),
        // `gone` is asked of any symptom where none is named.
        (rule(None, &[], Some(true)), &errors, &calm, false),
        (rule(None, &[], Some(true)), &gone, &calm, true),
    ];
    for (rule, shown, blamed, wanted) in table {
        assert_eq!(fits(rule.clone(), shown, blamed), wanted, "{rule:?} {:?}", shown.symptom);
    }
}

#[test]
fn confidences_out_of_range_are_all_found_at_once() {
    let mut config = RuleClassifierConfig::default();
    for (n, confidence) in [(0, f64::NAN), (1, -0.1), (3, 1.000_001), (4, f64::INFINITY), (5, 1.0)] {
        config.rules[n].confidence = confidence;
    }
    let error = RuleClassifier::new(config).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|p| p.field.as_str()).collect();
    let wanted = [0, 1, 3, 4].map(|n| format!("rules[{n}].confidence"));
    assert_eq!(fields, wanted);
}

proptest! {
    #[test]
    fn the_same_incident_has_the_same_class_with_a_reason(
        shown in prop::collection::vec(
            (select(vec!["web", "db"]), select(vec![Symptom::Errors, Symptom::Latency, Symptom::Absence, Symptom::Other])),
            1..6,
        ),
        probability in 0.0..=1.0,
        changed in any::<bool>(),
    ) {
        let anomalies: Vec<Anomaly> = shown.iter().map(|(entity, symptom)| shows(entity, *symptom)).collect();
        let blamed = if changed { after_a_change("web", probability) } else { hypothesis("web", probability) };
        let first = classify(&standard(), anomalies.clone(), &blamed);
        prop_assert_eq!(&first, &classify(&standard(), anomalies.clone(), &blamed));
        prop_assert!(!first.because.is_empty());
        // The order in which anomalies joined does not matter either.
        let turned = anomalies.into_iter().rev().collect();
        prop_assert_eq!(&first, &classify(&standard(), turned, &blamed));
    }
}
