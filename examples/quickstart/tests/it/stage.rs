//! A shop of its own for each test, with or without clients, and what a test asks of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_quickstart");
/// Far above what anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A child process that does not outlive its test.
#[derive(Debug)]
pub(crate) struct Player(pub(crate) Child);

impl Player {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// As `kill -9`, and reaped.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running shop.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) player: Player,
    pub(crate) run: TempDir,
    pub(crate) control: String,
    pub(crate) fault: String,
    keys: AtomicU64,
}

impl Shop {
    pub(crate) fn start() -> Self {
        let run = tempfile::tempdir().unwrap();
        let player = Player::start(&["shop", "--run", run.path().to_str().unwrap()]);
        let path = run.path().join("shop.json");
        until("the shop is up", || path.exists());
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let url = |name: &str| file[name].as_str().unwrap().to_owned();
        Self { player, control: url("control"), fault: url("fault"), run, keys: AtomicU64::new(0) }
    }

    pub(crate) fn load(&self, rate: &str) -> Player {
        let address = self.view("gateway")["url"].as_str().unwrap().replace("http://", "");
        let out = self.clients_path();
        let out = out.to_str().unwrap();
        Player::start(&["load", "--address", &address, "--path", "/checkout", "--rate", rate, "--out", out])
    }

    pub(crate) fn view(&self, service: &str) -> Value {
        get(&format!("{}/v1/services/{service}", self.control)).1
    }

    /// As a person, under a new key.
    pub(crate) fn operate(&self, service: &str, verb: &str, body: &str) -> Value {
        let key = format!("test-{}", self.keys.fetch_add(1, Ordering::Relaxed));
        let (status, answer) = self.post(service, verb, &[("X-Actor", "person"), ("Idempotency-Key", &key)], body);
        assert_eq!(status, 200, "{verb} of {service}: {answer}");
        answer
    }

    pub(crate) fn post(&self, service: &str, verb: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        request("POST", &format!("{}/v1/services/{service}/{verb}", self.control), headers, body, SOON).unwrap()
    }

    pub(crate) fn strike(&self, kind: &str, service: &str) {
        let body = format!(r#"{{"kind":"{kind}","service":"{service}"}}"#);
        let (status, answer) = request("POST", &format!("{}/v1/faults", self.fault), &[], &body, SOON).unwrap();
        assert_eq!(status, 200, "{answer}");
    }

    pub(crate) fn effects(&self) -> Vec<Value> {
        lines(&self.run.path().join("effects.jsonl"))
    }

    pub(crate) fn clients_path(&self) -> PathBuf {
        self.run.path().join("clients.jsonl")
    }

    pub(crate) fn clients(&self) -> Vec<Value> {
        lines(&self.clients_path())
    }
}

/// The whole lines of a file, as JSON; none when there is no such file.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits for a state, not for a time.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut waited = Duration::ZERO;
    while !holds() {
        assert!(waited < 2 * SOON, "not within {:?}: {what}", 2 * SOON);
        std::thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
}

pub(crate) fn get(url: &str) -> (u16, Value) {
    request("GET", url, &[], "", SOON).unwrap()
}

/// Status and body; a body that is no JSON comes as a string.
pub(crate) fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
    timeout: Duration,
) -> std::io::Result<(u16, Value)> {
    let mut stream = send(method, url, headers, body)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let nothing = || std::io::Error::other(format!("no answer from {url}: `{answer}`"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(nothing)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(nothing)?;
    Ok((status, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()))))
}

/// Sends and does not wait for the answer.
pub(crate) fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<TcpStream> {
    let rest = url.trim_start_matches("http://");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut text = format!("{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    let mut stream = TcpStream::connect(host)?;
    stream.write_all(text.as_bytes())?;
    Ok(stream)
}

/// The processes that were started with `word` somewhere in their arguments.
pub(crate) fn processes_with(word: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let command_lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    command_lines.filter(|line| String::from_utf8_lossy(line).contains(word)).count()
}
