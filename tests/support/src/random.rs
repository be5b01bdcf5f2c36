//! Searches in bytes that are random or sealed.

/// The shortest text that is not found in random bytes by chance.
pub const SHORTEST: usize = 8;

/// Panics where `bytes` hold `text`, and where `text` is too short to be searched for in random bytes.
#[track_caller]
pub fn assert_absent(text: &str, bytes: impl AsRef<[u8]>, place: &str) {
    assert!(text.len() >= SHORTEST, "{text:?} may stand in random bytes by chance: search for a longer text");
    let found = bytes.as_ref().windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!found, "{place} holds {text:?}");
}

#[test]
fn a_text_is_found_where_it_stands() {
    assert_absent("subject-of-alice", b"...subject-of-bob...", "a record");
    std::panic::catch_unwind(|| assert_absent("subject-of-alice", b"...subject-of-alice...", "a record"))
        .expect_err("it stands there");
}

#[test]
fn a_text_that_chance_could_produce_is_not_searched_for() {
    std::panic::catch_unwind(|| assert_absent("a1", b"nothing of the kind", "a record")).expect_err("two characters");
}
