//! Points in time, windows, and the clock as a port: nothing in the library reads the machine's clock by itself.

use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// Nanoseconds since 1970-01-01T00:00:00Z, from year 1677 to 2262. Text form: RFC 3339 in UTC with nine digits.
///
/// # Examples
///
/// ```
/// # use ir_core::Timestamp;
/// let at: Timestamp = "2026-11-20T08:00:00.25Z".parse()?;
/// assert_eq!(at.to_string(), "2026-11-20T08:00:00.250000000Z");
/// # Ok::<(), ir_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, JsonSchema)]
#[schemars(with = "String", extend("format" = "date-time"))]
pub struct Timestamp(i64);

impl Timestamp {
    /// From nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the epoch; what does not fit stays at the end of the range.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, with the loss of precision that an `f64` brings (about 0.2 µs today).
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "stated in the docs")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Later by `duration`, at most the end of the range.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(clamp_nanos(duration)))
    }

    /// Earlier by `duration`, at least the start of the range.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(clamp_nanos(duration)))
    }

    /// Time since `earlier`; zero when that lies later.
    #[must_use]
    #[expect(clippy::cast_sign_loss, reason = "the difference was found to be positive")]
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0);
        if nanos <= 0 { Duration::ZERO } else { Duration::from_nanos(nanos as u64) }
    }
}

fn clamp_nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(stamp) => write!(f, "{stamp:.9}"),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::new(ErrorKind::InvalidInput, "time", format!("`{text}` is not an RFC 3339 time"));
        let stamp: jiff::Timestamp = text.parse().map_err(|_| invalid())?;
        i64::try_from(stamp.as_nanosecond()).map(Self).map_err(|_| invalid())
    }
}

/// RFC 3339 in text formats such as JSON; the nanoseconds as a number in binary formats.
impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_i64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// From `start` (within) to `end` (not within).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// First moment within.
    pub start: Timestamp,
    /// First moment after.
    pub end: Timestamp,
}

impl Window {
    /// Whether `at` lies within.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// The length; zero when `end` is not after `start`.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.end.since(self.start)
    }
}

/// Names one run of the machine: monotonic times can be compared only within one boot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct BootId(Arc<str>);

impl BootId {
    /// Any text that differs from boot to boot, such as `/proc/sys/kernel/random/boot_id`.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A moment as the journal keeps it: wall time for people, monotonic time with its boot for waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// Wall time. It may jump; nothing safe hangs on it.
    pub wall: Timestamp,
    /// Nanoseconds of a clock that never goes back within one boot and counts through suspend.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub mono_ns: u64,
    /// The boot that `mono_ns` belongs to.
    pub boot: BootId,
}

impl Moment {
    /// Nanoseconds since `earlier` in the same boot; `None` where that cannot be known.
    #[must_use]
    pub fn mono_since(&self, earlier: &Self) -> Option<u64> {
        if self.boot == earlier.boot { self.mono_ns.checked_sub(earlier.mono_ns) } else { None }
    }
}

/// Where time comes from.
///
/// # Contract
///
/// 1. `now().mono_ns` never goes back while `now().boot` stays the same.
/// 2. `sleep_until(t)` returns only when `now().mono_ns >= t`, at once if that is so already.
///
/// # Cancellation
///
/// Dropping the future of `sleep_until` ends the wait and nothing else.
#[async_trait]
pub trait Clock: Debug + Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Moment;

    /// Waits until the monotonic clock shows `mono_ns` or more.
    async fn sleep_until(&self, mono_ns: u64);
}

#[async_trait]
impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn now(&self) -> Moment {
        (**self).now()
    }

    async fn sleep_until(&self, mono_ns: u64) {
        (**self).sleep_until(mono_ns).await;
    }
}

#[async_trait]
impl<T: Clock + ?Sized> Clock for Box<T> {
    fn now(&self) -> Moment {
        (**self).now()
    }

    async fn sleep_until(&self, mono_ns: u64) {
        (**self).sleep_until(mono_ns).await;
    }
}

/// A clock that stands still until a test moves it.
///
/// # Examples
///
/// ```
/// # use ir_core::{Clock, ManualClock};
/// # use std::time::Duration;
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(3));
/// assert_eq!(clock.now().mono_since(&before), Some(3_000_000_000));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    state: tokio::sync::watch::Sender<Moment>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// Starts at 2026-01-01T00:00:00Z, one second after boot `manual-1`.
    #[must_use]
    pub fn new() -> Self {
        let start = Moment {
            wall: Timestamp::from_nanos(1_767_225_600_000_000_000),
            mono_ns: 1_000_000_000,
            boot: BootId::new("manual-1"),
        };
        Self { state: tokio::sync::watch::Sender::new(start) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.state.send_modify(|moment| {
            moment.wall = moment.wall.plus(by);
            moment.mono_ns = moment.mono_ns.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX));
        });
    }

    /// Sets the wall clock, as an administrator or a bad time server would; the monotonic clock does not notice.
    pub fn set_wall(&self, wall: Timestamp) {
        self.state.send_modify(|moment| moment.wall = wall);
    }

    /// Starts a new boot: monotonic time begins again at `mono_ns`.
    pub fn reboot(&self, boot: BootId, mono_ns: u64) {
        self.state.send_modify(|moment| {
            moment.boot = boot;
            moment.mono_ns = mono_ns;
        });
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Moment {
        self.state.borrow().clone()
    }

    async fn sleep_until(&self, mono_ns: u64) {
        let mut seen = self.state.subscribe();
        // The sender lives in `self`, so waiting cannot fail while `self` is borrowed.
        let _ = seen.wait_for(|moment| moment.mono_ns >= mono_ns).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_survive_their_text(nanos in any::<i64>()) {
            let at = Timestamp::from_nanos(nanos);
            prop_assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        }
    }

    #[test]
    fn a_moment_of_another_boot_has_no_distance() {
        let clock = ManualClock::new();
        let before = clock.now();
        clock.reboot(BootId::new("manual-2"), 5);
        assert_eq!(clock.now().mono_since(&before), None);
    }

    #[test]
    fn large_monotonic_times_are_text() {
        let moment = Moment { wall: Timestamp::default(), mono_ns: 1 << 60, boot: BootId::new("b") };
        let text = serde_json::to_string(&moment).unwrap();
        assert!(text.contains("\"1152921504606846976\""), "{text}");
        assert_eq!(serde_json::from_str::<Moment>(&text).unwrap(), moment);
    }
}
