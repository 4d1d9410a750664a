use super::*;
use proptest::prelude::*;

/// Noise from 0 to 1 that is the same everywhere.
fn noise(step: u32) -> f64 {
    let mixed = u64::from(step).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// The steps with alerts of a series with a value every five minutes.
fn alerts(values: impl Fn(u32) -> f64, steps: u32) -> Vec<u32> {
    let (config, mut model) = (SeriesConfig::default(), SeriesModel::default());
    (0..steps).filter(|step| model.push(f64::from(*step) * 300.0, values(*step), &config).alert).collect()
}

fn day(step: u32) -> f64 {
    (f64::from(step) / 288.0 * std::f64::consts::TAU).sin()
}

#[test]
fn a_quiet_month_has_no_alert() {
    let none: [u32; 0] = [];
    assert_eq!(alerts(|step| 10.0 + noise(step), 8640), none);
    assert_eq!(alerts(|step| 100.0 + 30.0 * day(step) + 5.0 * noise(step), 8640), none);
    assert_eq!(alerts(|_| 7.0, 8640), none);
}

#[test]
fn what_people_would_see_is_found_at_once() {
    let usual = |step: u32| 100.0 + 30.0 * day(step) + 5.0 * noise(step);
    let spike = alerts(|step| if step == 3000 { 400.0 } else { usual(step) }, 4000);
    assert_eq!(spike, [3000]);
    let level = alerts(|step| usual(step) + if step >= 3000 { 60.0 } else { 0.0 }, 3400);
    assert!(matches!(level[..], [3000..=3003, ..]) && level.len() < 4, "{level:?}");
    let flat = alerts(|step| if step >= 3000 { 100.0 } else { usual(step) + 20.0 * noise(step + 9999) }, 3050);
    assert!(matches!(flat[..], [3001..=3040]), "{flat:?}");
    // In the night, 130 is as unusual as 230 at noon.
    let hour = alerts(|step| if (3384..3390).contains(&step) { 130.0 } else { usual(step) }, 3500);
    assert!(matches!(hour[..], [3384..=3387]), "{hour:?}");
}

#[test]
fn an_episode_is_not_repeated_and_ends_by_being_accepted() {
    let shifted = |step: u32| 10.0 + noise(step) + if step >= 3000 { 50.0 } else { 0.0 };
    let found = alerts(shifted, 8000);
    assert!(found.len() <= 3 && found.iter().all(|step| *step < 3200), "{found:?}");
}

#[test]
fn a_model_read_back_goes_on_as_before() {
    let config = SeriesConfig::default();
    let mut model = SeriesModel::default();
    for step in 0..2500 {
        model.push(f64::from(step) * 60.0, day(step) + noise(step), &config);
    }
    let text = serde_json::to_string(&model).unwrap();
    let mut again: SeriesModel = serde_json::from_str(&text).unwrap();
    assert_eq!(again, model);
    for step in 2500..2600 {
        let at = f64::from(step) * 60.0;
        assert_eq!(again.push(at, noise(step) * 9.0, &config), model.push(at, noise(step) * 9.0, &config));
    }
}

#[test]
fn a_series_takes_less_than_8_kb_and_its_snapshot_too_whatever_comes() {
    let (config, mut model) = (SeriesConfig::default(), SeriesModel::default());
    for step in 0..20_000 {
        let value = (day(step) + noise(step)) * 10_f64.powi(step as i32 % 7);
        model.push(f64::from(step) * 300.0, value, &config);
    }
    assert!(model.bytes() <= 8192, "{}", model.bytes());
    let text = serde_json::to_string(&model).unwrap();
    assert!(text.len() <= 16_384, "{}", text.len());
}

#[test]
fn clocks_that_jump_and_samples_that_fail_change_no_verdict_for_long() {
    let (config, usual) = (SeriesConfig::default(), |step: u32| 10.0 + noise(step));
    let ten_years = 10.0 * 365.0 * 86_400.0;
    // Each row: what the clock and the value become at a step.
    type Case = (&'static str, fn(u32, f64, f64) -> (f64, f64));
    let cases: [Case; 6] = [
        ("ten years on", |step, at, value| (if step >= 3000 { at + 10.0 * 365.0 * 86_400.0 } else { at }, value)),
        ("ten years back", |step, at, value| (if step >= 3000 { at - 10.0 * 365.0 * 86_400.0 } else { at }, value)),
        ("a clock that stands", |step, at, value| (if step >= 3000 { 900_000.0 } else { at }, value)),
        ("each value twice at once", |step, at, value| (at - f64::from(step % 2) * 300.0, value)),
        ("a third is missing", |step, at, value| (at, if step % 3 == 0 { f64::NAN } else { value })),
        ("infinities", |step, at, value| (at, if step % 37 == 0 { f64::INFINITY } else { value })),
    ];
    for (name, case) in cases {
        let mut model = SeriesModel::default();
        let mut told = Vec::new();
        for step in 0..6000 {
            let value = if step == 5500 { 60.0 } else { usual(step) };
            let (at, value) = case(step, ten_years + f64::from(step) * 300.0, value);
            if model.push(at, value, &config).alert {
                told.push(step);
            }
        }
        assert_eq!(told, [5500], "{name}");
    }
}

#[test]
fn a_configuration_with_errors_says_all_of_them() {
    let wrong = SeriesConfig { limit_nats: f64::NAN, warm_values: 0, ..SeriesConfig::default() };
    let text = wrong.check().unwrap_err().to_string();
    assert!(text.contains("limit_nats") && text.contains("warm_values"), "{text}");
    assert!(SeriesConfig::default().check().is_ok());
}

proptest! {
    #[test]
    fn anything_is_survived(
        values in proptest::collection::vec((any::<f64>(), any::<f64>()), 1..300), tame in 0..200_u32,
    ) {
        let (config, mut model) = (SeriesConfig { warm_values: 20, ..SeriesConfig::default() }, SeriesModel::default());
        for step in 0..tame {
            model.push(f64::from(step), noise(step), &config);
        }
        for (secs, value) in values {
            let judged = model.push(secs, value, &config);
            prop_assert!(judged.nats.is_finite() && judged.nats >= 0.0 && !judged.expected.is_nan());
        }
        let judged = model.push(1e9, 1.0, &config);
        prop_assert!(judged.nats.is_finite());
        prop_assert!(serde_json::from_str::<SeriesModel>(&serde_json::to_string(&model).unwrap()).is_ok());
    }

    #[test]
    fn neither_the_unit_nor_the_zero_of_the_values_matters(octaves in -8..8_i32, shift in -64..64_i32) {
        let (config, unit) = (SeriesConfig::default(), f64::from(octaves).exp2());
        let (mut plain, mut moved) = (SeriesModel::default(), SeriesModel::default());
        for step in 0..600 {
            let (at, value) = (f64::from(step) * 300.0, (noise(step) * 1024.0).round() + if step == 500 { 4096.0 } else { 0.0 });
            let a = plain.push(at, value, &config);
            let b = moved.push(at, (value + f64::from(shift)) * unit, &config);
            // Bins are a quarter of an octave wide, and rounding may put a value on the other side of an edge.
            prop_assert!((a.nats - b.nats).abs() < 0.2 * (1.0 + a.nats) && a.alert == b.alert, "{} {:?} {:?}", step, a, b);
        }
    }
}
