//! The miner on a few lines written for this: what merges, what does not, and what the ids are then.

use super::*;

fn miner() -> TemplateMiner {
    TemplateMiner::new(MinerConfig::default()).unwrap()
}

#[test]
fn a_column_of_many_words_becomes_a_variable_and_the_oldest_id_stays() {
    let mut miner = miner();
    let stream = miner.stream("mail");
    let ids: Vec<Observed> = ["red", "green", "blue", "white", "black", "grey"]
        .into_iter()
        .map(|colour| miner.observe(stream, format!("painted the {colour} wall").as_bytes()))
        .collect();
    assert_eq!(ids.iter().map(|o| o.is_new).collect::<Vec<_>>(), [true, true, true, false, false, false]);
    assert!(ids.iter().all(|o| miner.resolve(o.id) == ids[0].id));
    assert_eq!(ids[3].id, ids[0].id, "a merge is no new template");
    assert_eq!(miner.template(ids[2].id).as_deref(), Some("painted the <*> wall"));
    assert_eq!(miner.lines(ids[1].id), Some(6));
    assert_eq!(miner.n_templates(), 1);
}

#[test]
fn a_few_frequent_words_are_names_of_states_and_stay_apart() {
    let mut miner = miner();
    let stream = miner.stream("unit");
    let ids: std::collections::BTreeSet<TemplateId> = (0..60)
        .map(|i| ["starting", "running", "stopping"][i / 20])
        .chain(std::iter::once("failing"))
        .map(|state| miner.observe(stream, format!("unit is {state} now").as_bytes()).id)
        .collect();
    assert_eq!(ids.into_iter().map(|id| miner.resolve(id)).collect::<std::collections::BTreeSet<_>>().len(), 4);
}

#[test]
fn two_columns_of_many_words_become_variables() {
    let mut miner = miner();
    let stream = miner.stream("paint");
    let words = ["red", "green", "blue", "white", "black", "grey"];
    let ids: Vec<TemplateId> = words
        .iter()
        .flat_map(|a| words.iter().map(move |b| format!("mixed {a} with {b} today")))
        .map(|line| miner.observe(stream, line.as_bytes()).id)
        .collect();
    assert!(ids.iter().all(|id| miner.resolve(*id) == ids[0]));
    assert!(!miner.observe(stream, b"mixed pink with gold today").is_new);
}

#[test]
fn the_header_is_learned_and_early_ids_become_aliases() {
    let mut miner = miner();
    let stream = miner.stream("app");
    let messages = ["queue is empty", "shutting down", "cache is cold", "leader was lost"];
    let ids: Vec<TemplateId> = (0..300)
        .map(|i| {
            let line = format!("2024-02-01 10:{:02}:{:02} INFO [main] {}", i / 60, i % 60, messages[i % 4]);
            miner.observe(stream, line.as_bytes()).id
        })
        .collect();
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(miner.template(*id).as_deref(), Some(messages[i % 4]), "line {i}");
        assert_eq!(miner.resolve(*id), ids[296 + i % 4], "line {i}");
    }
    assert_eq!(miner.n_templates(), 4);
}

#[test]
fn the_same_message_in_json_logfmt_and_plain_text_is_one_template() {
    let mut miner = miner();
    let stream = miner.stream("app");
    let ids: Vec<TemplateId> =
        ["{\"level\":\"info\",\"msg\":\"disk is full\"}", "level=info msg=\"disk is full\"", "disk is full"]
            .into_iter()
            .map(|line| miner.observe(stream, line.as_bytes()).id)
            .collect();
    assert_eq!(ids, [ids[0]; 3]);
}

#[test]
fn what_was_forgotten_returns_and_is_not_new() {
    let config = MinerConfig { max_forms_per_stream: 64, ..MinerConfig::default() };
    let mut miner = TemplateMiner::new(config).unwrap();
    let stream = miner.stream("app");
    let letters = |mut n: usize| {
        let mut word = String::new();
        for _ in 0..3 {
            word.push(char::from(b'g' + (n % 20) as u8));
            n /= 20;
        }
        word
    };
    let first = miner.observe(stream, b"the one to remember");
    // No two lines share two words, so nothing merges; known lines between keep it from being a flood.
    for i in 0..200 {
        for _ in 0..4 {
            miner.observe(stream, b"usual business");
        }
        miner.observe(stream, format!("{} {} {}", letters(i), letters(i + 1000), letters(i + 2000)).as_bytes());
    }
    assert_eq!(miner.template(first.id), None, "it was forgotten");
    let again = miner.observe(stream, b"the one to remember");
    assert_eq!((again.id, again.is_new, again.returned), (first.id, false, true));
    assert!(miner.template(first.id).is_some());
    assert!(miner.n_templates() <= 64);
}

#[test]
fn streams_beyond_the_limit_share_one() {
    let mut miner = TemplateMiner::new(MinerConfig { max_streams: 2, ..MinerConfig::default() }).unwrap();
    let (a, b) = (miner.stream("a"), miner.stream("b"));
    assert!(a != b && miner.stream("a") == a);
    let c = miner.stream("c");
    assert!(c != a && c != b);
    assert_eq!(miner.stream("d"), c);
    assert_ne!(miner.observe(a, b"x").id, miner.observe(b, b"x").id, "the kind is part of the id");
}

#[test]
fn limits_that_are_too_small_are_refused_by_name() {
    let config = MinerConfig { max_tokens: 1, max_streams: 0, ..MinerConfig::default() };
    let problems = TemplateMiner::new(config).unwrap_err();
    assert_eq!(problems.problems().len(), 2);
}

#[test]
fn colours_and_marks_are_not_part_of_a_line() {
    let mut miner = miner();
    let stream = miner.stream("shop");
    let mut template = |line: &str| {
        let id = miner.observe(stream, line.as_bytes()).id;
        miner.template(id).unwrap()
    };
    assert_eq!(template("\u{1b}[32mlink up\u{1b}[0m"), "link up");
    assert_eq!(template("\u{1b}[32mlink down\u{1b}[0m"), "link down");
    assert_eq!(template("\u{feff}link up"), "link up");
    assert_eq!(template("\0\0link down"), "link down");
    // Coloured keys of logfmt, the title of a window, and colours that were escaped on their way.
    assert_eq!(template("\u{1b}[36mlevel\u{1b}[0m=info \u{1b}[36mmsg\u{1b}[0m=\"took order\" n=7"), "took order");
    assert_eq!(template("\u{1b}]0;shop\u{7}link up"), "link up");
    assert_eq!(
        template("{\"level\":\"\\u001b[31merror\\u001b[39m\",\"msg\":\"\\u001b[31mdisk full\\u001b[0m\"}"),
        "disk full"
    );
    // The message of Rust's `tracing` stands one level deeper.
    assert_eq!(
        template("{\"level\":\"INFO\",\"fields\":{\"message\":\"db is back\",\"n\":7},\"target\":\"a\"}"),
        "db is back"
    );
}

#[test]
fn a_coloured_header_is_peeled_off() {
    let mut miner = miner();
    let stream = miner.stream("shop");
    let mut last = None;
    for n in 0..40 {
        let line = format!(
            "\u{1b}[2m2026-01-01T00:00:{n:02}.000001Z\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m \u{1b}[2mshop::db\u{1b}[0m\u{1b}[2m:\u{1b}[0m stored order {n}"
        );
        last = Some(miner.observe(stream, line.as_bytes()).id);
    }
    assert_eq!(miner.template(last.unwrap()).as_deref(), Some("stored order <*>"));
}
