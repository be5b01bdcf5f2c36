//! Callers that go away in the middle.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{key, record, write};
use tower_oidc::Timestamp;
use tower_oidc::store::{BoxFuture, Record, Store, Tag, Version};

/// How often a future is polled before it is dropped.
const POLLS: usize = 12;
/// How many calls are dropped: more than a store has connections.
const DROPPED: usize = 16;

pub(super) async fn dropped_futures_leave_rows_whole<S: Store>(store: &S) {
    let [old_tag, new_tag] = [Tag([20; 32]), Tag([21; 32])];
    let (old, new) = (record("old", &[old_tag]), record("new", &[new_tag]));
    for polls in 0..POLLS {
        polled(polls, store.swap(key(30), None, old.clone())).await;
        is_absent_or(store, &old).await;
        let stored = settled(store, old.clone()).await;
        polled(polls, store.swap(key(30), Some(stored), new.clone())).await;
        let stored = store.load(key(30)).await.expect("load works").expect("a row does not vanish by a swap");
        assert!(stored.record == old || stored.record == new, "a row is as one of its writers wrote it");
        let last = settled(store, new.clone()).await;
        assert!(store.find(old_tag).await.expect("find works").is_empty(), "tags go with their record");
        assert_eq!(store.find(new_tag).await.expect("find works"), [key(30)], "and come with it");
        polled(polls, store.delete(key(30), Some(last))).await;
        is_absent_or(store, &new).await;
        while store.delete(key(30), None).await.expect("delete works") {}
        assert!(store.find(new_tag).await.expect("find works").is_empty(), "nothing is left of a row");
    }
}

/// Calls that change nothing, or what has expired, are dropped at each of their first steps, many in a row. Whatever they
/// held is free again: calls that come later are answered in time and are right, and who waits is woken.
pub(super) async fn dropped_calls_leave_nothing_behind<S: Store>(store: &Arc<S>) {
    const LONG: Duration = Duration::from_secs(60);
    const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    let [tag, old_tag] = [Tag([22; 32]), Tag([23; 32])];
    let kept = record("kept", &[tag]);
    let version = write(&**store, key(31), None, kept.clone()).await;
    // Long ago, so that a store with a clock of its own agrees.
    let expires_at = Timestamp::from_secs(1_000_000);
    let due = expires_at.saturating_add(MONTH);
    for polls in 1..=POLLS {
        write(&**store, key(32), None, Record { expires_at, ..record("old", &[old_tag]) }).await;
        for _ in 0..DROPPED {
            dropped(polls, store.load(key(31))).await;
            dropped(polls, store.find(tag)).await;
            dropped(polls, store.wait(key(31), Some(version), LONG)).await;
            dropped(polls, store.delete_expired(due)).await;
        }
        let later = async {
            let stored = store.load(key(31)).await.expect("load works").expect("a row that has not expired");
            assert_eq!((stored.version, &stored.record), (version, &kept), "dropped calls change no row");
            assert_eq!(store.find(tag).await.expect("find works"), [key(31)], "and no tag");
            store.wait(key(31), None, LONG).await.expect("wait works");
            let mut left = Vec::new();
            for _ in 0..100 {
                store.delete_expired(due).await.expect("collecting works");
                left = store.find(old_tag).await.expect("find works");
                if left.is_empty() {
                    break;
                }
                // A dropped call may be at work yet, and what it has in hand is not collected by others.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(left.is_empty(), "what a dropped call left is collected by the next");
        };
        let later = tokio::time::timeout(LONG, later).await;
        later.expect("calls that were dropped do not keep others waiting");
    }
    store.delete(key(31), None).await.expect("delete works");
    super::wait_returns_when_the_row_changes(store).await;
}

async fn is_absent_or<S: Store>(store: &S, record: &Record) {
    if let Some(stored) = store.load(key(30)).await.expect("load works") {
        assert_eq!(&stored.record, record, "a row is as its writer wrote it");
    }
}

/// Writes the record after whoever was dropped: a store may finish their work later, but not on top of this.
async fn settled<S: Store>(store: &S, record: Record) -> Version {
    for _ in 0..100 {
        let expected = store.load(key(30)).await.expect("load works").map(|stored| stored.version);
        if let Some(version) = store.swap(key(30), expected, record.clone()).await.expect("swap works") {
            return version;
        }
    }
    write(store, key(30), None, record).await
}

/// Polls so many times and lets go.
async fn polled<T>(times: usize, mut future: BoxFuture<'_, T>) {
    let mut left = times;
    poll_fn(|context| {
        let is_ready = left == 0 || future.as_mut().poll(context).is_ready();
        left = left.saturating_sub(1);
        if is_ready || left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Polls a future so many times and lets go, without waiting for anything in between: one that would wait for long is
/// dropped as soon as one that is done.
async fn dropped<T>(polls: usize, mut future: BoxFuture<'_, T>) {
    for _ in 0..polls {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}
