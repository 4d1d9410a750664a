//! The clients: requests at a fixed rate, however slow the answers, and a record of what each of them saw.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::clock;
use crate::http::{Call, Client};
use crate::parent;
use crate::records::ClientRecord;

/// A client waits this long for its answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Requests under way at once, in seconds of load: above what waiting clients can add up to (see [`PATIENCE`]).
const IN_FLIGHT_SECS: usize = 4;

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) path: String,
    pub(crate) per_second: u32,
    pub(crate) out: PathBuf,
}

/// Sends until asked to stop, then waits for the answers still under way.
///
/// Open loop: each request is due at its own time, counted from the start, and a late answer delays no other request.
/// Otherwise a slow shop would be asked less and look better than it is.
pub(crate) async fn run(options: Options) -> Result<()> {
    let _lines = parent::lines();
    ensure!(options.per_second > 0, "a load of 0 per second is none");
    let client = Arc::new(Client::new(options.address));
    let out = File::create(&options.out).with_context(|| format!("cannot write `{}`", options.out.display()))?;
    let (records, inbox) = mpsc::channel(1024);
    let writer = tokio::spawn(write(out, inbox));
    let limit = Arc::new(Semaphore::new(options.per_second as usize * IN_FLIGHT_SECS));

    let (start, start_at) = (clock::monotonic(), clock::now());
    let mut stop = std::pin::pin!(parent::asked_to_stop());
    for number in 0_u64.. {
        let due = Duration::from_nanos(number * 1_000_000_000 / u64::from(options.per_second));
        tokio::select! {
            asked = &mut stop => {
                asked?;
                break;
            }
            () = tokio::time::sleep_until(start + due) => {}
        }
        let request = Request {
            due: start + due,
            at: start_at.checked_add(SignedDuration::try_from(due)?)?,
            trace_id: format!("{:016x}", number + 1),
            path: options.path.clone(),
        };
        let (client, limit, records) = (Arc::clone(&client), Arc::clone(&limit), records.clone());
        tokio::spawn(async move {
            let record = match limit.try_acquire() {
                Ok(_permit) => request.send(&client).await,
                Err(_) => request.seen(Err("too many requests under way".to_owned())),
            };
            // The writer is gone only when it failed, which ends the run.
            let _ = records.send(record).await;
        });
    }
    drop(records);
    writer.await?
}

struct Request {
    due: Instant,
    at: Timestamp,
    trace_id: String,
    path: String,
}

impl Request {
    async fn send(self, client: &Client) -> ClientRecord {
        let headers = [("x-trace-id", self.trace_id.as_str())];
        let call = Call { headers: &headers, ..Call::get(&self.path) };
        let patience = (self.due + PATIENCE).saturating_duration_since(clock::monotonic());
        let answer = client.call(call, patience).await;
        self.seen(answer.map(|(status, _)| status).map_err(|error| error.to_string()))
    }

    fn seen(&self, answer: Result<u16, String>) -> ClientRecord {
        let latency_ms = self.due.elapsed().as_secs_f64() * 1000.0;
        let (status, error) = match answer {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error)),
        };
        ClientRecord { at: self.at, latency_ms: (latency_ms * 1000.0).round() / 1000.0, status, error }
    }
}

/// Each line is in the file as soon as the answer is there: the director reads along.
async fn write(mut out: File, mut inbox: mpsc::Receiver<ClientRecord>) -> Result<()> {
    while let Some(record) = inbox.recv().await {
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        out.write_all(&line).context("cannot write what clients saw")?;
    }
    Ok(())
}
