//! What the provider remembers between two requests. It knows nothing of HTTP.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::bounded::Bounded;
use super::keys::Keys;
use super::{AccessTokenDetails, Answer, AuthorizationRequest};
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
    pub(super) script: Option<Answer>,
    /// Sign-in and consent pages under way, by the token in their form.
    pub(super) pages: Bounded<Pending>,
    /// Logout confirmations under way, likewise.
    pub(super) logouts: Bounded<PendingLogout>,
    /// Sessions by the value of the browser's cookie.
    pub(super) sessions: Bounded<Session>,
    pub(super) codes: Bounded<Code>,
    /// A grant is the family of its tokens: once it is gone, they are worth nothing.
    pub(super) grants: Bounded<Grant>,
    pub(super) access_tokens: Bounded<AccessToken>,
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

    pub(super) fn inspect(&self, access_token: &str, now: Timestamp) -> Option<AccessTokenDetails> {
        let token = self.access_tokens.get(access_token, now)?;
        let grant = self.grants.get(&token.grant, now)?;
        Some(AccessTokenDetails {
            client_id: grant.client_id.clone(),
            subject: grant.person.as_ref().map_or_else(|| grant.client_id.clone(), Person::subject),
            scopes: token.scopes.clone(),
            resources: token.resources.clone(),
        })
    }
}

/// Who signed in, by their own account.
#[derive(Clone)]
pub(super) struct Person {
    pub(super) email: String,
    pub(super) admin: bool,
}

impl Person {
    /// The same for an e-mail in any case, and after every restart.
    pub(super) fn subject(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.email.to_lowercase()))
    }

    /// The part before the `@`.
    pub(super) fn name(&self) -> &str {
        self.email.split('@').next().unwrap_or_default()
    }
}

#[derive(Clone)]
pub(super) struct Session {
    pub(super) sid: String,
    pub(super) person: Person,
    pub(super) auth_time: Timestamp,
    consents: HashMap<String, Vec<String>>,
}

impl Session {
    pub(super) fn new(sid: String, person: Person, auth_time: Timestamp) -> Self {
        Self { sid, person, auth_time, consents: HashMap::new() }
    }

    /// The same session after another sign-in of the same person.
    pub(super) fn renewed(self, person: Person, auth_time: Timestamp) -> Self {
        Self { person, auth_time, ..self }
    }

    pub(super) fn has_granted(&self, client_id: &str, scopes: &[String]) -> bool {
        let granted = self.consents.get(client_id);
        granted.is_some_and(|granted| scopes.iter().all(|scope| granted.contains(scope)))
    }

    pub(super) fn grant(&mut self, client_id: &str, scopes: &[String]) {
        let granted = self.consents.entry(client_id.to_owned()).or_default();
        granted.retain(|scope| !scopes.contains(scope));
        // Clients are few and a request's scopes are counted, so this is all that could grow without end.
        granted.truncate(MAX_REMEMBERED_SCOPES);
        granted.extend_from_slice(scopes);
    }
}

const MAX_REMEMBERED_SCOPES: usize = 64;

/// A page on its way to a browser and back.
pub(super) struct Pending {
    pub(super) asked: AuthorizationRequest,
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

pub(super) struct PendingLogout {
    pub(super) browser: String,
    /// Where the browser goes then: registered, with its `state`.
    pub(super) destination: Option<String>,
}

pub(super) struct Code {
    pub(super) grant: Grant,
    pub(super) redirect_uri: String,
    pub(super) code_challenge: String,
    pub(super) nonce: Option<String>,
    /// The key of the grant it was exchanged for.
    pub(super) spent: Option<String>,
}

/// What one person granted one client in one sign-in, or what a client has by itself.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) client_id: String,
    /// Nobody where the client was granted what is its own.
    pub(super) person: Option<Person>,
    pub(super) sid: String,
    pub(super) auth_time: Timestamp,
    pub(super) scopes: Vec<String>,
    pub(super) resources: Vec<String>,
}

pub(super) struct AccessToken {
    pub(super) grant: String,
    pub(super) scopes: Vec<String>,
    pub(super) resources: Vec<String>,
}

pub(super) struct RefreshToken {
    pub(super) grant: String,
    pub(super) spent: bool,
}
