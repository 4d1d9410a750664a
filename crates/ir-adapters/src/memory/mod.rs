//! Parts that keep everything in memory: for tests, and for trying things out. What they hold is gone with the process.

pub use ir_core::MemoryJournal;
