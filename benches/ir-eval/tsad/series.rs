//! Gives the rows of a file to the library.

use incident_response::detect::multi::{MultiConfig, MultiModel};
use incident_response::detect::series::{SeriesConfig, SeriesModel};

use super::data::{File, Pair};
use super::{Found, now};

/// The summed surprise of several metrics that becomes a score of one half. It orders nothing otherwise; alerts are the library's
/// own.
const HALF_NATS: f64 = 30.0;

/// Watches one series, row by row.
pub(super) fn watch(file: &File, config: &SeriesConfig) -> Found {
    let mut model = SeriesModel::default();
    let (mut scores, mut alerts) = (Vec::with_capacity(file.rows.len()), Vec::with_capacity(file.rows.len()));
    let start = now();
    for row in &file.rows {
        let judged = model.push(row.secs, row.value, config);
        scores.push(judged.nats / (judged.nats + config.limit_nats));
        alerts.push(judged.tells());
    }
    Found { scores, alerts, took: start.elapsed(), bytes: model.bytes() }
}

/// Watches several metrics: learns the first part, judges the second.
pub(super) fn watch_pair(pair: &Pair) -> Found {
    let width = pair.train.iter().chain(&pair.test).map(Vec::len).max().unwrap_or(0);
    let (config, mut model) = (MultiConfig::default(), MultiModel::new(width));
    let (mut scores, mut alerts) = (Vec::with_capacity(pair.test.len()), Vec::with_capacity(pair.test.len()));
    let start = now();
    for row in &pair.train {
        model.push(row, &config);
    }
    for row in &pair.test {
        let judged = model.push(row, &config);
        scores.push(judged.sum / (judged.sum + HALF_NATS));
        alerts.push(judged.alert);
    }
    Found { scores, alerts, took: start.elapsed(), bytes: model.bytes() }
}
