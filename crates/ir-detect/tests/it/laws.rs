//! The contracts of the traits.
