//! Signals of any kind and order: no detector fails, and where a batch is cut changes nothing.
#![no_main]

use std::sync::Arc;

use ir_core::{
    Ctx, Detector, EntityId, Labels, LogRecord, ManualClock, MetricKind, MetricSample, Series, SignalBatch, Span,
    Timestamp,
};
use ir_detect::logs::{LogTemplates, LogTemplatesConfig};
use ir_detect::traces::TraceDetector;
use ir_detect::{BasicSeriesDetector, Detectors, ExhaustionDetector, SeriesDetector};
use libfuzzer_sys::fuzz_target;

const METRICS: [&str; 6] = [
    "up",
    "http_requests_total",
    "http_request_duration_seconds_bucket",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "queue_length",
];

fn detectors() -> Vec<Arc<dyn Detector>> {
    let mut all = Detectors::standard();
    all.extend(Detectors::behaviour());
    all.push(Arc::new(SeriesDetector::default()));
    all.push(Arc::new(BasicSeriesDetector::default()));
    all.push(Arc::new(ExhaustionDetector::default()));
    all.push(Arc::new(LogTemplates::new(LogTemplatesConfig::default()).expect("the default is right")));
    all.push(Arc::new(TraceDetector::default()));
    all
}

/// Eight bytes are a signal: its kind, who, what, a step in time, a value.
fn batch(data: &[u8]) -> SignalBatch {
    let (mut batch, mut nanos) = (SignalBatch::default(), 0_i64);
    for chunk in data.chunks_exact(8) {
        let Ok(entity) = EntityId::new(format!("service-{}", chunk[1] % 5)) else { continue };
        let step = i64::from(i16::from_le_bytes([chunk[3], chunk[4]]));
        nanos = nanos.saturating_add(if chunk[0] >= 250 { step << 44 } else { step * 10_000_000 });
        let at = Timestamp::from_nanos(nanos);
        let value = match chunk[5] {
            251 => f64::NAN,
            252 => f64::INFINITY,
            253 => f64::MAX,
            other => f64::from(other) * f64::from(u16::from_le_bytes([chunk[6], chunk[7]])),
        };
        match chunk[0] % 4 {
            0 | 1 => batch.metrics.push(sample(entity, chunk[2], at, value)),
            2 => batch.logs.push(LogRecord {
                entity,
                at,
                level: None,
                message: format!("{} request {value} of {}", if chunk[2] > 200 { "error:" } else { "" }, chunk[5] % 7),
                fields: Labels::new(),
            }),
            _ => batch.spans.push(Span {
                entity,
                trace_id: format!("{:032x}", chunk[2] % 9),
                span_id: format!("{:016x}", chunk[5]),
                parent_id: (chunk[6] % 3 > 0).then(|| format!("{:016x}", chunk[6])),
                operation: "GET /".to_owned(),
                at,
                duration_ns: u64::from(chunk[7]) << (chunk[6] % 48),
                error: chunk[5] > 200,
            }),
        }
    }
    batch
}

fn sample(entity: EntityId, what: u8, at: Timestamp, value: f64) -> MetricSample {
    let metric = METRICS[usize::from(what) % METRICS.len()];
    let kind = match metric {
        "up" => MetricKind::Up,
        "http_requests_total" => MetricKind::Counter,
        "http_request_duration_seconds_bucket" => MetricKind::Bucket,
        _ => MetricKind::Gauge,
    };
    let labels: Labels = match kind {
        MetricKind::Counter => [("code", if what > 128 { "500" } else { "200" })].into_iter().collect(),
        MetricKind::Bucket => [("le", if what > 128 { "+Inf" } else { "0.1" })].into_iter().collect(),
        _ => Labels::new(),
    };
    MetricSample {
        series: Arc::new(Series { entity, metric: metric.to_owned(), kind, unit: String::new(), labels }),
        at,
        value,
    }
}

fn halves(batch: &SignalBatch, at: usize) -> [SignalBatch; 2] {
    fn cut<T: Clone>(list: &[T], at: usize) -> [Vec<T>; 2] {
        let (head, tail) = list.split_at(at.min(list.len()));
        [head.to_vec(), tail.to_vec()]
    }
    let ([m0, m1], [l0, l1], [s0, s1]) = (cut(&batch.metrics, at), cut(&batch.logs, at), cut(&batch.spans, at));
    let part = |metrics, logs, spans| SignalBatch { metrics, logs, spans, ..SignalBatch::default() };
    [part(m0, l0, s0), part(m1, l1, s1)]
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, rest)) = data.split_first() else { return };
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let whole = batch(rest);
    for (one, other) in detectors().into_iter().zip(detectors()) {
        let found = futures::executor::block_on(one.detect(&ctx, &whole)).expect("signals are no error");
        let mut again = Vec::new();
        for part in halves(&whole, usize::from(*cut)) {
            again.extend(futures::executor::block_on(other.detect(&ctx, &part)).expect("signals are no error"));
        }
        assert_eq!(found, again, "{}", one.name());
        let snapshot = futures::executor::block_on(one.snapshot(&ctx)).expect("a state can always be stored");
        futures::executor::block_on(other.restore(&ctx, &snapshot)).expect("and read back");
    }
});
