//! Tests of the tail on real files: growth, rotation, truncation, long and broken lines.

use std::io::Write;
use std::path::Path;

use ir_core::testkit::{AutoClock, signal as laws};
use ir_core::{Error, ErrorKind};
use proptest::prelude::*;

use super::*;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(AutoClock::new()))
}

fn source(path: &Path, from_start: bool) -> TailSource {
    let file = vec![TailFile { entity: EntityId::new("web").unwrap(), path: path.to_owned() }];
    let config = TailConfig { file, from_start, max_line_bytes: 50, max_poll_bytes: 200, ..TailConfig::default() };
    TailSource::new(config).unwrap()
}

fn add(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Polls until a poll brings nothing, as the engine would over time.
struct Reader {
    source: TailSource,
    cursor: Cursor,
    dropped: u64,
    problems: Vec<String>,
}

impl Reader {
    fn new(path: &Path, from_start: bool) -> Self {
        Self { source: source(path, from_start), cursor: Cursor::default(), dropped: 0, problems: Vec::new() }
    }

    async fn poll(&mut self) -> Result<Vec<String>, Error> {
        let polled = self.source.poll(&ctx(), &self.cursor).await?;
        self.cursor = polled.next;
        self.dropped += polled.dropped;
        self.problems.extend(polled.problems);
        Ok(polled.batch.logs.into_iter().map(|log| log.message).collect())
    }

    async fn all(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let before = self.cursor.clone();
            all.extend(self.poll().await.unwrap());
            if self.cursor == before {
                return all;
            }
        }
    }
}

#[tokio::test]
async fn lines_come_once_and_a_half_written_one_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    add(&path, "old\nolder than the first poll");
    let mut reader = Reader::new(&path, false);
    assert_eq!(reader.all().await, [""; 0]);
    add(&path, " by a bit\n{\"msg\":\"a\"}\n{\"msg\":");
    assert_eq!(reader.all().await, ["older than the first poll by a bit", "a"]);
    assert_eq!(reader.all().await, [""; 0]);
    add(&path, "\"b\"}\r\n\n");
    // The cursor is all that a restart needs.
    let mut again = Reader { source: source(&path, false), ..reader };
    assert_eq!(again.all().await, ["b"]);
}

#[tokio::test]
async fn a_file_that_is_not_there_yet_is_read_whole_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    for from_start in [false, true] {
        let mut reader = Reader::new(&path, from_start);
        assert_eq!(reader.all().await, [""; 0]);
        add(&path, "a\nb\n");
        assert_eq!(reader.all().await, ["a", "b"]);
        std::fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn a_rotation_loses_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    add(&path, "a\n");
    let mut reader = Reader::new(&path, true);
    assert_eq!(reader.all().await, ["a"]);
    add(&path, "b\n");
    std::fs::rename(&path, dir.path().join("log.1")).unwrap();
    assert_eq!(reader.all().await, ["b"], "the old file goes on under another name");
    add(&dir.path().join("log.1"), "c\nlast words");
    add(&path, "d\n");
    assert_eq!(reader.all().await, ["c", "last words", "d"]);
    assert_eq!(reader.problems, [""; 0]);
}

#[tokio::test]
async fn a_truncated_or_replaced_file_is_read_from_its_start_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    add(&path, "a\nb\n");
    let mut reader = Reader::new(&path, true);
    assert_eq!(reader.all().await, ["a", "b"]);
    std::fs::write(&path, "c\n").unwrap();
    assert_eq!(reader.all().await, ["c"]);
    // Longer than before, in the same file: only its beginning tells.
    std::fs::write(&path, "d\ne\nf\n").unwrap();
    assert_eq!(reader.all().await, ["d", "e", "f"]);
    assert_eq!(reader.problems.len(), 2, "{:?}", reader.problems);
}

#[tokio::test]
async fn lines_too_long_are_counted_and_what_is_no_text_still_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut reader = Reader::new(&path, true);
    add(&path, &format!("a\n{}\nb\n{}", "x".repeat(51), "y".repeat(500)));
    assert_eq!(reader.all().await, ["a", "b"]);
    add(&path, "and on\nc\n");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"\xff\xfe!\n").unwrap();
    assert_eq!(reader.all().await, ["c", "\u{fffd}\u{fffd}!"]);
    assert_eq!(reader.dropped, 2);
}

#[tokio::test]
async fn one_file_that_cannot_be_read_is_a_problem_and_all_of_them_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("log");
    add(&good, "a\n");
    let entity = EntityId::new("web").unwrap();
    let under_a_file = good.join("log");
    let file = |path: &Path| TailFile { entity: entity.clone(), path: path.to_owned() };
    let config = TailConfig { file: vec![file(&under_a_file), file(&good)], from_start: true, ..TailConfig::default() };
    let polled = TailSource::new(config.clone()).unwrap().poll(&ctx(), &Cursor::default()).await.unwrap();
    assert_eq!((polled.batch.logs.len(), polled.problems.len()), (1, 1));
    let config = TailConfig { file: vec![file(&under_a_file)], ..config };
    let error = TailSource::new(config).unwrap().poll(&ctx(), &Cursor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_cursor_of_somebody_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&dir.path().join("log"), true);
    for text in ["2026-01-01T00:00:00Z", "{\"log\":{}}", "[]"] {
        let error = source.poll(&ctx(), &Cursor::new(text)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
    }
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let file = TailFile { entity: EntityId::new("web").unwrap(), path: "log".into() };
    let config =
        TailConfig { name: String::new(), file: vec![file.clone(), file], max_line_bytes: 0, ..TailConfig::default() };
    let error = TailSource::new(config).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["name", "file[1].path", "max_line_bytes"]);
}

struct Filler(std::path::PathBuf, std::sync::atomic::AtomicUsize);

#[async_trait]
impl laws::Supply for Filler {
    async fn add(&self, n: usize) {
        for _ in 0..n {
            let count = self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            add(&self.0, &format!("{{\"msg\":\"line {count}\"}}\n"));
        }
    }

    async fn spoil(&self, n: usize) -> u64 {
        for _ in 0..n {
            add(&self.0, &format!("{}\n", "long ".repeat(11)));
        }
        n as u64
    }

    async fn hang(&self) -> bool {
        false
    }
}

#[async_trait]
impl laws::Hostile for Filler {
    async fn feed(&self, what: laws::Hostility) -> Option<laws::Fed> {
        let (text, given, dropped) = match what {
            laws::Hostility::BadParts => (format!("a\n{}\nb\n", "long ".repeat(11)), 2, 1),
            laws::Hostility::WrongTimes => {
                ("{\"ts\":12,\"msg\":\"a\"}\n{\"ts\":9e18,\"msg\":\"b\"}\n".to_owned(), 2, 0)
            }
            laws::Hostility::Level(text) => (format!("{{\"level\":\"{text}\",\"msg\":\"a\"}}\n"), 1, 0),
            _ => return None,
        };
        add(&self.0, &text);
        Some(laws::Fed { given, dropped })
    }
}

#[tokio::test]
async fn it_keeps_the_laws_on_hostile_input() {
    let dir = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let fresh = async || {
        let path = dir.path().join(format!("log{}", count.fetch_add(1, std::sync::atomic::Ordering::SeqCst)));
        let supply = Box::new(Filler(path.clone(), std::sync::atomic::AtomicUsize::new(0)));
        (Box::new(source(&path, true)) as Box<dyn SignalSource>, supply as Box<dyn laws::Hostile>)
    };
    laws::check_hostile(&ctx(), fresh).await.unwrap();
}

async fn keeps_every_law(wrap: fn(TailSource) -> Box<dyn SignalSource>) {
    let dir = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let fresh = async || {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = dir.path().join(format!("log{n}"));
        let config = TailConfig { max_poll_bytes: 4096, ..(*source(&path, true).config).clone() };
        let filler = Filler(path, std::sync::atomic::AtomicUsize::new(0));
        (wrap(TailSource::new(config).unwrap()), Box::new(filler) as Box<dyn laws::Supply>)
    };
    laws::check_all(&ctx(), fresh).await.unwrap();
}

#[tokio::test]
async fn it_keeps_every_law_as_itself_in_a_box_and_in_an_arc() {
    keeps_every_law(|source| Box::new(source)).await;
    keeps_every_law(|source| Box::new(Box::new(source))).await;
    keeps_every_law(|source| Box::new(Arc::new(source))).await;
}

fn rotate(path: &Path) {
    let name = |n: u32| path.with_file_name(format!("log.{n}"));
    for n in (1..60).rev().filter(|n| name(*n).exists()) {
        std::fs::rename(name(n), name(n + 1)).unwrap();
    }
    std::fs::rename(path, name(1)).unwrap();
}

#[tokio::test]
async fn files_of_several_rotations_between_two_polls_are_all_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut reader = Reader::new(&path, true);
    add(&path, "old\n");
    assert_eq!(reader.all().await, ["old"]);
    rotate(&path);
    add(&path, "a\n");
    assert_eq!(reader.all().await, ["a"]);
    // Two, then three at once, with a line that had no end; the last of them is longer than one poll takes.
    rotate(&path);
    add(&path, "b\n");
    rotate(&path);
    add(&path, "c\n");
    assert_eq!(reader.all().await, ["b", "c"]);
    for text in ["d\nno end", &"e\n".repeat(150), ""] {
        rotate(&path);
        add(&path, text);
    }
    rotate(&path);
    add(&path, "f\n");
    let mut expected = vec!["d".to_owned(), "no end".to_owned()];
    expected.extend(std::iter::repeat_n("e".to_owned(), 150));
    expected.push("f".to_owned());
    assert_eq!(reader.all().await, expected);
    assert_eq!((reader.dropped, reader.problems.len()), (0, 0));
}

#[tokio::test]
async fn a_file_that_was_packed_before_it_was_read_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut reader = Reader::new(&path, true);
    add(&path, "a\n");
    assert_eq!(reader.all().await, ["a"]);
    let read = path.with_file_name("log-20261128");
    std::fs::rename(&path, &read).unwrap();
    // Of the file between there is only what packed it, which keeps its time.
    let packed = path.with_file_name("log-20261129.gz");
    add(&packed, "packed");
    let later = read.metadata().unwrap().modified().unwrap() + std::time::Duration::from_secs(5);
    std::fs::File::options().append(true).open(&packed).unwrap().set_modified(later).unwrap();
    add(&path, "c\n");
    assert_eq!(reader.all().await, ["c"]);
    assert_eq!(reader.dropped, 1);
    assert!(reader.problems[0].contains("packed before"), "{:?}", reader.problems);
    // One that was read and packed afterwards is none of these.
    rotate(&path);
    add(&path, "d\n");
    let first = path.with_file_name("log-20261128.gz");
    add(&first, "packed");
    let time = read.metadata().unwrap().modified().unwrap();
    std::fs::File::options().append(true).open(&first).unwrap().set_modified(time).unwrap();
    std::fs::remove_file(&read).unwrap();
    assert_eq!(reader.all().await, ["d"]);
    assert_eq!(reader.dropped, 1);
}

#[tokio::test]
async fn marks_holes_and_colours_are_not_part_of_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    // The hole is longer than any line may be.
    add(&path, "\u{feff}{\"level\":\"error\",\"msg\":\"first\"}\n");
    add(&path, &"\0".repeat(700));
    add(&path, "{\"level\":\"warn\",\"msg\":\"after\"}\n\u{1b}[31mplain\u{1b}[0m words\r\n\0\0\n");
    let mut reader = Reader::new(&path, true);
    let mut levels = Vec::new();
    let mut messages = Vec::new();
    loop {
        let polled = reader.source.poll(&ctx(), &reader.cursor).await.unwrap();
        assert_eq!((polled.dropped, polled.problems.len()), (0, 0));
        if polled.next == reader.cursor {
            break;
        }
        reader.cursor = polled.next;
        levels.extend(polled.batch.logs.iter().map(|line| line.level));
        messages.extend(polled.batch.logs.into_iter().map(|line| line.message));
    }
    assert_eq!(messages, ["first", "after", "plain words"]);
    assert_eq!(levels, [Some(ir_core::LogLevel::Error), Some(ir_core::LogLevel::Warn), None]);
}

#[tokio::test]
async fn utf_16_is_read_by_its_mark() {
    let dir = tempfile::tempdir().unwrap();
    for (name, order) in [("le", u16::to_le_bytes as fn(u16) -> [u8; 2]), ("be", u16::to_be_bytes)] {
        let path = dir.path().join(name);
        let add = |text: &str| {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(order).collect();
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
            file.write_all(&bytes).unwrap();
        };
        add("\u{feff}old\r\n");
        let (mut whole, mut tail) = (Reader::new(&path, true), Reader::new(&path, false));
        assert_eq!(tail.all().await, [""; 0], "{name}");
        // A character whose half is a line end, and a line that is not finished.
        add("{\"msg\":\"wide \u{10a}\u{e9}\"}\r\nhal");
        assert_eq!(whole.all().await, ["old", "wide \u{10a}\u{e9}"], "{name}");
        assert_eq!(tail.all().await, ["wide \u{10a}\u{e9}"], "{name}");
        add("f\n");
        assert_eq!((whole.all().await, tail.all().await), (vec!["half".to_owned()], vec!["half".to_owned()]), "{name}");
    }
}

#[tokio::test]
async fn a_time_that_cannot_be_is_a_problem_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    add(&path, "{\"ts\":9e18,\"msg\":\"ahead\"}\n{\"msg\":\"next\"}\n");
    let ctx = ctx();
    let polled = source(&path, true).poll(&ctx, &Cursor::default()).await.unwrap();
    assert_eq!((polled.batch.logs.len(), polled.dropped), (2, 0));
    assert!(polled.batch.logs.iter().all(|line| line.at <= ctx.now().wall));
    assert!(polled.problems[0].contains("too far in the future"), "{:?}", polled.problems);
}

#[derive(Debug, Clone)]
enum Op {
    /// Writes so many characters of the next lines; a line has its number and a few more.
    Write(usize),
    Rotate,
    Poll,
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (1_usize..60).prop_map(Op::Write),
        1 => Just(Op::Rotate),
        3 => Just(Op::Poll),
        1 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_line_comes_once_and_in_order_however_writes_rotations_and_restarts_fall(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let text: String = (0..2000).map(|n| format!("line {n}\n")).collect();
        let mut written = 0;
        let mut reader = Reader::new(&path, true);
        let mut found = runtime.block_on(reader.poll()).unwrap();
        for op in ops {
            match op {
                Op::Write(n) => {
                    add(&path, &text[written..written + n]);
                    written += n;
                }
                // A program ends its line before it changes files. It may be quicker than polls.
                Op::Rotate if path.exists() => {
                    let end = written + text[written..].find('\n').unwrap() + 1;
                    add(&path, &text[written..end]);
                    written = end;
                    rotate(&path);
                }
                Op::Rotate => {}
                Op::Poll => found.extend(runtime.block_on(reader.poll()).unwrap()),
                Op::Restart => reader.source = source(&path, true),
            }
        }
        let end = written + text[written..].find('\n').unwrap() + 1;
        add(&path, &text[written..end]);
        found.extend(runtime.block_on(reader.all()));
        let wanted: Vec<&str> = text[..end].lines().collect();
        prop_assert_eq!(found, wanted);
    }
}
