//! The one place of this program that reads a clock, and the one form in which its files write a time.

use jiff::Timestamp;
use tokio::time::Instant;

/// What time it is, for records.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Where we are on a clock that never jumps, for durations and deadlines.
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// The seconds from `earlier` to `later`, negative when they are the other way round.
pub(crate) fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    later.duration_since(earlier).as_secs_f64()
}

/// RFC 3339 with all nine digits of the nanoseconds, so that times sort as text.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    format!("{at:.9}")
}

/// For `#[serde(with = "clock::text")]` on a time in a record.
pub(crate) mod text {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::rfc3339(*at))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| D::Error::custom(format!("`{text}` is not a time: {error}")))
    }
}
