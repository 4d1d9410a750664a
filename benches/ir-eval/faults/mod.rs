//! `ir-eval faults`: alerts on a stream of log lines with labelled faults, as `fault_score.py` reads them.
//!
//! Reads `stream.csv` or `stream.csv.gz` (`ns,service,line`), in order, once, in batches of a second as an engine would, with the
//! default configuration. Writes `alerts.csv` (`time_ns,service,reason`): an alert is an episode that begins. Prints every fault of
//! `faults.csv` with its delay, the false alarms, and lines a second. With `--clean HOURS --seed N` it makes a stream without
//! faults instead, and prints how often the library is wrong.

mod clean;
mod data;
mod score;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use incident_response::core::signal::LogRecord;
use incident_response::core::{Ctx, Detector, EntityId, Labels, ManualClock, Phase, SignalBatch, Timestamp};
use incident_response::detect::logs::{LogTemplates, LogTemplatesConfig};

use super::arguments::Arguments;
use super::table::table;
use super::wait::ready;
use data::{Line, quoted};
use score::{Alert, score};

/// Batches are as long as a poll of a source takes to come round.
const BATCH_NS: i64 = 1_000_000_000;

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    arguments.only(&["--clean", "--seed"])?;
    match arguments.value("--clean") {
        Some(hours) => clean(arguments, hours),
        None => labelled(arguments),
    }
}

fn labelled(arguments: &Arguments) -> Result<(), String> {
    let (input, output) = (&arguments.input, &arguments.output);
    let packed = input.join("stream.csv.gz");
    let lines = data::stream(&if packed.is_file() { packed } else { input.join("stream.csv") })?;
    let faults = data::faults(&input.join("faults.csv"))?;
    let watched = watch(&lines)?;
    write(output, &watched.alerts)?;
    let times: Vec<i64> = lines.iter().map(|line| line.ns).collect();
    let score = score(&watched.alerts, &faults, &times);
    let secs = |delay: Option<i64>| delay.map_or("-".to_owned(), |ns| format!("{:.0}", ns as f64 / 1e9));
    let rows: Vec<Vec<String>> = faults
        .iter()
        .zip(&score.hits)
        .map(|(fault, hit)| vec![fault.service.clone(), fault.kind.clone(), secs(hit.any), secs(hit.same)])
        .collect();
    print!("{}", table(&["fault", "type", "any service, s", "same service, s"], &rows));
    let delay = |delay: Option<f64>| delay.map_or("-".to_owned(), |secs| format!("{secs:.0} s"));
    println!(
        "flagged within 3 minutes: {} of {} on any service, {} on the same; median delay {} and {}",
        score.flagged(|hit| hit.any),
        faults.len(),
        score.flagged(|hit| hit.same),
        delay(score.delay_secs(|hit| hit.any)),
        delay(score.delay_secs(|hit| hit.same)),
    );
    for alert in &score.false_alarms {
        println!("false: {} {} {}", alert.ns, alert.service, alert.reason);
    }
    println!(
        "false alarms: {} in {:.2} h outside fault windows, {:.2} an hour",
        score.false_alarms.len(),
        score.hours,
        score.false_alarms.len() as f64 / score.hours.max(f64::MIN_POSITIVE)
    );
    watched.report(lines.len());
    Ok(())
}

fn clean(arguments: &Arguments, hours: &str) -> Result<(), String> {
    let hours: f64 =
        hours.parse().ok().filter(|hours| (0.01..=1000.0).contains(hours)).ok_or("`--clean` takes hours")?;
    let seed = arguments.value("--seed").unwrap_or("1");
    let seed: u64 = seed.parse().map_err(|_| format!("`--seed {seed}` is not a number"))?;
    let mut watch = Watch::new()?;
    let mut n_lines = 0;
    clean::each_second(seed, hours, |lines| {
        n_lines += lines.len();
        watch.batch(lines)
    })?;
    if !arguments.output.as_os_str().is_empty() {
        write(&arguments.output, &watch.alerts)?;
    }
    let score = score(&watch.alerts, &[], &[]);
    for alert in &score.false_alarms {
        println!("{:>7.0} s {} {}", (alert.ns - clean::START_NS) as f64 / 1e9, alert.service, alert.reason);
    }
    println!(
        "false alarms: {} in {hours} h of {n_lines} clean lines (seed {seed}), {:.2} an hour",
        score.false_alarms.len(),
        score.false_alarms.len() as f64 / hours
    );
    watch.report(n_lines);
    Ok(())
}

/// The library, and what it said so far.
struct Watch {
    detector: LogTemplates,
    ctx: Ctx,
    alerts: Vec<Alert>,
    took: Duration,
}

impl Watch {
    fn new() -> Result<Self, String> {
        let detector = LogTemplates::new(LogTemplatesConfig::default()).map_err(|why| why.to_string())?;
        let ctx = Ctx::new(Arc::new(ManualClock::new()));
        Ok(Self { detector, ctx, alerts: Vec::new(), took: Duration::ZERO })
    }

    fn batch(&mut self, lines: &[Line]) -> Result<(), String> {
        let mut batch = SignalBatch::default();
        for line in lines {
            let entity = EntityId::new(&line.service).map_err(|why| why.to_string())?;
            let at = Timestamp::from_nanos(line.ns);
            let (level, fields) = (None, Labels::new());
            batch.logs.push(LogRecord { entity, at, level, message: line.text.clone(), fields });
        }
        let start = now();
        let found = ready(self.detector.detect(&self.ctx, &batch)).map_err(|why| why.to_string())?;
        self.took += start.elapsed();
        for anomaly in found.into_iter().filter(|anomaly| anomaly.phase == Phase::Began) {
            let ns = anomaly.at.as_nanos();
            let reason = format!("{:.2} {}", anomaly.score.as_f64(), anomaly.because);
            self.alerts.push(Alert { ns, service: anomaly.entity.as_str().to_owned(), reason });
        }
        Ok(())
    }

    fn report(&self, n_lines: usize) {
        let secs = self.took.as_secs_f64().max(1e-9);
        println!("alerts: {}; lines: {n_lines}, {:.0} a second", self.alerts.len(), n_lines as f64 / secs);
    }
}

fn watch(lines: &[Line]) -> Result<Watch, String> {
    let mut watch = Watch::new()?;
    for batch in lines.chunk_by(|a, b| a.ns.div_euclid(BATCH_NS) == b.ns.div_euclid(BATCH_NS)) {
        watch.batch(batch)?;
    }
    Ok(watch)
}

fn write(output: &Path, alerts: &[Alert]) -> Result<(), String> {
    let mut text = String::from("time_ns,service,reason\n");
    for alert in alerts {
        text.push_str(&format!("{},{},{}\n", alert.ns, quoted(&alert.service), quoted(&alert.reason)));
    }
    std::fs::create_dir_all(output).map_err(|why| format!("{}: {why}", output.display()))?;
    let path = output.join("alerts.csv");
    std::fs::write(&path, text).map_err(|why| format!("{}: {why}", path.display()))
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this program times the library; this is its one clock")]
    Instant::now()
}
