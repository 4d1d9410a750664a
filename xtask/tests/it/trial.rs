//! Campaigns over a shell script that stands in for the quickstart.

use crate::fixture::{Told, told};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Notes its arguments, and the busy loops it sees beside it; is right for every seed but 13, and says nothing for seed 14.
const SCRIPT: &str = r#"#!/bin/sh
here="$(dirname "$0")/.."
echo "$*" >> "$here/calls"
echo "the story"
for p in /proc/[0-9]*; do
    if grep -qs spin-until-stdin-closes "$p/cmdline" && grep -qs "^PPid:.$PPID\$" "$p/status"; then
        echo "${p##*/}" >> "$here/busy"
    fi
done
fault="$2" seed="$4" json="$6"
[ "$seed" = 14 ] && exit 1
outage=5
[ "$8" = observe ] && outage=100
right=true
[ "$seed" = 13 ] && right=false
echo "{\"fault\":\"$fault\",\"seed\":$seed,\"target\":\"ledger\",\"right\":$right,\"reasons\":[],\"effects\":1,
  \"detected_after_s\":2,\"recovered_after_s\":6,\"outage_bins\":$outage,\"run_s\":30,\"cause\":\"ledger\",
  \"cause_rank1\":true,\"journal_verified\":true}" > "$json"
[ "$right" = true ]
"#;

struct Campaign {
    dir: TempDir,
}

impl Campaign {
    fn new() -> Self {
        let campaign = Self { dir: tempfile::tempdir().unwrap() };
        campaign.script(SCRIPT);
        campaign
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn script(&self, text: &str) {
        let path = self.path("script");
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn trial(&self, args: &[&str]) -> Told {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("trial").args(args).arg("--bin").arg(self.path("script")).arg("--out").arg(self.path("out"));
        told(&mut command)
    }

    /// What the script was called with, the path of the report left out.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("out/calls")).unwrap_or_default();
        let short = |line: &str| line.split(' ').filter(|w| !w.starts_with('/')).collect::<Vec<_>>().join(" ");
        text.lines().map(short).collect()
    }

    fn lines(&self, mode: &str) -> usize {
        fs::read_to_string(self.path("out").join(mode)).unwrap().lines().count()
    }
}

#[test]
fn a_campaign_goes_on_where_it_stopped() {
    let campaign = Campaign::new();
    let first = campaign.trial(&["--faults", "crash", "--seeds", "1..2"]);
    first.passes("\n2 of 2 right\n");
    let line = "  1/2 crash seed 1 -> ledger: right, detected 2.0 s, recovered 6.0 s, outage 5.0 bins, run 30.0 s\n";
    assert!(first.text.contains(line), "{}", first.text);
    assert!(first.text.contains("targets: ledger 2\n"), "{}", first.text);

    let more = campaign.trial(&["--faults", "crash,none", "--seeds", "1..2"]);
    more.passes("\n4 of 4 right\n");
    let calls = ["crash --seed 1", "crash --seed 2", "none --seed 1", "none --seed 2"];
    assert_eq!(campaign.calls(), calls.map(|c| format!("--fault {c} --json")));
    assert_eq!(campaign.lines("act.jsonl"), 4);
    assert_eq!(fs::read_to_string(campaign.path("out/logs/act/crash-1.log")).unwrap(), "the story\n");

    // Another build has to show it again; the runs of the old one stay in the file and out of the table.
    campaign.script(&(SCRIPT.to_owned() + "# another build\n"));
    campaign.trial(&["--faults", "crash", "--seeds", "1"]).passes("\n1 of 1 right\n");
    assert_eq!((campaign.calls().len(), campaign.lines("act.jsonl")), (5, 5));

    campaign.trial(&["--faults", "crash", "--seeds", "1", "--fresh"]).passes("\n1 of 1 right\n");
    assert_eq!((campaign.calls().len(), campaign.lines("act.jsonl")), (6, 4));
}

#[test]
fn one_wrong_run_makes_the_campaign_fail() {
    let campaign = Campaign::new();
    campaign.trial(&["--faults", "leak", "--seeds", "12..14"]).fails("\n1 of 3 right\n");
    // A recorded failure is not forgotten by asking again.
    let again = campaign.trial(&["--faults", "leak", "--seeds", "12..14"]);
    again.fails("\n1 of 3 right\n");
    assert_eq!(campaign.calls().len(), 3);
}

#[test]
fn a_run_without_a_report_says_so() {
    let campaign = Campaign::new();
    campaign.trial(&["--faults", "hang", "--seeds", "14"]).fails("hang seed 14: WRONG (exit code 1; no report)");
}

#[test]
fn kill_tells_the_program_its_seed() {
    let campaign = Campaign::new();
    campaign.trial(&["--kill", "--seeds", "3"]).passes("\n2 of 2 right\n");
    let want = ["--fault crash --seed 3 --json --kill 3", "--fault bad-deploy --seed 3 --json --kill 3"];
    assert_eq!(campaign.calls(), want);
    assert_eq!(campaign.lines("kill.jsonl"), 2);
}

#[test]
fn the_baseline_is_compared_with_the_acting_runs() {
    let campaign = Campaign::new();
    campaign.trial(&["--faults", "slow", "--seeds", "1"]).passes("right");
    let compared = campaign.trial(&["--baseline", "--faults", "slow"]);
    compared.passes("median reduction: 95.0 %\n");
    assert!(compared.text.contains("1 runs have no acting run to compare with"), "{}", compared.text);
    assert_eq!(campaign.calls()[1], "--fault slow --seed 1 --json --tier observe --person-after 300");
}

#[test]
fn without_a_fault_no_service_counts_as_the_target() {
    let campaign = Campaign::new();
    campaign.trial(&["--faults", "none", "--seeds", "1"]).passes("targets: none told\n");
}

#[test]
fn two_busy_loops_run_beside_and_end_with_each_run() {
    let campaign = Campaign::new();
    campaign.trial(&["--busy", "--faults", "none", "--seeds", "1"]).passes("\n1 of 1 right\n");
    let pids = fs::read_to_string(campaign.path("out/busy")).unwrap();
    assert_eq!(pids.lines().count(), 2, "{pids}");
    for pid in pids.lines() {
        let still = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&still).contains("spin-until"), "{pid} still runs");
    }
    assert_eq!(campaign.lines("act-busy.jsonl"), 1);
}

#[test]
fn a_busy_loop_ends_when_whoever_started_it_is_gone() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let mut child = command.arg("spin-until-stdin-closes").stdin(Stdio::piped()).spawn().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    drop(child.stdin.take());
    // A hundred looks, 100 ms apart, are the deadline.
    let ended = (0..100).any(|_| {
        let ended = child.try_wait().unwrap().is_some();
        if !ended {
            std::thread::sleep(Duration::from_millis(100));
        }
        ended
    });
    if !ended {
        child.kill().unwrap();
    }
    assert!(child.wait().unwrap().success() && ended);
}

#[test]
fn what_cannot_be_understood_is_refused_before_anything_runs() {
    let campaign = Campaign::new();
    campaign.trial(&["--faults", "crsh"]).fails("no fault `crsh`");
    campaign.trial(&["--seeds", "9..1"]).fails("no seeds `9..1`");
    campaign.trial(&["--kill", "--baseline"]).fails("exclude each other");
    campaign.trial(&["--frsh"]).fails("--frsh");
    assert!(campaign.calls().is_empty() && !campaign.path("out").exists());
}
