//! The template miner under hostile and odd input, over restarts, and on a small set of lines written for this.
#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on has failed")]

use ir_detect::logs::{MinerConfig, MinerSnapshot, Observed, TemplateId, TemplateMiner};
use proptest::prelude::*;

fn miner() -> TemplateMiner {
    TemplateMiner::new(MinerConfig::default()).unwrap()
}

fn read(miner: &mut TemplateMiner, lines: &[Vec<u8>]) -> Vec<Observed> {
    let stream = miner.stream("app");
    lines.iter().map(|line| miner.observe(stream, line)).collect()
}

/// A snapshot that went through its stored form.
fn stored(miner: &TemplateMiner) -> MinerSnapshot {
    let text = serde_json::to_string(&miner.snapshot()).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Random words without digits, never the same twice in a row.
fn word(seed: &mut u64) -> String {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    let mut rest = *seed;
    (0..7)
        .map(|_| {
            let letter = char::from(b'g' + (rest % 20) as u8);
            rest /= 20;
            letter
        })
        .collect()
}

/// Lines as logs have them: a few statements, with and without headers, and bytes of any kind.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec!["red", "green", "blue", "white", "black", "grey", "carol", "dave"]);
    prop_oneof![
        4 => (name.clone(), 0u32..9999).prop_map(|(n, i)| format!("painted the {n} wall in {i} ms").into_bytes()),
        3 => (0u32..60, name.clone()).prop_map(|(s, n)| format!("2024-02-01 10:00:{s:02} INFO [main] found {n}, left").into_bytes()),
        2 => name.prop_map(|n| format!("{{\"level\":\"info\",\"msg\":\"hello {n}\"}}").into_bytes()),
        2 => "[a-f \\[\\](){}=:,;\"'|<>/.@*0-9-]{0,60}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_anywhere_changes_nothing(lines in prop::collection::vec(line(), 0..400), cut in 0usize..400) {
        let cut = cut.min(lines.len());
        let mut whole = miner();
        let expected = read(&mut whole, &lines);
        let mut before = miner();
        let mut found = read(&mut before, &lines[..cut]);
        let mut after = TemplateMiner::restore(stored(&before)).unwrap();
        found.extend(read(&mut after, &lines[cut..]));
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(after.snapshot(), whole.snapshot());
        for seen in &expected {
            prop_assert_eq!(after.resolve(seen.id), whole.resolve(seen.id));
            prop_assert_eq!(after.template(seen.id), whole.template(seen.id));
        }
    }

    #[test]
    fn a_replay_gives_the_same_ids_and_known_lines_are_never_new(lines in prop::collection::vec(line(), 0..300)) {
        let (mut one, mut two) = (miner(), miner());
        prop_assert_eq!(read(&mut one, &lines), read(&mut two, &lines));
        prop_assert_eq!(serde_json::to_string(&one.snapshot()).unwrap(), serde_json::to_string(&two.snapshot()).unwrap());
        let mut seen = std::collections::BTreeSet::new();
        for observed in read(&mut miner(), &lines) {
            prop_assert_eq!(observed.is_new && seen.contains(&observed.id), false);
            seen.insert(observed.id);
        }
    }
}

#[test]
fn a_restart_in_the_middle_of_forgetting_changes_nothing() {
    let config = MinerConfig { max_forms_per_stream: 128, max_bytes: 1 << 20, ..MinerConfig::default() };
    let mut seed = 7;
    let lines: Vec<Vec<u8>> = (0..6000)
        .map(|i| match i % 3 {
            0 => format!("{} {} {}", word(&mut seed), word(&mut seed), word(&mut seed)),
            1 => format!("usual business {i}"),
            _ => format!("now {} is {}", word(&mut seed), i),
        })
        .map(String::into_bytes)
        .collect();
    let mut whole = TemplateMiner::new(config.clone()).unwrap();
    let expected = read(&mut whole, &lines);
    for cut in [300, 2999, 5000] {
        let mut before = TemplateMiner::new(config.clone()).unwrap();
        read(&mut before, &lines[..cut]);
        let mut after = TemplateMiner::restore(stored(&before)).unwrap();
        assert_eq!(read(&mut after, &lines[cut..]), expected[cut..], "cut at {cut}");
        assert_eq!(after.bytes(), whole.bytes());
    }
}

#[test]
fn empty_long_and_broken_lines_have_templates() {
    let mut miner = miner();
    let stream = miner.stream("app");
    let long = b"word 7 ".repeat(10_000_000 / 7);
    let odd: [&[u8]; 9] = [b"", b"   ", b"\xff\xfe\x00\x80", &long, b"{", b"{\"msg\":", b"[[[[[[", b"=\"", b"\n\n\xc3"];
    let first: Vec<Observed> = odd.iter().map(|line| miner.observe(stream, line)).collect();
    let again: Vec<Observed> = odd.iter().map(|line| miner.observe(stream, line)).collect();
    for (i, (first, again)) in first.iter().zip(&again).enumerate() {
        assert_eq!(miner.resolve(first.id), miner.resolve(again.id), "line {i}");
        assert!(!again.is_new && miner.template(again.id).is_some(), "line {i}");
    }
    assert!(miner.bytes() < 200_000, "{} bytes after a line of 10 MB", miner.bytes());
}

#[test]
fn a_flood_of_unique_lines_stays_within_its_memory_and_ends() {
    let config = MinerConfig { max_forms_per_stream: 2000, ..MinerConfig::default() };
    let mut miner = TemplateMiner::new(config).unwrap();
    let stream = miner.stream("app");
    let known = miner.observe(stream, b"a well known line");
    let (mut seed, mut most) = (99, 0);
    for i in 0..120_000 {
        let line = format!("{} {} {} {}", word(&mut seed), word(&mut seed), word(&mut seed), word(&mut seed));
        miner.observe(stream, line.as_bytes());
        if i % 1000 == 0 {
            most = most.max(miner.bytes());
            assert_eq!(miner.observe(stream, b"a well known line").id, known.id);
        }
    }
    assert!(most < 8 << 20, "{most} bytes at most");
    assert!(miner.n_templates() <= 2000);
    // When the flood is over, new statements are told apart again.
    for _ in 0..3000 {
        miner.observe(stream, b"a well known line");
    }
    assert!(miner.observe(stream, b"something nobody has ever said").is_new);
}

#[test]
fn many_streams_stay_within_the_bytes_they_may_take() {
    let config = MinerConfig { max_bytes: 2 << 20, ..MinerConfig::default() };
    let mut miner = TemplateMiner::new(config).unwrap();
    let streams: Vec<_> = (0..40).map(|i| miner.stream(&format!("service {i}"))).collect();
    let mut seed = 5;
    for _ in 0..200 {
        for stream in &streams {
            let line = format!("{} {} {}", word(&mut seed), word(&mut seed), word(&mut seed));
            miner.observe(*stream, line.as_bytes());
            miner.observe(*stream, b"usual business");
        }
    }
    // The table of ids is not in the limit of the streams; it is bounded by what they hold.
    assert!(miner.bytes() < 4 << 20, "{} bytes", miner.bytes());
}

#[test]
fn a_snapshot_of_another_version_is_refused() {
    let text = serde_json::to_string(&miner().snapshot()).unwrap().replacen("\"version\":1", "\"version\":99", 1);
    let error = TemplateMiner::restore(serde_json::from_str(&text).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ir_core::ErrorKind::InvalidInput);
}

/// What two statements of each of these programs write; the number is the statement.
const LINES: &[(&str, &[(usize, &str)])] = &[
    (
        "mail",
        &[
            (1, "Jun  3 10:00:01 mx1 postfix/smtpd[811]: connect from mail.example.org[10.0.0.9]"),
            (2, "Jun  3 10:00:02 mx1 postfix/smtpd[811]: lost connection after DATA from mail.example.org[10.0.0.9]"),
            (1, "Jun  3 10:00:07 mx1 postfix/smtpd[812]: connect from unknown.example.net[10.1.0.9]"),
            (3, "Jun  3 10:00:09 mx1 sshd[90]: Accepted publickey for carol from 10.0.0.7 port 50122 ssh2"),
            (3, "Jun  3 10:01:09 mx1 sshd[91]: Accepted publickey for dave from 10.0.0.8 port 50178 ssh2"),
            (4, "Jun  3 10:01:19 mx1 systemd[1]: Started Daily cleanup of temporary directories."),
            (2, "Jun  3 10:02:02 mx1 postfix/smtpd[813]: lost connection after DATA from a.example.org[10.4.0.9]"),
        ],
    ),
    (
        "shop",
        &[
            (1, "2024-02-01T10:00:00.120Z WARN [pool-3] shop.cart.Cart: slow query took 812 ms (limit=500)"),
            (1, "2024-02-01T10:00:04.730Z WARN [pool-1] shop.cart.Cart: slow query took 1.2 s (limit=500)"),
            (
                2,
                "2024-02-01T10:00:05.001Z INFO [main] shop.stock.Stock: reserved items [17, 4, 88] for order 9f86d081884c7d65",
            ),
            (2, "2024-02-01T10:00:05.931Z INFO [main] shop.stock.Stock: reserved items [3] for order 60303ae22b998861"),
            (
                3,
                "2024-02-01T10:00:06.000Z ERROR [main] shop.pay.Pay: payment failed: card=visa reason=\"insufficient funds\"",
            ),
            (3, "2024-02-01T10:00:06.400Z ERROR [main] shop.pay.Pay: payment failed: card=amex reason=expired"),
        ],
    ),
];

#[test]
fn statements_are_told_apart_under_their_headers() {
    for (program, lines) in LINES {
        let mut miner = miner();
        let stream = miner.stream(program);
        // Three times over: the header is learned from the first lines, and early ids must lead to the same templates.
        let ids: Vec<(usize, TemplateId)> = (0..3)
            .flat_map(|_| lines.iter())
            .map(|(statement, line)| (*statement, miner.observe(stream, line.as_bytes()).id))
            .collect();
        for (i, (statement, id)) in ids.iter().enumerate() {
            for (j, (other, other_id)) in ids.iter().enumerate() {
                let (one, two) = (miner.resolve(*id), miner.resolve(*other_id));
                assert_eq!(
                    one == two,
                    statement == other,
                    "{program}: {i} {:?} and {j} {:?}",
                    miner.template(one),
                    miner.template(two)
                );
            }
        }
    }
}
