//! Callers that go away in the middle.

use std::future::poll_fn;
use std::task::Poll;

use super::super::{Record, Store, Tag};
use super::{key, record, write};

/// How often a future is polled before it is dropped.
const POLLS: usize = 12;

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

async fn is_absent_or<S: Store>(store: &S, record: &Record) {
    if let Some(stored) = store.load(key(30)).await.expect("load works") {
        assert_eq!(&stored.record, record, "a row is as its writer wrote it");
    }
}

/// Writes the record after whoever was dropped: a store may finish their work later, but not on top of this.
async fn settled<S: Store>(store: &S, record: Record) -> super::Version {
    for _ in 0..100 {
        let expected = store.load(key(30)).await.expect("load works").map(|stored| stored.version);
        if let Some(version) = store.swap(key(30), expected, record.clone()).await.expect("swap works") {
            return version;
        }
    }
    write(store, key(30), None, record).await
}

/// Polls so many times and lets go.
async fn polled<T>(times: usize, mut future: super::super::BoxFuture<'_, T>) {
    let mut left = times;
    poll_fn(|context| {
        if left == 0 || future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        left -= 1;
        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
