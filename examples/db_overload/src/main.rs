//! A database drowns in somebody's runaway reports; the library takes them out before the shop's customers notice.

mod judge;
mod options;
mod reports;
mod responder;
mod servers;
mod shop;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use incident_response::core::StepState;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use judge::{Times, Verdict};
use options::Options;
use reports::Reports;
use responder::{News, Story};
use servers::{Servers, catalogue};
use shop::Book;

/// All is well for so long, and the detectors learn what is usual.
const HEALTHY: Duration = Duration::from_secs(15);
/// What counts as before, and as after.
const WINDOW: Duration = Duration::from_secs(10);
/// Longer than the incident may take.
const PATIENCE: Duration = Duration::from_secs(70);

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Options::from_command_line() {
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        // Whichever comes first: what was started ends with the value that holds it.
        Ok(Some(options)) => tokio::select! {
            ended = run(options) => ended,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        },
        Err(error) => {
            eprintln!("{error:#}; `--help` says more");
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all was as it should be.
async fn run(options: Options) -> Result<bool> {
    let begun = Instant::now();
    let say = |what: &str| println!("{:5.1} s  {what}", begun.elapsed().as_secs_f64());
    let book = Book::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(shop::tell_metrics(listener, book.clone()));
    let servers = Servers::start(address).await?;
    let roles_before = catalogue(servers.postgres).await?;
    tokio::spawn(shop::open(servers.postgres, book.clone()));
    say("PostgreSQL, its exporter and Prometheus run; the shop is open");
    let story = Story::default();
    let library = if options.left_alone { None } else { Some(Library::start(&servers, begun, &story)) };
    tokio::time::sleep(HEALTHY).await;

    say("reports run away");
    let trouble = Instant::now();
    let reports = Arc::new(Reports::default());
    tokio::spawn(reports::run_away(servers.postgres, reports.clone()));
    match &library {
        Some(library) => library.until_over(&story).await?,
        None => tokio::time::sleep(reports::LASTS).await,
    }
    let calm = Instant::now();
    say(if library.is_some() { "it is over" } else { "no more reports are begun" });
    // Who came last may still wait.
    tokio::time::sleep(WINDOW + shop::PATIENCE).await;

    let visits = book.visits();
    let before = Times::of(&visits, trouble - WINDOW, trouble);
    let during = Times::of(&visits, trouble, calm);
    let after = Times::of(&visits, calm, calm + WINDOW);
    println!("\nbefore: {before}\nduring: {during}\nafter:  {after}");
    let count = |n: &std::sync::atomic::AtomicU32| n.load(Ordering::Relaxed);
    let (kept_out, cancelled) = (count(&reports.kept_out), count(&reports.cancelled));
    println!(
        "reports: {} begun, {} made, {cancelled} cancelled, {kept_out} kept out",
        count(&reports.begun),
        count(&reports.made)
    );
    let first_failed = visits.iter().filter(|v| v.came >= trouble && !v.served).map(|v| v.came + v.waited).min();
    let since = |at: Option<Instant>| {
        at.map_or("never".to_owned(), |at| format!("after {:.1} s", at.duration_since(trouble).as_secs_f64()))
    };
    println!("first customer who failed: {}", since(first_failed));

    let mut verdict = Verdict::default();
    let Some(library) = library else {
        println!("left alone:");
        verdict.demand("customers failed", first_failed.is_some());
        verdict.demand("it did not get well by itself: one in two still fails", after.failed * 2 >= after.n.max(1));
        return Ok(verdict.is_good());
    };
    let records = library.end().await?;
    let detected = story.when(|news| *news == News::Opened);
    let done = |step: &str| story.when(|news| *news == News::Step(step.to_owned(), StepState::Done));
    let acted = story.when(|news| matches!(news, News::Step(_, StepState::Applied)));
    println!(
        "detected {}, first effect {}, queries gone and all quiet {}, limit lifted and verified {}",
        since(detected),
        since(acted),
        since(done("cancel")),
        since(done("let-in"))
    );
    println!("judged:");
    let first = |is_it: fn(&News) -> bool| story.news().into_iter().map(|(_, news)| news).find(is_it);
    verdict
        .demand("detected before any customer failed", detected.is_some_and(|at| first_failed.is_none_or(|f| at < f)));
    let suspects = first(|news| matches!(news, News::Suspects(_)));
    verdict.demand("the database was suspected", suspects == Some(News::Suspects("orders-db".to_owned())));
    let class = first(|news| matches!(news, News::Classified(_)));
    verdict.demand("of class resource_exhaustion", class == Some(News::Classified("resource_exhaustion".to_owned())));
    let all_done = ["keep-out", "cancel", "let-in"].iter().all(|step| done(step).is_some());
    let taken_back = story.when(|news| matches!(news, News::Step(_, StepState::Compensating)));
    verdict.demand("all three steps are done and measured, none taken back", all_done && taken_back.is_none());
    verdict.demand("reports were cancelled, and others kept out", cancelled > 0 && kept_out > 0);
    verdict.demand("the catalogue of roles is as it was", catalogue(servers.postgres).await? == roles_before);
    verdict.demand("an ordinary report works", reports::works(servers.postgres).await);
    verdict.demand("customers are served as before", after.is_like(&before));
    println!("{records} records verify, and their replay is identical");
    Ok(verdict.is_good())
}

/// The responder, which runs beside all this as it would in a program of yours.
struct Library {
    over: oneshot::Sender<()>,
    running: JoinHandle<Result<()>>,
    journal: std::path::PathBuf,
}

impl Library {
    fn start(servers: &Servers, begun: Instant, story: &Story) -> Self {
        let (over, wait) = oneshot::channel::<()>();
        let journal = servers.folder().join("journal");
        let (prometheus, postgres, story, path) =
            (servers.prometheus, servers.postgres, story.clone(), journal.clone());
        let running = tokio::spawn(async move {
            responder::run(prometheus, postgres, &path, begun, story, async { drop(wait.await) }).await
        });
        Self { over, running, journal }
    }

    /// Waits until the incident is closed.
    async fn until_over(&self, story: &Story) -> Result<()> {
        let end = |news: &News| matches!(news, News::Closed | News::HandedOver);
        let waited = tokio::time::timeout(PATIENCE, async {
            while story.when(end).is_none() && !self.running.is_finished() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        waited.await.context("the incident did not come to an end")?;
        if self.running.is_finished() {
            bail!("the responder ended");
        }
        Ok(())
    }

    /// Ends it, and checks its journal. How many records there are.
    async fn end(self) -> Result<u64> {
        // If it has ended before, nobody waits any more.
        self.over.send(()).ok();
        self.running.await??;
        responder::check(&self.journal).await
    }
}
