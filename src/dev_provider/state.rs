//! What the provider remembers between two requests. It knows nothing of HTTP.

use super::session::Person;
use crate::dev_provider::session::DevSession;
use std::time::Duration;

use super::authorization_request::CheckedAuthorizationRequest;
use super::bounded_map::Bounded;
use super::keys::Keys;
use super::{AccessTokenDetails, ScriptedLogin};
use crate::clock::{Random, Timestamp};

/// How long a page may stay open before it is answered.
pub(super) const PAGE_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// RFC 6749 section 4.1.2 wants 10 minutes at the most; a client in a hurry keeps tests honest.
pub(super) const CODE_LIFETIME: Duration = Duration::from_secs(60);
pub(super) const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);
pub(super) const GRANT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

const MAX_PAGES: usize = 1024;
const MAX_CODES: usize = 1024;
const MAX_SESSIONS: usize = 16_384;
const MAX_TOKENS: usize = 32_768;

pub(super) struct State {
    pub(super) keys: Keys,
    pub(super) script: Option<ScriptedLogin>,
    /// Sign-in and consent pages under way, by the token in their form.
    pub(super) pages: Bounded<PendingSignIn>,
    /// Logout confirmations under way, likewise.
    pub(super) logouts: Bounded<PendingSignOut>,
    /// Sessions by the value of the browser's cookie.
    pub(super) sessions: Bounded<DevSession>,
    pub(super) codes: Bounded<Code>,
    /// A grant is the family of its tokens: once it is gone, they are worth nothing.
    pub(super) grants: Bounded<ConsentedGrant>,
    pub(super) access_tokens: Bounded<IssuedAccessToken>,
    pub(super) refresh_tokens: Bounded<RefreshToken>,
}

impl State {
    pub(super) fn new(random: &Random) -> Self {
        Self {
            keys: Keys::generate(random),
            script: None,
            pages: Bounded::new(MAX_PAGES),
            logouts: Bounded::new(MAX_PAGES),
            sessions: Bounded::new(MAX_SESSIONS),
            codes: Bounded::new(MAX_CODES),
            grants: Bounded::new(MAX_TOKENS),
            access_tokens: Bounded::new(MAX_TOKENS),
            refresh_tokens: Bounded::new(MAX_TOKENS),
        }
    }

    /// Ends a browser's session, and with it the grants that do not outlive it: OpenID Connect Back-Channel
    /// Logout 1.0 section 2.7 revokes refresh tokens that were granted without `offline_access`.
    pub(super) fn end_session(&mut self, browser: &str, now: Timestamp) {
        if let Some(session) = self.sessions.remove(browser, now) {
            self.grants.retain(|grant| {
                grant.sid != session.sid || grant.scopes.iter().any(|scope| scope == "offline_access")
            });
        }
    }

    /// An access token that counts, and its grant.
    pub(super) fn live(&self, token: &str, now: Timestamp) -> Option<(&IssuedAccessToken, &ConsentedGrant)> {
        let access = self.access_tokens.get(token, now)?;
        Some((access, self.grants.get(&access.grant, now)?))
    }

    pub(super) fn inspect(&self, access_token: &str, now: Timestamp) -> Option<AccessTokenDetails> {
        let (token, grant) = self.live(access_token, now)?;
        Some(AccessTokenDetails {
            client_id: grant.client_id.clone(),
            subject: grant.person.as_ref().map_or_else(|| grant.client_id.clone(), Person::subject),
            scopes: token.scopes.clone(),
            resources: token.resources.clone(),
        })
    }
}

/// A page on its way to a browser and back.
#[derive(Clone)]
pub(super) struct PendingSignIn {
    pub(super) asked: CheckedAuthorizationRequest,
    pub(super) question: Question,
    /// The browser's cookie: nobody else's answer counts.
    pub(super) browser: String,
}

#[derive(Clone)]
pub(super) enum Question {
    SignIn,
    /// With the session it was shown to: another person's "yes" is not this one's.
    Consent {
        sid: String,
    },
}

pub(super) struct PendingSignOut {
    pub(super) browser: String,
    /// Where the browser goes then: registered, with its `state`.
    pub(super) destination: Option<String>,
}

pub(super) struct Code {
    pub(super) grant: ConsentedGrant,
    pub(super) redirect_uri: String,
    pub(super) code_challenge: String,
    pub(super) nonce: Option<String>,
    /// The key of the grant it was exchanged for.
    pub(super) spent: Option<String>,
}

/// What one person granted one client in one sign-in, or what a client has by itself.
#[derive(Clone)]
pub(super) struct ConsentedGrant {
    pub(super) client_id: String,
    /// Nobody where the client was granted what is its own.
    pub(super) person: Option<Person>,
    pub(super) sid: String,
    pub(super) auth_time: Timestamp,
    pub(super) scopes: Vec<String>,
    pub(super) resources: Vec<String>,
}

pub(super) struct IssuedAccessToken {
    pub(super) grant: String,
    pub(super) scopes: Vec<String>,
    pub(super) resources: Vec<String>,
}

pub(super) struct RefreshToken {
    pub(super) grant: String,
    pub(super) spent: bool,
}
