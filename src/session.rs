//! Sessions: which browser is which person, kept in the store and remembered in this process.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ambient::Timestamp;
use crate::records::{Found, IndexKey, Loaded, Records, Row};
use crate::seal::Purpose;
use crate::secret::{Secret, sealed};
use crate::store::{Key, StoreError, Tag, Version};

/// What the characters of base64url stand for. The general decoder takes twice as long for so few characters, and
/// this is done at every request.
const SEXTETS: [u32; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut sextets = [NOT_A_SEXTET; 256];
    let mut sextet = 0;
    while sextet < alphabet.len() {
        sextets[alphabet[sextet] as usize] = sextet as u32;
        sextet += 1;
    }
    sextets
};
/// Wherever in its group of four the character stands, one of these bits lands above the group's 24.
const NOT_A_SEXTET: u32 = 1 << 24 | 1 << 18 | 1 << 12 | 1 << 6;

/// How many sessions this process remembers. Others are read from the store when they come.
const REMEMBERED: u64 = 1_000_000;

/// The 256 random bits in a browser's cookie. Equality takes the same time wherever the difference is.
#[derive(Clone, Copy, Eq)]
pub(crate) struct SessionId([u8; 32]);

impl SessionId {
    pub(crate) fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Reads a cookie's value; anything that is not exactly an id is no session.
    pub(crate) fn from_cookie(value: &[u8]) -> Option<Self> {
        let (groups, tail) = <&[u8; 43]>::try_from(value).ok()?.as_chunks::<4>();
        let sextet = |character: u8| SEXTETS[usize::from(character)];
        let mut id = [0; 32];
        let (triples, pair) = id.as_chunks_mut::<3>();
        let mut seen = 0;
        for (triple, [a, b, c, d]) in triples.iter_mut().zip(groups) {
            let bits = sextet(*a) << 18 | sextet(*b) << 12 | sextet(*c) << 6 | sextet(*d);
            *triple = [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8];
            seen |= bits;
        }
        // 43 characters are 32 bytes and two bits that must be zero: one spelling for each id.
        let [a, b, c] = <[u8; 3]>::try_from(tail).ok()?;
        let bits = sextet(a) << 12 | sextet(b) << 6 | sextet(c);
        pair.copy_from_slice(&[(bits >> 10) as u8, (bits >> 2) as u8]);
        ((seen | bits) >> 24 == 0 && bits & 3 == 0).then_some(Self(id))
    }

    pub(crate) fn to_cookie(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(crate) fn bytes(self) -> [u8; 32] {
        self.0
    }

    fn words(self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks::<8>();
        std::array::from_fn(|position| u64::from_le_bytes(words[position]))
    }

    /// The session's row. Who reads the database learns no id.
    pub(crate) fn row(self) -> Row {
        Row { purpose: Purpose::Session, key: Key(Sha256::digest(self.0).into()), owner: Vec::new() }
    }
}

impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        // Words instead of bytes: the same in a quarter of the time.
        self.words().ct_eq(&other.words()).into()
    }
}

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.words()[0]);
    }
}

/// Ids are random and made here, so that they are hashes already: nobody can make many that collide. What the time
/// of a look-up may tell of an id is this word at the most, and three others stay.
#[derive(Default)]
struct FirstWord(u64);

impl Hasher for FirstWord {
    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(false, "a session id hashes as one word, not as {} bytes", bytes.len());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A session as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// The provider's session (OpenID Connect Back-Channel Logout 1.0 section 2.1).
    pub(crate) sid: Option<String>,
    pub(crate) auth_time: Option<u64>,
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
            },
        }
    }

    /// Stands for a session that ended, so that a late reader of the store cannot bring it back.
    fn ended(id: SessionId) -> Self {
        let record = SessionRecord {
            issuer: String::new(),
            subject: String::new(),
            sid: None,
            auth_time: None,
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
}

impl Sessions {
    pub(crate) fn new(idle_lifetime: Duration, max_staleness: Duration) -> Self {
        let (weighter, hasher) = (UnitWeighter, BuildHasherDefault::default());
        let remembered = Cache::with(1024, REMEMBERED, weighter, hasher, DefaultLifecycle::default());
        Self { remembered, idle_lifetime, max_staleness }
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
        // Public ids are made under it, in places that cannot wait.
        records.index().await?;
        match records.load::<SessionRecord>(&id.row()).await? {
            Loaded::Found(found) => Ok(self.confirm(id, found, now)),
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

    fn confirm(&self, id: SessionId, found: Found<SessionRecord>, now: Timestamp) -> Option<Arc<Session>> {
        let kept_until = if found.outdated_seal { now } else { found.expires_at };
        let session = self.remember(id, || Session::new(id, found.value, kept_until, now));
        // The store was asked before: a session that ended meanwhile stays ended.
        if session.has_ended() {
            return None;
        }
        session.life.confirmed_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        session.life.kept_until.store(kept_until.as_millis(), Ordering::Relaxed);
        session.life.seen_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        Some(session)
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
        match records.swap(&id.row(), None, &record, expires_at, tags).await? {
            Some(_) => {
                self.remember(id, || Session::new(id, record, expires_at, now));
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
    let issuer = record.issuer.as_bytes();
    let subject = Tag(index.hash(&[b"subject", issuer, record.subject.as_bytes()]));
    let sid = record.sid.as_ref().map(|sid| Tag(index.hash(&[b"sid", issuer, sid.as_bytes()])));
    std::iter::once(subject).chain(sid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::{Clock, Random};
    use crate::events::Events;
    use crate::seal::KeyRing;
    use crate::store::{MemoryStore, Store};
    use proptest::prelude::*;

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
            Self { sessions: Sessions::new(IDLE, Duration::from_secs(2)), records, store, now }
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
            world.sessions.confirm(id, read_before, world.now()).is_none(),
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

    #[test]
    fn only_one_spelling_is_an_id() {
        let id = SessionId::new([255; 32]);
        let cookie = id.to_cookie();
        assert!(SessionId::from_cookie(cookie.as_bytes()) == Some(id));
        let mut trailing = cookie.clone();
        trailing.replace_range(42.., "9");
        for junk in
            ["", "x", &cookie[..42], &format!("{cookie}A"), &format!("{cookie}="), &trailing, &"+".repeat(43)]
        {
            assert!(SessionId::from_cookie(junk.as_bytes()).is_none(), "{junk}");
        }
    }

    proptest! {
        #[test]
        fn any_cookie_is_read_without_panic_and_spelled_one_way(value: Vec<u8>) {
            if let Some(id) = SessionId::from_cookie(&value) {
                prop_assert_eq!(id.to_cookie().into_bytes(), value);
            }
        }

        #[test]
        fn ids_come_back_from_cookies(id: [u8; 32], position in 0..43_usize, character: u8) {
            let mut cookie = SessionId::new(id).to_cookie().into_bytes();
            prop_assert_eq!(SessionId::from_cookie(&cookie).map(SessionId::bytes), Some(id));
            cookie[position] = character;
            let decoded = URL_SAFE_NO_PAD.decode(&cookie).ok();
            prop_assert_eq!(SessionId::from_cookie(&cookie).map(|id| id.bytes().to_vec()), decoded);
        }
    }
}
