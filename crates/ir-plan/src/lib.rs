//! Decides what to do about an incident, whether it may be done, and whether it helped.
//!
//! ```text
//! Signal -> Anomaly -> Incident -> Hypothesis -> Plan -> Decision -> Execution -> Outcome -> Lesson
//!                      class                     ####    ########                 #######    ######
//! ```
#![doc = include_str!("../README.md")]

pub mod classification;
pub mod decision;
pub mod lesson;
pub mod outcome;
pub mod plan;

#[cfg(test)]
mod samples;
