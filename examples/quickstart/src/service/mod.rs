//! One service process: it answers requests, calls the next service, measures and logs what it does, and can go bad.

mod log;
mod metrics;
mod state;
mod work;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::fault::Fault;
use crate::http;
use crate::parent;
use crate::records::{self, Version};
use state::State;

/// After being asked to stop, requests on open connections are still answered for this long, each with the word that
/// it was the last one there. So callers move over by themselves and none meets a door that is just closing.
const LAME_DUCK: Duration = Duration::from_millis(300);

/// What a service is told at its start.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) name: String,
    pub(crate) instance: String,
    pub(crate) version_file: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) peer: Option<Peer>,
}

/// The next service down the chain.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
}

/// Runs until asked to stop.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut commands = parent::lines();
    let version: Version = records::read_json(&options.version_file)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen")?;
    let address = listener.local_addr()?;
    let state = Arc::new(State::new(&options, version)?);
    state.log.event("info", "started", &[]);

    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(http::serve(listener, stopped, {
        let state = Arc::clone(&state);
        move |request| work::answer(Arc::clone(&state), request)
    }));
    announce(address);

    let mut terminated = std::pin::pin!(parent::asked_to_stop());
    loop {
        tokio::select! {
            asked = &mut terminated => {
                asked?;
                break;
            }
            Some(command) = commands.recv() => go_bad(&state, &command),
        }
    }
    state.draining.store(true, Ordering::Relaxed);
    tokio::time::sleep(LAME_DUCK).await;
    // Whoever hangs, hangs here too: it cannot put its affairs in order, and only a SIGKILL ends it.
    let affairs = state.turn.read().await;
    stop.send_replace(true);
    server.await?;
    drop(affairs);
    state.log.event("info", "stopped", &[]);
    Ok(())
}

/// Tells the supervisor where we listen. It reads this one line and no further.
fn announce(address: SocketAddr) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // If nobody reads it, nobody will send requests either, and our standard input has ended.
    let _ = writeln!(out, "{address}").and_then(|()| out.flush());
}

/// Nature strikes. An unknown command changes nothing: only the supervisor of the same program sends any.
fn go_bad(state: &Arc<State>, command: &str) {
    match command.parse::<Fault>() {
        Ok(Fault::Crash) => std::process::abort(),
        Ok(Fault::Hang) => {
            let state = Arc::clone(state);
            tokio::spawn(async move {
                // A deadlock as in real life: somebody takes the lock that all need and never gives it back.
                let _held = state.turn.write().await;
                std::future::pending::<()>().await;
            });
        }
        Ok(Fault::Leak) => {
            tokio::spawn(state::leak(Arc::clone(state)));
        }
        Ok(Fault::Errors) => state.spoiled.store(true, Ordering::Relaxed),
        Ok(Fault::Slow | Fault::BadDeploy | Fault::None) | Err(_) => {}
    }
}
