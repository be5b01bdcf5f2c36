//! A session: which browser is which person, as it is kept and as this process knows it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::provider_logout::ProviderSession;
use super::provider_sessions::ProviderSessions;
use super::session_id::SessionId;
use crate::clock::Timestamp;
use crate::config::admins::Admins;
use crate::records::BlindIndexKey;
use crate::records::grant::Owner;
use crate::records::grant_key::GrantKeyCache;
use crate::records::invalidation::{Invalidations, Slot};
use crate::secret::Secret;
use crate::secret::sealed;
use crate::store::Key;

/// When a session was confirmed that nobody has asked about.
pub(super) const NEVER: Timestamp = Timestamp::from_millis(0);

/// A session as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// The provider's sessions whose ID tokens came for it, the newest last.
    pub(crate) sids: Vec<String>,
    pub(crate) auth_time: Option<u64>,
    /// The ID token's `iat`: when it began, by the provider's clock.
    pub(crate) issued_at: u64,
    pub(crate) acr: Option<String>,
    /// What the provider says about the person: a JSON object.
    pub(crate) claims: String,
    /// The newest, for the provider's logout only.
    #[serde(with = "sealed")]
    pub(crate) id_token: Secret,
    /// What a logout link must carry.
    pub(crate) logout_token: [u8; 16],
    pub(crate) ends_at: Timestamp,
}

impl SessionRecord {
    pub(crate) fn user(&self) -> (&str, &str) {
        (&self.issuer, &self.subject)
    }

    pub(crate) fn provider_session(&self) -> ProviderSession<'_> {
        ProviderSession {
            issuer: &self.issuer,
            subject: &self.subject,
            sids: Cow::Borrowed(&self.sids),
            issued_at: self.issued_at,
        }
    }
}

/// A session that this process knows: what requests need of it, and how long it may be believed.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) issuer: Box<str>,
    pub(crate) subject: Box<str>,
    pub(crate) acr: Option<Box<str>>,
    pub(crate) auth_time: Option<u64>,
    /// A JSON object. Where the browser keeps it, it is here once a request has shown it.
    pub(super) claims: OnceLock<Box<str>>,
    pub(crate) logout_token: [u8; 16],
    pub(crate) ends_at: Timestamp,
    pub(super) profile: OnceLock<Box<Profile>>,
    pub(super) all_claims: OnceLock<Box<Map<String, Value>>>,
    /// Where the browser keeps the session: what no record says.
    pub(super) provider_sessions: Option<Box<ProviderSessions>>,
    /// Where its grants lie.
    pub(crate) grant_keys: GrantKeyCache,
    pub(crate) liveness: SessionLiveness,
}

/// What changes during a session's life in this process.
pub(crate) struct SessionLiveness {
    /// When the store last confirmed it.
    confirmed_at: AtomicU64,
    /// When a request last used it here.
    seen_at: AtomicU64,
    /// When the store's record, or the browser's cookie, expires unless it is written again.
    kept_until: AtomicU64,
    /// For good: ids are never used again.
    ended: AtomicBool,
    extending: AtomicBool,
    /// Where changes of its row are noted, and what was known of them when the store last confirmed it.
    place: Slot,
    heard: AtomicU64,
}

/// The claims that have a method of their own.
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

impl SessionLiveness {
    pub(super) fn new(row: Key, confirmed_at: Timestamp, seen_at: Timestamp, kept_until: Timestamp) -> Self {
        Self {
            confirmed_at: AtomicU64::new(confirmed_at.as_millis()),
            seen_at: AtomicU64::new(seen_at.as_millis()),
            kept_until: AtomicU64::new(kept_until.as_millis()),
            ended: AtomicBool::new(false),
            extending: AtomicBool::new(false),
            place: Slot::of(row),
            heard: AtomicU64::new(0),
        }
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// The store has confirmed it; `heard` is what was known of changes before it was asked.
    pub(crate) fn confirm(&self, heard: u64, now: Timestamp) {
        self.hear(heard);
        self.confirmed_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        self.see(now);
    }

    pub(crate) fn hear(&self, heard: u64) {
        self.heard.fetch_max(heard, Ordering::AcqRel);
    }

    pub(crate) fn see(&self, now: Timestamp) {
        self.seen_at.fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// Whether it may be believed without asking: it was confirmed, and not longer ago than this.
    pub(crate) fn is_confirmed(&self, now: Timestamp, max_staleness: Duration) -> bool {
        let confirmed_at = Timestamp::from_millis(self.confirmed_at.load(Ordering::Relaxed));
        confirmed_at != NEVER && !max_staleness.is_zero() && now.duration_since(confirmed_at) <= max_staleness
    }

    pub(crate) fn keep_until(&self, kept_until: Timestamp) {
        self.kept_until.store(kept_until.as_millis(), Ordering::Relaxed);
    }

    fn kept_until(&self) -> Timestamp {
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

impl Session {
    pub(crate) fn new(
        id: SessionId,
        row: Key,
        record: SessionRecord,
        kept_until: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            issuer: record.issuer.into(),
            subject: record.subject.into(),
            acr: record.acr.map(Into::into),
            auth_time: record.auth_time,
            claims: OnceLock::from(Box::from(record.claims)),
            logout_token: record.logout_token,
            ends_at: record.ends_at,
            profile: OnceLock::new(),
            all_claims: OnceLock::new(),
            provider_sessions: None,
            grant_keys: GrantKeyCache::default(),
            liveness: SessionLiveness::new(row, now, now, kept_until),
        }
    }

    /// Whose grants are this session's.
    pub(crate) fn owner(&self) -> Owner {
        Owner::User { issuer: self.issuer.to_string(), subject: self.subject.to_string() }
    }

    /// Stands for a session that ended, so that a late reader of the store cannot bring it back.
    pub(crate) fn ended(id: SessionId) -> Self {
        let record = SessionRecord {
            issuer: String::new(),
            subject: String::new(),
            sids: Vec::new(),
            auth_time: None,
            issued_at: 0,
            acr: None,
            claims: String::new(),
            id_token: Secret::default(),
            logout_token: [0; 16],
            ends_at: Timestamp::default(),
        };
        // Nothing is asked about it any more: no row is watched.
        let session = Self::new(id, Key([0; 32]), record, Timestamp::default(), Timestamp::default());
        session.liveness.end();
        session
    }

    /// What logout tokens are compared with, where the browser keeps the session.
    pub(crate) fn provider_sessions(&self) -> Option<&ProviderSessions> {
        self.provider_sessions.as_deref()
    }

    /// The same, with whose it is.
    pub(crate) fn provider_session(&self) -> Option<ProviderSession<'_>> {
        let provider_sessions = self.provider_sessions()?;
        Some(self.begun_with(provider_sessions, provider_sessions.sids()))
    }

    fn begun_with(&self, provider_sessions: &ProviderSessions, sids: Vec<String>) -> ProviderSession<'_> {
        let (issuer, subject, issued_at) = (&*self.issuer, &*self.subject, provider_sessions.issued_at);
        ProviderSession { issuer, subject, sids: sids.into(), issued_at }
    }

    /// Where it is noted that logout tokens came which may mean it.
    pub(crate) fn watch(&self, index: &BlindIndexKey) -> Arc<[(Key, Slot)]> {
        let Some(provider_sessions) = self.provider_sessions() else { return Arc::new([]) };
        provider_sessions.notes(index, |sids| self.begun_with(provider_sessions, sids).notes(index).collect())
    }

    /// A newer ID token came for it, where the browser keeps it.
    pub(crate) fn learn(&self, sid: Option<&str>, id_token: &Secret) {
        self.doubt(
            self.provider_sessions().is_some_and(|provider_sessions| provider_sessions.learn(sid, id_token)),
        );
    }

    /// The browser has shown a cookie with these.
    pub(crate) fn shows(&self, sids: &[String]) {
        self.doubt(self.provider_sessions().is_some_and(|provider_sessions| provider_sessions.shows(sids)));
    }

    fn doubt(&self, doubts: bool) {
        if doubts {
            self.liveness.confirmed_at.store(NEVER.as_millis(), Ordering::Relaxed);
        }
    }

    /// Whether something was heard since it was confirmed, of its row or of what its provider ended.
    pub(crate) fn has_news(&self, invalidations: &Invalidations) -> bool {
        let heard = self.liveness.heard.load(Ordering::Acquire);
        invalidations.changed_since(heard, self.liveness.place)
            || self
                .provider_sessions()
                .is_some_and(|provider_sessions| provider_sessions.has_news(heard, invalidations))
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

    /// Whether the person is an admin by these rules; `shown` are the claims where the browser keeps them.
    pub(crate) fn is_admin(&self, admins: &Admins, shown: impl Fn() -> Option<String>) -> bool {
        let profile = self.profile();
        let email = profile.email.as_deref().map(|email| (email, profile.email_verified));
        admins.include((&self.issuer, &self.subject), email, || self.all_claims_or(shown))
    }

    /// The same, decoded.
    pub(crate) fn all_claims_or(
        &self,
        shown: impl FnOnce() -> Option<String>,
    ) -> Option<&Map<String, Value>> {
        let claims = Some(self.claims_or(shown)).filter(|claims| !claims.is_empty())?;
        let decoded = || Box::new(serde_json::from_str(claims).unwrap_or_default());
        Some(self.all_claims.get_or_init(decoded))
    }

    /// For events.
    pub(crate) fn user(&self) -> Option<(&str, &str)> {
        Some((&self.issuer, &self.subject))
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.liveness.ended.load(Ordering::Acquire)
    }

    /// Whether it must be written again soon, or it expires unused: an eighth of the idle lifetime was used up.
    pub(crate) fn is_aging(&self, idle: Duration, now: Timestamp) -> bool {
        let wanted = now.saturating_add(idle).min(self.ends_at);
        wanted.duration_since(self.liveness.kept_until()) > idle / 8
            || self.provider_sessions().is_some_and(ProviderSessions::is_unsealed)
    }

    pub(crate) fn expires_at(&self, idle: Duration) -> Timestamp {
        let seen = Timestamp::from_millis(self.liveness.seen_at.load(Ordering::Relaxed)).saturating_add(idle);
        seen.max(self.liveness.kept_until()).min(self.ends_at)
    }
}

/// The most that a person's claims and ID token may have together, in bytes: a record holds 64 KiB.
pub(crate) const MOST_CLAIMS: usize = 48 * 1024;
