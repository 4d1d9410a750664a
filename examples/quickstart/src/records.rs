//! Every file that one role writes and another reads: where it lies and what is in it.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock;

/// The run directory: all that a run leaves behind.
#[derive(Debug, Clone)]
pub(crate) struct RunDir(pub(crate) PathBuf);

impl RunDir {
    /// Written by `shop` once everything is up: [`ShopFile`].
    pub(crate) fn shop(&self) -> PathBuf {
        self.0.join("shop.json")
    }

    /// Who depends on whom, for the library.
    pub(crate) fn topology(&self) -> PathBuf {
        self.0.join("topology.toml")
    }

    /// One line per request that `load` made: [`ClientRecord`].
    pub(crate) fn clients(&self) -> PathBuf {
        self.0.join("clients.jsonl")
    }

    /// One line per effect on the services: [`Effect`].
    pub(crate) fn effects(&self) -> PathBuf {
        self.0.join("effects.jsonl")
    }

    /// One line per alert for people: [`Alert`].
    pub(crate) fn alerts(&self) -> PathBuf {
        self.0.join("alerts.jsonl")
    }

    /// What the responder says of itself when it stops: [`ResponderReport`].
    pub(crate) fn responder(&self) -> PathBuf {
        self.0.join("responder.json")
    }

    /// The responder makes this file once the incident is closed, so that the director need not wait longer.
    pub(crate) fn settled(&self) -> PathBuf {
        self.0.join("settled")
    }

    /// The processes of the run, for whoever wants to kill one: [`Processes`].
    pub(crate) fn processes(&self) -> PathBuf {
        self.0.join("processes.json")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// The JSON log of a service, or of another role under its own name.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(format!("{name}.jsonl"))
    }

    /// What a role wrote to its error output.
    pub(crate) fn stderr(&self, role: &str) -> PathBuf {
        self.0.join("logs").join(format!("{role}.stderr"))
    }

    pub(crate) fn version(&self, service: &str, version: &str) -> PathBuf {
        self.0.join("versions").join(service).join(format!("{version}.json"))
    }

    /// Makes the folders that several roles write into.
    pub(crate) fn create(&self) -> Result<()> {
        let logs = self.0.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot make `{}`", logs.display()))
    }
}

/// Where everything is, for load and responder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ShopFile {
    /// The control API, as a URL.
    pub(crate) control: String,
    /// The fault API, as a URL; nature's, not the responder's.
    pub(crate) fault: String,
    pub(crate) services: Vec<ServiceEntry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServiceEntry {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) metrics_url: String,
    pub(crate) log: PathBuf,
    pub(crate) calls: Vec<String>,
}

/// A deployable version of a service: plain data that its process reads at start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Version {
    pub(crate) version: String,
    /// Added to every request, drawn uniformly between the two.
    pub(crate) extra_latency_ms: [f64; 2],
    /// Share of requests answered 500.
    pub(crate) error_ratio: f64,
    pub(crate) notes: String,
}

impl Version {
    pub(crate) fn good(version: &str, notes: &str) -> Self {
        Self { version: version.to_owned(), extra_latency_ms: [0.0, 0.0], error_ratio: 0.0, notes: notes.to_owned() }
    }
}

/// The version that follows `version`: its middle number plus one.
pub(crate) fn next_version(version: &str) -> String {
    let mut parts = version.split('.').map(|part| part.parse::<u64>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    format!("{major}.{}.0", minor + 1)
}

/// What a client saw of one request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClientRecord {
    /// When the request was due, whenever it was really sent.
    #[serde(with = "clock::text")]
    pub(crate) at: Timestamp,
    /// From when it was due to the last byte of the answer, or to giving up.
    pub(crate) latency_ms: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl ClientRecord {
    pub(crate) fn is_error(&self) -> bool {
        self.status != Some(200)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EffectKind {
    Restart,
    Rollback,
    Deploy,
}

impl EffectKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Rollback => "rollback",
            Self::Deploy => "deploy",
        }
    }
}

/// Something that was done to a service: what the judge counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Effect {
    pub(crate) seq: u64,
    #[serde(with = "clock::text")]
    pub(crate) at: Timestamp,
    pub(crate) kind: EffectKind,
    pub(crate) service: String,
    pub(crate) key: String,
    pub(crate) token: Option<u64>,
    pub(crate) by: String,
    pub(crate) from_version: String,
    pub(crate) to_version: String,
    pub(crate) generation: u64,
    /// False when the service was touched but did not come up again.
    pub(crate) ok: bool,
}

/// A change that a responder may want to know of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) seq: u64,
    #[serde(with = "clock::text")]
    pub(crate) at: Timestamp,
    pub(crate) service: String,
    pub(crate) kind: EffectKind,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) by: String,
}

/// A call for a person.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Alert {
    #[serde(with = "clock::text")]
    pub(crate) at: Timestamp,
    pub(crate) text: String,
}

/// The process numbers of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Processes {
    pub(crate) director: Option<u32>,
    pub(crate) shop: Option<u32>,
    pub(crate) load: Option<u32>,
    pub(crate) responder: Option<u32>,
}

/// What the responder says of itself. Read tolerantly: a part that is missing or of another form is absent, never a
/// reason to forget the rest.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct ResponderReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detected_at: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) cause_path: Vec<String>,
    pub(crate) action: Option<String>,
    pub(crate) journal_verified: Option<bool>,
    /// Whether deciding again offline came to the same.
    pub(crate) replay_identical: Option<bool>,
    /// Steps that did not come to an end.
    pub(crate) open_steps: Vec<String>,
}

impl ResponderReport {
    /// `None` when there is no such file or it is no JSON object.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let value: serde_json::Value = serde_json::from_str(&text).ok()?;
        let fields = value.as_object()?;
        let string = |name: &str| fields.get(name).and_then(|field| field.as_str()).map(str::to_owned);
        let flag = |name: &str| fields.get(name).and_then(serde_json::Value::as_bool);
        let strings = |name: &str| -> Vec<String> {
            let list = fields.get(name).and_then(|field| field.as_array());
            list.into_iter().flatten().filter_map(|item| item.as_str()).map(str::to_owned).collect()
        };
        Some(Self {
            detected_at: string("detected_at"),
            cause: string("cause"),
            cause_path: strings("cause_path"),
            action: string("action"),
            journal_verified: flag("journal_verified"),
            replay_identical: flag("replay_identical"),
            open_steps: strings("open_steps"),
        })
    }

    pub(crate) fn detected(&self) -> Option<Timestamp> {
        self.detected_at.as_deref()?.parse().ok()
    }
}

/// Writes a whole file so that a reader sees either nothing or all of it.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_text(path, &serde_json::to_string_pretty(value)?)
}

/// As [`write_json`], for text.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<()> {
    let inner = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension("tmp");
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, path)
    };
    inner().with_context(|| format!("cannot write `{}`", path.display()))
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot understand `{}`", path.display()))
}

/// Adds one line to a file of JSON lines.
pub(crate) fn append_line<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open `{}`", path.display()))?;
    file.write_all(&line).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Reads a file of JSON lines as it grows: each call gives the lines that are new and whole.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
}

impl Tail {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, offset: 0, rest: Vec::new() }
    }

    /// New lines since the last call, each read as JSON; a file that is not there yet has none.
    pub(crate) fn poll<T: DeserializeOwned>(&mut self) -> Result<Vec<T>> {
        self.lines()?
            .iter()
            .map(|line| serde_json::from_str(line))
            .collect::<Result<_, _>>()
            .with_context(|| format!("cannot understand a line of `{}`", self.path.display()))
    }

    /// As [`poll`](Self::poll), as they are.
    pub(crate) fn lines(&mut self) -> Result<Vec<String>> {
        let mut file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot open `{}`", self.path.display())),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        self.offset += file.read_to_end(&mut self.rest)? as u64;
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text: Vec<u8> = self.rest.drain(..whole).collect();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_gives_each_whole_line_once_and_waits_for_the_rest_of_a_torn_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.jsonl");
        let mut tail = Tail::new(path.clone());
        assert!(tail.poll::<u64>().unwrap().is_empty());
        std::fs::write(&path, "1\n2\n3").unwrap();
        assert_eq!(tail.poll::<u64>().unwrap(), [1, 2]);
        std::fs::write(&path, "1\n2\n34\n").unwrap();
        assert_eq!(tail.poll::<u64>().unwrap(), [34]);
    }

    #[test]
    fn a_responder_report_with_odd_parts_keeps_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("responder.json");
        assert!(ResponderReport::read(&path).is_none());
        std::fs::write(
            &path,
            r#"{"cause":"orders","cause_path":["orders",7,"gateway"],"journal_verified":"yes","x":1}"#,
        )
        .unwrap();
        let report = ResponderReport::read(&path).unwrap();
        assert_eq!(report.cause.as_deref(), Some("orders"));
        assert_eq!(report.cause_path, ["orders", "gateway"]);
        assert_eq!(report.journal_verified, None);
        assert_eq!(report.detected(), None);
    }

    #[test]
    fn the_next_version_raises_the_middle_number() {
        assert_eq!(next_version("1.1.0"), "1.2.0");
        assert_eq!(next_version("odd"), "0.1.0");
    }
}
