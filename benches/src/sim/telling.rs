//! What the services of a world write and trace beside their metrics: lines and spans of each request, failures in words, what a start
//! and a job say, rare lines of every level, and other words after a deploy.

use incident_response::core::signal::{LogLevel, LogRecord};
use incident_response::core::{EntityId, Labels, Span, Timestamp};
use incident_response::detect::stats::Random;

use super::noise::{between, chance, order_between};

/// Rare statements of one service.
const RARE: usize = 8;
/// Steps of a start, with the level of each.
const START: [(LogLevel, &str); 6] = [
    (LogLevel::Info, "starting version"),
    (LogLevel::Info, "read the configuration of"),
    (LogLevel::Warn, "no cache on disk, starting cold for"),
    (LogLevel::Info, "connected to the store of"),
    (LogLevel::Info, "registered"),
    (LogLevel::Info, "ready to serve"),
];

/// Which request a service works for.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The trace.
    pub trace: u64,
    /// The span of the work itself.
    pub span: u64,
    /// The span of the caller, if any.
    pub parent: Option<u64>,
}

/// The lines and spans of a world since the last scrape.
#[derive(Debug)]
pub struct Telling {
    /// Its own chance, so that what the world does is the same without it.
    random: Random,
    rare: Vec<Vec<(LogLevel, f64)>>,
    /// How many programs each service has had.
    versions: Vec<u32>,
    logs: Vec<LogRecord>,
    spans: Vec<Span>,
}

impl Telling {
    /// Of so many services.
    #[must_use]
    pub fn new(seed: u64, n_services: usize) -> Self {
        let mut random = Random::new(seed ^ 0x7e11);
        let level = |random: &mut Random| match random.unit() {
            unit if unit < 0.6 => LogLevel::Info,
            unit if unit < 0.85 => LogLevel::Warn,
            _ => LogLevel::Error,
        };
        let mut rare = |_| {
            let one = |_| (level(&mut random), 1.0 / order_between(&mut random, 300.0, 36_000.0));
            (0..RARE).map(one).collect::<Vec<_>>()
        };
        let rare = (0..n_services).map(&mut rare).collect();
        Self { random, rare, versions: vec![1; n_services], logs: Vec::new(), spans: Vec::new() }
    }

    /// A request from outside.
    pub fn begins(&mut self) -> Call {
        Call { trace: self.random.bits(), span: self.random.bits(), parent: None }
    }

    /// The call of another service on behalf of a request.
    pub fn calls(&mut self, of: Call) -> Call {
        Call { span: self.random.bits(), parent: Some(of.span), ..of }
    }

    /// What was told since the last time, in order.
    pub fn take(&mut self) -> (Vec<LogRecord>, Vec<Span>) {
        let (mut logs, mut spans) = (std::mem::take(&mut self.logs), std::mem::take(&mut self.spans));
        logs.sort_by_key(|record| record.at);
        spans.sort_by_key(|span| span.at.plus(std::time::Duration::from_nanos(span.duration_ns)));
        (logs, spans)
    }

    /// A service has answered a request.
    pub fn answered(
        &mut self,
        (at, id): (usize, &EntityId),
        call: Call,
        time: Timestamp,
        secs: f64,
        code: &str,
        own: bool,
    ) {
        let n = self.random.bits() % 10_000;
        let took = std::time::Duration::from_secs_f64(secs);
        let what = if self.versions[at].is_multiple_of(2) { "took the order of" } else { "accepted the request of" };
        self.line(id, time, LogLevel::Info, call, format!("{what} customer {n}"));
        let over = time.plus(took);
        if own {
            self.line(id, over, LogLevel::Error, call, format!("cannot store the entry of customer {n}: it is locked"));
        }
        self.line(id, over, LogLevel::Info, call, format!("answered {code} in {} ms", took.as_millis()));
        self.spans.push(Span {
            entity: id.clone(),
            trace_id: format!("{:032x}", call.trace),
            span_id: format!("{:016x}", call.span),
            parent_id: call.parent.map(|parent| format!("{parent:016x}")),
            operation: "GET /orders".to_owned(),
            at: time,
            duration_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            error: code.starts_with('5'),
        });
    }

    /// A call of another service failed.
    pub fn failed(&mut self, id: &EntityId, call: Call, time: Timestamp, peer: &EntityId, code: &str) {
        let how = match code {
            "connect" => "connection refused".to_owned(),
            "timeout" => "timed out after 2000 ms".to_owned(),
            code => format!("it answered {code}"),
        };
        self.line(id, time, LogLevel::Error, call, format!("call of {peer} failed: {how}"));
    }

    /// A process begins, of a new program where `is_new`.
    pub fn starts(&mut self, (at, id): (usize, &EntityId), time: Timestamp, is_new: bool) {
        self.versions[at] += u32::from(is_new);
        for (n, (level, what)) in START.iter().enumerate() {
            let time = time.plus(std::time::Duration::from_millis(300 * n as u64));
            self.push(id, time, *level, format!("{what} {id} {}", self.versions[at]));
        }
    }

    /// What is written beside requests between two times, with the pages of a job where one runs.
    pub fn beside(&mut self, (at, id): (usize, &EntityId), since: Timestamp, secs: f64, job: bool) {
        for n in 0..RARE {
            let (level, a_second) = self.rare[at][n];
            if chance(&mut self.random, a_second * secs) {
                let time = since.plus(std::time::Duration::from_secs_f64(between(&mut self.random, 0.0, secs)));
                let name = ["parcel", "voucher", "ledger", "token", "session", "mirror", "quota", "index"][n];
                let number = self.random.bits() % 1000;
                self.push(id, time, level, format!("left out a malformed {name} of partner {number}"));
            }
        }
        let pages = if job { (secs * 4.0) as u64 } else { 0 };
        for page in 0..pages {
            let time = since.plus(std::time::Duration::from_millis(page * 250));
            self.push(id, time, LogLevel::Info, format!("page {page} of the index is built anew"));
        }
    }

    fn line(&mut self, id: &EntityId, at: Timestamp, level: LogLevel, call: Call, what: String) {
        self.push(id, at, level, format!("trace_id={:016x} span_id={:016x} {what}", call.trace, call.span));
    }

    fn push(&mut self, id: &EntityId, at: Timestamp, level: LogLevel, message: String) {
        self.logs.push(LogRecord { entity: id.clone(), at, level: Some(level), message, fields: Labels::new() });
    }
}
