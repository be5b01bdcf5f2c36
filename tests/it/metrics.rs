//! What an operator's metrics say: every event is counted by its code, calls have durations, and no label names anybody.

use std::collections::{BTreeMap, BTreeSet};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower_oidc::EventCode;

use crate::support::app::OP;
use crate::support::app::{APP, World, logout_link};
use crate::support::fault::Fault;

/// What was recorded: the name and labels of each metric, with its value.
type Recorded = BTreeMap<(String, Vec<(String, String)>), DebugValue>;

fn labelled(recorded: &Recorded, name: &str, label: &str) -> BTreeSet<String> {
    let of_name = recorded.keys().filter(|(found, _)| found == name);
    of_name.flat_map(|(_, labels)| labels).filter(|(found, _)| found == label).map(|(_, value)| value.clone()).collect()
}

#[tokio::test]
async fn each_event_is_counted_and_each_call_is_timed() {
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    let guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new();
    let alice = world.signed_in("alice").await;
    world.clock.advance(std::time::Duration::from_secs(3_601));
    assert_eq!(world.tok(&alice).await.0, 200);
    for _ in 0..30 {
        assert_eq!(world.back_channel("nonsense").await.status(), 400);
    }
    world.net.fault(OP, "/token", Fault::Status(503));
    world.clock.advance(std::time::Duration::from_secs(3_601));
    assert_eq!(world.tok(&alice).await.0, 503);
    world.net.heal(OP);
    alice.visit(&logout_link(&alice, "/").await).await;
    alice.visit(&format!("{APP}/auth/callback?state=x&code=y")).await;
    // By then her session is over, and this one is known alone.
    world.clock.advance(std::time::Duration::from_secs(90 * 24 * 3_600));
    world.signed_in("bob").await;
    world.app.layer.drain().await;
    drop(guard);

    let recorded: Recorded = snapshots
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels = key.key().labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
            ((key.key().name().to_owned(), labels), value)
        })
        .collect();
    let events = world.app.events.all();
    let emitted: BTreeSet<_> = events.iter().map(|event| event.code.as_str().to_owned()).collect();
    assert!(emitted.len() > 6, "{emitted:?}");
    assert_eq!(labelled(&recorded, "tower_oidc_events_total", "code"), emitted);
    let count = |code: EventCode| {
        let key = ("tower_oidc_events_total".to_owned(), vec![("code".to_owned(), code.as_str().to_owned())]);
        match recorded.get(&key) {
            Some(DebugValue::Counter(count)) => *count,
            other => panic!("{code:?}: {other:?}"),
        }
    };
    assert_eq!(
        (count(EventCode::LoginSucceeded), count(EventCode::LogoutRefused)),
        (2, 30),
        "those that were left out, too"
    );
    assert!(events.iter().filter(|event| event.code == EventCode::LogoutRefused).count() < 30);
    let calls = ["callback", "login", "provider", "refresh", "store_read", "store_write"].map(str::to_owned);
    assert_eq!(labelled(&recorded, "tower_oidc_call_seconds", "call"), BTreeSet::from(calls));
    let gauge = |name: &str| match recorded.get(&(name.to_owned(), Vec::new())) {
        Some(DebugValue::Gauge(value)) => value.into_inner(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!((gauge("tower_oidc_refreshes_under_way"), gauge("tower_oidc_sessions_known")), (0.0, 1.0));
    for (name, labels) in recorded.keys() {
        assert!(name.starts_with("tower_oidc_"), "{name}");
        for (label, value) in labels {
            assert!(["code", "call"].contains(&label.as_str()), "{label}");
            assert!(!value.contains("://") && !value.contains("a1") && !value.contains("alice"), "{value}");
        }
    }
}
