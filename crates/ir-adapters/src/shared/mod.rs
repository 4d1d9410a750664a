//! What adapters of different products have in common: how text is shortened, how an entity is found, and which times can be.

#[cfg(any(
    feature = "alertmanager",
    feature = "loki",
    feature = "otlp",
    feature = "prometheus",
    feature = "remote-write",
))]
pub(crate) mod names;
#[cfg(any(feature = "remote-write", feature = "scrape"))]
pub(crate) mod recent;
#[cfg(any(feature = "otlp", feature = "remote-write"))]
pub(crate) mod sources;
#[cfg(any(
    feature = "alertmanager",
    feature = "loki-tail",
    feature = "otlp",
    feature = "prometheus",
    feature = "remote-write",
    feature = "scrape",
    feature = "tail",
))]
pub(crate) mod times;

/// How many problems of one poll are told in words; the rest is only counted.
pub(crate) const MAX_PROBLEMS: usize = 5;

/// The beginning of a text of another system, for a sentence of ours: without terminal control sequences, in one line.
#[cfg(any(
    feature = "alertmanager",
    feature = "loki",
    feature = "otlp",
    feature = "prometheus",
    feature = "remote-write",
))]
pub(crate) fn excerpt(text: &str, max_chars: usize) -> String {
    ir_core::text::plain(text).chars().take(max_chars).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
