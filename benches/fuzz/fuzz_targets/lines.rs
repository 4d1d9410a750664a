//! Lines of any bytes: the miner neither fails nor grows without bound, and gives the same ids when it reads them again.
#![no_main]

use ir_detect::logs::{MinerConfig, TemplateMiner};
use libfuzzer_sys::fuzz_target;

/// What the miner may hold beyond what it holds of nothing: its default bounds come to about this.
const MOST_BYTES: usize = 64 << 20;

fn ids(data: &[u8], miner: &mut TemplateMiner) -> Vec<u64> {
    let stream = miner.stream("fuzz");
    data.split(|byte| *byte == b'\n').map(|line| miner.observe(stream, line).id.0).collect()
}

fuzz_target!(|data: &[u8]| {
    let miner = || TemplateMiner::new(MinerConfig::default()).expect("the default is right");
    let (mut one, mut other) = (miner(), miner());
    assert_eq!(ids(data, &mut one), ids(data, &mut other));
    assert!(one.bytes() <= MOST_BYTES);
});
