//! When to try again: later and later, up to a bound, and never before the receiver asked for it.

use std::time::Duration;

use ir_core::Timestamp;

/// Two to the power of more than this is beyond every bound.
const MAX_DOUBLINGS: u32 = 32;

/// How long to wait after so many failures in a row.
pub(super) fn delay(
    n_failed: u32,
    retry_after: Option<&str>,
    now: Timestamp,
    first: Duration,
    longest: Duration,
) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(n_failed.saturating_sub(1).min(MAX_DOUBLINGS)));
    let asked = retry_after.and_then(|text| asked(text, now)).unwrap_or_default();
    // Whoever asks for a year is not believed.
    doubled.max(asked).min(longest)
}

/// How long the header `retry-after` asks to wait: seconds, or the time until a date.
fn asked(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let secs = date(text)?;
    Some(Timestamp::from_millis(secs.checked_mul(1000)?).since(now))
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
fn date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.strip_suffix(" GMT")?.split(' ');
    let day: u32 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = 1 + MONTHS.iter().position(|name| *name == month)?;
    let year: u32 = words.next()?.parse().ok()?;
    let time = words.next()?;
    if words.next().is_some() || time.len() != 8 {
        return None;
    }
    let at: Timestamp = format!("{year:04}-{month:02}-{day:02}T{time}Z").parse().ok()?;
    Some(at.as_nanos().div_euclid(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_keep_to_what_was_asked() {
        let now = Timestamp::from_millis(784_111_777_000);
        let wait = |n, asked| delay(n, asked, now, Duration::from_secs(1), Duration::from_secs(300)).as_secs();
        assert_eq!([1, 2, 3, 9, 10, 1_000, u32::MAX].map(|n| wait(n, None)), [1, 2, 4, 256, 300, 300, 300]);
        let rows = [
            ("7", 7),
            ("0", 1),
            (" 12 ", 12),
            ("99999999999", 300),
            // The clock of the test stands at 08:49:37.
            ("Sun, 06 Nov 1994 08:49:57 GMT", 20),
            ("Sun, 06 Nov 1994 08:49:00 GMT", 1),
            ("Sun, 06 Nov 9994 08:49:00 GMT", 1),
            ("Sun, 36 Nov 1994 08:49:57 GMT", 1),
            ("soon", 1),
            ("-5", 1),
            ("", 1),
        ];
        for (asked, secs) in rows {
            assert_eq!(wait(1, Some(asked)), secs, "{asked:?}");
        }
    }
}
