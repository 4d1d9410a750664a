//! Range queries over HTTP, and what Loki's errors mean.

use ir_core::{Ctx, Error, ErrorKind, Result};

use super::COMPONENT;
use crate::http::{HttpClient, HttpReply, HttpUrl, encode};

/// So much of an error's text is told.
const MAX_ERROR_CHARS: usize = 200;

/// One server, one tenant.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) http: HttpClient,
    pub(super) url: HttpUrl,
    pub(super) tenant: Option<String>,
}

/// From `start` (within) to `end` (not within), in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) limit: usize,
    /// The latest first, instead of the earliest.
    pub(super) backward: bool,
}

impl Client {
    /// Asks for the lines of a range.
    pub(super) async fn query_range(&self, ctx: &Ctx, query: &str, range: Range) -> Result<HttpReply> {
        let Range { start, end, limit, backward } = range;
        let direction = if backward { "backward" } else { "forward" };
        let base = self.url.path().trim_end_matches('/');
        let path = format!(
            "{base}/loki/api/v1/query_range?query={}&start={start}&end={end}&limit={limit}&direction={direction}",
            encode(query)
        );
        let mut headers = vec![
            ("accept", "application/json"),
            // Keeps structured metadata out of the labels, where each line would become a stream of its own.
            ("x-loki-response-encoding-flags", "categorize-labels"),
        ];
        headers.extend(self.tenant.as_deref().map(|tenant| ("x-scope-orgid", tenant)));
        let reply = self.http.get_with(ctx, &self.url.with_path(&path)?, &headers).await?;
        if reply.is_success() { Ok(reply) } else { Err(meaning(&reply)) }
    }
}

/// Loki's errors are plain text. When it is overloaded it says 429, or 500 with a 429 in the text.
fn meaning(reply: &HttpReply) -> Error {
    let text = String::from_utf8_lossy(&reply.body);
    let overloaded = reply.status == 429 || (reply.status == 500 && text.contains("Code(429)"));
    let kind = match reply.status {
        _ if overloaded => ErrorKind::RateLimited,
        401 | 403 => ErrorKind::Unauthorized,
        // No such path, a query that does not parse, a limit that is exceeded: the same fails again.
        400..=499 => ErrorKind::InvalidConfig,
        504 => ErrorKind::Timeout,
        _ => ErrorKind::Unavailable,
    };
    let text: String = text.trim().chars().take(MAX_ERROR_CHARS).collect();
    Error::new(kind, COMPONENT, format!("status {}: {text}", reply.status))
}
