//! What a service process holds in memory, and how that can go bad.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::RwLock;

use super::log::Log;
use super::metrics::Metrics;
use super::{Options, Peer};
use crate::clock;
use crate::http::Client;
use crate::records::Version;
use crate::rng::{Rng, fnv};

const MIB: u64 = 1 << 20;
/// From here on the process spends more and more time looking for memory.
const SOFT_BUDGET_BYTES: u64 = 96 * MIB;
/// From here on it refuses requests.
const HARD_BUDGET_BYTES: u64 = 192 * MIB;
/// The leak ends here, so that a long run does not eat the machine.
const LEAK_CAP_BYTES: u64 = 288 * MIB;
/// One chunk of [`MIB`] bytes this often: 20 MiB/s reaches the soft budget within 5 s, the hard one within 10 s.
const LEAK_EVERY: Duration = Duration::from_millis(50);
/// Extra time per request right below the hard budget.
const PRESSURE_MS: f64 = 300.0;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) peer: Option<(Peer, Client)>,
    pub(crate) log: Log,
    pub(crate) metrics: Metrics,
    /// Every request reads under this lock; whoever holds it for writing stops them all.
    pub(crate) turn: RwLock<()>,
    pub(crate) draining: AtomicBool,
    /// Set once the state that requests are answered from is damaged.
    pub(crate) spoiled: AtomicBool,
    pub(crate) n_requests: AtomicU64,
    rng: Mutex<Rng>,
}

impl State {
    pub(crate) fn new(options: &Options, version: Version) -> Result<Self> {
        let started = clock::now();
        Ok(Self {
            name: options.name.clone(),
            peer: options.peer.clone().map(|peer| {
                let client = Client::new(peer.address);
                (peer, client)
            }),
            log: Log::open(&options.log, &options.name, &version.version, &options.instance)?,
            metrics: Metrics::new(&options.name, &version.version, started),
            version,
            turn: RwLock::new(()),
            draining: AtomicBool::new(false),
            spoiled: AtomicBool::new(false),
            n_requests: AtomicU64::new(0),
            // The jitter of two instances must not march in step; it need not be the same in two runs.
            rng: Mutex::new(Rng::new(fnv(clock::rfc3339(started).as_bytes()) ^ u64::from(std::process::id()))),
        })
    }

    pub(crate) fn between(&self, low: f64, high: f64) -> f64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).between(low, high)
    }

    pub(crate) fn chance(&self, probability: f64) -> bool {
        self.between(0.0, 1.0) < probability
    }
}

/// How short memory is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pressure {
    /// This many milliseconds more per request, 0 in health.
    Delay(f64),
    Exhausted,
}

/// What the memory in use means for requests.
pub(crate) fn pressure(resident_bytes: u64) -> Pressure {
    if resident_bytes >= HARD_BUDGET_BYTES {
        return Pressure::Exhausted;
    }
    let over = resident_bytes.saturating_sub(SOFT_BUDGET_BYTES) as f64;
    Pressure::Delay(PRESSURE_MS * over / (HARD_BUDGET_BYTES - SOFT_BUDGET_BYTES) as f64)
}

/// The memory that this process really holds, from the kernel; 0 where the kernel does not say.
pub(crate) fn resident_bytes() -> u64 {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Takes memory and forgets to give it back, up to the cap.
pub(crate) async fn leak(state: Arc<State>) {
    let mut forgotten: Vec<Vec<u8>> = Vec::new();
    while resident_bytes() < LEAK_CAP_BYTES {
        // Written to, so that the kernel really hands the pages out.
        forgotten.push(vec![0x5a; MIB as usize]);
        tokio::time::sleep(LEAK_EVERY).await;
    }
    state.log.event("warn", "cache is full, nothing can be evicted", &[]);
    std::future::pending::<()>().await;
    drop(forgotten);
}

/// The next number in the line of requests of this process.
pub(crate) fn count_request(state: &State) -> u64 {
    state.n_requests.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_pressure_slows_before_it_refuses() {
        assert_eq!(pressure(5 * MIB), Pressure::Delay(0.0));
        assert_eq!(pressure(SOFT_BUDGET_BYTES), Pressure::Delay(0.0));
        assert_eq!(pressure(144 * MIB), Pressure::Delay(150.0));
        assert_eq!(pressure(HARD_BUDGET_BYTES), Pressure::Exhausted);
    }

    #[test]
    fn the_kernel_tells_how_much_memory_we_hold() {
        assert!(resident_bytes() > 100_000);
    }
}
