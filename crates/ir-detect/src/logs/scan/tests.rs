//! What is constant and what varies, on lines written for this.

use super::super::form::{self, Form};
use super::*;

fn template(message: &str) -> String {
    let mut pieces = Vec::new();
    scan(message.as_bytes(), 256, &mut pieces);
    Form::of(message.as_bytes(), &pieces).render(message.as_bytes(), &pieces)
}

fn hash(message: &str) -> u128 {
    let mut pieces = Vec::new();
    scan(message.as_bytes(), 256, &mut pieces);
    form::exact(&pieces)
}

#[test]
fn variables_are_known_by_their_looks() {
    for (message, wanted) in [
        ("retry 3 of 5", "retry <*> of <*>"),
        // Paths, host names, addresses with letters, user names.
        ("cannot open /etc/motd: denied", "cannot open <*>: denied"),
        ("lookup of mail.example.org failed", "lookup of <*> failed"),
        ("link ab:cd:ef:01:fe:dc up", "link <*> up"),
        ("session closed for user carol", "session closed for user <*>"),
        ("denied login for carol from 10.0.0.1", "denied login for <*> from <*>"),
        // Names in code and one slash between words stay.
        ("intent.action.SCREEN_ON received, read/write", "intent.action.SCREEN_ON received, read/write"),
        // Keys stay with their digits, values go, in quotes and brackets too.
        ("r24=0x1f mode=fast name=\"two words\" ws=Source{77} end", "r24=<*> mode=<*> name=<*> ws=<*> end"),
        // Dates beside numbers.
        ("started at Fri Jun 24 18:55:11 2005", "started at <*>"),
        ("May I ask", "May I ask"),
        // Scripts without blanks: the number varies and the sentence stays. Others keep their words.
        ("用户42登录成功", "用户<*>登录成功"),
        ("ユーザー42がログイン, 注文id7を保存", "ユーザー<*>がログイン, 注文<*>を保存"),
        ("ผู้ใช้42เข้าสู่ระบบ", "ผู้ใช้<*>เข้าสู่ระบบ"),
        ("사용자42님 로그인", "사용자<*>님 로그인"),
        ("Größe7 и файл8 Việt9", "<*> и <*>"),
        // Lists of any length.
        ("nodes [a1, a2, a3] left", "nodes [<*>] left"),
        // Dots that only fill the line.
        ("machine check.........0", "machine check.........<*>"),
        ("", ""),
    ] {
        assert_eq!(template(message), wanted, "{message}");
    }
}

#[test]
fn lines_of_one_statement_share_a_form() {
    for (one, other) in [
        ("from 10.0.0.1 () at 7", "from 10.0.0.1 (a.example.org) at 7"),
        ("ids: [1]", "ids: [1, 2, 3]"),
        ("took <1 sec", "took 00:17"),
        ("sent 5 KB", "sent 12 MB"),
        ("state true", "state false"),
        ("a  b", "a b"),
        ("x=\"\" y=1", "x=\"long text\" y=2"),
        ("x=\"long text\" y=1", "x=short y=2"),
    ] {
        assert_eq!(hash(one), hash(other), "{one} | {other}");
    }
    for (one, other) in [("rhost=", "rhost=a"), ("started", "stopped"), ("a: b", "a b"), ("a1=2", "b1=2")] {
        assert_ne!(hash(one), hash(other), "{one} | {other}");
    }
}

#[test]
fn repeated_groups_become_one() {
    let of = |message: &str| {
        let mut pieces = Vec::new();
        scan(message.as_bytes(), 256, &mut pieces);
        Form::of(message.as_bytes(), &pieces).hash()
    };
    assert_eq!(of("sets n1 <ok> n2 <ok> n3 <ok>"), of("sets n1 <ok> n2 <ok>"));
    assert_ne!(of("sets n1 <ok>"), of("sets n1 <bad>"));
}

#[test]
fn pieces_never_exceed_the_cap() {
    for message in ["a ".repeat(5000), "a=\"\" ".repeat(2000), "x=y(z) ".repeat(2000), "()".repeat(4000)] {
        let mut pieces = Vec::new();
        scan(message.as_bytes(), 16, &mut pieces);
        assert!(pieces.len() <= 16, "{} pieces", pieces.len());
        assert!(pieces.iter().all(|p| p.gap <= p.start && p.start <= p.end && p.end as usize <= message.len()));
    }
}
