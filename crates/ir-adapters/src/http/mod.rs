//! The client that adapters of HTTP products share: HTTP/1.1, over TLS with the feature `tls`, bounded in time and size.
//!
//! # Guarantees
//!
//! No call outlives its context's deadline or takes in more than the allowed bytes, whatever the other side does. It starts no
//! task: a kept connection is driven only while a call uses it. A `GET` on a kept connection that the other side closed
//! meanwhile is sent once more on a new one; nothing else is ever sent twice. No redirect is followed. With a [`Reach`] it
//! connects to nothing else, whatever a name leads to.
//!
//! # Errors
//!
//! Before the first byte of a request went out (no connection) the kind is `Unavailable` or `Timeout`. After that a `GET`
//! gives the same, because it changes nothing; a `POST` gives `Unknown`: the other side may have done what it was asked.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use ir_core::{Ctx, Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

mod auth;
mod reach;
mod resolve;
#[cfg(feature = "tls")]
mod tls;
mod url;

pub use auth::HttpAuth;
pub use reach::{Network, Reach};
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use url::HttpUrl;
#[cfg(any(feature = "loki", feature = "prometheus"))]
pub(crate) use url::encode;

use resolve::{Resolve, System};

/// The most bytes taken of a header section.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// The bounds of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// How long one call may take, in milliseconds. 5,000.
    pub timeout_ms: u64,
    /// How long making a connection may take, in milliseconds. 2,000.
    pub connect_timeout_ms: u64,
    /// The most bytes of an answer. 8 MiB.
    pub max_bytes: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { timeout_ms: 5_000, connect_timeout_ms: 2_000, max_bytes: 8 << 20 }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status: 200 and so on.
    pub status: u16,
    /// The content.
    pub body: Bytes,
    /// What the content is, as the header `content-type` says it.
    pub content_type: Option<String>,
    /// When to come again, as the header `retry-after` says it: seconds, or a date.
    pub retry_after: Option<String>,
    /// How the content is packed, as the header `content-encoding` says it. No packing is asked for, and none is undone.
    pub content_encoding: Option<String>,
}

impl HttpReply {
    /// Whether the status says that it worked.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// An error where the content is packed, which was not asked for: nothing of it can be read.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub fn unpacked(self, component: &str) -> Result<Self> {
        match self.content_encoding.as_deref().map(str::trim) {
            None | Some("" | "identity") => Ok(self),
            Some(packing) => {
                let message = format!("its answer is packed as `{}`, which was not asked for", packing.escape_debug());
                Err(Error::new(ErrorKind::Unavailable, component, message))
            }
        }
    }

    /// The content if it worked, else an error of the kind that the status means.
    ///
    /// # Errors
    ///
    /// `Unauthorized` (401, 403), `NotFound` (404), `Conflict` (409), `RateLimited` (429), `InvalidInput` (other 4xx),
    /// `Unavailable` (everything else).
    pub fn into_body(self, component: &str) -> Result<Bytes> {
        if self.is_success() {
            return Ok(self.body);
        }
        let kind = match self.status {
            401 | 403 => ErrorKind::Unauthorized,
            404 => ErrorKind::NotFound,
            409 => ErrorKind::Conflict,
            429 => ErrorKind::RateLimited,
            400..=499 => ErrorKind::InvalidInput,
            _ => ErrorKind::Unavailable,
        };
        Err(Error::new(kind, component, format!("it answered with status {}", self.status)))
    }
}

/// Talks to one server and keeps one idle connection to it.
#[derive(Debug)]
pub struct HttpClient {
    component: String,
    config: HttpConfig,
    auth: Option<HttpAuth>,
    reach: Reach,
    resolver: Box<dyn Resolve>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    idle: Mutex<Option<Link>>,
}

/// What carries the bytes: a connection, with or without TLS.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// What moves the bytes of a connection.
type Pipe = Connection<TokioIo<Box<dyn Wire>>, Full<Bytes>>;

/// A connection: what sends requests, and what moves the bytes while somebody polls it.
struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the other side closed it.
    connection: Option<Pipe>,
    /// Scheme, host and port.
    origin: String,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client whose errors name `component`. It speaks plain HTTP only.
    #[must_use]
    pub fn new(component: impl Into<String>, config: HttpConfig) -> Self {
        Self {
            component: component.into(),
            config,
            auth: None,
            reach: Reach::anywhere(),
            resolver: Box::new(System),
            #[cfg(feature = "tls")]
            tls: None,
            idle: Mutex::new(None),
        }
    }

    /// The same client, which shows `auth` with every request.
    #[must_use]
    pub fn with_auth(self, auth: HttpAuth) -> Self {
        Self { auth: Some(auth), ..self }
    }

    /// The same client, which connects to nothing but what `reach` allows. It is everywhere by default.
    #[must_use]
    pub fn with_reach(self, reach: Reach) -> Self {
        // What is kept was made before.
        Self { reach, idle: Mutex::new(None), ..self }
    }

    /// The same client, which also speaks TLS where the address says `https`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Gets `url`.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Stopped`; `InvalidInput` when the answer is larger than allowed; `InvalidConfig` when the
    /// address leads nowhere that is allowed. A status other than 2xx is no error here.
    pub async fn get(&self, ctx: &Ctx, url: &HttpUrl) -> Result<HttpReply> {
        self.get_with(ctx, url, &[]).await
    }

    /// Gets `url` with further `headers`.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub async fn get_with(&self, ctx: &Ctx, url: &HttpUrl, headers: &[(&str, &str)]) -> Result<HttpReply> {
        let ctx = ctx.with_timeout(Duration::from_millis(self.config.timeout_ms));
        ctx.run(&self.component, async {
            if let Some(mut link) = self.take_idle(&url.origin()) {
                let request = self.request("GET", url, headers, Bytes::new())?;
                match self.exchange(&mut link, request).await {
                    Ok(reply) => return Ok(self.keep(link, reply)),
                    // The other side may close a kept connection at any time, even while the request is on its way.
                    Err(error) if error.kind() == ErrorKind::Unavailable => {}
                    Err(error) => return Err(error),
                }
            }
            let mut link = self.connect(&ctx, url).await?;
            let request = self.request("GET", url, headers, Bytes::new())?;
            let reply = self.exchange(&mut link, request).await?;
            Ok(self.keep(link, reply))
        })
        .await
    }

    /// Posts `body` to `url` with further `headers`, on a connection of its own.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Stopped` and `InvalidConfig` when no connection was made, so that nothing was sent; `Unknown`
    /// for everything after that. A status other than 2xx is no error here.
    pub async fn post(&self, ctx: &Ctx, url: &HttpUrl, headers: &[(&str, &str)], body: Vec<u8>) -> Result<HttpReply> {
        let ctx = ctx.with_timeout(Duration::from_millis(self.config.timeout_ms));
        let request = self.request("POST", url, headers, Bytes::from(body))?;
        let mut link = ctx.run(&self.component, self.connect(&ctx, url)).await?;
        let reply = ctx.run(&self.component, self.exchange(&mut link, request)).await;
        reply.map_err(|error| {
            let message = format!("`{url}` may have done it: {}", error.message());
            Error::new(ErrorKind::Unknown, self.component.clone(), message).with_source(error)
        })
    }

    fn take_idle(&self, origin: &str) -> Option<Link> {
        let link = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        (link.origin == origin).then_some(link)
    }

    fn keep(&self, link: Link, reply: HttpReply) -> HttpReply {
        if link.connection.is_some() {
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
        }
        reply
    }

    fn unavailable(&self, message: String) -> Error {
        Error::new(ErrorKind::Unavailable, self.component.clone(), message)
    }

    /// A connection for a WebSocket, and its first request.
    #[cfg(feature = "loki-tail")]
    pub(crate) async fn open(
        &self,
        ctx: &Ctx,
        url: &HttpUrl,
        headers: &[(&str, &str)],
    ) -> Result<(Box<dyn Wire>, hyper::Request<()>)> {
        let ctx = ctx.with_timeout(Duration::from_millis(self.config.connect_timeout_ms));
        let mut request = self.request("GET", url, headers, Bytes::new())?.map(|_| ());
        let scheme = if url.is_tls() { "wss" } else { "ws" };
        let uri = format!("{scheme}://{}{}", url.authority(), url.path());
        *request.uri_mut() = uri.parse().map_err(|error| {
            Error::new(ErrorKind::InvalidInput, self.component.clone(), format!("`{url}` is no address: {error}"))
        })?;
        let wire = ctx.run(&self.component, async { self.wire(url, self.reached(url).await?).await }).await?;
        Ok((wire, request))
    }

    async fn connect(&self, ctx: &Ctx, url: &HttpUrl) -> Result<Link> {
        let ctx = ctx.with_timeout(Duration::from_millis(self.config.connect_timeout_ms));
        let failed = |error: &dyn std::fmt::Display| self.unavailable(format!("cannot reach `{url}`: {error}"));
        ctx.run(&self.component, async {
            let stream = self.reached(url).await?;
            // Requests here are small and awaited: holding them back to fill a packet would only delay them.
            stream.set_nodelay(true).map_err(|error| failed(&error))?;
            let (sender, connection) = hyper::client::conn::http1::Builder::new()
                .max_buf_size(MAX_HEADER_BYTES)
                .handshake(TokioIo::new(self.wire(url, stream).await?))
                .await
                .map_err(|error| failed(&error))?;
            Ok(Link { sender, connection: Some(connection), origin: url.origin() })
        })
        .await
    }

    /// A connection to the first of the addresses behind the host's name that may be connected to and answers.
    async fn reached(&self, url: &HttpUrl) -> Result<TcpStream> {
        let failed = |error: &dyn std::fmt::Display| self.unavailable(format!("cannot reach `{url}`: {error}"));
        let addresses = self.resolver.resolve(url.host(), url.port()).await.map_err(|error| failed(&error))?;
        let mut last = None;
        let mut refused = None;
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            if !self.reach.allows(address.ip()) {
                refused = Some(address.ip());
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        match (last, refused) {
            (Some(error), _) => Err(failed(&error)),
            (None, Some(address)) => {
                let message = format!("`{url}` leads to `{address}`, which is not allowed");
                Err(Error::new(ErrorKind::InvalidConfig, self.component.clone(), message))
            }
            (None, None) => Err(failed(&"its name leads nowhere")),
        }
    }

    #[cfg(feature = "tls")]
    async fn wire(&self, url: &HttpUrl, stream: TcpStream) -> Result<Box<dyn Wire>> {
        if !url.is_tls() {
            return Ok(Box::new(stream));
        }
        let Some(tls) = &self.tls else { return Err(self.no_tls(url)) };
        match tls.connect(url.host(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(self.unavailable(format!("cannot speak TLS with `{url}`: {error}"))),
        }
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "with the feature `tls` it waits for the other side")]
    async fn wire(&self, url: &HttpUrl, stream: TcpStream) -> Result<Box<dyn Wire>> {
        if url.is_tls() { Err(self.no_tls(url)) } else { Ok(Box::new(stream)) }
    }

    fn no_tls(&self, url: &HttpUrl) -> Error {
        let message = format!("`{url}` needs TLS, and this client was given none");
        Error::new(ErrorKind::InvalidConfig, self.component.clone(), message)
    }

    fn request(
        &self,
        method: &str,
        url: &HttpUrl,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<hyper::Request<Full<Bytes>>> {
        let mut request = hyper::Request::builder().method(method).uri(url.path()).header("host", url.authority());
        if let Some(auth) = &self.auth {
            let mut value = hyper::header::HeaderValue::from_str(auth.header()).map_err(|_| {
                Error::new(ErrorKind::InvalidConfig, self.component.clone(), "the credentials cannot stand in a header")
            })?;
            value.set_sensitive(true);
            request = request.header("authorization", value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body)).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, self.component.clone(), format!("cannot ask for `{url}`: {error}"))
        })
    }

    /// Sends one request and reads the whole answer, moving the connection's bytes meanwhile.
    async fn exchange(&self, link: &mut Link, request: hyper::Request<Full<Bytes>>) -> Result<HttpReply> {
        let Link { sender, connection, .. } = link;
        let broke = |error: hyper::Error| self.unavailable(format!("the connection broke: {error}"));
        let talk = async {
            sender.ready().await.map_err(broke)?;
            let reply = sender.send_request(request).await.map_err(broke)?;
            let status = reply.status().as_u16();
            let header = |name: &str| Some(reply.headers().get(name)?.to_str().ok()?.to_owned());
            let (content_type, retry_after) = (header("content-type"), header("retry-after"));
            let content_encoding = header("content-encoding");
            let body = self.read_body(reply.into_body()).await?;
            Ok(HttpReply { status, body, content_type, retry_after, content_encoding })
        };
        futures::pin_mut!(talk);
        futures::future::poll_fn(|cx| {
            use std::future::Future;
            if let Some(moving) = connection.as_mut()
                && std::pin::Pin::new(moving).poll(cx).is_ready()
            {
                // Closed, with or without an error: what it still had for us was handed over before.
                *connection = None;
            }
            talk.as_mut().poll(cx)
        })
        .await
    }

    async fn read_body(&self, mut body: Incoming) -> Result<Bytes> {
        let too_large = || {
            let message = format!("the answer is larger than {} bytes", self.config.max_bytes);
            Error::new(ErrorKind::InvalidInput, self.component.clone(), message)
        };
        let mut first = Bytes::new();
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.unavailable(format!("the answer broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + rest.len() + data.len() > self.config.max_bytes {
                return Err(too_large());
            }
            if first.is_empty() && rest.is_empty() {
                // Most answers come in one piece, which needs no copy.
                first = data;
                continue;
            }
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
        Ok(if rest.is_empty() { first } else { Bytes::from(rest) })
    }
}

#[cfg(test)]
mod reach_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[cfg(feature = "tls")]
mod tls_tests;
