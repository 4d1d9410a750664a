//! Finds what is wrong and why: detectors, correlation and causal ranking.
