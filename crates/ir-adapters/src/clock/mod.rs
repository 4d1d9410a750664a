//! The machine's clock: wall time, monotonic time that counts through suspend, and the name of this boot.

use std::time::Duration;

use async_trait::async_trait;
use ir_core::{BootId, Clock, Moment, Timestamp};

/// How long one wait lasts at most before the clock is looked at again: timers of the runtime stand still while the machine
/// is suspended, so that a longer one would end too late by the time slept.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The clock of this machine.
///
/// On Linux monotonic time is `CLOCK_BOOTTIME` and the boot is named by the kernel. Where the kernel names none, every process
/// counts as a boot of its own: waits then start anew after a restart, which is the safe side.
///
/// # Examples
///
/// ```
/// use ir_adapters::SystemClock;
/// use ir_core::Clock;
///
/// let clock = SystemClock::new();
/// let before = clock.now();
/// assert!(clock.now().mono_since(&before).is_some(), "two moments of one boot can be compared");
/// ```
#[derive(Debug, Clone)]
pub struct SystemClock {
    boot: BootId,
    origin: sys::Origin,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl SystemClock {
    /// Looks up the boot's name; everything else is read when asked for.
    #[must_use]
    pub fn new() -> Self {
        let origin = sys::Origin::new();
        let boot = match kernel_boot_id() {
            Some(id) => id,
            None => format!("process-{}-{}", std::process::id(), sys::wall_nanos()),
        };
        Self { boot: BootId::new(boot), origin }
    }
}

fn kernel_boot_id() -> Option<String> {
    // The kernel's name goes with the kernel's clock only.
    if !sys::COUNTS_FROM_BOOT {
        return None;
    }
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = text.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment {
            wall: Timestamp::from_nanos(sys::wall_nanos()),
            mono_ns: self.origin.mono_nanos(),
            boot: self.boot.clone(),
        }
    }

    async fn sleep_until(&self, mono_ns: u64) {
        loop {
            let left = mono_ns.saturating_sub(self.origin.mono_nanos());
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_nanos(left).min(LOOK_AGAIN)).await;
        }
    }
}

#[cfg(unix)]
mod sys {
    //! The clocks of the kernel, read without a `SystemTime` or `Instant` in between.

    use rustix::time::{ClockId, Timespec, clock_gettime};

    /// Whether monotonic time has the same origin for every process of a boot.
    pub(super) const COUNTS_FROM_BOOT: bool = cfg!(target_os = "linux");

    #[cfg(target_os = "linux")]
    const MONOTONIC: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const MONOTONIC: ClockId = ClockId::Monotonic;

    #[derive(Debug, Clone)]
    pub(super) struct Origin;

    impl Origin {
        pub(super) const fn new() -> Self {
            Self
        }

        #[expect(clippy::unused_self, reason = "other systems keep their origin here")]
        pub(super) fn mono_nanos(&self) -> u64 {
            u64::try_from(nanos(clock_gettime(MONOTONIC))).unwrap_or(0)
        }
    }

    pub(super) fn wall_nanos() -> i64 {
        nanos(clock_gettime(ClockId::Realtime))
    }

    fn nanos(time: Timespec) -> i64 {
        time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
    }
}

#[cfg(not(unix))]
mod sys {
    //! Systems without POSIX clocks: monotonic time counts from the start of the process.

    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    /// Whether monotonic time has the same origin for every process of a boot.
    pub(super) const COUNTS_FROM_BOOT: bool = false;

    #[derive(Debug, Clone)]
    pub(super) struct Origin(Instant);

    impl Origin {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
        pub(super) fn new() -> Self {
            Self(Instant::now())
        }

        pub(super) fn mono_nanos(&self) -> u64 {
            u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub(super) fn wall_nanos() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir_core::testkit::clock;
    use std::sync::Arc;

    #[tokio::test]
    async fn it_keeps_every_law_as_itself_in_a_box_and_in_an_arc() {
        clock::check_all(&SystemClock::new()).await.unwrap();
        clock::check_all(&Box::new(SystemClock::new())).await.unwrap();
        clock::check_all(&Arc::new(SystemClock::new())).await.unwrap();
    }

    #[test]
    fn two_clocks_of_one_machine_agree_where_the_kernel_names_its_boot() {
        let (a, b) = (SystemClock::new().now(), SystemClock::new().now());
        if kernel_boot_id().is_some() {
            assert!(b.mono_since(&a).is_some());
        } else {
            assert_eq!(b.mono_since(&a), None, "without a name every process, and clock, counts for itself");
        }
        assert!(a.wall > Timestamp::from_nanos(1_700_000_000_000_000_000), "the wall clock shows {}", a.wall);
    }
}
