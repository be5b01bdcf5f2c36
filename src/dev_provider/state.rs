//! What the provider remembers between two requests. It knows nothing of HTTP.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use smart_default::SmartDefault;

use super::ScriptedLogin;
use super::authorization_request::CheckedAuthorizationRequest;
use super::bounded_map::Bounded;
use super::keys::Keys;
use crate::clock::{Random, Timestamp};

/// How long a page may stay open before it is answered.
pub(super) const PAGE_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// RFC 6749 section 4.1.2 wants 10 minutes at the most; a client in a hurry keeps tests honest.
pub(super) const CODE_LIFETIME: Duration = Duration::from_secs(60);
pub(super) const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);
pub(super) const GRANT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// The most that is under way, and the most of what came of it.
const MOST_PENDING: usize = 1024;
const MOST: usize = 32_768;
const MAX_REMEMBERED_SCOPES: usize = 64;

#[derive(SmartDefault)]
pub(super) struct State {
    #[default(Keys::generate(&Random::system()))]
    pub(super) keys: Keys,
    pub(super) script: Option<ScriptedLogin>,
    /// The roles of users, by their subjects.
    pub(super) roles: Bounded<Vec<String>, MOST_PENDING>,
    /// Sign-in and consent pages under way, by the token in their form.
    pub(super) pages: Bounded<PendingSignIn, MOST_PENDING>,
    /// Logout confirmations under way, likewise.
    pub(super) logouts: Bounded<PendingSignOut, MOST_PENDING>,
    /// Sessions by the value of the browser's cookie.
    pub(super) sessions: Bounded<DevSession, MOST>,
    pub(super) codes: Bounded<Code, MOST_PENDING>,
    /// A grant is the family of its tokens: once it is gone, they are worth nothing.
    pub(super) grants: Bounded<ConsentedGrant, MOST>,
    pub(super) access_tokens: Bounded<IssuedAccessToken, MOST>,
    pub(super) refresh_tokens: Bounded<RefreshToken, MOST>,
}

impl State {
    /// Ends a browser's session, and with it the grants that do not outlive it: OpenID Connect Back-Channel
    /// Logout 1.0 section 2.7 revokes refresh tokens that were granted without `offline_access`.
    pub(super) fn end_session(&mut self, browser: &str, now: Timestamp) {
        if let Some(session) = self.sessions.remove(browser, now) {
            let is_its = |grant: &ConsentedGrant| grant.session.as_ref().is_some_and(|it| it.sid == session.sid);
            self.grants.retain(|grant| !is_its(grant) || has(&grant.scopes, "offline_access"));
        }
    }

    /// An access token that counts, and its grant.
    pub(super) fn live(&self, token: &str, now: Timestamp) -> Option<(&IssuedAccessToken, &ConsentedGrant)> {
        let access = self.access_tokens.get(token, now)?;
        Some((access, self.grants.get(&access.grant, now)?))
    }
}

/// A browser's session.
#[derive(Clone)]
pub(super) struct DevSession {
    pub(super) sid: String,
    pub(super) person: Person,
    pub(super) auth_time: Timestamp,
    consents: HashMap<String, Vec<String>>,
}

impl DevSession {
    pub(super) fn new(sid: String, person: Person, auth_time: Timestamp) -> Self {
        Self { sid, person, auth_time, consents: HashMap::new() }
    }

    /// Whether it answers "who is it" without asking the person.
    pub(super) fn satisfies(&self, asked: &CheckedAuthorizationRequest, now: Timestamp) -> bool {
        let recent = asked.max_age.is_none_or(|max| now.duration_since(self.auth_time).as_secs() <= max);
        let hinted = asked.login_hint.as_deref().is_none_or(|hint| {
            // A hint may be anything; only an e-mail says that somebody else is meant.
            !hint.contains('@') || hint.eq_ignore_ascii_case(&self.person.email)
        });
        let subject = asked.hinted_subject.as_ref().is_none_or(|hint| *hint == self.person.subject());
        !asked.sign_in && recent && hinted && subject
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

/// The user who signed in, as the form or the script named them.
#[derive(Clone)]
pub(super) struct Person {
    pub(super) email: String,
    pub(super) admin: bool,
}

impl Person {
    /// The subject: it depends on the e-mail address alone, without case, and is the same after every restart.
    pub(super) fn subject(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.email.to_lowercase()))
    }
}

/// A page on its way to a browser and back.
#[derive(Clone)]
pub(super) struct PendingSignIn {
    pub(super) asked: CheckedAuthorizationRequest,
    /// The session whose consent is asked for: another person's "yes" is not this one's. `None`: the page asks who it is.
    pub(super) consent: Option<String>,
    /// The browser's cookie: nobody else's answer counts.
    pub(super) browser: String,
}

pub(super) struct PendingSignOut {
    pub(super) browser: String,
    /// Where the browser goes then: registered, with its `state`.
    pub(super) destination: Option<String>,
}

pub(super) struct Code {
    pub(super) asked: CheckedAuthorizationRequest,
    pub(super) session: DevSession,
    /// The key of the grant it was exchanged for.
    pub(super) spent: Option<String>,
}

/// What one person granted one client in one sign-in, or what a client has by itself.
#[derive(Clone)]
pub(super) struct ConsentedGrant {
    pub(super) client_id: String,
    /// The session as it was then; `None` where the client was granted what is its own.
    pub(super) session: Option<DevSession>,
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

pub(super) fn has(scopes: &[String], name: &str) -> bool {
    scopes.iter().any(|scope| scope == name)
}
