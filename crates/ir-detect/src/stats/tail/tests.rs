use super::*;
use proptest::prelude::*;

fn learned<const EDGES: usize>(values: impl IntoIterator<Item = f64>) -> TailOf<EDGES> {
    let mut tail = TailOf::default();
    values.into_iter().for_each(|value| tail.push(value, 1.0, 1e9));
    tail
}

/// The quantiles of a law, each as likely, in an order that mixes small and large.
fn sample(quantile: impl Fn(f64) -> f64) -> impl Iterator<Item = f64> {
    let n = 20_011_u64;
    (0..n).map(move |k| quantile(((k * 7919 % n) as f64 + 0.5) / n as f64))
}

/// The largest error in nats over values whose surprise is given.
fn worst<const EDGES: usize>(tail: &TailOf<EDGES>, cases: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    cases.into_iter().map(|(value, nats)| (tail.surprise(value) - nats).abs() / (1.0 + nats)).fold(0.0, f64::max)
}

#[test]
fn a_pareto_sample_gives_back_its_own_tail() {
    // P(X >= x) = x^-2, so 100 is 9.21 nats out, farther than one value of the sample.
    let law = |p: f64| (1.0 - p).powf(-0.5);
    let cases = [2.0, 3.3, 10.0, 100.0, 1000.0].map(|value: f64| (value, 2.0 * value.ln()));
    assert!(worst(&learned::<160>(sample(law)), cases) < 0.05);
    assert!(worst(&learned::<48>(sample(law)), cases) < 0.05);
}

#[test]
fn bodies_of_light_laws_are_right_at_any_scale_and_their_tails_are_understated() {
    for scale in [1.0, 1.1, 1.3, 1e6, 1e-6] {
        // Exponential: P(X >= x) = exp(-x).
        let exponential = learned::<48>(sample(|p: f64| -scale * (1.0 - p).ln()));
        assert!(worst(&exponential, [0.5, 1.0, 1.7, 2.4].map(|x| (x * scale, x))) < 0.05, "{scale}");
        // Uniform: P(X >= x) = 1 - x.
        let uniform = learned::<48>(sample(|p: f64| scale * p));
        assert!(worst(&uniform, [0.3, 0.5, 0.8, 0.9].map(|x: f64| (x * scale, -(1.0 - x).ln()))) < 0.05, "{scale}");
        // What lies far out is less rare by a Pareto tail than it is, but rarer than all that was seen.
        for (tail, nats) in [(&exponential, 30.0), (&uniform, f64::INFINITY)] {
            let found = tail.surprise(30.0 * scale);
            assert!(found < nats && found > 10.0, "{scale} {found}");
        }
    }
}

#[test]
fn the_unit_matters_little_even_between_the_edges() {
    // Half of a normal law, and five of its deviations: the edges lie elsewhere in each unit.
    let normal = |p: f64| (-2.0 * (1.0 - p).ln()).sqrt();
    let found: Vec<f64> = (0..24)
        .map(|step| (f64::from(step) / 96.0).exp2())
        .map(|unit| learned::<48>(sample(|p| unit * normal(p))).surprise(5.0 * unit))
        .collect();
    let (low, high) = found.iter().fold((f64::MAX, 0.0_f64), |(low, high), nats| (low.min(*nats), high.max(*nats)));
    // The law itself says 12.5.
    assert!(low > 7.0 && high < 12.5 && high - low < 1.0, "{low} {high}");
}

#[test]
fn old_values_count_less_and_a_share_counts_less() {
    let mut tail = learned::<160>([]);
    (0..100).for_each(|_| tail.push(100.0, 1.0, 10.0));
    (0..100).for_each(|_| tail.push(1.0, 1.0, 10.0));
    assert!(tail.surprise(50.0) > 3.0);
    let (mut whole, mut part) = (learned::<48>((0..500).map(f64::from)), learned::<48>((0..500).map(f64::from)));
    (0..20).for_each(|_| whole.push(1e6, 1.0, 1e9));
    (0..20).for_each(|_| part.push(1e6, 0.1, 1e9));
    assert!(part.surprise(1e6) > whole.surprise(1e6) + 1.0);
}

#[test]
fn one_absurd_value_hides_nothing_and_a_new_scale_is_learned() {
    let mut tail = learned::<48>((0..1000).map(|n| 1.0 + f64::from(n % 10)));
    tail.push(1e18, 1.0, 1e9);
    assert!(tail.surprise(5.0) < 1.5 && tail.surprise(200.0) > 6.0, "{} {}", tail.surprise(5.0), tail.surprise(200.0));
    for scale in [1e-9, 1e12, 1e-3] {
        (0..3000).for_each(|n| tail.push(scale * (1.0 + f64::from(n % 10)), 1.0, 300.0));
        let (usual, rare) = (tail.surprise(5.0 * scale), tail.surprise(200.0 * scale));
        assert!(usual < 1.5 && rare > 6.0, "{scale}: {usual} {rare}");
    }
}

#[test]
fn a_tail_read_back_is_the_same() {
    let tail = learned::<48>((0..500).map(|n| f64::from(n * n)));
    let text = serde_json::to_string(&tail).unwrap();
    assert!(text.len() < 500, "{}", text.len());
    assert_eq!(serde_json::from_str::<SmallTail>(&text).unwrap(), tail);
    assert!(serde_json::from_str::<SmallTail>(&text.replace("\"at_least\":\"", "\"at_least\":\"!")).is_err());
}

proptest! {
    #[test]
    fn any_history_is_survived_and_more_is_never_less_surprising(
        values in proptest::collection::vec(any::<f64>(), 0..200), a in any::<f64>(), b in any::<f64>(),
    ) {
        let tail = learned::<48>(values);
        let (a, b) = (tail.surprise(a.abs().min(b.abs())), tail.surprise(a.abs().max(b.abs())));
        prop_assert!(a.is_finite() && b.is_finite() && a >= 0.0);
        prop_assert!(a <= b + 1e-9, "{} {}", a, b);
    }

    #[test]
    fn the_unit_of_the_values_does_not_matter(
        values in proptest::collection::vec(0.0..1e3f64, 30..200), probe in 0.0..1e5f64, octaves in -20..20i32,
    ) {
        let unit = f64::from(octaves).exp2();
        let (plain, scaled) = (learned::<160>(values.iter().copied()), learned::<160>(values.iter().map(|v| v * unit)));
        let (a, b) = (plain.surprise(probe), scaled.surprise(probe * unit));
        prop_assert!((a - b).abs() < 1e-3, "{} {}", a, b);
    }

    #[test]
    fn the_two_ways_to_ask_agree(values in proptest::collection::vec(-1e3..1e3f64, 0..200), probe in -1e5..1e5f64) {
        let mut tails = TwoSmallTails::default();
        values.iter().for_each(|value| tails.push(*value, 1.0, 100.0));
        let over = tails.over_usual(Sided::of(probe));
        prop_assert!((over - (tails.surprise(probe) - 1.0).max(0.0)).abs() < 1e-9);
    }
}
