//! The polls under way. Each source is asked on its own, so that a slow or silent one holds up nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ir_core::{Ctx, Cursor, ErrorKind, Failure, PartName, Polled, Result, SignalSource};
use tokio::task::JoinSet;

use super::guard::{guarded, noted};
use super::perform::failure;

/// The sources, and what each of them is doing.
#[derive(Debug)]
pub(crate) struct Polls {
    sources: Vec<Source>,
    asked: JoinSet<(usize, Result<(PartName, Polled)>)>,
    answer_within: Duration,
}

#[derive(Debug)]
struct Source {
    part: Arc<dyn SignalSource>,
    cursor: Cursor,
    /// When it was asked, in monotonic nanoseconds, unless it has answered.
    asked: Option<u64>,
    /// Why the last answer was none.
    failure: Option<Failure>,
}

impl Polls {
    /// Goes on behind the cursors. A source has `answer_within` for each poll.
    pub(crate) fn new(
        sources: &[Arc<dyn SignalSource>],
        mut cursors: BTreeMap<PartName, Cursor>,
        answer_within: Duration,
    ) -> Self {
        let source = |part: &Arc<dyn SignalSource>| {
            let cursor = PartName::new(part.name()).ok().and_then(|name| cursors.remove(&name)).unwrap_or_default();
            Source { part: part.clone(), cursor, asked: None, failure: None }
        };
        Self { sources: sources.iter().map(source).collect(), asked: JoinSet::new(), answer_within }
    }

    /// Asks every source that is not still answering, and gives what came within `patience`, in the order of the sources. What
    /// comes later belongs to a later round; a source that is late already is not waited for again.
    pub(crate) async fn round(&mut self, ctx: &Ctx, patience: Duration) -> Vec<(PartName, Polled)> {
        let mut awaited = self.ask(ctx);
        let mut answers = BTreeMap::new();
        let enough = ctx.sleep("observer", patience);
        futures::pin_mut!(enough);
        while !awaited.is_empty() {
            tokio::select! {
                biased;
                Some(Ok((n, answer))) = self.asked.join_next() => {
                    awaited.remove(&n);
                    answers.insert(n, answer);
                }
                _ = &mut enough => break,
            }
        }
        while let Some(Ok((n, answer))) = self.asked.try_join_next() {
            answers.insert(n, answer);
        }
        answers.into_iter().filter_map(|(n, answer)| self.take(n, answer)).collect()
    }

    /// Why sources are not answering now: their last answer was an error, or a quarter of their time has passed without one.
    pub(crate) fn failures(&self, ctx: &Ctx) -> Vec<Failure> {
        let patience = u64::try_from(self.answer_within.as_nanos() / 4).unwrap_or(u64::MAX);
        let now = ctx.now().mono_ns;
        let late = |source: &Source| {
            source.asked.filter(|since| now.saturating_sub(*since) >= patience)?;
            Some(failure(source.part.name(), ErrorKind::Timeout, "it was asked for signals and does not answer"))
        };
        self.sources.iter().filter_map(|source| source.failure.clone().or_else(|| late(source))).collect()
    }

    /// Asks those that are not asked already, and says which they are.
    fn ask(&mut self, ctx: &Ctx) -> BTreeSet<usize> {
        let mut awaited = BTreeSet::new();
        for (n, source) in self.sources.iter_mut().enumerate().filter(|(_, source)| source.asked.is_none()) {
            source.asked = Some(ctx.now().mono_ns);
            awaited.insert(n);
            let ctx = ctx.with_timeout(self.answer_within);
            let (part, cursor) = (source.part.clone(), source.cursor.clone());
            self.asked.spawn(async move {
                let polled = async {
                    let name = PartName::new(part.name())?;
                    Ok((name, guarded(&ctx, part.name(), part.poll(&ctx, &cursor)).await?))
                };
                (n, polled.await)
            });
        }
        awaited
    }

    fn take(&mut self, n: usize, answer: Result<(PartName, Polled)>) -> Option<(PartName, Polled)> {
        let source = self.sources.get_mut(n)?;
        source.asked = None;
        match answer {
            Ok((name, polled)) => {
                source.cursor = polled.next.clone();
                source.failure = None;
                Some((name, polled))
            }
            Err(error) => {
                source.failure = Some(noted(&error));
                None
            }
        }
    }
}
