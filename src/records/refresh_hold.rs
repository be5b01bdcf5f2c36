//! How long a provider is left alone after it refused a refresh for an unclear reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The pause after refusals of a refresh that say nothing about the person or the registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefreshHold {
    /// When the first of them came, since the last refresh that worked.
    pub(crate) since: Timestamp,
    pub(crate) times: u32,
    pub(crate) until: Timestamp,
}

impl RefreshHold {
    /// After one more refusal at `now`: `pause` is what the provider asked for. Of its own it doubles from one second to
    /// five minutes.
    pub(crate) fn after(before: Option<Self>, pause: Option<Duration>, now: Timestamp) -> Self {
        let (since, times) = before.map_or((now, 0), |hold| (hold.since, hold.times));
        let own = Duration::from_secs(1 << times.min(9)).min(LONGEST_PAUSE);
        let until = now.saturating_add(pause.unwrap_or_default().max(own));
        Self { since, times: times.saturating_add(1), until }
    }

    /// After an answer that only says when to come again.
    pub(crate) fn pause(before: Option<Self>, pause: Duration, now: Timestamp) -> Self {
        let before = before.unwrap_or(Self { since: now, times: 0, until: now });
        Self { until: now.saturating_add(pause), ..before }
    }

    /// How long the provider is still left alone.
    pub(crate) fn left(&self, now: Timestamp) -> Duration {
        // One that is longer than any was set before a clock was put back.
        let left = self.until.duration_since(now);
        if left > LONGEST_HOLD { Duration::ZERO } else { left }
    }

    /// Whether the provider refuses for so long that only the person can help.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) >= UNCLEAR_LIMIT
    }
}

/// The longest pause of our own between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// The longest pause that a provider can ask for, and some.
const LONGEST_HOLD: Duration = Duration::from_secs(2 * 60 * 60);
/// A refresh token that was refused for so long is taken for dead.
const UNCLEAR_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
