//! Writes to Redis whose answer is lost: those that another process may have undone since are not repeated.

use tower_oidc::store::{Key, StoreErrorKind};

use super::{Behind, COMMANDS, create, record};
use crate::support::proxy::Wire;

const WRITES: &[&str] = &["EVAL"];

#[tokio::test]
async fn a_creation_whose_answer_is_lost_is_not_repeated() {
    let Some(behind) = Behind::redis().await else { return };
    create(&behind.busy, Key([1; 32])).await;
    behind.proxy.set(Wire::AnswerDropped(WRITES));
    let created = behind.busy.swap(Key([2; 32]), None, record("once")).await;
    assert_eq!(created.unwrap_err().kind(), StoreErrorKind::OutcomeUnknown);
    // The next read settles it.
    let stored = behind.busy.load(Key([2; 32])).await.unwrap().expect("it was done");
    assert_eq!(stored.record, record("once"));
}

#[tokio::test]
async fn a_deletion_whose_answer_is_lost_is_never_said_to_have_found_nothing() {
    let Some(behind) = Behind::redis().await else { return };
    for expects in [true, false] {
        let version = create(&behind.busy, Key([1; 32])).await;
        behind.proxy.set(Wire::AnswerDropped(WRITES));
        let deleted = behind.busy.delete(Key([1; 32]), expects.then_some(version)).await;
        assert_eq!(deleted.unwrap_err().kind(), StoreErrorKind::OutcomeUnknown, "{expects}");
        assert_eq!(behind.busy.load(Key([1; 32])).await.unwrap(), None, "it was done");
    }
}

/// The repetition finds its own version, and is recognised by it.
#[tokio::test]
async fn a_change_whose_answer_is_lost_is_repeated() {
    let Some(behind) = Behind::redis().await else { return };
    let version = create(&behind.busy, Key([1; 32])).await;
    behind.proxy.set(Wire::AnswerDropped(WRITES));
    let changed = behind.busy.swap(Key([1; 32]), Some(version), record("changed")).await;
    let changed = changed.unwrap().expect("it was done");
    assert_eq!(behind.direct.load(Key([1; 32])).await.unwrap().unwrap().version, changed);
    behind.proxy.set(Wire::AnswerDropped(WRITES));
    let late = behind.busy.swap(Key([1; 32]), Some(version), record("late")).await;
    assert_eq!(late.unwrap_err().kind(), StoreErrorKind::OutcomeUnknown, "it may have been done before");
}

#[tokio::test]
async fn a_question_whose_answer_is_lost_is_asked_again() {
    let Some(behind) = Behind::redis().await else { return };
    let version = create(&behind.busy, Key([1; 32])).await;
    behind.proxy.set(Wire::AnswerDropped(COMMANDS));
    let stored = behind.busy.load(Key([1; 32])).await.unwrap().expect("a row");
    assert_eq!(stored.version, version);
}
