//! The other part that is yours: what the library sees of your platform.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use incident_response::core::{Cursor, Labels, MetricKind, MetricSample, Polled, Series, SignalBatch};
use incident_response::prelude::{Ctx, EntityId, Result, SignalSource};

use crate::platform::Platform;

/// A worker that does not answer within this time counts as not there.
const PATIENCE: Duration = Duration::from_millis(100);

/// Asks every worker how much it has done.
#[derive(Debug)]
pub(crate) struct WorkerSource(pub(crate) Platform);

#[async_trait]
impl SignalSource for WorkerSource {
    fn name(&self) -> &str {
        "workers"
    }

    /// Two series a worker: `jobs_total` while it answers, and `up`, 1 or 0. `up` comes last, which ends the look at it.
    async fn poll(&self, ctx: &Ctx, _cursor: &Cursor) -> Result<Polled> {
        let names = self.0.names();
        let answers = join_all(names.iter().map(|name| self.0.jobs_of(name, PATIENCE))).await;
        let at = ctx.now().wall;
        let mut metrics = Vec::new();
        for (name, jobs) in names.iter().zip(answers) {
            let entity = EntityId::new(name)?;
            let mut sample = |metric: &str, kind, value| {
                let (entity, metric) = (entity.clone(), metric.to_owned());
                let series = Series { entity, metric, kind, unit: String::new(), labels: Labels::new() };
                metrics.push(MetricSample { series: Arc::new(series), at, value });
            };
            if let Some(jobs) = jobs {
                sample("jobs_total", MetricKind::Counter, f64::from(jobs));
            }
            sample("up", MetricKind::Up, if jobs.is_some() { 1.0 } else { 0.0 });
        }
        let batch = SignalBatch { metrics, ..SignalBatch::default() };
        // The present is all there is to see, so the place to go on from is the present, too.
        Ok(Polled { batch, next: Cursor::new(at.to_string()), ..Polled::default() })
    }
}
