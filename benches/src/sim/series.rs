//! Single series, clean or with one fault.

use incident_response::detect::stats::Random;

use super::noise::{DAY, HOUR, MINUTE, Remembering, Traffic, between, chance, order_between};

/// Series begin in the week after this, a Monday.
const MONDAY_SECS: f64 = 1_704_067_200.0;

/// What a series measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Bytes that a process holds.
    Memory,
    /// Bytes used of a disk.
    Disk,
    /// Open files or connections.
    Handles,
    /// Requests a second.
    Traffic,
    /// Seconds to answer.
    Latency,
    /// Percent of the processors' time.
    Cpu,
    /// Length of a queue.
    Queue,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Memory, Self::Disk, Self::Handles, Self::Traffic, Self::Latency, Self::Cpu, Self::Queue];
    /// Those that end somewhere.
    pub const RESOURCES: [Self; 3] = [Self::Memory, Self::Disk, Self::Handles];

    /// A word for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Handles => "handles",
            Self::Traffic => "traffic",
            Self::Latency => "latency",
            Self::Cpu => "cpu",
            Self::Queue => "queue",
        }
    }
}

/// A series.
#[derive(Debug, Clone)]
pub struct Series {
    /// What it measures.
    pub measure: Measure,
    /// When it begins, in seconds since the epoch.
    pub start_secs: f64,
    /// Seconds between values.
    pub interval_secs: f64,
    /// The values; NaN where none came.
    pub values: Vec<f64>,
    /// At which values a new process begins.
    pub restarts: Vec<usize>,
    /// Where the resource ends.
    pub limit: Option<f64>,
    /// The leak planted in it.
    pub leak: Option<Leak>,
}

/// A planted leak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leak {
    /// The value at which it begins.
    pub at: usize,
    /// The value at which the series first reaches the limit.
    pub exhausted: usize,
}

impl Series {
    /// The time of a value, in seconds since the epoch.
    #[must_use]
    pub fn secs(&self, at: usize) -> f64 {
        self.start_secs + at as f64 * self.interval_secs
    }

    fn empty(measure: Measure, random: &mut Random, interval_secs: f64, values: usize) -> Self {
        let start_secs = MONDAY_SECS + (between(random, 0.0, 7.0) * DAY / MINUTE).floor() * MINUTE;
        let values = Vec::with_capacity(values);
        Self { measure, start_secs, interval_secs, values, restarts: Vec::new(), limit: None, leak: None }
    }
}

/// A clean series.
#[must_use]
pub fn clean(measure: Measure, seed: u64, interval_secs: f64, days: f64) -> Series {
    let mut random = Random::new(seed ^ ((measure as u64 + 1) << 40));
    let values = (days * DAY / interval_secs) as usize;
    let mut series = Series::empty(measure, &mut random, interval_secs, values);
    match measure {
        Measure::Memory | Measure::Handles => process(&mut series, &mut random, values, None),
        Measure::Disk => disk(&mut series, &mut random, values, None),
        Measure::Traffic => traffic(&mut series, &mut random, values),
        Measure::Latency => latency(&mut series, &mut random, values),
        Measure::Cpu => cpu(&mut series, &mut random, values),
        Measure::Queue => queue(&mut series, &mut random, values),
    }
    series
}

/// A resource that begins to leak after `warm_days` and is exhausted after 6 hours to 10 days. It ends there.
#[must_use]
pub fn leaking(measure: Measure, seed: u64, interval_secs: f64, warm_days: f64) -> Series {
    let mut random = Random::new(seed ^ ((measure as u64 + 101) << 40));
    let lasts = order_between(&mut random, 6.0 * HOUR, 10.0 * DAY);
    let begins = ((warm_days + between(&mut random, 0.0, 1.0)) * DAY / interval_secs) as usize;
    let plan = Plan { begins, lasts, with_work: between(&mut random, 0.0, 1.0) };
    // It may take longer than planned, since work has its hours and weekends.
    let values = begins + (4.0 * lasts / interval_secs) as usize;
    let mut series = Series::empty(measure, &mut random, interval_secs, values);
    match measure {
        Measure::Disk => disk(&mut series, &mut random, values, Some(plan)),
        _ => process(&mut series, &mut random, values, Some(plan)),
    }
    let limit = series.limit.unwrap_or(f64::INFINITY);
    if let Some(after) = series.values.get(begins..).and_then(|rest| rest.iter().position(|value| *value >= limit)) {
        series.leak = Some(Leak { at: begins, exhausted: begins + after });
        series.values.truncate(begins + after + 1);
    }
    series
}

/// How a leak is meant to go.
#[derive(Debug, Clone, Copy)]
struct Plan {
    begins: usize,
    lasts: f64,
    /// 0: it leaks by the clock. 1: it leaks with the work that is done.
    with_work: f64,
}

impl Plan {
    /// The share of the room that leaks in one step.
    fn step(&self, at: usize, interval_secs: f64, traffic: f64) -> f64 {
        if at < self.begins {
            return 0.0;
        }
        (1.0 + self.with_work * (traffic - 1.0)) * interval_secs / self.lasts
    }
}

/// Memory or handles of a process: a base, work in progress by the traffic, caches that fill after a start, a collector's teeth,
/// noise, starts every few days.
fn process(series: &mut Series, random: &mut Random, values: usize, plan: Option<Plan>) {
    let interval = series.interval_secs;
    let handles = series.measure == Measure::Handles;
    let base = if handles { order_between(random, 50.0, 20_000.0) } else { order_between(random, 3e7, 8e9) };
    let work = base * between(random, 0.0, 0.3);
    let traffic = Traffic::draw(random);
    let cache = base * if chance(random, 0.6) { between(random, 0.02, 0.4) } else { 0.0 };
    let cache_tau = order_between(random, 10.0 * MINUTE, 8.0 * HOUR);
    let teeth = if !handles && chance(random, 0.4) { base * between(random, 0.02, 0.2) } else { 0.0 };
    let period = order_between(random, 3.0 * MINUTE, 3.0 * HOUR);
    let tau = order_between(random, 2.0 * MINUTE, 3.0 * HOUR);
    let mut slow = Remembering::new(random, tau, interval);
    let (slow_by, fast_by) = (base * between(random, 0.001, 0.03), base * between(random, 0.0005, 0.01));
    let usual_top = base + cache + work * 2.0 + teeth;
    let limit = usual_top * between(random, 1.3, 3.0);
    let room = limit - (base + cache + work);
    let restart_every = between(random, 2.0, 12.0) * DAY;
    let (mut started, mut next_start) = (
        series.start_secs - between(random, 0.0, 10.0) * DAY,
        series.start_secs + between(random, 0.5, 1.0) * restart_every,
    );
    let mut leaked = 0.0;
    for at in 0..values {
        let secs = series.secs(at);
        // Nobody deploys during the leak: it would heal it.
        if secs >= next_start && plan.is_none_or(|plan| at < plan.begins) {
            series.restarts.push(at);
            (started, next_start) = (secs, secs + between(random, 0.5, 1.5) * restart_every);
        }
        let busy = traffic.at(secs);
        leaked += plan.map_or(0.0, |plan| room * plan.step(at, interval, busy));
        let filled = cache * (1.0 - (-(secs - started) / cache_tau).exp());
        let tooth = teeth * ((secs - started) / period).fract();
        let value =
            base + filled + work * busy + tooth + leaked + slow_by * slow.next(random) + fast_by * random.normal();
        series.values.push(if handles { value.max(0.0).round() } else { value.max(0.0).floor() });
    }
    series.limit = Some(limit);
}

/// Bytes used of a disk: what is there, logs that fill through the day and are rotated at night, files that come and go.
fn disk(series: &mut Series, random: &mut Random, values: usize, plan: Option<Plan>) {
    let interval = series.interval_secs;
    let limit = order_between(random, 1e10, 4e12);
    let base = limit * between(random, 0.15, 0.6);
    let logs = limit * if chance(random, 0.6) { between(random, 0.005, 0.08) } else { 0.0 };
    let rotated_at = between(random, 0.0, DAY);
    let traffic = Traffic::draw(random);
    let (tau, by) = (order_between(random, 10.0 * MINUTE, 12.0 * HOUR), limit * order_between(random, 0.0002, 0.01));
    let mut files = Remembering::new(random, tau, interval);
    let room = limit - base - logs;
    // Disks grow a little all the time; within a year they are full.
    let grows = limit * between(random, 0.0, 0.2) / (365.0 * DAY);
    let (mut leaked, mut written) = (0.0, 0.0);
    for at in 0..values {
        let secs = series.secs(at);
        let busy = traffic.at(secs);
        if (secs - rotated_at).rem_euclid(DAY) < interval {
            written = 0.0;
        }
        written += logs * busy * interval / DAY;
        leaked += plan.map_or(0.0, |plan| room * plan.step(at, interval, busy));
        let grown = grows * (at as f64 * interval);
        let value = base + grown + written + leaked + by * files.next(random);
        series.values.push(value.clamp(0.0, 2.0 * limit).floor());
    }
    series.limit = Some(limit);
}

fn traffic(series: &mut Series, random: &mut Random, values: usize) {
    let (mean, traffic) = (order_between(random, 0.5, 5000.0), Traffic::draw(random));
    let tau = order_between(random, 5.0 * MINUTE, 6.0 * HOUR);
    let mut mood = Remembering::new(random, tau, series.interval_secs);
    let by = between(random, 0.02, 0.15);
    for at in 0..values {
        let secs = series.secs(at);
        let rate = mean * traffic.at(secs) * (by * mood.next(random)).exp();
        // What came in an interval is a count.
        let expected = rate * series.interval_secs;
        series.values.push((expected + expected.sqrt() * random.normal()).max(0.0).round() / series.interval_secs);
    }
}

fn latency(series: &mut Series, random: &mut Random, values: usize) {
    let (median, spread) = (order_between(random, 0.002, 1.0), between(random, 0.03, 0.25));
    let (traffic, queues) = (Traffic::draw(random), between(random, 0.0, 0.4));
    let tau = order_between(random, 2.0 * MINUTE, HOUR);
    let mut mood = Remembering::new(random, tau, series.interval_secs);
    let wild = between(random, 0.0, 0.01);
    for at in 0..values {
        let secs = series.secs(at);
        let slow = if chance(random, wild) { order_between(random, 1.2, 4.0) } else { 1.0 };
        let noise = spread * (0.6 * mood.next(random) + 0.8 * random.normal());
        series.values.push(median * (1.0 + queues * traffic.at(secs)) * noise.exp() * slow);
    }
}

fn cpu(series: &mut Series, random: &mut Random, values: usize) {
    let (idle, busy) = (between(random, 1.0, 20.0), between(random, 5.0, 50.0));
    let (traffic, noise) = (Traffic::draw(random), between(random, 0.3, 4.0));
    let tau = order_between(random, 2.0 * MINUTE, 2.0 * HOUR);
    let mut mood = Remembering::new(random, tau, series.interval_secs);
    // A job at a fixed minute of some hours, as cron has them.
    let (every, minutes, job) =
        (f64::from(1 << (random.bits() % 5)) * HOUR, between(random, 1.0, 20.0), between(random, 0.0, 40.0));
    for at in 0..values {
        let secs = series.secs(at);
        let cron = if secs.rem_euclid(every) < minutes * MINUTE { job } else { 0.0 };
        let value = idle + busy * traffic.at(secs) + cron + noise * (0.7 * mood.next(random) + 0.7 * random.normal());
        series.values.push(value.clamp(0.0, 100.0));
    }
}

fn queue(series: &mut Series, random: &mut Random, values: usize) {
    // Jobs come in bunches and are worked off.
    let (bunches, size, worked) =
        (order_between(random, 0.005, 0.5), order_between(random, 2.0, 200.0), order_between(random, 0.1, 5.0));
    let traffic = Traffic::draw(random);
    let mut length = 0.0_f64;
    for at in 0..values {
        let secs = series.secs(at);
        let minutes = series.interval_secs / MINUTE;
        if chance(random, (bunches * traffic.at(secs) * minutes).min(1.0)) {
            length += size * -(1.0 - random.unit()).ln();
        }
        length = (length - size * bunches * (1.0 + worked) * minutes).max(0.0);
        series.values.push(length.round());
    }
}
