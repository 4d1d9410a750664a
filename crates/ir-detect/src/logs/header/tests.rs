//! Headers of common kinds, on lines written for this.

use super::*;

/// Forty lines with the header that `head` makes and messages of many shapes.
fn lines(head: impl Fn(usize) -> String) -> Vec<(Vec<u8>, &'static str)> {
    const MESSAGES: [&str; 8] = [
        "queue is empty",
        "worker 7 done: 3 jobs",
        "error: cannot reach 10.0.0.1",
        "12 connections open",
        "Cache warmed in 5 ms",
        "[pool] two left",
        "shutting down",
        "GET /index.html 200",
    ];
    (0..40).map(|i| (format!("{}{}", head(i), MESSAGES[i % 8]).into_bytes(), MESSAGES[i % 8])).collect()
}

fn peeled(lines: &[(Vec<u8>, &'static str)]) -> usize {
    let header = Header::learn(lines.iter().map(|(line, _)| line.as_slice()));
    lines.iter().filter(|(line, message)| header.peel(line) == (message.as_bytes(), true)).count()
}

type Head = Box<dyn Fn(usize) -> String>;

#[test]
fn common_headers_are_peeled() {
    let levels = ["INFO", "WARN", "ERROR"];
    let heads: [(&str, Head); 8] = [
        ("syslog", Box::new(|i| format!("Jun {:2} 10:11:{:02} web{} app[{i}]: ", 1 + i % 28, i, i % 3))),
        ("iso", Box::new(move |i| format!("2024-02-01T10:11:{i:02}.123Z {} [main-{i}] a.b.Name: ", levels[i % 3]))),
        ("comma", Box::new(move |i| format!("2024-02-01 10:11:{i:02},123 - {} [x[y={i}]:Z@7] - ", levels[i % 3]))),
        ("epoch", Box::new(|i| format!("- 17000000{i:02} 2024.02.01 n{i} RAS KERNEL INFO "))),
        ("digits", Box::new(|i| format!("240201 1011{i:02} {i} INFO dfs.Node$Part: "))),
        ("bars", Box::new(|i| format!("20240201-10:11:{i:02}:606|Step_{}|30002312|", i % 2))),
        ("bracket", Box::new(|i| format!("[Thu Feb 01 10:11:{i:02} 2024] [notice] "))),
        (
            "name with blanks",
            Box::new(|i| {
                format!("Feb  1 10:11:{i:02} host-7 {}[{i}]: ", if i % 4 == 0 { "Some Helper" } else { "kernel" })
            }),
        ),
    ];
    for (name, head) in heads {
        assert_eq!(peeled(&lines(head)), 40, "{name}");
    }
}

#[test]
fn lines_without_a_time_keep_all_their_words() {
    let lines = lines(|_| String::new());
    assert_eq!(Header::learn(lines.iter().map(|(line, _)| line.as_slice())), Header::default());
    assert_eq!(peeled(&lines), 40);
    assert_eq!(Header::learn(std::iter::empty()), Header::default());
}

#[test]
fn a_line_without_the_header_is_left_whole() {
    let lines = lines(|i| format!("2024-02-01 10:11:{i:02} INFO "));
    let header = Header::learn(lines.iter().map(|(line, _)| line.as_slice()));
    for line in ["    at org.example.Main.run(Main.java:7)", "", "Caused by: nothing"] {
        assert_eq!(header.peel(line.as_bytes()), (line.as_bytes(), false));
    }
}
