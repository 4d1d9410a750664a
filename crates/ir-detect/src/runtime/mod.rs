//! What detectors run on: scrapes, assembled once for all of them, and bounded tables.

pub(crate) mod per_entity;
pub(crate) mod room;
pub mod scrape;
