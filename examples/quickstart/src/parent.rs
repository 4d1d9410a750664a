//! A role never outlives the process that started it.

use std::io::BufRead;

use tokio::sync::mpsc;

/// Exit code of a role whose parent went away.
const ORPHANED: i32 = 3;

/// The lines that the parent sends over our standard input. When that ends, the parent is gone, even by `kill -9`, and
/// so are we: a thread of its own sees to it, whatever the rest of the process is stuck in.
pub(crate) fn lines() -> mpsc::UnboundedReceiver<String> {
    input(|| std::process::exit(ORPHANED))
}

/// The lines that a person types, for the director, which has no parent to watch.
pub(crate) fn typed() -> mpsc::UnboundedReceiver<String> {
    input(|| ())
}

fn input(at_end: impl FnOnce() + Send + 'static) -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            // A role that takes no lines has dropped the receiver, which is no reason to stop watching.
            let _ = sender.send(line);
        }
        at_end();
    });
    receiver
}

/// Returns when somebody asks this process to stop (SIGTERM).
pub(crate) async fn asked_to_stop() -> anyhow::Result<()> {
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    signal.recv().await;
    Ok(())
}
