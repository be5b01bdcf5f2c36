//! A session: which browser is which person, as it is kept and as this process knows it.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use quick_cache::Weighter;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::identity::SessionPayload;
use super::liveness::SessionLiveness;
use super::provider_sessions::ProviderSessions;
use super::session_id::SessionId;
use crate::clock::{Timestamp, millis};
use crate::protocol::{BearerToken, RolesByRule, json};
use crate::records::{BlindIndexKey, GrantKeyCache, Invalidations, Slot};
use crate::secret::{Secret, derefs, packed};
use crate::store::{Key, MAX_RECORD};

/// A session as it is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) identity: SessionPayload,
    /// What the provider says about the person: a JSON object.
    pub(crate) claims: String,
    /// The newest, for the provider's logout only: empty where that does not need it, or it is too large.
    #[serde(with = "packed")]
    pub(crate) id_token: Secret,
    /// Where claims come from besides the ID token, if they are to be replaced later.
    pub(crate) sources: Option<ClaimSources>,
    /// The family of the browser, for whoever looks through their sessions.
    pub(crate) user_agent: String,
}

/// The names of the claims that do not come from the ID token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ClaimSources {
    pub(crate) user_info: BTreeSet<String>,
    pub(crate) hook: BTreeSet<String>,
}

derefs!(SessionRecord => identity: SessionPayload);

/// What a session's cookie holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SessionCookie {
    pub(crate) id: [u8; 32],
    pub(crate) identity: SessionPayload,
    pub(crate) profile: Profile,
    /// The hash of the claims, which are in cookies of their own: without these the session does not count.
    pub(crate) claims: ClaimsHash,
}

/// The beginning of a hash of a person's claims.
pub(crate) type ClaimsHash = [u8; 16];

/// The hash of a JSON object, however its members are ordered.
pub(crate) fn claims_hash(claims: &str) -> ClaimsHash {
    let mut claims: Value = serde_json::from_str(claims).unwrap_or_default();
    claims.sort_all_objects();
    let hash: [u8; 32] = Sha256::digest(claims.to_string()).into();
    std::array::from_fn(|place| hash[place])
}

impl SessionCookie {
    pub(crate) fn new(id: [u8; 32], record: &SessionRecord) -> Self {
        let profile = Profile::of(&record.claims);
        Self { id, identity: record.identity.clone(), profile, claims: claims_hash(&record.claims) }
    }
}

/// A session that this process knows: what requests need of it, and how long it may be believed.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    identity: SessionPayload,
    /// A JSON object. Where the browser keeps it, it is here once a request has shown it.
    claims: OnceLock<Box<str>>,
    profile: OnceLock<Box<Profile>>,
    all_claims: OnceLock<Box<Map<String, Value>>>,
    /// Where the browser keeps the session: what no record says.
    provider_sessions: Option<Box<ProviderSessions>>,
    /// Where the browser keeps the session: what its claims' cookie is called, and must hold.
    pub(crate) shown_claims: Option<Box<ShownClaims>>,
    /// Where its grants lie.
    pub(crate) grant_keys: GrantKeyCache,
    pub(crate) liveness: SessionLiveness,
    /// It is none: it stands for an access token.
    pub(super) is_token: bool,
    /// What the answers to requests set whose handlers have ended it, by the requests' numbers.
    last_cookies: Mutex<Option<Box<LastCookies>>>,
}

/// The cookie with the claims of a session that its browser keeps.
pub(crate) struct ShownClaims {
    pub(crate) hash: ClaimsHash,
    pub(crate) name: OnceLock<Box<str>>,
}

/// The claims of an access token that say what its client may do, and which client it is (RFC 9068 section 2.2).
const SCOPE: &str = "scope";
const CLIENT_ID: &str = "client_id";

/// Cookies for the answers to requests whose handlers have ended the session, by the requests' numbers.
type LastCookies = Vec<(u64, Vec<HeaderValue>)>;

/// The claims that have a method of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) email: Option<Box<str>>,
    pub(crate) email_verified: bool,
    pub(crate) name: Option<Box<str>>,
    pub(crate) nickname: Option<Box<str>>,
}

impl Profile {
    /// From a JSON object.
    pub(crate) fn of(claims: &str) -> Self {
        let claims: Map<String, Value> = serde_json::from_str(claims).unwrap_or_default();
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(Box::from);
        Self {
            email: text("email"),
            // Some providers spell booleans as strings.
            email_verified: match claims.get("email_verified") {
                Some(Value::Bool(verified)) => *verified,
                Some(Value::String(verified)) => verified == "true",
                _ => false,
            },
            name: text("name"),
            nickname: text("nickname"),
        }
    }
}

derefs!(Session => identity: SessionPayload);

impl Session {
    fn with(id: SessionId, mut identity: SessionPayload, liveness: SessionLiveness) -> Self {
        // They change with the record, which nobody looks for here, or with what the browser shows.
        identity.sids = Vec::new();
        // A login, or where this process learns of it, is the first confirmation.
        liveness.validated(Some(identity.stored_at), identity.stored_at);
        Self {
            id,
            identity,
            claims: OnceLock::new(),
            profile: OnceLock::new(),
            all_claims: OnceLock::new(),
            provider_sessions: None,
            shown_claims: None,
            grant_keys: GrantKeyCache::default(),
            liveness,
            is_token: false,
            last_cookies: Mutex::default(),
        }
    }

    pub(crate) fn new(id: SessionId, row: Key, record: SessionRecord, kept_until: Timestamp, now: Timestamp) -> Self {
        let claims = OnceLock::from(Box::from(record.claims));
        Self { claims, ..Self::with(id, record.identity, SessionLiveness::new(row, now, kept_until)) }
    }

    /// Of a browser that keeps its session itself, and which nobody has asked yet whether it ended.
    pub(crate) fn carried(cookie: SessionCookie, row: Key, now: Timestamp) -> Self {
        let SessionCookie { id, identity, profile, claims } = cookie;
        let shown_claims = Some(Box::new(ShownClaims { hash: claims, name: OnceLock::new() }));
        let provider_sessions = Some(Box::new(ProviderSessions::new(identity.sids.clone())));
        let profile = OnceLock::from(Box::new(profile));
        let known = Self::with(SessionId::new(id), identity, SessionLiveness::new(row, now, now));
        Self { profile, provider_sessions, shown_claims, ..known }
    }

    /// Stands for an access token that a client sent: its user in place of a session's, with the claims of the token.
    pub(crate) fn of_token(token: &BearerToken, claims: &Map<String, Value>, roles: RolesByRule) -> Self {
        let number = |name| json::numeric_date(&token.claims, name);
        let identity = SessionPayload {
            issuer: token.issuer.as_str().into(),
            subject: token.subject.as_deref().unwrap_or_default().into(),
            auth_time: number("auth_time"),
            acr: json::text(&token.claims, "acr").map(Into::into),
            roles,
            ends_at: token.expires_at,
            ..SessionPayload::default()
        };
        let mut claims = claims.clone();
        claims.insert(SCOPE.to_owned(), token.scopes.clone().into());
        claims.insert(CLIENT_ID.to_owned(), token.client_id.clone().into());
        let claims = OnceLock::from(Box::from(Value::Object(claims).to_string()));
        Self { claims, is_token: true, ..Self::with(SessionId::new([0; 32]), identity, SessionLiveness::default()) }
    }

    /// Scopes and client of the access token that this stands for.
    pub(crate) fn token(&self) -> Option<(Vec<&str>, Option<&str>)> {
        let claims = self.all_claims_or(|| None).filter(|_| self.is_token)?;
        let scopes = claims.get(SCOPE)?.as_array()?.iter().filter_map(Value::as_str);
        Some((scopes.collect(), json::text(claims, CLIENT_ID)))
    }

    /// Stands for a session that ended, so that a late reader of the store cannot bring it back.
    pub(crate) fn ended(id: SessionId) -> Self {
        // Nothing is asked about it any more: no row is watched.
        let session = Self::with(id, SessionPayload::default(), SessionLiveness::default());
        session.liveness.end();
        session
    }

    /// Whether its browser keeps it.
    pub(crate) fn is_kept_by_browser(&self) -> bool {
        self.shown_claims.is_some()
    }

    /// What logout tokens are compared with, where the browser keeps the session.
    pub(crate) fn provider_sessions(&self) -> Option<&ProviderSessions> {
        self.provider_sessions.as_deref()
    }

    /// The same, with whose it is.
    pub(crate) fn provider_session(&self) -> Option<SessionPayload> {
        Some(SessionPayload { sids: self.provider_sessions()?.sids(), ..self.identity.clone() })
    }

    /// Where it is noted that logout tokens came which may mean it.
    pub(crate) fn watch(&self, index: &BlindIndexKey) -> Arc<[(Key, Slot)]> {
        let Some(provider_sessions) = self.provider_sessions() else { return Arc::new([]) };
        provider_sessions.notes(index, |sids| SessionPayload { sids, ..self.identity.clone() }.notes(index))
    }

    /// A newer ID token came for it, where the browser keeps it.
    pub(crate) fn learn(&self, sid: Option<&str>, id_token: &Secret) {
        if self.provider_sessions().is_some_and(|known| known.learn(sid, id_token)) {
            self.liveness.doubt();
        }
    }

    /// The browser has shown a cookie with these.
    pub(crate) fn shows(&self, sids: &[String]) {
        if self.provider_sessions().is_some_and(|known| known.shows(sids)) {
            self.liveness.doubt();
        }
    }

    /// Whether something was heard since it was confirmed, of its row or of what its provider ended.
    pub(crate) fn has_news(&self, invalidations: &Invalidations) -> bool {
        let heard = self.liveness.heard();
        invalidations.changed_since(heard, self.liveness.place)
            || self.provider_sessions().is_some_and(|known| known.has_news(heard, invalidations))
    }

    pub(crate) fn profile(&self) -> &Profile {
        self.profile.get_or_init(|| Box::new(Profile::of(self.claims())))
    }

    /// What is known of the claims.
    pub(crate) fn claims(&self) -> &str {
        self.claims.get().map_or("", |claims| claims)
    }

    /// The same, and where nothing is known yet, what this says.
    pub(crate) fn claims_or(&self, shown: impl FnOnce() -> Option<String>) -> &str {
        if self.claims.get().is_none()
            && let Some(claims) = shown()
        {
            // Somebody else may have shown them meanwhile: they never change.
            let _ = self.claims.set(claims.into());
        }
        self.claims()
    }

    /// The same, decoded.
    pub(crate) fn all_claims_or(&self, shown: impl FnOnce() -> Option<String>) -> Option<&Map<String, Value>> {
        let claims = Some(self.claims_or(shown)).filter(|claims| !claims.is_empty())?;
        let decoded = || Box::new(serde_json::from_str(claims).unwrap_or_default());
        Some(self.all_claims.get_or_init(decoded))
    }

    /// The handler of a request has ended it: this is what the request's answer sets.
    pub(crate) fn end_with(&self, request: u64, cookies: Vec<HeaderValue>) {
        self.liveness.end();
        self.last_cookies.lock().get_or_insert_default().push((request, cookies));
    }

    /// What the answer to a request sets because its handler has ended the session.
    #[cold]
    pub(crate) fn last_cookies(&self, request: u64) -> Vec<HeaderValue> {
        let mut cookies = self.last_cookies.lock();
        let Some(cookies) = &mut *cookies else { return Vec::new() };
        let of_request = cookies.extract_if(.., |(number, _)| *number == request);
        of_request.flat_map(|(_, cookies)| cookies).collect()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.liveness.has_ended()
    }

    /// Whether it must be written again soon, by the store or the browser that keeps it, or it expires unused: an eighth of the
    /// idle lifetime was used up.
    pub(crate) fn is_aging(&self, idle: Duration, now: Timestamp) -> bool {
        let wanted = now.saturating_add(idle).min(self.ends_at);
        wanted.as_millis().saturating_sub(self.liveness.kept_until().as_millis()) > millis(idle) / 8
            || self.provider_sessions().is_some_and(ProviderSessions::is_unsealed)
    }

    pub(crate) fn expires_at(&self, idle: Duration) -> Timestamp {
        self.liveness.seen_at().saturating_add(idle).max(self.liveness.kept_until()).min(self.ends_at)
    }
}

/// What a session takes besides its texts, roughly: itself, its place in the cache, and where its grants lie.
const OVERHEAD: u64 = 640;

/// The bytes of claims that a browser keeps, roughly: most cookies hold no more.
const CARRIED_CLAIMS: usize = 2048;

/// The bytes that roles take, roughly.
pub(crate) fn bytes_of(roles: &RolesByRule) -> usize {
    roles.iter().flat_map(|(_, roles)| roles).map(|role| 32 + role.len()).sum()
}

/// Weighs sessions by the bytes that they take.
#[derive(Clone, Copy)]
pub(super) struct SessionBytes;

impl Weighter<SessionId, Arc<Session>> for SessionBytes {
    fn weight(&self, _: &SessionId, session: &Arc<Session>) -> u64 {
        // What a browser has not shown yet may come later, and a weight never changes: the cache subtracts what it added.
        let claims = if session.is_kept_by_browser() { CARRIED_CLAIMS } else { session.claims().len() };
        let texts = claims + session.issuer.len() + session.subject.len();
        OVERHEAD + (texts + bytes_of(&session.roles)) as u64
    }
}

/// The most that a person's claims and ID token may have together, in bytes: a record holds more.
pub(crate) const MOST_CLAIMS: usize = MAX_RECORD - 16 * 1024;

#[cfg(test)]
mod tests;
