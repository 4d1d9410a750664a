//! Plain text tables for the terminal and for CI logs.

/// Lays out rows in columns: those in `left` (by index) to the left, all others, which hold numbers, to the right.
///
/// Rows may be shorter than the head; missing cells are empty.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>], left: &[usize]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count());
        cells.chain(head.get(column).map(|h| h.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (column, width) in widths.iter().enumerate() {
            let cell = cells.get(column).map_or("", String::as_str);
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            let gap = if column == 0 { "" } else { "  " };
            text += &if left.contains(&column) { format!("{gap}{cell}{pad}") } else { format!("{gap}{pad}{cell}") };
        }
        text.trim_end().to_owned() + "\n"
    };
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    std::iter::once(line(&head)).chain(rows.iter().map(|r| line(r))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_short_rows_are_filled() {
        let rows = vec![vec!["a".into(), "1.0".into(), "see there".into()], vec!["longer".into(), "10.0".into()]];
        let text = table(&["stage", "seconds", "note"], &rows, &[0, 2]);
        assert_eq!(text, "stage   seconds  note\na           1.0  see there\nlonger     10.0\n");
    }
}
