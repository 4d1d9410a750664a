//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use lexopt::prelude::*;

use crate::fault::{Fault, SERVICES};
use crate::records::RunDir;
use crate::{load, service};

pub(crate) const HELP: &str = "\
Breaks a small shop of real processes and lets the library heal it.

    quickstart                        the bad deploy, healed at tier act

  --fault KIND        crash, hang, leak, slow, errors, bad-deploy (default) or none
  --target SERVICE    gateway, orders, inventory or ledger (default: drawn from the seed)
  --seed N            draws target and harmless deploy (default 1)
  --tier TIER         observe, recommend, approve, veto or act (default)
  --answer ANSWER     approve, refuse or modify, instead of asking in the terminal
  --journal DIR       where the responder keeps its journal (default: in the run directory)
  --learn SECS        healthy seconds before anything happens (default 22, at least 21)
  --rate N            requests per second (default 50)
  --run DIR           run directory (default: a new temporary one)
  --keep              keep the run directory
  --json FILE         write what came of it as one JSON object

Without the library, to compare with:
  --person-after SECS a simulated person does the right thing this long after the first alert
  --alert-now         the director itself writes that alert as soon as clients suffer

For trials:
  --hold-reply MS     the shop holds the reply of the next restart or rollback this long
  --revive SECS       starts a responder that died again after this long
  --kill N            kills the responder at a moment drawn from N, and starts it again 2 s later

Afterwards:
  --replay DIR        verifies a journal and decides again offline: identical, or the first difference
";

/// How far the responder may go. The director only passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Observe,
    Recommend,
    Approve,
    Veto,
    Act,
}

impl Tier {
    const ALL: [Self; 5] = [Self::Observe, Self::Recommend, Self::Approve, Self::Veto, Self::Act];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Recommend => "recommend",
            Self::Approve => "approve",
            Self::Veto => "veto",
            Self::Act => "act",
        }
    }

    /// Whether the responder does anything at this tier, if only after an answer.
    pub(crate) fn acts(self) -> bool {
        matches!(self, Self::Approve | Self::Veto | Self::Act)
    }
}

impl FromStr for Tier {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|tier| tier.name() == text) {
            Some(tier) => Ok(tier),
            None => bail!("`{text}` is not a tier: one of observe, recommend, approve, veto, act"),
        }
    }
}

/// A run, as asked for.
#[derive(Debug, Clone)]
pub(crate) struct DirectorOptions {
    pub(crate) fault: Fault,
    pub(crate) target: &'static str,
    pub(crate) seed: u64,
    pub(crate) tier: Tier,
    pub(crate) answer: Option<String>,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) learn_secs: f64,
    pub(crate) rate: u32,
    pub(crate) run: Option<PathBuf>,
    pub(crate) keep: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) person_after_secs: Option<f64>,
    pub(crate) alert_now: bool,
    pub(crate) hold_reply_ms: Option<u64>,
    pub(crate) revive_secs: Option<f64>,
    pub(crate) kill: Option<u64>,
    /// Nothing was said at all: the reader is new here.
    pub(crate) first_time: bool,
}

/// What the responder is told; every part of it comes from the director.
#[derive(Debug, Clone)]
pub(crate) struct ResponderOptions {
    pub(crate) run: RunDir,
    pub(crate) tier: Tier,
    pub(crate) answer: Option<String>,
    pub(crate) journal: PathBuf,
}

#[derive(Debug)]
pub(crate) enum Role {
    Help,
    Replay(PathBuf),
    Director(DirectorOptions),
    Shop(RunDir),
    Service(service::Options),
    Load(load::Options),
    Responder(ResponderOptions),
}

/// Reads the arguments; the first word chooses the role.
pub(crate) fn parse(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Role> {
    let mut args: Vec<_> = args.into_iter().collect();
    let role = match args.first().and_then(|first| first.to_str()) {
        Some(word @ ("shop" | "service" | "load" | "responder")) => word.to_owned(),
        _ => return director(&args),
    };
    args.remove(0);
    let mut given = Given::read(&args)?;
    let role = match role.as_str() {
        "shop" => Role::Shop(RunDir(given.path("run")?)),
        "load" => Role::Load(load::Options {
            address: given.parsed("address")?,
            path: given.required("path")?,
            per_second: given.parsed("rate")?,
            out: given.path("out")?,
        }),
        "service" => {
            let peer = match given.take("peer") {
                Some(name) => Some(service::Peer { name, address: given.parsed::<SocketAddr>("peer-address")? }),
                None => None,
            };
            Role::Service(service::Options {
                name: given.required("name")?,
                instance: given.required("instance")?,
                version_file: given.path("version-file")?,
                log: given.path("log")?,
                peer,
            })
        }
        _ => Role::Responder(ResponderOptions {
            run: RunDir(given.path("run")?),
            tier: given.parsed("tier")?,
            answer: given.take("answer"),
            journal: given.path("journal")?,
        }),
    };
    given.finish()?;
    Ok(role)
}

/// The arguments of the inner roles, which are all of the form `--name value`.
struct Given(Vec<(String, String)>);

impl Given {
    fn read(args: &[std::ffi::OsString]) -> Result<Self> {
        let mut parser = lexopt::Parser::from_args(args);
        let mut given = Vec::new();
        while let Some(arg) = parser.next()? {
            let Long(name) = arg else { return Err(arg.unexpected().into()) };
            let name = name.to_owned();
            given.push((name, parser.value()?.string()?));
        }
        Ok(Self(given))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(index).1)
    }

    fn required(&mut self, name: &str) -> Result<String> {
        self.take(name).with_context(|| format!("--{name} is missing"))
    }

    fn path(&mut self, name: &str) -> Result<PathBuf> {
        self.required(name).map(PathBuf::from)
    }

    fn parsed<T: FromStr<Err: Into<anyhow::Error>>>(&mut self, name: &str) -> Result<T> {
        let text = self.required(name)?;
        text.parse().map_err(|error: T::Err| error.into().context(format!("--{name} `{text}`")))
    }

    fn finish(self) -> Result<()> {
        match self.0.first() {
            Some((name, _)) => bail!("--{name} is not known here"),
            None => Ok(()),
        }
    }
}

fn director(args: &[std::ffi::OsString]) -> Result<Role> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut target = None;
    let mut options = DirectorOptions {
        fault: Fault::BadDeploy,
        target: SERVICES[0],
        seed: 1,
        tier: Tier::Act,
        answer: None,
        journal: None,
        learn_secs: 22.0,
        rate: 50,
        run: None,
        keep: false,
        json: None,
        person_after_secs: None,
        alert_now: false,
        hold_reply_ms: None,
        revive_secs: None,
        kill: None,
        first_time: args.is_empty(),
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("help") | Short('h') => return Ok(Role::Help),
            Long("fault") => options.fault = parser.value()?.string()?.parse()?,
            Long("target") => target = Some(parser.value()?.string()?),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("tier") => options.tier = parser.value()?.string()?.parse()?,
            Long("answer") => options.answer = Some(parser.value()?.string()?),
            Long("journal") => options.journal = Some(parser.value()?.into()),
            Long("learn") => options.learn_secs = parser.value()?.parse()?,
            Long("rate") => options.rate = parser.value()?.parse()?,
            Long("run") => options.run = Some(parser.value()?.into()),
            Long("keep") => options.keep = true,
            Long("json") => options.json = Some(parser.value()?.into()),
            Long("person-after") => options.person_after_secs = Some(parser.value()?.parse()?),
            Long("alert-now") => options.alert_now = true,
            Long("hold-reply") => options.hold_reply_ms = Some(parser.value()?.parse()?),
            Long("kill") => options.kill = Some(parser.value()?.parse()?),
            Long("replay") => return Ok(Role::Replay(parser.value()?.into())),
            Long("revive") => options.revive_secs = Some(parser.value()?.parse()?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    ensure!((21.0..=600.0).contains(&options.learn_secs), "--learn is between 21 and 600 seconds");
    ensure!((20..=500).contains(&options.rate), "--rate is between 20 and 500 per second");
    for (name, secs) in [("person-after", options.person_after_secs), ("revive", options.revive_secs)] {
        ensure!(secs.is_none_or(|secs| (0.0..=3600.0).contains(&secs)), "--{name} is between 0 and 3600 seconds");
    }
    if let Some(answer) = &options.answer {
        let known = ["approve", "refuse", "modify"].contains(&answer.as_str());
        ensure!(known, "`{answer}` is not an answer: one of approve, refuse, modify");
    }
    options.target = match &target {
        Some(name) => SERVICES
            .into_iter()
            .find(|service| service == name)
            .with_context(|| format!("`{name}` is not a service: one of {}", SERVICES.join(", ")))?,
        None => options.fault.draw_target(options.seed),
    };
    Ok(Role::Director(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Role> {
        parse(line.split_whitespace().map(std::ffi::OsString::from))
    }

    #[test]
    fn no_arguments_mean_the_bad_deploy_healed_at_tier_act() {
        let Role::Director(options) = read("").unwrap() else { panic!("another role") };
        assert_eq!((options.fault, options.tier, options.seed), (Fault::BadDeploy, Tier::Act, 1));
        assert!(options.first_time);
    }

    #[test]
    fn a_target_that_is_named_is_not_drawn() {
        let Role::Director(options) = read("--fault crash --target ledger --seed 9").unwrap() else {
            panic!("another role")
        };
        assert_eq!(options.target, "ledger");
    }

    #[test]
    fn mistakes_are_named() {
        for (line, word) in [
            ("--target shelf", "shelf"),
            ("--fault fire", "fire"),
            ("--tier god", "god"),
            ("--learn 5", "learn"),
            ("--answer perhaps", "perhaps"),
            ("--colour", "colour"),
            ("shop", "--run"),
            ("shop --run x --fly y", "--fly"),
            ("load --address here --path / --rate 50 --out x", "address"),
        ] {
            let error = format!("{:#}", read(line).unwrap_err());
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
