//! The outside world: journals, sources and executors, one feature each.
