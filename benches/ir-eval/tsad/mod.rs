//! `ir-eval tsad`: how surprising every row of a folder of series is, as `nab_score.py` and `point_score.py` read it.
//!
//! Reads every `timestamp,value[,label]` file below the folder, and every pair `X.train.csv.gz`, `X.test.csv.gz` of rows without a
//! time. Rows are given in their order, once, to the default configuration; nothing else is. Writes a file of the same relative
//! path (NAB's `data/` and `.gz` left out) with the columns `timestamp`, `anomaly_score` (0 to 1, the library's own limit at 0.5)
//! and `alert` (0 or 1): whether the library tells something, be it an unusual value or a new level. Prints each data set with its
//! scores beside rivals' figures, and its files, worst first. With `--leave-one-out` it prints how NAB's folders fare when each is
//! left out in turn, instead.

mod choose;
mod data;
mod quiet;
mod report;
mod score;
mod series;

use std::time::{Duration, Instant};

use incident_response::detect::series::SeriesConfig;

use super::arguments::Arguments;

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    arguments.only(&["--leave-one-out"])?;
    let files = data::files(&arguments.input)?;
    let pairs = data::pairs(&arguments.input)?;
    if files.is_empty() && pairs.is_empty() {
        return Err(format!("no series below {}", arguments.input.display()));
    }
    let windows = data::windows(&arguments.input)?;
    if arguments.has("--leave-one-out") {
        print!("{}", choose::text(&files, &windows)?);
        return Ok(());
    }
    let mut judged = Vec::new();
    for file in files {
        let found = series::watch(&file, &SeriesConfig::default());
        let stamps: Vec<&str> = file.rows.iter().map(|row| row.stamp.as_str()).collect();
        data::write(&arguments.output, &file.path, Some(&stamps), &found)?;
        judged.push(report::Judged::series(file, found, &windows));
    }
    for pair in pairs {
        let found = series::watch_pair(&pair);
        data::write(&arguments.output, &pair.path, None, &found)?;
        judged.push(report::Judged::pair(pair, found));
    }
    print!("{}", report::text(&judged));
    Ok(())
}

/// What was said of the rows of a file.
struct Found {
    /// 0 to 1, the library's own limit at 0.5.
    scores: Vec<f64>,
    alerts: Vec<bool>,
    took: Duration,
    /// Of the state in the end.
    bytes: usize,
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this program times the library; this is its one clock")]
    Instant::now()
}
