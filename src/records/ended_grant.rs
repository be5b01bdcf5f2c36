//! What is left of a grant whose refresh token can be used no more.

use std::time::Duration;

use super::grant::{Grant, GrantStatus};
use crate::clock::Timestamp;

/// A refusal so soon after the one before, with a consent in between: another consent would not help either.
const REFUSED_AGAIN: Duration = Duration::from_secs(10 * 60);

impl Grant {
    /// This grant without its refresh token, which the provider has refused.
    #[must_use]
    pub(crate) fn without_refresh_token(&self) -> Self {
        Self { generation: self.generation + 1, lease: None, refresh_token: None, ..self.clone() }
    }

    /// The end of a grant whose refresh token the provider refused for good. Whoever was asked for consent after such a
    /// refusal is not asked a second time at once.
    #[must_use]
    pub(crate) fn refused(&self, now: Timestamp) -> Self {
        let again = self.refused_at.is_some_and(|before| now.duration_since(before) < REFUSED_AGAIN);
        let status = if again { GrantStatus::RefusedAgain } else { GrantStatus::Refused };
        Self { refused_at: Some(now), ..self.tombstone(status) }
    }

    /// Whether consent was given a moment ago and did not help.
    pub(crate) fn is_refused_again(&self, now: Timestamp) -> bool {
        let lately = self.refused_at.is_some_and(|refused| now.duration_since(refused) < REFUSED_AGAIN);
        self.status == GrantStatus::RefusedAgain && lately
    }

    /// A grant that can never be used again. It keeps no token.
    #[must_use]
    pub(crate) fn tombstone(&self, status: GrantStatus) -> Self {
        Self { status, token_sets: Vec::new(), ..self.without_refresh_token() }
    }
}
