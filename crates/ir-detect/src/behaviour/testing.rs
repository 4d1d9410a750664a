//! Events for the tests of each detector.

use std::sync::Arc;

use ir_core::{
    Act, Activity, Anomaly, Ctx, Detector, EntityId, EventKind, EventRecord, Labels, ManualClock, Phase, SignalBatch,
    Timestamp,
};

pub(super) const DAY: f64 = 86_400.0;
pub(super) const HOUR: f64 = 3_600.0;

/// One act of `program`, by `user`, `at` seconds.
pub(super) fn event(at: f64, entity: &str, user: &str, program: &str, act: Act) -> EventRecord {
    let kind = EventKind::Activity(Activity { user: Some(user.to_owned()), program: Some(program.to_owned()), act });
    let at = Timestamp::from_nanos((at * 1e9) as i64);
    EventRecord { entity: EntityId::new(entity).unwrap(), at, name: "event".to_owned(), kind, fields: Labels::new() }
}

pub(super) fn started(at: f64, parent: &str, program: &str) -> EventRecord {
    event(at, "host", "root", program, Act::Started { parent: Some(parent.to_owned()), arguments: None })
}

pub(super) fn connected(at: f64, program: &str, to: &str, bytes: u64) -> EventRecord {
    event(at, "host", "root", program, Act::Connected { to: to.to_owned(), port: None, bytes_out: Some(bytes) })
}

/// What a detector reports as begun.
pub(super) async fn begun(detector: &dyn Detector, mut events: Vec<EventRecord>) -> Vec<Anomaly> {
    events.sort_by_key(|event| event.at);
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let batch = SignalBatch { events, ..SignalBatch::default() };
    let found = detector.detect(&ctx, &batch).await.unwrap();
    found.into_iter().filter(|anomaly| anomaly.phase == Phase::Began).collect()
}
