use super::*;

const IDLE: Duration = Duration::from_secs(800);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

/// A session that began at 1000 and ends at 3000, kept until this moment.
fn kept_until(seconds: u64) -> Session {
    let identity = SessionPayload { ends_at: at(3000), ..SessionPayload::default() };
    let record = SessionRecord { identity, ..SessionRecord::default() };
    Session::new(SessionId::new([1; 32]), Key([1; 32]), record, at(seconds), at(1000))
}

#[test]
fn it_is_written_again_when_an_eighth_of_the_idle_lifetime_is_used_up() {
    let session = kept_until(1800);
    assert_eq!([1000, 1100, 1101].map(|now| session.is_aging(IDLE, at(now))), [false, false, true]);
    let last = kept_until(3000);
    assert_eq!([2300, 2999].map(|now| last.is_aging(IDLE, at(now))), [false; 2], "it cannot last longer");
}

#[test]
fn it_lasts_as_long_as_it_is_kept_or_was_used_and_no_longer_than_its_end() {
    assert_eq!(kept_until(1900).expires_at(IDLE), at(1900));
    let used = kept_until(1800);
    used.liveness.see(at(1500));
    assert_eq!(used.expires_at(IDLE), at(2300));
    used.liveness.see(at(2900));
    assert_eq!(used.expires_at(IDLE), at(3000));
    assert_eq!(kept_until(4000).expires_at(IDLE), at(3000));
}

#[test]
fn claims_are_the_same_in_any_order() {
    let hash = claims_hash(r#"{"a":1,"b":{"c":2,"d":3}}"#);
    assert_eq!(hash, claims_hash(r#"{"b":{"d":3,"c":2},"a":1}"#));
    assert_ne!(hash, claims_hash(r#"{"a":1,"b":{"c":2,"d":4}}"#));
}
