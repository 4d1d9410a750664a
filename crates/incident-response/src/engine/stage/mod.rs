//! What the machine does when a noun arrives: one file a noun, all of them methods of the one machine.

mod decision;
mod execution;
mod hypothesis;
mod incident;
mod outcome;
mod plan;
