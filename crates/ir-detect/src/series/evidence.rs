//! The streams of evidence: what each looks at, and its own history of it.

use serde::{Deserialize, Serialize};

use crate::stats::{Tail, TwoTails};

/// What a stream looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Stream {
    /// The value against what is expected now.
    Value,
    /// The last eight values against what was expected of them.
    Recent,
    /// The mean of the last eight against the level of all.
    Level,
    /// The step from the value before.
    Step,
    /// How much the last twelve vary: too much, or not at all.
    Liveliness,
    /// The shape of the last eight, compared with all shapes before.
    Shape,
    /// The value against what the last five foretold.
    Foretold,
}

impl Stream {
    /// In words, to be put behind "unusual:".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Value => "the value itself",
            Self::Recent => "the last values together",
            Self::Level => "the level",
            Self::Step => "the step from the value before",
            Self::Liveliness => "how much it varies",
            Self::Shape => "a shape never seen",
            Self::Foretold => "not what the values before foretold",
        }
    }
}

/// How much a stream counts. All the same, but for steps: they are most of what noisy series have to offer.
const STREAMS: [(Stream, f64); 7] = [
    (Stream::Value, 1.0),
    (Stream::Recent, 1.0),
    (Stream::Level, 1.0),
    (Stream::Step, 0.7),
    (Stream::Liveliness, 1.0),
    (Stream::Shape, 1.0),
    (Stream::Foretold, 1.0),
];

/// What is usual costs nothing: a stream counts from this surprise on (the mean of `-ln P` by chance).
const USUAL_NATS: f64 = 1.0;

/// One number a stream, in the order of [`STREAMS`]; distances from what was expected, of either sign.
pub(crate) type Distances = [f64; STREAMS.len()];

/// The history of all streams.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    signed: [TwoTails; 5],
    shape: Tail,
    foretold: TwoTails,
}

/// The sum, and who brought most of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weighed {
    pub(crate) nats: f64,
    pub(crate) most: Stream,
}

impl Evidence {
    /// How surprising the distances are together.
    pub(crate) fn weigh(&self, distances: &Distances, cap_nats: f64) -> Weighed {
        let [value, recent, level, step, liveliness] = &self.signed;
        let found = [
            value.surprise(distances[0]),
            recent.surprise(distances[1]),
            level.surprise(distances[2]),
            step.surprise(distances[3]),
            liveliness.surprise(distances[4]),
            self.shape.surprise(distances[5]),
            self.foretold.surprise(distances[6]),
        ];
        let mut weighed = Weighed { nats: 0.0, most: Stream::Value };
        let mut largest = 0.0;
        for ((stream, weight), nats) in STREAMS.into_iter().zip(found) {
            let nats = weight * (nats - USUAL_NATS).clamp(0.0, cap_nats);
            weighed.nats += nats;
            if nats > largest {
                (largest, weighed.most) = (nats, stream);
            }
        }
        weighed
    }

    /// Bytes on the heap.
    pub(crate) fn held(&self) -> usize {
        let signed: usize = self.signed.iter().map(TwoTails::held).sum();
        signed + self.shape.held() + self.foretold.held()
    }

    /// Learns the distances, counting them by `share`.
    pub(crate) fn learn(&mut self, distances: &Distances, share: f64, half_life: f64) {
        for (tails, distance) in self.signed.iter_mut().zip(distances) {
            tails.push(*distance, share, half_life);
        }
        self.shape.push(distances[5], share, half_life);
        self.foretold.push(distances[6], share, half_life);
    }
}
