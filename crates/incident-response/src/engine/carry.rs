//! A new journal that begins with what another must not have forgotten.

use std::sync::Arc;

use ir_core::journal::{CarriedOver, Event, Journal, ReadFrom, carried_over};
use ir_core::kernel::{APPEND_WITHIN_MS, GateConfig};
use ir_core::{Clock, Ctx, Error, ErrorKind, Gate, PartName, Result};

use super::machine::{Machine, bodies};

/// Begins `new`, an empty journal, with what binds of `old`: a halt, locks and steps of which nobody knows what became, the changes of
/// the last day, the highest fencing token, and the open incidents, which people have. `old` may have an older format; it is read and not changed.
/// Nothing may write it any more.
///
/// `holder` is the name under which the new one is claimed: the name of the responder that will go on with it.
///
/// # Errors
///
/// Those of [`carried_over`] and of the new journal; `Conflict` when the new one is not empty.
///
/// # Examples
///
/// ```
/// # use incident_response::core::{Ctx, ManualClock, MemoryJournal, PartName};
/// # use std::sync::Arc;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), incident_response::core::Error> {
/// let ctx = Ctx::new(Arc::new(ManualClock::new()));
/// let (old, new) = (MemoryJournal::new(), Arc::new(MemoryJournal::new()));
/// let empty = incident_response::carry_over(&ctx, &old, new, PartName::new("responder")?).await;
/// assert!(empty.is_err()); // there is nothing in the old one
/// # Ok(())
/// # }
/// ```
pub async fn carry_over(ctx: &Ctx, old: &dyn Journal, new: Arc<dyn Journal>, holder: PartName) -> Result<CarriedOver> {
    if !new.read(ctx, &ReadFrom { seq: 1, max: 1 }).await?.records.is_empty() {
        return Err(Error::new(ErrorKind::Conflict, "carry over", "the new journal is not empty"));
    }
    let carried = carried_over(ctx, old).await?;
    let clock: Arc<dyn Clock> = ctx.clock().clone();
    let config = GateConfig {
        name: holder,
        journal: new,
        required_sinks: Vec::new(),
        clock,
        lease_ttl_ms: 1_000,
        append_within_ms: APPEND_WITHIN_MS,
    };
    // In one append with the claim: a journal that is there without what it must not forget would act on its own.
    let (mut machine, event) = (Machine::new(), Event::CarriedOver(Box::new(carried.clone())));
    let output = machine.apply(&ctx.now(), &event)?;
    Gate::open_with(ctx, config, |_| Ok(()), bodies(event, &output.facts)).await?;
    Ok(carried)
}
