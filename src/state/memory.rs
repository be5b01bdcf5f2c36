//! What this process remembers for a while: grants that were read, access tokens that clients sent, callbacks that came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::clock::{ClockReading, Timestamp};
use crate::error::ErrorKind;
use crate::records::{Grant, Invalidations, Observed, OpenedCache, Slot};
use crate::sessions::Session;
use crate::store::Key;

/// The most that the known grants take, in bytes. Beyond it, those that are used least are forgotten, and read again.
const GRANTS_SIZE: u64 = 64 * 1024 * 1024;
/// What a grant takes besides its tokens, in bytes, roughly.
const OVERHEAD: usize = 1024;
/// No grant is kept longer than this, whatever the configuration believes.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The grants that this process has read from the store, by the names of their rows: for a moment a token is handed out
/// without reading it again.
pub(crate) struct KnownGrants(Cache<Key, Observed<Arc<Grant>>>);

impl KnownGrants {
    /// How long one is believed is decided by the clock of the application. The cache's own clock only drops the tokens
    /// that are not believed any more.
    pub(crate) fn new(max_staleness: Duration) -> Self {
        let size = |_: &Key, known: &Observed<Arc<Grant>>| {
            let tokens = known.value.token_sets.iter().map(|set| set.access_token.expose_secret().len());
            let refresh_token = known.value.refresh_token.as_ref().map(|token| token.expose_secret().len());
            let size = tokens.chain(refresh_token).fold(OVERHEAD, usize::saturating_add);
            u32::try_from(size).unwrap_or(u32::MAX)
        };
        let kept = max_staleness.clamp(Duration::from_secs(1), DAY);
        Self(Cache::builder().max_capacity(GRANTS_SIZE).weigher(size).time_to_live(kept).build())
    }

    pub(crate) fn put(&self, row: Key, read: Observed<Arc<Grant>>) {
        self.0.insert(row, read);
    }

    /// The grant; `None` where the store must be asked.
    pub(crate) fn get(&self, row: Key, invalidations: &Invalidations, now: ClockReading) -> Option<Arc<Grant>> {
        let known = self.0.get(&row)?;
        known.is_believed(Slot::of(row), invalidations, now).then_some(known.value)
    }
}

/// The most that is kept of accepted tokens, in bytes.
const TOKENS_SIZE: u64 = 16 * 1024 * 1024;
/// The most refused tokens that are remembered.
const MOST_REFUSED: u64 = 10_000;
/// A refused token is looked at again after this time.
const REFUSED: Duration = Duration::from_secs(10);
/// The most introspections at a time: callers with unknown tokens take nothing from users who sign in.
const TURNS: usize = 32;
/// The end of a token, which its signature makes another one for each: where to look.
const END: usize = 64;

/// Why an access token is refused: it does not hold (`InvalidToken`), or its user may not come in (`Forbidden`).
pub(crate) type BearerRefusal = (ErrorKind, Arc<str>);

/// The accepted tokens, each with its user, since when and for how long; the refused ones by their hashes, with the reason.
pub(crate) struct BearerTokens {
    known: OpenedCache<(Arc<Session>, ClockReading, Duration)>,
    refused: Cache<[u8; 32], (BearerRefusal, ClockReading)>,
    pub(crate) turns: Semaphore,
}

impl BearerTokens {
    pub(crate) fn new() -> Self {
        Self {
            known: OpenedCache::new(TOKENS_SIZE),
            refused: Cache::builder().max_capacity(MOST_REFUSED).time_to_live(REFUSED).build(),
            turns: Semaphore::new(TURNS),
        }
    }

    /// The user of an accepted token.
    pub(crate) fn get(&self, token: &[u8], now: ClockReading) -> Option<Arc<Session>> {
        let (session, at, lasts) = self.known.get(&parts(token))?;
        now.believes(at, lasts).then_some(session)
    }

    pub(crate) fn put(&self, token: &[u8], session: Arc<Session>, at: ClockReading, lasts: Duration) {
        self.known.put(&parts(token), (session, at, lasts));
    }

    /// Lets go of tokens that are looked at again anyway.
    pub(crate) fn forget_over(&self, now: ClockReading) {
        self.known.retain(|(_, at, lasts)| now.believes(*at, *lasts));
    }

    pub(crate) fn refusal(&self, token: &[u8], now: ClockReading) -> Option<BearerRefusal> {
        let (refusal, at) = self.refused.get::<[u8; 32]>(&Sha256::digest(token).into())?;
        now.believes(at, REFUSED).then_some(refusal)
    }

    pub(crate) fn refuse(&self, token: &[u8], refusal: BearerRefusal, at: ClockReading) {
        self.refused.insert(Sha256::digest(token).into(), (refusal, at));
    }
}

/// A token, its end first.
fn parts(token: &[u8]) -> [&[u8]; 2] {
    let (start, end) = token.split_at(token.len().saturating_sub(END));
    [end, start]
}

/// So many marks of received callbacks may lie in the store...
const MOST_MARKS: usize = 10_000;
/// ...and those whose codes may still be good, however many they are.
const CODE_LIFE: Duration = Duration::from_secs(60);

/// The names of the rows that mark the callbacks which this process received, the oldest first: the marks are bounded
/// apart from sessions.
#[derive(Default)]
pub(crate) struct ReceivedCallbacks(Mutex<VecDeque<(Key, Timestamp)>>);

impl ReceivedCallbacks {
    /// Notes one more; returns the oldest where it has to make room.
    pub(crate) fn note(&self, mark: Key, now: Timestamp) -> Option<Key> {
        let mut marks = self.0.lock();
        marks.push_back((mark, now));
        let (oldest, at) = *marks.front().filter(|_| marks.len() > MOST_MARKS)?;
        let is_over = now.duration_since(at) >= CODE_LIFE;
        is_over.then(|| marks.pop_front()).map(|_| oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_where_there_are_too_many_and_its_code_is_over() {
        let (marks, start) = (ReceivedCallbacks::default(), Timestamp::from_secs(1_800_000_000));
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(number as u64).to_le_bytes());
            Key(key)
        };
        let at = |seconds| start.saturating_add(Duration::from_secs(seconds));
        for number in 0..MOST_MARKS {
            assert_eq!(marks.note(key(number), at(0)), None, "{number}");
        }
        assert_eq!(marks.note(key(MOST_MARKS), at(59)), None, "no code is given up while it may be good");
        assert_eq!(marks.note(key(MOST_MARKS + 1), at(60)), Some(key(0)));
        assert_eq!(marks.note(key(MOST_MARKS + 2), at(61)), Some(key(1)));
    }
}
