//! What is asked over HTTP.

use ir_core::{Ctx, Result};

use super::COMPONENT;
use crate::http::{HttpClient, HttpReply, HttpUrl, encode};

/// One server.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) http: HttpClient,
    pub(super) url: HttpUrl,
}

impl Client {
    /// The raw samples of a selector from `after` (which may be within or not, by the server's version) to `until`.
    pub(super) async fn raw(&self, ctx: &Ctx, selector: &str, after: i64, until: i64) -> Result<HttpReply> {
        let query = encode(&format!("{selector}[{}ms]", until.saturating_sub(after)));
        self.get(ctx, &format!("query?query={query}&time={}", secs(until))).await
    }

    /// The values of an expression at `from`, and then at every step up to `until`.
    pub(super) async fn steps(&self, ctx: &Ctx, query: &str, from: i64, until: i64, step_ms: i64) -> Result<HttpReply> {
        let query = encode(query);
        let (from, until, step) = (secs(from), secs(until), secs(step_ms));
        self.get(ctx, &format!("query_range?query={query}&start={from}&end={until}&step={step}")).await
    }

    /// The values of a label.
    pub(super) async fn label_values(&self, ctx: &Ctx, label: &str) -> Result<HttpReply> {
        self.get(ctx, &format!("label/{}/values", encode(label))).await
    }

    /// What is known of metrics, of so many families.
    pub(super) async fn metadata(&self, ctx: &Ctx, limit: usize) -> Result<HttpReply> {
        self.get(ctx, &format!("metadata?limit={limit}")).await
    }

    /// The series that any of the selectors gives within a range of milliseconds. Versions before 2.53 know no limit.
    pub(super) async fn series(
        &self,
        ctx: &Ctx,
        selectors: &[&str],
        range: (i64, i64),
        limit: usize,
    ) -> Result<HttpReply> {
        let mut call = format!("series?start={}&end={}&limit={limit}", secs(range.0), secs(range.1));
        for selector in selectors {
            call.push_str("&match%5B%5D=");
            call.push_str(&encode(selector));
        }
        self.get(ctx, &call).await
    }

    /// The rules that alert, with their alerts.
    pub(super) async fn rules(&self, ctx: &Ctx) -> Result<HttpReply> {
        self.get(ctx, "rules?type=alert").await
    }

    /// The targets that are scraped.
    pub(super) async fn targets(&self, ctx: &Ctx) -> Result<HttpReply> {
        self.get(ctx, "targets?state=active").await
    }

    /// The targets that are discovered and dropped by relabelling.
    pub(super) async fn dropped_targets(&self, ctx: &Ctx) -> Result<HttpReply> {
        self.get(ctx, "targets?state=dropped").await
    }

    /// What the server says of its own process, its start among it.
    pub(super) async fn runtime(&self, ctx: &Ctx) -> Result<HttpReply> {
        self.get(ctx, "status/runtimeinfo").await
    }

    async fn get(&self, ctx: &Ctx, call: &str) -> Result<HttpReply> {
        let base = self.url.path().trim_end_matches('/');
        let url = self.url.with_path(&format!("{base}/api/v1/{call}"))?;
        self.http.get_with(ctx, &url, &[("accept", "application/json")]).await?.unpacked(COMPONENT)
    }
}

/// Milliseconds as seconds with a fraction.
fn secs(millis: i64) -> String {
    format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000))
}
