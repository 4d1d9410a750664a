//! Numeric cores over `f64` that know nothing of signals: plain structs and functions, no allocation after warm-up.

pub mod count;
pub mod cusum;
pub mod ddsketch;
pub mod drift;
pub mod eigen;
pub mod ewma;
pub mod median;
mod packed;
pub mod quantile;
pub mod random;
pub mod ring;
pub mod robust;
pub mod surprise;
pub mod tail;
pub mod trend;

pub use count::{EventRate, MOST_TRIALS, count_surprise, share_surprise};
pub use cusum::Cusum;
pub use ddsketch::DdSketch;
pub use drift::{Course, Drift};
pub use eigen::eigen;
pub use ewma::Ewma;
pub use median::RunningMedian;
pub(crate) use packed::{octets, singles};
pub use quantile::bucket_quantile;
pub use random::Random;
pub use ring::Ring;
pub(crate) use robust::within;
pub use robust::{Floors, Location, mad, median};
pub use surprise::{binomial_surprise, gaussian_surprise, score_of};
pub(crate) use tail::{Sided, growth};
pub use tail::{SmallTail, Tail, TailOf, TwoSmallTails, TwoTails, TwoTailsOf};
pub use trend::{Trend, theil_sen};
