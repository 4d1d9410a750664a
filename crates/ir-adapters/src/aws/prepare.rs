//! The host's configuration, as the parts here use it.

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_types::retry::RetryConfig;
use ir_core::config::Problem;

use super::connect::{AwsConfig, https, timeouts};

/// The host's configuration as the parts here use it: one attempt, a limit on the time of every call, and a client that
/// speaks HTTPS where the host has none.
pub(super) fn prepared(sdk: &SdkConfig, problems: &mut Vec<Problem>) -> SdkConfig {
    if sdk.region().is_none() {
        problems.push(Problem::at("sdk", "names no region"));
    }
    let mut builder = sdk.clone().into_builder().retry_config(RetryConfig::disabled());
    if !sdk.timeout_config().is_some_and(TimeoutConfig::has_timeouts) {
        let AwsConfig { connect_timeout_ms, timeout_ms, .. } = AwsConfig::default();
        builder = builder.timeout_config(timeouts(connect_timeout_ms, timeout_ms));
    }
    if sdk.http_client().is_none() {
        builder = builder.http_client(https());
    }
    // Without one, making a client of the SDK would panic.
    if sdk.behavior_version().is_none() {
        builder = builder.behavior_version(BehaviorVersion::latest());
    }
    builder.build()
}
