//! Values and times of any bits: models of series stay finite, and one read back goes on as before.
#![no_main]

use ir_detect::basic::{BasicConfig, BasicModel};
use ir_detect::forecast::{LeakConfig, LeakModel};
use ir_detect::multi::{MultiConfig, MultiModel};
use ir_detect::series::{SeriesConfig, SeriesModel};
use libfuzzer_sys::fuzz_target;

const METRICS: usize = 4;

/// Sixteen bytes are a time and a value; the first byte says how tame they are.
fn pairs(data: &[u8]) -> Vec<(f64, f64)> {
    let Some((tame, rest)) = data.split_first() else { return Vec::new() };
    let float = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let wild = rest.chunks_exact(16).map(|chunk| (float(&chunk[..8]), float(&chunk[8..])));
    let mut secs = 0.0;
    // Tame ones are what most series are like: small numbers at steady times, so that models get past their warm-up.
    let mild = rest.iter().map(|byte| {
        secs += 60.0;
        (secs, f64::from(*byte))
    });
    if tame % 2 == 0 { mild.chain(wild).collect() } else { wild.collect() }
}

fuzz_target!(|data: &[u8]| {
    let pairs = pairs(data);
    let (config, mut model) = (SeriesConfig::default(), SeriesModel::default());
    let (basic_config, mut basic) = (BasicConfig::default(), BasicModel::default());
    let (leak_config, mut leak) = (LeakConfig::default(), LeakModel::default());
    for (at, (secs, value)) in pairs.iter().enumerate() {
        let judged = model.push(*secs, *value, &config);
        assert!(judged.nats.is_finite() && judged.nats >= 0.0);
        let judged = basic.push(*secs, *value, &basic_config);
        assert!(judged.nats.is_finite() && judged.nats >= 0.0);
        leak.push(*secs, *value, at % 97 == 96, Some(1000.0), &leak_config);
    }
    let (multi_config, mut multi) = (MultiConfig::default(), MultiModel::new(METRICS));
    for row in pairs.chunks_exact(METRICS) {
        let row: Vec<f64> = row.iter().map(|(_, value)| *value).collect();
        assert!(multi.push(&row, &multi_config).sum.is_finite());
    }
});
