//! The access tokens that clients sent, as this process remembers them.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::clock::ClockReading;
use crate::error::ErrorKind;
use crate::records::OpenedCache;
use crate::sessions::Session;

/// The most that is kept of accepted tokens, in bytes.
const KNOWN: u64 = 16 * 1024 * 1024;
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
            known: OpenedCache::new(KNOWN),
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
