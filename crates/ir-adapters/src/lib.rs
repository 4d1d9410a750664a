//! The outside world: journals, sources and executors, one folder and one feature for each product.
#![doc = include_str!("../README.md")]

pub mod clock;

#[cfg(feature = "alertmanager")]
pub mod alertmanager;
#[cfg(feature = "aws-base")]
pub mod aws;
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
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(all(feature = "process", unix))]
pub mod process;
#[cfg(feature = "prometheus")]
pub mod prometheus;
#[cfg(feature = "remote-write")]
pub mod remote_write;
#[cfg(feature = "scrape")]
pub mod scrape;
#[cfg(feature = "tail")]
pub mod tail;
#[cfg(feature = "webhook")]
pub mod webhook;

#[cfg(any(feature = "file", feature = "tail"))]
mod blocking;
#[cfg(any(feature = "alertmanager", feature = "otlp", feature = "remote-write"))]
mod inbox;
#[cfg(any(feature = "alertmanager", feature = "loki", feature = "otlp", feature = "prometheus", feature = "tail",))]
mod json;
#[cfg(any(feature = "prometheus", feature = "remote-write", feature = "scrape"))]
mod prom;
#[cfg(any(
    feature = "alertmanager",
    feature = "loki",
    feature = "otlp",
    feature = "prometheus",
    feature = "remote-write",
    feature = "scrape",
    feature = "tail",
))]
mod shared;

pub use clock::SystemClock;
