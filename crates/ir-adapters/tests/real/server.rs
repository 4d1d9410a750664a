//! A server process of a test: its own folder, its own port, gone with the value.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How long any state may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    child: Child,
    folder: TempDir,
}

impl Server {
    /// Starts `program` with its output in its own folder.
    ///
    /// A missing program fails the test with the line that installs it.
    pub(crate) fn start(program: &str, package: &str, folder: TempDir, arguments: &[&str]) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        match command.spawn() {
            Ok(child) => Self { child, folder },
            Err(error) => {
                panic!("`{program}` does not start ({error}): apt-get install -y --no-install-recommends {package}")
            }
        }
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it ended by itself.
    #[cfg(feature = "postgres")]
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    /// Kills it without warning, and gives its folder for the next one.
    pub(crate) fn kill(mut self) -> TempDir {
        self.stop();
        std::mem::replace(&mut self.folder, TempDir::new().unwrap())
    }

    /// Asks it to end, waits until it has, and gives its folder for the next one.
    #[cfg(all(feature = "alertmanager", feature = "http", feature = "prometheus"))]
    pub(crate) async fn end(mut self) -> TempDir {
        self.signal("TERM");
        let child = &mut self.child;
        wait_for("the server ends", async || child.try_wait().unwrap()).await;
        std::mem::replace(&mut self.folder, TempDir::new().unwrap())
    }

    /// Sends it a signal by its name. `STOP` makes it silent.
    #[cfg(all(feature = "alertmanager", feature = "http", feature = "prometheus"))]
    pub(crate) fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    }

    fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("the server wrote:\n{}", self.log());
        }
    }
}

/// Something of the Python environment in the target folder, where `cargo xtask test` makes it.
pub(crate) fn venv(path: &str, packages: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let found = exe.ancestors().map(|folder| folder.join("venv").join(path)).find(|path| path.exists());
    let installs = format!("python3 -m venv target/venv && target/venv/bin/pip install {packages}");
    found.unwrap_or_else(|| panic!("`venv/{path}` is not in the target folder: {installs}"))
}

/// An address that nobody listens on at the moment.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// How long a test that is about staying power lasts: a few seconds by hand, longer where `cargo xtask test` says so.
#[cfg(all(feature = "alertmanager", feature = "http", feature = "prometheus"))]
pub(crate) fn soak() -> Duration {
    Duration::from_secs(std::env::var("IR_SOAK_SECS").map_or(5, |secs| secs.parse().unwrap()))
}

/// Looks again and again until it is so.
#[cfg(all(feature = "alertmanager", feature = "http", feature = "prometheus"))]
pub(crate) async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {what}");
}

/// Asks again and again until there is an answer.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
