//! The ways in which the shop breaks, and what heals each.

use std::str::FromStr;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::records::{EffectKind, Version};
use crate::rng::Rng;

/// From the one who answers the clients to the one at the far end; each calls the next.
pub(crate) const SERVICES: [&str; 4] = ["gateway", "orders", "inventory", "ledger"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// The process aborts.
    Crash,
    /// The process accepts and never answers.
    Hang,
    /// The process takes more and more memory.
    Leak,
    /// A deployed version answers much later.
    Slow,
    /// The process state goes bad and 40 % of requests fail.
    Errors,
    /// A deployed version fails half of its requests.
    BadDeploy,
    /// Nothing breaks.
    None,
}

impl Fault {
    pub(crate) const ALL: [Self; 7] =
        [Self::Crash, Self::Hang, Self::Leak, Self::Slow, Self::Errors, Self::BadDeploy, Self::None];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::Leak => "leak",
            Self::Slow => "slow",
            Self::Errors => "errors",
            Self::BadDeploy => "bad-deploy",
            Self::None => "none",
        }
    }

    /// The one effect that heals it, or nothing where nothing is broken.
    pub(crate) fn remedy(self) -> Option<EffectKind> {
        match self {
            Self::Crash | Self::Hang | Self::Leak | Self::Errors => Some(EffectKind::Restart),
            Self::Slow | Self::BadDeploy => Some(EffectKind::Rollback),
            Self::None => None,
        }
    }

    /// What happened, in words for the story.
    pub(crate) fn story(self) -> &'static str {
        match self {
            Self::Crash => "its process aborts",
            Self::Hang => "its process hangs: it accepts requests and never answers",
            Self::Leak => "its process starts to leak memory",
            Self::Slow => "a new version goes out that is half a second slower",
            Self::Errors => "its in-memory state goes bad: about 40 % of requests fail",
            Self::BadDeploy => "a new version goes out that fails about half of its requests",
            Self::None => "nothing breaks",
        }
    }

    /// The version whose deployment is this fault, for the two faults that are one.
    pub(crate) fn bad_version(self, version: &str) -> Option<Version> {
        let good = Version::good(version, "");
        match self {
            Self::Slow => Some(Version {
                extra_latency_ms: [400.0, 600.0],
                notes: "asks the archive for every request".to_owned(),
                ..good
            }),
            Self::BadDeploy => Some(Version {
                error_ratio: 0.5,
                notes: "reads a field that half of the requests lack".to_owned(),
                ..good
            }),
            Self::Crash | Self::Hang | Self::Leak | Self::Errors | Self::None => None,
        }
    }

    /// The service that breaks when nobody names one. Neighbouring seeds give neighbouring services, and each fault
    /// starts elsewhere, so that a campaign over any run of seeds meets all of them about equally often.
    pub(crate) fn draw_target(self, seed: u64) -> &'static str {
        let number = Self::ALL.iter().position(|fault| *fault == self).unwrap_or(0) as u64;
        SERVICES[(seed.wrapping_add(number) % SERVICES.len() as u64) as usize]
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::ALL.into_iter().find(|fault| fault.name() == text) {
            Some(fault) => Ok(fault),
            None => bail!("`{text}` is not a fault: one of crash, hang, leak, slow, errors, bad-deploy, none"),
        }
    }
}

/// The harmless deployment that every run has: on another service than the fault, some seconds before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Harmless {
    pub(crate) service: &'static str,
    pub(crate) seconds_before: f64,
}

impl Harmless {
    pub(crate) fn draw(seed: u64, target: &str) -> Self {
        let mut rng = Rng::named(seed, "harmless");
        let others: Vec<&'static str> = SERVICES.into_iter().filter(|service| *service != target).collect();
        Self { service: rng.pick(&others).copied().unwrap_or(SERVICES[0]), seconds_before: rng.between(1.0, 4.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_of_ten_seeds_meets_every_service_at_least_ten_times() {
        let faults = Fault::ALL.into_iter().filter(|fault| *fault != Fault::None);
        let targets: Vec<_> = faults.flat_map(|fault| (1..=10).map(move |seed| fault.draw_target(seed))).collect();
        assert_eq!(targets.len(), 60);
        for service in SERVICES {
            let times = targets.iter().filter(|target| **target == service).count();
            assert!(times >= 10, "{service} is the target {times} times");
        }
    }

    #[test]
    fn the_harmless_deployment_is_elsewhere_and_shortly_before() {
        for seed in 0..200 {
            for target in SERVICES {
                let harmless = Harmless::draw(seed, target);
                assert_ne!(harmless.service, target);
                assert!((1.0..4.0).contains(&harmless.seconds_before));
            }
        }
    }

    #[test]
    fn names_read_back_and_others_are_refused_with_the_list() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse::<Fault>().unwrap(), fault);
        }
        assert!("fire".parse::<Fault>().unwrap_err().to_string().contains("bad-deploy"));
    }
}
