//! The model as a whole.

use proptest::prelude::*;

use super::*;

fn model() -> SequenceModel {
    SequenceModel::new(SequenceConfig::default()).unwrap()
}

/// Sessions that open, do some work of a few kinds, and close.
fn session(n: u32) -> Vec<u32> {
    let work = [[10, 11, 12], [10, 12, 13], [20, 21, 22]][n as usize % 3];
    let times = 2 + (n as usize * 7) % 5;
    std::iter::once(1).chain(work.repeat(times)).chain([2]).collect()
}

#[test]
fn what_is_learned_is_usual_and_each_kind_of_oddity_is_seen() {
    let mut model = model();
    let normal: Vec<Vec<u32>> = (0..150).map(session).collect();
    model.fit(normal.iter().map(Vec::as_slice));
    let usual = normal.iter().map(|sequence| model.unusual(sequence).nats).fold(0.0, f64::max);
    let foreign = model.unusual(&[1, 90, 91, 92, 2]);
    assert!(foreign.set > 3.0 && foreign.nats > usual + 3.0, "{foreign:?} beside {usual}");
    let shuffled = model.unusual(&[12, 11, 10, 2, 12, 11, 10, 1]);
    assert!(shuffled.order > 3.0 && shuffled.nats > usual + 1.0, "{shuffled:?} beside {usual}");
    let repeated: Vec<u32> = std::iter::once(1).chain([10; 400]).chain([11, 12, 2]).collect();
    let repeated = model.unusual(&repeated);
    assert!(repeated.frequency > 3.0, "{repeated:?}");
}

#[test]
fn the_oddest_symbol_is_named_with_what_came_before() {
    let mut model = model();
    (0..100).for_each(|n| model.learn(&session(n)));
    let mut odd = session(1);
    odd[4] = 77;
    let oddest = model.unusual(&odd).oddest.unwrap();
    assert_eq!((oddest.at, oddest.symbol, oddest.after), (4, 77, Some(odd[3])));
}

#[test]
fn nothing_is_said_before_enough_was_learned() {
    let mut model = model();
    for n in 0..SequenceConfig::default().warm as u32 {
        assert_eq!(model.unusual(&[99]).nats, 0.0);
        model.learn(&session(n));
    }
    assert!(model.unusual(&[99]).nats > 0.0);
    assert_eq!(model.unusual(&[]).nats, 0.0);
}

#[test]
fn all_problems_of_a_configuration_are_told() {
    let config = SequenceConfig { order: 0, max_runs: 0, max_examples: 0, warm: 0, half_life: f64::NAN };
    assert_eq!(SequenceModel::new(config).unwrap_err().problems().len(), 5);
}

proptest! {
    #[test]
    fn any_sequences_are_survived_within_bounds_and_restored_exactly(
        sequences in proptest::collection::vec(proptest::collection::vec(0..200u32, 0..80), 0..60),
        probe in proptest::collection::vec(any::<u32>(), 0..50),
    ) {
        let config = SequenceConfig { max_runs: 256, max_examples: 8, warm: 4, ..SequenceConfig::default() };
        let mut model = SequenceModel::new(config).unwrap();
        for sequence in &sequences {
            model.learn(sequence);
            prop_assert!(model.held() < 100_000, "{}", model.held());
        }
        let found = model.unusual(&probe);
        prop_assert!([found.nats, found.set, found.frequency, found.order].iter().all(|n| n.is_finite() && *n >= 0.0));
        let mut back: SequenceModel = serde_json::from_str(&serde_json::to_string(&model).unwrap()).unwrap();
        prop_assert_eq!(back.unusual(&probe), found);
        model.learn(&probe);
        back.learn(&probe);
        prop_assert_eq!(back.unusual(&[1, 2, 3]), model.unusual(&[1, 2, 3]));
    }
}
