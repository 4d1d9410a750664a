//! An embeddable autonomous incident response library.
