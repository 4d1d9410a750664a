//! Tests of the verifier: every row of what holds.

use futures::executor::block_on;
use ir_core::anomaly::{Anomaly, Symptom};
use ir_core::{
    Labels, MetricKind, Observations, PlanId, Series, SeriesHistory, StepId, StepRef, Timestamp, Verification,
};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::samples::{anomaly, at, call, ctx, id, incident};

/// Seconds and values.
type Samples<'a> = &'a [(i64, f64)];

/// The effect took place at second 200; `series` are of `(entity, metric)` with samples `(second, value)`.
fn check(anomalies: Vec<Anomaly>, series: &[(&str, &str, Samples<'_>)], verification: Verification) -> Check {
    let history = |(entity, metric, samples): &(&str, &str, Samples<'_>)| SeriesHistory {
        series: Series {
            entity: id(entity),
            metric: (*metric).to_owned(),
            kind: MetricKind::Gauge,
            unit: String::new(),
            labels: Labels::new(),
        },
        times: samples.iter().map(|(secs, _)| at(*secs)).collect(),
        values: samples.iter().map(|(_, value)| *value).collect(),
    };
    Check {
        step: StepRef { plan: PlanId::new("inc-7/p1").unwrap(), step: StepId::new("s1").unwrap() },
        call: call("restart", "web"),
        verification,
        applied: at(200),
        incident: incident(anomalies),
        observations: Observations {
            until: Timestamp::from_millis(230_000),
            series: series.iter().map(history).collect(),
            ..Observations::default()
        },
    }
}

fn verify(check: &Check) -> Verified {
    block_on(SignalVerifier::new().verify(&ctx(), check)).unwrap()
}

fn limit(is: Comparison, value: f64) -> Limit {
    Limit { entity: None, metric: "m".to_owned(), is, value: Measured(value) }
}

fn limits(limits: Vec<Limit>) -> Verification {
    Verification { anomalies_end: false, limits, ..Verification::default() }
}

const ENDED: Phase = Phase::Ended;
const FRESH: Samples<'static> = &[(190, 5.0), (210, 1.0)];
const OLD: Samples<'static> = &[(190, 1.0), (200, 1.0)];

#[test]
fn all_anomalies_must_have_ended_and_the_target_must_have_been_measured_since() {
    let web = |samples: Samples<'static>| [("web", "up", samples)];
    let shown = |phase| vec![anomaly("web", Symptom::Errors, ENDED), anomaly("db", Symptom::Latency, phase)];
    // One row a case: phase of the second anomaly, series, answer and its reason.
    let table = [
        (ENDED, &web(FRESH)[..], Holds::Yes, "all that was demanded holds"),
        (Phase::Began, &web(FRESH), Holds::No, "anomalies that go on: 1.0000 against 0.0000"),
        (Phase::Grew, &web(FRESH), Holds::No, "anomalies that go on: 1.0000 against 0.0000"),
        // Silence is no recovery: nothing since, nothing at all, only somebody else.
        (ENDED, &web(OLD), Holds::Unknown, "series of `web` measured since the effect: not measured since"),
        (ENDED, &web(&[]), Holds::Unknown, "series of `web` measured since the effect: not measured since"),
        (ENDED, &[], Holds::Unknown, "series of `web` measured since the effect: not measured since"),
        (
            ENDED,
            &[("db", "up", FRESH)],
            Holds::Unknown,
            "series of `web` measured since the effect: not measured since",
        ),
        // What goes on is known, whatever is silent.
        (Phase::Began, &[], Holds::No, "anomalies that go on: 1.0000 against 0.0000"),
        // One series that goes on is enough: the others may have been of the process before.
        (ENDED, &[("web", "up", OLD), ("web", "latency:mean", FRESH)], Holds::Yes, "all that was demanded holds"),
    ];
    for (phase, series, holds, because) in table {
        let verified = verify(&check(shown(phase), series, Verification::default()));
        assert_eq!((verified.holds, verified.because.as_str()), (holds, because), "{phase:?} {series:?}");
        assert_eq!((verified.readings.len(), verified.by.as_str()), (2, "signals"));
    }
}

#[test]
fn limits_hold_for_the_latest_value_since_the_effect() {
    use Comparison::{AtLeast, AtMost};
    let nan = f64::NAN;
    // One row a case: the samples of `m`, the limit, the answer.
    let table: [(Samples<'_>, Comparison, f64, Holds); 17] = [
        (&[(210, 1.0)], AtMost, 1.0, Holds::Yes),
        (&[(210, 1.1)], AtMost, 1.0, Holds::No),
        (&[(210, 1.0)], AtLeast, 1.0, Holds::Yes),
        (&[(210, 0.9)], AtLeast, 1.0, Holds::No),
        (&[(210, 9.0), (220, 1.0)], AtMost, 1.0, Holds::Yes),
        (&[(210, 1.0), (220, 9.0)], AtMost, 1.0, Holds::No),
        // Old samples do not count, not even one at the very moment of the effect.
        (&[(199, 1.0)], AtMost, 1.0, Holds::Unknown),
        (&[(200, 1.0)], AtMost, 1.0, Holds::Unknown),
        (&[(199, 9.0)], AtMost, 1.0, Holds::Unknown),
        // Nothing, and what is no number.
        (&[], AtMost, 1.0, Holds::Unknown),
        (&[(210, nan)], AtMost, 1.0, Holds::Unknown),
        (&[(210, nan)], AtLeast, 1.0, Holds::Unknown),
        (&[(210, 1.0), (220, nan)], AtMost, 1.0, Holds::Unknown),
        (&[(210, f64::INFINITY)], AtMost, 1.0, Holds::No),
        (&[(210, f64::NEG_INFINITY)], AtLeast, 1.0, Holds::No),
        // A limit that is no number never holds.
        (&[(210, 1.0)], AtMost, nan, Holds::No),
        (&[(210, 1.0)], AtLeast, nan, Holds::No),
    ];
    for (samples, is, value, holds) in table {
        let verified = verify(&check(vec![], &[("web", "m", samples)], limits(vec![limit(is, value)])));
        assert_eq!(verified.holds, holds, "{samples:?} {is:?} {value}: {}", verified.because);
    }
}

#[test]
fn the_worst_of_several_series_counts_whoever_else_is_well() {
    let both: [(&str, &str, Samples<'_>); 4] = [
        ("web", "m", &[(210, 0.5)]),
        ("web", "m", &[(210, 2.0)]),
        ("web", "other", &[(210, 100.0)]),
        ("db", "m", &[(210, -100.0)]),
    ];
    let reading = |limit| verify(&check(vec![], &both, limits(vec![limit]))).readings[0].clone();
    let most = reading(limit(Comparison::AtMost, 1.0));
    assert_eq!((most.holds, most.value), (Holds::No, Measured(2.0)));
    let least = reading(limit(Comparison::AtLeast, 1.0));
    assert_eq!((least.holds, least.value), (Holds::No, Measured(0.5)));
    assert_eq!(least.what, "`m` of `web`, at least 1");
    // Another entity where the limit names one.
    let named = reading(Limit { entity: Some(id("db")), ..limit(Comparison::AtMost, 1.0) });
    assert_eq!((named.holds, named.value), (Holds::Yes, Measured(-100.0)));
}

#[test]
fn no_is_stronger_than_unknown_and_unknown_than_yes() {
    let (yes, no) = (limit(Comparison::AtMost, 1.0), limit(Comparison::AtMost, 0.0));
    let unknown = Limit { metric: "nobody-measures".to_owned(), ..yes.clone() };
    let table = [
        (vec![&yes, &yes], Holds::Yes),
        (vec![&yes, &unknown], Holds::Unknown),
        (vec![&unknown, &no], Holds::No),
        (vec![&no, &unknown, &yes], Holds::No),
    ];
    for (demanded, holds) in table {
        let demanded: Vec<Limit> = demanded.into_iter().cloned().collect();
        let n = demanded.len();
        let verified = verify(&check(vec![], &[("web", "m", &[(210, 1.0)])], limits(demanded)));
        assert_eq!((verified.holds, verified.readings.len()), (holds, n), "{}", verified.because);
    }
}

#[test]
fn where_nothing_is_demanded_nothing_can_be_told() {
    let verified = verify(&check(vec![], &[("web", "up", FRESH)], limits(vec![])));
    assert_eq!((verified.holds, verified.readings.len()), (Holds::Unknown, 0));
    assert_eq!(verified.because, "nothing was demanded, so nothing can be told");
}

proptest! {
    #[test]
    fn yes_needs_a_fresh_sample_for_everything_that_is_demanded(
        samples in prop::collection::vec((195i64..206, select(vec![0.0, 1.0, f64::NAN, f64::INFINITY])), 0..4),
        value in select(vec![0.0, 1.0, f64::NAN]),
        at_most in any::<bool>(),
        anomalies_end in any::<bool>(),
        ongoing in any::<bool>(),
    ) {
        let mut samples = samples;
        samples.sort_by_key(|(secs, _)| *secs);
        let is = if at_most { Comparison::AtMost } else { Comparison::AtLeast };
        let shown = anomaly("web", Symptom::Errors, if ongoing { Phase::Began } else { ENDED });
        let verification = Verification { anomalies_end, ..limits(vec![limit(is, value)]) };
        let check = check(vec![shown], &[("web", "m", &samples)], verification);
        let verified = verify(&check);
        prop_assert_eq!(format!("{verified:?}"), format!("{:?}", verify(&check)));
        if verified.holds == Holds::Yes {
            let last = samples.last();
            prop_assert!(last.is_some_and(|(secs, value)| *secs > 200 && !value.is_nan()), "{samples:?}");
            prop_assert!(!value.is_nan());
            prop_assert!(!anomalies_end || !ongoing);
        }
    }
}
