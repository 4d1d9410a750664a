//! Tests against moto, which stands for AWS. A binary of its own, so that the other tests need not link the SDK.
#![cfg(feature = "aws")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

mod autoscaling;
mod cloudwatch;
#[cfg(feature = "aws-ec2")]
mod ec2;
mod ecs;
mod events;
mod logs;
mod permissions;
mod server;
mod ssm;
mod topology;
