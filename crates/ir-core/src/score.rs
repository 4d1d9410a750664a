//! Scores and probabilities: whole millionths that cannot be out of range, so that records are equal byte for byte.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

const MILLION: u32 = 1_000_000;

macro_rules! millionths {
    ($(#[$doc:meta])* $name:ident, $component:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "u32", into = "u32")]
        #[schemars(with = "u32", extend("maximum" = 1_000_000))]
        pub struct $name(u32);

        impl $name {
            /// 0.
            pub const ZERO: Self = Self(0);
            /// 1, which is 1,000,000 millionths.
            pub const ONE: Self = Self(MILLION);

            /// From whole millionths.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::InvalidInput`] above 1,000,000.
            pub fn from_millionths(millionths: u32) -> Result<Self, Error> {
                if millionths > MILLION {
                    return Err(Error::new(
                        ErrorKind::InvalidInput,
                        $component,
                        format!("`{millionths}` millionths are more than 1"),
                    ));
                }
                Ok(Self(millionths))
            }

            /// From a fraction, rounded to the nearest millionth.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::InvalidInput`] for NaN and outside `0.0..=1.0`.
            pub fn new(value: f64) -> Result<Self, Error> {
                if !(0.0..=1.0).contains(&value) {
                    return Err(Error::new(
                        ErrorKind::InvalidInput,
                        $component,
                        format!("`{value}` is not within 0 and 1"),
                    ));
                }
                Ok(Self::saturating(value))
            }

            /// From a fraction; NaN and what is below 0 becomes 0, what is above 1 becomes 1.
            #[must_use]
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the value was clamped to 0..=1 before"
            )]
            pub fn saturating(value: f64) -> Self {
                if value.is_nan() {
                    return Self::ZERO;
                }
                Self((value.clamp(0.0, 1.0) * f64::from(MILLION)).round() as u32)
            }

            /// The whole millionths, 0 to 1,000,000.
            #[must_use]
            pub const fn millionths(self) -> u32 {
                self.0
            }

            /// As a fraction within 0 and 1.
            #[must_use]
            pub fn as_f64(self) -> f64 {
                f64::from(self.0) / f64::from(MILLION)
            }

            /// How far `self` lies above `other`, 0 if below.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl TryFrom<u32> for $name {
            type Error = Error;
            fn try_from(millionths: u32) -> Result<Self, Error> {
                Self::from_millionths(millionths)
            }
        }

        impl From<$name> for u32 {
            fn from(value: $name) -> u32 {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let precision = f.precision().unwrap_or(2);
                write!(f, "{:.*}", precision, self.as_f64())
            }
        }
    };
}

millionths! {
    /// How strongly something deviates, 0 (not at all) to 1 (as far as the scale goes). Not a probability.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ir_core::Score;
    /// assert_eq!(Score::new(0.25)?.millionths(), 250_000);
    /// assert!(Score::new(f64::NAN).is_err());
    /// # Ok::<(), ir_core::Error>(())
    /// ```
    Score, "score"
}

millionths! {
    /// A probability or confidence, 0 to 1.
    Probability, "probability"
}

/// A measured number: any `f64`, NaN and the infinities included.
///
/// In records it is the shortest text that reads back as the same number (`"0.1"`, `"NaN"`, `"+Inf"`, `"-Inf"`), because
/// canonical JSON numbers cannot carry NaN. Two are equal when they read back the same: NaN equals NaN, and 0 is not -0.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[schemars(with = "String")]
pub struct Measured(pub f64);

impl Measured {
    fn key(self) -> u64 {
        if self.0.is_nan() { f64::NAN.to_bits() } else { self.0.to_bits() }
    }
}

impl PartialEq for Measured {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Measured {}

impl From<f64> for Measured {
    fn from(value: f64) -> Self {
        Self(value)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            f.write_str("NaN")
        } else if value == f64::INFINITY {
            f.write_str("+Inf")
        } else if value == f64::NEG_INFINITY {
            f.write_str("-Inf")
        } else if let Some(precision) = f.precision() {
            write!(f, "{value:.precision$}")
        } else if value != 0.0 && !(1e-7..1e17).contains(&value.abs()) {
            write!(f, "{value:e}")
        } else {
            write!(f, "{value}")
        }
    }
}

impl std::str::FromStr for Measured {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let value = match text {
            "NaN" => f64::NAN,
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            _ => text
                .parse()
                .map_err(|_| Error::new(ErrorKind::InvalidInput, "measured", format!("`{text}` is not a number")))?,
        };
        Ok(Self(value))
    }
}

impl Serialize for Measured {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Measured {
    /// Reads the text form, and plain numbers too, because people write those in documents.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Measured;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or its text")
            }
            fn visit_f64<E>(self, value: f64) -> Result<Measured, E> {
                Ok(Measured(value))
            }
            #[expect(clippy::cast_precision_loss, reason = "measured values are floats by definition")]
            fn visit_i64<E>(self, value: i64) -> Result<Measured, E> {
                Ok(Measured(value as f64))
            }
            #[expect(clippy::cast_precision_loss, reason = "measured values are floats by definition")]
            fn visit_u64<E>(self, value: u64) -> Result<Measured, E> {
                Ok(Measured(value as f64))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Measured, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn measured_values_survive_their_text(bits in any::<u64>()) {
            let value = Measured(f64::from_bits(bits));
            let text = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Measured>(&text).unwrap(), value);
        }

        #[test]
        fn scores_never_leave_their_range(value in any::<f64>()) {
            prop_assert!(Score::saturating(value) <= Score::ONE);
            prop_assert_eq!(Score::new(value).is_ok(), (0.0..=1.0).contains(&value));
        }
    }

    #[test]
    fn a_score_above_one_does_not_deserialize() {
        assert!(serde_json::from_str::<Score>("1000001").is_err());
        assert_eq!(serde_json::from_str::<Score>("1000000").unwrap(), Score::ONE);
    }
}
