//! Random valid values for property tests.

use proptest::prelude::*;

use crate::anomaly::{Anomaly, Direction, Phase, Symptom};
use crate::decision::{AutonomyTier, Person, Quorum, Verdict};
use crate::entity::{EntityId, Labels};
use crate::id::{ActionName, Digest};
use crate::journal::{Body, Record};
use crate::kernel::Limits;
use crate::plan::Call;
use crate::score::{Measured, Score};
use crate::signal::{Change, ChangeKind, MetricKind, MetricSample, Series, SignalBatch};
use crate::time::{BootId, Moment, Timestamp};

use super::samples;

/// Any time.
pub fn timestamps() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_nanos)
}

/// Any moment, large monotonic times included.
pub fn moments() -> impl Strategy<Value = Moment> {
    (timestamps(), any::<u64>(), "[a-z0-9-]{1,12}").prop_map(|(wall, mono_ns, boot)| Moment {
        wall,
        mono_ns,
        boot: BootId::new(boot),
    })
}

/// Any measured number, NaN and infinities included.
pub fn measured() -> impl Strategy<Value = Measured> {
    any::<u64>().prop_map(|bits| Measured(f64::from_bits(bits)))
}

/// Any score.
pub fn scores() -> impl Strategy<Value = Score> {
    (0.0..=1.0_f64).prop_map(Score::saturating)
}

/// Names of entities: short, long, and with letters from all over the world.
pub fn entities() -> impl Strategy<Value = EntityId> {
    let text = prop_oneof![4 => "[a-z]{1,8}(-[0-9]{1,3})?", 1 => "[a-z]{256}", 1 => "\\p{L}{1,20}"];
    text.prop_filter_map("a name within its bounds", |text| EntityId::new(text).ok())
}

/// A few labels with any text as values.
pub fn labels() -> impl Strategy<Value = Labels> {
    prop::collection::btree_map("[a-z_]{1,8}", ".{0,12}", 0..6).prop_map(|map| map.into_iter().collect())
}

/// Any call of a made-up action.
pub fn calls() -> impl Strategy<Value = Call> {
    let value = prop_oneof![
        ".{0,12}".prop_map(serde_json::Value::from),
        any::<i32>().prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
    ];
    let action =
        "[a-z]{1,8}\\.[a-z]{1,8}".prop_filter_map("a name within its bounds", |text| ActionName::new(text).ok());
    (action, entities(), prop::collection::btree_map("[a-z]{1,6}", value, 0..4))
        .prop_map(|(action, target, params)| Call { action, target, params: params.into_iter().collect() })
}

/// Any anomaly.
pub fn anomalies() -> impl Strategy<Value = Anomaly> {
    let kinds = (
        prop::sample::select(vec![Symptom::Latency, Symptom::Errors, Symptom::Absence, Symptom::Downstream]),
        prop::sample::select(vec![Direction::Up, Direction::Down, Direction::Gone, Direction::New]),
        prop::sample::select(vec![Phase::Began, Phase::Grew, Phase::Ended]),
    );
    let numbers = (scores(), measured(), measured(), measured());
    (entities(), prop::option::of(entities()), labels(), kinds, timestamps(), timestamps(), numbers, ".{0,40}")
        .prop_map(|(entity, peer, labels, kinds, onset, at, numbers, because)| Anomaly {
            entity,
            peer,
            labels,
            symptom: kinds.0,
            direction: kinds.1,
            phase: kinds.2,
            onset,
            at,
            score: numbers.0,
            expected: numbers.1,
            seen: numbers.2,
            threshold: numbers.3,
            because,
            ..samples::anomaly("ledger", 10)
        })
}

/// Any change.
pub fn changes() -> impl Strategy<Value = Change> {
    let kind = prop::sample::select(vec![ChangeKind::Deploy, ChangeKind::Config, ChangeKind::Restart]);
    let text = || prop::option::of(".{0,12}");
    (entities(), timestamps(), kind, text(), text(), text()).prop_map(|(entity, at, kind, from, to, by)| Change {
        entity,
        at,
        kind,
        from,
        to,
        by,
    })
}

/// Any verdict.
pub fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Deny),
        Just(Verdict::Observe),
        Just(Verdict::Recommend),
        ("[a-c]", 0..4_u32).prop_map(|(role, count)| Verdict::RequireApproval { quorum: Quorum::of(role, count) }),
        Just(Verdict::Allow),
    ]
}

/// Any tier.
pub fn tiers() -> impl Strategy<Value = AutonomyTier> {
    prop::sample::select(vec![
        AutonomyTier::Observe,
        AutonomyTier::Recommend,
        AutonomyTier::Approve,
        AutonomyTier::Veto,
        AutonomyTier::Act,
    ])
}

/// A few people with a few roles; some have the same name.
pub fn people() -> impl Strategy<Value = Vec<Person>> {
    let person = ("[ab]{1,2}", prop::collection::vec("[a-c]", 0..3)).prop_map(|(name, roles)| Person { name, roles });
    prop::collection::vec(person, 0..5)
}

/// Any limits.
pub fn limits() -> impl Strategy<Value = Limits> {
    (any::<[u32; 7]>(), 0..1_u64 << 53, 0..1_u64 << 53).prop_map(|(n, window, age)| Limits {
        group_percent: n[0],
        per_environment: n[1],
        environment_window_ms: window,
        per_target_day: n[2],
        unhealthy_percent: n[3],
        unhealthy_from: n[4],
        attempts: n[5],
        precondition_age_ms: age,
        resume_people: n[6],
    })
}

/// Metric samples of a few series, in no order, with any values.
pub fn batches() -> impl Strategy<Value = SignalBatch> {
    let kind = prop::sample::select(vec![MetricKind::Gauge, MetricKind::Counter, MetricKind::Up]);
    let sample = ("[ab]", "[xy]", kind, timestamps(), any::<u64>()).prop_filter_map(
        "a name within its bounds",
        |(entity, metric, kind, at, bits)| {
            let entity = EntityId::new(entity).ok()?;
            let series = Series { entity, metric, kind, unit: String::new(), labels: Labels::new() };
            Some(MetricSample { series: std::sync::Arc::new(series), at, value: f64::from_bits(bits) })
        },
    );
    prop::collection::vec(sample, 0..40).prop_map(|metrics| SignalBatch { metrics, ..SignalBatch::default() })
}

/// A record with any of the contents of [`samples::records`], its numbers and times random.
pub fn records() -> impl Strategy<Value = Record> {
    let bodies: Vec<Body> = samples::records().into_iter().map(|record| record.body).collect();
    (1..u64::MAX, any::<u32>(), any::<[u8; 32]>(), moments(), prop::sample::select(bodies)).prop_map(
        |(seq, left, prev, at, body)| Record {
            v: Record::VERSION,
            seq,
            left,
            prev: Digest::from_bytes(prev),
            at,
            body,
        },
    )
}
