//! The program beside moto: a deployment goes bad, is rolled back, and the API and the service's own count say that it
//! helped.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const INSTALLS: &str = "python3 -m venv target/venv && target/venv/bin/pip install 'moto[server]==5.2.5'";
const PROGRAM: &str = env!("CARGO_BIN_EXE_aws_rollback");
const TARGET: &str = "AmazonEC2ContainerServiceV20141113";

/// Killed with the value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test waits by the clock of the machine")]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Status and body; nothing where nobody answers.
fn exchange(port: u16, request: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.to_owned(), body.to_owned()))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// moto with a cluster and a service in it, and the process that plays the service.
struct World {
    folder: tempfile::TempDir,
    moto: u16,
    service: u16,
    definitions: [String; 2],
    _processes: [Process; 2],
}

impl World {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (moto, service) = (free_port(), free_port());
        let exe = std::env::current_exe().unwrap();
        let mut venvs = exe.ancestors().map(|folder| folder.join("venv/bin/moto_server"));
        let program = venvs.find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("moto_server"));
        let server = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &moto.to_string()])
            .env("MOTO_ENABLE_RECORDING", "true")
            .env("MOTO_RECORDER_FILEPATH", folder.path().join("recording"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let server = match server {
            Ok(child) => Process(child),
            Err(error) => panic!("`moto_server` does not start ({error}): {INSTALLS}"),
        };
        let ready = "GET /moto-api/data.json HTTP/1.0\r\n\r\n";
        wait_until("moto answers", || exchange(moto, ready).is_some_and(|(status, _)| status == "200"));
        ask(moto, "CreateCluster", &json!({ "clusterName": "main" }));
        let definitions = ["checkout:7", "checkout:8-bad"].map(|image| {
            let container = json!({ "name": "app", "image": image, "memory": 128, "essential": true });
            let body = json!({ "family": "checkout", "containerDefinitions": [container] });
            let answer = ask(moto, "RegisterTaskDefinition", &body);
            answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
        });
        let first = &definitions[0];
        let body = json!({ "cluster": "main", "serviceName": "checkout", "taskDefinition": first, "desiredCount": 2 });
        ask(moto, "CreateService", &body);
        let playing = program_for(moto, &["simulate", "--listen", &format!("127.0.0.1:{service}")]).spawn().unwrap();
        let processes = [server, Process(playing)];
        wait_until("the service is played", || exchange(service, "GET / HTTP/1.0\r\n\r\n").is_some());
        Self { folder, moto, service, definitions, _processes: processes }
    }

    /// The program, which watches this world.
    fn watch(&self, more: &[&str]) -> Process {
        let metrics = format!("http://127.0.0.1:{}/metrics", self.service);
        let journal = self.folder.path().join("journal").display().to_string();
        let common = ["--metrics", &metrics, "--every", "200", "--journal", &journal];
        Process(program_for(self.moto, &[&common, more].concat()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn deploy(&self, definition: &str) {
        ask(
            self.moto,
            "UpdateService",
            &json!({ "cluster": "main", "service": "checkout", "taskDefinition": definition }),
        );
    }

    /// The task definition that the API says is current.
    fn current(&self) -> String {
        let answer = ask(self.moto, "DescribeServices", &json!({ "cluster": "main", "services": ["checkout"] }));
        answer["services"][0]["taskDefinition"].as_str().unwrap().to_owned()
    }

    /// How often anybody changed the service, by moto's own record.
    fn n_updates(&self) -> usize {
        let record = std::fs::read_to_string(self.folder.path().join("recording")).unwrap();
        record.lines().filter(|line| line.contains(&format!("{TARGET}.UpdateService"))).count()
    }

    /// A number on the service's page.
    fn counted(&self, series: &str) -> u64 {
        let (_, page) = exchange(self.service, "GET / HTTP/1.0\r\n\r\n").unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap().trim().parse().unwrap()
    }

    /// Waits until the program has looked so often that it knows what is usual, and deploys the bad definition.
    fn go_bad(&self) {
        wait_until("the program has looked often", || self.counted("simulated_pages_total ") > 100);
        self.deploy(&self.definitions[1]);
    }
}

fn program_for(moto: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args(["--cluster", "main", "--service", "checkout", "--region", "eu-central-1"]);
    command.args(["--endpoint", &format!("http://127.0.0.1:{moto}")]);
    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-test");
    command
}

fn ask(moto: u16, operation: &str, body: &Value) -> Value {
    let body = body.to_string();
    let scope = "Credential=AKIAIOSFODNN7EXAMPLE/20260101/eu-central-1/ecs/aws4_request";
    let request = format!(
        "POST / HTTP/1.0\r\nhost: ecs.eu-central-1.amazonaws.com\r\nx-amz-target: {TARGET}.{operation}\r\n\
         authorization: AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0\r\n\
         content-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, answer) = exchange(moto, &request).unwrap();
    assert_eq!(status, "200", "{operation}: {answer}");
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn a_bad_deployment_is_rolled_back_once_and_the_service_is_well_again() {
    let world = World::make();
    let mut program = world.watch(&["--act", "--once"]);
    let mut output = BufReader::new(program.0.stdout.take().unwrap());
    world.go_bad();
    let mut told = String::new();
    output.read_to_string(&mut told).unwrap();
    assert!(program.0.wait().unwrap().success(), "{told}");
    for words in ["only looking", "is yours"] {
        assert!(!told.contains(words), "`{words}` is said:\n{told}");
    }
    for words in ["acting", "suspects checkout", "does: ecs.rollback checkout", "closes"] {
        assert!(told.contains(words), "`{words}` is not said:\n{told}");
    }
    // One update by this test, one by the program.
    assert_eq!((world.current(), world.n_updates()), (world.definitions[0].clone(), 2), "{told}");
    let (good, bad) = ("http_requests_total{code=\"200\"} ", "http_requests_total{code=\"500\"} ");
    let (n_good, n_bad) = (world.counted(good), world.counted(bad));
    assert!(n_bad > 0);
    wait_until("a hundred requests more are served", || world.counted(good) > n_good + 100);
    assert_eq!(world.counted(bad), n_bad);
}

#[test]
fn without_leave_to_act_it_only_says_what_it_would_do() {
    let world = World::make();
    let mut program = world.watch(&[]);
    let lines = BufReader::new(program.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    world.go_bad();
    let mut told = Vec::new();
    for line in lines {
        let is_over = line.contains("would do: ecs.rollback checkout");
        told.push(line);
        if is_over {
            break;
        }
    }
    assert!(told.last().is_some_and(|line| line.contains("would do")), "{}", told.join("\n"));
    assert!(told[0].contains("only looking"), "{}", told[0]);
    // What it recommends it has not done.
    assert_eq!((world.current(), world.n_updates()), (world.definitions[1].clone(), 1));
}
