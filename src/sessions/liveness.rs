//! What this process knows of a session's life: how long it may be believed, and when it was used and confirmed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{ClockReading, Timestamp};
use crate::records::{ObservedAt, Slot};
use crate::store::Key;

/// When a session was confirmed that nobody has asked about.
const NEVER: Timestamp = Timestamp::from_millis(0);

/// What changes during a session's life in this process.
#[derive(Default)]
pub(crate) struct SessionLiveness {
    /// When the store last confirmed it, by the wall clock and by the monotonic one.
    confirmed_at: AtomicU64,
    confirmed_monotonic: AtomicU64,
    /// When its provider last confirmed its user, and when that was last tried in vain.
    validated_at: AtomicU64,
    unanswered_at: AtomicU64,
    validating: AtomicBool,
    /// When a request last used it here.
    seen_at: AtomicU64,
    /// When the store's record, or the browser's cookie, expires unless it is written again.
    kept_until: AtomicU64,
    /// For good: ids are never used again.
    ended: AtomicBool,
    extending: AtomicBool,
    /// Where changes of its row are noted, and what was known of them when the store last confirmed it.
    pub(super) place: Slot,
    heard: AtomicU64,
}

impl SessionLiveness {
    pub(super) fn new(row: Key, seen_at: Timestamp, kept_until: Timestamp) -> Self {
        Self {
            seen_at: AtomicU64::new(seen_at.as_millis()),
            kept_until: AtomicU64::new(kept_until.as_millis()),
            place: Slot::of(row),
            ..Self::default()
        }
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Notes that the store has confirmed the session; `at` is when it was asked.
    pub(crate) fn confirm(&self, ObservedAt { at, heard }: ObservedAt) {
        self.heard.fetch_max(heard, Ordering::AcqRel);
        self.confirmed_monotonic.store(at.monotonic, Ordering::Relaxed);
        self.confirmed_at.store(at.wall.as_millis(), Ordering::Relaxed);
        self.see(at.wall);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The store is asked before it is believed again.
    pub(crate) fn doubt(&self) {
        self.confirmed_at.store(NEVER.as_millis(), Ordering::Relaxed);
    }

    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }

    pub(super) fn seen_at(&self) -> Timestamp {
        Timestamp::from_millis(self.seen_at.load(Ordering::Relaxed))
    }

    /// Of a session that begins now: nobody has shown it.
    pub(super) fn begin(&self, now: Timestamp) {
        self.seen_at.store(now.as_millis().saturating_sub(1), Ordering::Relaxed);
    }

    pub(crate) fn see(&self, now: Timestamp) {
        self.seen_at.fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// Whether it may be believed without asking: it was confirmed, and not longer ago than this.
    pub(crate) fn is_confirmed(&self, now: ClockReading, max_staleness: Duration) -> bool {
        let wall = Timestamp::from_millis(self.confirmed_at.load(Ordering::Relaxed));
        let monotonic = self.confirmed_monotonic.load(Ordering::Relaxed);
        wall != NEVER && now.believes(ClockReading { wall, monotonic }, max_staleness)
    }

    pub(crate) fn validated_at(&self) -> Timestamp {
        Timestamp::from_millis(self.validated_at.load(Ordering::Relaxed))
    }

    /// For how long its provider has confirmed nothing. A clock that was put back by as much counts, too.
    pub(crate) fn unvalidated_for(&self, now: Timestamp) -> Duration {
        Duration::from_millis(now.as_millis().abs_diff(self.validated_at().as_millis()))
    }

    /// Whether its provider was asked in vain less than this time ago.
    pub(crate) fn is_unanswered(&self, now: Timestamp, within: Duration) -> bool {
        u128::from(now.as_millis().abs_diff(self.unanswered_at.load(Ordering::Relaxed))) < within.as_millis()
    }

    /// Its provider confirmed it then; `None`: it did not answer.
    pub(crate) fn validated(&self, at: Option<Timestamp>, now: Timestamp) {
        match at {
            Some(at) => self.validated_at.store(at.as_millis(), Ordering::Relaxed),
            None => self.unanswered_at.store(now.as_millis(), Ordering::Relaxed),
        }
        self.validating.store(false, Ordering::Release);
    }

    /// True for one caller until it is [validated](SessionLiveness::validated).
    pub(crate) fn validates(&self) -> bool {
        !self.validating.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn keep_until(&self, kept_until: Timestamp) {
        self.kept_until.store(kept_until.as_millis(), Ordering::Relaxed);
    }

    pub(crate) fn kept_until(&self) -> Timestamp {
        Timestamp::from_millis(self.kept_until.load(Ordering::Relaxed))
    }

    /// True for one caller until it has [extended](SessionLiveness::extended) it.
    pub(crate) fn extends(&self) -> bool {
        !self.extending.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn extended(&self) {
        self.extending.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
