//! What the model makes of hostile and of ordinary series.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_values_at_any_time_are_survived_in_bounded_memory(
        values in prop::collection::vec((any::<f64>(), any::<f64>(), any::<bool>(), any::<Option<f64>>()), 0..300),
        start in 0.0..2e9_f64,
    ) {
        let (config, mut model) = (LeakConfig::default(), LeakModel::default());
        for (step, (jump, value, restarted, limit)) in values.into_iter().enumerate() {
            let secs = if step % 7 == 0 { jump } else { start + 60.0 * step as f64 };
            model.push(secs, value, restarted, limit, &config);
            prop_assert!(model.bytes() < 8_000);
        }
    }
}

#[test]
fn a_snapshot_goes_on_as_the_original() {
    let (config, mut model) = (LeakConfig::default(), LeakModel::default());
    let value = |minute: u32| 100.0 + f64::from(minute * 7919 % 31) + 0.1 * f64::from(minute.saturating_sub(8000));
    for minute in 0..9000 {
        model.push(f64::from(minute) * 60.0, value(minute), false, Some(900.0), &config);
    }
    let text = serde_json::to_string(&model).unwrap();
    let mut other: LeakModel = serde_json::from_str(&text).unwrap();
    for minute in 9000..12_000 {
        for model in [&mut model, &mut other] {
            model.push(f64::from(minute) * 60.0, value(minute), false, Some(900.0), &config);
        }
        assert_eq!(model.leak(), other.leak());
    }
    assert!(model.leak().is_some());
}
