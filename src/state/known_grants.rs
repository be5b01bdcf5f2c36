//! The grants that this process has read from the store: for a moment a token is handed out without reading it again.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::clock::ClockReading;
use crate::records::{Grant, Invalidations, Observed, Slot};
use crate::store::Key;

/// The most that they take, in bytes. Beyond it, those that are used least are forgotten, and read again.
const CAPACITY: u64 = 64 * 1024 * 1024;
/// What one takes besides its tokens, in bytes, roughly.
const OVERHEAD: usize = 1024;
/// Nothing is kept longer than this, whatever the configuration believes.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Grants by the names of their rows.
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
        Self(Cache::builder().max_capacity(CAPACITY).weigher(size).time_to_live(kept).build())
    }

    pub(crate) fn put(&self, row: Key, read: Observed<Arc<Grant>>) {
        self.0.insert(row, read);
    }

    /// The grant; `None` where the store must be asked.
    pub(crate) fn get(
        &self,
        row: Key,
        invalidations: &Invalidations,
        now: ClockReading,
    ) -> Option<Arc<Grant>> {
        let known = self.0.get(&row)?;
        known.is_believed(Slot::of(row), invalidations, now).then_some(known.value)
    }
}
