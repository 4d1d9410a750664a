//! Streams of log lines and labelled faults in files, as comma-separated tables.

use std::io::Read as _;
use std::path::Path;

/// One line of the stream.
pub(super) struct Line {
    /// Nanoseconds since the epoch.
    pub(super) ns: i64,
    pub(super) service: String,
    pub(super) text: String,
}

/// One labelled fault.
pub(super) struct Fault {
    /// When it began, in nanoseconds since the epoch.
    pub(super) start_ns: i64,
    pub(super) service: String,
    pub(super) kind: String,
}

/// `ns,service,line`, packed or not, in the order of the file.
pub(super) fn stream(path: &Path) -> Result<Vec<Line>, String> {
    let rows = rows(path, ["ns", "service", "line"])?;
    let line = |[ns, service, text]: [String; 3]| Ok(Line { ns: number(path, &ns)?, service, text });
    rows.into_iter().map(line).collect()
}

/// `start_ns,service,type`.
pub(super) fn faults(path: &Path) -> Result<Vec<Fault>, String> {
    let rows = rows(path, ["start_ns", "service", "type"])?;
    let fault = |[ns, service, kind]: [String; 3]| Ok(Fault { start_ns: number(path, &ns)?, service, kind });
    rows.into_iter().map(fault).collect()
}

fn number(path: &Path, cell: &str) -> Result<i64, String> {
    cell.parse().map_err(|_| format!("{}: `{cell}` is not a number of nanoseconds", path.display()))
}

fn rows(path: &Path, head: [&str; 3]) -> Result<Vec<[String; 3]>, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|why| failed(&why))?;
    let mut plain = Vec::new();
    let bytes = if path.extension().is_some_and(|ending| ending == "gz") {
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).map_err(|why| failed(&why))?;
        plain
    } else {
        bytes
    };
    let mut rows = parse(&String::from_utf8_lossy(&bytes)).into_iter();
    if rows.next().is_none_or(|first| first != head) {
        return Err(failed(&format!("the header is not `{}`", head.join(","))));
    }
    let row = |(n, row): (usize, Vec<String>)| {
        <[String; 3]>::try_from(row).map_err(|row| failed(&format!("row {} has {} cells", n + 2, row.len())))
    };
    rows.enumerate().map(row).collect()
}

/// Cells in quotes may hold commas, line ends and doubled quotes (RFC 4180).
fn parse(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if quoted || cell.is_empty() => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}

/// A cell as it is written: in quotes, with quotes doubled.
pub(super) fn quoted(cell: &str) -> String {
    format!("\"{}\"", cell.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_in_quotes_hold_anything() {
        let text = "a,b\n\"1,\"\"2\"\"\n3\",4\r\n,\n5";
        let rows = parse(text);
        assert_eq!(rows, [vec!["a", "b"], vec!["1,\"2\"\n3", "4"], vec!["", ""], vec!["5"]]);
        assert_eq!(parse(&quoted("a \"b\", c\n"))[0], ["a \"b\", c\n"]);
    }
}
