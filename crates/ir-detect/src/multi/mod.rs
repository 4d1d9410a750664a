//! Metrics that belong together, watched as one: what fits each metric alone may not fit the others.
//!
//! The metrics of one machine move together. A model of that (the principal components of their correlations, learned as rows
//! come) foretells each metric from all; what is left over, the residual, is small as long as things hang together as usual. Each
//! metric's residual is judged by its own history, and the capped surprises are added up, so a row names the metrics to blame.
//!
//! Residuals of principal components detect faults since J. E. Jackson, G. S. Mudholkar (1979): "Control Procedures for Residuals
//! Associated With Principal Component Analysis", doi:10.1080/00401706.1979.10489779; on today's benchmarks they are still near the
//! best (TSB-AD, Q. Liu, J. Paparrizos 2024). What differs: the components are renewed as rows come, residuals are judged by
//! their empirical tails instead of a normal law, and what looks wrong is hardly learned.

mod config;
mod model;
#[cfg(test)]
mod tests;

pub use config::MultiConfig;
pub use model::{Blame, MultiJudged, MultiModel};
