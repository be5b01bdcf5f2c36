//! Sessions: which browser is which person, kept in the store and remembered in this process.

use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ambient::Timestamp;
use crate::changes::{Changes, Place};
use crate::grant::Owner;
use crate::records::{Found, IndexKey, Loaded, Records};
use crate::secret::{Secret, sealed};
use crate::session_id::{FirstWord, SessionId};
use crate::store::{Change, Key, StoreError, Tag, Version};

/// How many sessions this process remembers. Others are read from the store when they come.
const REMEMBERED: u64 = 1_000_000;

/// A session as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// The provider's session (OpenID Connect Back-Channel Logout 1.0 section 2.1).
    pub(crate) sid: Option<String>,
    pub(crate) auth_time: Option<u64>,
    /// The ID token's `iat`: when it began, by the provider's clock.
    pub(crate) issued_at: u64,
    pub(crate) acr: Option<String>,
    /// What the provider says about the person: a JSON object.
    pub(crate) claims: String,
    /// For the provider's logout only.
    #[serde(with = "sealed")]
    pub(crate) id_token: Secret,
    /// What a logout link must carry.
    pub(crate) logout_token: [u8; 16],
    pub(crate) started_at: Timestamp,
    pub(crate) ends_at: Timestamp,
}

/// A session that this process knows: what requests need of it, and how long it may be believed.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) issuer: Box<str>,
    pub(crate) subject: Box<str>,
    pub(crate) acr: Option<Box<str>>,
    pub(crate) auth_time: Option<u64>,
    pub(crate) claims: Box<str>,
    pub(crate) logout_token: [u8; 16],
    pub(crate) ends_at: Timestamp,
    profile: OnceLock<Box<Profile>>,
    life: Life,
}

/// What changes during a session's life in this process.
struct Life {
    /// When the store last confirmed it.
    confirmed_at: AtomicU64,
    /// When a request last used it here.
    seen_at: AtomicU64,
    /// When the store's record expires unless it is written again.
    kept_until: AtomicU64,
    /// For good: ids are never used again.
    ended: AtomicBool,
    extending: AtomicBool,
    /// Where changes of its row are noted, and what was known of them when the store last confirmed it.
    place: Place,
    heard: AtomicU64,
}

/// The claims that have a method of their own, and all of them.
pub(crate) struct Profile {
    pub(crate) email: Option<Box<str>>,
    pub(crate) email_verified: bool,
    pub(crate) name: Option<Box<str>>,
    pub(crate) nickname: Option<Box<str>>,
    pub(crate) picture: Option<Box<str>>,
    pub(crate) claims: Map<String, Value>,
}

impl Session {
    fn new(id: SessionId, record: SessionRecord, kept_until: Timestamp, now: Timestamp) -> Self {
        Self {
            id,
            issuer: record.issuer.into(),
            subject: record.subject.into(),
            acr: record.acr.map(Into::into),
            auth_time: record.auth_time,
            claims: record.claims.into(),
            logout_token: record.logout_token,
            ends_at: record.ends_at,
            profile: OnceLock::new(),
            life: Life {
                confirmed_at: AtomicU64::new(now.as_millis()),
                seen_at: AtomicU64::new(now.as_millis()),
                kept_until: AtomicU64::new(kept_until.as_millis()),
                ended: AtomicBool::new(false),
                extending: AtomicBool::new(false),
                place: Place::of(id.row().key),
                heard: AtomicU64::new(0),
            },
        }
    }

    /// Whose grants are this session's.
    pub(crate) fn owner(&self) -> Owner {
        Owner::User { issuer: self.issuer.to_string(), subject: self.subject.to_string() }
    }

    /// Stands for a session that ended, so that a late reader of the store cannot bring it back.
    fn ended(id: SessionId) -> Self {
        let record = SessionRecord {
            issuer: String::new(),
            subject: String::new(),
            sid: None,
            auth_time: None,
            issued_at: 0,
            acr: None,
            claims: String::new(),
            id_token: Secret::default(),
            logout_token: [0; 16],
            started_at: Timestamp::default(),
            ends_at: Timestamp::default(),
        };
        let session = Self::new(id, record, Timestamp::default(), Timestamp::default());
        session.life.ended.store(true, Ordering::Release);
        session
    }

    pub(crate) fn profile(&self) -> &Profile {
        self.profile.get_or_init(|| {
            let claims: Map<String, Value> = serde_json::from_str(&self.claims).unwrap_or_default();
            let text = |name: &str| claims.get(name).and_then(Value::as_str).map(Box::from);
            Box::new(Profile {
                email: text("email"),
                // Some providers spell booleans as strings.
                email_verified: match claims.get("email_verified") {
                    Some(Value::Bool(verified)) => *verified,
                    Some(Value::String(verified)) => verified == "true",
                    _ => false,
                },
                name: text("name"),
                nickname: text("nickname"),
                picture: text("picture"),
                claims,
            })
        })
    }

    /// For events.
    pub(crate) fn user(&self) -> Option<(&str, &str)> {
        Some((&self.issuer, &self.subject))
    }

    fn has_ended(&self) -> bool {
        self.life.ended.load(Ordering::Acquire)
    }

    fn expires_at(&self, idle: Duration) -> Timestamp {
        let seen = Timestamp::from_millis(self.life.seen_at.load(Ordering::Relaxed)).plus(idle);
        let kept = Timestamp::from_millis(self.life.kept_until.load(Ordering::Relaxed));
        seen.max(kept).min(self.ends_at)
    }
}

/// What this process knows of a session without asking the store.
pub(crate) enum Peek {
    Live(Arc<Session>),
    Ended,
    /// It is new here, or was not confirmed for too long.
    Ask,
}

/// The sessions.
pub(crate) struct Sessions {
    remembered: Cache<SessionId, Arc<Session>, UnitWeighter, BuildHasherDefault<FirstWord>>,
    idle_lifetime: Duration,
    max_staleness: Duration,
    /// Where people sign in.
    issuers: Vec<String>,
    changes: Arc<Changes>,
}

impl Sessions {
    pub(crate) fn new(idle_lifetime: Duration, max_staleness: Duration, issuers: Vec<String>) -> Self {
        let (weighter, hasher) = (UnitWeighter, BuildHasherDefault::default());
        let remembered = Cache::with(1024, REMEMBERED, weighter, hasher, DefaultLifecycle::default());
        Self { remembered, idle_lifetime, max_staleness, issuers, changes: Arc::default() }
    }

    pub(crate) fn peek(&self, id: &SessionId, now: Timestamp) -> Peek {
        let Some(session) = self.remembered.get(id) else { return Peek::Ask };
        if session.has_ended() || now >= session.ends_at {
            return Peek::Ended;
        }
        let confirmed_at = Timestamp::from_millis(session.life.confirmed_at.load(Ordering::Relaxed));
        // Idle here may be busy elsewhere: only the store knows.
        if now.since(confirmed_at) > self.max_staleness
            || self.max_staleness.is_zero()
            || now >= session.expires_at(self.idle_lifetime)
            || self.changes.since(session.life.heard.load(Ordering::Acquire), session.life.place)
        {
            return Peek::Ask;
        }
        session.life.seen_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        Peek::Live(session)
    }

    /// The session, from this process or the store.
    pub(crate) async fn find(
        &self,
        id: SessionId,
        records: &Records,
        now: Timestamp,
    ) -> Result<Option<Arc<Session>>, StoreError> {
        match self.peek(&id, now) {
            Peek::Live(session) => return Ok(Some(session)),
            Peek::Ended => return Ok(None),
            Peek::Ask => {}
        }
        let heard = self.listen(records);
        match records.load::<SessionRecord>(&id.row()).await? {
            // The operator has taken the provider away, and with it what it said. It may come back.
            Loaded::Found(found) if !self.issuers.contains(&found.value.issuer) => Ok(None),
            Loaded::Found(found) => {
                // Public ids are made under it, in places that cannot wait. Where the secrets open neither it nor
                // the session, nobody is signed in, and that is no error.
                records.index().await?;
                Ok(self.confirm(id, found, heard, now))
            }
            Loaded::Absent(_) => {
                if let Some(session) = self.remembered.get(&id) {
                    session.life.ended.store(true, Ordering::Release);
                }
                Ok(None)
            }
            // Signed out until the secret is back, and nothing is ended.
            Loaded::Unreadable => Ok(None),
        }
    }

    /// `heard` is what was known of changes before the store was asked.
    fn confirm(
        &self,
        id: SessionId,
        found: Found<SessionRecord>,
        heard: u64,
        now: Timestamp,
    ) -> Option<Arc<Session>> {
        let kept_until = if found.outdated_seal { now } else { found.expires_at };
        let session = self.remember(id, || Session::new(id, found.value, kept_until, now));
        // The store was asked before: a session that ended meanwhile stays ended.
        if session.has_ended() {
            return None;
        }
        session.life.heard.fetch_max(heard, Ordering::AcqRel);
        session.life.confirmed_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        session.life.kept_until.store(kept_until.as_millis(), Ordering::Relaxed);
        session.life.seen_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        Some(session)
    }

    /// What is known of changes so far. Whoever remembers a session listens from then on, unless the store is asked
    /// anyway.
    fn listen(&self, records: &Records) -> u64 {
        if !self.max_staleness.is_zero() {
            records.listen(&self.changes);
        }
        self.changes.heard()
    }

    fn remember(&self, id: SessionId, session: impl FnOnce() -> Session) -> Arc<Session> {
        let remembered: Result<_, std::convert::Infallible> =
            self.remembered.get_or_insert_with(&id, || Ok(Arc::new(session())));
        match remembered {
            Ok(session) => session,
            Err(never) => match never {},
        }
    }

    /// Writes a new session, which ends by itself at `record.ends_at` at the latest.
    pub(crate) async fn start(
        &self,
        id: SessionId,
        record: SessionRecord,
        records: &Records,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let index = records.index().await?;
        let expires_at = now.plus(self.idle_lifetime).min(record.ends_at);
        let tags = tags(&record, index);
        let heard = self.listen(records);
        match records.swap(&id.row(), None, &record, expires_at, tags).await? {
            Some(_) => {
                let session = self.remember(id, || Session::new(id, record, expires_at, now));
                session.life.heard.fetch_max(heard, Ordering::AcqRel);
                Ok(())
            }
            None => Err(StoreError::refused("a new session's row was there already")),
        }
    }

    /// Ends a session: in the store first, so that a store that is away is no half of a logout.
    pub(crate) async fn end(&self, id: SessionId, records: &Records) -> Result<(), StoreError> {
        records.delete(id.row().key, None).await?;
        self.remember(id, || Session::ended(id)).life.ended.store(true, Ordering::Release);
        Ok(())
    }

    /// Ends a session by its row, where nobody has shown its id.
    pub(crate) async fn end_row(&self, row: Key, records: &Records) -> Result<(), StoreError> {
        records.delete(row, None).await?;
        // Whoever comes with it finds out from the store.
        self.changes.hear(Change::Row(row));
        Ok(())
    }

    /// Whether the store's record should be written again soon: an eighth of the idle lifetime was used up.
    /// True for one caller at a time.
    pub(crate) fn wants_extension(&self, session: &Session, now: Timestamp) -> bool {
        let kept_until = Timestamp::from_millis(session.life.kept_until.load(Ordering::Relaxed));
        let wanted = now.plus(self.idle_lifetime).min(session.ends_at);
        wanted.since(kept_until) > self.idle_lifetime / 8
            && !session.life.extending.swap(true, Ordering::AcqRel)
    }

    /// Writes the record with a later expiry. A session that ended meanwhile is not written.
    pub(crate) async fn extend(&self, session: &Session, records: &Records, now: Timestamp) {
        let extended = async {
            let row = session.id.row();
            let index = records.index().await?;
            if let Loaded::Found(found) = records.load::<SessionRecord>(&row).await? {
                let expires_at = now.plus(self.idle_lifetime).min(found.value.ends_at);
                let tags = tags(&found.value, index);
                let written: Option<Version> =
                    records.swap(&row, Some(found.version), &found.value, expires_at, tags).await?;
                if written.is_some() {
                    session.life.kept_until.store(expires_at.as_millis(), Ordering::Relaxed);
                }
            }
            Ok::<_, StoreError>(())
        };
        // A store that is away was reported; the next request tries again.
        let _ = extended.await;
        session.life.extending.store(false, Ordering::Release);
    }
}

/// Under what logout tokens find the session.
fn tags(record: &SessionRecord, index: IndexKey) -> Vec<Tag> {
    let sid = record.sid.as_ref().map(|sid| sid_tag(&record.issuer, sid, index));
    std::iter::once(subject_tag(&record.issuer, &record.subject, index)).chain(sid).collect()
}

pub(crate) fn subject_tag(issuer: &str, subject: &str, index: IndexKey) -> Tag {
    Tag(index.hash(&[b"subject", issuer.as_bytes(), subject.as_bytes()]))
}

pub(crate) fn sid_tag(issuer: &str, sid: &str, index: IndexKey) -> Tag {
    Tag(index.hash(&[b"sid", issuer.as_bytes(), sid.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::{Clock, Random};
    use crate::events::Events;
    use crate::seal::KeyRing;
    use crate::store::{MemoryStore, Store};

    const IDLE: Duration = Duration::from_secs(800);

    struct World {
        sessions: Sessions,
        records: Records,
        store: MemoryStore,
        now: Arc<AtomicU64>,
    }

    impl World {
        fn new() -> Self {
            Self::on(MemoryStore::new(), Arc::new(AtomicU64::new(1_000_000_000)))
        }

        fn on(store: MemoryStore, now: Arc<AtomicU64>) -> Self {
            let read = Arc::clone(&now);
            let clock = Clock::from_fn(move || Timestamp::from_millis(read.load(Ordering::SeqCst)));
            let ring = KeyRing::new(&["secret".into()]);
            let records =
                Records::new(Arc::new(store.clone()), ring, clock, Random::system(), Events::default());
            let sessions = Sessions::new(IDLE, Duration::from_secs(2), vec!["https://op.test".into()]);
            Self { sessions, records, store, now }
        }

        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.now.load(Ordering::SeqCst))
        }

        fn pass(&self, seconds: u64) {
            self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
        }

        async fn start(&self, name: u8) -> SessionId {
            let id = SessionId::new([name; 32]);
            let record = SessionRecord {
                issuer: "https://op.test".into(),
                subject: "a1".into(),
                sid: Some("sid".into()),
                auth_time: None,
                issued_at: 1,
                acr: None,
                claims: r#"{"email":"a@x.test"}"#.into(),
                id_token: "e.y.J".into(),
                logout_token: [7; 16],
                started_at: self.now(),
                ends_at: self.now().plus(Duration::from_secs(10_000)),
            };
            self.sessions.start(id, record, &self.records, self.now()).await.unwrap();
            id
        }

        async fn is_live(&self, id: SessionId) -> bool {
            let found = self.sessions.find(id, &self.records, self.now()).await.unwrap();
            if let Some(session) = &found
                && self.sessions.wants_extension(session, self.now())
            {
                self.sessions.extend(session, &self.records, self.now()).await;
            }
            found.is_some()
        }
    }

    /// Check 134.
    #[tokio::test]
    async fn idle_and_absolute_lifetimes_end_a_session() {
        let world = World::new();
        let id = world.start(1).await;
        for _ in 0..24 {
            world.pass(400);
            assert!(world.is_live(id).await, "used within the idle lifetime");
        }
        world.pass(399);
        assert!(world.is_live(id).await);
        world.pass(1);
        assert!(!world.is_live(id).await, "10,000 s after it started it ends whatever was used");
        let id = world.start(2).await;
        world.pass(799);
        assert!(world.is_live(id).await);
        world.pass(800);
        assert!(!world.is_live(id).await, "idle for the whole idle lifetime");
    }

    #[tokio::test]
    async fn an_ordinary_request_writes_nothing() {
        let world = World::new();
        let id = world.start(1).await;
        let before = world.store.load(id.row().key).await.unwrap().unwrap().version;
        world.pass(90);
        assert!(world.is_live(id).await);
        assert_eq!(world.store.load(id.row().key).await.unwrap().unwrap().version, before);
        world.pass(20);
        assert!(world.is_live(id).await);
        assert_ne!(
            world.store.load(id.row().key).await.unwrap().unwrap().version,
            before,
            "an eighth is used up"
        );
    }

    /// Check 135, and the race of a logout with a reader of the store.
    #[tokio::test]
    async fn an_ended_session_is_dead_at_once_and_stays_so() {
        let world = World::new();
        let id = world.start(1).await;
        let read_before = match world.records.load::<SessionRecord>(&id.row()).await.unwrap() {
            Loaded::Found(found) => found,
            _ => panic!("it is there"),
        };
        let held = world.sessions.find(id, &world.records, world.now()).await.unwrap().unwrap();
        world.sessions.end(id, &world.records).await.unwrap();
        assert!(!world.is_live(id).await);
        assert!(
            world.sessions.confirm(id, read_before, 0, world.now()).is_none(),
            "a late reader brings nothing back"
        );
        world.sessions.extend(&held, &world.records, world.now()).await;
        assert!(world.store.load(id.row().key).await.unwrap().is_none(), "nor does a late writer");
    }

    #[tokio::test]
    async fn another_process_learns_of_the_end_within_the_staleness() {
        let here = World::new();
        let there = World::on(here.store.clone(), Arc::clone(&here.now));
        let id = here.start(1).await;
        assert!(there.is_live(id).await);
        here.sessions.end(id, &here.records).await.unwrap();
        here.pass(3);
        assert!(!there.is_live(id).await);
    }
}
