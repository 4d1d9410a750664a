//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use lexopt::prelude::{Long, Short, Value, ValueExt as _};

pub(crate) const HELP: &str = "\
Watches an ECS service, blames a deployment when it goes wrong right after one, and rolls it back.

    aws_rollback --cluster main --service checkout --metrics http://checkout.internal:8080/metrics [--act]

    --cluster NAME     the ECS cluster (needed)
    --service NAME     the ECS service (needed)
    --metrics URL      its metrics in the Prometheus text format (needed)
    --act              roll back; without it the program only says what it would do
    --region NAME      the region           [that of the environment]
    --endpoint URL     where AWS is asked   [AWS itself]
    --every MS         how often is looked  [1000]
    --journal FOLDER   where what was seen, decided and done is kept   [nowhere]
    --once             end when the first incident is over
    --for SECS         end after so long    [at Ctrl-C]

    aws_rollback simulate --cluster main --service checkout --listen 127.0.0.1:8080

plays the service instead: it fails half of its requests while the image of the task definition that the API says is current
ends with `-bad`. Credentials come from the environment, as for all AWS tools.
";

pub(crate) enum Command {
    Help,
    Watch(Options),
    Simulate(Simulated),
}

/// What is watched, and how.
pub(crate) struct Options {
    pub(crate) cluster: String,
    pub(crate) service: String,
    pub(crate) metrics: String,
    pub(crate) act: bool,
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) every_ms: u64,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) once: bool,
    pub(crate) seconds: Option<u64>,
}

/// What is played.
pub(crate) struct Simulated {
    pub(crate) cluster: String,
    pub(crate) service: String,
    pub(crate) listen: SocketAddr,
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
}

pub(crate) fn from_command_line() -> Result<Command> {
    let (mut cluster, mut service, mut metrics, mut listen) = (None, None, None, None);
    let (mut region, mut endpoint, mut journal, mut seconds) = (None, None, None, None);
    let (mut act, mut once, mut simulates, mut every_ms) = (false, false, false, 1_000);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Help),
            Value(word) if word == "simulate" => simulates = true,
            Long("cluster") => cluster = Some(parser.value()?.string()?),
            Long("service") => service = Some(parser.value()?.string()?),
            Long("metrics") => metrics = Some(parser.value()?.string()?),
            Long("listen") => listen = Some(parser.value()?.parse()?),
            Long("region") => region = Some(parser.value()?.string()?),
            Long("endpoint") => endpoint = Some(parser.value()?.string()?),
            Long("every") => every_ms = parser.value()?.parse()?,
            Long("journal") => journal = Some(parser.value()?.into()),
            Long("for") => seconds = Some(parser.value()?.parse()?),
            Long("act") => act = true,
            Long("once") => once = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let cluster = cluster.context("`--cluster NAME` is missing")?;
    let service = service.context("`--service NAME` is missing")?;
    if simulates {
        let listen = listen.context("`--listen ADDRESS` is missing")?;
        return Ok(Command::Simulate(Simulated { cluster, service, listen, region, endpoint }));
    }
    let metrics = metrics.context("`--metrics URL` is missing")?;
    Ok(Command::Watch(Options { cluster, service, metrics, act, region, endpoint, every_ms, journal, once, seconds }))
}
