//! The outside world: journals, sources and executors, one folder and one feature for each product.
#![doc = include_str!("../README.md")]

pub mod clock;

#[cfg(feature = "alertmanager")]
pub mod alertmanager;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "hook")]
pub mod hook;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "loki")]
pub mod loki;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(all(feature = "process", unix))]
pub mod process;
#[cfg(feature = "prometheus")]
pub mod prometheus;
#[cfg(feature = "scrape")]
pub mod scrape;
#[cfg(feature = "tail")]
pub mod tail;

#[cfg(any(feature = "file", feature = "tail"))]
mod blocking;
#[cfg(any(feature = "loki", feature = "prometheus"))]
mod json;

pub use clock::SystemClock;
