use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn reading(seconds: u64) -> ClockReading {
    ClockReading { wall: at(seconds), monotonic: seconds * 1000 }
}

fn liveness() -> SessionLiveness {
    SessionLiveness::new(Key([7; 32]), at(100), at(200))
}

#[test]
fn it_is_believed_for_a_while_after_the_store_has_confirmed_it() {
    let liveness = liveness();
    let is_believed = |seconds| liveness.is_confirmed(reading(seconds), Duration::from_secs(10));
    assert!(!is_believed(100), "nobody has asked");
    assert!(!liveness.is_confirmed(ClockReading { wall: at(0), monotonic: 0 }, Duration::from_secs(10)));
    liveness.confirm(ObservedAt { at: reading(100), heard: 3 });
    assert_eq!([100, 109, 111].map(is_believed), [true, true, false]);
    assert_eq!(liveness.heard(), 3);
    liveness.confirm(ObservedAt { at: reading(120), heard: 2 });
    assert_eq!(liveness.heard(), 3, "what was asked before is no news");
    assert!(is_believed(120));
    liveness.doubt();
    assert!(!is_believed(120));
}

#[test]
fn the_last_use_counts_and_a_session_that_begins_has_had_none() {
    let liveness = liveness();
    assert_eq!((liveness.seen_at(), liveness.kept_until()), (at(100), at(200)));
    for (seen, expected) in [(150, 150), (120, 150), (151, 151)] {
        liveness.see(at(seen));
        assert_eq!(liveness.seen_at(), at(expected));
    }
    liveness.confirm(ObservedAt { at: reading(160), heard: 0 });
    assert_eq!(liveness.seen_at(), at(160));
    liveness.begin(at(170));
    assert_eq!(liveness.seen_at(), Timestamp::from_millis(169_999));
    liveness.keep_until(at(300));
    assert_eq!(liveness.kept_until(), at(300));
}

#[test]
fn its_provider_is_asked_by_one_at_a_time() {
    let liveness = liveness();
    liveness.validated(Some(at(100)), at(100));
    assert_eq!(liveness.validated_at(), at(100));
    assert_eq!([130, 100, 70].map(|now| liveness.unvalidated_for(at(now)).as_secs()), [30, 0, 30]);
    assert_eq!([liveness.validates(), liveness.validates()], [true, false]);
    let is_unanswered = |now| liveness.is_unanswered(at(now), Duration::from_secs(10));
    assert!(!is_unanswered(150));
    liveness.validated(None, at(150));
    assert_eq!([140, 141, 150, 159, 160].map(is_unanswered), [false, true, true, true, false]);
    assert_eq!(liveness.validated_at(), at(100), "nothing was confirmed");
    assert_eq!([liveness.validates(), liveness.validates()], [true, false]);
}

#[test]
fn it_is_extended_by_one_at_a_time_and_ends_once() {
    let liveness = liveness();
    assert_eq!([liveness.extends(), liveness.extends()], [true, false]);
    liveness.extended();
    assert!(liveness.extends() && !liveness.has_ended());
    liveness.end();
    assert!(liveness.has_ended());
}
