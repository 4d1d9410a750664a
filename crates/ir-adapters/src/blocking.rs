//! File work away from the async threads: awaited in place, nothing goes on behind the caller's back.

use ir_core::{Error, ErrorKind, Result};

/// Runs `work` on the runtime's threads for blocking calls.
pub(crate) async fn run<T: Send + 'static>(
    component: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(ErrorKind::Unknown, component, "a worker ended early").with_source(error)),
    }
}
