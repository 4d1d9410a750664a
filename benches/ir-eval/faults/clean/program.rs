//! The programs that write made-up lines: statements with a level, a place in the code and words, the steps of requests, and what a
//! deploy does to them.

use super::chance::Chance;

/// Services by number.
pub(super) const SERVICES: [&str; 8] = ["gateway", "orders", "catalog", "payment", "stock", "mail", "search", "users"];
const WORDS: [&str; 40] = [
    "order", "basket", "account", "voucher", "ledger", "shelf", "parcel", "invoice", "session", "token", "price",
    "quote", "refund", "cache", "index", "shard", "queue", "worker", "tenant", "profile", "lookup", "found", "stored",
    "loaded", "sent", "received", "checked", "accepted", "updated", "written", "for", "from", "into", "with", "by",
    "of", "after", "under", "beside", "within",
];
/// Classes of one service; each is a file.
const CLASSES: usize = 4;

/// One statement of a program: `#` stands for a number, `~` for an id.
#[derive(Clone)]
pub(super) struct Statement {
    pub(super) level: usize,
    pub(super) class: &'static str,
    pub(super) line: usize,
    pub(super) text: String,
}

impl Statement {
    pub(super) fn new(chance: &mut Chance, level: usize) -> Self {
        let mut words: Vec<&str> = (0..4 + chance.below(5)).map(|_| WORDS[chance.below(WORDS.len())]).collect();
        for variable in ["#", "~"] {
            if chance.happens(0.7) {
                words.insert(1 + chance.below(words.len()), variable);
            }
        }
        Self { level, class: WORDS[chance.below(CLASSES)], line: chance.below(400) + 20, text: words.join(" ") }
    }

    fn ending(chance: &mut Chance, level: usize, end: &str) -> Self {
        let statement = Self::new(chance, level);
        Self { text: statement.text + end, ..statement }
    }

    pub(super) fn fill(&self, chance: &mut Chance) -> String {
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

/// A service, beside the steps of requests.
pub(super) struct Service {
    pub(super) name: String,
    /// Until when it is away, and until when it answers seconds too late.
    pub(super) away_until: f64,
    pub(super) stalls_until: f64,
    /// Until when an older instance still answers every other request.
    pub(super) mixed_until: f64,
    pub(super) rare: Vec<(Statement, f64)>,
    pub(super) jobs: Vec<(f64, usize, Statement)>,
    pub(super) startup: Vec<(Statement, usize)>,
    pub(super) failure: Statement,
    /// Written when another service is away: half of services say so, the other half only that something went wrong.
    pub(super) unavailable: Statement,
    pub(super) retry: Statement,
    pub(super) rejected: Statement,
}

impl Service {
    pub(super) fn new(number: usize, chance: &mut Chance) -> Self {
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
        let gone = if number % 4 < 2 { " no instances available" } else { " failed" };
        Self {
            name: SERVICES[number].to_owned(),
            away_until: 0.0,
            stalls_until: 0.0,
            mixed_until: 0.0,
            rare,
            jobs,
            startup,
            failure: Statement::ending(chance, 2, " failed with org.shop.IllegalStateException: no #"),
            unavailable: Statement::ending(chance, 2, gone),
            retry: Statement::ending(chance, 1, " failed, attempt # follows"),
            rejected: Statement::ending(chance, 2, " rejected: invalid #"),
        }
    }
}

/// A step of a request: who says what, and how often.
pub(super) struct Step {
    pub(super) service: usize,
    pub(super) statement: Statement,
    /// What the program before the last deploy says here.
    pub(super) before: Option<Statement>,
    pub(super) probability: f64,
    /// Only requests of this branch come here.
    pub(super) branch: Option<usize>,
    /// It is done once for each of up to so many things: pages, lines of an order.
    pub(super) most: usize,
}

/// Branches of a kind of request.
pub(super) const BRANCHES: usize = 3;

/// A kind of request.
pub(super) struct Kind {
    pub(super) a_second: f64,
    pub(super) steps: Vec<Step>,
    /// How much of the requests each branch has; wanders.
    pub(super) weights: [f64; BRANCHES],
}

impl Kind {
    pub(super) fn new(chance: &mut Chance) -> Self {
        let mut steps = Vec::new();
        let mut path = vec![0];
        for _ in 0..2 + chance.below(3) {
            path.push(1 + chance.below(SERVICES.len() - 1));
        }
        for service in path {
            for _ in 0..1 + chance.below(3) {
                steps.push(Step::new(chance, service));
            }
        }
        Self { a_second: 0.1 + 2.0 * chance.unit() * chance.unit(), steps, weights: [0.6, 0.3, 0.1] }
    }

    /// Some statements of the service have other words from here on, there are more of them, few are gone, and what stands below them
    /// in its files has other line numbers.
    pub(super) fn deploy(&mut self, service: usize, chance: &mut Chance) {
        for step in self.steps.iter_mut().filter(|step| step.service == service) {
            step.before = Some(step.statement.clone());
        }
        let mut at = 0;
        while at < self.steps.len() {
            if self.steps[at].service == service {
                if chance.happens(0.2) {
                    let level = self.steps[at].statement.level;
                    self.steps[at].statement = Statement::new(chance, level);
                }
                if chance.happens(0.1) {
                    let level = usize::from(chance.happens(0.2));
                    let added = Step {
                        statement: Statement::new(chance, level),
                        probability: chance.unit(),
                        ..Step::new(chance, service)
                    };
                    self.steps.insert(at + 1, added);
                    at += 1;
                }
            }
            at += 1;
        }
        let (class, line, by) = (WORDS[chance.below(CLASSES)], chance.below(400), 1 + chance.below(9));
        for step in self.steps.iter_mut().filter(|step| step.service == service) {
            if step.statement.class == class && step.statement.line > line {
                step.statement.line += by;
            }
        }
    }
}

impl Step {
    fn new(chance: &mut Chance, service: usize) -> Self {
        let level = usize::from(chance.happens(0.1));
        let probability = if chance.happens(0.6) { 1.0 } else { chance.unit() };
        let branch = chance.happens(0.15).then(|| chance.below(BRANCHES));
        let most = if chance.happens(0.15) { 2 + chance.below(6) } else { 1 };
        Self { service, statement: Statement::new(chance, level), before: None, probability, branch, most }
    }
}
