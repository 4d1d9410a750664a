//! When episodes begin, grow and end.

use super::*;

struct Rig {
    tracks: Tracks,
    config: EpisodeConfig,
    key: Key,
    second: i64,
}

impl Rig {
    fn new(config: EpisodeConfig) -> Self {
        let key = Key::new(&EntityId::new("web").unwrap(), "errors");
        Self { tracks: Tracks::default(), config, key, second: 0 }
    }

    fn look(&mut self, verdict: Verdict, nats: f64) -> Option<Anomaly> {
        self.second += 1;
        let detector = PartName::new("test").unwrap();
        let judge = Judge {
            detector: &detector,
            version: 1,
            config: &self.config,
            at: Timestamp::from_millis(self.second * 1_000),
        };
        let finding = Finding {
            verdict,
            nats,
            symptom: Symptom::Errors,
            direction: Direction::Up,
            onset: None,
            expected: 0.0,
            seen: 1.0,
            threshold: 0.5,
        };
        let mut out = Vec::new();
        self.tracks.judge(judge, &self.key, &finding, |onset| format!("since {onset}"), &mut out).unwrap();
        out.pop()
    }

    fn phase(&mut self, verdict: Verdict, nats: f64) -> Option<Phase> {
        self.look(verdict, nats).map(|anomaly| anomaly.phase)
    }
}

#[test]
fn an_episode_begins_grows_and_ends_under_one_name() {
    let mut rig = Rig::new(EpisodeConfig::default());
    assert_eq!(rig.look(Verdict::Bad, 12.0), None);
    let began = rig.look(Verdict::Bad, 12.0).unwrap();
    assert_eq!((began.phase, began.onset), (Phase::Began, Timestamp::from_millis(1_000)));
    assert_eq!(rig.look(Verdict::Bad, 13.0), None);
    let grew = rig.look(Verdict::Bad, 60.0).unwrap();
    assert_eq!((grew.phase, &grew.id), (Phase::Grew, &began.id));
    assert!(grew.score > began.score);
    for _ in 0..3 {
        assert_eq!(rig.look(Verdict::Good, 0.0), None);
    }
    let ended = rig.look(Verdict::Good, 0.0).unwrap();
    assert_eq!((ended.phase, ended.id, ended.score), (Phase::Ended, began.id, grew.score));
}

#[test]
fn flapping_around_the_limit_begins_nothing_and_ends_nothing() {
    let mut rig = Rig::new(EpisodeConfig::default());
    for _ in 0..50 {
        assert_eq!(rig.phase(Verdict::Bad, 12.0), None);
        assert_eq!(rig.phase(Verdict::Unsure, 8.0), None);
    }
    rig.look(Verdict::Bad, 12.0);
    assert_eq!(rig.phase(Verdict::Bad, 12.0), Some(Phase::Began));
    for _ in 0..50 {
        assert_eq!(rig.phase(Verdict::Good, 0.0), None);
        assert_eq!(rig.phase(Verdict::Good, 0.0), None);
        assert_eq!(rig.phase(Verdict::Bad, 12.0), None);
    }
}

#[test]
fn begin_secs_waits_however_many_looks_there_are() {
    let mut rig = Rig::new(EpisodeConfig { begin_secs: 4.0, ..EpisodeConfig::default() });
    for _ in 0..4 {
        assert_eq!(rig.phase(Verdict::Bad, 12.0), None);
    }
    assert_eq!(rig.phase(Verdict::Bad, 12.0), Some(Phase::Began));
}

#[test]
fn learning_rests_inside_an_episode_but_not_for_ever() {
    let mut rig = Rig::new(EpisodeConfig { relearn_secs: 100.0, relearn_scrapes: 2, ..EpisodeConfig::default() });
    let at = |second: i64| Timestamp::from_millis(second * 1_000);
    assert!(rig.tracks.may_learn(&rig.key, at(0), &rig.config));
    rig.look(Verdict::Bad, 12.0);
    assert!(!rig.tracks.may_learn(&rig.key, at(1), &rig.config));
    rig.look(Verdict::Bad, 12.0);
    assert!(!rig.tracks.may_learn(&rig.key, at(90), &rig.config));
    assert!(!rig.tracks.may_learn(&rig.key, at(120), &rig.config), "it was not judged since it began");
    rig.look(Verdict::Bad, 12.0);
    rig.look(Verdict::Bad, 12.0);
    assert!(!rig.tracks.may_learn(&rig.key, at(90), &rig.config));
    assert!(rig.tracks.may_learn(&rig.key, at(120), &rig.config));
}

#[test]
fn feedback_moves_limits_within_bounds() {
    let mut rig = Rig::new(EpisodeConfig::default());
    rig.look(Verdict::Bad, 12.0);
    let id = rig.look(Verdict::Bad, 12.0).unwrap().id;
    for _ in 0..100 {
        rig.tracks.feedback(&Feedback::FalseAlarm { anomaly: id.clone() });
    }
    assert_eq!(rig.tracks.factor(&rig.key), 4.0);
    for _ in 0..100 {
        rig.tracks.feedback(&Feedback::Missed { entity: rig.key.entity.clone(), at: Timestamp::default() });
    }
    assert_eq!(rig.tracks.factor(&rig.key), 0.5);
}

#[test]
fn beyond_the_budget_of_a_day_an_episode_is_told_as_support_and_says_so() {
    let mut rig = Rig::new(EpisodeConfig { begin_looks: 1, end_looks: 1, most_a_day: 3, ..EpisodeConfig::default() });
    let episode = |rig: &mut Rig, nats: f64| {
        let began = rig.look(Verdict::Bad, nats).unwrap();
        let ended = rig.look(Verdict::Good, 0.0).unwrap();
        assert_eq!((began.phase, ended.phase, began.score), (Phase::Began, Phase::Ended, ended.score));
        began
    };
    for _ in 0..3 {
        assert_eq!(episode(&mut rig, 30.0).score, score_of(30.0));
    }
    let fourth = episode(&mut rig, 30.0);
    assert!(fourth.score < score_of(18.0), "{:?} opens an incident alone", fourth.score);
    assert!(fourth.because.contains("3 of its kind came here within a day"), "{}", fourth.because);
    // One that grows beyond what the day has seen counts in full after all.
    assert!(rig.look(Verdict::Bad, 30.0).unwrap().score < score_of(18.0));
    let grown = rig.look(Verdict::Bad, 60.0).unwrap();
    assert_eq!((grown.phase, grown.score), (Phase::Grew, score_of(60.0)));
}

#[test]
fn complaints_of_both_kinds_cancel_out_and_a_missed_report_gives_the_budget_back() {
    let mut rig = Rig::new(EpisodeConfig { begin_looks: 1, end_looks: 1, most_a_day: 1, ..EpisodeConfig::default() });
    let first = rig.look(Verdict::Bad, 30.0).unwrap();
    rig.look(Verdict::Good, 0.0).unwrap();
    assert!(rig.look(Verdict::Bad, 30.0).unwrap().score < first.score);
    rig.look(Verdict::Good, 0.0).unwrap();
    let missed = || Feedback::Missed { entity: EntityId::new("web").unwrap(), at: Timestamp::default() };
    rig.tracks.feedback(&missed());
    assert_eq!(rig.tracks.factor(&rig.key), 0.8);
    let again = rig.look(Verdict::Bad, 30.0).unwrap();
    assert_eq!(again.score, first.score);
    rig.tracks.feedback(&Feedback::FalseAlarm { anomaly: again.id });
    assert!((rig.tracks.factor(&rig.key) - 1.0).abs() < 1e-12);
}
