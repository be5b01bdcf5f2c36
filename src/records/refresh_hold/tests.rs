use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn after(seconds: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(seconds))
}

/// From one second to five minutes, however often, and as long as the provider asks for.
#[test]
fn its_own_pause_doubles_up_to_five_minutes() {
    let mut hold = None;
    let mut pauses = Vec::new();
    for _ in 0..80 {
        let next = RefreshHold::after(hold, None, NOW);
        pauses.push(next.left(NOW).as_secs());
        hold = Some(next);
    }
    assert_eq!(pauses[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    assert!(pauses[10..].iter().all(|pause| *pause == 300), "{pauses:?}");
    let asked = |seconds| RefreshHold::after(None, Some(Duration::from_secs(seconds)), NOW).left(NOW).as_secs();
    assert_eq!([asked(0), asked(30), asked(3600)], [1, 30, 3600]);
}

#[test]
fn a_pause_that_is_asked_for_is_no_refusal() {
    let first = RefreshHold::after(None, None, NOW);
    let paused = RefreshHold::pause(Some(first), Duration::from_secs(60), after(10));
    assert_eq!((paused.since, paused.times, paused.until), (NOW, 1, after(70)));
    let alone = RefreshHold::pause(None, Duration::from_secs(60), NOW);
    assert_eq!((alone.since, alone.times, alone.until), (NOW, 0, after(60)));
}

#[test]
fn a_hold_ends_and_one_beyond_every_limit_does_not_count() {
    let until = |seconds| RefreshHold { since: NOW, times: 1, until: after(seconds) };
    assert_eq!([59, 60, 61].map(|now| until(60).left(after(now)).as_secs()), [1, 0, 0]);
    assert_eq!(until(7200).left(NOW).as_secs(), 7200);
    assert_eq!(until(7201).left(NOW).as_secs(), 0, "it was set before a clock was put back");
}

#[test]
fn after_a_day_of_refusals_only_the_person_can_help() {
    let first = RefreshHold::after(None, None, NOW);
    let last = RefreshHold::after(Some(first), None, after(86_000));
    assert_eq!([86_399, 86_400].map(|seconds| last.is_over(after(seconds))), [false, true]);
}
