//! What a service counts, in the Prometheus text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// Upper bounds in seconds: from a single millisecond to beyond every timeout in the shop.
const BUCKETS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug)]
pub(crate) struct Metrics {
    service: String,
    version: String,
    started: Timestamp,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// By route and code.
    requests: BTreeMap<(String, u16), u64>,
    /// By route.
    request_seconds: BTreeMap<String, Histogram>,
    /// By peer and code, which is a status or `timeout` or `refused`.
    calls: BTreeMap<(String, String), u64>,
    /// By peer.
    call_seconds: BTreeMap<String, Histogram>,
}

#[derive(Debug, Default)]
struct Histogram {
    /// Not yet cumulative: each observation counts in the first bucket that holds it.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum_secs: f64,
}

impl Histogram {
    fn observe(&mut self, secs: f64) {
        if let Some(index) = BUCKETS.iter().position(|bound| secs <= *bound) {
            self.buckets[index] += 1;
        }
        self.count += 1;
        self.sum_secs += secs;
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let mut cumulative = 0;
        for (bound, count) in BUCKETS.iter().zip(self.buckets) {
            cumulative += count;
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {cumulative}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum_secs);
        let _ = writeln!(out, "{name}_count{{{labels}}} {}", self.count);
    }
}

impl Metrics {
    pub(crate) fn new(service: &str, version: &str, started: Timestamp) -> Self {
        Self { service: service.to_owned(), version: version.to_owned(), started, counts: Mutex::default() }
    }

    pub(crate) fn request(&self, route: &str, status: u16, elapsed: Duration) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.requests.entry((route.to_owned(), status)).or_default() += 1;
        counts.request_seconds.entry(route.to_owned()).or_default().observe(elapsed.as_secs_f64());
    }

    pub(crate) fn call(&self, peer: &str, code: &str, elapsed: Duration) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.calls.entry((peer.to_owned(), code.to_owned())).or_default() += 1;
        counts.call_seconds.entry(peer.to_owned()).or_default().observe(elapsed.as_secs_f64());
    }

    /// The whole page. Label values are our own names and numbers, so none needs escaping.
    pub(crate) fn text(&self, resident_bytes: u64) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let service = &self.service;
        let mut out = String::new();
        // Writing to a string cannot fail, here and below.
        head(&mut out, "http_requests_total", "counter", "Requests answered, by route and status code.");
        for ((route, code), count) in &counts.requests {
            let _ =
                writeln!(out, "http_requests_total{{service=\"{service}\",route=\"{route}\",code=\"{code}\"}} {count}");
        }
        head(&mut out, "http_request_duration_seconds", "histogram", "Time from request to answer.");
        for (route, histogram) in &counts.request_seconds {
            let labels = format!("service=\"{service}\",route=\"{route}\"");
            histogram.write(&mut out, "http_request_duration_seconds", &labels);
        }
        head(&mut out, "downstream_requests_total", "counter", "Calls made, by peer and what came of them.");
        for ((peer, code), count) in &counts.calls {
            let _ = writeln!(
                out,
                "downstream_requests_total{{service=\"{service}\",peer=\"{peer}\",code=\"{code}\"}} {count}"
            );
        }
        head(&mut out, "downstream_request_duration_seconds", "histogram", "Time that calls took.");
        for (peer, histogram) in &counts.call_seconds {
            let labels = format!("service=\"{service}\",peer=\"{peer}\"");
            histogram.write(&mut out, "downstream_request_duration_seconds", &labels);
        }
        head(&mut out, "process_resident_memory_bytes", "gauge", "Memory the process holds.");
        let _ = writeln!(out, "process_resident_memory_bytes {resident_bytes}");
        head(&mut out, "process_start_time_seconds", "gauge", "When the process started, since the Unix epoch.");
        let _ = writeln!(out, "process_start_time_seconds {:.3}", self.started.as_millisecond() as f64 / 1000.0);
        head(&mut out, "build_info", "gauge", "The version that runs.");
        let _ = writeln!(out, "build_info{{service=\"{service}\",version=\"{}\"}} 1", self.version);
        out
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_counts_what_was_observed() {
        let metrics = Metrics::new("orders", "1.1.0", Timestamp::UNIX_EPOCH);
        metrics.request("/orders", 200, Duration::from_millis(8));
        metrics.request("/orders", 200, Duration::from_millis(30));
        metrics.request("/orders", 502, Duration::from_secs(11));
        metrics.call("inventory", "timeout", Duration::from_millis(800));
        let page = metrics.text(4096);
        for line in [
            "http_requests_total{service=\"orders\",route=\"/orders\",code=\"200\"} 2",
            "http_request_duration_seconds_bucket{service=\"orders\",route=\"/orders\",le=\"0.01\"} 1",
            "http_request_duration_seconds_bucket{service=\"orders\",route=\"/orders\",le=\"10\"} 2",
            "http_request_duration_seconds_bucket{service=\"orders\",route=\"/orders\",le=\"+Inf\"} 3",
            "http_request_duration_seconds_count{service=\"orders\",route=\"/orders\"} 3",
            "downstream_requests_total{service=\"orders\",peer=\"inventory\",code=\"timeout\"} 1",
            "process_resident_memory_bytes 4096",
            "process_start_time_seconds 0.000",
            "build_info{service=\"orders\",version=\"1.1.0\"} 1",
        ] {
            assert!(page.lines().any(|other| other == line), "`{line}` is missing in\n{page}");
        }
    }

    #[test]
    fn every_series_is_declared_before_it_appears() {
        let metrics = Metrics::new("orders", "1.1.0", Timestamp::UNIX_EPOCH);
        metrics.request("/orders", 200, Duration::from_millis(8));
        let page = metrics.text(1);
        let mut declared = Vec::new();
        for line in page.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                declared.push(kind.split(' ').next().unwrap().to_owned());
            } else if !line.starts_with('#') {
                assert!(declared.iter().any(|name| line.starts_with(name.as_str())), "{line}");
            }
        }
    }
}
