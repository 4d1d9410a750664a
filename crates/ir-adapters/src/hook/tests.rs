//! Attacks on the door, and the standard's own example.

use std::collections::BTreeMap;

use ir_core::{Secret, Timestamp};
use proptest::prelude::*;

use super::*;

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const NOW: i64 = 1_614_265_330;

type Headers = BTreeMap<&'static str, String>;

fn at(unix_secs: i64) -> Timestamp {
    Timestamp::from_millis(unix_secs * 1000)
}

fn key() -> SigningKey {
    SigningKey::from_text(&Secret::new(KEY)).unwrap()
}

fn guard(window: ReplayWindow) -> HookGuard {
    HookGuard::new(HookAuth::Signed(vec![key()]), window)
}

fn signed(id: &str, unix_secs: i64, body: &[u8]) -> Headers {
    let signature = key().sign(id, unix_secs, body);
    [("webhook-id", id.to_owned()), ("webhook-timestamp", unix_secs.to_string()), ("webhook-signature", signature)]
        .into()
}

fn admit<'a>(guard: &'a HookGuard, now: i64, headers: &Headers, body: &[u8]) -> Result<Admission<'a>, Refusal> {
    guard.admit(at(now), |name| headers.get(name).map(String::as_str), body)
}

#[test]
fn the_example_of_the_standard_is_signed_as_it_says() {
    // From the test vectors that the libraries of Standard Webhooks share.
    let signature = key().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", NOW, BODY);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn what_is_signed_right_is_admitted_once() {
    let guard = guard(ReplayWindow::default());
    let headers = signed("a", NOW, BODY);
    admit(&guard, NOW, &headers, BODY).unwrap().keep();
    assert_eq!(admit(&guard, NOW + 1, &headers, BODY).unwrap_err(), Refusal::Repeated);
    // Signed anew, and still the same delivery.
    assert_eq!(admit(&guard, NOW + 1, &signed("a", NOW + 1, BODY), BODY).unwrap_err(), Refusal::Repeated);
    assert!(admit(&guard, NOW + 1, &signed("b", NOW, BODY), BODY).is_ok());
}

#[test]
fn what_was_not_taken_may_come_again() {
    let guard = guard(ReplayWindow::default());
    let headers = signed("a", NOW, BODY);
    drop(admit(&guard, NOW, &headers, BODY).unwrap());
    admit(&guard, NOW, &headers, BODY).unwrap().keep();
    assert!(admit(&guard, NOW, &headers, BODY).is_err());
}

#[test]
fn two_at_the_same_time_are_not_both_admitted() {
    let guard = guard(ReplayWindow::default());
    let headers = signed("a", NOW, BODY);
    let first = admit(&guard, NOW, &headers, BODY).unwrap();
    assert_eq!(admit(&guard, NOW, &headers, BODY).unwrap_err(), Refusal::Repeated);
    first.keep();
}

#[test]
fn keys_can_be_changed_without_a_gap_and_unknown_versions_do_no_harm() {
    let other = SigningKey::from_bytes(&[7; 32]).unwrap();
    let guard = HookGuard::new(HookAuth::Signed(vec![other, key()]), ReplayWindow::default());
    let mut headers = signed("a", NOW, BODY);
    let own = headers["webhook-signature"].clone();
    headers.insert("webhook-signature", format!("v2,abc v1,AAAA {own}"));
    assert!(admit(&guard, NOW, &headers, BODY).is_ok());
}

#[test]
fn a_full_window_admits_nothing_and_empties_with_time() {
    let guard = guard(ReplayWindow { tolerance_secs: 10, max_ids: 3 });
    for id in ["a", "b", "c"] {
        admit(&guard, NOW, &signed(id, NOW, BODY), BODY).unwrap().keep();
    }
    assert_eq!(admit(&guard, NOW, &signed("d", NOW, BODY), BODY).unwrap_err(), Refusal::Full);
    assert!(admit(&guard, NOW + 11, &signed("d", NOW + 11, BODY), BODY).is_ok());
}

/// One attack of each kind, made from a sound request.
fn attack(kind: u32, n: u64, headers: &mut Headers, body: &mut [u8]) -> i64 {
    let id = format!("attack-{n}");
    *headers = signed(&id, NOW, body);
    let at = usize::try_from(n).unwrap_or_default();
    match kind {
        // Another key, of every length a key may have.
        0 => {
            let key = SigningKey::from_bytes(&vec![(n % 251) as u8; 24 + at % 41]).unwrap();
            headers.insert("webhook-signature", key.sign(&id, NOW, body));
        }
        // Something is missing, or empty.
        1 => {
            let name = ["webhook-id", "webhook-timestamp", "webhook-signature"][at % 3];
            if n.is_multiple_of(2) {
                headers.remove(name);
            } else {
                headers.insert(name, String::new());
            }
        }
        // Too old or from the future.
        2 => {
            let off = 301 + (n % 100_000) as i64;
            let when = if n.is_multiple_of(2) { NOW - off } else { NOW + off };
            *headers = signed(&id, when, body);
        }
        // The content was changed after it was signed.
        3 => {
            let at = at % body.len();
            body[at] ^= 1 << (n % 8);
        }
        // Another id, or another time, under the same signature.
        4 => {
            headers.insert("webhook-id", format!("other-{n}"));
        }
        5 => {
            headers.insert("webhook-timestamp", (NOW - 1 - (n % 200) as i64).to_string());
        }
        // A signature that is cut, or has a changed character.
        6 => {
            let signature = headers["webhook-signature"].clone();
            let cut = if n.is_multiple_of(2) {
                signature[..at % signature.len()].to_owned()
            } else {
                let at = 3 + at % (signature.len() - 4);
                let other = if signature.as_bytes()[at] == b'A' { "B" } else { "A" };
                format!("{}{other}{}", &signature[..at], &signature[at + 1..])
            };
            headers.insert("webhook-signature", cut);
        }
        // The dots between the parts are moved: an id that swallows the time.
        _ => {
            let (id, rest) = (format!("{id}.{NOW}"), NOW.to_string());
            headers.insert("webhook-id", id);
            headers.insert("webhook-timestamp", rest);
        }
    }
    NOW
}

#[test]
fn of_a_hundred_thousand_attacks_none_is_admitted() {
    let guard = guard(ReplayWindow::default());
    let taken = signed("taken", NOW, BODY);
    admit(&guard, NOW, &taken, BODY).unwrap().keep();
    let mut admitted = 0;
    for n in 0..100_000_u64 {
        let (mut headers, mut body) = (Headers::new(), BODY.to_vec());
        let kind = u32::try_from(n % 9).unwrap();
        if kind == 8 {
            admitted += u32::from(admit(&guard, NOW + (n % 300) as i64, &taken, BODY).is_ok());
            continue;
        }
        let now = attack(kind, n, &mut headers, &mut body);
        admitted += u32::from(admit(&guard, now, &headers, &body).is_ok());
    }
    assert_eq!(admitted, 0);
    // The attacks have left no trace: what is sound still gets in.
    assert!(admit(&guard, NOW, &signed("sound", NOW, BODY), BODY).is_ok());
}

#[test]
fn a_token_must_be_the_very_one() {
    let token = "a-token-of-some-length";
    let guard = HookGuard::new(HookAuth::Bearer(Token::new(&Secret::new(token)).unwrap()), ReplayWindow::default());
    let with = |text: &str| admit(&guard, NOW, &[("authorization", text.to_owned())].into(), BODY).is_ok();
    assert!(with(&format!("Bearer {token}")) && with(&format!("bearer {token}")));
    for wrong in ["", "Bearer", "Bearer ", &format!("Basic {token}"), &format!("Bearer {token} "), token] {
        assert!(!with(wrong), "{wrong:?} was admitted");
    }
    for n in 0..token.len() {
        assert!(!with(&format!("Bearer {}", &token[..n])), "the first {n} characters were admitted");
    }
    assert!(admit(&guard, NOW, &Headers::new(), BODY).is_err());
}

#[test]
fn no_secret_is_ever_printed() {
    let canary = "canary-canary-canary-canary";
    let (token, key) = (Token::new(&Secret::new(canary)).unwrap(), SigningKey::from_bytes(canary.as_bytes()).unwrap());
    let guards = [HookAuth::Bearer(token.clone()), HookAuth::Signed(vec![key.clone()])]
        .map(|auth| HookGuard::new(auth, ReplayWindow::default()));
    let mut printed = format!("{token:?} {key:?} {guards:?}");
    for wrong in [format!("{canary} with spaces"), "short".to_owned()] {
        printed += &Token::new(&Secret::new(wrong)).unwrap_err().to_string();
    }
    printed += &SigningKey::from_text(&Secret::new(canary)).unwrap_err().to_string();
    printed += &SigningKey::from_text(&Secret::new(format!("whsec_{canary}"))).unwrap_err().to_string();
    assert!(!printed.contains("canary") && !printed.contains("99, 97, 110"), "{printed}");
}

proptest! {
    #[test]
    fn no_header_at_all_makes_it_fail_badly(
        id in "\\PC{0,200}", time in "[-+0-9 .]{0,30}", signature in "[v12, =A-Za-z+/]{0,200}", body in any::<Vec<u8>>(),
    ) {
        let headers = [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)].into();
        prop_assert!(admit(&guard(ReplayWindow::default()), NOW, &headers, &body).is_err());
    }
}
