//! The real servers: PostgreSQL, its exporter, Prometheus. Each on a free port, gone with the value.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use incident_response::adapters::clock::SystemClock;
use incident_response::adapters::http::{HttpClient, HttpConfig, HttpUrl};
use incident_response::adapters::postgres::tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};
use incident_response::prelude::Ctx;
use tempfile::TempDir;

/// So many sessions there may be. Three are kept for superusers.
pub(crate) const MAX_CONNECTIONS: u32 = 70;
/// Longer than any of them takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The signal by which PostgreSQL ends at once with all its sessions. It ends the others as well.
const END: &str = "QUIT";
const PACKAGES: [(&str, &str); 4] = [
    ("postgres", "postgresql-15"),
    ("prometheus-postgres-exporter", "prometheus-postgres-exporter"),
    ("prometheus", "prometheus"),
    ("setpriv", "util-linux"),
];

/// All of them. The folder goes last.
pub(crate) struct Servers {
    pub(crate) postgres: SocketAddr,
    pub(crate) prometheus: SocketAddr,
    running: Vec<Running>,
    folder: TempDir,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // PostgreSQL takes its sessions along when it is told so, and those that compute would go on when it is just killed. It
        // may have ended by itself.
        let line = format!("kill -{END} {}", self.0.id());
        let _ = Command::new("sh").args(["-c", &line]).status();
        for _ in 0..100 {
            if self.0.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Servers {
    /// Starts all, and waits until they answer. `shop` is where the shop tells its metrics.
    pub(crate) async fn start(shop: SocketAddr) -> Result<Self> {
        check_components()?;
        let folder = tempfile::tempdir()?;
        // The database runs as another user and must be able to pass through.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let (postgres, prometheus, exporter) = (free()?, free()?, free()?);
        let mut servers = Self { postgres, prometheus, running: Vec::new(), folder };
        servers.start_postgres().await?;
        servers.start_exporter(exporter).await?;
        servers.start_prometheus(shop, exporter).await?;
        Ok(servers)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn start_postgres(&mut self) -> Result<()> {
        let data = self.folder().join("postgres");
        std::fs::create_dir(&data)?;
        if user("-u", "")? == 0 {
            chown(&data, Some(user("-u", "postgres")?), Some(user("-g", "postgres")?))?;
        }
        let made = as_postgres("initdb")?
            .args(["-A", "trust", "-U", "postgres", "-N", "--wal-segsize=1", "-D"])
            .arg(&data)
            .current_dir("/")
            .output()
            .context("`initdb` does not start")?;
        ensure!(made.status.success(), "`initdb` failed: {}", String::from_utf8_lossy(&made.stderr));
        let mut command = as_postgres("postgres")?;
        command.arg("-D").arg(&data).arg("-k").arg(&data).args(["-p", &self.postgres.port().to_string()]);
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("max_connections={MAX_CONNECTIONS}"),
            "fsync=off".to_owned(),
            "compute_query_id=on".to_owned(),
            // One report, one core.
            "max_parallel_workers_per_gather=0".to_owned(),
        ];
        for setting in settings {
            command.args(["-c", &setting]);
        }
        self.run(command, "postgres.log")?;
        let client = wait("PostgreSQL answers", async || connect(self.postgres, "postgres").await.ok()).await?;
        client.batch_execute(include_str!("setup.sql")).await?;
        client.batch_execute(incident_response::adapters::postgres::GRANTS).await?;
        Ok(())
    }

    async fn start_exporter(&mut self, address: SocketAddr) -> Result<()> {
        let mut command = watched("prometheus-postgres-exporter");
        command
            .env("DATA_SOURCE_NAME", format!("postgresql://exporter@{}/postgres?sslmode=disable", self.postgres))
            .args([&format!("--web.listen-address={address}"), "--disable-settings-metrics"])
            .args(["--no-collector.database", "--no-collector.bgwriter"]);
        self.run(command, "exporter.log")?;
        wait("the exporter sees PostgreSQL", async || {
            get(&format!("http://{address}/metrics")).await.filter(|page| page.contains("\npg_up 1"))
        })
        .await?;
        Ok(())
    }

    async fn start_prometheus(&mut self, shop: SocketAddr, exporter: SocketAddr) -> Result<()> {
        let job = |name: &str, target: SocketAddr| {
            format!(
                "- job_name: {name}\n  static_configs:\n  - targets: ['{target}']\n    labels: {{ service: {name} }}\n"
            )
        };
        let config = format!(
            "global: {{ scrape_interval: 500ms, scrape_timeout: 500ms }}\nscrape_configs:\n{}{}",
            job("shop", shop),
            job("orders-db", exporter)
        );
        let path = self.folder().join("prometheus.yml");
        std::fs::write(&path, config)?;
        let mut command = watched("prometheus");
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", self.folder().join("prometheus").display()))
            .arg(format!("--web.listen-address={}", self.prometheus));
        self.run(command, "prometheus.log")?;
        let question = "count(pg_stat_activity_count) and count(http_requests_total)";
        let url = format!("http://{}/api/v1/query?query={}", self.prometheus, question.replace(' ', "%20"));
        wait("Prometheus has seen both", async || get(&url).await.filter(|answer| answer.contains("\"value\"")))
            .await?;
        Ok(())
    }

    fn run(&mut self, mut command: Command, log: &str) -> Result<()> {
        let log = std::fs::File::create(self.folder().join(log))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
        let told = format!("{:?} does not start", command.get_program());
        self.running.push(Running(command.spawn().context(told)?));
        Ok(())
    }
}

/// A session of `role`, which goes on by itself.
pub(crate) async fn connect(
    address: SocketAddr,
    role: &str,
) -> Result<Client, incident_response::adapters::postgres::tokio_postgres::Error> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(address.port()).user(role).dbname("postgres");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// What the catalogue holds of roles, as the superuser reads it.
pub(crate) async fn catalogue(address: SocketAddr) -> Result<Vec<String>> {
    let client = connect(address, "postgres").await?;
    let question = "SELECT a::text FROM pg_authid a UNION ALL SELECT s::text FROM pg_db_role_setting s \
                    UNION ALL SELECT m::text FROM pg_auth_members m ORDER BY 1";
    let messages = client.simple_query(question).await?;
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    Ok(messages.iter().filter_map(row).collect())
}

fn check_components() -> Result<()> {
    let there = |name: &str| match name {
        "postgres" => program("postgres").is_some(),
        _ => std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|p| p.join(name).exists())),
    };
    let missing: Vec<&str> = PACKAGES.iter().filter(|(name, _)| !there(name)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        bail!("something is missing: apt-get install -y --no-install-recommends {}", missing.join(" "));
    }
    Ok(())
}

/// Debian keeps the programs of each version apart, and none of them on the path.
fn program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> =
        versions.filter_map(Result::ok).map(|version| version.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop()
}

/// A program that is killed when we are, however we end.
fn watched(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", END, name]);
    command
}

/// A program of PostgreSQL, which does not run as root.
fn as_postgres(name: &str) -> Result<Command> {
    let program = program(name).with_context(|| format!("there is no `{name}`"))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", END]);
    if user("-u", "")? == 0 {
        let (user, group) = (user("-u", "postgres")?, user("-g", "postgres")?);
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
    }
    command.arg(program);
    Ok(command)
}

/// A number of a user, our own when no name is given.
fn user(which: &str, name: &str) -> Result<u32> {
    let output = Command::new("id").arg(which).args((!name.is_empty()).then_some(name)).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("there is no user `{name}`"))
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

async fn get(url: &str) -> Option<String> {
    let ctx = Ctx::new(std::sync::Arc::new(SystemClock::new()));
    let client = HttpClient::new("check", HttpConfig::default());
    let reply = client.get(&ctx, &HttpUrl::parse(url).ok()?).await.ok()?;
    Some(String::from_utf8_lossy(&reply.body).into_owned())
}

/// Asks again and again until there is an answer.
async fn wait<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.with_context(|| format!("waited in vain: {what}"))
}
