//! Snapshots of the standard detectors and the scrape assembler: bytes on disk, time to make and store them, time to restore.
//!
//! `cargo bench -p ir-bench --bench snapshots` prints one line per size. Gauges have noise in every digit, so their values do
//! not compress; 300 scrapes fill every window that a detector remembers.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "what is measured takes real time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use incident_response::adapters::file::FileSnapshots;
use incident_response::core::anomaly::KEPT_SNAPSHOTS;
use incident_response::core::{
    Ctx, Detector, EntityId, Labels, ManualClock, MetricKind, MetricSample, Result, Series, SignalBatch, Snapshot,
    SnapshotStore, Timestamp,
};
use incident_response::detect::{Detectors, ScrapeAssembler};

/// Entities, series of each, scrapes.
const SIZES: &[[usize; 3]] = &[[2_000, 5, 20], [2_000, 5, 300], [10_000, 5, 20], [10_000, 10, 20], [10_000, 10, 300]];

fn main() {
    let measures = std::env::args().any(|argument| argument == "--bench");
    let sizes = if measures { SIZES } else { &[[20, 10, 5]] };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for size in sizes {
        println!("{}", runtime.block_on(measure(*size)).unwrap());
    }
}

/// How the values of a series go on.
#[derive(Clone, Copy)]
enum Values {
    Constant(f64),
    /// Grows by about this a second, in whole numbers.
    Total(f64),
    /// Near this, with noise of a hundredth.
    Level(f64),
}

/// The series that entities have: `up` comes last.
fn telemetry([entities, of_each, _]: [usize; 3]) -> Vec<(Arc<Series>, Values)> {
    let requests = |code, per_sec| ("http_requests_total", MetricKind::Counter, code, Values::Total(per_sec));
    let gauge = |metric, values| (metric, MetricKind::Gauge, "", values);
    let kinds = [
        requests("200", 700.0),
        requests("500", 1.0),
        gauge("process_resident_memory_bytes", Values::Level(1e8)),
        gauge("process_start_time_seconds", Values::Constant(1.6e9)),
        gauge("queue_length", Values::Level(40.0)),
        gauge("threads", Values::Constant(12.0)),
        requests("404", 3.0),
        gauge("cpu_busy_ratio", Values::Level(0.3)),
        gauge("open_connections", Values::Level(200.0)),
    ];
    let mut all = Vec::new();
    for n in 0..entities {
        let entity = EntityId::new(format!("svc-{n}")).unwrap();
        let up = ("up", MetricKind::Up, "", Values::Constant(1.0));
        for (metric, kind, code, values) in kinds.into_iter().take(of_each - 1).chain([up]) {
            let labels: Labels =
                if code.is_empty() { Labels::new() } else { [("code", code), ("route", "/")].into_iter().collect() };
            let (metric, unit) = (metric.to_owned(), String::new());
            all.push((Arc::new(Series { entity: entity.clone(), metric, kind, unit, labels }), values));
        }
    }
    all
}

/// From 0 to 1, all bits of it.
fn noise(series: usize, scrape: usize) -> f64 {
    let mixed = (series as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ (scrape as u64 + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 32)) >> 11) as f64 / (1_u64 << 53) as f64
}

fn batch(series: &[(Arc<Series>, Values)], scrape: usize) -> SignalBatch {
    let secs = scrape * 15;
    let at = Timestamp::from_millis(1_700_000_000_000 + secs as i64 * 1_000);
    let sample = |(n, (series, values)): (usize, &(Arc<Series>, Values))| {
        let value = match values {
            Values::Constant(value) => *value,
            Values::Total(per_sec) => (per_sec * (secs as f64 + noise(n, scrape))).floor(),
            Values::Level(level) => level * (1.0 + noise(n, scrape) / 100.0),
        };
        MetricSample { series: Arc::clone(series), at, value }
    };
    SignalBatch { metrics: series.iter().enumerate().map(sample).collect(), ..SignalBatch::default() }
}

async fn measure(size: [usize; 3]) -> Result<String> {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let (series, mut assembler, detectors) = (telemetry(size), ScrapeAssembler::default(), Detectors::standard());
    let [entities, of_each, scrapes] = size;
    let folder = tempfile::tempdir().unwrap();
    let store = FileSnapshots::open(folder.path())?;
    let (mut last, mut bytes, mut made, mut stored) = (Vec::new(), 0, Duration::ZERO, Duration::ZERO);
    for scrape in 0..scrapes + KEPT_SNAPSHOTS - 1 {
        let mut batch = batch(&series, scrape);
        assembler.assemble(&mut batch);
        for detector in &detectors {
            detector.detect(&ctx, &batch).await?;
        }
        if scrape + 1 >= scrapes {
            let begun = Instant::now();
            last = snapshots(&ctx, &assembler, &detectors).await?;
            made = begun.elapsed();
            bytes = last.iter().map(|snapshot| snapshot.bytes.len()).sum();
            let begun = Instant::now();
            for snapshot in &last {
                store.put(&ctx, snapshot).await?;
            }
            stored = begun.elapsed();
        }
    }
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let on_disk: u64 = entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let begun = Instant::now();
    for (n, snapshot) in last.iter().enumerate() {
        let read = store.get(&ctx, &snapshot.name, &snapshot.digest()).await?.unwrap();
        match n.checked_sub(1).and_then(|n| detectors.get(n)) {
            Some(detector) => detector.restore(&ctx, &read).await?,
            None => assembler.restore(&read)?,
        }
    }
    let restored = begun.elapsed();
    let each: Vec<String> = last.iter().map(|one| format!("{} {}", one.name, one.bytes.len())).collect();
    Ok(format!(
        "{entities} entities x {of_each} series, {scrapes} scrapes: {bytes} bytes of state, {on_disk} on disk ({KEPT_SNAPSHOTS} of \
         each), made in {made:?}, stored in {stored:?}, read and restored in {restored:?} ({})",
        each.join(", ")
    ))
}

/// That of the assembler first.
async fn snapshots(ctx: &Ctx, assembler: &ScrapeAssembler, detectors: &[Arc<dyn Detector>]) -> Result<Vec<Snapshot>> {
    let mut all = vec![assembler.snapshot()?];
    for detector in detectors {
        all.push(detector.snapshot(ctx).await?);
    }
    Ok(all)
}
