//! Who did what to what: the form of a security event that behaviour is judged by.
//!
//! The words are those of the Elastic Common Schema 8 (ECS) where it has them, with the class of the Open Cybersecurity Schema
//! Framework 1 (OCSF) beside, so that a source of either only copies. The entity of the [`EventRecord`](super::EventRecord) is where it
//! happened (ECS `host.name`, or the workload), its `at` is ECS `@timestamp`, and its `name` the product's own word for the event.

use serde::{Deserialize, Serialize};

use crate::id::Digest;

/// What somebody did. All texts are **untrusted**: they are counted and compared, never obeyed.
///
/// A source fills what it knows and leaves the rest `None`; it must name the same thing the same way each time. What differs between
/// two runs of the same program (process ids, temporary paths, ephemeral ports) does not belong here.
///
/// # Examples
///
/// ```
/// use ir_core::signal::{Activity, Act, EventKind};
///
/// let activity = Activity {
///     user: Some("www-data".to_owned()),
///     program: Some("/usr/bin/curl".to_owned()),
///     act: Act::Connected { to: "203.0.113.7".to_owned(), port: Some(443), bytes_out: Some(1_200) },
/// };
/// let json = serde_json::to_value(EventKind::Activity(activity)).unwrap();
/// assert_eq!(json["type"], "activity");
/// assert_eq!(json["act"]["type"], "connected");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Whose rights were used: ECS `user.name`, OCSF `actor.user.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The program that did it, or that was started: ECS `process.executable`, or `process.name` where the path is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// What was done.
    pub act: Act,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Act {
    /// The program was started: ECS `event.category: process`, `event.type: start`; OCSF class 1007, activity *Launch*.
    Started {
        /// Who started it: ECS `process.parent.executable` or `process.parent.name`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
        /// The digest of ECS `process.command_line`. The text itself may hold secrets and is not kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arguments: Option<Digest>,
    },
    /// The program connected to somebody: ECS `event.category: network`; OCSF class 4001. One event a connection: at its start
    /// without, or at its end with the bytes.
    Connected {
        /// To whom: ECS `destination.domain` if the program asked for a name, else `destination.address`.
        to: String,
        /// The port there: ECS `destination.port`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// Bytes that left in all: ECS `source.bytes`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_out: Option<u64>,
    },
    /// The user logged in, or tried: ECS `event.category: authentication`; OCSF class 3002.
    LoggedIn {
        /// From where: ECS `source.address`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// ECS `event.outcome: success`.
        succeeded: bool,
    },
    /// Anything else that an audit trail names, such as a call of a cloud's API or a system call: OCSF class 6003.
    Did {
        /// What: ECS `event.action`.
        action: String,
        /// To what, as the trail names it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        /// ECS `event.outcome: success`.
        succeeded: bool,
    },
}

impl Activity {
    /// One word for what was done: the action of [`Act::Did`], else the kind of act.
    #[must_use]
    pub fn verb(&self) -> &str {
        match &self.act {
            Act::Started { .. } => "started",
            Act::Connected { .. } => "connected",
            Act::LoggedIn { succeeded: true, .. } => "logged_in",
            Act::LoggedIn { succeeded: false, .. } => "login_failed",
            Act::Did { action, .. } => action,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AlertState, EventKind};
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn what_is_not_known_is_not_written() {
        let kind = EventKind::Activity(Activity {
            user: None,
            program: Some("sh".to_owned()),
            act: Act::Started { parent: Some("nginx".to_owned()), arguments: None },
        });
        let text = serde_json::to_string(&kind).unwrap();
        assert_eq!(text, r#"{"type":"activity","program":"sh","act":{"type":"started","parent":"nginx"}}"#);
        assert_eq!(serde_json::from_str::<EventKind>(&text).unwrap(), kind);
    }

    #[test]
    fn events_written_before_are_read_as_before() {
        let plain: EventKind = serde_json::from_str(r#"{"type":"occurrence"}"#).unwrap();
        assert_eq!(plain, EventKind::Occurrence);
        let alert = EventKind::Alert(AlertState { key: "k".to_owned(), firing: true, since: Timestamp::default() });
        let text = serde_json::to_string(&alert).unwrap();
        assert!(text.starts_with(r#"{"type":"alert","key":"k""#), "{text}");
        assert_eq!(serde_json::from_str::<EventKind>(&text).unwrap(), alert);
    }
}
