//! What the reader takes away: a table, a verdict, and the same as JSON for a campaign.

use serde::Serialize;

use super::kill::Stage;
use crate::cli::DirectorOptions;
use crate::fault::Fault;
use crate::judge::{Healer, Judgement, describe};
use crate::records::ResponderReport;
use crate::story::{Story, Tone};

/// One run, for `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) fault: Fault,
    pub(crate) target: String,
    pub(crate) seed: u64,
    pub(crate) tier: &'static str,
    pub(crate) healer: Healer,
    pub(crate) fault_at: String,
    pub(crate) harmless_service: String,
    pub(crate) run_s: f64,
    /// How often the responder ended by itself or was killed.
    pub(crate) responder_deaths: u32,
    /// What the responder was at when a trial killed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) killed_while: Option<Stage>,
    #[serde(flatten)]
    pub(crate) judgement: Judgement,
}

/// The table that closes the story.
pub(crate) fn close(story: &mut Story, outcome: &Outcome, report: Option<&ResponderReport>) {
    let judgement = &outcome.judgement;
    let secs = |secs: Option<f64>| secs.map_or_else(|| "-".to_owned(), |secs| format!("{secs:.1} s"));
    let tone = |good: Option<bool>| match good {
        Some(true) => Tone::Good,
        Some(false) => Tone::Bad,
        None => Tone::Plain,
    };
    let broken = outcome.fault != Fault::None;
    story.print("");
    let title = if broken { format!("{} of {}", outcome.fault.name(), outcome.target) } else { "nothing".to_owned() };
    story.row("broken", &title, Tone::Plain);
    if broken {
        story.row("detected after", &secs(judgement.detected_after_s), Tone::Plain);
    }
    let cause = match (&judgement.cause, judgement.cause_path.as_slice()) {
        (None, _) => "-".to_owned(),
        (Some(cause), []) => cause.clone(),
        (Some(cause), path) => format!("{cause}  ({})", path.join(" -> ")),
    };
    story.row("cause", &cause, tone(judgement.cause_right.filter(|_| broken)));
    let done = match judgement.effects.as_slice() {
        [] => "nothing".to_owned(),
        effects => effects.iter().map(describe).collect::<Vec<_>>().join("; "),
    };
    let after = judgement.acted_after_s.map(|secs| format!(", after {secs:.1} s")).unwrap_or_default();
    story.row("action", &format!("{done}{after}"), Tone::Plain);
    if broken {
        story.row("recovered after", &secs(judgement.recovered_after_s), Tone::Plain);
    }
    let journal = match (report, judgement.journal_verified) {
        (None, _) => "no report",
        (Some(_), None) => "not said",
        (Some(_), Some(true)) if judgement.replay_identical == Some(true) => "verified, and replays identically",
        (Some(_), Some(true)) => "verified",
        (Some(_), Some(false)) => "does NOT verify",
    };
    story.row("journal", journal, tone(judgement.journal_verified));
    let outage = match judgement.range {
        Some(range) => format!(
            "{} s of {} s (outside: errors above 1 % or p95 above {:.0} ms)",
            judgement.outage_bins, judgement.n_bins, range.max_p95_ms
        ),
        None => "cannot be told".to_owned(),
    };
    story.row("outage of clients", &outage, Tone::Plain);
    if outcome.healer == Healer::Nobody && broken {
        let left = match judgement.left_after_s {
            Some(secs) if judgement.stayed_out => format!("clients left the range after {secs:.0} s and stayed out"),
            Some(secs) => format!("clients left the range after {secs:.0} s and came back"),
            None => "clients never left the range".to_owned(),
        };
        story.row("left alone", &left, Tone::Plain);
    }
    let verdict =
        if judgement.right { "right".to_owned() } else { format!("not right: {}", judgement.reasons.join("; ")) };
    story.row("verdict", &verdict, if judgement.right { Tone::Good } else { Tone::Bad });
}

/// For the reader who came without a plan.
pub(crate) fn what_next(story: &mut Story, options: &DirectorOptions) {
    if !options.first_time {
        return;
    }
    story.print("\nTry next (after `cargo run --release -p quickstart --`):");
    for (arguments, why) in [
        ("--fault crash", "another way to break; also hang, leak, slow, errors, none"),
        ("--fault slow --target ledger", "far from where it shows"),
        ("--tier approve", "it asks you before it acts"),
        ("--tier observe", "it only watches: what an outage costs when nobody acts"),
        ("--help", "all the rest"),
    ] {
        story.print(&format!("  {arguments:<32}{why}"));
    }
}
