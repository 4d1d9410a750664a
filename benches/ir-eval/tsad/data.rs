//! Series in files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::Found;

/// One row of a series.
pub(super) struct Row {
    /// As it stands in the file.
    pub(super) stamp: String,
    /// Seconds since the epoch.
    pub(super) secs: f64,
    /// NaN where the cell is empty.
    pub(super) value: f64,
    pub(super) label: bool,
}

/// One series.
pub(super) struct File {
    /// The path below the input folder, without NAB's `data/` and without `.gz`.
    pub(super) path: String,
    pub(super) rows: Vec<Row>,
    pub(super) labelled: bool,
}

/// Rows of several metrics: a first part without labels that is taken as usual, and a second to be judged.
pub(super) struct Pair {
    /// As [`File::path`], of the second part.
    pub(super) path: String,
    pub(super) train: Vec<Vec<f64>>,
    pub(super) test: Vec<Vec<f64>>,
    pub(super) labels: Vec<bool>,
}

/// Labelled windows by file, first and last time as NAB writes them.
pub(super) type Windows = BTreeMap<String, Vec<[String; 2]>>;

/// All series below a folder, by path.
pub(super) fn files(root: &Path) -> Result<Vec<File>, String> {
    let mut paths = Vec::new();
    walk(root, &mut paths)?;
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let name = path.to_string_lossy();
        if name.ends_with(".csv") || name.ends_with(".csv.gz") {
            files.extend(read(root, &path)?);
        }
    }
    Ok(files)
}

/// All pairs of tables below a folder, by path.
pub(super) fn pairs(root: &Path) -> Result<Vec<Pair>, String> {
    let mut paths = Vec::new();
    walk(root, &mut paths)?;
    paths.sort();
    let mut pairs = Vec::new();
    for path in paths {
        let name = path.to_string_lossy().into_owned();
        if !name.ends_with(".test.csv.gz") {
            continue;
        }
        let (_, train) = cells(Path::new(&name.replace(".test.csv.gz", ".train.csv.gz")))?;
        let (head, mut test) = cells(&path)?;
        if head.last().is_none_or(|last| last != "label") {
            return Err(format!("{name}: the last column is not `label`"));
        }
        let labels = test.iter_mut().map(|row| row.pop().is_some_and(|label| label > 0.0)).collect();
        pairs.push(Pair { path: relative(root, &path), train, test, labels });
    }
    Ok(pairs)
}

fn cells(path: &Path) -> Result<(Vec<String>, Vec<Vec<f64>>), String> {
    let text = text(path)?;
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default().split(',').map(|cell| cell.trim().to_owned()).collect();
    let cell = |cell: &str| if cell.trim().is_empty() { Ok(f64::NAN) } else { cell.trim().parse::<f64>() };
    let rows = lines.map(|line| line.split(',').map(cell).collect::<Result<Vec<f64>, _>>());
    let rows = rows.collect::<Result<_, _>>().map_err(|why| format!("{}: {why}", path.display()))?;
    Ok((head, rows))
}

/// NAB's labels, from every `combined_windows.json` below the folder.
pub(super) fn windows(root: &Path) -> Result<Windows, String> {
    let mut paths = Vec::new();
    walk(root, &mut paths)?;
    let mut all = Windows::new();
    for path in paths.into_iter().filter(|path| path.ends_with("combined_windows.json")) {
        let text = text(&path)?;
        let windows: Windows = serde_json::from_str(&text).map_err(|why| format!("{}: {why}", path.display()))?;
        all.extend(windows);
    }
    Ok(all)
}

/// First and last row of each of NAB's windows in a file; `None` when the file is not among its labels.
pub(super) fn rows_of(file: &File, windows: &Windows) -> Option<Vec<(usize, usize)>> {
    // NAB's labels name the folder and the file.
    let named = windows.iter().find(|(name, _)| file.path == **name || file.path.ends_with(&format!("/{name}")));
    let place = |stamp: &str| {
        let stamp = stamp.split('.').next().unwrap_or_default();
        (file.rows.iter().position(|row| row.stamp == stamp), file.rows.iter().rposition(|row| row.stamp == stamp))
    };
    let rows = |window: &[String; 2]| Some((place(&window[0]).0?, place(&window[1]).1?));
    named.map(|(_, windows)| windows.iter().filter_map(rows).collect())
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|why| format!("{}: {why}", folder.display()))?.path();
        if path.is_dir() { walk(&path, into)? } else { into.push(path) }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, String> {
    let failed = |why: std::io::Error| format!("{}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(failed)?;
    let mut text = String::new();
    if path.extension().is_some_and(|ending| ending == "gz") {
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    String::from_utf8(bytes).map_err(|why| format!("{}: {why}", path.display()))
}

/// The series of a file; `None` when it is a table of another kind.
fn read(root: &Path, path: &Path) -> Result<Option<File>, String> {
    let text = text(path)?;
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
    if head.get(..2) != Some(&["timestamp", "value"]) {
        return Ok(None);
    }
    let rows = lines.map(row).collect::<Result<Vec<Row>, String>>();
    let rows = rows.map_err(|why| format!("{}: {why}", path.display()))?;
    let path = relative(root, path);
    Ok(Some(File { path, rows, labelled: head.get(2) == Some(&"label") }))
}

/// The path below the folder, without NAB's `data/` and without `.gz`.
fn relative(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| *part != "data").collect();
    let path = parts.join("/");
    path.strip_suffix(".gz").map_or(path.clone(), str::to_owned)
}

fn row(line: &str) -> Result<Row, String> {
    let mut cells = line.split(',').map(str::trim);
    let (stamp, value, label) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default(), cells.next());
    let secs = match stamp.parse::<f64>() {
        Ok(secs) => secs,
        Err(_) => {
            let at: jiff::civil::DateTime = stamp.parse().map_err(|why| format!("`{stamp}`: {why}"))?;
            let since = at.duration_since(jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
            since.as_secs_f64()
        }
    };
    let value = if value.is_empty() { f64::NAN } else { value.parse().map_err(|why| format!("`{value}`: {why}"))? };
    let label = label.is_some_and(|label| label.parse::<f64>().is_ok_and(|label| label > 0.0));
    Ok(Row { stamp: stamp.to_owned(), secs, value, label })
}

/// Writes what was found below `output`, with a column of times where there are any.
pub(super) fn write(output: &Path, path: &str, stamps: Option<&[&str]>, found: &Found) -> Result<(), String> {
    let path = output.join(path);
    let mut text =
        String::from(if stamps.is_some() { "timestamp,anomaly_score,alert\n" } else { "anomaly_score,alert\n" });
    for (at, (score, alert)) in found.scores.iter().zip(&found.alerts).enumerate() {
        if let Some(stamp) = stamps.and_then(|stamps| stamps.get(at)) {
            let _ = write!(text, "{stamp},");
        }
        let _ = writeln!(text, "{score:.6},{}", u8::from(*alert));
    }
    let folder = path.parent().unwrap_or(output);
    let failed = |why: std::io::Error| format!("{}: {why}", path.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::write(&path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_times_of_both_kinds_and_holes() {
        let nab = row("2014-02-14 14:30:00,0.132").unwrap();
        assert_eq!((nab.secs, nab.value, nab.label), (1_392_388_200.0, 0.132, false));
        let synthetic = row("300,,1.0").unwrap();
        assert!(synthetic.secs == 300.0 && synthetic.value.is_nan() && synthetic.label);
        assert!(row("yesterday,1").is_err());
    }
}
