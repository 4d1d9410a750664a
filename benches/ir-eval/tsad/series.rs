//! Gives the rows of a file to the library.

use incident_response::detect::series::{SeriesConfig, SeriesModel};

use super::data::File;
use super::{Found, now};

/// Watches one series, row by row.
pub(super) fn watch(file: &File) -> Found {
    let (config, mut model) = (SeriesConfig::default(), SeriesModel::default());
    let (mut scores, mut alerts) = (Vec::with_capacity(file.rows.len()), Vec::with_capacity(file.rows.len()));
    let start = now();
    for row in &file.rows {
        let judged = model.push(row.secs, row.value, &config);
        scores.push(judged.nats / (judged.nats + config.limit_nats));
        alerts.push(judged.alert);
    }
    Found { scores, alerts, took: start.elapsed(), bytes: model.bytes() }
}
