//! The SDK's configuration for a host that has none of its own: from the environment, with TLS by rustls and ring.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use ir_core::ConfigError;
use ir_core::config::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where AWS is, and how long it may take to answer. Credentials do not belong here: they come from the environment, as
/// for all AWS tools (variables, profiles, web identity, the metadata of container or instance).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsConfig {
    /// The region; that of the environment where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The profile in the shared configuration files; that of the environment where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Where all services are asked: a private endpoint, or `http://127.0.0.1:5000` in tests. AWS itself where nothing
    /// is said. Without TLS only this machine is asked, since requests carry the session token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// How long a connection may take to come about, in milliseconds. 3,000.
    #[schemars(range(min = 1))]
    pub connect_timeout_ms: u64,
    /// How long one call may take with everything in it, in milliseconds. 10,000.
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
}

impl Default for AwsConfig {
    fn default() -> Self {
        Self { region: None, profile: None, endpoint_url: None, connect_timeout_ms: 3_000, timeout_ms: 10_000 }
    }
}

/// A configuration of the SDK from the environment: TLS by rustls with ring, no retries, and a limit on the time of
/// every call. Nothing is installed for the whole process, and no credentials are asked for yet.
///
/// # Errors
///
/// All problems at once: an endpoint that is none, bounds of 0, no region anywhere.
pub async fn sdk_config(config: &AwsConfig) -> Result<SdkConfig, ConfigError> {
    let mut problems = config.problems();
    let timeouts = timeouts(config.connect_timeout_ms.max(1), config.timeout_ms.max(1));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &config.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &config.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    if !problems.is_empty() {
        return Err(ConfigError::of(problems));
    }
    let sdk = loader.load().await;
    // That of the environment is asked as well.
    problems.extend(sdk.endpoint_url().and_then(without_tls));
    if sdk.region().is_none() {
        problems.push(Problem::at("region", "is not given, and the environment names none"));
    }
    ConfigError::check(problems, sdk)
}

impl AwsConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(self.endpoint_url.as_deref().and_then(without_tls));
        if self.region.as_ref().is_some_and(|region| !is_region(region)) {
            problems.push(Problem::at("region", "a region is like `eu-central-1`"));
        }
        let bounds = [("connect_timeout_ms", self.connect_timeout_ms), ("timeout_ms", self.timeout_ms)];
        let zero = bounds.into_iter().filter(|(_, value)| *value == 0);
        problems.extend(zero.map(|(field, _)| Problem::at(field, "must be more than 0")));
        problems
    }
}

/// What is wrong with an endpoint. Requests carry the session token, so without TLS they stay on this machine.
fn without_tls(url: &str) -> Option<Problem> {
    if url.starts_with("https://") {
        return None;
    }
    let Some(rest) = url.strip_prefix("http://") else {
        return Some(Problem::at("endpoint_url", "must begin with `https://`, or `http://` for this machine"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let here = authority == "localhost"
        || authority.starts_with("localhost:")
        || authority.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        || authority.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
    (!here).then(|| Problem::at("endpoint_url", "is not this machine, so it must begin with `https://`"))
}

/// The region becomes a part of a host name.
fn is_region(region: &str) -> bool {
    !region.is_empty() && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

pub(super) fn timeouts(connect_ms: u64, call_ms: u64) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(connect_ms))
        .operation_timeout(Duration::from_millis(call_ms))
        .build()
}

pub(super) fn https() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}
