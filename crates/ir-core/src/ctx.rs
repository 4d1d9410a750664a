//! What every call gets: the clock, the wish to stop, and the time by which an answer is of use.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};
use crate::time::{Clock, Moment};

/// Passed to every trait call. Cheap to clone.
///
/// # Examples
///
/// ```
/// # use ir_core::{Ctx, ManualClock};
/// # use std::{sync::Arc, time::Duration};
/// let clock = Arc::new(ManualClock::new());
/// let ctx = Ctx::new(clock.clone()).with_timeout(Duration::from_secs(2));
/// assert_eq!(ctx.remaining(), Some(Duration::from_secs(2)));
/// clock.advance(Duration::from_secs(3));
/// assert!(ctx.check("example").is_err());
/// ```
#[derive(Debug, Clone)]
pub struct Ctx {
    clock: Arc<dyn Clock>,
    stop: watch::Receiver<bool>,
    /// Keeps a context without a `Stop` from looking stopped when nobody holds the other end.
    _stop: Option<Arc<watch::Sender<bool>>>,
    deadline_mono_ns: Option<u64>,
}

/// Tells the contexts made from it to stop.
#[derive(Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// Asks everything under way to stop. There is no way back.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Ctx {
    /// A context that never stops and has no deadline.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::stoppable(clock).0
    }

    /// A context with the handle that stops it. Dropping the handle does not.
    #[must_use]
    pub fn stoppable(clock: Arc<dyn Clock>) -> (Self, Stop) {
        let sender = Arc::new(watch::Sender::new(false));
        let ctx = Self { clock, stop: sender.subscribe(), _stop: Some(sender.clone()), deadline_mono_ns: None };
        (ctx, Stop(sender))
    }

    /// The same context with a deadline `timeout` from now, unless it has an earlier one.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.with_deadline(self.clock.now().mono_ns.saturating_add(timeout))
    }

    /// The same context with a deadline on the monotonic clock, unless it has an earlier one.
    #[must_use]
    pub fn with_deadline(&self, mono_ns: u64) -> Self {
        let earlier = self.deadline_mono_ns.map_or(mono_ns, |own| own.min(mono_ns));
        Self { deadline_mono_ns: Some(earlier), ..self.clone() }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Time until the deadline, zero when it has passed, `None` without one.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.deadline_mono_ns?;
        Some(Duration::from_nanos(deadline.saturating_sub(self.clock.now().mono_ns)))
    }

    /// Whether the work was asked to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns when the work is asked to stop.
    pub async fn stopped(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stopped| *stopped).await.is_err() {
            // The sender is kept alive by this context, so this cannot happen; waiting is the safe answer.
            debug_assert!(false, "a context outlived its stop sender");
            futures::future::pending::<()>().await;
        }
    }

    /// Waits, but no longer than until the stop or the deadline.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] and [`ErrorKind::Timeout`], as for [`run`](Self::run).
    pub async fn sleep(&self, component: &str, duration: Duration) -> Result<()> {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let until = self.clock.now().mono_ns.saturating_add(nanos);
        let clock = self.clock.clone();
        self.run(component, async move {
            clock.sleep_until(until).await;
            Ok(())
        })
        .await
    }

    /// An error if the work was asked to stop or the deadline has passed. Never stands before an executor's cleanup.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] and [`ErrorKind::Timeout`].
    pub fn check(&self, component: &str) -> Result<()> {
        if self.is_stopped() {
            return Err(Error::new(ErrorKind::Stopped, component, "asked to stop"));
        }
        if self.remaining() == Some(Duration::ZERO) {
            return Err(Error::new(ErrorKind::Timeout, component, "the deadline has passed"));
        }
        Ok(())
    }

    /// Runs `work` until it ends, the context is stopped, or the deadline passes; `work` is dropped in the last two cases,
    /// so this is never put around [`Executor::execute`](crate::Executor::execute).
    ///
    /// # Errors
    ///
    /// Those of `work`, [`ErrorKind::Stopped`] and [`ErrorKind::Timeout`].
    pub async fn run<T>(&self, component: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.check(component)?;
        let deadline = self.deadline_mono_ns;
        let out_of_time = async {
            match deadline {
                Some(at) => self.clock.sleep_until(at).await,
                None => futures::future::pending().await,
            }
        };
        futures::pin_mut!(work, out_of_time);
        let stopped = self.stopped();
        futures::pin_mut!(stopped);
        futures::future::poll_fn(|cx| {
            use std::task::Poll;
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Error::new(ErrorKind::Stopped, component, "asked to stop")));
            }
            if out_of_time.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Error::new(ErrorKind::Timeout, component, "no answer before the deadline")));
            }
            Poll::Pending
        })
        .await
    }
}
