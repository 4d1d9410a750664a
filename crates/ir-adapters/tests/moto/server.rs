//! moto, which stands for AWS: one server for all tests that name their own things, and one for each that needs it alone.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ir_adapters::aws::{AwsConfig, SdkConfig, sdk_config};
use serde_json::Value;
use tempfile::TempDir;

/// What installs it. `cargo xtask test` does the same.
const INSTALLS: &str = "python3 -m venv target/venv && target/venv/bin/pip install 'moto[server]==5.2.5'";
pub(crate) const REGION: &str = "eu-central-1";
/// The server is Python and may start beside a build.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server, which ends with the test's process at the latest.
pub(crate) struct Moto {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

/// One request.
struct Asked {
    operation: String,
    authorization: String,
    body: String,
}

/// The server that tests share. What they make there they name after themselves.
pub(crate) fn shared() -> &'static Moto {
    static SHARED: OnceLock<Moto> = OnceLock::new();
    SHARED.get_or_init(Moto::start)
}

/// The program of the venv beside the tests' own target folder, or that of the path.
fn program() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let venvs = exe.ancestors().map(|folder| folder.join("venv/bin/moto_server"));
    venvs.into_iter().find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("moto_server"))
}

impl Moto {
    /// Starts a server and waits until it answers. A missing program fails the test with the line that installs it.
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        // A static value is never dropped: the shell ends the server when the pipe from this process ends.
        let watched = "\"$@\" & server=$!; cat > /dev/null; kill $server";
        let child = Command::new("sh")
            .args(["-c", watched, "sh"])
            .arg(program())
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .env("MOTO_ENABLE_RECORDING", "true")
            .env("MOTO_RECORDER_FILEPATH", folder.path().join("recording"))
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let moto = Self { child, address, folder };
        moto.wait();
        moto
    }

    #[expect(clippy::disallowed_methods, reason = "a test waits by the clock of the machine")]
    fn wait(&self) {
        let begun = std::time::Instant::now();
        let ready = || {
            let asked = "GET /moto-api/data.json HTTP/1.0\r\n\r\n";
            exchange(self.address, asked.as_bytes()).is_some_and(|(status, _)| status == 200)
        };
        while !ready() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let is_missing = log.contains("not found") || log.contains("No module named");
            assert!(!is_missing && begun.elapsed() < PATIENCE, "`moto_server` does not start: {INSTALLS}\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The configuration of the SDK for this server, with credentials that it does not look at.
    pub(crate) async fn sdk(&self) -> SdkConfig {
        self.sdk_of("AKIAIOSFODNN7EXAMPLE", "a-secret-of-the-test").await
    }

    /// The same with these credentials.
    pub(crate) async fn sdk_of(&self, id: &str, secret: &str) -> SdkConfig {
        let config = AwsConfig {
            region: Some(REGION.to_owned()),
            endpoint_url: Some(self.url()),
            // The first call of a service loads it.
            timeout_ms: 60_000,
            ..AwsConfig::default()
        };
        let provider = SharedCredentialsProvider::new(Credentials::new(id, secret, None, None, "test"));
        sdk_config(&config).await.unwrap().into_builder().credentials_provider(provider).build()
    }

    /// Calls a service that speaks JSON, without the SDK.
    pub(crate) fn json(&self, service: &str, target: &str, body: &Value) -> Value {
        let text = self.ask_json(service, target, body);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{target}: {error}: {text}"))
    }

    /// The same for calls that are answered with nothing.
    pub(crate) fn ask_json(&self, service: &str, target: &str, body: &Value) -> String {
        let head = format!("x-amz-target: {target}\r\ncontent-type: application/x-amz-json-1.1\r\n");
        self.post(service, &head, &body.to_string())
    }

    /// Calls a service that speaks forms and XML, without the SDK.
    pub(crate) fn form(&self, service: &str, body: &str) -> String {
        self.post(service, "content-type: application/x-www-form-urlencoded\r\n", body)
    }

    fn post(&self, service: &str, head: &str, body: &str) -> String {
        let scope = format!("20260101/{REGION}/{service}/aws4_request");
        let request = format!(
            "POST / HTTP/1.0\r\nhost: {service}.{REGION}.amazonaws.com\r\n{head}\
             authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/{scope}, SignedHeaders=host, Signature=0\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, answer) = exchange(self.address, request.as_bytes()).unwrap();
        assert_eq!(status, 200, "{body}: {answer}");
        answer
    }

    /// Every request from now on must be signed, by somebody who may make it.
    pub(crate) fn demand_signatures(&self) {
        let asked = "POST /moto-api/reset-auth HTTP/1.0\r\ncontent-length: 1\r\n\r\n0";
        assert_eq!(exchange(self.address, asked.as_bytes()).unwrap().0, 200);
    }

    /// How many requests came that are of this operation and have these words in them.
    pub(crate) fn n_asked(&self, operation: &str, words: &str) -> u64 {
        let is_one = |asked: &&Asked| asked.operation == operation && asked.body.contains(words);
        self.asked().iter().filter(is_one).count() as u64
    }

    /// The operations that were asked for with this key.
    pub(crate) fn asked_by(&self, key: &str) -> BTreeSet<String> {
        let signed = format!("Credential={key}/");
        let by = self.asked().into_iter().filter(|asked| asked.authorization.contains(&signed));
        by.map(|asked| asked.operation).collect()
    }

    /// What came so far, by moto's own record.
    fn asked(&self) -> Vec<Asked> {
        let recording = std::fs::read_to_string(self.folder.path().join("recording")).unwrap_or_default();
        // The last line may be half written.
        let entries = recording.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let asked = |entry: Value| {
            let header = |name: &str| entry["headers"][name].as_str().unwrap_or_default().to_owned();
            let body = STANDARD.decode(entry["body"].as_str().unwrap_or_default()).unwrap_or_default();
            let body = String::from_utf8_lossy(&body).into_owned();
            let form = body.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default();
            let operation = match header("X-Amz-Target").rsplit_once('.') {
                Some((_, operation)) => operation.to_owned(),
                None => form.to_owned(),
            };
            Asked { operation, authorization: header("Authorization"), body }
        };
        entries.map(asked).collect()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // The shell has ended the server when it ends itself.
        let _ = self.child.wait();
    }
}

/// One request and its answer: status and body. Nothing where nobody answers.
fn exchange(address: SocketAddr, request: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
