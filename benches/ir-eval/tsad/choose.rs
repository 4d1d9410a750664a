//! `--leave-one-out`: how well a configuration does on a folder of NAB that was not looked at when it was chosen.
//!
//! Each folder is left out in turn; of a grid around the default, the configuration whose own alerts score best on the other
//! folders is taken, and only then is the folder left out scored. All folders so scored, put together, are the honest figure.

use std::collections::BTreeMap;

use incident_response::detect::series::SeriesConfig;

use super::data::{File, Windows, rows_of};
use super::score::Nab;
use super::series::watch;
use crate::table::table;

const LIMITS_NATS: [f64; 5] = [26.0, 28.0, 30.0, 32.0, 34.0];
const RESTS_NATS: [f64; 3] = [7.0, 9.0, 11.0];

/// The alerts of one file as scores of 0 and 1, by configuration, and its windows.
struct Watched {
    folder: String,
    said: Vec<Vec<f64>>,
    windows: Vec<(usize, usize)>,
}

pub(super) fn text(files: &[File], windows: &Windows) -> Result<String, String> {
    let grid: Vec<SeriesConfig> = LIMITS_NATS
        .iter()
        .flat_map(|limit| RESTS_NATS.iter().map(|rest| (*limit, *rest)))
        .map(|(limit_nats, rest_nats)| SeriesConfig { limit_nats, rest_nats, ..SeriesConfig::default() })
        .collect();
    let mut watched = Vec::new();
    for file in files {
        let Some(windows) = rows_of(file, windows) else { continue };
        let said = |config: &SeriesConfig| {
            watch(file, config).alerts.iter().map(|alert| f64::from(u8::from(*alert))).collect::<Vec<f64>>()
        };
        let folder = file.path.rsplit('/').nth(1).unwrap_or(".").to_owned();
        watched.push(Watched { folder, said: grid.iter().map(said).collect(), windows });
    }
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    watched.iter().for_each(|file| *folders.entry(&file.folder).or_default() += 1);
    if folders.len() < 2 {
        return Err("fewer than two folders with NAB's labels: nothing can be left out".to_owned());
    }
    let score = |with: &dyn Fn(&Watched) -> bool, config: usize| {
        let mut nab = Nab::default();
        watched.iter().filter(|file| with(file)).for_each(|file| nab.add(&file.said[config], &file.windows));
        nab.at(0.5).0
    };
    // A folder without a window has no score of its own; its false alarms count in the sum.
    let of_one = |score: f64| if score.is_finite() { format!("{score:.1}") } else { "-".to_owned() };
    let default = grid.iter().position(|config| *config == SeriesConfig::default());
    let default = default.ok_or("the default is not among the configurations")?;
    let (mut honest, mut lines) = (Nab::default(), Vec::new());
    for (folder, files) in folders {
        let others = |file: &Watched| file.folder != folder;
        let chosen =
            (0..grid.len()).max_by(|a, b| score(&others, *a).total_cmp(&score(&others, *b))).unwrap_or(default);
        let left_out = |file: &Watched| file.folder == folder;
        watched.iter().filter(|file| left_out(file)).for_each(|file| honest.add(&file.said[chosen], &file.windows));
        lines.push(vec![
            folder.to_owned(),
            files.to_string(),
            format!("{}, {}", grid[chosen].limit_nats, grid[chosen].rest_nats),
            format!("{:.1}", score(&others, chosen)),
            of_one(score(&left_out, chosen)),
            of_one(score(&left_out, default)),
        ]);
    }
    let head = ["left out", "files", "chosen limit, rest", "on the others", "left out", "left out, default"];
    Ok(format!(
        "== nab, a folder left out: own alerts {:.1} with what was chosen without the folder, {:.1} with the default\n{}",
        honest.at(0.5).0,
        score(&|_| true, default),
        table(&head, &lines)
    ))
}
