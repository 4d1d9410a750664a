//! Names of things: one newtype a noun, made from content and order, never from chance.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};

/// The longest name in bytes.
pub const MAX_NAME_BYTES: usize = 256;

fn check_name(what: &'static str, text: &str) -> Result<()> {
    let problem = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > MAX_NAME_BYTES {
        format!("is longer than {MAX_NAME_BYTES} bytes")
    } else if let Some(bad) = text.chars().find(|c| c.is_control() || c.is_whitespace() || matches!(c, '*' | '?' | '`'))
    {
        format!("has the character {bad:?}")
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::InvalidInput,
        what,
        format!("the name `{}` {problem}", crate::wire::shorten(text, 40).replace('`', "'")),
    ))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// 1 to 256 bytes, no white space, control characters, back quotes or wildcards (`*`, `?`).
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("minLength" = 1, "maxLength" = 256))]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes the name.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::InvalidInput`] when it is empty, too long or has a character that is not allowed.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                check_name($what, text.as_ref())?;
                Ok(Self(Arc::from(text.as_ref())))
            }

            /// A name written in code. What is not allowed in a name is left out, and an empty rest becomes `-`; in debug
            /// builds either trips an assertion.
            #[must_use]
            pub fn literal(text: &'static str) -> Self {
                match Self::new(text) {
                    Ok(name) => name,
                    Err(error) => {
                        debug_assert!(false, "{error}");
                        let rest: String = text.chars().filter(|c| c.is_ascii_alphanumeric()).take(64).collect();
                        Self(Arc::from(if rest.is_empty() { "-" } else { rest.as_str() }))
                    }
                }
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// Names something that can be observed or acted on: a service, a pod, a host, a database.
    ///
    /// The same entity has the same name in signals, topology, playbooks and policy.
    EntityId, "entity"
}

name! {
    /// Names an anomaly: detector, series and onset.
    AnomalyId, "anomaly"
}
name! {
    /// Names an incident.
    IncidentId, "incident"
}
name! {
    /// Names a hypothesis: incident and revision.
    HypothesisId, "hypothesis"
}
name! {
    /// Names a plan: incident and revision.
    PlanId, "plan"
}
name! {
    /// Names a step within its plan.
    StepId, "step"
}
name! {
    /// Names an approval request: plan, step, and what exactly the approval covers.
    ApprovalId, "approval"
}
name! {
    /// Names a lesson.
    LessonId, "lesson"
}
name! {
    /// Names an action of the catalogue, such as `service.restart`.
    ActionName, "action"
}
name! {
    /// Names a part: a source, a detector, an executor.
    PartName, "part"
}
name! {
    /// Names a class of incidents, such as `bad_deploy`.
    ClassName, "class"
}

impl IncidentId {
    /// The incident that began with `first`, numbered by the record that opened it.
    #[must_use]
    pub fn numbered(seq: u64) -> Self {
        Self(Arc::from(format!("inc-{seq}")))
    }

    /// The number in the name; `None` when it was named otherwise.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.0.strip_prefix("inc-")?.parse().ok()
    }
}

impl HypothesisId {
    /// Revision `revision` (from 1) of what is thought about `incident`.
    #[must_use]
    pub fn of(incident: &IncidentId, revision: u32) -> Self {
        Self(Arc::from(format!("{incident}/h{revision}")))
    }
}

impl PlanId {
    /// Plan `number` (from 1) for `incident`.
    #[must_use]
    pub fn of(incident: &IncidentId, number: u32) -> Self {
        Self(Arc::from(format!("{incident}/p{number}")))
    }
}

impl ApprovalId {
    /// The request that asks for `step` exactly as `covers` has it: see [`covered`](crate::decision::covered).
    #[must_use]
    pub fn of(step: &StepRef, covers: &Digest) -> Self {
        let covers = covers.to_string();
        Self(Arc::from(format!("{}/{}/{}", step.plan, step.step, covers.get(..12).unwrap_or(&covers))))
    }
}

impl LessonId {
    /// The lesson of `incident`.
    #[must_use]
    pub fn of(incident: &IncidentId) -> Self {
        Self(Arc::from(format!("{incident}/lesson")))
    }
}

/// A step of a plan, named from outside the plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepRef {
    /// The plan.
    pub plan: PlanId,
    /// The step in it.
    pub step: StepId,
}

impl fmt::Display for StepRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.plan, self.step)
    }
}

/// A SHA-256 digest; text form: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String", extend("minLength" = 64, "maxLength" = 64))]
pub struct Digest([u8; 32]);

impl Digest {
    /// 32 zero bytes: the predecessor of the first record.
    pub const ZERO: Self = Self([0; 32]);

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of `parts`, each behind its length, so that no two lists of parts run together.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// A digest read from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::new(ErrorKind::InvalidInput, "digest", "not 64 lower-case hexadecimal digits");
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(invalid());
        }
        let digit = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(invalid()),
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_could_match_more_than_one_thing() {
        // One row a reason: empty, wildcard, wildcard, blank, line break, too long.
        for bad in ["", "*", "web-?", "a b", "a\nb", &"x".repeat(257)] {
            assert!(ActionName::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(ActionName::new("service.restart").unwrap().as_str(), "service.restart");
    }

    #[test]
    fn the_digest_of_the_empty_text_is_the_published_one() {
        // FIPS 180-4 example value of SHA-256("").
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), Digest::of(b""));
        assert!(text.to_uppercase().parse::<Digest>().is_err());
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Digest::of_parts([b"ab".as_slice(), b"c"]), Digest::of_parts([b"a".as_slice(), b"bc"]));
    }
}
