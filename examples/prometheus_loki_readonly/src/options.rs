//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result};
use lexopt::prelude::{Long, Short, ValueExt as _};

pub(crate) const HELP: &str = "\
Watches what Prometheus and Loki already know, says what it sees and what it would do, and can touch nothing.

    prometheus_loki_readonly --prometheus http://localhost:9090 [--loki http://localhost:3100]

    --prometheus URL   the server to read metrics from (needed)
    --loki URL         the server to read log lines from
    --selector PROMQL  which series        [{__name__=~\"up|http_.+|downstream_.+|process_.+\"}]
    --logql LOGQL      which lines         [{service_name=~\".+\"}]
    --label NAME       the label that names an entity, may be given again   [service, job]
    --topology FILE    who depends on whom [everything that has such a label, without dependencies]
    --backfill SECS    how much of the past is read first, so that baselines are warm   [600]
    --every MS         how often is looked [5000]
    --journal FOLDER   where what was seen and thought is kept   [nowhere]
    --for SECS         ends after so long  [until Ctrl-C]
";

pub(crate) struct Options {
    pub(crate) prometheus: String,
    pub(crate) loki: Option<String>,
    pub(crate) selector: String,
    pub(crate) logql: String,
    pub(crate) entity_labels: Vec<String>,
    pub(crate) topology: Option<PathBuf>,
    pub(crate) backfill_secs: u64,
    pub(crate) every_ms: u64,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) seconds: Option<u64>,
}

impl Options {
    /// Nothing when help was asked for.
    pub(crate) fn from_command_line() -> Result<Option<Self>> {
        let (mut prometheus, mut labels) = (None, Vec::new());
        let mut options = Self {
            prometheus: String::new(),
            loki: None,
            selector: "{__name__=~\"up|http_.+|downstream_.+|process_.+\"}".to_owned(),
            logql: "{service_name=~\".+\"}".to_owned(),
            entity_labels: ["service", "job"].map(str::to_owned).to_vec(),
            topology: None,
            backfill_secs: 600,
            every_ms: 5_000,
            journal: None,
            seconds: None,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("help") | Short('h') => return Ok(None),
                Long("prometheus") => prometheus = Some(parser.value()?.string()?),
                Long("loki") => options.loki = Some(parser.value()?.string()?),
                Long("selector") => options.selector = parser.value()?.string()?,
                Long("logql") => options.logql = parser.value()?.string()?,
                Long("label") => labels.push(parser.value()?.string()?),
                Long("topology") => options.topology = Some(parser.value()?.into()),
                Long("backfill") => options.backfill_secs = parser.value()?.parse()?,
                Long("every") => options.every_ms = parser.value()?.parse()?,
                Long("journal") => options.journal = Some(parser.value()?.into()),
                Long("for") => options.seconds = Some(parser.value()?.parse()?),
                other => return Err(other.unexpected().into()),
            }
        }
        if !labels.is_empty() {
            options.entity_labels = labels;
        }
        options.prometheus = prometheus.context("`--prometheus URL` is missing")?;
        Ok(Some(options))
    }
}
