//! What is asked over HTTP, and what Loki's errors mean.

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
        let call =
            format!("query_range?query={}&start={start}&end={end}&limit={limit}&direction={direction}", encode(query));
        self.get(ctx, &call).await
    }

    /// The names of labels between two times in nanoseconds, or the values of one of them.
    pub(super) async fn labels(&self, ctx: &Ctx, of: Option<&str>, range: (i64, i64)) -> Result<HttpReply> {
        let what = of.map_or_else(|| "labels".to_owned(), |label| format!("label/{}/values", encode(label)));
        self.get(ctx, &format!("{what}?start={}&end={}", range.0, range.1)).await
    }

    /// The streams that any of the selectors gives between two times in nanoseconds.
    pub(super) async fn series(&self, ctx: &Ctx, selectors: &[&str], range: (i64, i64)) -> Result<HttpReply> {
        let mut call = format!("series?start={}&end={}", range.0, range.1);
        for selector in selectors {
            call.push_str("&match%5B%5D=");
            call.push_str(&encode(selector));
        }
        self.get(ctx, &call).await
    }

    async fn get(&self, ctx: &Ctx, call: &str) -> Result<HttpReply> {
        let reply = self.http.get_with(ctx, &self.at(call)?, &self.headers()).await?;
        if reply.is_success() { reply.unpacked(COMPONENT) } else { Err(meaning(reply.status, &reply.body)) }
    }

    /// The address of a call.
    pub(super) fn at(&self, call: &str) -> Result<HttpUrl> {
        let base = self.url.path().trim_end_matches('/');
        self.url.with_path(&format!("{base}/loki/api/v1/{call}"))
    }

    pub(super) fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers = vec![
            ("accept", "application/json"),
            // Keeps structured metadata out of the labels, where each line would become a stream of its own.
            ("x-loki-response-encoding-flags", "categorize-labels"),
        ];
        headers.extend(self.tenant.as_deref().map(|tenant| ("x-scope-orgid", tenant)));
        headers
    }
}

/// Loki's errors are plain text. When it is overloaded it says 429, or 500 with a 429 in the text.
pub(super) fn meaning(status: u16, body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    let overloaded = status == 429 || (status == 500 && text.contains("Code(429)"));
    let kind = match status {
        _ if overloaded => ErrorKind::RateLimited,
        401 | 403 => ErrorKind::Unauthorized,
        // No such path, a query that does not parse, a limit that is exceeded: the same fails again.
        400..=499 => ErrorKind::InvalidConfig,
        504 => ErrorKind::Timeout,
        _ => ErrorKind::Unavailable,
    };
    let text: String = text.trim().chars().take(MAX_ERROR_CHARS).collect();
    Error::new(kind, COMPONENT, format!("status {status}: {text}"))
}
