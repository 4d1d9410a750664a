//! An imaginary platform: workers that are tasks of this process, of which one gets stuck. Yours stands here instead.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// What can be said to a worker.
#[derive(Debug)]
enum Message {
    /// How many jobs were done?
    Jobs(oneshot::Sender<u32>),
    /// A job that never ends.
    Jam,
}

#[derive(Debug)]
struct Worker {
    generation: u64,
    inbox: mpsc::Sender<Message>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Inner {
    workers: BTreeMap<String, Worker>,
    /// The platform's own record of what was done to it, by which the responder is judged.
    restarts: Vec<String>,
    /// Answers by idempotency key: the same key has one effect.
    done: BTreeMap<String, String>,
}

/// The platform. Clones are the same platform.
#[derive(Debug, Clone)]
pub(crate) struct Platform(Arc<Mutex<Inner>>);

impl Platform {
    /// Starts workers of these names, on the runtime of the caller.
    pub(crate) fn start(names: &[&str]) -> Self {
        let workers = names.iter().map(|name| ((*name).to_owned(), Worker::start(1))).collect();
        Self(Arc::new(Mutex::new(Inner { workers, ..Inner::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here is left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All workers, by name.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().workers.keys().cloned().collect()
    }

    /// How often a worker was started.
    pub(crate) fn generation(&self, name: &str) -> Option<u64> {
        Some(self.lock().workers.get(name)?.generation)
    }

    /// How many jobs a worker has done; `None` when it does not say so in time.
    pub(crate) async fn jobs_of(&self, name: &str, patience: Duration) -> Option<u32> {
        let inbox = self.lock().workers.get(name)?.inbox.clone();
        let (answer, jobs) = oneshot::channel();
        // A full inbox is no answer either.
        inbox.try_send(Message::Jobs(answer)).ok()?;
        tokio::time::timeout(patience, jobs).await.ok()?.ok()
    }

    /// Gives a worker a job that never ends.
    pub(crate) async fn jam(&self, name: &str) -> anyhow::Result<()> {
        let inbox = self.lock().workers.get(name).map(|worker| worker.inbox.clone());
        inbox.ok_or_else(|| anyhow::anyhow!("no worker is named `{name}`"))?.send(Message::Jam).await?;
        Ok(())
    }

    /// Ends a worker and starts it again, once for each key; `None` when there is none of that name.
    pub(crate) fn restart(&self, name: &str, key: &str) -> Option<String> {
        let mut inner = self.lock();
        if let Some(answer) = inner.done.get(key) {
            return Some(answer.clone());
        }
        let worker = inner.workers.get_mut(name)?;
        worker.task.abort();
        *worker = Worker::start(worker.generation + 1);
        let answer = format!("{name} runs in generation {}", worker.generation);
        inner.restarts.push(name.to_owned());
        inner.done.insert(key.to_owned(), answer.clone());
        Some(answer)
    }

    /// Whether a restart with this key took place.
    pub(crate) fn has_done(&self, key: &str) -> bool {
        self.lock().done.contains_key(key)
    }

    /// Who was restarted, in order.
    pub(crate) fn restarts(&self) -> Vec<String> {
        self.lock().restarts.clone()
    }
}

impl Worker {
    fn start(generation: u64) -> Self {
        let (inbox, messages) = mpsc::channel(16);
        Self { generation, inbox, task: tokio::spawn(work(messages)).abort_handle() }
    }
}

/// A job every 20 ms, and answers in between.
async fn work(mut messages: mpsc::Receiver<Message>) {
    let mut jobs = 0;
    let mut next = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                // Whoever asked may have lost patience.
                Some(Message::Jobs(answer)) => drop(answer.send(jobs)),
                Some(Message::Jam) => std::future::pending().await,
                None => return,
            },
            _ = next.tick() => jobs += 1,
        }
    }
}
