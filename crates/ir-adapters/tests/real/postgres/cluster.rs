//! A PostgreSQL server of a test, what is asked of it as its superuser, and clients that run away.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ir_adapters::postgres::GRANTS;
use ir_adapters::postgres::tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::server::{Server, free_address, wait_for};

const INSTALL: &str = "apt-get install -y --no-install-recommends postgresql-15";
/// Everybody but the superuser shows a password.
const WHO_MAY: &str = "host all postgres 127.0.0.1/32 trust\nhostssl all tls 127.0.0.1/32 scram-sha-256\n\
                       hostnossl all tls 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// A cluster of its own, gone with the value.
pub(crate) struct Cluster {
    server: Option<Server>,
    settings: Vec<String>,
    pub(crate) address: SocketAddr,
}

impl Cluster {
    /// Makes a cluster, with `settings` as `name=value`, and waits until it answers.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        own(folder.path());
        let data = folder.path().join("data");
        let arguments = ["-D", &data.display().to_string(), "-U", "postgres", "-A", "trust", "-N", "--wal-segsize=1"];
        let made = as_user("initdb").args(arguments).current_dir("/").stdout(Stdio::null()).output();
        let made = made.unwrap_or_else(|error| panic!("`initdb` does not start ({error}): {INSTALL}"));
        assert!(made.status.success(), "{}: {INSTALL}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(data.join("pg_hba.conf"), WHO_MAY).unwrap();
        let mut cluster = Self {
            server: None,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            address: free_address(),
        };
        cluster.run(folder).await;
        cluster
    }

    async fn run(&mut self, mut folder: TempDir) {
        // What a killed server leaves behind may keep the next from starting for a moment.
        for attempt in 0.. {
            let path = folder.path().display().to_string();
            let mut arguments = vec!["-D".to_owned(), format!("{path}/data"), "-k".to_owned(), path];
            arguments.extend(["-p".to_owned(), self.address.port().to_string()]);
            let settings = self.settings.iter().map(String::as_str);
            for setting in ["listen_addresses=127.0.0.1", "fsync=off"].into_iter().chain(settings) {
                arguments.extend(["-c".to_owned(), setting.to_owned()]);
            }
            let mut line = as_user_line("postgres");
            line.extend(arguments);
            let (program, arguments) = line.split_first().unwrap();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let mut server = Server::start(program, "postgresql-15", folder, &arguments);
            let address = self.address;
            let up = wait_for("PostgreSQL answers", async || match server.has_ended() {
                true => Some(false),
                false => connect(address, "postgres", "").await.map(|_| true),
            });
            if up.await {
                self.server = Some(server);
                return;
            }
            assert!(attempt < 50, "{}", server.log());
            folder = server.kill();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Kills it without warning.
    pub(crate) fn kill(&mut self) -> TempDir {
        self.server.take().unwrap().kill()
    }

    /// Starts it again where it was.
    pub(crate) async fn start_again(&mut self, folder: TempDir) {
        self.run(folder).await;
    }

    #[cfg(feature = "tls")]
    pub(crate) fn data(&self) -> PathBuf {
        self.server.as_ref().unwrap().folder().join("data")
    }

    /// Does it as the superuser, and gives every value of every row.
    pub(crate) async fn sql(&self, text: &str) -> Vec<Vec<String>> {
        let client = connect(self.address, "postgres", "").await.unwrap();
        let messages = client.simple_query(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|n| row.get(n).unwrap_or("NULL").to_owned()).collect())
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }

    /// The first value.
    pub(crate) async fn value(&self, text: &str) -> String {
        self.sql(text).await.first().and_then(|row| row.first()).cloned().unwrap_or_default()
    }

    /// The executor's role with the rights of `grants.sql`, and the roles that it acts on.
    pub(crate) async fn with_roles(&self, password: &str) {
        self.sql(&format!(
            "CREATE ROLE incident_response LOGIN PASSWORD '{password}'; \
             CREATE ROLE reports LOGIN PASSWORD 'reports'; CREATE ROLE shop LOGIN PASSWORD 'shop'"
        ))
        .await;
        self.sql(GRANTS).await;
    }

    /// Begins `query` as `role`, and waits until the server runs it. Says in the end whether it was let through.
    pub(crate) async fn run_away(&self, role: &str, query: &str) -> JoinHandle<bool> {
        let client = connect(self.address, role, role).await.unwrap();
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get::<_, i32>(0);
        let query = query.to_owned();
        let running = tokio::spawn(async move { client.batch_execute(&query).await.is_ok() });
        let look = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'");
        self.until("the query runs", &look, "1").await;
        running
    }

    /// Waits until the youngest of the role's queries is over a second old.
    pub(crate) async fn wait_a_second(&self, role: &str) {
        let young = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND clock_timestamp() - \
             CASE state WHEN 'active' THEN query_start ELSE state_change END < interval '1100 ms'"
        );
        self.until("queries are a second old", &young, "0").await;
    }

    /// Asks again and again until the first value is `wanted`.
    pub(crate) async fn until(&self, what: &str, question: &str, wanted: &str) {
        for _ in 0..3_000 {
            if self.value(question).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("waited in vain: {what}");
    }

    /// Everything that the catalogue holds of roles, for comparisons. The order of a role's settings means nothing, and one that
    /// was taken away and brought back stands last.
    pub(crate) async fn roles(&self) -> Vec<Vec<String>> {
        let mut all = self.sql("SELECT a::text FROM pg_authid a ORDER BY oid").await;
        let settings = "SELECT setdatabase, setrole, (SELECT array_agg(c ORDER BY c) FROM unnest(setconfig) c)::text \
                        FROM pg_db_role_setting ORDER BY setdatabase, setrole";
        all.extend(self.sql(settings).await);
        all.extend(self.sql("SELECT m::text FROM pg_auth_members m ORDER BY roleid, member").await);
        all
    }
}

/// A connection that goes on by itself, or nothing when there is none to be had.
pub(crate) async fn connect(address: SocketAddr, user: &str, password: &str) -> Option<Client> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(address.port()).user(user).password(password).dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

fn is_root() -> bool {
    String::from_utf8_lossy(&Command::new("id").arg("-u").output().unwrap().stdout).trim() == "0"
}

/// The user that a server runs as, which does not run as root.
fn id(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("there is no user `postgres`: {INSTALL}"))
}

fn own(folder: &Path) {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    if is_root() {
        chown(folder, Some(id("-u")), Some(id("-g"))).unwrap();
    }
}

fn program(name: &str) -> String {
    let folder = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<PathBuf> = folder.map(|entry| entry.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop().unwrap_or_else(|| panic!("there is no `{name}`: {INSTALL}")).display().to_string()
}

/// As a user that is not root.
fn as_user_line(name: &str) -> Vec<String> {
    let program = program(name);
    if !is_root() {
        return vec![program];
    }
    let (user, group) = (format!("--reuid={}", id("-u")), format!("--regid={}", id("-g")));
    ["setpriv".to_owned(), user, group, "--clear-groups".to_owned(), program].to_vec()
}

fn as_user(name: &str) -> Command {
    let line = as_user_line(name);
    let (program, arguments) = line.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Writes a file that the server may read and nobody else.
#[cfg(feature = "tls")]
pub(crate) fn write_for_server(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    if is_root() {
        chown(path, Some(id("-u")), Some(id("-g"))).unwrap();
    }
}
