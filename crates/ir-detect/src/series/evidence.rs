//! The streams of evidence: what each looks at, and its own history of it.

use serde::{Deserialize, Serialize};

use crate::stats::{Sided, SmallTail, TwoSmallTails, growth};

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

/// The places of two streams in [`STREAMS`], behind those with a plain sign.
const SHAPE: usize = 5;
const FORETOLD: usize = 6;

/// One number a stream, in the order of [`STREAMS`]; distances from what was expected, of either sign.
pub(crate) type Distances = [f64; STREAMS.len()];

/// The history of all streams: a histogram a side.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    signed: [TwoSmallTails; 5],
    /// No shape lies nearer than at 0.
    shape: SmallTail,
    foretold: TwoSmallTails,
}

/// The sum, and who brought most of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weighed {
    pub(crate) nats: f64,
    pub(crate) most: Stream,
    places: [Sided; STREAMS.len()],
}

impl Evidence {
    /// How surprising the distances are together. A stream counts from [`Tail`](crate::stats::Tail)'s nat of the usual on: what
    /// is usual costs nothing.
    pub(crate) fn weigh(&self, distances: &Distances, cap_nats: f64) -> Weighed {
        let places = distances.map(Sided::of);
        let over = |at: usize| match at {
            SHAPE => self.shape.over_usual(distances[SHAPE], places[SHAPE].place()),
            FORETOLD => self.foretold.over_usual(places[FORETOLD]),
            at => self.signed[at].over_usual(places[at]),
        };
        let mut weighed = Weighed { nats: 0.0, most: Stream::Value, places };
        let mut largest = 0.0;
        for (at, (stream, weight)) in STREAMS.into_iter().enumerate() {
            let nats = weight * over(at).min(cap_nats);
            weighed.nats += nats;
            if nats > largest {
                (largest, weighed.most) = (nats, stream);
            }
        }
        weighed
    }

    /// Learns what was weighed, counting it by `share`.
    pub(crate) fn learn(&mut self, weighed: &Weighed, share: f64, half_life: f64) {
        let growth = growth(half_life);
        let places = &weighed.places;
        for (tails, place) in self.signed.iter_mut().zip(places) {
            tails.take(*place, share, growth);
        }
        self.shape.take(places[SHAPE].place(), share, growth);
        self.foretold.take(places[FORETOLD], share, growth);
    }
}
