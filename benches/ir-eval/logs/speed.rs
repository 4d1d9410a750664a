//! How fast a file of lines is read, from the first line on, as `drain3_baseline.py speed` measures its rival; and how much is held
//! under a flood of lines, streams and traces that nobody has seen before.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use incident_response::core::signal::LogRecord;
use incident_response::core::{Ctx, Detector, EntityId, Labels, ManualClock, SignalBatch, Timestamp};
use incident_response::detect::logs::{LogTemplates, LogTemplatesConfig, MinerConfig, TemplateMiner};

use super::now;
use crate::wait::ready;

/// Times a file is read, each by a new miner; the quickest counts.
const RUNS: usize = 5;
/// Lines of a flood between two looks at the memory.
const LOOK: u64 = 100_000;
/// Streams and entities of a flood, before names repeat: far more than are watched.
const NAMES: u64 = 10_000_000;

/// Lines a second of processor time.
pub(super) fn speed(file: &str) -> Result<(), String> {
    let path = Path::new(file);
    let text = std::fs::read(path).map_err(|why| format!("{}: {why}", path.display()))?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let (mut best, mut templates) = (f64::INFINITY, 0);
    for _ in 0..RUNS {
        let mut miner = TemplateMiner::new(MinerConfig::default()).map_err(|why| why.to_string())?;
        let stream = miner.stream("speed");
        let before = processor();
        for line in &lines {
            std::hint::black_box(miner.observe(stream, line));
        }
        best = best.min((processor().saturating_sub(before)).as_secs_f64().max(1e-9));
        templates = miner.n_templates();
    }
    let n = lines.len();
    println!("this lines {n} cpu_s {best:.3} lines/s {:.0} templates {templates}", n as f64 / best);
    Ok(())
}

/// The greatest memory under so many lines, each of them new, of streams that are new as well.
pub(super) fn flood(lines: &str) -> Result<(), String> {
    let n: u64 = lines.parse().map_err(|_| format!("`--flood {lines}` is not a number"))?;
    let start = now();
    let mut miner = TemplateMiner::new(MinerConfig::default()).map_err(|why| why.to_string())?;
    let (mut seed, mut reckoned, mut resident) = (1, 0, 0);
    for i in 0..n {
        let stream = if i % 4 == 0 { miner.stream(&format!("s{}", i % NAMES)) } else { miner.stream("one") };
        miner.observe(stream, words(&mut seed).as_bytes());
        if i % LOOK == 0 {
            (reckoned, resident) = (reckoned.max(miner.bytes()), resident.max(held()));
        }
    }
    let secs = start.elapsed().as_secs_f64();
    println!(
        "miner: {n} unique lines, a quarter of them of unique streams: at most {:.0} MiB reckoned, {:.0} MiB resident; {:.0} lines/s",
        reckoned as f64 / 1048576.0,
        resident as f64 / 1048576.0,
        n as f64 / secs
    );
    drop(miner);

    let start = now();
    let detector = LogTemplates::new(LogTemplatesConfig::default()).map_err(|why| why.to_string())?;
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let (mut found, mut resident) = (0, 0);
    let mut batch = SignalBatch::default();
    for i in 0..n {
        let name = if i % 4 == 0 { format!("e{}", i % NAMES) } else { "one".to_owned() };
        let entity = EntityId::new(name).map_err(|why| why.to_string())?;
        let text = words(&mut seed);
        let message = format!("ERROR Class#{} trace_id={seed:016x} {text}", i % 1000);
        let at = Timestamp::default().plus(Duration::from_micros(1_000_000_000_000 + i * 100));
        batch.logs.push(LogRecord { entity, at, level: None, message, fields: Labels::new() });
        if batch.logs.len() == 1000 {
            found += ready(detector.detect(&ctx, &batch)).map_err(|why| why.to_string())?.len();
            batch.logs.clear();
        }
        if i % LOOK == 0 {
            resident = resident.max(held());
        }
    }
    println!(
        "detector: {n} unique lines of errors with unique traces, a quarter of them of unique entities: at most {:.0} MiB resident; \
         {:.0} lines/s, {found} reports",
        resident as f64 / 1048576.0,
        n as f64 / start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Four random words without digits.
fn words(seed: &mut u64) -> String {
    let mut line = String::with_capacity(40);
    for _ in 0..4 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        let mut rest = *seed;
        for _ in 0..8 {
            line.push(char::from(b'g' + (rest % 20) as u8));
            rest /= 20;
        }
        line.push(' ');
    }
    line
}

/// Processor time of this thread where the kernel tells it, else the time that passed.
fn processor() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split_whitespace().next()?.parse().ok());
    nanos.map_or_else(|| super::since_start(), Duration::from_nanos)
}

/// Bytes of this process in memory; 0 where nobody tells.
fn held() -> usize {
    let told = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0) * 1024
}
