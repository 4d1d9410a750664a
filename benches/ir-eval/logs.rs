//! `ir-eval logs`: template ids for every line of a folder of log data sets, as `log_score.py` reads them.
//!
//! Reads `SET/lines.txt` (or `SET/raw.txt` with `--raw`) of every set, in order, once, with the default configuration. Writes
//! `final/SET.ids` and `.templates` with ids after all merges, and `online/SET.ids` and `.templates` as they were when each line
//! came. Prints lines a second and bytes held, and, where a set has `truth.csv`, both grouping accuracies, worst first.
//!
//! With `--speed FILE` it prints how fast a file is read; with `--flood LINES`, how much memory lines take that are all new.

mod speed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use incident_response::detect::logs::{MinerConfig, TemplateId, TemplateMiner};

use super::arguments::Arguments;

/// One line of the table.
struct Row {
    name: String,
    lines: usize,
    templates: usize,
    seconds: f64,
    bytes: usize,
    /// Grouping accuracy with final and with online ids.
    accuracy: Option<(f64, f64)>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    arguments.only(&["--raw", "--speed", "--flood"])?;
    if let Some(file) = arguments.value("--speed") {
        return speed::speed(file);
    }
    if let Some(lines) = arguments.value("--flood") {
        return speed::flood(lines);
    }
    let file = if arguments.has("--raw") { "raw.txt" } else { "lines.txt" };
    let mut rows = Vec::new();
    for folder in folders(&arguments.input, file)? {
        rows.push(one(&folder, file, &arguments.output)?);
    }
    if rows.is_empty() {
        return Err(format!("no folder under {} has a {file}", arguments.input.display()));
    }
    print!("{}", table(rows));
    Ok(())
}

fn folders(input: &Path, file: &str) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(input).map_err(|why| format!("{}: {why}", input.display()))?;
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join(file).is_file()).collect();
    folders.sort();
    Ok(folders)
}

fn one(folder: &Path, file: &str, output: &Path) -> Result<Row, String> {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let path = folder.join(file);
    let text = std::fs::read(&path).map_err(|why| format!("{}: {why}", path.display()))?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();

    let mut miner = TemplateMiner::new(MinerConfig::default()).map_err(|why| why.to_string())?;
    let stream = miner.stream(&name);
    let mut texts: BTreeMap<TemplateId, String> = BTreeMap::new();
    let start = now();
    let online: Vec<TemplateId> = lines.iter().map(|line| miner.observe(stream, line).id).collect();
    let seconds = start.elapsed().max(Duration::from_nanos(1)).as_secs_f64();
    let settled: Vec<TemplateId> = online.iter().map(|id| miner.resolve(*id)).collect();
    for id in online.iter().chain(&settled) {
        texts.entry(*id).or_insert_with(|| miner.template(*id).unwrap_or_default());
    }
    for (kind, ids) in [("online", &online), ("final", &settled)] {
        let folder = output.join(kind);
        std::fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        let (mut id_lines, mut text_lines) = (String::new(), String::new());
        for id in ids {
            let _ = writeln!(id_lines, "{id}");
            let _ = writeln!(text_lines, "{}", texts.get(id).map_or("", String::as_str));
        }
        for (ending, content) in [("ids", id_lines), ("templates", text_lines)] {
            let path = folder.join(format!("{name}.{ending}"));
            std::fs::write(&path, content).map_err(|why| format!("{}: {why}", path.display()))?;
        }
    }
    let accuracy = truth(&folder.join("truth.csv"))
        .filter(|truth| truth.len() == online.len())
        .map(|truth| (grouping_accuracy(&truth, &settled), grouping_accuracy(&truth, &online)));
    Ok(Row { name, lines: lines.len(), templates: miner.n_templates(), seconds, bytes: miner.bytes(), accuracy })
}

#[expect(clippy::disallowed_methods, reason = "speed is measured by the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// Time since the first call.
fn since_start() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(now).elapsed()
}

/// The events of a data set, one a line under a header; `None` where there is no truth.
fn truth(path: &Path) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.lines().skip(1).map(|line| line.split(',').next().unwrap_or_default().to_owned()).collect())
}

/// The share of lines whose group has exactly the lines of their true group.
fn grouping_accuracy(truth: &[String], found: &[TemplateId]) -> f64 {
    let mut groups: BTreeMap<TemplateId, (usize, BTreeSet<&str>)> = BTreeMap::new();
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for (event, id) in truth.iter().zip(found) {
        let group = groups.entry(*id).or_default();
        group.0 += 1;
        group.1.insert(event);
        *sizes.entry(event).or_default() += 1;
    }
    let exact = |(size, events): &&(usize, BTreeSet<&str>)| {
        events.len() == 1 && events.first().is_some_and(|event| sizes.get(event) == Some(size))
    };
    groups.values().filter(exact).map(|(size, _)| size).sum::<usize>() as f64 / truth.len().max(1) as f64
}

/// Worst first; grouping accuracy of rivals on the development sets stands in the head.
fn table(mut rows: Vec<Row>) -> String {
    rows.sort_by(|a, b| {
        let key = |row: &Row| row.accuracy.map_or(f64::INFINITY, |(settled, _)| settled);
        key(a).total_cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    let mut text = String::from(
        "rivals' average GA on the development sets: Drain3 with masks .890, Brain (batch) .931, logdrain .892, drain3 (crate) .819\n",
    );
    let _ = writeln!(
        text,
        "{:<14}{:>9}{:>10}{:>10}{:>10}{:>12}{:>11}",
        "data set", "GA final", "GA online", "lines", "templates", "lines/s", "bytes"
    );
    for row in &rows {
        let share = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
        let _ = writeln!(
            text,
            "{:<14}{:>9}{:>10}{:>10}{:>10}{:>12.0}{:>11}",
            row.name,
            share(row.accuracy.map(|(settled, _)| settled)),
            share(row.accuracy.map(|(_, online)| online)),
            row.lines,
            row.templates,
            row.lines as f64 / row.seconds,
            row.bytes
        );
    }
    let scored: Vec<(f64, f64)> = rows.iter().filter_map(|row| row.accuracy).collect();
    if !scored.is_empty() {
        let mean = |of: fn(&(f64, f64)) -> f64| scored.iter().map(of).sum::<f64>() / scored.len() as f64;
        let _ = writeln!(text, "{:<14}{:>9.4}{:>10.4}", "average", mean(|row| row.0), mean(|row| row.1));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_that_are_exactly_right_count() {
        let truth: Vec<String> = ["a", "a", "b", "c"].into_iter().map(str::to_owned).collect();
        let ids = |of: [u64; 4]| of.map(TemplateId).to_vec();
        assert_eq!(grouping_accuracy(&truth, &ids([7, 7, 8, 9])), 1.0);
        // One group is split, two are joined: nothing is right.
        assert_eq!(grouping_accuracy(&truth, &ids([1, 2, 3, 3])), 0.0);
        assert_eq!(grouping_accuracy(&truth, &ids([7, 7, 8, 8])), 0.5);
    }
}
