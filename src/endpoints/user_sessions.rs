//! The sessions of one user: listed and ended, by the user and by an administrator.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::backchannel_logout::note_end;
use super::end_session::end_kept;
use crate::clock::{Timestamp, millis};
use crate::error::{Error, ErrorKind};
use crate::events::EventCode;
use crate::protocol::LogoutTarget;
use crate::records::BlindIndexKey;
use crate::sessions::session_row::KeptSession;
use crate::state::Runtime;
use crate::store::Key;

/// A session, as [`AuthSession::sessions`](crate::AuthSession::sessions) lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UserSession {
    /// A pseudonym of the session, which names it for [`AuthSession::end_session`](crate::AuthSession::end_session): 22
    /// characters of base64url. It signs nobody in.
    pub id: String,
    /// The time of its login.
    pub created_at: Timestamp,
    /// The time at which it was last used, in steps of an eighth of [`Config::idle_lifetime`](crate::Config::idle_lifetime):
    /// it is written when the session is extended. In the last such time before its end it stands still.
    pub last_seen_at: Timestamp,
    /// Browser and operating system of its login, such as "Firefox on Linux", as the browser named itself.
    pub user_agent: Option<String>,
    /// The name of the provider at which the user signed in, if it is still configured.
    pub provider: Option<String>,
    /// Whether the request belongs to it that asks.
    pub current: bool,
}

/// Which of a user's sessions end.
pub(crate) enum Ending {
    /// The one of this pseudonym.
    One(String),
    /// All but the one in this row.
    Others(Key),
    /// The oldest, so that this many are left with the one in this row.
    Surplus(usize, Key),
    All,
}

/// A user, by issuer and subject.
type User<'a> = (&'a str, &'a str);

impl Runtime {
    /// Lists a user's sessions, the newest login first; `current` is the row of the one that asks.
    pub(crate) async fn sessions_of(&self, user: User<'_>, current: Option<Key>) -> Result<Vec<UserSession>, Error> {
        let (index, now) = (self.records.index().await?, self.now());
        let idle = millis(self.settings.idle_lifetime);
        let provider = self.providers.of_issuer(user.0);
        let shown = |(session, found): KeptSession| {
            let used_at = Timestamp::from_millis(found.expires_at.as_millis().saturating_sub(idle));
            UserSession {
                id: public_id(session, &index),
                created_at: found.value.stored_at,
                last_seen_at: used_at.max(found.value.stored_at),
                user_agent: Some(found.value.user_agent).filter(|family| !family.is_empty()),
                provider: provider.map(|provider| provider.relying_party.name.clone()),
                current: current == Some(session),
            }
        };
        let kept = self.kept_of(user, false).await?.into_iter().filter(|(_, found)| now < found.expires_at);
        Ok(kept.rev().map(shown).collect())
    }

    /// The sessions of a user that the store keeps, the oldest first. `all`: one that cannot be read is an error.
    async fn kept_of(&self, user: User<'_>, all: bool) -> Result<Vec<KeptSession>, Error> {
        let why = "in stateless mode browsers keep the sessions and nobody can list them: end all of a user, or use \
                   OidcLayer::per_user with a store";
        self.sessions.of_user(user, all).await?.ok_or_else(|| Error::new(ErrorKind::NotInThisMode, why))
    }

    /// Ends sessions of a user, and returns how many there were. Work that a client has begun goes on when it hangs up.
    pub(crate) async fn end_sessions_of(
        self: &Arc<Self>, (issuer, subject): User<'_>, ending: Ending, by: &'static str,
    ) -> Result<usize, Error> {
        let (this, issuer, subject) = (Arc::clone(self), issuer.to_owned(), subject.to_owned());
        let ending = async move { this.end_each((&issuer, &subject), &ending, by).await };
        let ended = self.tasks.spawn(ending).await;
        ended.unwrap_or_else(|error| Err(Error::unavailable("the sessions are not all ended", error)))
    }

    async fn end_each(self: &Arc<Self>, user: User<'_>, ending: &Ending, by: &str) -> Result<usize, Error> {
        // First: a login that is being finished finds the note, or its session is found.
        if let Ending::All = ending
            && note_end(self, &LogoutTarget::all_of(user, self.next_moment())).await?
        {
            self.events().emit(EventCode::LoggedOut, Some(user), by);
            return Ok(0);
        }
        let index = self.records.agree_on_index().await?;
        let kept = self.kept_of(user, matches!(ending, Ending::Others(_) | Ending::All)).await?;
        let most = if let Ending::Surplus(left, _) = ending { kept.len().saturating_sub(*left) } else { kept.len() };
        let is_meant = |session: Key| match ending {
            Ending::One(id) => *id == public_id(session, &index),
            Ending::Others(spared) | Ending::Surplus(_, spared) => session != *spared,
            Ending::All => true,
        };
        let meant: Vec<_> = kept.iter().filter(|(session, _)| is_meant(*session)).take(most).collect();
        for (session, found) in &meant {
            end_kept(self, *session, &found.value, by).await?;
        }
        Ok(meant.len())
    }
}

/// The pseudonym of the session in a row.
fn public_id(session: Key, index: &BlindIndexKey) -> String {
    URL_SAFE_NO_PAD.encode(&index.hash(&[b"public id of a session", &session.0])[..16])
}
