//! Made-up log streams without faults: requests through several services with seasons and noise, jobs, restarts, deploys that change
//! statements, campaigns, rare lines, single failures with stack traces, and gaps of the collection.

use super::data::Line;

/// 2024-01-08 00:00:00 UTC.
pub(super) const START_NS: i64 = 1_704_672_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
const SERVICES: [&str; 8] = ["gateway", "orders", "catalog", "payment", "stock", "mail", "search", "users"];
/// Kinds of request.
const KINDS: usize = 7;
/// One season, peak to peak. Days are shortened so that an hour has some of it.
const SEASON_SECS: f64 = 4.0 * 3600.0;
const WORDS: [&str; 40] = [
    "order", "basket", "account", "voucher", "ledger", "shelf", "parcel", "invoice", "session", "token", "price",
    "quote", "refund", "cache", "index", "shard", "queue", "worker", "tenant", "profile", "lookup", "found", "stored",
    "loaded", "sent", "received", "checked", "accepted", "updated", "written", "for", "from", "into", "with", "by",
    "of", "after", "under", "beside", "within",
];
const LEVELS: [&str; 3] = ["INFO", "WARN", "ERROR"];

/// A small generator of chance: xorshift64*, the same on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A standard normal value, nearly: twelve uniform ones.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// A Poisson count, by Knuth's product for small means and the normal law for large ones.
    fn count(&mut self, mean: f64) -> usize {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).max(0.0) as usize;
        }
        let (mut n, mut product, limit) = (0, self.unit(), (-mean).exp());
        while product > limit {
            n += 1;
            product *= self.unit();
        }
        n
    }
}

/// One statement of a program: `#` stands for a number, `~` for an id.
#[derive(Clone)]
struct Statement {
    level: usize,
    class: String,
    text: String,
}

impl Statement {
    fn new(chance: &mut Chance, level: usize) -> Self {
        let mut words: Vec<&str> = (0..4 + chance.below(5)).map(|_| WORDS[chance.below(WORDS.len())]).collect();
        for variable in ["#", "~"] {
            if chance.happens(0.7) {
                words.insert(1 + chance.below(words.len()), variable);
            }
        }
        let class = format!("{}{}", WORDS[chance.below(30)], chance.below(400) + 20);
        Self { level, class, text: words.join(" ") }
    }

    fn fill(&self, chance: &mut Chance) -> String {
        let mut text = String::with_capacity(self.text.len() + 32);
        for c in self.text.chars() {
            match c {
                '#' => text.push_str(&chance.below(100_000).to_string()),
                '~' => text.push_str(&format!("{:016x}", chance.next() | 1)),
                c => text.push(c),
            }
        }
        text
    }
}

struct Service {
    name: String,
    /// Seconds during which it is away.
    away_until: f64,
    rare: Vec<(Statement, f64)>,
    jobs: Vec<(f64, usize, Statement)>,
    startup: Vec<(Statement, usize)>,
    failure: Statement,
    unavailable: Statement,
}

/// A step of a request: who says what, and how often.
struct Step {
    service: usize,
    statement: Statement,
    probability: f64,
}

struct Kind {
    a_second: f64,
    steps: Vec<Step>,
}

struct World {
    chance: Chance,
    services: Vec<Service>,
    kinds: Vec<Kind>,
    /// Logarithm of the load beside the season: wanders.
    load: f64,
    /// A kind that has three times its usual load, until when.
    campaign: (usize, f64),
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
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..16 {
            chance.next();
        }
        let services = SERVICES.iter().map(|name| Service::new(name, &mut chance)).collect();
        let kinds = (0..KINDS).map(|_| Kind::new(&mut chance)).collect();
        Self { chance, services, kinds, load: 0.0, campaign: (0, 0.0), pending: Vec::new() }
    }

    /// The lines of one second, in order.
    fn second(&mut self, now: f64) -> Vec<Line> {
        self.load = 0.999 * self.load + 0.01 * self.chance.normal();
        let season = 1.0 + 0.6 * (now / SEASON_SECS * std::f64::consts::TAU).sin();
        if self.chance.happens(1.0 / 18_000.0) {
            self.campaign = (self.chance.below(KINDS), now + 600.0);
        }
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

    fn request(&mut self, kind: usize, now: f64) {
        let trace = format!("{:016x}{:016x}", self.chance.next(), self.chance.next());
        let mut at = now + self.chance.unit();
        for step in 0..self.kinds[kind].steps.len() {
            let Step { service, statement, probability } = &self.kinds[kind].steps[step];
            let (service, statement, probability) = (*service, statement.clone(), *probability);
            at += 0.002 + 0.02 * self.chance.unit() * self.chance.unit();
            if now < self.services[service].away_until {
                // Whoever called says so, and the request ends.
                let caller = self.kinds[kind].steps[..step].iter().rev().map(|s| s.service).find(|s| *s != service);
                if let Some(caller) = caller {
                    let statement = self.services[caller].unavailable.clone();
                    self.write(caller, &statement, at, &trace, "");
                }
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
            if self.chance.happens(probability) {
                self.write(service, &statement, at, &trace, "");
            }
        }
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
            if self.chance.happens(0.6) {
                self.deploy(service);
            }
            let back = now + 5.0 + 35.0 * self.chance.unit();
            self.services[service].away_until = back;
            for (statement, times) in self.services[service].startup.clone() {
                for _ in 0..times {
                    let at = back + 3.0 * self.chance.unit();
                    self.write(service, &statement, at, "", "");
                }
            }
        }
    }

    /// Some statements of the service have other words from here on, and there are more of them.
    fn deploy(&mut self, service: usize) {
        let Self { chance, kinds, .. } = self;
        for kind in kinds {
            let mut at = 0;
            while at < kind.steps.len() {
                if kind.steps[at].service == service {
                    if chance.happens(0.2) {
                        let level = kind.steps[at].statement.level;
                        kind.steps[at].statement = Statement::new(chance, level);
                    }
                    if chance.happens(0.1) {
                        let level = usize::from(chance.happens(0.2));
                        let probability = chance.unit();
                        kind.steps
                            .insert(at + 1, Step { service, statement: Statement::new(chance, level), probability });
                        at += 1;
                    }
                }
                at += 1;
            }
        }
    }

    fn write(&mut self, service: usize, statement: &Statement, at: f64, trace: &str, more: &str) {
        let message = statement.fill(&mut self.chance);
        let span = self.chance.next();
        let ns = START_NS + (at * 1e9) as i64;
        let second = at as i64;
        let clock = format!("{:02}:{:02}:{:02}", second / 3600 % 24, second / 60 % 60, second % 60);
        let (level, class) = (LEVELS[statement.level], &statement.class);
        // Three forms of line: classic frameworks, logfmt, and daemons that know neither level nor trace.
        let text = match service % 3 {
            0 => format!(
                "{clock}.{:03} {level} {class} TraceID: {trace} SpanID: {span:016x} {message}{more}",
                ns / 1_000_000 % 1000
            ),
            1 => format!(
                "time=2024-01-08T{clock}Z level={} trace_id={trace} msg=\"{message}{more}\"",
                level.to_lowercase()
            ),
            _ => format!("Jan  8 {clock} host-{} {class}[{}]: {message}{more}", service, 1000 + service),
        };
        self.pending.push(Line { ns, service: self.services[service].name.clone(), text });
    }
}

impl Service {
    fn new(name: &str, chance: &mut Chance) -> Self {
        let level = |chance: &mut Chance| match chance.unit() {
            unit if unit < 0.7 => 0,
            unit if unit < 0.9 => 1,
            _ => 2,
        };
        let rare = (0..10)
            .map(|_| {
                let level = level(chance);
                (Statement::new(chance, level), 1.0 / (3600.0 * (1.0 + 30.0 * chance.unit())))
            })
            .collect();
        let jobs = [60.0, 600.0, 3600.0].map(|every| (every, 3 + chance.below(30), Statement::new(chance, 0))).into();
        let startup =
            (0..12).map(|n| (Statement::new(chance, usize::from(n == 5)), if n == 7 { 25 } else { 1 })).collect();
        let mut failure = Statement::new(chance, 2);
        failure.text.push_str(" failed with org.shop.IllegalStateException: no #");
        let mut unavailable = Statement::new(chance, 2);
        unavailable.text.push_str(" no instances available");
        Self { name: name.to_owned(), away_until: 0.0, rare, jobs, startup, failure, unavailable }
    }
}

impl Kind {
    fn new(chance: &mut Chance) -> Self {
        let mut steps = Vec::new();
        let mut path = vec![0];
        for _ in 0..2 + chance.below(3) {
            path.push(1 + chance.below(SERVICES.len() - 1));
        }
        for service in path {
            for _ in 0..1 + chance.below(3) {
                let level = usize::from(chance.happens(0.1));
                let probability = if chance.happens(0.6) { 1.0 } else { chance.unit() };
                steps.push(Step { service, statement: Statement::new(chance, level), probability });
            }
        }
        Self { a_second: 0.1 + 2.0 * chance.unit() * chance.unit(), steps }
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
