//! Behaviour of people and programs that does not fit: security events, and sequences of anything.

mod sequence;

pub use sequence::{Oddest, SequenceConfig, SequenceModel, Unusual};
