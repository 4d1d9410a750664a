//! The program beside a real Prometheus: a service dies, and it says so, and what would help.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Killed with the value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service with metrics, which hangs up on everybody once it is dead.
fn service(dead: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if dead.load(Ordering::SeqCst) {
                continue;
            }
            let mut chunk = [0; 4096];
            let Ok(1..) = stream.read(&mut chunk) else { continue };
            let body = "process_resident_memory_bytes 1000000\n";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close";
            // Prometheus may be gone already.
            let _ = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    port
}

#[expect(clippy::disallowed_methods, reason = "a test waits by the clock of the machine")]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_service_that_dies_is_seen_and_a_restart_is_recommended() {
    let folder = tempfile::tempdir().unwrap();
    let dead = Arc::new(AtomicBool::new(false));
    let target = service(dead.clone());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "global: {{ scrape_interval: 500ms, scrape_timeout: 500ms }}\n\
         scrape_configs:\n- job_name: checkout\n  static_configs:\n  - targets: ['127.0.0.1:{target}']\n\
         - job_name: prometheus\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n"
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let prometheus = Command::new("prometheus")
        .current_dir(folder.path())
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _prometheus = match prometheus {
        Ok(child) => Process(child),
        Err(error) => {
            panic!("`prometheus` does not start ({error}): apt-get install -y --no-install-recommends prometheus")
        }
    };
    wait_until("Prometheus answers", || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        let mut answer = String::new();
        write!(stream, "GET /api/v1/query?query=count_over_time(up%5B1m%5D)%3E10 HTTP/1.0\r\n\r\n").unwrap();
        // What is no text is no answer.
        let _ = stream.read_to_string(&mut answer);
        answer.contains("checkout")
    });
    let url = format!("http://127.0.0.1:{port}");
    let mut program = Command::new(env!("CARGO_BIN_EXE_prometheus_loki_readonly"));
    program.args(["--prometheus", &url, "--every", "200", "--backfill", "60", "--for", "90"]);
    let mut program = Process(program.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(program.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "watching 2 entities; nothing will be touched");
    dead.store(true, Ordering::SeqCst);
    let mut told = Vec::new();
    for line in lines {
        let is_over = line.contains("is yours");
        told.push(line);
        if is_over {
            break;
        }
    }
    let told = told.join("\n");
    for words in ["sees:", "opens:", "suspects checkout", "would do: service.restart checkout", "is yours"] {
        assert!(told.contains(words), "`{words}` is not said:\n{told}");
    }
}
