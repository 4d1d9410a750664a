use super::*;
use proptest::prelude::*;

fn noise(step: u32) -> f64 {
    let mixed = u64::from(step).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// A machine: load, and what follows from it.
fn row(step: u32) -> [f64; 5] {
    let load = 50.0 + 30.0 * (f64::from(step) / 200.0).sin() + 5.0 * noise(step);
    let with = |factor: f64, of: u32| factor * load + noise(step * 7 + of);
    [load, with(0.5, 1), with(-0.2, 2) + 100.0, with(3.0, 3), 10.0 + noise(step + 99)]
}

#[test]
fn what_does_not_hang_together_is_found_and_named() {
    let (config, mut model) = (MultiConfig::default(), MultiModel::new(5));
    let quiet = (0..6000).filter(|step| model.push(&row(*step), &config).alert).count();
    assert_eq!(quiet, 0);
    let mut found = Vec::new();
    for step in 6000..6040 {
        let mut broken = row(step);
        // Within the usual range of the metric, but at the wrong time.
        broken[3] = 150.0 + 90.0 * (f64::from(step) / 200.0 + std::f64::consts::PI).sin();
        let judged = model.push(&broken, &config);
        if judged.alert {
            found.push((step, judged.blame[0].metric));
        }
    }
    assert!(found.first().is_some_and(|(step, _)| *step < 6010), "{found:?}");
    assert!(found.iter().filter(|(_, metric)| *metric == 3).count() * 2 > found.len(), "{found:?}");
}

#[test]
fn a_model_read_back_goes_on_as_before() {
    let (config, mut model) = (MultiConfig::default(), MultiModel::new(5));
    for step in 0..1200 {
        model.push(&row(step), &config);
    }
    let mut again: MultiModel = serde_json::from_str(&serde_json::to_string(&model).unwrap()).unwrap();
    for step in 1200..1800 {
        assert_eq!(again.push(&row(step), &config), model.push(&row(step), &config));
    }
}

#[test]
fn a_configuration_with_errors_says_all_of_them() {
    let wrong = MultiConfig { explained: 2.0, smooth_rows: 0.0, ..MultiConfig::default() };
    let text = wrong.check().unwrap_err().to_string();
    assert!(text.contains("explained") && text.contains("smooth_rows"), "{text}");
    assert!(MultiConfig::default().check().is_ok());
}

proptest! {
    #[test]
    fn any_rows_of_any_width_are_survived(
        rows in proptest::collection::vec(proptest::collection::vec(any::<f64>(), 0..8), 1..80), width in 0..6_usize,
    ) {
        let config = MultiConfig { warm_rows: 50, ..MultiConfig::default() };
        let mut model = MultiModel::new(width);
        for step in 0..520 {
            model.push(&row(step), &config);
        }
        for row in rows {
            let judged = model.push(&row, &config);
            prop_assert!(judged.sum.is_finite() && judged.nats.is_finite());
            prop_assert!(judged.blame.windows(2).all(|pair| pair[0].nats >= pair[1].nats));
        }
        prop_assert!(serde_json::from_str::<MultiModel>(&serde_json::to_string(&model).unwrap()).is_ok());
    }
}
