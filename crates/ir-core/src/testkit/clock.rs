//! The laws of [`Clock`].

use super::{Law, Lawful};
use crate::time::Clock;

const GOES_ON: Law = Law::new("Clock", 1, "`now().mono_ns` never goes back while `now().boot` stays the same.");
const SLEEPS: Law =
    Law::new("Clock", 2, "`sleep_until(t)` returns only when `now().mono_ns >= t`, at once if that is so already.");

/// Longest wait of the laws, in nanoseconds.
const SHORT_NS: u64 = 20_000_000;

/// Runs every law.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_all(clock: &dyn Clock) -> Lawful {
    law_1_never_goes_back(clock)?;
    law_2_sleeps_until(clock).await
}

/// Law 1.
///
/// # Errors
///
/// When it does not hold.
pub fn law_1_never_goes_back(clock: &dyn Clock) -> Lawful {
    let mut before = clock.now();
    for _ in 0..10_000 {
        let now = clock.now();
        let back = now.boot == before.boot && now.mono_ns < before.mono_ns;
        GOES_ON.hold(!back, || format!("{} came after {}", now.mono_ns, before.mono_ns))?;
        before = now;
    }
    Ok(())
}

/// Law 2. Waits for some hundredths of a second.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_2_sleeps_until(clock: &dyn Clock) -> Lawful {
    for wait in [0, 1, 500_000, SHORT_NS] {
        let until = clock.now().mono_ns.saturating_add(wait);
        clock.sleep_until(until).await;
        let now = clock.now().mono_ns;
        SLEEPS.hold(now >= until, || format!("it returned at {now}, before {until}"))?;
    }
    let before = clock.now();
    clock.sleep_until(0).await;
    let after = clock.now();
    let at_once = after.mono_since(&before).is_some_and(|ns| ns < SHORT_NS * 50);
    SLEEPS.hold(at_once, || format!("waiting for the past lasted from {} to {}", before.mono_ns, after.mono_ns))
}
