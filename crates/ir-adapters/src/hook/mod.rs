//! What webhooks share, whoever sends or receives them: proof of the sender, repetition, and a small server.
//!
//! Signatures are those of [Standard Webhooks](https://www.standardwebhooks.com), version 1 with a shared key.

mod guard;
mod secret;
mod serve;
#[cfg(test)]
mod tests;

pub use guard::{Admission, HookAuth, HookGuard, PushAuth, Refusal, ReplayWindow};
pub use secret::{SigningKey, Token};
pub use serve::serve;

const COMPONENT: &str = "webhook";
