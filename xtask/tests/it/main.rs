//! Runs the program itself on small made-up workspaces and on a made-up quickstart. Nothing here needs a network.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

mod fixture;
mod stages;
mod trial;
