//! The shop: customers come at their own pace, whether the database answers or not, and each is written down.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::servers::connect;

/// A customer every so often, in each of the streams.
const EVERY: Duration = Duration::from_millis(120);
const STREAMS: u32 = 4;
/// So long a customer waits before going away.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1_500);
/// After being turned away at the door of the database, it is tried again so much later.
const TRY_AGAIN: Duration = Duration::from_millis(400);
/// Upper bounds of the histogram, in seconds.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// One customer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit {
    pub(crate) came: Instant,
    pub(crate) waited: Duration,
    pub(crate) served: bool,
}

/// Everybody who came so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Vec<Visit>>>);

impl Book {
    pub(crate) fn visits(&self) -> Vec<Visit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, visit: Visit) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(visit);
    }

    /// The page that Prometheus reads. The shop does nothing but ask the database, so a call takes as long as a request.
    fn page(&self) -> String {
        let visits = self.visits();
        let mut codes: BTreeMap<&str, u64> = BTreeMap::from([("200", 0), ("504", 0)]);
        let mut buckets = [0_u64; BUCKETS.len()];
        let mut sum = 0.0;
        for visit in &visits {
            *codes.entry(if visit.served { "200" } else { "504" }).or_default() += 1;
            let secs = visit.waited.as_secs_f64();
            sum += secs;
            for (bucket, _) in buckets.iter_mut().zip(BUCKETS).filter(|(_, bound)| secs <= *bound) {
                *bucket += 1;
            }
        }
        let mut page = String::new();
        for (name, peer) in [("http", ""), ("downstream", "peer=\"orders-db\",")] {
            let seconds = format!("{name}_request_duration_seconds");
            // Writing to a string cannot fail.
            let _ = writeln!(page, "# TYPE {name}_requests_total counter");
            for (code, count) in &codes {
                let code = if *code == "504" && name == "downstream" { "timeout" } else { code };
                let _ = writeln!(page, "{name}_requests_total{{{peer}code=\"{code}\"}} {count}");
            }
            let _ = writeln!(page, "# TYPE {seconds} histogram");
            for (bound, count) in BUCKETS.iter().zip(buckets) {
                let _ = writeln!(page, "{seconds}_bucket{{{peer}le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(page, "{seconds}_bucket{{{peer}le=\"+Inf\"}} {}", visits.len());
            let labels = if peer.is_empty() { String::new() } else { format!("{{{}}}", peer.trim_end_matches(',')) };
            let _ = writeln!(page, "{seconds}_sum{labels} {sum}\n{seconds}_count{labels} {}", visits.len());
        }
        page
    }
}

/// Answers everybody who asks for metrics.
pub(crate) async fn tell_metrics(listener: TcpListener, book: Book) {
    // Who cannot be accepted or hangs up comes again.
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let book = book.clone();
        tokio::spawn(async move {
            let mut chunk = [0; 4096];
            let _ = stream.read(&mut chunk).await;
            let page = book.page();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n";
            let _ = stream.write_all(format!("{head}content-length: {}\r\n\r\n{page}", page.len()).as_bytes()).await;
        });
    }
}

/// Lets customers in until it is dropped.
pub(crate) async fn open(database: SocketAddr, book: Book) {
    let mut streams = tokio::task::JoinSet::new();
    for stream in 0..STREAMS {
        let book = book.clone();
        streams.spawn(async move {
            let mut customers = tokio::task::JoinSet::new();
            let mut every = tokio::time::interval_at(Instant::now() + EVERY / STREAMS * stream, EVERY);
            // The load is what it is: a customer who waits keeps no other from coming.
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
            for number in 0_u32.. {
                every.tick().await;
                let book = book.clone();
                customers.spawn(async move {
                    let came = Instant::now();
                    let served = tokio::time::timeout(PATIENCE, serve(database, number * STREAMS + stream)).await;
                    book.write(Visit { came, waited: came.elapsed(), served: matches!(served, Ok(true)) });
                });
                while customers.try_join_next().is_some() {}
            }
        });
    }
    while streams.join_next().await.is_some() {}
}

/// Serves one customer on a session of its own, as programs without a pool do.
async fn serve(database: SocketAddr, number: u32) -> bool {
    let client = loop {
        match connect(database, "shop").await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(TRY_AGAIN).await,
        }
    };
    let order = i32::try_from(number * 7 % 20_000).unwrap_or(0) + 1;
    let piece = i32::try_from(number % 500).unwrap_or(0) + 1;
    client.query_one("SELECT total FROM orders WHERE id = $1", &[&order]).await.is_ok()
        && client.execute("UPDATE stock SET pieces = pieces - 1 WHERE id = $1", &[&piece]).await.is_ok()
}
