//! Configurations of all detectors.

use ir_core::ConfigError;

use super::*;

#[test]
fn all_defaults_are_right() {
    let checked: [Result<(), ConfigError>; 6] = [
        AbsenceDetector::new(AbsenceConfig::default()).map(drop),
        BaselineDetector::new(BaselineConfig::default()).map(drop),
        ErrorRateDetector::new(ErrorRateConfig::default()).map(drop),
        LatencyDetector::new(LatencyConfig::default()).map(drop),
        SaturationDetector::new(SaturationConfig::default()).map(drop),
        ShiftDetector::new(ShiftConfig::default()).map(drop),
    ];
    assert!(checked.into_iter().all(|result| result.is_ok()));
}

#[test]
fn all_problems_are_told_at_once_with_their_fields() {
    let config = ErrorRateConfig {
        window_secs: f64::NAN,
        tolerated_ratio: 0.9,
        names: MetricNames { requests: String::new(), ..MetricNames::default() },
        episode: EpisodeConfig { begin_looks: 0, ..EpisodeConfig::default() },
        ..ErrorRateConfig::default()
    };
    let error = ErrorRateDetector::new(config).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["window_secs", "tolerated_ratio", "names.requests", "episode.begin_looks"]);
}

#[test]
fn configurations_are_documents() {
    let text = r#"{ "window_secs": 5.0, "names": { "requests": "rpc_total" } }"#;
    let config: ErrorRateConfig = serde_json::from_str(text).unwrap();
    assert_eq!((config.window_secs, config.names.requests.as_str()), (5.0, "rpc_total"));
    assert!(serde_json::from_str::<ErrorRateConfig>(r#"{ "windw_secs": 5.0 }"#).is_err());
}
