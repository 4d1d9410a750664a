//! Each operation happens once, whoever asks how often; and nobody with an old token starts one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::effects::Author;
use super::supervisor::{Service, Supervisor};
use crate::records::EffectKind;

/// What is asked for. Two requests under the same key must ask for the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) kind: EffectKind,
    pub(crate) service: String,
    pub(crate) version: Option<String>,
}

/// The answer to an operation: the same for everyone who asks under its key.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// Why an operation did not begin. It leaves no trace, so the key stays free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoSuchService,
    /// A newer holder has been here: its token.
    OldToken(u64),
    OtherWish,
}

#[derive(Debug)]
pub(crate) struct Operations {
    pub(crate) supervisor: Arc<Supervisor>,
    table: Mutex<Table>,
    /// For trials that kill the asker between the effect and its answer: the next answer waits so long.
    hold_reply_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    by_key: HashMap<String, (Wish, watch::Receiver<Option<Answer>>)>,
    /// The highest token seen, by service.
    fences: HashMap<String, u64>,
}

impl Table {
    fn fence(&mut self, service: &str, token: u64) -> Result<(), Refusal> {
        let highest = self.fences.entry(service.to_owned()).or_default();
        if token < *highest {
            return Err(Refusal::OldToken(*highest));
        }
        *highest = token;
        Ok(())
    }
}

impl Operations {
    pub(crate) fn new(supervisor: Arc<Supervisor>) -> Arc<Self> {
        Arc::new(Self { supervisor, table: Mutex::default(), hold_reply_ms: AtomicU64::new(0) })
    }

    pub(crate) fn hold_next_reply(&self, ms: u64) {
        self.hold_reply_ms.store(ms, Ordering::SeqCst);
    }

    /// Begins the operation or finds the one already begun under the same key, and waits for its answer. The
    /// operation itself runs in a task of its own: it goes on when the asker hangs up.
    pub(crate) async fn perform(self: &Arc<Self>, wish: Wish, author: Author) -> Result<Answer, Refusal> {
        let (mut answer, hold) = self.begin(wish, author)?;
        let found = answer.wait_for(Option::is_some).await.map(|answer| answer.clone());
        tokio::time::sleep(hold).await;
        let lost = || Answer { status: 500, body: json!({ "error": "the operation was lost" }) };
        Ok(found.ok().flatten().unwrap_or_else(lost))
    }

    fn begin(
        self: &Arc<Self>,
        wish: Wish,
        author: Author,
    ) -> Result<(watch::Receiver<Option<Answer>>, Duration), Refusal> {
        let service = self.supervisor.service(&wish.service).ok_or(Refusal::NoSuchService)?;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // A known key first: asking again is no new operation, whatever happened to the token since.
        if let Some((first, answer)) = table.by_key.get(&author.key) {
            return if *first == wish { Ok((answer.clone(), Duration::ZERO)) } else { Err(Refusal::OtherWish) };
        }
        if let Some(token) = author.token {
            table.fence(&wish.service, token)?;
        }
        let held = match wish.kind {
            EffectKind::Restart | EffectKind::Rollback => self.hold_reply_ms.swap(0, Ordering::SeqCst),
            EffectKind::Deploy => 0,
        };
        // INVARIANT (once per key): check and entry happen under one lock, so that of two equal requests one begins.
        let (done, answer) = watch::channel(None);
        table.by_key.insert(author.key.clone(), (wish.clone(), answer.clone()));
        let (supervisor, service) = (Arc::clone(&self.supervisor), Arc::clone(service));
        tokio::spawn(async move {
            done.send_replace(Some(carry_out(&supervisor, &service, &wish, &author).await));
        });
        Ok((answer, Duration::from_millis(held)))
    }

    /// From now on nothing with a token below `token` begins on this service.
    pub(crate) fn fence(&self, service: &str, token: u64) -> Result<(), Refusal> {
        self.supervisor.service(service).ok_or(Refusal::NoSuchService)?;
        self.table.lock().unwrap_or_else(PoisonError::into_inner).fence(service, token)
    }

    /// `Some(None)` while the operation runs, `None` if it never began.
    pub(crate) fn look_up(&self, key: &str) -> Option<Option<Answer>> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.by_key.get(key).map(|(_, answer)| answer.borrow().clone())
    }
}

async fn carry_out(supervisor: &Supervisor, service: &Arc<Service>, wish: &Wish, author: &Author) -> Answer {
    let done = match (wish.kind, wish.version.as_deref()) {
        (EffectKind::Restart, _) => supervisor.restart(service, author).await,
        (EffectKind::Rollback, to) => supervisor.rollback(service, to, author).await,
        (EffectKind::Deploy, Some(version)) => supervisor.deploy(service, version, author).await,
        (EffectKind::Deploy, None) => Err(anyhow::anyhow!("a deployment names its version")),
    };
    match done {
        Ok(done) => Answer { status: 200, body: json!(done) },
        Err(error) => Answer { status: 500, body: json!({ "error": format!("{error:#}"), "key": author.key }) },
    }
}
