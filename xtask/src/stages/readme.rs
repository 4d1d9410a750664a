//! Reads a program, and the dependencies it asks for, out of a README.

use crate::fail::{Context, Result};
use toml::Table;

/// A fenced block: the words after the fence, and the lines in it.
#[derive(Debug, PartialEq)]
struct Block {
    info: String,
    text: String,
}

/// The first Rust block that has a `fn main`, as rustdoc would compile it.
pub(super) fn program(readme: &str) -> Option<String> {
    let is_program = |b: &Block| is_rust(&b.info) && b.text.contains("fn main");
    let block = blocks(readme).into_iter().find(is_program)?;
    Some(block.text.lines().map(|line| unhidden(line) + "\n").collect())
}

/// The table `dependencies` of the first TOML block that has one.
pub(super) fn dependencies(readme: &str) -> Result<Option<Table>> {
    let blocks = blocks(readme);
    let Some(block) = blocks.iter().find(|b| b.info == "toml" && b.text.contains("[dependencies]")) else {
        return Ok(None);
    };
    let table: Table = block.text.parse().context(|| "the TOML block of README.md does not parse".into())?;
    Ok(table.get("dependencies").and_then(|d| d.as_table()).cloned())
}

fn is_rust(info: &str) -> bool {
    let mut words = info.split(',').map(str::trim);
    words.next() == Some("rust") && !words.any(|w| matches!(w, "ignore" | "compile_fail"))
}

/// rustdoc hides lines that begin with `# `, and shows `##` as `#`.
fn unhidden(line: &str) -> String {
    let text = line.trim_start();
    let indent = &line[..line.len() - text.len()];
    match text.strip_prefix('#') {
        Some("") => indent.to_owned(),
        Some(rest) if rest.starts_with(' ') => format!("{indent}{}", &rest[1..]),
        Some(rest) if rest.starts_with('#') => format!("{indent}{rest}"),
        _ => line.to_owned(),
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for line in text.lines() {
        let bare = line.trim_start();
        let ticks = bare.len() - bare.trim_start_matches('`').len();
        let info = bare[ticks..].trim();
        match &mut open {
            Some((fence, _)) if ticks >= *fence && info.is_empty() => {
                blocks.extend(open.take().map(|(_, block)| block));
            }
            Some((_, block)) => block.text += &format!("{line}\n"),
            None if ticks >= 3 => open = Some((ticks, Block { info: info.to_owned(), text: String::new() })),
            None => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "\
# Title

```sh
cargo run # fn main
```

```rust,ignore
fn main() { ignored() }
```

```rust
let a = 1;
```

```toml
[dependencies]
tiny = { version = \"0.1\", features = [\"x\"] }
```

```rust,no_run
# use std::fmt;
#[derive(Debug)]
struct S;
#
fn main() {
    # hidden();
    ## shown();
}
```
";

    #[test]
    fn the_program_is_the_first_rust_block_with_a_main() {
        let want = "use std::fmt;\n#[derive(Debug)]\nstruct S;\n\nfn main() {\n    hidden();\n    # shown();\n}\n";
        assert_eq!(program(README).unwrap(), want);
        assert_eq!(program("```rust\nlet a = 1;\n```\n```text\nfn main() {}\n```"), None);
        assert_eq!(program("```rust\nfn main() {} // never closed"), None);
    }

    #[test]
    fn the_dependencies_are_those_the_reader_is_told_to_write() {
        let found = dependencies(README).unwrap().unwrap();
        assert_eq!(found["tiny"]["features"][0].as_str(), Some("x"));
        assert_eq!(dependencies("no block").unwrap(), None);
        assert!(dependencies("```toml\n[dependencies]\nx =\n```").is_err());
    }

    #[test]
    fn a_longer_fence_holds_a_shorter_one() {
        let all = blocks("````md\n```rust\nfn main() {}\n```\n````\n");
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].text, "```rust\nfn main() {}\n```\n");
    }
}
