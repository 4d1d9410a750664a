//! The real node exporter, scraped by ourselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use ir_adapters::SystemClock;
use ir_adapters::scrape::{ScrapeConfig, ScrapeSource, ScrapeTarget};
use ir_core::{Ctx, Cursor, EntityId, MetricKind, MetricSample, SignalSource as _};
use tempfile::TempDir;

use crate::server::{Server, free_address, wait_for};

#[tokio::test]
async fn its_metrics_come_with_kinds_and_units() {
    let address = free_address();
    let listen = format!("--web.listen-address={address}");
    let package = "prometheus-node-exporter";
    let server = Server::start("prometheus-node-exporter", package, TempDir::new().unwrap(), &[&listen]);
    let target = ScrapeTarget { entity: EntityId::new("host").unwrap(), url: format!("http://{address}/metrics") };
    let config = ScrapeConfig { target: vec![target], timeout_ms: 30_000, ..ScrapeConfig::default() };
    let source = ScrapeSource::new(config).unwrap();
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let up = |metrics: &[MetricSample]| {
        metrics
            .iter()
            .any(|sample| sample.series.metric == "up" && sample.series.kind == MetricKind::Up && sample.value == 1.0)
    };
    let mut cursor = Cursor::default();
    let first = wait_for("it answers", async || {
        let polled = source.poll(&ctx, &cursor).await.unwrap();
        cursor = polled.next.clone();
        Some(polled).filter(|polled| up(&polled.batch.metrics))
    })
    .await;
    assert_eq!((first.dropped, first.problems.len()), (0, 0), "{:?}", first.problems);
    assert!(first.batch.metrics.len() > 100, "{} samples", first.batch.metrics.len());
    let series: BTreeMap<&str, (MetricKind, &str)> = first
        .batch
        .metrics
        .iter()
        .map(|sample| (sample.series.metric.as_str(), (sample.series.kind, sample.series.unit.as_str())))
        .collect();
    // What every Linux has, each kind and unit once.
    for (metric, kind, unit) in [
        ("node_cpu_seconds_total", MetricKind::Counter, "seconds"),
        ("node_memory_MemTotal_bytes", MetricKind::Gauge, "bytes"),
        ("node_load1", MetricKind::Gauge, ""),
        ("node_boot_time_seconds", MetricKind::Gauge, "seconds"),
        ("node_intr_total", MetricKind::Counter, ""),
        ("go_gc_duration_seconds", MetricKind::Gauge, "seconds"),
        ("go_gc_duration_seconds_count", MetricKind::Counter, ""),
        ("go_gc_duration_seconds_sum", MetricKind::Counter, "seconds"),
    ] {
        assert_eq!(series.get(metric), Some(&(kind, unit)), "{metric}");
    }
    // Counters go on where they were.
    let second = source.poll(&ctx, &cursor).await.unwrap();
    let cpu = |metrics: &[MetricSample]| -> f64 {
        metrics.iter().filter(|s| s.series.metric == "node_cpu_seconds_total").map(|s| s.value).sum()
    };
    assert!(cpu(&second.batch.metrics) >= cpu(&first.batch.metrics) && cpu(&first.batch.metrics) > 0.0);
    server.kill();
    let polled = source.poll(&ctx, &second.next).await.unwrap();
    assert_eq!(
        polled.batch.metrics.iter().map(|s| (s.series.metric.as_str(), s.value)).collect::<Vec<_>>(),
        [("up", 0.0)]
    );
}
