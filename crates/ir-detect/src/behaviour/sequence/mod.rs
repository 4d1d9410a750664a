//! Normal sequences of symbols, and how unlike them another one is: system calls of a process, steps of a session, calls of an API.
//!
//! Three views, each turned into nats by what normal sequences themselves show ([`Tail`]):
//!
//! - *what occurs*: the distance of its set of symbols to that of the nearest sequence learned (Jaccard);
//! - *how often*: the distance of its frequencies to those of the nearest (Hellinger);
//! - *in which order*: its mean surprise under a blend of contexts of up to [`SequenceConfig::order`] symbols (Witten and Bell 1991),
//!   less the entropy of its own symbols, since what is monotonous is easily foreseen.
//!
//! They are added, but of the latter two only a part beyond what one sequence in ten has. The nearest of all that is normal decides
//! because normal is many things; frequencies and order stray further among normal programs than which calls they make at all. For
//! sets of a whole process see Warrender, Forrest and Pearlmutter (1999): "Detecting intrusions using system calls: alternative
//! data models", doi:10.1109/SECPRI.1999.766910; what differs: no windows (they did worse on the development data), the nearest
//! example instead of a database of all runs, and calibration.

use serde::{Deserialize, Serialize};

mod exemplars;
mod grams;

use exemplars::{Bag, Exemplars};
use grams::{Grams, MAX_ORDER};
use ir_core::{ConfigError, Problem};
use schemars::JsonSchema;

use crate::check::Check;
use crate::stats::Tail;

/// How a [`SequenceModel`] learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SequenceConfig {
    /// So many symbols back matter. Default 5.
    #[schemars(range(min = 1, max = 16))]
    pub order: usize,
    /// Runs of symbols that are counted at most; about 50 bytes each. Default 200,000.
    #[schemars(range(min = 64, max = 100_000_000))]
    pub max_runs: usize,
    /// Sequences kept as examples at most; about 24 bytes a distinct symbol and 100 each. Default 2,000.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub max_examples: usize,
    /// Nothing is surprising before so many sequences were learned. Default 20.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub warm: u64,
    /// After so many sequences what was usual counts half. Default 2,000.
    #[schemars(range(min = 1.0, max = 1e9))]
    pub half_life: f64,
}

impl Default for SequenceConfig {
    fn default() -> Self {
        Self { order: 5, max_runs: 200_000, max_examples: 2_000, warm: 20, half_life: 2_000.0 }
    }
}

impl SequenceConfig {
    pub(crate) fn problems(&self) -> Check {
        let mut check = Check::default();
        check.count("order", self.order, 1, MAX_ORDER);
        check.count("max_runs", self.max_runs, 64, 100_000_000);
        check.count("max_examples", self.max_examples, 2, 1_000_000);
        check.count("warm", usize::try_from(self.warm).unwrap_or(usize::MAX), 2, 1_000_000);
        check.within("half_life", self.half_life, 1.0, 1e9);
        check
    }
}

/// How surprising a sequence is, and why. All in nats, 0 and more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unusual {
    /// In all.
    pub nats: f64,
    /// By which symbols it has.
    pub set: f64,
    /// By how often it has each.
    pub frequency: f64,
    /// By their order.
    pub order: f64,
    /// What was least foreseen, if there was anything.
    pub oddest: Option<Oddest>,
}

/// The symbol that was least foreseen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Oddest {
    /// Its place in the sequence, from 0.
    pub at: usize,
    /// The symbol.
    pub symbol: u32,
    /// The one before it.
    pub after: Option<u32>,
    /// Its own surprise.
    pub nats: f64,
}

/// What normal sequences look like.
///
/// # Examples
///
/// ```
/// use ir_detect::behaviour::{SequenceConfig, SequenceModel};
///
/// let mut model = SequenceModel::new(SequenceConfig::default()).unwrap();
/// let normal: Vec<Vec<u32>> = (0..60).map(|n| [1, 2, 3, 2, 3].repeat(1 + n % 4)).collect();
/// model.fit(normal.iter().map(Vec::as_slice));
/// let (usual, odd) = (model.unusual(&[1, 2, 3, 2, 3]), model.unusual(&[1, 2, 9, 9, 3]));
/// assert!(usual.set == 0.0 && odd.set > 3.0 && odd.nats > usual.nats + 3.0);
/// assert_eq!(odd.oddest.unwrap().symbol, 9);
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SequenceModel {
    config: SequenceConfig,
    learned: Learned,
}

/// All but the configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Learned {
    grams: Grams,
    exemplars: Exemplars,
    set: Tail,
    frequency: Tail,
    order: Tail,
}

/// What the views measure, before it is turned into nats.
#[derive(Debug, Clone, Copy)]
struct Views {
    set: f64,
    frequency: f64,
    order: f64,
    oddest: Option<Oddest>,
}

/// Frequencies and order count in full up to one in ten, ...
const SUPPORT_NATS: f64 = std::f64::consts::LN_10;
/// ... and beyond that by this share, which orders what would be equal.
const SUPPORT_SHARE: f64 = 0.05;
/// Makes an exponential tail of the order's nats a power, which is what [`Tail`] is for, with bins fine enough.
const ORDER_SCALE: f64 = 2.0;

impl SequenceModel {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its field.
    pub fn new(config: SequenceConfig) -> Result<Self, ConfigError> {
        let problems: Vec<Problem> = config.problems().done();
        ConfigError::check(problems, Self { config, learned: Learned::default() })
    }

    /// Learns a normal sequence. How surprising it was before is what is usual from now on.
    pub fn learn(&mut self, sequence: &[u32]) {
        self.learned.learn(sequence, &self.config);
    }

    /// Learns many normal sequences at once: what is usual is how surprising each is to a model of all others. Better than one by
    /// one where there are few.
    pub fn fit<'a>(&mut self, sequences: impl IntoIterator<Item = &'a [u32]>) {
        let sequences: Vec<&[u32]> = sequences.into_iter().collect();
        let learned = &mut self.learned;
        for sequence in &sequences {
            learned.grams.learn(sequence, self.config.order, self.config.max_runs);
            learned.exemplars.learn(&Bag::of(sequence), self.config.max_examples);
        }
        for sequence in sequences {
            if let Some(views) = learned.views(sequence, &self.config, true) {
                learned.calibrate(views, &self.config);
            }
        }
    }

    /// How surprising a sequence is; nothing is before [`SequenceConfig::warm`] were learned, nor is an empty one.
    #[must_use]
    pub fn unusual(&self, sequence: &[u32]) -> Unusual {
        self.learned.unusual(sequence, &self.config)
    }

    /// How many sequences were learned.
    #[must_use]
    pub fn learned(&self) -> u64 {
        self.learned.exemplars.learned()
    }

    /// Bytes on the heap, about.
    #[must_use]
    pub fn held(&self) -> usize {
        self.learned.held()
    }
}

impl Learned {
    pub(crate) fn learn(&mut self, sequence: &[u32], config: &SequenceConfig) {
        if sequence.is_empty() {
            return;
        }
        if self.exemplars.learned() >= config.warm / 2
            && let Some(views) = self.views(sequence, config, false)
        {
            self.calibrate(views, config);
        }
        self.grams.learn(sequence, config.order, config.max_runs);
        self.exemplars.learn(&Bag::of(sequence), config.max_examples);
    }

    pub(crate) fn unusual(&self, sequence: &[u32], config: &SequenceConfig) -> Unusual {
        let none = Unusual { nats: 0.0, set: 0.0, frequency: 0.0, order: 0.0, oddest: None };
        if self.exemplars.learned() < config.warm {
            return none;
        }
        let Some(views) = self.views(sequence, config, false) else { return none };
        let [set, frequency, order] =
            [self.set.surprise(views.set), self.frequency.surprise(views.frequency), self.order.surprise(views.order)];
        let nats = set + supporting(frequency) + supporting(order);
        Unusual { nats, set, frequency, order, oddest: views.oddest }
    }

    pub(crate) fn held(&self) -> usize {
        self.grams.held() + self.exemplars.held() + self.set.held() + self.frequency.held() + self.order.held()
    }

    /// `None` for an empty sequence, and without another one to compare with.
    fn views(&self, sequence: &[u32], config: &SequenceConfig, without: bool) -> Option<Views> {
        let bag = Bag::of(sequence);
        if sequence.is_empty() {
            return None;
        }
        let distance = self.exemplars.nearest(&bag, without)?;
        let (mut sum, mut oddest) = (0.0, None::<(usize, f64)>);
        let each = |at, nats: f64| {
            sum += nats;
            if oddest.is_none_or(|(_, most)| nats > most) {
                oddest = Some((at, nats));
            }
        };
        match without {
            true => self.grams.surprise_without(sequence, config.order, each),
            false => self.grams.surprise(sequence, config.order, each),
        }
        let order = sum / sequence.len() as f64 - bag.entropy();
        let oddest = oddest.map(|(at, nats)| Oddest {
            at,
            symbol: sequence[at],
            after: at.checked_sub(1).map(|before| sequence[before]),
            nats,
        });
        Some(Views { set: distance.set, frequency: distance.frequency, order: (ORDER_SCALE * order).exp(), oddest })
    }

    fn calibrate(&mut self, views: Views, config: &SequenceConfig) {
        self.set.push(views.set, 1.0, config.half_life);
        self.frequency.push(views.frequency, 1.0, config.half_life);
        self.order.push(views.order, 1.0, config.half_life);
    }
}

fn supporting(nats: f64) -> f64 {
    nats.min(SUPPORT_NATS) + SUPPORT_SHARE * (nats - SUPPORT_NATS).max(0.0)
}

#[cfg(test)]
mod tests;
