//! Amazon Web Services: one module and one feature for each service, and here what they share.
//!
//! # Whose client
//!
//! Every part is made from the host's own [`SdkConfig`], with its region, credentials and HTTP client. A host that has
//! none takes [`sdk_config`], which reads the environment as all AWS tools do and speaks TLS by rustls with ring.
//!
//! # One attempt
//!
//! The SDK's retries are off in everything made here, whatever the host's configuration says. An effect that is sent
//! twice is two effects, and the kernel alone decides about a second attempt; what only reads is asked again by the
//! engine.
//!
//! # What is not proven
//!
//! The tests run against `moto`, which is not AWS: throttling, answers that are older than the last change (eventual
//! consistency), slow rollouts and resource-level permissions are unproven against AWS itself.

#[cfg(feature = "aws-autoscaling")]
pub mod autoscaling;
#[cfg(feature = "aws-cloudtrail")]
pub mod cloudtrail;
#[cfg(feature = "aws-cloudwatch")]
pub mod cloudwatch;
#[cfg(feature = "aws-ec2")]
pub mod ec2;
#[cfg(feature = "aws-ecs")]
pub mod ecs;
#[cfg(feature = "aws-events")]
pub mod events;
#[cfg(feature = "aws-logs")]
pub mod logs;
#[cfg(feature = "aws-ssm")]
pub mod ssm;
#[cfg(any(feature = "aws-autoscaling", feature = "aws-ecs"))]
pub mod topology;
#[cfg(any(feature = "aws-cloudtrail", feature = "aws-events"))]
pub mod trail;

mod connect;
#[cfg(test)]
mod double;
#[cfg(any(
    feature = "aws-autoscaling",
    feature = "aws-cloudtrail",
    feature = "aws-cloudwatch",
    feature = "aws-ec2",
    feature = "aws-ecs",
    feature = "aws-events",
    feature = "aws-logs",
    feature = "aws-ssm"
))]
mod error;
#[cfg(any(
    feature = "aws-autoscaling",
    feature = "aws-cloudtrail",
    feature = "aws-cloudwatch",
    feature = "aws-ec2",
    feature = "aws-ecs",
    feature = "aws-events",
    feature = "aws-logs",
    feature = "aws-ssm"
))]
mod limit;
#[cfg(any(
    feature = "aws-cloudtrail",
    feature = "aws-cloudwatch",
    feature = "aws-ecs",
    feature = "aws-events",
    feature = "aws-logs"
))]
mod poll;
#[cfg(any(
    feature = "aws-autoscaling",
    feature = "aws-cloudtrail",
    feature = "aws-cloudwatch",
    feature = "aws-ec2",
    feature = "aws-ecs",
    feature = "aws-events",
    feature = "aws-logs",
    feature = "aws-ssm"
))]
mod prepare;
#[cfg(any(feature = "aws-autoscaling", feature = "aws-ec2", feature = "aws-ecs", feature = "aws-ssm"))]
mod send;
#[cfg(test)]
#[cfg(all(feature = "aws-ecs", feature = "tls"))]
mod tls_tests;

pub use aws_config::SdkConfig;
pub use connect::{AwsConfig, sdk_config};
