//! Log templates: a settled stream in lines a second, beside the crates `logdrain` and `drain3` with masks.
//!
//! Lines are generated: short statements of daemons, and long ones of services as in a cluster. Where `IR_LOG_CORPUS` names a
//! file of lines, it is read as a third corpus.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use incident_response::detect::logs::{MinerConfig, TemplateMiner};

const LINES: usize = 20_000;

/// Short statements; `#` is a number, `@` an address, `~` a longer id.
const SHORT: &[&str] = &[
    "session opened for user backup by (uid=#)",
    "Accepted publickey for deploy from @ port # ssh2",
    "authentication failure; logname= uid=# euid=# tty=ssh ruser= rhost=@  user=root",
    "Received block blk_~ of size # from /@",
    "Receiving block blk_~ src: /@:# dest: /@:#",
    "worker # of pool ingest finished batch # in # ms",
    "cache miss for key tenant:#:profile, asking @:#",
    "[client @] directory index forbidden by rule: /srv/www/site#/",
    "total of # memory error(s) detected and corrected on rank #, symbol #",
    "lease # renewed for container_~_# by node-#",
    "link error on broadcast tree interconnect-#:#:#",
    "connection from @ () at Mon Jun # #:#:# 2024",
];

/// Long statements of services, with ids of traces and records in them.
const LONG: &[&str] = &[
    "INFO o.s.OrderServiceImpl#68 TraceID: ~~ SpanID: ~ [getOrders][Order][seats from date: 2024-02-# #:#:#, train: D#, stations: \
     [alpha#, beta#, gamma#, delta#], account: Account(id=~, documentType=#, documentNum=~, email=a#@example.org), price=#.#, \
     contacts: [Contact(id=~, name=c#), Contact(id=~, name=c#), Contact(id=~, name=c#)], left tickets are enough for now]",
    "WARN r.c.RouteController#53 TraceID: ~~ SpanID: ~ [getRouteById][Query route by id][RouteIds: [~~, ~~, ~~, ~~, ~~], the \
     answer took # ms and had # stations, # of them cached since #:#:#, the slowest came from @:# after # tries]",
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn line(&mut self, statements: &[&str]) -> String {
        let statement = statements[(self.next() % statements.len() as u64) as usize];
        let mut line = String::with_capacity(statement.len() * 2);
        for c in statement.chars() {
            match c {
                '#' => line.push_str(&(self.next() % 10_000).to_string()),
                '@' => line.push_str(&format!("10.{}.{}.{}", self.next() % 256, self.next() % 256, self.next() % 256)),
                '~' => line.push_str(&format!("{:016x}", self.next() | 1)),
                c => line.push(c),
            }
        }
        line
    }
}

fn corpora() -> Vec<(&'static str, Vec<String>)> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut corpora = vec![
        ("short", (0..LINES).map(|_| random.line(SHORT)).collect::<Vec<String>>()),
        ("long", (0..LINES / 5).map(|_| random.line(LONG)).collect()),
    ];
    if let Ok(path) = std::env::var("IR_LOG_CORPUS") {
        let text = std::fs::read(path).unwrap();
        corpora.push(("file", String::from_utf8_lossy(&text).lines().take(LINES).map(str::to_owned).collect()));
    }
    corpora
}

/// The masks every rival is given: ids, addresses, hexadecimal and other numbers.
const MASKS: [(&str, &str); 3] =
    [(r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", "<IP>"), (r"\b[0-9a-f]{16,}\b", "<HEX>"), (r"\b\d+\b", "<NUM>")];

fn settled(c: &mut Criterion) {
    for (name, lines) in corpora() {
        let mut group = c.benchmark_group(format!("logs/{name}"));
        group.throughput(Throughput::Elements(lines.len() as u64));
        group.sample_size(10);

        let mut miner = TemplateMiner::new(MinerConfig::default()).unwrap();
        let stream = miner.stream("bench");
        let mut pass = || lines.iter().fold(0, |sum, line| sum ^ miner.observe(stream, line.as_bytes()).id.0);
        pass();
        group.bench_function("this", |b| b.iter(&mut pass));

        let masks = MASKS.map(|(pattern, name)| logdrain::Mask::new(pattern, name).unwrap());
        let rival = logdrain::Miner::builder().masks(masks).build().unwrap();
        let pass = || {
            for line in &lines {
                std::hint::black_box(rival.add(line));
            }
        };
        pass();
        group.bench_function("logdrain", |b| b.iter(pass));

        let masking =
            MASKS.map(|(pattern, mask)| drain3::MaskingInstruction { pattern: pattern.into(), mask: mask.into() });
        let mut rival = drain3::Matcher::new(drain3::Config::builder().masking(masking.into()).build());
        let mut pass = || {
            for line in &lines {
                let _ = std::hint::black_box(rival.add_log_message(line));
            }
        };
        pass();
        group.bench_function("drain3", |b| b.iter(&mut pass));
        group.finish();
    }
}

criterion_group!(benches, settled);
criterion_main!(benches);
