//! Made-up log streams without faults: requests through several services with seasons and noise, branches, loops and retries, jobs,
//! restarts, stalls, deploys that change statements, campaigns, clients that ask for what cannot be done, rare lines, single failures
//! with stack traces, and gaps of the collection.

mod chance;
mod program;

use super::data::Line;
use chance::Chance;
use program::{BRANCHES, Kind, SERVICES, Service, Statement};

/// 2024-01-08 00:00:00 UTC.
pub(super) const START_NS: i64 = 1_704_672_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
/// Kinds of request.
const KINDS: usize = 7;
/// One season, peak to peak. Days are shortened so that an hour has some of it.
const SEASON_SECS: f64 = 4.0 * 3600.0;
const LEVELS: [&str; 3] = ["INFO", "WARN", "ERROR"];

struct World {
    chance: Chance,
    services: Vec<Service>,
    kinds: Vec<Kind>,
    /// Logarithm of the load beside the season: wanders.
    load: f64,
    /// A kind that has three times its usual load, until when.
    campaign: (usize, f64),
    /// A kind most of whose requests cannot be done, until when, and by which service they are refused.
    nonsense: (usize, f64, usize),
    /// A service that others must ask several times, until when.
    flaky: (usize, f64),
    pending: Vec<Line>,
}

/// Gives the lines of each second in their order to `sink`.
pub(super) fn each_second(
    seed: u64,
    hours: f64,
    mut sink: impl FnMut(&[Line]) -> Result<(), String>,
) -> Result<(), String> {
    let mut world = World::new(seed);
    let mut gap_until = 0.0;
    for second in 0..(hours * 3600.0) as i64 {
        let lines = world.second(second as f64);
        if world.chance.happens(1.0 / 10_800.0) {
            gap_until = second as f64 + 30.0 + 270.0 * world.chance.unit();
        }
        // What is written while the collection is away is lost.
        if second as f64 >= gap_until {
            sink(&lines)?;
        }
    }
    Ok(())
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let services = (0..SERVICES.len()).map(|number| Service::new(number, &mut chance)).collect();
        let kinds = (0..KINDS).map(|_| Kind::new(&mut chance)).collect();
        let (load, campaign, nonsense, flaky, pending) = (0.0, (0, 0.0), (0, 0.0, 0), (0, 0.0), Vec::new());
        Self { chance, services, kinds, load, campaign, nonsense, flaky, pending }
    }

    /// The lines of one second, in order.
    fn second(&mut self, now: f64) -> Vec<Line> {
        self.weather(now);
        let season = 1.0 + 0.6 * (now / SEASON_SECS * std::f64::consts::TAU).sin();
        for kind in 0..self.kinds.len() {
            let more = if self.campaign.0 == kind && now < self.campaign.1 { 3.0 } else { 1.0 };
            let mean = self.kinds[kind].a_second * season * self.load.exp() * more;
            for _ in 0..self.chance.count(mean) {
                self.request(kind, now);
            }
        }
        for service in 0..self.services.len() {
            self.alone(service, now);
        }
        let end = START_NS + (now as i64 + 1) * SECOND;
        self.pending.sort_by_key(|line| line.ns);
        let rest = self.pending.split_off(self.pending.partition_point(|line| line.ns < end));
        std::mem::replace(&mut self.pending, rest)
    }

    /// What comes over the services from outside.
    fn weather(&mut self, now: f64) {
        let Self { chance, kinds, services, .. } = self;
        self.load = 0.999 * self.load + 0.01 * chance.normal();
        for kind in kinds.iter_mut() {
            for weight in &mut kind.weights {
                *weight = (*weight * (0.01 * chance.normal()).exp()).clamp(0.02, 2.0);
            }
        }
        if chance.happens(1.0 / 18_000.0) {
            self.campaign = (chance.below(KINDS), now + 600.0);
        }
        if chance.happens(1.0 / 7_200.0) {
            let kind = chance.below(KINDS);
            let steps = &kinds[kind].steps;
            self.nonsense = (kind, now + chance.between(3.0, 15.0), steps[chance.below(steps.len())].service);
        }
        if chance.happens(1.0 / 7_200.0) {
            self.flaky = (1 + chance.below(SERVICES.len() - 1), now + chance.between(5.0, 60.0));
        }
        if chance.happens(1.0 / 3_600.0) {
            services[chance.below(SERVICES.len())].stalls_until = now + chance.between(1.0, 8.0);
        }
    }

    fn request(&mut self, kind: usize, now: f64) {
        let trace = format!("{:016x}{:016x}", self.chance.next(), self.chance.next());
        let branch = self.branch(kind);
        let mut at = now + self.chance.unit();
        let nonsense = self.nonsense.0 == kind && now < self.nonsense.1 && self.chance.happens(0.8);
        let mut asked = usize::MAX;
        for step in 0..self.kinds[kind].steps.len() {
            let of = &self.kinds[kind].steps[step];
            let service = of.service;
            at += 0.002 + 0.02 * self.chance.unit() * self.chance.unit();
            let caller = self.kinds[kind].steps[..step].iter().rev().map(|s| s.service).find(|s| *s != service);
            if now < self.services[service].away_until {
                // Whoever called says so, and the request ends.
                if let Some(caller) = caller {
                    let statement = self.services[caller].unavailable.clone();
                    self.write(caller, &statement, at, &trace, "");
                }
                return;
            }
            if now < self.services[service].stalls_until {
                at += self.services[service].stalls_until - now;
            }
            if asked != service {
                asked = service;
                let fails = if self.flaky.0 == service && now < self.flaky.1 { 0.6 } else { 0.003 };
                let mut tries = 0;
                while let Some(caller) = caller.filter(|_| tries < 3) {
                    if !self.chance.happens(fails) {
                        break;
                    }
                    let statement = self.services[caller].retry.clone();
                    self.write(caller, &statement, at, &trace, "");
                    at += 0.1;
                    tries += 1;
                }
            }
            if (nonsense && self.nonsense.2 == service) || self.chance.happens(0.0005) {
                let statement = self.services[service].rejected.clone();
                self.write(service, &statement, at, &trace, "");
                return;
            }
            if self.chance.happens(0.0003) {
                let statement = self.services[service].failure.clone();
                let depth = 3 + self.chance.below(12);
                let frames: String =
                    (0..depth).map(|n| format!("\n\tat org.shop.Frame{n}.call(Frame.java:{})", n * 7)).collect();
                self.write(service, &statement, at, &trace, &frames);
                return;
            }
            let of = &self.kinds[kind].steps[step];
            let (probability, most) = (of.probability, of.most);
            let old = now < self.services[service].mixed_until && trace.as_bytes()[0] % 2 == 0;
            let statement = of.before.as_ref().filter(|_| old).unwrap_or(&of.statement).clone();
            let comes = of.branch.is_none_or(|only| only == branch) && self.chance.happens(probability);
            let times = if comes { 1 + self.chance.below(most) } else { 0 };
            for _ in 0..times {
                self.write(service, &statement, at, &trace, "");
                at += 0.003;
            }
        }
    }

    fn branch(&mut self, kind: usize) -> usize {
        let weights = self.kinds[kind].weights;
        let mut left = self.chance.unit() * weights.iter().sum::<f64>();
        for (branch, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return branch;
            }
        }
        BRANCHES - 1
    }

    /// What a service does without being asked.
    fn alone(&mut self, service: usize, now: f64) {
        if now < self.services[service].away_until {
            return;
        }
        for rare in 0..self.services[service].rare.len() {
            let a_second = self.services[service].rare[rare].1;
            if self.chance.happens(a_second) {
                let statement = self.services[service].rare[rare].0.clone();
                self.write(service, &statement, now + 0.5, "", "");
            }
        }
        for job in 0..self.services[service].jobs.len() {
            let (every, n, statement) = self.services[service].jobs[job].clone();
            if now > 0.0 && (now % every) < 1.0 {
                for line in 0..n + self.chance.below(n) {
                    self.write(service, &statement, now + 0.03 * line as f64, "", "");
                }
            }
        }
        if self.chance.happens(1.0 / 21_600.0) {
            let back = now + self.chance.between(5.0, 40.0);
            if self.chance.happens(0.6) {
                let Self { chance, kinds, services, .. } = self;
                kinds.iter_mut().for_each(|kind| kind.deploy(service, chance));
                services[service].mixed_until = back + chance.between(0.0, 25.0);
            }
            self.services[service].away_until = back;
            for (statement, times) in self.services[service].startup.clone() {
                for _ in 0..times {
                    let at = back + 3.0 * self.chance.unit();
                    self.write(service, &statement, at, "", "");
                }
            }
        }
    }

    fn write(&mut self, service: usize, statement: &Statement, at: f64, trace: &str, more: &str) {
        let message = statement.fill(&mut self.chance);
        // Lines of one service in one trace are of one span.
        let span = trace.get(..14).map_or("0", |trace| trace);
        let ns = START_NS + (at * 1e9) as i64;
        let second = at as i64;
        let clock = format!("{:02}:{:02}:{:02}", second / 3600 % 24, second / 60 % 60, second % 60);
        let Statement { level, class, line, .. } = statement;
        let level = LEVELS[*level];
        // Four forms of line: classic frameworks, logfmt with and without the place in the code, and daemons that know neither
        // level nor trace.
        let text = match service % 3 {
            0 => format!(
                "{clock}.{:03} {level} o.s.{class}#{line} TraceID: {trace} SpanID: {span}{service:02} {message}{more}",
                ns / 1_000_000 % 1000
            ),
            1 => {
                let caller = if service > 3 { format!(" caller={class}.go:{line}") } else { String::new() };
                let level = level.to_lowercase();
                format!("time=2024-01-08T{clock}Z level={level}{caller} trace_id={trace} msg=\"{message}{more}\"")
            }
            _ => format!("Jan  8 {clock} host-{service} {class}[{}]: {message}{more}", 1000 + service),
        };
        self.pending.push(Line { ns, service: self.services[service].name.clone(), text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(seed: u64) -> Vec<String> {
        let mut all = Vec::new();
        each_second(seed, 0.1, |lines| {
            all.extend(lines.iter().map(|line| format!("{} {} {}", line.ns, line.service, line.text)));
            Ok(())
        })
        .unwrap();
        all
    }

    #[test]
    fn a_seed_says_it_all_and_lines_come_in_order() {
        let one = lines(1);
        assert!(one.len() > 1000, "{}", one.len());
        assert_eq!(one, lines(1));
        assert_ne!(one, lines(2));
        assert!(one.is_sorted_by_key(|line| line.split(' ').next().unwrap().parse::<i64>().unwrap()));
    }
}
