//! What the executors share: the wait for an effect's answer, and the reading of calls.

use std::future::Future;

use ir_core::kernel::Effect;
use ir_core::plan::Call;
use ir_core::{ActionName, Ctx, Error, ErrorKind, Result};
use serde_json::Value;

/// Waits for the answer to `effect`, but not longer than it may be sent: dropping the request ends the connection, so
/// no byte of it goes out after its deadline. A stop of the engine does not end it, since what was begun had better be
/// known.
pub(super) async fn in_time<T>(
    ctx: &Ctx,
    component: &str,
    effect: &Effect,
    sent: impl Future<Output = T>,
) -> Result<T> {
    let deadline = effect.deadline_mono_ns();
    let clock = ctx.clock().clone();
    let late = async move { clock.sleep_until(deadline).await };
    futures::pin_mut!(sent, late);
    match futures::future::select(sent, late).await {
        futures::future::Either::Left((answer, _)) => Ok(answer),
        futures::future::Either::Right(_) => {
            Err(Error::new(ErrorKind::Unknown, component, "no answer before the deadline"))
        }
    }
}

/// A whole number among the parameters.
#[cfg(any(feature = "aws-autoscaling", feature = "aws-ecs"))]
pub(super) fn whole_number(component: &str, call: &Call, name: &str) -> Result<i32> {
    let number = call.params.get(name).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
    number.ok_or_else(|| Error::new(ErrorKind::InvalidInput, component, format!("`{name}` must be a whole number")))
}

/// A text among the parameters, if it is there.
pub(super) fn text<'a>(component: &str, call: &'a Call, name: &str) -> Result<Option<&'a str>> {
    match call.params.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::new(ErrorKind::InvalidInput, component, format!("`{name}` must be a text"))),
    }
}

/// The error for an action that is not the executor's own.
pub(super) fn foreign_action(component: &str, action: &ActionName) -> Error {
    Error::new(ErrorKind::Unsupported, component, format!("`{action}` is no action of this executor"))
}

/// The error for a target that is not the executor's own.
pub(super) fn foreign_target(component: &str, call: &Call) -> Error {
    Error::new(ErrorKind::Unsupported, component, format!("`{}` is no target of this executor", call.target))
}
