//! What detectors run on: scrapes, assembled once for all of them.

pub mod scrape;
