//! The suite that every [`Store`] passes: each rule of the [contract](tower_oidc::store), run over an empty store.

mod multi_process;
pub use multi_process::check_two;

mod cancellation;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use tower_oidc::Timestamp;
use tower_oidc::store::{Key, MAX_RECORD, MAX_TAGS, Record, Store, StoreError, StoreErrorKind, Tag, Version};

/// Runs the whole suite over a store that holds nothing yet.
///
/// # Panics
///
/// When the store breaks a rule; the message names it.
pub async fn check<S: Store>(store: Arc<S>) {
    absent_rows_are_none(&*store).await;
    swap_compares_versions(&*store).await;
    versions_are_never_used_twice(&*store).await;
    delete_compares_versions_and_is_idempotent(&*store).await;
    tags_follow_their_record(&*store).await;
    expiry_collects_only_what_expired(&*store).await;
    contents_are_kept_to_the_byte(&*store).await;
    what_is_too_large_is_refused(&*store).await;
    one_of_many_swaps_wins(&store).await;
    one_of_many_creations_wins(&store).await;
    one_of_many_deletions_deletes(&store).await;
    a_row_that_changes_is_always_found(&store).await;
    wait_returns_when_the_row_changes(&store).await;
    wait_returns_at_its_deadline(&*store).await;
    cancellation::dropped_futures_leave_rows_whole(&*store).await;
    cancellation::dropped_calls_leave_nothing_behind(&store).await;
    multi_process::changes_are_heard(&store, &*store).await;
}

fn key(name: u8) -> Key {
    Key([name; 32])
}

fn record(contents: &'static str, tags: &[Tag]) -> Record {
    Record {
        bytes: Bytes::from_static(contents.as_bytes()),
        expires_at: Timestamp::from_secs(4_000_000_000),
        tags: tags.to_vec(),
    }
}

async fn write<S: Store>(store: &S, key: Key, expected: Option<Version>, record: Record) -> Version {
    store.swap(key, expected, record).await.expect("swap works").expect("swap at the right version succeeds")
}

/// What sixteen calls at the same time return.
async fn at_once<S: Store, T, F>(store: &Arc<S>, call: impl Fn(Arc<S>, u32) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let calls: Vec<_> = (0..16).map(|number| tokio::spawn(call(Arc::clone(store), number))).collect();
    let mut returned = Vec::new();
    for call in calls {
        returned.push(call.await.expect("no panic").expect("the store works"));
    }
    returned
}

/// Waits for a row in a task of its own.
async fn waiting<S: Store>(store: &Arc<S>, key: Key, after: Version) -> JoinHandle<Result<(), StoreError>> {
    let store = Arc::clone(store);
    let waiter = tokio::spawn(async move { store.wait(key, Some(after), Duration::from_secs(60)).await });
    tokio::task::yield_now().await;
    waiter
}

async fn absent_rows_are_none<S: Store>(store: &S) {
    assert_eq!(store.load(key(1)).await.expect("load works"), None, "a row that was never written is None");
    assert!(!store.delete(key(1), None).await.expect("delete works"), "deleting nothing deletes nothing");
    assert!(store.find(Tag([1; 32])).await.expect("find works").is_empty(), "an unused tag finds nothing");
}

async fn swap_compares_versions<S: Store>(store: &S) {
    let first = write(store, key(2), None, record("first", &[])).await;
    let again = store.swap(key(2), None, record("again", &[])).await.expect("swap works");
    assert_eq!(again, None, "a row that is there is not created again");
    let second = write(store, key(2), Some(first), record("second", &[])).await;
    assert_ne!(first, second, "each writing has its own version");
    let stale = store.swap(key(2), Some(first), record("stale", &[])).await.expect("swap works");
    assert_eq!(stale, None, "a stale version does not write");
    let stored = store.load(key(2)).await.expect("load works").expect("the row is there");
    assert_eq!((stored.version, stored.record), (second, record("second", &[])), "the last writing stands");
    let absent = store.swap(key(3), Some(second), record("x", &[])).await.expect("swap works");
    assert_eq!(absent, None, "an absent row has no version to expect");
    assert_eq!(store.load(key(3)).await.expect("load works"), None, "a refused swap writes nothing");
    let never = Some(Version(u64::MAX));
    let swapped = store.swap(key(2), never, record("x", &[])).await.expect("swap works");
    assert_eq!(swapped, None, "a version that was never given is no row's");
    assert!(!store.delete(key(2), never).await.expect("delete works"), "and nothing is deleted by it");
    store.delete(key(2), None).await.expect("delete works");
}

async fn versions_are_never_used_twice<S: Store>(store: &S) {
    let mut seen = Vec::new();
    for _ in 0..3 {
        let created = write(store, key(4), None, record("a", &[])).await;
        let changed = write(store, key(4), Some(created), record("b", &[])).await;
        assert!(store.delete(key(4), Some(changed)).await.expect("delete works"), "it is deleted");
        seen.extend([created, changed]);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6, "no version returns, deletions in between or not");
}

async fn delete_compares_versions_and_is_idempotent<S: Store>(store: &S) {
    let first = write(store, key(5), None, record("first", &[])).await;
    let second = write(store, key(5), Some(first), record("second", &[])).await;
    assert!(!store.delete(key(5), Some(first)).await.expect("delete works"), "a stale version deletes nothing");
    assert!(store.load(key(5)).await.expect("load works").is_some(), "and the row is still there");
    assert!(store.delete(key(5), Some(second)).await.expect("delete works"), "the right one deletes");
    assert!(!store.delete(key(5), Some(second)).await.expect("delete works"), "once");
    let third = write(store, key(5), None, record("third", &[])).await;
    assert!(store.delete(key(5), None).await.expect("delete works"), "no version deletes whatever is there");
    let gone = store.swap(key(5), Some(third), record("ghost", &[])).await.expect("swap works");
    assert_eq!(gone, None, "a deleted row is not brought back by a late writer");
}

async fn tags_follow_their_record<S: Store>(store: &S) {
    let [subject, sid] = [Tag([10; 32]), Tag([11; 32])];
    let first = write(store, key(6), None, record("6", &[subject, sid])).await;
    write(store, key(7), None, record("7", &[subject])).await;
    let mut both = store.find(subject).await.expect("find works");
    both.sort();
    assert_eq!(both, [key(6), key(7)], "a tag finds every row that carries it");
    assert_eq!(store.find(sid).await.expect("find works"), [key(6)], "and no other");
    let second = write(store, key(6), Some(first), record("6", &[sid])).await;
    assert_eq!(store.find(subject).await.expect("find works"), [key(7)], "a changed record leaves its old tags");
    assert_eq!(store.find(sid).await.expect("find works"), [key(6)], "and keeps those it still carries");
    store.delete(key(6), Some(second)).await.expect("delete works");
    store.delete(key(7), None).await.expect("delete works");
    assert!(store.find(subject).await.expect("find works").is_empty(), "a deleted row is not found");
    assert!(store.find(sid).await.expect("find works").is_empty(), "by any of its tags");
}

async fn expiry_collects_only_what_expired<S: Store>(store: &S) {
    const MONTH: u64 = 30 * 24 * 60 * 60;
    // Long ago, so that a store with a clock of its own agrees.
    let at = |millis| Record { expires_at: Timestamp::from_millis(millis), ..record("x", &[Tag([12; 32])]) };
    let due = Timestamp::from_secs(1_000_000 + MONTH);
    write(store, key(8), None, at(1_000_000_000)).await;
    write(store, key(9), None, at(due.as_millis() + 1)).await;
    write(store, key(10), None, record("lasts", &[])).await;
    assert_eq!(store.delete_expired(Timestamp::from_millis(999_999_999)).await.expect("works"), 0, "before");
    let collected = store.delete_expired(due).await.expect("collecting works");
    assert_eq!(collected, 1, "what expired 30 days ago is collected and counted");
    assert_eq!(store.delete_expired(due).await.expect("works"), 0, "and counted once");
    assert_eq!(store.load(key(8)).await.expect("load works"), None, "and gone");
    assert_eq!(store.find(Tag([12; 32])).await.expect("find works"), [key(9)], "and leaves its tags");
    assert!(store.load(key(9)).await.expect("load works").is_some(), "what has not expired stays");
    assert!(store.load(key(10)).await.expect("load works").is_some(), "a live row stays");
    store.delete(key(9), None).await.expect("delete works");
    store.delete(key(10), None).await.expect("delete works");
}

async fn contents_are_kept_to_the_byte<S: Store>(store: &S) {
    let bytes: Vec<u8> = (0..MAX_RECORD).map(|i| (i * 31 % 251) as u8).collect();
    let large = Record { bytes: bytes.into(), ..record("", &[Tag([13; 32]), Tag([14; 32])]) };
    write(store, key(20), None, large.clone()).await;
    let stored = store.load(key(20)).await.expect("load works").expect("the row is there");
    assert_eq!(stored.record.bytes, large.bytes, "256 KiB come back as they were");
    assert_eq!(stored.record.expires_at, large.expires_at, "the expiry too, to the millisecond");
    let empty = Record { bytes: Bytes::new(), expires_at: Timestamp::from_millis(4_000_000_000_123), tags: vec![] };
    let version = write(store, key(20), Some(stored.version), empty.clone()).await;
    let stored = store.load(key(20)).await.expect("load works").expect("the row is there");
    assert_eq!((stored.version, stored.record), (version, empty), "and so does nothing at all");
    store.delete(key(20), None).await.expect("delete works");
}

async fn what_is_too_large_is_refused<S: Store>(store: &S) {
    let tags: Vec<Tag> = (40..).map(|name| Tag([name; 32])).take(MAX_TAGS + 1).collect();
    let most = record("most", &tags[..MAX_TAGS]);
    let version = write(store, key(11), None, most.clone()).await;
    for tag in &most.tags {
        assert_eq!(store.find(*tag).await.expect("find works"), [key(11)], "found under each of six tags");
    }
    let stored = store.load(key(11)).await.expect("load works").expect("the row is there");
    assert_eq!(stored.record, most, "with its tags in their order");
    let large = Record { bytes: vec![0; MAX_RECORD + 1].into(), ..record("", &[]) };
    for too_large in [large, record("too many", &tags)] {
        for (name, expected) in [(11, Some(version)), (12, None)] {
            let refused = store.swap(key(name), expected, too_large.clone()).await;
            let kind = refused.expect_err("what is too large is not written").kind();
            assert_eq!(kind, StoreErrorKind::Refused, "and never will be");
        }
    }
    let stored = store.load(key(11)).await.expect("load works").expect("the row is there");
    assert_eq!((stored.version, stored.record), (version, most), "a refused record changes nothing");
    assert_eq!(store.load(key(12)).await.expect("load works"), None, "and creates nothing");
    store.delete(key(11), None).await.expect("delete works");
    for tag in &tags {
        assert!(store.find(*tag).await.expect("find works").is_empty(), "no tag is left");
    }
}

async fn one_of_many_swaps_wins<S: Store>(store: &Arc<S>) {
    let first = write(&**store, key(21), None, record("start", &[])).await;
    let attempts =
        at_once(store, |store, _| async move { store.swap(key(21), Some(first), record("mine", &[])).await });
    let winners = attempts.await.into_iter().flatten().count();
    assert_eq!(winners, 1, "of simultaneous swaps at one version exactly one succeeds");
    store.delete(key(21), None).await.expect("delete works");
}

async fn one_of_many_creations_wins<S: Store>(store: &Arc<S>) {
    let attempts =
        at_once(store, |store, _| async move { store.swap(key(27), None, record("mine", &[Tag([16; 32])])).await });
    let winners: Vec<_> = attempts.await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "of simultaneous creations exactly one succeeds");
    let stored = store.load(key(27)).await.expect("load works").expect("the row is there");
    assert_eq!(stored.version, winners[0], "and its version is the row's");
    assert_eq!(store.find(Tag([16; 32])).await.expect("find works"), [key(27)], "found once");
    store.delete(key(27), None).await.expect("delete works");
}

async fn one_of_many_deletions_deletes<S: Store>(store: &Arc<S>) {
    write(&**store, key(13), None, record("x", &[])).await;
    let attempts = at_once(store, |store, _| async move { store.delete(key(13), None).await });
    let deleted = attempts.await.into_iter().filter(|deleted| *deleted).count();
    assert_eq!(deleted, 1, "of simultaneous deletions exactly one says that it deleted");
}

async fn a_row_that_changes_is_always_found<S: Store>(store: &Arc<S>) {
    let [subject, sid] = [Tag([17; 32]), Tag([18; 32])];
    let mut version = write(&**store, key(28), None, record("0", &[subject])).await;
    let writer = {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for round in 0..20 {
                let tags: &[Tag] = if round % 2 == 0 { &[sid, subject] } else { &[subject] };
                version = write(&*store, key(28), Some(version), record("n", tags)).await;
            }
        })
    };
    while !writer.is_finished() {
        let found = store.find(subject).await.expect("find works");
        assert_eq!(found, [key(28)], "a tag that stays with its record is found at any moment");
        tokio::task::yield_now().await;
    }
    writer.await.expect("no panic");
    store.delete(key(28), None).await.expect("delete works");
}

async fn wait_returns_when_the_row_changes<S: Store>(store: &Arc<S>) {
    let long = Duration::from_secs(60);
    let first = write(&**store, key(22), None, record("1", &[])).await;
    store.wait(key(22), None, long).await.expect("a version that is past returns at once");
    let waiter = waiting(store, key(22), first).await;
    let second = write(&**store, key(22), Some(first), record("2", &[])).await;
    waiter.await.expect("no panic").expect("a write wakes who waits");
    let waiter = waiting(store, key(22), second).await;
    store.delete(key(22), None).await.expect("delete works");
    waiter.await.expect("no panic").expect("a deletion wakes too");
}

async fn wait_returns_at_its_deadline<S: Store>(store: &S) {
    let version = write(store, key(23), None, record("still", &[])).await;
    let short = Duration::from_millis(30);
    let waiting = tokio::time::timeout(Duration::from_secs(30), store.wait(key(23), Some(version), short));
    waiting.await.expect("wait keeps its deadline").expect("a deadline is not an error");
    store.delete(key(23), None).await.expect("delete works");
}
