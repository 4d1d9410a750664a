//! One process of a service: started, watched, told, stopped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};

use crate::http::{Call, Client};

/// A process that takes longer to come up counts as failed.
const START_TIMEOUT: Duration = Duration::from_secs(5);
const HEALTH_EVERY: Duration = Duration::from_millis(20);
const HEALTH_TIMEOUT: Duration = Duration::from_millis(500);

/// What a new process is given.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) service: &'static str,
    pub(crate) id: String,
    pub(crate) generation: u64,
    pub(crate) version_file: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) peer: Option<(&'static str, SocketAddr)>,
}

#[derive(Debug)]
enum Order {
    Terminate,
    Kill,
    /// A line for its standard input.
    Tell(String),
}

/// A running process, until [`Instance::exited`].
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) generation: u64,
    pub(crate) address: SocketAddr,
    orders: mpsc::UnboundedSender<Order>,
    exited: watch::Receiver<Option<String>>,
}

impl Instance {
    /// Starts a process and returns once it says of itself that it is healthy.
    pub(crate) async fn start(start: Start) -> Result<Self> {
        let mut command = Command::new(&start.program);
        command.arg("service").args(["--name", start.service, "--instance", &start.id]);
        command.arg("--version-file").arg(&start.version_file).arg("--log").arg(&start.log);
        // Whatever a process drops when it dies (a core, for one) falls among the logs.
        if let Some(folder) = start.log.parent() {
            command.current_dir(folder);
        }
        if let Some((peer, address)) = start.peer {
            command.args(["--peer", peer, "--peer-address", &address.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start `{}`", start.program.display()))?;
        let address = match tokio::time::timeout(START_TIMEOUT, first_healthy(&mut child)).await {
            Ok(address) => address.with_context(|| format!("{} does not come up", start.id))?,
            Err(_) => bail!("{} is not healthy within {} s", start.id, START_TIMEOUT.as_secs()),
        };
        let (orders, inbox) = mpsc::unbounded_channel();
        let (exit, exited) = watch::channel(None);
        tokio::spawn(keep(child, inbox, exit));
        Ok(Self { id: start.id, generation: start.generation, address, orders, exited })
    }

    /// Waits until the process is gone and says how it ended.
    pub(crate) async fn exited(&self) -> String {
        let mut exited = self.exited.clone();
        let gone = exited.wait_for(Option::is_some).await.map(|how| how.clone());
        gone.ok().flatten().unwrap_or_else(|| "lost".to_owned())
    }

    /// Asks the process to stop and makes it, after `grace`.
    pub(crate) async fn stop(&self, grace: Duration) {
        // An order to a process that is gone is already carried out.
        let _ = self.orders.send(Order::Terminate);
        if tokio::time::timeout(grace, self.exited()).await.is_err() {
            let _ = self.orders.send(Order::Kill);
            self.exited().await;
        }
    }

    pub(crate) fn tell(&self, line: &str) {
        let _ = self.orders.send(Order::Tell(line.to_owned()));
    }
}

/// Reads where the process listens and asks there until it is healthy.
async fn first_healthy(child: &mut Child) -> Result<SocketAddr> {
    let stdout = child.stdout.take().context("no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    let address: SocketAddr = line.trim().parse().with_context(|| format!("it says `{}`", line.trim()))?;
    let client = Client::new(address);
    loop {
        match client.call(Call::get("/healthz"), HEALTH_TIMEOUT).await {
            Ok((200, _)) => return Ok(address),
            _ => tokio::time::sleep(HEALTH_EVERY).await,
        }
    }
}

/// Owns the process until it is gone. Only here are signals sent, and only while it has not been reaped: its number
/// cannot have passed to another process meanwhile.
async fn keep(mut child: Child, mut inbox: mpsc::UnboundedReceiver<Order>, exit: watch::Sender<Option<String>>) {
    let mut stdin = child.stdin.take();
    let how = loop {
        tokio::select! {
            status = child.wait() => break status.map_or_else(|error| error.to_string(), |status| status.to_string()),
            Some(order) = inbox.recv() => match order {
                Order::Terminate => {
                    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                        let _ = kill_process(pid, Signal::TERM);
                    }
                }
                Order::Kill => drop(child.start_kill()),
                Order::Tell(line) => tell(stdin.as_mut(), &line).await,
            },
        }
    };
    exit.send_replace(Some(how));
}

async fn tell(stdin: Option<&mut ChildStdin>, line: &str) {
    if let Some(stdin) = stdin {
        // A process that is just dying cannot be told; its end is reported anyway.
        let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
    }
}
