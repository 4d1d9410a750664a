//! A shop of four services that call one another, simulated request by request, and what a scrape of it would show.

use std::collections::BTreeMap;
use std::sync::Arc;

use ir_core::{
    Change, ChangeKind, Dependency, Entity, EntityId, Labels, MetricKind, MetricSample, Probability, Series,
    SignalBatch, Timestamp, Topology, TopologyDocument,
};

pub(crate) const SERVICES: [&str; 4] = ["gateway", "orders", "inventory", "ledger"];
const PATIENCE_SECS: [f64; 4] = [1.2, 1.0, 0.8, 0.8];
const RATE: f64 = 50.0;
const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const MIB: f64 = 1024.0 * 1024.0;
/// A moment in the past that all simulated times count from.
const EPOCH_MS: i64 = 1_790_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    Crash,
    Hang,
    Leak,
    Errors,
    Slow,
    BadDeploy,
    None,
}

pub(crate) const FAULTS: [Fault; 6] =
    [Fault::Crash, Fault::Hang, Fault::Leak, Fault::Errors, Fault::Slow, Fault::BadDeploy];

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) fault: Fault,
    pub(crate) target: usize,
    pub(crate) seed: u64,
    pub(crate) busy: bool,
    pub(crate) interval_secs: f64,
    pub(crate) fault_at_secs: f64,
    /// When a restart or a rollback takes the fault away; infinite when nothing does.
    pub(crate) healed_at_secs: f64,
}

impl Scene {
    pub(crate) fn harmless(&self) -> (usize, f64) {
        let mut rng = Rng(self.seed ^ 0xbeef);
        let other = (self.target + 1 + (rng.unit() * 3.0) as usize) % 4;
        (other, self.fault_at_secs - 1.0 - 3.0 * rng.unit())
    }
}

/// A scene with 22 s of health first. The phase of the fault against the scrapes differs from seed to seed.
pub(crate) fn scene(fault: Fault, target: usize, seed: u64, busy: bool, interval_secs: f64) -> Scene {
    let fault_at_secs = 22.0 + 0.137 * (seed % 7) as f64;
    Scene { fault, target, seed, busy, interval_secs, fault_at_secs, healed_at_secs: f64::INFINITY }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough for noise.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
}

/// Something that a service counts at some moment.
#[derive(Debug)]
struct Event {
    at: f64,
    service: usize,
    /// 0 for an answered request, else a call to the next service.
    call: bool,
    code: String,
    secs: f64,
}

#[derive(Debug, Default, Clone)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, secs: f64) {
        for (bound, count) in BUCKETS.iter().zip(&mut self.buckets) {
            *count += u64::from(secs <= *bound);
        }
        self.count += 1;
        self.sum += secs;
    }
}

/// What a process has counted since its start.
#[derive(Debug, Default, Clone)]
struct Process {
    started: f64,
    memory: f64,
    requests: BTreeMap<String, u64>,
    request_secs: Histogram,
    calls: BTreeMap<String, u64>,
    call_secs: Histogram,
}

pub(crate) struct Shop {
    scene: Scene,
    rng: Rng,
    events: Vec<Event>,
    processes: [Process; 4],
    /// Requests are simulated up to here.
    until: f64,
    changed: Vec<Change>,
    deployed: [bool; 3],
    series: BTreeMap<(usize, String, Labels), Arc<Series>>,
    pub(crate) up_first: bool,
}

pub(crate) fn at(secs: f64) -> Timestamp {
    Timestamp::from_nanos(EPOCH_MS * 1_000_000 + (secs * 1e9) as i64)
}

pub(crate) fn id(name: &str) -> EntityId {
    EntityId::new(name).unwrap()
}

pub(crate) fn topology() -> Topology {
    let entity = SERVICES.iter().map(|name| Entity::service(id(name))).collect();
    let dependency = SERVICES
        .windows(2)
        .map(|pair| Dependency {
            from: id(pair[0]),
            to: id(pair[1]),
            kind: "calls".to_owned(),
            strength: Probability::ONE,
            source: "configured".to_owned(),
        })
        .collect();
    Topology::new(TopologyDocument { entity, dependency }).unwrap()
}

impl Shop {
    pub(crate) fn open(scene: Scene) -> Self {
        let mut rng = Rng(scene.seed);
        let processes = std::array::from_fn(|n| Process {
            started: -10.0 - n as f64,
            memory: rng.between(6.0, 9.0) * MIB,
            ..Process::default()
        });
        Self {
            scene,
            rng,
            events: Vec::new(),
            processes,
            until: 0.0,
            changed: Vec::new(),
            deployed: [false; 3],
            series: BTreeMap::new(),
            up_first: false,
        }
    }

    fn faulty(&self, service: usize, now: f64, fault: Fault) -> bool {
        let during = self.scene.fault_at_secs <= now && now < self.scene.healed_at_secs;
        self.scene.fault == fault && self.scene.target == service && during
    }

    fn leaked(&self, service: usize, now: f64) -> f64 {
        if !self.faulty(service, now, Fault::Leak) {
            return 0.0;
        }
        (20.0 * (now - self.scene.fault_at_secs)).min(280.0) * MIB
    }

    /// Status and length of a request that reaches `service` at `now`; `None` when it is never answered.
    fn serve(&mut self, service: usize, now: f64) -> Option<(u16, f64)> {
        if self.faulty(service, now, Fault::Hang) {
            return None;
        }
        let mut secs = self.rng.between(0.004, 0.012) + self.noise(now);
        if self.faulty(service, now, Fault::Slow) {
            secs += self.rng.between(0.4, 0.6);
        }
        let memory = self.leaked(service, now) / MIB + 8.0;
        let spoiled = self.faulty(service, now, Fault::Errors) && self.rng.unit() < 0.4;
        let bad = self.faulty(service, now, Fault::BadDeploy) && self.rng.unit() < 0.5;
        if memory > 192.0 || spoiled || bad {
            self.answered(service, now + secs, 500, secs);
            return Some((500, secs));
        }
        secs += 0.3 * ((memory - 96.0).max(0.0) / 96.0);
        let status = if service == 3 { 200 } else { self.call(service, now, &mut secs) };
        self.answered(service, now + secs, status, secs);
        Some((status, secs))
    }

    fn call(&mut self, service: usize, now: f64, secs: &mut f64) -> u16 {
        let (began, patience) = (now + *secs, PATIENCE_SECS[service]);
        let (other, deployed_at) = self.scene.harmless();
        let closing = other == service + 1 && (0.0..0.04).contains(&(began - deployed_at));
        let (code, status, took) = if closing || self.faulty(service + 1, began, Fault::Crash) {
            ("refused".to_owned(), 502, 0.001)
        } else {
            match self.serve(service + 1, began) {
                Some((status, took)) if took <= patience => {
                    (status.to_string(), if status == 200 { 200 } else { 502 }, took)
                }
                _ => ("timeout".to_owned(), 504, patience),
            }
        };
        *secs += took;
        self.events.push(Event { at: now + *secs, service, call: true, code, secs: took });
        status
    }

    fn answered(&mut self, service: usize, at: f64, status: u16, secs: f64) {
        self.events.push(Event { at, service, call: false, code: status.to_string(), secs });
    }

    /// Moments in which the whole busy machine stands still: a third of a second, every ten seconds or so.
    fn stalled(&self, now: f64) -> bool {
        let slot = (now / 0.33).floor();
        self.scene.busy && Rng(self.scene.seed ^ (slot as u64) << 8).unit() < 0.03
    }

    /// What a machine without a free core adds: tens of milliseconds, sometimes many; and what a new process costs.
    fn noise(&mut self, now: f64) -> f64 {
        let since_deploy = now - self.scene.harmless().1;
        let starting = if (-0.3..0.3).contains(&since_deploy) { self.rng.between(0.0, 0.04) } else { 0.0 };
        let stall = if self.stalled(now) { self.rng.between(0.1, 0.3) } else { 0.0 };
        starting + stall + self.jitter()
    }

    fn jitter(&mut self) -> f64 {
        if !self.scene.busy {
            return self.rng.between(0.0, 0.002);
        }
        let spike = if self.rng.unit() < 0.01 { self.rng.between(0.05, 0.25) } else { 0.0 };
        -0.015 * (1.0 - self.rng.unit()).ln() + spike
    }

    fn replace(&mut self, service: usize, now: f64, kind: ChangeKind) {
        let memory = self.rng.between(5.0, 12.0) * MIB;
        self.processes[service] = Process { started: now, memory, ..Process::default() };
        self.changed.push(Change {
            entity: id(SERVICES[service]),
            at: at(now),
            kind,
            from: Some("1.0.0".to_owned()),
            to: Some("1.1.0".to_owned()),
            by: None,
        });
    }

    fn count_until(&mut self, now: f64) {
        while self.until < now {
            let began = self.until;
            self.until += 1.0 / RATE;
            if !self.faulty(0, began, Fault::Crash) {
                self.serve(0, began);
            }
        }
        self.events.sort_by(|a, b| a.at.total_cmp(&b.at));
        let due = self.events.partition_point(|event| event.at <= now);
        let due: Vec<Event> = self.events.drain(..due).collect();
        let (other, harmless_at) = self.scene.harmless();
        let target = self.scene.target;
        let deploys =
            [(0, other, harmless_at), (1, target, self.scene.fault_at_secs), (2, target, self.scene.healed_at_secs)];
        for event in due {
            for (n, service, when) in deploys {
                self.deploy_when_due(n, service, when, event.at);
            }
            let process = &mut self.processes[event.service];
            if event.call {
                *process.calls.entry(event.code).or_default() += 1;
                process.call_secs.observe(event.secs);
            } else {
                *process.requests.entry(event.code).or_default() += 1;
                process.request_secs.observe(event.secs);
            }
        }
        for (n, service, when) in deploys {
            self.deploy_when_due(n, service, when, now);
        }
    }

    fn deploy_when_due(&mut self, n: usize, service: usize, when: f64, now: f64) {
        let wanted = n != 1 || matches!(self.scene.fault, Fault::Slow | Fault::BadDeploy);
        if wanted && !self.deployed[n] && now >= when {
            self.deployed[n] = true;
            self.replace(service, when, if n == 2 { ChangeKind::Restart } else { ChangeKind::Deploy });
        }
    }

    /// One round of scrapes that begins at `now`.
    pub(crate) fn scrape(&mut self, now: f64) -> SignalBatch {
        let mut batch = SignalBatch::default();
        for service in 0..SERVICES.len() {
            let when = now + 0.003 * service as f64 + self.rng.between(0.0, 0.002);
            self.count_until(when);
            let gone = self.faulty(service, when, Fault::Crash) || self.faulty(service, when, Fault::Hang);
            let missed = self.scene.busy && (self.rng.unit() < 0.02 || self.stalled(when) && self.rng.unit() < 0.5);
            if gone || missed {
                self.sample(&mut batch, service, "up", MetricKind::Up, &[], when, 0.0);
                continue;
            }
            if self.up_first {
                self.sample(&mut batch, service, "up", MetricKind::Up, &[], when, 1.0);
            }
            self.page(&mut batch, service, when);
            if !self.up_first {
                self.sample(&mut batch, service, "up", MetricKind::Up, &[], when, 1.0);
            }
        }
        batch.changes = std::mem::take(&mut self.changed);
        batch
    }

    fn page(&mut self, batch: &mut SignalBatch, service: usize, when: f64) {
        let process = self.processes[service].clone();
        let memory = process.memory + self.leaked(service, when) + self.rng.between(0.0, 0.2) * MIB;
        let peer = SERVICES.get(service + 1).copied().unwrap_or("nobody");
        for (code, count) in &process.requests {
            let labels = [("route", "/r"), ("code", code)];
            self.sample(batch, service, "http_requests_total", MetricKind::Counter, &labels, when, *count as f64);
        }
        self.histogram(
            batch,
            service,
            "http_request_duration_seconds",
            &[("route", "/r")],
            when,
            &process.request_secs,
        );
        for (code, count) in &process.calls {
            let labels = [("peer", peer), ("code", code)];
            self.sample(batch, service, "downstream_requests_total", MetricKind::Counter, &labels, when, *count as f64);
        }
        if service < 3 {
            let name = "downstream_request_duration_seconds";
            self.histogram(batch, service, name, &[("peer", peer)], when, &process.call_secs);
        }
        self.sample(batch, service, "process_resident_memory_bytes", MetricKind::Gauge, &[], when, memory);
        let started = EPOCH_MS as f64 / 1000.0 + process.started;
        self.sample(batch, service, "process_start_time_seconds", MetricKind::Gauge, &[], when, started);
        self.sample(batch, service, "build_info", MetricKind::Gauge, &[("version", "1.0.0")], when, 1.0);
    }

    fn histogram(
        &mut self,
        batch: &mut SignalBatch,
        service: usize,
        name: &str,
        labels: &[(&str, &str)],
        when: f64,
        histogram: &Histogram,
    ) {
        for (bound, count) in BUCKETS.iter().zip(histogram.buckets) {
            let (metric, le) = (format!("{name}_bucket"), bound.to_string());
            let labels = [labels, &[("le", le.as_str())]].concat();
            self.sample(batch, service, &metric, MetricKind::Bucket, &labels, when, count as f64);
        }
        let labels_inf = [labels, &[("le", "+Inf")]].concat();
        let count = histogram.count as f64;
        self.sample(batch, service, &format!("{name}_bucket"), MetricKind::Bucket, &labels_inf, when, count);
        self.sample(batch, service, &format!("{name}_sum"), MetricKind::Counter, labels, when, histogram.sum);
        self.sample(batch, service, &format!("{name}_count"), MetricKind::Counter, labels, when, count);
    }

    #[expect(clippy::too_many_arguments, reason = "a sample has that many parts")]
    fn sample(
        &mut self,
        batch: &mut SignalBatch,
        service: usize,
        metric: &str,
        kind: MetricKind,
        labels: &[(&str, &str)],
        when: f64,
        value: f64,
    ) {
        let labels: Labels = labels.iter().copied().collect();
        let series = self.series.entry((service, metric.to_owned(), labels.clone())).or_insert_with(|| {
            let (entity, metric) = (id(SERVICES[service]), metric.to_owned());
            Arc::new(Series { entity, metric, kind, unit: String::new(), labels })
        });
        batch.metrics.push(MetricSample { series: Arc::clone(series), at: at(when), value });
    }
}
