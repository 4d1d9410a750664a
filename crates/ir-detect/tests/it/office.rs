//! A small office with its servers, in events: people at work, jobs at fixed times, agents that call home, and attacks.
//!
//! Six entities: two workstations, a web server, a database, a build server and a host that administrators come through. What is
//! normal is meant to be awkward: browsers that always find new hosts, people who try new tools, package updates that start programs
//! nobody has seen, agents as regular as a beacon, backups larger than any theft.

use ir_core::{Act, Activity, EntityId, EventKind, EventRecord, Labels, SignalBatch, Timestamp};

/// Everybody who sends events.
pub(crate) const ENTITIES: [&str; 6] = ["ws-anna", "ws-ben", "web", "db", "build", "jump"];
/// Seconds of a day.
pub(crate) const DAY: f64 = 86_400.0;

/// Something bad, on the last day of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// The web server starts a shell, which starts other things.
    WebShell,
    /// A service's account starts a tool it never started.
    ServiceAccount,
    /// A new program calls home every five minutes, a fifth earlier or later.
    Beacon,
    /// The same with half the time of jitter.
    LooseBeacon,
    /// An administrator's account logs in on many hosts within the hour.
    Lateral,
    /// A program connects to sixty hosts of the network.
    Scan,
    /// Two gigabytes leave the database for a new place.
    Theft,
    /// Two hundred megabytes leave a workstation through the browser.
    SmallTheft,
    /// The deployment's account does what deployments do not.
    StolenKey,
}

pub(crate) const ATTACKS: [Attack; 9] = [
    Attack::WebShell,
    Attack::ServiceAccount,
    Attack::Beacon,
    Attack::LooseBeacon,
    Attack::Lateral,
    Attack::Scan,
    Attack::Theft,
    Attack::SmallTheft,
    Attack::StolenKey,
];

impl Attack {
    /// The detector that is meant to see it.
    pub(crate) fn detector(self) -> &'static str {
        match self {
            Self::WebShell | Self::ServiceAccount => "rare_activity",
            Self::Beacon | Self::LooseBeacon => "beacon",
            Self::Lateral | Self::Scan => "fan_out",
            Self::Theft | Self::SmallTheft => "exfiltration",
            Self::StolenKey => "sequence",
        }
    }
}

#[derive(Debug)]
struct Rng(u64);

impl Rng {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// 0..n.
    fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n - 1)
    }

    /// 0..n, small ones more often (Zipf with exponent 1, about).
    fn zipf(&mut self, n: usize) -> usize {
        (((n as f64 + 1.0).powf(self.unit()) - 1.0) as usize).min(n - 1)
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Lognormal about a median; the second argument is the standard deviation of the logarithm.
    fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        let normal = (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        median * (sigma * normal).exp()
    }
}

/// The stream being written. Times are seconds from its beginning, a Monday at midnight.
#[derive(Debug)]
struct Office {
    rng: Rng,
    events: Vec<(f64, EventRecord)>,
}

/// `days` of an office, with an attack on the last day from eleven o'clock on.
pub(crate) fn stream(seed: u64, days: u32, attack: Option<Attack>) -> Vec<EventRecord> {
    let mut office = Office { rng: Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)), events: Vec::new() };
    for day in 0..days {
        let (midnight, weekend) = (f64::from(day) * DAY, day % 7 >= 5);
        for entity in ENTITIES {
            office.jobs(entity, midnight);
        }
        if !weekend {
            office.person("ws-anna", "anna", midnight);
            office.person("ws-ben", "ben", midnight);
            office.administrator(midnight);
            office.builds(midnight);
        }
        office.web(midnight);
        office.deployments(midnight, weekend);
        if day % 7 == 2 {
            office.updates(midnight + 3.5 * 3_600.0);
        }
    }
    if let Some(attack) = attack {
        // Nobody's other doings change because of the attack.
        office.rng = Rng(seed ^ 0xa77a_c4ed);
        office.attack(attack, attack_begins(days));
    }
    office.events.sort_by(|a, b| a.0.total_cmp(&b.0));
    office.events.into_iter().map(|(_, event)| event).collect()
}

/// When the attack of a stream begins, in seconds.
pub(crate) fn attack_begins(days: u32) -> f64 {
    f64::from(days - 1) * DAY + 11.0 * 3_600.0
}

/// In batches of so many events.
pub(crate) fn batches(events: &[EventRecord], size: usize) -> Vec<SignalBatch> {
    events.chunks(size).map(|part| SignalBatch { events: part.to_vec(), ..SignalBatch::default() }).collect()
}

impl Office {
    fn push(&mut self, at: f64, entity: &str, user: Option<&str>, program: Option<&str>, name: &str, act: Act) {
        let Ok(entity) = EntityId::new(entity) else { return };
        let kind =
            EventKind::Activity(Activity { user: user.map(str::to_owned), program: program.map(str::to_owned), act });
        let nanos = Timestamp::from_nanos(1_700_000_000_000_000_000 + (at * 1e9) as i64);
        let event = EventRecord { entity, at: nanos, name: name.to_owned(), kind, fields: Labels::new() };
        self.events.push((at, event));
    }

    fn start(&mut self, at: f64, entity: &str, user: &str, parent: &str, program: &str) {
        let act = Act::Started { parent: Some(parent.to_owned()), arguments: None };
        self.push(at, entity, Some(user), Some(program), "exec", act);
    }

    fn connect(&mut self, at: f64, entity: &str, user: &str, program: &str, to: &str, bytes: f64) {
        let act = Act::Connected { to: to.to_owned(), port: Some(443), bytes_out: Some(bytes as u64) };
        self.push(at, entity, Some(user), Some(program), "flow", act);
    }

    fn login(&mut self, at: f64, entity: &str, user: &str, from: &str) {
        let act = Act::LoggedIn { from: Some(from.to_owned()), succeeded: true };
        self.push(at, entity, Some(user), None, "login", act);
    }

    fn call(&mut self, at: f64, user: &str, action: &str) {
        let act = Act::Did { action: action.to_owned(), target: None, succeeded: true };
        self.push(at, "build", Some(user), None, "api", act);
    }

    /// Cron, the agent of monitoring, time servers, and the backup of the night.
    fn jobs(&mut self, entity: &str, midnight: f64) {
        let mut at = midnight;
        while at < midnight + DAY {
            self.start(at, entity, "root", "cron", "/usr/lib/sa1");
            at += 600.0;
        }
        let mut at = midnight + self.rng.between(0.0, 120.0);
        while at < midnight + DAY {
            let bytes = self.rng.lognormal(20_000.0, 0.2);
            self.connect(at, entity, "agent", "/usr/bin/agent", "metrics.corp", bytes);
            at += self.rng.between(118.0, 122.0);
        }
        let mut at = midnight + self.rng.between(0.0, 1_024.0);
        while at < midnight + DAY {
            let server = format!("{}.pool.ntp.org", self.rng.below(4));
            self.connect(at, entity, "ntp", "/usr/sbin/chronyd", &server, 90.0);
            at += 1_024.0 + self.rng.between(-4.0, 4.0);
        }
        let bytes = self.rng.lognormal(if entity == "db" { 2e10 } else { 3e8 }, 0.3);
        let at = midnight + 2.0 * 3_600.0 + self.rng.between(0.0, 900.0);
        self.start(at, entity, "backup", "cron", "/usr/bin/restic");
        self.connect(at + 1_200.0, entity, "backup", "/usr/bin/restic", "backup.corp", bytes);
    }

    /// Office hours: tools, a browser that always finds new hosts, mail, now and then something never started before.
    fn person(&mut self, entity: &str, user: &str, midnight: f64) {
        let (mut at, end) =
            (midnight + self.rng.between(7.5, 9.5) * 3_600.0, midnight + self.rng.between(16.0, 18.5) * 3_600.0);
        self.login(at, entity, user, "console");
        self.start(at + 5.0, entity, user, "session", "mail");
        self.start(at + 20.0, entity, user, "session", "browser");
        while at < end {
            at += self.rng.exponential(180.0);
            match self.rng.below(10) {
                0 => {
                    let program = match self.rng.unit() < 0.02 {
                        true => format!("tool-{}", self.rng.below(10_000)),
                        false => format!("office-{}", self.rng.zipf(25)),
                    };
                    self.start(at, entity, user, "session", &program);
                }
                1 => {
                    self.start(at, entity, user, "session", "terminal");
                    let mut then = at;
                    for _ in 0..1 + self.rng.below(8) {
                        then += self.rng.exponential(15.0);
                        let program = format!("cmd-{}", self.rng.zipf(60));
                        self.start(then, entity, user, "bash", &program);
                    }
                }
                2..5 => {
                    let bytes = self.rng.lognormal(30_000.0, 1.0);
                    self.connect(at, entity, user, "mail", "mail.corp", bytes);
                }
                _ => {
                    let host = format!("site-{}.example", self.rng.zipf(3_000));
                    let n = 1 + self.rng.below(4);
                    for k in 0..n {
                        let bytes = self.rng.lognormal(15_000.0, 1.8);
                        self.connect(at + k as f64 * 0.4, entity, user, "browser", &host, bytes);
                    }
                }
            }
        }
    }

    /// Logs in through the jump host on a few servers a day and looks around.
    fn administrator(&mut self, midnight: f64) {
        for _ in 0..2 + self.rng.below(4) {
            let at = midnight + self.rng.between(8.0, 18.0) * 3_600.0;
            self.login(at, "jump", "carl", "vpn");
            let host = ["web", "db", "build"][self.rng.below(3)];
            self.login(at + 30.0, host, "carl", "jump");
            let mut then = at + 40.0;
            for _ in 0..3 + self.rng.below(12) {
                then += self.rng.exponential(25.0);
                let program = format!("/usr/bin/admin-{}", self.rng.zipf(40));
                self.start(then, host, "carl", "bash", &program);
            }
        }
    }

    /// Builds start the same tools in about the same order and fetch packages.
    fn builds(&mut self, midnight: f64) {
        for _ in 0..10 + self.rng.below(15) {
            let mut at = midnight + self.rng.between(8.0, 19.0) * 3_600.0;
            self.start(at, "build", "ci", "runner", "git");
            for _ in 0..3 + self.rng.below(6) {
                at += self.rng.exponential(20.0);
                let bytes = self.rng.lognormal(4_000.0, 0.7);
                self.connect(at, "build", "ci", "cargo", "crates.example", bytes);
            }
            for program in ["cargo", "rustc", "ld", "tar"] {
                at += self.rng.exponential(30.0);
                self.start(at, "build", "ci", "runner", program);
            }
        }
    }

    /// The web server talks to the database, and sometimes converts a picture.
    fn web(&mut self, midnight: f64) {
        let mut at = midnight;
        while at < midnight + DAY {
            at += self.rng.exponential(240.0);
            let bytes = self.rng.lognormal(50_000.0, 1.0);
            self.connect(at, "web", "www-data", "/usr/sbin/app", "db.corp", bytes);
            if self.rng.unit() < 0.1 {
                self.start(at + 1.0, "web", "www-data", "/usr/sbin/app", "/usr/bin/convert");
            }
        }
    }

    /// Sessions of the deployment's account at the cloud's API.
    fn deployments(&mut self, midnight: f64, weekend: bool) {
        for _ in 0..if weekend { 2 } else { 10 + self.rng.below(8) } {
            let mut at = midnight + self.rng.between(8.0, 20.0) * 3_600.0;
            let mut actions = vec!["AssumeRole", "DescribeServices"];
            for _ in 0..1 + self.rng.below(4) {
                actions.extend(["GetImage", "PutImage"]);
            }
            actions.push("UpdateService");
            actions.extend(std::iter::repeat_n("DescribeServices", 1 + self.rng.below(6)));
            if self.rng.unit() < 0.1 {
                actions.push("RollbackService");
            }
            for action in actions {
                at += self.rng.exponential(4.0);
                self.call(at, "deploy", action);
            }
        }
    }

    /// Once a week packages are updated: programs nobody has seen, started by one that is known for it.
    fn updates(&mut self, at: f64) {
        for entity in ["web", "db", "build", "jump"] {
            let mut then = at + self.rng.between(0.0, 1_800.0);
            self.start(then, entity, "root", "cron", "/usr/bin/unattended");
            for _ in 0..5 + self.rng.below(15) {
                then += self.rng.exponential(5.0);
                let program = format!("/var/lib/dpkg/info/pkg{}.postinst", self.rng.below(100_000));
                self.start(then, entity, "root", "dpkg", &program);
            }
        }
    }

    fn attack(&mut self, attack: Attack, at: f64) {
        match attack {
            Attack::WebShell => {
                self.start(at, "web", "www-data", "/usr/sbin/app", "/bin/sh");
                for (n, program) in ["id", "uname", "curl", "chmod"].into_iter().enumerate() {
                    self.start(at + 10.0 + n as f64 * 7.0, "web", "www-data", "/bin/sh", program);
                }
            }
            Attack::ServiceAccount => {
                self.start(at, "db", "backup", "/usr/bin/restic", "/usr/bin/nc");
            }
            Attack::Beacon | Attack::LooseBeacon => {
                let jitter = if attack == Attack::Beacon { 0.2 } else { 0.5 };
                self.start(at, "ws-ben", "ben", "session", "updater");
                let mut then = at;
                while then < at + 10.0 * 3_600.0 {
                    let bytes = self.rng.lognormal(800.0, 0.3);
                    self.connect(then, "ws-ben", "ben", "updater", "cdn.evil.example", bytes);
                    then += 300.0 * self.rng.between(1.0 - jitter, 1.0 + jitter);
                }
            }
            Attack::Lateral => {
                self.login(at, "jump", "carl", "vpn");
                for n in 0..12 {
                    let then = at + 60.0 + f64::from(n) * self.rng.between(60.0, 200.0);
                    self.login(then, &format!("host-{n}"), "carl", "jump");
                }
            }
            Attack::Scan => {
                for n in 0..60 {
                    let then = at + f64::from(n) * 2.0;
                    self.connect(then, "web", "www-data", "/tmp/.x", &format!("10.0.3.{n}"), 60.0);
                }
            }
            Attack::Theft => {
                for n in 0..20 {
                    let then = at + f64::from(n) * 90.0;
                    self.connect(then, "db", "postgres", "/usr/bin/curl", "drop.evil.example", 1e8);
                }
            }
            Attack::SmallTheft => {
                for n in 0..4 {
                    let then = at + f64::from(n) * 120.0;
                    self.connect(then, "ws-anna", "anna", "browser", "paste.evil.example", 5e7);
                }
            }
            Attack::StolenKey => {
                let actions =
                    ["AssumeRole", "ListUsers", "ListBuckets", "GetObject", "GetObject", "GetObject", "CreateUser"];
                for (n, action) in actions.into_iter().enumerate() {
                    self.call(at + n as f64 * 6.0, "deploy", action);
                }
            }
        }
    }
}
