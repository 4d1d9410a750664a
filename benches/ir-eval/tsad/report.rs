//! The table: each data set beside rivals' figures, then its files, worst first.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Found;
use super::data::{File, Pair, Windows, rows_of};
use super::quiet::Quiet;
use super::score::{Nab, Rows};
use crate::table::table;

/// Figures of others on the same development data, measured with the same scorers: NAB's standard profile with the limit
/// optimised on the files, causal runs only.
const RIVALS_NAB: &str = "rivals, limit optimised, run causally: a throw-away ensemble 73.4, CAD OSE 68.6, KNN CAD 66.7, random cut \
    forest 63.5, Skyline 62.0, SPOT with alerts de-duplicated 53.1, EWMA 35.7, BOCPD 16.5";
const RIVALS_ROWS: &str = "rivals, area under precision and recall on production telemetry: a throw-away ensemble .49, EWMA .37; \
    of principal components' residuals on several metrics: SMD .41, ASD .26";

/// One file with what was said of it.
pub(super) struct Judged {
    set: String,
    path: String,
    rows: usize,
    found: Found,
    /// First and last row of NAB's windows; `None` when the file is not among its labels.
    windows: Option<Vec<(usize, usize)>>,
    by_row: Option<Rows>,
    /// What was said far from all labels; of several metrics together it is not counted.
    quiet: Quiet,
}

impl Judged {
    pub(super) fn series(file: File, found: Found, windows: &Windows) -> Self {
        let windows = rows_of(&file, windows);
        let labels: Vec<bool> = file.rows.iter().map(|row| row.label).collect();
        let by_row = file.labelled.then(|| Rows::of(&labels, &found.scores, &found.alerts));
        let set = set_of(&file.path);
        let quiet = Quiet::of(&file, windows.as_deref(), &found.alerts);
        let set = if windows.is_some() { "nab".to_owned() } else { set };
        Self { set, rows: file.rows.len(), path: file.path, found, windows, by_row, quiet }
    }

    pub(super) fn pair(pair: Pair, found: Found) -> Self {
        let by_row = Some(Rows::of(&pair.labels, &found.scores, &found.alerts));
        let rows = pair.train.len() + pair.test.len();
        Self { set: set_of(&pair.path), rows, path: pair.path, found, windows: None, by_row, quiet: Quiet::default() }
    }
}

/// The folder that a file lies in, below the input folder.
fn set_of(path: &str) -> String {
    path.split('/').next().filter(|first| *first != path).unwrap_or(".").to_owned()
}

pub(super) fn text(judged: &[Judged]) -> String {
    let mut sets: BTreeMap<&str, Vec<&Judged>> = BTreeMap::new();
    for file in judged {
        sets.entry(&file.set).or_default().push(file);
    }
    let mut out = String::new();
    for (set, files) in sets {
        let rows: usize = files.iter().map(|file| file.rows).sum();
        let seconds: f64 = files.iter().map(|file| file.found.took.as_secs_f64()).sum();
        let bytes = files.iter().map(|file| file.found.bytes).max().unwrap_or(0);
        let _ = writeln!(
            out,
            "== {set}: {} series, {rows} rows, {:.0} rows/s, at most {bytes} bytes a series",
            files.len(),
            rows as f64 / seconds.max(1e-9)
        );
        out += &match files.iter().any(|file| file.windows.is_some()) {
            true => of_windows(&files),
            false => of_rows(&files),
        };
        out += &files.iter().fold(Quiet::default(), |sum, file| sum.and(file.quiet)).text();
        out.push('\n');
    }
    out
}

fn of_windows(files: &[&Judged]) -> String {
    let (mut scores, mut alerts, mut lines) = (Nab::default(), Nab::default(), Vec::new());
    for file in files {
        let windows = file.windows.as_deref().unwrap_or_default();
        let said: Vec<f64> = file.found.alerts.iter().map(|alert| f64::from(u8::from(*alert))).collect();
        scores.add(&file.found.scores, windows);
        alerts.add(&said, windows);
        let mut alone = Nab::default();
        alone.add(&said, windows);
        let (score, hit) = alone.at(0.5);
        let count = file.found.alerts.iter().filter(|alert| **alert).count();
        let key = if windows.is_empty() { -(count as f64) } else { score };
        let cells = vec![
            file.path.clone(),
            if windows.is_empty() { "-".to_owned() } else { format!("{score:.1}") },
            format!("{hit}/{}", windows.len()),
            count.to_string(),
        ];
        lines.push((key, cells));
    }
    let (best, limit) = scores.best();
    let (own, hit) = alerts.at(0.5);
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lines: Vec<Vec<String>> = lines.into_iter().map(|(_, cells)| cells).collect();
    format!(
        "own alerts {own:.1} ({hit} windows hit); limit optimised {best:.1} (at {limit:.3})\n{RIVALS_NAB}\n{}",
        table(&["file", "own alerts", "windows hit", "alerts"], &lines)
    )
}

fn of_rows(files: &[&Judged]) -> String {
    let (mut sum, mut areas, mut lines) = (Rows::default(), Vec::new(), Vec::new());
    for file in files {
        let Some(rows) = &file.by_row else { continue };
        sum.events += rows.events;
        sum.found += rows.found;
        sum.episodes += rows.episodes;
        sum.false_episodes += rows.false_episodes;
        sum.normal_rows += rows.normal_rows;
        sum.false_rows += rows.false_rows;
        areas.extend(rows.auc_pr);
        let cells = vec![
            file.path.clone(),
            rows.auc_pr.map_or("-".to_owned(), |area| format!("{area:.3}")),
            format!("{}/{}", rows.found, rows.events),
            rows.false_episodes.to_string(),
        ];
        lines.push((rows.auc_pr.unwrap_or(2.0), cells));
    }
    if lines.is_empty() {
        return "no labels\n".to_owned();
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lines: Vec<Vec<String>> = lines.into_iter().map(|(_, cells)| cells).collect();
    let bases = by_base(files);
    let normal = sum.normal_rows.max(1) as f64;
    format!(
        "area under precision and recall {:.3}; own alerts: {} of {} events, {} of {} episodes false, {:.2} false per 1,000 \
         rows, {:.3} % of the normal rows\n{RIVALS_ROWS}\n{bases}{}",
        areas.iter().sum::<f64>() / areas.len().max(1) as f64,
        sum.found,
        sum.events,
        sum.false_episodes,
        sum.episodes,
        1000.0 * sum.false_episodes as f64 / normal,
        100.0 * sum.false_rows as f64 / normal,
        table(&["file", "area", "events", "false"], &lines)
    )
}

/// Files whose names are a base with what was planted behind it, `horizontal_spike_anomaly`, are counted by base as well.
fn by_base(files: &[&Judged]) -> String {
    let mut bases: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for file in files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let base = name.strip_suffix("_spike_anomaly.csv").or_else(|| name.strip_suffix("_level_anomaly.csv"));
        if let (Some(base), Some(rows)) = (base, &file.by_row) {
            let sum = bases.entry(base).or_default();
            *sum = (sum.0 + rows.found, sum.1 + rows.events);
        }
    }
    let line = |(base, (found, events)): (&str, (usize, usize))| {
        format!("base {base}: {found} of {events} events found, {:.0} %\n", 100.0 * found as f64 / events.max(1) as f64)
    };
    bases.into_iter().map(line).collect()
}
