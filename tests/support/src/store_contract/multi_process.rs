//! What concerns several processes, and those who listen.

use std::sync::Arc;
use std::time::Duration;

use super::{at_once, key, record, waiting, write};
use tower_oidc::Timestamp;
use tower_oidc::store::{Change, Key, Record, Store, Tag};

/// Runs what concerns several processes over two handles to the same, empty store, such as two connections.
///
/// # Panics
///
/// When the store breaks a rule; the message names it.
pub async fn check_two<S: Store, T: Store>(one: Arc<S>, other: Arc<T>) {
    what_one_writes_the_other_reads(&*one, &*other).await;
    one_wakes_who_waits_at_the_other(&one, &*other).await;
    of_both_one_wins(&one, &other).await;
    both_collect(&one, &other).await;
    changes_are_heard(&one, &*other).await;
    changes_are_heard(&other, &*one).await;
}

async fn what_one_writes_the_other_reads<S: Store, T: Store>(one: &S, other: &T) {
    let tag = Tag([15; 32]);
    let first = write(one, key(25), None, record("1", &[tag])).await;
    let stored = other.load(key(25)).await.expect("load works").expect("the row is there for both");
    assert_eq!((stored.version, stored.record), (first, record("1", &[tag])), "and the same for both");
    assert_eq!(other.find(tag).await.expect("find works"), [key(25)], "so are its tags");
    let second = write(other, key(25), Some(first), record("2", &[])).await;
    let stale = one.swap(key(25), Some(first), record("x", &[])).await.expect("swap works");
    assert_eq!(stale, None, "versions are compared across handles");
    assert!(one.delete(key(25), Some(second)).await.expect("delete works"), "either deletes");
    let ghost = other.swap(key(25), Some(second), record("x", &[])).await.expect("swap works");
    assert_eq!(ghost, None, "what one deleted the other does not bring back");
    let third = write(other, key(25), None, record("3", &[])).await;
    assert!(third != first && third != second, "no version is used twice, whoever writes");
    other.delete(key(25), None).await.expect("delete works");
}

async fn one_wakes_who_waits_at_the_other<S: Store, T: Store>(one: &Arc<S>, other: &T) {
    let version = write(other, key(26), None, record("1", &[])).await;
    let waiter = waiting(one, key(26), version).await;
    write(other, key(26), Some(version), record("2", &[])).await;
    let woken = tokio::time::timeout(Duration::from_secs(30), waiter).await;
    woken.expect("a write at one handle wakes the other").expect("no panic").expect("wait works");
    other.delete(key(26), None).await.expect("delete works");
}

async fn of_both_one_wins<S: Store, T: Store>(one: &Arc<S>, other: &Arc<T>) {
    let first = write(&**one, key(29), None, record("start", &[])).await;
    let attempts = at_once(one, |one, number| {
        let handle: Arc<dyn Store> = if number % 2 == 0 { one } else { Arc::clone(other) as _ };
        async move { handle.swap(key(29), Some(first), record("mine", &[])).await }
    });
    let winners = attempts.await.into_iter().flatten().count();
    assert_eq!(winners, 1, "of simultaneous swaps at both handles exactly one succeeds");
    one.delete(key(29), None).await.expect("delete works");
}

async fn both_collect<S: Store, T: Store>(one: &Arc<S>, other: &Arc<T>) {
    let expires_at = Timestamp::from_secs(1_000_000);
    let until = expires_at.saturating_add(Duration::from_secs(30 * 24 * 60 * 60));
    for name in 100..116 {
        write(&**one, key(name), None, Record { expires_at, ..record("x", &[Tag([19; 32])]) }).await;
    }
    let collect = {
        let one = Arc::clone(one);
        tokio::spawn(async move { one.delete_expired(until).await })
    };
    let there = other.delete_expired(until).await.expect("collecting works");
    let here = collect.await.expect("no panic").expect("collecting works");
    assert_eq!(here + there, 16, "two who collect at once count each row once");
    assert!(other.find(Tag([19; 32])).await.expect("find works").is_empty(), "and leave none");
}

/// Writes and deletes at `writer` are heard at `listener`, where it can hear at all.
pub(super) async fn changes_are_heard<S: Store, T: Store>(listener: &Arc<S>, writer: &T) {
    let (send, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let listening = {
        let listener = Arc::clone(listener);
        tokio::spawn(async move {
            let heard = move |change| {
                let _ = send.send(change);
            };
            listener.subscribe(&heard).await
        })
    };
    // Whoever cannot listen has returned, and nothing comes any more.
    match changes.recv().await {
        Some(first) => {
            assert_eq!(first, Change::Any, "whoever begins to listen says that it missed all before")
        }
        None => return listening.await.expect("no panic").expect("a store that cannot notify says so by Ok"),
    }
    let version = write(writer, key(24), None, record("1", &[])).await;
    hears(&mut changes, key(24), "a row that is new").await;
    let version = write(writer, key(24), Some(version), record("2", &[])).await;
    hears(&mut changes, key(24), "a row that is written again").await;
    writer.delete(key(24), Some(version)).await.expect("delete works");
    hears(&mut changes, key(24), "a row that is deleted").await;
    write(writer, key(24), None, record("3", &[])).await;
    hears(&mut changes, key(24), "a row that is new again").await;
    writer.delete(key(24), None).await.expect("delete works");
    hears(&mut changes, key(24), "a row that is deleted whatever it is").await;
    listening.abort();
}

async fn hears(changes: &mut tokio::sync::mpsc::UnboundedReceiver<Change>, key: Key, what: &str) {
    let told = async {
        while let Some(change) = changes.recv().await {
            if change == Change::Any || change == Change::Row(key) {
                return true;
            }
        }
        false
    };
    let told = tokio::time::timeout(Duration::from_secs(30), told).await;
    assert_eq!(told.ok(), Some(true), "{what} is heard of");
}
