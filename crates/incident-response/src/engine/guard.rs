//! What stands between the engine and the parts: a part that is silent, panics or talks without end fails alone.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use ir_core::journal::{EncodedRecord, canonical};
use ir_core::{AuditSink, Ctx, Error, ErrorKind, Failure, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How much of what a part says of its failure is kept, so that a hostile one cannot fill the journal.
const MAX_FAILURE_CHARS: usize = 400;
/// How deep around a value its record may be. A reader of JSON gives up at 128, so what is deeper could never be read again.
const MAX_RECORD_DEPTH: usize = 64;

/// One call of a part. A panic, like silence, is a failure of that part and of nothing else.
pub(crate) async fn guarded<T>(ctx: &Ctx, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    match AssertUnwindSafe(ctx.run(name, work)).catch_unwind().await {
        Ok(answer) => answer,
        Err(_) => Err(Error::new(ErrorKind::Unknown, name, "the part panicked")),
    }
}

/// A failure as it is recorded.
pub(crate) fn noted(error: &Error) -> Failure {
    shortened(error.to_failure())
}

/// The same, as long as a record may have it.
pub(crate) fn shortened(failure: Failure) -> Failure {
    Failure { message: failure.message.chars().take(MAX_FAILURE_CHARS).collect(), ..failure }
}

/// What a part or a person said, as a replay will read it: `1.0` comes back as `1`, and the machine must not see the
/// difference. What could not be read back at all is refused before it is written.
pub(crate) fn as_recorded<T: Serialize + DeserializeOwned>(component: &str, value: &T) -> Result<T> {
    let refused = |error: serde_json::Error| {
        Error::new(ErrorKind::InvalidInput, component, format!("cannot be recorded: {error}"))
    };
    let bytes = canonical::to_bytes(value)?;
    let within = ["[".repeat(MAX_RECORD_DEPTH).as_bytes(), &bytes, "]".repeat(MAX_RECORD_DEPTH).as_bytes()].concat();
    serde_json::from_slice::<serde_json::Value>(&within).map_err(refused)?;
    serde_json::from_slice(&bytes).map_err(refused)
}

/// What an async method of a trait object gives.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A sink that must answer in time, because the loop waits for a required one.
#[derive(Debug)]
pub(crate) struct GuardedSink {
    pub(crate) sink: Arc<dyn AuditSink>,
    pub(crate) within: Duration,
}

impl AuditSink for GuardedSink {
    fn name(&self) -> &str {
        self.sink.name()
    }

    fn copy<'a, 'b, 'c, 'out>(&'a self, ctx: &'b Ctx, records: &'c [EncodedRecord]) -> Answer<'out, ()>
    where
        'a: 'out,
        'b: 'out,
        'c: 'out,
        Self: 'out,
    {
        Box::pin(async move {
            let ctx = ctx.with_timeout(self.within);
            guarded(&ctx, self.name(), self.sink.copy(&ctx, records)).await
        })
    }

    fn position<'a, 'b, 'out>(&'a self, ctx: &'b Ctx) -> Answer<'out, u64>
    where
        'a: 'out,
        'b: 'out,
        Self: 'out,
    {
        Box::pin(async move {
            let ctx = ctx.with_timeout(self.within);
            guarded(&ctx, self.name(), self.sink.position(&ctx)).await
        })
    }
}
