//! A simulated person on call, to compare with: does the right thing, some time after the first alert.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::body::Bytes;

use crate::fault::Fault;
use crate::http::{Call, Client};

/// A drained deployment takes at most a start (5 s) and a drain (2.5 s).
const ACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Heals `target`, knowing what is wrong with it. Says what was done.
pub(crate) async fn heal(control: SocketAddr, fault: Fault, target: &str) -> Result<String> {
    let remedy = fault.remedy().context("there is nothing to heal")?;
    operate(control, "person", target, remedy.name(), "{}").await?;
    Ok(format!("{} of {target}", remedy.name()))
}

/// One operation through the control API, under a key of its own.
pub(crate) async fn operate(control: SocketAddr, actor: &str, service: &str, verb: &str, body: &str) -> Result<()> {
    let path = format!("/v1/services/{service}/{verb}");
    let key = format!("{actor}-{verb}-{service}");
    let headers = [("x-actor", actor), ("idempotency-key", key.as_str()), ("content-type", "application/json")];
    let body = Bytes::copy_from_slice(body.as_bytes());
    let call = Call { method: "POST", path: &path, headers: &headers, body };
    match Client::new(control).call(call, ACTION_TIMEOUT).await? {
        (200, _) => Ok(()),
        (status, body) => bail!("{verb} of {service}: {status} {}", String::from_utf8_lossy(&body)),
    }
}
