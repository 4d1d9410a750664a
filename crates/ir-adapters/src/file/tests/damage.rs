//! Damage at rest: every byte flipped, every length cut.

use super::*;
use proptest::prelude::*;

/// Each segment of `dir` with its first record and its content.
fn segments(dir: &Path) -> Vec<(u64, PathBuf, Vec<u8>)> {
    let found = Layout::new(dir).list_segments().unwrap();
    found.into_iter().map(|(seq, path)| (seq, path.clone(), std::fs::read(path).unwrap())).collect()
}

/// The record that holds the byte at `at`.
fn record_at(first_seq: u64, content: &[u8], at: usize) -> u64 {
    first_seq + content[..at].iter().filter(|byte| **byte == b'\n').count() as u64
}

async fn flips_are_found(flip: fn(u8) -> u8) {
    let dir = folder();
    sample(dir.path()).await;
    let whole = verify(dir.path()).unwrap();
    assert_eq!(whole.fault, None);
    let all = segments(dir.path());
    assert!(all.len() > 2, "the sample has {} segments", all.len());
    let last = &all.last().unwrap().1;
    for (first_seq, path, content) in &all {
        let mut changed = content.clone();
        for at in 0..content.len() {
            changed[at] = flip(content[at]);
            std::fs::write(path, &changed).unwrap();
            let fault = verify(dir.path()).unwrap().fault.unwrap_or_else(|| panic!("byte {at} of {first_seq}"));
            assert_eq!(fault.seq, record_at(*first_seq, content, at), "byte {at} of {first_seq}: {fault}");
            // What was acknowledged is never cut to make the journal look sound: every line break, and every seventh byte. Opening
            // finds it in the last segment, and whoever reads a record of an older one.
            if at % 7 == 0 || content[at] == b'\n' {
                let error = match FileJournal::open(dir.path()) {
                    Err(error) => error,
                    Ok(journal) => {
                        assert!(path != last, "byte {at} of the last segment");
                        ir_core::journal::verify(&ctx(), &journal).await.unwrap_err()
                    }
                };
                let named = format!("record {} ", fault.seq);
                assert!(error.message().contains(&named), "byte {at} of {first_seq}: {error}");
            }
            changed[at] = content[at];
        }
        std::fs::write(path, content).unwrap();
    }
    assert_eq!(verify(dir.path()).unwrap(), whole);
}

#[tokio::test]
async fn every_byte_with_its_lowest_bit_flipped_names_its_record() {
    flips_are_found(|byte| byte ^ 1).await;
}

#[tokio::test]
async fn every_byte_set_to_another_case_names_its_record() {
    flips_are_found(|byte| byte ^ 0x20).await;
}

#[tokio::test]
async fn every_byte_made_a_nul_names_its_record() {
    flips_are_found(|byte| if byte == 0 { 1 } else { 0 }).await;
}

#[tokio::test]
async fn every_byte_made_a_line_break_names_its_record() {
    flips_are_found(|byte| if byte == b'\n' { b' ' } else { b'\n' }).await;
}

#[tokio::test]
async fn a_changed_blob_is_found() {
    let dir = folder();
    let written = sample(dir.path()).await;
    let blob = std::fs::read_dir(dir.path().join("blobs")).unwrap().next().unwrap().unwrap().path();
    let content = std::fs::read(&blob).unwrap();
    let holder = written.iter().find(|r| std::str::from_utf8(&r.bytes).unwrap().contains("spilled")).unwrap().seq;
    for at in [0, 1, content.len() / 2, content.len() - 1] {
        let mut changed = content.clone();
        changed[at] ^= 1;
        std::fs::write(&blob, changed).unwrap();
        assert_eq!(verify(dir.path()).unwrap().fault.unwrap().seq, holder);
    }
    std::fs::remove_file(&blob).unwrap();
    assert!(verify(dir.path()).unwrap().fault.unwrap().what.contains("missing"));
    std::fs::write(&blob, &content).unwrap();
    assert_eq!(verify(dir.path()).unwrap().fault, None);
}

#[tokio::test]
async fn a_missing_segment_or_record_is_named() {
    let dir = folder();
    sample(dir.path()).await;
    let all = segments(dir.path());
    std::fs::remove_file(&all[1].1).unwrap();
    assert_eq!(verify(dir.path()).unwrap().fault.unwrap().seq, all[1].0);
    assert!(FileJournal::open(dir.path()).is_err());
    std::fs::write(&all[1].1, &all[1].2).unwrap();

    // A whole line taken out, and two lines that changed places.
    let (first_seq, path, content) = &all[0];
    let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    assert!(lines.len() > 2);
    std::fs::write(path, lines[1..].concat()).unwrap();
    assert_eq!(verify(dir.path()).unwrap().fault.unwrap().seq, *first_seq);
    std::fs::write(path, [&lines[1..2], &lines[..1], &lines[2..]].concat().concat()).unwrap();
    assert_eq!(verify(dir.path()).unwrap().fault.unwrap().seq, *first_seq);
}

#[tokio::test]
async fn a_tail_cut_anywhere_is_repaired_and_whole_appends_stay() {
    let dir = folder();
    let journal = FileJournal::open(dir.path()).unwrap();
    let mut pen = pen(&journal).await;
    let batches = [&[10][..], &[0, 30, 5], &[20_000, 3], &[1]];
    // How many records and bytes are complete after each append.
    let mut complete = vec![(0, 0)];
    for sizes in batches {
        pen.append(&journal, sizes).await.unwrap();
        let n_bytes = pen.written.iter().map(|record| record.bytes.len() + 66).sum::<usize>();
        complete.push((pen.written.len(), n_bytes));
    }
    drop(journal);
    let path = Layout::new(dir.path()).segment(1);
    let content = std::fs::read(&path).unwrap();
    assert_eq!(content.len(), complete.last().unwrap().1);

    for len in 0..=content.len() {
        // Bare, and as a disk leaves it that had reserved the sectors behind.
        for nuls in [0, 4096] {
            let mut cut = content[..len].to_vec();
            cut.resize(len + nuls, 0);
            std::fs::write(&path, &cut).unwrap();
            let (n_records, n_bytes) = *complete.iter().rev().find(|(_, n_bytes)| *n_bytes <= len).unwrap();
            let torn = n_bytes < cut.len();
            let report = verify(dir.path()).unwrap();
            assert_eq!(report.fault.is_some(), torn, "cut at {len}");
            if let Some(fault) = report.fault {
                assert!(fault.what.contains("damaged after record"), "cut at {len}: {fault}");
            }

            let reader = FileJournal::open_read_only(dir.path()).unwrap();
            assert_eq!(read_all(&reader).await.len(), n_records, "cut at {len}");
            let journal = FileJournal::open(dir.path()).unwrap_or_else(|error| panic!("cut at {len}: {error}"));
            assert_eq!(read_all(&journal).await, pen.written[..n_records], "cut at {len}");
            let lease = journal.claim(&ctx(), &holder()).await.unwrap();
            let bytes = (cut.len() - n_bytes) as u64;
            assert_eq!(lease.repaired, torn.then_some(TailRepair { seq: n_records as u64 + 1, bytes }));
            assert_eq!(journal.claim(&ctx(), &holder()).await.unwrap().repaired, None, "it is told once");
            drop(journal);
            assert_eq!(verify(dir.path()).unwrap().fault, None, "cut at {len}");
        }
    }
}

#[tokio::test]
async fn damage_in_front_of_sound_records_is_never_cut() {
    let dir = folder();
    let journal = FileJournal::open(dir.path()).unwrap();
    let mut pen = pen(&journal).await;
    for size in [4000, 4000, 10] {
        pen.append(&journal, &[size]).await.unwrap();
    }
    drop(journal);
    let path = Layout::new(dir.path()).segment(1);
    let mut content = std::fs::read(&path).unwrap();
    content[4608..5120].fill(0);
    std::fs::write(&path, &content).unwrap();
    let error = FileJournal::open(dir.path()).unwrap_err();
    assert!(error.message().contains("record 2 is damaged"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), content, "nothing was changed");

    // The same sector as the end of what was written: a crash left it, and it is cut.
    let third = content.len() - pen.written[2].bytes.len() - 66;
    std::fs::write(&path, &content[..third]).unwrap();
    let journal = FileJournal::open(dir.path()).unwrap();
    assert_eq!(read_all(&journal).await, pen.written[..1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_garbage_is_refused_or_cut_and_never_a_panic(tail in prop::collection::vec(any::<u8>(), 0..400), keep in 0_usize..900) {
        let dir = folder();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let written = runtime.block_on(async {
            let journal = FileJournal::open(dir.path()).unwrap();
            let mut pen = pen(&journal).await;
            pen.append(&journal, &[50, 3]).await.unwrap();
            pen.append(&journal, &[9]).await.unwrap();
            pen.written
        });
        let path = Layout::new(dir.path()).segment(1);
        let mut content = std::fs::read(&path).unwrap();
        content.truncate(keep);
        content.extend(&tail);
        std::fs::write(&path, &content).unwrap();
        verify(dir.path()).unwrap();
        if let Ok(journal) = FileJournal::open(dir.path()) {
            let found = runtime.block_on(read_all(&journal));
            prop_assert!(written.starts_with(&found), "a record nobody wrote came up");
        }
    }
}
