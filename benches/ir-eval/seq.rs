//! `ir-eval seq`: how unlike the training sequences each test sequence is, as `seq_score.py` reads it.
//!
//! Reads every `*.csv.gz` with columns `id,part,label,kind,seq`. The default [`SequenceModel`] learns all rows of part `train`, stays as
//! it is, and scores the others in order. Writes `NAME.scores`: one number a row in the order of the file, 0 for training rows.
//! Labels are looked at only for what is printed.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use incident_response::detect::behaviour::{SequenceConfig, SequenceModel};

use super::arguments::Arguments;
use super::table::table;

/// Area under the curve, and the share of attacks found with 1 % and 5 % false alarms: detectors of the scorer, by file.
const RIVALS: &[(&str, &str, [f64; 3])] = &[
    ("adfa_ld", "unseen runs of 5", [0.790, 0.07, 0.24]),
    ("adfa_ld", "nearest counts", [0.748, 0.08, 0.25]),
    ("hdfs_sessions", "unseen runs of 5", [0.987, 0.62, 0.97]),
    ("hdfs_sessions", "nearest counts", [0.999, 1.0, 1.0]),
];

/// One line of a data set.
struct Row {
    train: bool,
    anomalous: bool,
    kind: String,
    sequence: Vec<u32>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    arguments.only(&[])?;
    std::fs::create_dir_all(&arguments.output).map_err(|why| format!("{}: {why}", arguments.output.display()))?;
    let mut rows = Vec::new();
    for path in files(&arguments.input)? {
        rows.extend(one(&path, &arguments.output)?);
    }
    if rows.is_empty() {
        return Err(format!("{} has no .csv.gz", arguments.input.display()));
    }
    let head = ["data", "detector", "AUC", "TPR 1 %", "TPR 5 %", "learned", "scored", "symbols/s", "bytes"];
    print!("{}", table(&head, &rows));
    Ok(())
}

fn files(input: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(input).map_err(|why| format!("{}: {why}", input.display()))?;
    let wanted = |path: &PathBuf| path.to_string_lossy().ends_with(".csv.gz");
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(wanted).collect();
    files.sort();
    Ok(files)
}

fn one(path: &Path, output: &Path) -> Result<Vec<Vec<String>>, String> {
    let wrong = |why: String| format!("{}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|why| wrong(why.to_string()))?;
    let mut text = String::new();
    GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).map_err(|why| wrong(why.to_string()))?;
    let rows = parse(&text).map_err(wrong)?;
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = file.trim_end_matches(".csv.gz");

    let mut model = SequenceModel::new(SequenceConfig::default()).map_err(|why| why.to_string())?;
    model.fit(rows.iter().filter(|row| row.train).map(|row| row.sequence.as_slice()));
    let start = now();
    let scores: Vec<f64> =
        rows.iter().map(|row| if row.train { 0.0 } else { model.unusual(&row.sequence).nats }).collect();
    let seconds = start.elapsed().max(Duration::from_nanos(1)).as_secs_f64();

    let lines = scores.iter().fold(String::new(), |mut lines, score| {
        let _ = writeln!(lines, "{score}");
        lines
    });
    let to = output.join(format!("{name}.scores"));
    std::fs::write(&to, lines).map_err(|why| format!("{}: {why}", to.display()))?;
    Ok(report(name, &rows, &scores, seconds, model.held()))
}

fn parse(text: &str) -> Result<Vec<Row>, String> {
    let row = |(n, line): (usize, &str)| {
        let columns: Vec<&str> = line.split(',').collect();
        let [_, part, label, kind, sequence] = columns.as_slice() else {
            return Err(format!("line {}: {} columns and not 5", n + 2, columns.len()));
        };
        let sequence: Result<Vec<u32>, _> = sequence.split_whitespace().map(str::parse).collect();
        let sequence = sequence.map_err(|why| format!("line {}: {why}", n + 2))?;
        Ok(Row { train: *part == "train", anomalous: *label == "1", kind: (*kind).to_owned(), sequence })
    };
    text.lines().skip(1).enumerate().map(row).collect()
}

fn report(name: &str, rows: &[Row], scores: &[f64], seconds: f64, bytes: usize) -> Vec<Vec<String>> {
    let tests: Vec<(&Row, f64)> = rows.iter().zip(scores.iter().copied()).filter(|(row, _)| !row.train).collect();
    let symbols: usize = tests.iter().map(|(row, _)| row.sequence.len()).sum();
    let learned = rows.len() - tests.len();
    let normal: Vec<f64> = tests.iter().filter(|(row, _)| !row.anomalous).map(|(_, score)| *score).collect();
    let line = |detector: &str, [auc, one, five]: [f64; 3]| {
        [name, detector]
            .map(str::to_owned)
            .into_iter()
            .chain([auc, one, five].map(|value| format!("{value:.4}")))
            .collect()
    };
    let of = |kind: Option<&str>| {
        let wanted = |row: &Row| row.anomalous && kind.is_none_or(|kind| row.kind == kind);
        let odd: Vec<f64> = tests.iter().filter(|(row, _)| wanted(row)).map(|(_, score)| *score).collect();
        [area(&normal, &odd), found(&normal, &odd, 0.01), found(&normal, &odd, 0.05)]
    };
    let mut all: Vec<String> = line("SequenceModel", of(None));
    all.extend([learned, tests.len()].map(|n| n.to_string()));
    all.extend([format!("{:.0}", symbols as f64 / seconds), bytes.to_string()]);
    let mut kinds: Vec<&str> =
        tests.iter().filter(|(row, _)| row.anomalous).map(|(row, _)| row.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let kinds = if kinds.len() > 1 { kinds } else { Vec::new() };
    let by_kind = kinds.into_iter().map(|kind| line(&format!("  {kind}"), of(Some(kind))));
    let rivals = RIVALS.iter().filter(|(file, ..)| *file == name).map(|(_, rival, figures)| line(rival, *figures));
    std::iter::once(all).chain(by_kind).chain(rivals).collect()
}

/// The probability that an odd one scores above a normal one; ties count half.
fn area(normal: &[f64], odd: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> =
        normal.iter().map(|score| (*score, false)).chain(odd.iter().map(|score| (*score, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0.0, 0.0);
    for tied in all.chunk_by(|a, b| a.0 == b.0) {
        let odd_here = tied.iter().filter(|(_, odd)| *odd).count() as f64;
        let normal_here = tied.len() as f64 - odd_here;
        wins += odd_here * (below + normal_here / 2.0);
        below += normal_here;
    }
    wins / (normal.len() * odd.len()) as f64
}

/// The share of odd ones above the limit that `share` of the normal ones exceed.
fn found(normal: &[f64], odd: &[f64], share: f64) -> f64 {
    let mut sorted = normal.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let limit = sorted.get((normal.len() as f64 * share) as usize).copied().unwrap_or(f64::INFINITY);
    odd.iter().filter(|score| **score > limit).count() as f64 / odd.len() as f64
}

#[expect(clippy::disallowed_methods, reason = "speed is measured by the real clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_and_shares_are_those_of_the_definitions() {
        let (normal, odd) = ([0.0, 1.0, 2.0, 3.0], [2.0, 4.0]);
        assert_eq!(area(&normal, &odd), (2.5 + 4.0) / 8.0);
        assert_eq!(found(&normal, &odd, 0.05), 0.5);
        assert_eq!(found(&normal, &odd, 0.26), 0.5);
        assert_eq!(area(&[1.0], &[1.0]), 0.5);
    }

    #[test]
    fn rows_are_read_and_mistakes_told_by_line() {
        let rows = parse("id,part,label,kind,seq\na,train,0,,1 2 3\nb,test,1,x,4\n").unwrap();
        assert!(rows[0].train && rows[0].sequence == [1, 2, 3] && rows[1].anomalous && rows[1].kind == "x");
        assert_eq!(parse("h\na,b\n").err().unwrap(), "line 2: 2 columns and not 5");
    }
}
