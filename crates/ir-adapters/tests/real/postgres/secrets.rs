//! A password is in no error and in no log, and neither is what a query says.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Mutex;

use ir_adapters::postgres::PostgresActions;
use ir_core::{Executor, Secret};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::cluster::Cluster;
use super::{call, config, ctx};

/// In no other test, since all of them share one log.
const HIDDEN: &str = "nightingale-password";
const QUERY: &str = "SELECT pg_sleep(600), 'nightingale-literal'";

fn url(address: SocketAddr) -> Secret {
    Secret::new(format!("postgresql://incident_response:{HIDDEN}@{address}/postgres"))
}

/// Keeps what is logged, at every level.
struct Kept(Mutex<String>);

impl log::Log for Kept {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        writeln!(self.0.lock().unwrap(), "{} {}", record.target(), record.args()).unwrap();
    }

    fn flush(&self) {}
}

static LOG: Kept = Kept(Mutex::new(String::new()));

/// A server that wants the password in clear, and sends it back with every message it has.
async fn parrot() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut chunk = [0; 4096];
            // Its wish for TLS is refused first.
            let _ = stream.read(&mut chunk).await;
            let _ = stream.write_all(b"N").await;
            let _ = stream.read(&mut chunk).await;
            let _ = stream.write_all(b"R\0\0\0\x08\0\0\0\x03").await;
            let Ok(n @ 6..) = stream.read(&mut chunk).await else { continue };
            let heard = String::from_utf8_lossy(&chunk[5..n - 1]).into_owned();
            for kind in [b'N', b'E'] {
                let body = format!("SFATAL\0VFATAL\0C28P01\0Mno: {heard}\0D{heard}\0H{heard}\0\0");
                let mut message = vec![kind];
                message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
                message.extend(body.as_bytes());
                let _ = stream.write_all(&message).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn no_password_and_no_literal_is_ever_told() {
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let cluster = Cluster::start(&[]).await;
    cluster.with_roles("another").await;
    let running = cluster.run_away("reports", QUERY).await;
    cluster.wait_a_second("reports").await;
    let mut told = String::new();
    let cancel = call("postgres.cancel_queries", json!({ "role": "reports", "min_seconds": 1, "max_sessions": 5 }));

    // The wrong password, nobody there, a server that repeats what it hears.
    for address in [cluster.address, crate::server::free_address(), parrot().await] {
        let executor = PostgresActions::new(config(), &url(address)).unwrap();
        let error = executor.preview(&ctx(), &cancel).await.unwrap_err();
        write!(told, "{executor:?} {error} {error:?} {:?} ", error.to_failure()).unwrap();
    }
    assert!(told.contains("28P01"), "{told}");
    // Addresses that cannot be read.
    let wrong = [
        format!("postgresql://u:{HIDDEN}@host:port/x"),
        format!("postgresql://u:{HIDDEN}"),
        format!("{HIDDEN}=1"),
        format!("host=h password={HIDDEN} {HIDDEN}"),
        format!("host=h options={HIDDEN} port={HIDDEN}"),
    ];
    for wrong in wrong {
        let error = PostgresActions::new(config(), &Secret::new(wrong)).unwrap_err();
        assert!(error.problems().iter().any(|problem| problem.field == "url"), "{error}");
        write!(told, "{error} {error:?} ").unwrap();
    }
    // With the right one it works, and the literals of what runs are not told either.
    // The test's own client logs what it runs, so it says the password in two halves.
    let (one, two) = HIDDEN.split_at(4);
    let set = format!("EXECUTE 'ALTER ROLE incident_response PASSWORD ''' || '{one}' || '{two}' || ''''");
    cluster.sql(&format!("DO $$ BEGIN {set}; END $$")).await;
    let executor = PostgresActions::new(config(), &url(cluster.address)).unwrap();
    executor.connect(&ctx()).await.unwrap();
    let preview = executor.preview(&ctx(), &cancel).await.unwrap();
    write!(told, "{executor:?} {preview:?}").unwrap();
    let logged = LOG.0.lock().unwrap().clone();
    assert!(logged.contains("tokio_postgres"), "the client library logs through `log`: {logged}");
    // The one line with the literal is that of the test's own client, which ran it.
    let holding: Vec<&str> = logged.lines().filter(|line| line.contains("nightingale")).collect();
    assert!(holding.len() == 1 && holding[0].ends_with(QUERY), "{holding:?}");
    assert!(!told.contains("nightingale"), "{told}");
    drop(running);
}
