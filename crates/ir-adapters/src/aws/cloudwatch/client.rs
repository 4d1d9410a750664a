//! `GetMetricData` with its pages, and what is made of them.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricDataResult, MetricStat, ScanBy, StatusCode};
use aws_smithy_types::DateTime;
use ir_core::{Ctx, Error, ErrorKind, Result};

use super::{COMPONENT, CloudWatchMetric, Span};
use crate::aws::error::of_reading;
use crate::aws::limit::SizeLimit;

/// One account and region.
#[derive(Debug)]
pub(super) struct Client(aws_sdk_cloudwatch::Client);

/// What came of a request with all its pages.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// In the order of the metrics that were asked for.
    pub(super) metrics: Vec<Found>,
    /// What CloudWatch said about the request as a whole.
    pub(super) messages: Vec<String>,
}

/// The values of one metric.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By the beginning of their periods, in milliseconds.
    pub(super) values: BTreeMap<i64, f64>,
    /// Why they are not all that there are, if so.
    pub(super) missing: Option<String>,
}

impl Client {
    /// Nothing without a region.
    pub(super) fn new(sdk: &SdkConfig) -> Option<Self> {
        sdk.region()?;
        let config = aws_sdk_cloudwatch::config::Builder::from(sdk).interceptor(SizeLimit).build();
        Some(Self(aws_sdk_cloudwatch::Client::from_conf(config)))
    }

    /// Reads all pages, at most `max_pages`: more are an error.
    pub(super) async fn read(
        &self,
        ctx: &Ctx,
        span: Span,
        metrics: &[&CloudWatchMetric],
        max_pages: usize,
    ) -> Result<Answer> {
        let queries: Vec<MetricDataQuery> = metrics.iter().enumerate().map(|(n, metric)| query(n, metric)).collect();
        let mut answer = Answer::default();
        answer.metrics.resize_with(metrics.len(), || Found {
            missing: Some("is not in the answer".to_owned()),
            ..Found::default()
        });
        let mut token = None;
        for _ in 0..max_pages {
            let page = async {
                let request = self.0.get_metric_data().set_metric_data_queries(Some(queries.clone()));
                let request = request.start_time(DateTime::from_millis(span.from));
                let request = request.end_time(DateTime::from_millis(span.until)).scan_by(ScanBy::TimestampAscending);
                let request = request.set_next_token(token.take());
                request.send().await.map_err(|error| of_reading(COMPONENT, "reading metrics", &error))
            };
            let page = ctx.run(COMPONENT, page).await?;
            let said = page.messages().iter().filter_map(|message| message.value());
            answer.messages.extend(said.map(str::to_owned));
            for result in page.metric_data_results() {
                let found = result.id().and_then(number).and_then(|n| answer.metrics.get_mut(n));
                if let Some(found) = found {
                    take(result, found);
                }
            }
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(answer);
            }
        }
        Err(Error::new(ErrorKind::Unavailable, COMPONENT, format!("more than {max_pages} pages of metrics")))
    }
}

fn query(n: usize, of: &CloudWatchMetric) -> MetricDataQuery {
    let dimension = |(name, value): (&String, &String)| Dimension::builder().name(name).value(value).build();
    let metric = Metric::builder().namespace(&of.namespace).metric_name(&of.metric);
    let metric = metric.set_dimensions(Some(of.dimensions.iter().map(dimension).collect())).build();
    let period = i32::try_from(of.period_secs).unwrap_or(i32::MAX);
    let stat = MetricStat::builder().metric(metric).period(period).stat(&of.stat).build();
    // An id must begin with a small letter.
    MetricDataQuery::builder().id(format!("m{n}")).metric_stat(stat).return_data(true).build()
}

fn number(id: &str) -> Option<usize> {
    id.strip_prefix('m')?.parse().ok()
}

/// Takes one page of one metric. What the last page says about it counts.
fn take(result: &MetricDataResult, found: &mut Found) {
    let times = result.timestamps().iter().map(|at| at.to_millis().unwrap_or(i64::MIN));
    found.values.extend(times.zip(result.values().iter().copied()));
    found.missing = match result.status_code() {
        Some(StatusCode::Complete) | None => None,
        Some(StatusCode::PartialData) => Some("not all of it came".to_owned()),
        Some(other) => {
            let said = result.messages().iter().find_map(|message| message.value());
            Some(said.map_or_else(|| other.as_str().to_owned(), |said| format!("{}: {said}", other.as_str())))
        }
    };
}
