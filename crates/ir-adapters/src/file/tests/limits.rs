//! A real limit of the system: a process whose files may not grow any more.

use super::*;

const CHILD: &str = "IR_TEST_LIMITED_JOURNAL";

/// Run by the test below in a process of its own; does nothing without its variable.
#[tokio::test]
async fn limited_writer() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let journal = FileJournal::open(Path::new(&dir)).unwrap();
    let mut pen = pen(&journal).await;
    for n in 0..10_000_u64 {
        match pen.append(&journal, &[500]).await {
            Ok(_) => assert_eq!(pen.written.len() as u64, n + 1),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unknown);
                let again = journal.append(&ctx(), &pen.batch(&[0])).await.unwrap_err();
                assert_eq!(again.kind(), ErrorKind::Stopped);
                println!("\nacknowledged {n} then {error}");
                return;
            }
        }
    }
    panic!("the limit was never met");
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_may_not_grow_any_more_stops_the_writer_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // The shell ignores the signal that would kill the process and sets the limit (in blocks of 512 bytes).
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "file::tests::limits::limited_writer", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let line = told.lines().find(|line| line.starts_with("acknowledged ")).unwrap_or_else(|| panic!("{told}"));
    let n: usize = line.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(n > 10 && line.contains("File too large"), "{line}");

    let journal = FileJournal::open(dir.path()).unwrap();
    assert_eq!(read_all(&journal).await.len(), n);
}
