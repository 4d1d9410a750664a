//! A few services that call one another, request by request, and what a scrape of them shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use incident_response::core::topology::TopologyDocument;
use incident_response::core::{
    Change, ChangeKind, Dependency, Entity, EntityId, Labels, MetricKind, MetricSample, Probability, Series,
    SignalBatch, Timestamp, Topology,
};
use incident_response::detect::stats::Random;

use super::noise::{Remembering, between, chance, order_between};
use super::telling::{Call, Telling};

const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const MIB: f64 = 1024.0 * 1024.0;
/// Callers give up after this.
const PATIENCE_SECS: f64 = 2.0;
/// How long a process needs until its caches are warm.
const COLD_SECS: f64 = 20.0;

/// What happens in a world, and to which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The process is gone.
    Crash,
    /// It answers nothing any more.
    Hang,
    /// It fails a share of its requests.
    Errors,
    /// It takes several times as long.
    Slow,
    /// Its memory rises until nothing is left.
    Leak,
    /// A new version fails or is slow.
    BadDeploy,
    /// More users than it can serve.
    Overload,
    /// Up to three times as many users, within capacity.
    Surge,
    /// A new version that is well.
    GoodDeploy,
    /// The same version once more.
    Restart,
    /// Nothing is scraped for a while.
    ScrapeGap,
    /// Work at the side: processor, memory and queue of one service, a little latency.
    BatchJob,
    /// The working week ends.
    Weekend,
}

impl Event {
    /// What should become an incident.
    pub const FAULTS: [Self; 7] =
        [Self::Crash, Self::Hang, Self::Errors, Self::Slow, Self::Leak, Self::BadDeploy, Self::Overload];
    /// What should not.
    pub const HARMLESS: [Self; 6] =
        [Self::Surge, Self::GoodDeploy, Self::Restart, Self::ScrapeGap, Self::BatchJob, Self::Weekend];
}

/// What an event does to its target from its beginning on.
#[derive(Debug, Clone, Copy)]
struct Planned {
    event: Event,
    target: usize,
    at: f64,
    /// How bad: a share, a factor, or seconds, as the event needs; of a bad deploy seconds, or below 0 a share of errors.
    degree: f64,
}

#[derive(Debug)]
struct Service {
    id: EntityId,
    calls: Vec<(usize, f64)>,
    median_secs: f64,
    spread: f64,
    own_errors: f64,
    memory: f64,
    mood: Remembering,
    process: Process,
}

/// What a process has counted since its start.
#[derive(Debug, Default)]
struct Process {
    started: f64,
    requests: BTreeMap<&'static str, u64>,
    answered: Histogram,
    calls: BTreeMap<(usize, &'static str), u64>,
    called: BTreeMap<usize, Histogram>,
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

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Well,
    /// With this status.
    Code(&'static str),
    /// With no answer at all, and what the caller saw instead.
    Nothing(&'static str),
}

/// The world.
#[derive(Debug)]
pub struct World {
    random: Random,
    services: Vec<Service>,
    rate: f64,
    capacity: f64,
    planned: Planned,
    start: Timestamp,
    until: f64,
    series: BTreeMap<(usize, String, Labels), Arc<Series>>,
    restarted: bool,
    /// Lines and spans, where the world tells them.
    telling: Option<Telling>,
}

impl World {
    /// Three to nine services behind one gateway, with an event at `at_secs` after `start`.
    #[must_use]
    pub fn new(seed: u64, event: Event, at_secs: f64, start: Timestamp) -> Self {
        let mut random = Random::new(seed ^ ((event as u64 + 1) << 48));
        let n = 3 + (random.unit() * 7.0) as usize;
        let mut services: Vec<Service> = (0..n).map(|at| service(at, &mut random)).collect();
        for callee in 1..n {
            // Each is called by somebody before it, so the graph is a tree with some more edges, and all is behind the gateway.
            let caller = (random.unit() * callee as f64) as usize;
            let often = between(&mut random, 0.4, 1.0);
            services[caller].calls.push((callee, often));
            if callee > 1 && chance(&mut random, 0.2) {
                let other = (random.unit() * callee as f64) as usize;
                if other != caller {
                    services[other].calls.push((callee, between(&mut random, 0.1, 0.5)));
                }
            }
        }
        let target = (random.unit() * n as f64) as usize;
        let degree = match event {
            Event::Errors => between(&mut random, 0.1, 0.9),
            // Slower than this nobody minds.
            Event::Slow => order_between(&mut random, 0.2, 3.0),
            Event::BadDeploy if chance(&mut random, 0.5) => -between(&mut random, 0.1, 0.9),
            Event::BadDeploy => order_between(&mut random, 0.2, 3.0),
            Event::Leak => between(&mut random, 1.0, 4.0),
            Event::Overload => between(&mut random, 1.5, 4.0),
            Event::Surge => between(&mut random, 1.5, 3.0),
            Event::ScrapeGap => between(&mut random, 10.0, 60.0),
            Event::BatchJob => between(&mut random, 0.2, 0.6),
            Event::Weekend => between(&mut random, 0.3, 0.7),
            _ => 1.0,
        };
        let rate = order_between(&mut random, 5.0, 60.0);
        let planned = Planned { event, target, at: at_secs, degree };
        Self {
            random,
            services,
            rate,
            capacity: 3.5 * rate,
            planned,
            start,
            until: 0.0,
            series: BTreeMap::new(),
            restarted: false,
            telling: None,
        }
    }

    /// The same world, which also writes log lines and traces its requests.
    #[must_use]
    pub fn telling(self, seed: u64) -> Self {
        let telling = Some(Telling::new(seed, self.services.len()));
        Self { telling, ..self }
    }

    /// The service that the event hits.
    #[must_use]
    pub fn target(&self) -> &EntityId {
        &self.services[self.planned.target].id
    }

    /// Who calls whom.
    ///
    /// # Panics
    ///
    /// Never: the names are good and there are no circles.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let entity = self.services.iter().map(|service| Entity::service(service.id.clone())).collect();
        let edges = self.services.iter().flat_map(|from| from.calls.iter().map(move |(to, _)| (from, *to)));
        let dependency = edges.map(|(from, to)| Dependency {
            from: from.id.clone(),
            to: self.services[to].id.clone(),
            kind: "calls".to_owned(),
            strength: Probability::ONE,
            source: "configured".to_owned(),
        });
        #[expect(clippy::expect_used, reason = "names and edges are made above")]
        Topology::new(TopologyDocument { entity, dependency: dependency.collect() })
            .expect("a topology of known services")
    }

    /// All that a scrape at this time shows.
    pub fn scrape(&mut self, secs: f64) -> SignalBatch {
        let mut batch = SignalBatch::default();
        self.live(secs, &mut batch);
        let time = self.time(secs);
        for at in 0..self.services.len() {
            self.scrape_one(at, secs, time, &mut batch);
        }
        if let Some(telling) = &mut self.telling {
            (batch.logs, batch.spans) = telling.take();
        }
        batch
    }

    fn time(&self, secs: f64) -> Timestamp {
        self.start.plus(std::time::Duration::from_secs_f64(secs))
    }

    /// Seconds since the event began, once it did.
    fn since(&self, secs: f64) -> Option<f64> {
        Some(secs - self.planned.at).filter(|since| *since >= 0.0)
    }

    fn hit(&self, at: usize, secs: f64, event: Event) -> bool {
        self.planned.event == event && self.planned.target == at && self.since(secs).is_some()
    }

    /// Requests since the last scrape, and what was changed.
    fn live(&mut self, secs: f64, batch: &mut SignalBatch) {
        if !self.restarted && self.since(secs).is_some() {
            self.restarted = true;
            self.change(batch);
        }
        let mut now = self.until;
        loop {
            let rate = self.rate_at(now);
            now += -(1.0 - self.random.unit()).ln() / rate;
            if now >= secs {
                break;
            }
            let call = self.telling.as_mut().map(Telling::begins);
            self.request(0, now, 0.0, call);
        }
        self.tell_beside(secs);
        self.until = secs;
        // The mood of a service changes once a scrape.
        for service in &mut self.services {
            service.mood.next(&mut self.random);
        }
    }

    fn rate_at(&self, secs: f64) -> f64 {
        let Some(since) = self.since(secs) else { return self.rate };
        let factor = match self.planned.event {
            Event::Surge => 1.0 + (self.planned.degree - 1.0) * (since / 45.0).min(1.0),
            Event::Overload => 1.0 + (3.5 * self.planned.degree - 1.0) * (since / 20.0).min(1.0),
            Event::Weekend => 1.0 - (1.0 - self.planned.degree) * (since / 240.0).min(1.0),
            _ => 1.0,
        };
        self.rate * factor
    }

    fn change(&mut self, batch: &mut SignalBatch) {
        let Planned { event, target, at, .. } = self.planned;
        let kind = match event {
            Event::BadDeploy | Event::GoodDeploy => Some(ChangeKind::Deploy),
            Event::Restart => None,
            _ => return,
        };
        let time = self.time(at);
        let service = &mut self.services[target];
        service.process = Process { started: at, ..Process::default() };
        if let Some(telling) = &mut self.telling {
            telling.starts((target, &service.id), time, kind.is_some());
        }
        if let Some(kind) = kind {
            let entity = service.id.clone();
            let (from, to) = (Some("1".to_owned()), Some("2".to_owned()));
            batch.changes.push(Change { entity, at: time, kind, from, to, by: Some("ci".to_owned()) });
        }
    }

    /// What services write beside their requests since the last scrape.
    fn tell_beside(&mut self, secs: f64) {
        let since = self.time(self.until);
        for at in 0..self.services.len() {
            let away = self.hit(at, secs, Event::Crash) || self.hit(at, secs, Event::Hang);
            let job = self.hit(at, secs, Event::BatchJob);
            if let (Some(telling), false) = (&mut self.telling, away) {
                telling.beside((at, &self.services[at].id), since, secs - self.until, job);
            }
        }
    }

    /// One request to a service that began to work for its caller `late` seconds ago: how it ended, and how long it took.
    fn request(&mut self, at: usize, secs: f64, late: f64, call: Option<Call>) -> (Ended, f64) {
        if self.hit(at, secs, Event::Crash) {
            return (Ended::Nothing("connect"), 0.001);
        }
        if self.hit(at, secs, Event::Hang) {
            return (Ended::Nothing("timeout"), PATIENCE_SECS);
        }
        let mut took = self.own_time(at, secs);
        let share = self.own_errors(at, secs);
        let mut ended = if chance(&mut self.random, share) { Ended::Code("500") } else { Ended::Well };
        let own = ended != Ended::Well;
        if ended == Ended::Well {
            for (callee, often) in self.services[at].calls.clone() {
                if !chance(&mut self.random, often) {
                    continue;
                }
                let of_callee = self.telling.as_mut().zip(call).map(|(telling, call)| telling.calls(call));
                let (answer, mut secs_of_call) = self.request(callee, secs, late + took, of_callee);
                let code = match answer {
                    Ended::Well => "200",
                    Ended::Code(code) | Ended::Nothing(code) => code,
                };
                let code = if secs_of_call > PATIENCE_SECS { "timeout" } else { code };
                secs_of_call = secs_of_call.min(PATIENCE_SECS);
                took += secs_of_call;
                let process = &mut self.services[at].process;
                *process.calls.entry((callee, code)).or_default() += 1;
                process.called.entry(callee).or_default().observe(secs_of_call);
                if code != "200" {
                    let time = self.time(secs + late + took);
                    if let (Some(telling), Some(call)) = (&mut self.telling, call) {
                        telling.failed(&self.services[at].id, call, time, &self.services[callee].id, code);
                    }
                    ended = Ended::Code(if code == "timeout" { "504" } else { "502" });
                    break;
                }
            }
        }
        let process = &mut self.services[at].process;
        let code = match ended {
            Ended::Code(code) => code,
            _ => "200",
        };
        *process.requests.entry(code).or_default() += 1;
        process.answered.observe(took);
        let time = self.time(secs + late);
        if let (Some(telling), Some(call)) = (&mut self.telling, call) {
            telling.answered((at, &self.services[at].id), call, time, took, code, own);
        }
        (ended, took)
    }

    /// Seconds that the service itself needs.
    fn own_time(&mut self, at: usize, secs: f64) -> f64 {
        let noise = self.random.normal();
        let service = &self.services[at];
        let mut factor = (service.spread * noise).exp();
        if secs - service.process.started < COLD_SECS && service.process.started > 0.0 {
            factor *= 1.3;
        }
        if let (Some(since), true) = (self.since(secs), self.planned.target == at) {
            factor *= match self.planned.event {
                Event::Slow | Event::BadDeploy => 1.0 + self.planned.degree.max(0.0) / service.median_secs,
                Event::BatchJob => 1.0 + 0.3 * self.planned.degree,
                // What swaps is slow.
                Event::Leak if since > 120.0 => 1.0 + (since - 120.0) / 20.0,
                _ => 1.0,
            };
        }
        // Queues in front of the first that is short of room.
        let load = self.rate_at(secs) / self.capacity;
        if at == 0 && load > 1.0 {
            factor *= 1.0 + 6.0 * (load - 1.0);
        }
        service.median_secs * factor * (1.0 + 0.2 * load)
    }

    fn own_errors(&self, at: usize, secs: f64) -> f64 {
        let mut share = self.services[at].own_errors;
        if self.hit(at, secs, Event::Errors) {
            share = self.planned.degree;
        }
        if self.hit(at, secs, Event::BadDeploy) {
            share = share.max(-self.planned.degree);
        }
        let load = self.rate_at(secs) / self.capacity;
        if at == 0 && load > 1.0 { share.max(1.0 - load.recip()) } else { share }
    }

    fn scrape_one(&mut self, at: usize, secs: f64, time: Timestamp, batch: &mut SignalBatch) {
        let since = self.since(secs);
        let target = self.planned.target == at;
        let gap = self.planned.event == Event::ScrapeGap
            && since.is_some_and(|since| since < self.planned.degree)
            && (target || self.planned.degree > 35.0);
        if gap {
            return;
        }
        let just_restarted = matches!(self.planned.event, Event::Restart | Event::GoodDeploy | Event::BadDeploy)
            && target
            && since.is_some_and(|since| since < 2.0);
        let up = !(self.hit(at, secs, Event::Crash) || self.hit(at, secs, Event::Hang) || just_restarted);
        if up {
            self.values(at, secs, time, batch);
        }
        let series = self.series(at, "up", MetricKind::Up, Labels::new());
        batch.metrics.push(MetricSample { series, at: time, value: f64::from(u8::from(up)) });
    }

    fn values(&mut self, at: usize, secs: f64, time: Timestamp, batch: &mut SignalBatch) {
        let since = self.since(secs).filter(|_| self.planned.target == at);
        let extra = match (self.planned.event, since) {
            (Event::Leak, Some(since)) => self.planned.degree * since / 60.0,
            (Event::BatchJob, Some(since)) => self.planned.degree * (since / 60.0).min(1.0),
            _ => 0.0,
        };
        let (noise, load) = (self.random.normal(), self.rate_at(secs) / self.rate);
        let service = &self.services[at];

        let mood = service.mood.value();
        let memory = service.memory * (1.0 + 0.02 * mood + 0.003 * noise + 0.03 * load + extra);
        let job =
            if self.planned.event == Event::BatchJob && since.is_some() { 40.0 * self.planned.degree } else { 0.0 };
        let cpu = (4.0 + 8.0 * load + job + 1.5 * self.random.normal()).clamp(0.0, 100.0);
        let queue = (2.0 * load + 2.0 * job + 1.5 * self.random.normal()).max(0.0).round();
        let started = self.start.as_nanos() as f64 / 1e9 + self.services[at].process.started;
        let mut found: Vec<(String, MetricKind, Labels, f64)> = vec![
            ("process_resident_memory_bytes".to_owned(), MetricKind::Gauge, Labels::new(), memory.floor()),
            ("process_start_time_seconds".to_owned(), MetricKind::Gauge, Labels::new(), started),
            ("cpu_percent".to_owned(), MetricKind::Gauge, Labels::new(), cpu),
            ("queue_length".to_owned(), MetricKind::Gauge, Labels::new(), queue),
        ];
        let process = &self.services[at].process;
        let label = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Labels>();
        for (code, count) in &process.requests {
            found.push((
                "http_requests_total".to_owned(),
                MetricKind::Counter,
                label(&[("code", code)]),
                *count as f64,
            ));
        }
        histogram("http_request_duration_seconds", &[], &process.answered, &mut found);
        for ((callee, code), count) in &process.calls {
            let peer = self.services[*callee].id.as_str();
            let labels = label(&[("peer", peer), ("code", code)]);
            found.push(("downstream_requests_total".to_owned(), MetricKind::Counter, labels, *count as f64));
        }
        for (callee, called) in &process.called {
            let peer = self.services[*callee].id.as_str();
            histogram("downstream_request_duration_seconds", &[("peer", peer)], called, &mut found);
        }
        for (name, kind, labels, value) in found {
            let series = self.series(at, &name, kind, labels);
            batch.metrics.push(MetricSample { series, at: time, value });
        }
    }

    fn series(&mut self, at: usize, name: &str, kind: MetricKind, labels: Labels) -> Arc<Series> {
        let entity = &self.services[at].id;
        let made = || {
            let (metric, unit) = (name.to_owned(), String::new());
            Arc::new(Series { entity: entity.clone(), metric, kind, unit, labels: labels.clone() })
        };
        Arc::clone(self.series.entry((at, name.to_owned(), labels.clone())).or_insert_with(made))
    }
}

fn service(at: usize, random: &mut Random) -> Service {
    Service {
        id: EntityId::literal(
            ["gateway", "orders", "inventory", "ledger", "users", "search", "mail", "rates", "images", "stock"][at],
        ),
        calls: Vec::new(),
        median_secs: order_between(random, 0.001, 0.03),
        spread: between(random, 0.1, 0.5),
        own_errors: if chance(random, 0.5) { 0.0 } else { between(random, 0.0, 0.004) },
        memory: order_between(random, 40.0, 2000.0) * MIB,
        mood: Remembering::new(random, 120.0, 5.0),
        process: Process::default(),
    }
}

fn histogram(name: &str, with: &[(&str, &str)], of: &Histogram, found: &mut Vec<(String, MetricKind, Labels, f64)>) {
    let labels = |more: Option<String>| {
        let mut labels: Labels = with.iter().copied().collect();
        if let Some(le) = more {
            labels.insert("le", le);
        }
        labels
    };
    for (bound, count) in BUCKETS.iter().zip(of.buckets) {
        found.push((format!("{name}_bucket"), MetricKind::Bucket, labels(Some(bound.to_string())), count as f64));
    }
    found.push((format!("{name}_bucket"), MetricKind::Bucket, labels(Some("+Inf".to_owned())), of.count as f64));
    found.push((format!("{name}_sum"), MetricKind::Counter, labels(None), of.sum));
    found.push((format!("{name}_count"), MetricKind::Counter, labels(None), of.count as f64));
}
