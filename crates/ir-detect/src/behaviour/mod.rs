//! Behaviour of people and programs that does not fit: detectors of typed security events ([`ir_core::Activity`]), and sequences of
//! anything.
//!
//! | detector | finds | subjects | technique |
//! |---|---|---|---|
//! | [`RareActivityDetector`] | pairs nobody has seen: parent and child, user and program, program and destination, user and origin, user and action | `rare:*` | T1059, T1078, T1071 |
//! | [`BeaconDetector`] | contacts as regular as a clock | `beacon` | T1071 |
//! | [`FanOutDetector`] | many new hosts in a short time | `fan_out` | T1046, T1021 |
//! | [`ExfiltrationDetector`] | more bytes that leave than ever | `bytes_out` | T1048 |
//! | [`SequenceDetector`] | sessions that go otherwise | `sequence` | T1059, T1078 |
//!
//! Each compares an entity with its own past only, and learns for a day before it speaks. The label [`ATTACK`] of an anomaly is the
//! technique of MITRE ATT&CK it may be a sign of: the field ECS calls `threat.technique.id`. It is a hint, not a verdict: what is odd is
//! seldom an attack. None of them is among the standard detectors; [`Detectors::behaviour`](crate::Detectors::behaviour) makes one of
//! each.

mod beacon;
mod exfiltration;
mod fan_out;
mod host;
mod rare;
mod sequence;
mod sequences;
mod table;
#[cfg(test)]
mod testing;
mod window;

pub use beacon::{BeaconConfig, BeaconDetector};
pub use exfiltration::{ExfiltrationConfig, ExfiltrationDetector};
pub use fan_out::{FanOutConfig, FanOutDetector};
pub use host::Learning;
pub use rare::{RareActivityConfig, RareActivityDetector};
pub use sequence::{Oddest, SequenceConfig, SequenceModel, Unusual};
pub use sequences::{SequenceDetector, SequenceDetectorConfig};
pub use window::WindowConfig;

/// The label with the technique of MITRE ATT&CK.
pub const ATTACK: &str = "attack.technique";

/// Subjects that other stages go by. They are part of the interface: change them only with their readers.
pub mod subject {
    /// A program started by a parent that never started it.
    pub const RARE_CHILD: &str = "rare:child";
    /// A program started by a user who never started it.
    pub const RARE_PROGRAM: &str = "rare:program";
    /// A destination that the program never talked to.
    pub const RARE_DESTINATION: &str = "rare:destination";
    /// A login from where the user never came from.
    pub const RARE_LOGIN: &str = "rare:login";
    /// An action that the user never did.
    pub const RARE_ACTION: &str = "rare:action";
    /// Contacts at regular intervals.
    pub const BEACON: &str = "beacon";
    /// Many new destinations.
    pub const FAN_OUT: &str = "fan_out";
    /// Many bytes that leave.
    pub const BYTES_OUT: &str = "bytes_out";
    /// A session unlike those before.
    pub const SEQUENCE: &str = "sequence";
}
