//! The trouble: a job that starts a report, does not see it end, and starts the next one.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use incident_response::adapters::postgres::tokio_postgres::Client;
use tokio::time::Instant;

use crate::servers::connect;

/// A report every so often.
const EVERY: Duration = Duration::from_millis(250);
/// So long the job goes on before it gives up by itself.
pub(crate) const LASTS: Duration = Duration::from_secs(20);

/// What became of the reports.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    pub(crate) begun: AtomicU32,
    pub(crate) kept_out: AtomicU32,
    pub(crate) cancelled: AtomicU32,
    pub(crate) made: AtomicU32,
}

/// Each locks the row that it is to fill, and then joins every order with every other one, to no end. Whoever wants the same
/// row waits, and keeps a connection meanwhile.
const HEAVY: &str = "\
SELECT sum(n) FROM (SELECT a.customer, count(*) AS n FROM orders a JOIN orders b ON a.total + b.customer > b.total + a.id % 13 \
JOIN orders c ON c.id = (a.id + b.id) % 20000 + 1 GROUP BY a.customer ORDER BY n DESC) AS lines";

/// Begins reports until the job gives up. Those that were begun go on.
pub(crate) async fn run_away(database: SocketAddr, reports: Arc<Reports>) {
    let until = Instant::now() + LASTS;
    let mut every = tokio::time::interval(EVERY);
    for number in 0_i32.. {
        every.tick().await;
        if Instant::now() >= until {
            return;
        }
        let reports = reports.clone();
        tokio::spawn(async move {
            let Ok(client) = connect(database, "reports").await else {
                reports.kept_out.fetch_add(1, Ordering::Relaxed);
                return;
            };
            reports.begun.fetch_add(1, Ordering::Relaxed);
            be_nice(&client).await;
            let report =
                format!("BEGIN; SELECT lines FROM report WHERE id = {} FOR UPDATE; {HEAVY}; COMMIT", number % 2 + 1);
            let end = match client.batch_execute(&report).await {
                Ok(()) => &reports.made,
                Err(_) => &reports.cancelled,
            };
            end.fetch_add(1, Ordering::Relaxed);
        });
    }
}

/// What reports compute is left to idle cores, so that this program harms nothing else that runs here. Connections and locks are
/// what the shop runs out of.
async fn be_nice(client: &Client) {
    let Ok(row) = client.query_one("SELECT pg_backend_pid()", &[]).await else { return };
    let pid: i32 = row.get(0);
    // Where it is not allowed, reports compute as everybody else does.
    let _ = Command::new("renice").args(["-n", "19", "-p", &pid.to_string()]).stdout(Stdio::null()).status();
}

/// Whether an ordinary report can be made.
pub(crate) async fn works(database: SocketAddr) -> bool {
    let Ok(client) = connect(database, "reports").await else { return false };
    client.query_one("SELECT count(*) FROM orders WHERE customer = 1", &[]).await.is_ok()
}
