//! What the SDK's errors mean: for a call that only reads, and for one that has an effect.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
#[cfg(any(feature = "aws-autoscaling", feature = "aws-ec2", feature = "aws-ecs", feature = "aws-ssm"))]
use ir_core::{Attempt, Result, kernel::Effect};
use ir_core::{Error, ErrorKind};

/// So much of AWS's own text is told.
const MAX_CHARS: usize = 200;

/// AWS says "no" in many words. These say: not so fast.
const THROTTLED: [&str; 9] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "SlowDown",
    "BandwidthLimitExceeded",
];

/// These say: not you. Their texts may hold what was signed, a session token among it, so only the word is told.
const REFUSED: [&str; 14] = [
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthFailure",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "OptInRequired",
];

/// These say: not now.
const BUSY: [&str; 5] = [
    "ScalingActivityInProgress",
    "ResourceContention",
    "ServiceNotActiveException",
    "UpdateInProgressException",
    "IncorrectInstanceState",
];

/// Words with one of these in them say: there is none.
const MISSING: [&str; 3] = ["NotFound", "DoesNotExist", "NonExistent"];

/// An error of one of AWS's own clients.
type Failed<E> = SdkError<E, HttpResponse>;

/// What became of a call that changes nothing.
pub(super) fn of_reading<E>(component: &str, what: &str, error: &Failed<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let (kind, said) = match error {
        SdkError::ConstructionFailure(_) => (ErrorKind::InvalidConfig, chain(error)),
        _ if without_credentials(error) => (ErrorKind::Unauthorized, chain(error)),
        SdkError::TimeoutError(_) => (ErrorKind::Timeout, "no answer in time".to_owned()),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => (ErrorKind::Timeout, chain(error)),
        SdkError::ServiceError(answer) => refusal(answer.err(), answer.raw().status().as_u16()),
        // Somebody on the way, or AWS in another protocol: the status is all that can be read.
        SdkError::ResponseError(answer) if matches!(answer.raw().status().as_u16(), 401 | 403) => {
            (ErrorKind::Unauthorized, format!("status {}", answer.raw().status().as_u16()))
        }
        SdkError::ResponseError(answer) if answer.raw().status().as_u16() == 429 => {
            (ErrorKind::RateLimited, "status 429".to_owned())
        }
        _ => (ErrorKind::Unavailable, chain(error)),
    };
    Error::new(kind, component, format!("{what}: {said}"))
}

/// What became of a call with an effect. Everything but `Unknown` says that nothing was changed, so it is said only
/// where it is certain: the request was never built or never signed, nobody took the connection, or AWS itself refused
/// the request.
#[cfg(any(feature = "aws-autoscaling", feature = "aws-ec2", feature = "aws-ecs", feature = "aws-ssm"))]
pub(super) fn of_effect<E>(component: &str, what: &str, error: &Failed<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let (kind, said) = match error {
        SdkError::ConstructionFailure(_) => (ErrorKind::InvalidConfig, chain(error)),
        _ if without_credentials(error) => (ErrorKind::Unauthorized, chain(error)),
        SdkError::DispatchFailure(_) if nobody_listened(error) => (ErrorKind::Unavailable, chain(error)),
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let (kind, said) = refusal(answer.err(), status);
            let certain = (400..500).contains(&status) && status != 408;
            (if certain { kind } else { ErrorKind::Unknown }, said)
        }
        _ => (ErrorKind::Unknown, chain(error)),
    };
    Error::new(kind, component, format!("{what}: {said}"))
}

/// How an attempt ended whose request failed: it changed nothing where that is certain, and else its effect is unknown.
#[cfg(any(feature = "aws-autoscaling", feature = "aws-ec2", feature = "aws-ecs", feature = "aws-ssm"))]
pub(super) fn ended<E>(component: &str, what: &str, effect: Effect, error: &Failed<E>) -> Result<Attempt>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match of_effect(component, what, error) {
        unknown if unknown.kind() == ErrorKind::Unknown => Err(unknown),
        certain => Ok(effect.not_applied(certain).into()),
    }
}

/// The kind and the words of an answer that says no.
fn refusal<E: ProvideErrorMetadata>(error: &E, status: u16) -> (ErrorKind, String) {
    let code = error.code().unwrap_or_default();
    let is = |codes: &[&str]| codes.contains(&code);
    let kind = match status {
        _ if is(&THROTTLED) => ErrorKind::RateLimited,
        _ if is(&REFUSED) => ErrorKind::Unauthorized,
        _ if is(&BUSY) => ErrorKind::Conflict,
        429 => ErrorKind::RateLimited,
        // An answer that says yes and cannot be read is no refusal.
        ..=399 | 500.. => ErrorKind::Unavailable,
        _ if MISSING.iter().any(|word| code.contains(word)) => ErrorKind::NotFound,
        401 | 403 => ErrorKind::Unauthorized,
        404 => ErrorKind::NotFound,
        _ => ErrorKind::InvalidInput,
    };
    let code = if code.is_empty() { format!("status {status}") } else { shortened(code) };
    let said = match error.message() {
        Some(message) if kind != ErrorKind::Unauthorized => format!("{code}: {}", shortened(message)),
        _ => code,
    };
    (kind, said)
}

/// Whether the connection was refused: then no byte of the request went out.
#[cfg(any(feature = "aws-autoscaling", feature = "aws-ec2", feature = "aws-ecs", feature = "aws-ssm"))]
fn nobody_listened(error: &(dyn StdError + 'static)) -> bool {
    sources(error).any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}

/// Whether there was nothing to sign the request with.
fn without_credentials(error: &(dyn StdError + 'static)) -> bool {
    sources(error).any(|cause| cause.is::<CredentialsError>())
}

fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause: &&'a (dyn StdError + 'static)| {
        let cause: &'a (dyn StdError + 'static) = *cause;
        cause.source()
    })
}

/// The error with its causes, in their own words: never their `Debug`, which shows headers.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let words: Vec<String> = sources(error).map(ToString::to_string).collect();
    shortened(&words.join(": "))
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        short.push_str(" ...");
    }
    short
}
