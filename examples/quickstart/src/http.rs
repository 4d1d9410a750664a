//! HTTP over loopback for all roles: a server loop that can be drained, and a client that keeps its connections.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) type Request = hyper::Request<Incoming>;
pub(crate) type Response = hyper::Response<Full<Bytes>>;

/// More than any message of this program needs.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Idle connections kept per client; a burst may open more, which are then let go.
const MAX_IDLE: usize = 64;

/// Answers requests until `stop` turns true, then lets the connections finish what they are doing and returns.
pub(crate) async fn serve<H, F>(listener: TcpListener, mut stop: watch::Receiver<bool>, handler: H)
where
    H: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        // A failed accept concerns one caller, who sees it; the others go on.
        let Ok((stream, _)) = stream else { continue };
        connections.spawn(serve_one(stream, stop.clone(), handler.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_one<H, F>(stream: TcpStream, mut stop: watch::Receiver<bool>, handler: H)
where
    H: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    // Small messages must not wait for each other; without this option they are merely slower.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection =
        std::pin::pin!(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let stopping = tokio::select! {
        _ = connection.as_mut() => false,
        _ = stop.wait_for(|stop| *stop) => true,
    };
    if stopping {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// A plain answer.
pub(crate) fn text(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = hyper::Response::new(Full::new(body.into()));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(content_type));
    response
}

/// An answer in JSON.
pub(crate) fn json<T: Serialize>(status: u16, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => text(status, "application/json", body),
        Err(error) => text(500, "text/plain", error.to_string()),
    }
}

/// An answer that says what was wrong, for people and programs alike.
pub(crate) fn problem(status: u16, message: impl std::fmt::Display) -> Response {
    json(status, &serde_json::json!({ "error": message.to_string() }))
}

/// The body of a request as JSON; an empty one counts as `{}`.
pub(crate) async fn body<T: serde::de::DeserializeOwned>(request: Request) -> Result<T, String> {
    let limited = Limited::new(request.into_body(), MAX_BODY_BYTES);
    let bytes = limited.collect().await.map_err(|error| format!("cannot read the body: {error}"))?.to_bytes();
    let bytes = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
    serde_json::from_slice(&bytes).map_err(|error| format!("cannot understand the body: {error}"))
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallError {
    /// Nobody there, or the connection was closed before the answer.
    Refused(String),
    /// No answer within the time given.
    Timeout,
}

impl CallError {
    /// The value of a metric's label `code`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Timeout => "timeout",
        }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Timeout => write!(f, "timed out"),
        }
    }
}

impl std::error::Error for CallError {}

/// One call: method, path, headers, body.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Bytes,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: "GET", path, headers: &[], body: Bytes::new() }
    }
}

/// Calls one address and keeps its connections for the next call.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::new(Vec::new()) }
    }

    /// Status and body of the answer.
    ///
    /// A kept connection may have been closed by the other side just as we used it; then, and only then, the call is
    /// made once more on a fresh one. That is sound here because every request of the shop carries its own name
    /// (trace id or idempotency key), so that a repetition is no second order.
    pub(crate) async fn call(&self, call: Call<'_>, timeout: Duration) -> Result<(u16, Bytes), CallError> {
        match tokio::time::timeout(timeout, self.attempt(&call)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Timeout),
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<(u16, Bytes), CallError> {
        if let Some(mut kept) = self.take_idle()
            && let Ok(answer) = exchange(&mut kept, self.address, call).await
        {
            self.keep(kept);
            return Ok(answer);
        }
        let refused = |error: &dyn std::fmt::Display| CallError::Refused(error.to_string());
        let stream = TcpStream::connect(self.address).await.map_err(|error| refused(&error))?;
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| refused(&error))?;
        // How a connection ends shows in the call that uses it.
        tokio::spawn(async move { drop(connection.await) });
        let answer = exchange(&mut sender, self.address, call).await.map_err(|error| refused(&error))?;
        self.keep(sender);
        Ok(answer)
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|sender| sender.is_ready())
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(sender);
        }
    }
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    address: SocketAddr,
    call: &Call<'_>,
) -> Result<(u16, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let mut request = hyper::Request::builder().method(call.method).uri(call.path).header("host", address.to_string());
    for (name, value) in call.headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::new(call.body.clone()))?).await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await?.to_bytes();
    Ok((status, body))
}

/// The address in a URL such as `http://127.0.0.1:8080`.
pub(crate) fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let host = rest.split('/').next().unwrap_or(rest);
    host.parse().map_err(|error| anyhow::anyhow!("`{url}` is not the URL of a loopback address: {error}"))
}
