//! The sessions of one user: listed and ended, by the user and by an administrator.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::backchannel_logout::note_end;
use super::end_session::{UNREADABLE, end_kept};
use crate::clock::{Timestamp, millis};
use crate::error::{Error, ErrorKind};
use crate::events::EventCode;
use crate::protocol::LogoutTarget;
use crate::records::{BlindIndexKey, Found, Loaded, Purpose, RecordKey};
use crate::sessions::SessionRecord;
use crate::sessions::provider_logout::subject_tag;
use crate::state::Runtime;
use crate::store::{Key, StoreError};

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

/// The sessions of one user.
#[derive(Clone)]
pub(crate) struct UserSessions {
    runtime: Arc<Runtime>,
    issuer: String,
    subject: String,
}

impl UserSessions {
    pub(crate) fn new(runtime: &Arc<Runtime>, (issuer, subject): (&str, &str)) -> Self {
        Self { runtime: Arc::clone(runtime), issuer: issuer.to_owned(), subject: subject.to_owned() }
    }

    /// Lists them, the newest login first; `current` is the row of the one that asks.
    pub(crate) async fn list(&self, current: Option<Key>) -> Result<Vec<UserSession>, Error> {
        let (index, now) = (self.runtime.records.index().await?, self.runtime.now());
        let idle = millis(self.runtime.settings.idle_lifetime);
        let provider = self.runtime.providers.of_issuer(&self.issuer);
        let shown = |(session, found): (Key, Box<Found<SessionRecord>>)| {
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
        let kept = self.kept(false).await?.into_iter().filter(|(_, found)| now < found.expires_at);
        Ok(kept.rev().map(shown).collect())
    }

    /// Ends those, and returns how many there were. Work that a client has begun goes on when it hangs up.
    pub(crate) async fn end(&self, ending: Ending, by: &'static str) -> Result<usize, Error> {
        let this = self.clone();
        let ended = self.runtime.tasks.spawn(async move { this.end_each(&ending, by).await }).await;
        ended.unwrap_or_else(|error| Err(Error::unavailable("the sessions are not all ended", error)))
    }

    async fn end_each(&self, ending: &Ending, by: &'static str) -> Result<usize, Error> {
        let Self { runtime, issuer, subject } = self;
        if let Ending::All = ending {
            // First: a login that is being finished finds the note, or its session is found.
            note_end(runtime, &LogoutTarget::all_of(issuer, subject, runtime.next_moment())).await?;
            if runtime.mode.is_stateless() {
                runtime.events().emit(EventCode::LoggedOut, Some((issuer, subject)), by);
                return Ok(0);
            }
        }
        let index = runtime.records.agree_on_index().await?;
        let kept = self.kept(matches!(ending, Ending::Others(_) | Ending::All)).await?;
        let most =
            if let Ending::Surplus(left, _) = ending { kept.len().saturating_sub(*left) } else { usize::MAX };
        let is_meant = |session: Key| match ending {
            Ending::One(id) => *id == public_id(session, &index),
            Ending::Others(spared) | Ending::Surplus(_, spared) => session != *spared,
            Ending::All => true,
        };
        let mut ended = 0;
        for (session, found) in kept.iter().filter(|(session, _)| is_meant(*session)).take(most) {
            end_kept(runtime, *session, &found.value, by).await?;
            ended += 1;
        }
        Ok(ended)
    }

    /// Those that the store keeps, the oldest first. `all`: one that cannot be read is an error.
    async fn kept(&self, all: bool) -> Result<Vec<(Key, Box<Found<SessionRecord>>)>, Error> {
        let records = &self.runtime.records;
        if self.runtime.mode.is_stateless() {
            return Err(Error::new(ErrorKind::NotInThisMode, NOT_KEPT));
        }
        let mut kept = Vec::new();
        for key in records.find(subject_tag(&self.issuer, &self.subject, &records.index().await?)).await? {
            let row = RecordKey { purpose: Purpose::Session, key, owner: Vec::new() };
            match records.load_expired_too::<SessionRecord>(&row).await? {
                // The tag lies beside the seal: what is sealed decides whose it is.
                Loaded::Found(found) if found.value.user() == (&self.issuer, &self.subject) => {
                    kept.push((key, found));
                }
                Loaded::Unreadable if all => return Err(StoreError::refused(UNREADABLE).into()),
                Loaded::Found(_) | Loaded::Absent(_) | Loaded::Unreadable => {}
            }
        }
        kept.sort_by_key(|(key, found)| (found.value.stored_at, *key));
        Ok(kept)
    }
}

const NOT_KEPT: &str = "in stateless mode browsers keep the sessions and nobody can list them: end all of a user, or use \
                        OidcLayer::per_user with a store";

/// The pseudonym of the session in a row.
fn public_id(session: Key, index: &BlindIndexKey) -> String {
    URL_SAFE_NO_PAD.encode(&index.hash(&[b"public id of a session", &session.0])[..16])
}
