use super::*;
use crate::stats::Random;
use proptest::prelude::*;

/// The steps with alerts of a series with a value every five minutes.
fn alerts(mut values: impl FnMut(u32) -> f64, steps: u32) -> Vec<u32> {
    let (config, mut model) = (BasicConfig::default(), BasicModel::default());
    (0..steps).filter(|step| model.push(f64::from(*step) * 300.0, values(*step), &config).alert).collect()
}

fn day(step: u32) -> f64 {
    (f64::from(step) / 288.0 * std::f64::consts::TAU).sin()
}

#[test]
fn a_model_is_small_and_holds_nothing_else() {
    assert!(size_of::<BasicModel>() <= 256, "{}", size_of::<BasicModel>());
}

#[test]
fn a_quiet_month_has_no_alert() {
    let none: [u32; 0] = [];
    let mut random = Random::new(1);
    assert_eq!(alerts(|_| 10.0 + random.unit(), 8640), none);
    assert_eq!(alerts(|_| 10.0 + random.normal(), 8640), none);
    assert_eq!(alerts(|step| 100.0 + 30.0 * day(step) + 5.0 * random.unit(), 8640), none);
    assert_eq!(alerts(|_| 7.0, 8640), none);
}

#[test]
fn spikes_and_levels_are_found_at_once() {
    let mut random = Random::new(2);
    let mut usual = |step: u32| 100.0 + 30.0 * day(step) + 5.0 * random.unit();
    let spike = alerts(|step| if step == 3000 { 400.0 } else { usual(step) }, 4000);
    assert_eq!(spike, [3000]);
    let drop = alerts(|step| if (3000..3004).contains(&step) { 0.0 } else { usual(step) }, 4000);
    assert!(matches!(drop[..], [3000..=3002, ..]) && drop.len() < 3, "{drop:?}");
    let level = alerts(|step| usual(step) + if step >= 3000 { 90.0 } else { 0.0 }, 3400);
    assert!(matches!(level[..], [3000..=3003, ..]) && level.len() < 4, "{level:?}");
}

#[test]
fn an_episode_is_not_repeated_and_ends_by_being_accepted() {
    let mut random = Random::new(3);
    let found = alerts(|step| 10.0 + random.unit() + if step >= 3000 { 50.0 } else { 0.0 }, 8000);
    assert!((1..=3).contains(&found.len()) && found.iter().all(|step| *step < 3200), "{found:?}");
}

#[test]
fn a_configuration_with_errors_says_all_of_them() {
    let wrong = BasicConfig { limit_nats: f32::NAN, warm_values: 0, ..BasicConfig::default() };
    let text = wrong.check().unwrap_err().to_string();
    assert!(text.contains("limit_nats") && text.contains("warm_values"), "{text}");
    assert!(BasicConfig::default().check().is_ok());
}

proptest! {
    #[test]
    fn anything_is_survived(
        values in proptest::collection::vec((any::<f64>(), any::<f64>()), 1..300), tame in 0..200_u32,
    ) {
        let (config, mut model) = (BasicConfig { warm_values: 20, ..BasicConfig::default() }, BasicModel::default());
        let mut random = Random::new(4);
        for step in 0..tame {
            model.push(f64::from(step), random.unit(), &config);
        }
        for (secs, value) in values {
            let judged = model.push(secs, value, &config);
            prop_assert!(judged.nats.is_finite() && judged.nats >= 0.0);
            let text = serde_json::to_string(&model).unwrap();
            prop_assert_eq!(serde_json::from_str::<BasicModel>(&text).unwrap(), model);
        }
        prop_assert!(model.push(1e9, 1.0, &config).nats.is_finite());
    }

    #[test]
    fn neither_the_unit_nor_the_zero_of_the_values_matters(octaves in -20..20_i32, shift in -64..64_i32) {
        let (config, unit) = (BasicConfig::default(), f64::from(octaves).exp2());
        let (mut plain, mut moved) = (BasicModel::default(), BasicModel::default());
        let mut random = Random::new(5);
        for step in 0..600 {
            let at = f64::from(step) * 300.0;
            let value = (random.unit() * 1024.0).round() + if step == 500 { 4096.0 } else { 0.0 };
            let (a, b) = (plain.push(at, value, &config), moved.push(at, (value + f64::from(shift)) * unit, &config));
            prop_assert!((a.nats - b.nats).abs() < 0.01 * (1.0 + a.nats) && a.alert == b.alert, "{} {:?} {:?}", step, a, b);
        }
    }
}
