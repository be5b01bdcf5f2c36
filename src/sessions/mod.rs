//! The sessions: kept in the store or by the browsers themselves, and remembered in this process.

pub(crate) mod identity;
mod liveness;
pub(crate) mod provider_logout;
pub(crate) mod provider_sessions;
pub(crate) mod session;
pub(crate) mod session_cookie;
pub(crate) mod session_id;
pub(crate) mod session_row;
pub(crate) mod user_agent;
pub(crate) mod visitor_id;
mod waiting;

pub(crate) use self::identity::SessionPayload;
pub(crate) use self::provider_sessions::ProviderSessions;
pub(crate) use self::session::{ClaimSources, MOST_CLAIMS, Profile, Session, SessionCookie, SessionRecord, bytes_of};
pub(crate) use self::session_cookie::SessionCookies;
pub(crate) use self::session_id::SessionId;
pub(crate) use self::visitor_id::{COOKIE, Visitor};

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use tokio::sync::Semaphore;

use self::session::SessionBytes;
use self::session_cookie::OpenedSession;
use self::session_id::{IdHasher, ShownId};
use self::waiting::Waiting;
use crate::clock::Timestamp;
use crate::events::metrics;
use crate::protocol::ProviderIssuer;
use crate::records::{Found, Loaded, ObservedAt, Records};
use crate::store::{Change, Key, StoreError};

/// The most that this process remembers of sessions, in bytes. Others are read from the store when they come.
const REMEMBERED: u64 = 1024 * 1024 * 1024;
/// So many sessions are written at once to last longer. No request waits for it, and it takes no connection from requests
/// that wait for one.
const EXTENDING: usize = 4;
/// The name of the gauge of sessions that this process remembers.
const KNOWN: &str = "tower_oidc_sessions_known";
/// The session that lasts, if one does, from this process or the store.
pub(crate) type SessionFound = Result<Option<Arc<Session>>, StoreError>;

/// A session as this process knows it without asking the store.
pub(crate) enum SessionLookup {
    Hit(Arc<Session>),
    Ended,
    /// The store is asked for it, if it keeps it: it is new here, or was not confirmed for too long.
    Unknown(SessionId),
    /// The browser keeps it: the store is asked whether it has ended all the same.
    Unconfirmed(Arc<Session>),
}

/// The sessions.
pub(crate) struct Sessions {
    /// Not moka's: with it a look-up takes about 750 instructions more, and the lines `known:100`, `known:10000` and
    /// `inside-known:10000` of the benchmark `request` exceed their limits.
    remembered: Cache<SessionId, Arc<Session>, SessionBytes, IdHasher>,
    extending: Semaphore,
    idle_lifetime: Duration,
    max_staleness: Duration,
    /// Where people sign in.
    issuers: Vec<ProviderIssuer>,
    /// Where browsers keep their sessions themselves.
    carried: Option<SessionCookies>,
    records: Arc<Records>,
    waiting: Arc<Waiting>,
}

impl Sessions {
    pub(crate) fn new(
        idle_lifetime: Duration, max_staleness: Duration, issuers: Vec<ProviderIssuer>,
        carried: Option<SessionCookies>, records: Arc<Records>,
    ) -> Self {
        let hasher = IdHasher::new(records.random.bytes());
        let remembered = Cache::with(1024, REMEMBERED, SessionBytes, hasher, DefaultLifecycle::default());
        let waiting = Waiting::new(Arc::clone(&records), idle_lifetime, max_staleness);
        let extending = Semaphore::new(EXTENDING);
        Self { remembered, extending, idle_lifetime, max_staleness, issuers, carried, records, waiting }
    }

    /// Returns when the session has ended, or the time of the access token for which it stands.
    pub(crate) fn ended(&self, session: &Arc<Session>) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.waiting).ended(Arc::clone(session))
    }

    /// The session that a cookie's value stands for, as far as this process knows.
    pub(crate) fn peek(&self, cookie: &[u8], now: Timestamp) -> SessionLookup {
        if let Some(carried) = &self.carried {
            return self.peek_carried(carried, cookie, now);
        }
        let Some(id) = ShownId::from_cookie(cookie) else { return SessionLookup::Ended };
        match self.remembered.get(&id) {
            Some(session) => self.judge(session, now),
            None => id.decode().map_or(SessionLookup::Ended, SessionLookup::Unknown),
        }
    }

    fn peek_carried(&self, carried: &SessionCookies, cookie: &[u8], now: Timestamp) -> SessionLookup {
        let Some(cookie) = SessionCookies::text(cookie) else { return SessionLookup::Ended };
        // What ended is remembered under its id: a cookie that was opened before is no proof that it lasts.
        let known = |shown: OpenedSession| Some((shown, self.remembered.get(&shown.id)?));
        let begun = || {
            let (shown, new) = carried.open(&cookie, &self.records, now)?;
            let sids = new.provider_sessions().map(|began| began.sids()).unwrap_or_default();
            let session = self.remember(shown.id, || Arc::new(new));
            session.shows(&sids);
            Some((shown, session))
        };
        let Some((shown, session)) = carried.recall(&cookie).and_then(known).or_else(begun) else {
            return SessionLookup::Ended;
        };
        if now >= shown.expires_at {
            return SessionLookup::Ended;
        }
        session.liveness.keep_until(if shown.outdated_seal { now } else { shown.expires_at });
        // The cookie says itself until when it counts, wherever it was sealed last.
        session.liveness.see(now);
        self.judge(session, now)
    }

    fn judge(&self, session: Arc<Session>, now: Timestamp) -> SessionLookup {
        if session.has_ended() || now >= session.ends_at {
            return SessionLookup::Ended;
        }
        // Idle here may be busy elsewhere: only the store knows.
        let idle = now >= session.expires_at(self.idle_lifetime);
        let reading = self.records.clock.reading_at(now);
        let confirmed = session.liveness.is_confirmed(reading, self.max_staleness);
        if idle || !confirmed || session.has_news(&self.records.invalidations) {
            return match self.carried {
                None => SessionLookup::Unknown(session.id),
                Some(_) => SessionLookup::Unconfirmed(session),
            };
        }
        session.liveness.see(now);
        SessionLookup::Hit(session)
    }

    /// The id of the session that a cookie's value stands for, whether it lasts or not.
    pub(crate) fn id(&self, cookie: &[u8], now: Timestamp) -> Option<SessionId> {
        let Some(carried) = &self.carried else { return SessionId::from_cookie(cookie) };
        let (shown, _) = carried.open(&SessionCookies::text(cookie)?, &self.records, now)?;
        Some(shown.id)
    }

    /// The session that a cookie's value stands for, from this process or the store.
    pub(crate) async fn of(&self, cookie: Option<&[u8]>, now: Timestamp) -> SessionFound {
        let Some(cookie) = cookie else { return Ok(None) };
        self.settled(self.peek(cookie, now), now).await
    }

    /// The session of this id, without its cookie. What browsers keep themselves cannot be had so, unless it is known.
    pub(crate) async fn find(&self, id: SessionId, now: Timestamp) -> SessionFound {
        let known = match self.remembered.get(&id) {
            Some(session) => self.judge(session, now),
            None if self.carried.is_some() => SessionLookup::Ended,
            None => SessionLookup::Unknown(id),
        };
        self.settled(known, now).await
    }

    /// Whether a session that was found before still lasts.
    pub(crate) async fn lasts(&self, session: &Arc<Session>, now: Timestamp) -> Result<bool, StoreError> {
        // What ended is remembered under its id.
        let known = self.remember(session.id, || Arc::clone(session));
        Ok(self.settled(self.judge(known, now), now).await?.is_some())
    }

    /// What comes of a look, where the store must be asked, too.
    pub(crate) async fn settled(&self, known: SessionLookup, now: Timestamp) -> SessionFound {
        match known {
            SessionLookup::Hit(session) => Ok(Some(session)),
            SessionLookup::Ended => Ok(None),
            SessionLookup::Unknown(id) => Box::pin(self.ask_kept(id, now)).await,
            SessionLookup::Unconfirmed(session) => Box::pin(self.ask_carried(session, now)).await,
        }
    }

    async fn ask_kept(&self, id: SessionId, now: Timestamp) -> SessionFound {
        let (asked, row) = (self.asks(now), id.row(&self.records.keys));
        match self.records.load::<SessionRecord>(&row).await? {
            // The operator has taken the provider away, and with it what it said. It may come back.
            Loaded::Found(found) if !self.is_ours(&found.value) => Ok(None),
            Loaded::Found(found) => {
                session_row::tag_anew(&row, &found, &self.records).await?;
                Ok(self.confirm((id, row.key), *found, asked))
            }
            Loaded::Absent(None) => {
                if let Some(session) = self.remembered.get(&id) {
                    session.liveness.end();
                }
                Ok(None)
            }
            // Signed out until the secret is back, or the clock is right, and nothing is ended.
            Loaded::Absent(Some(_)) | Loaded::Unreadable => Ok(None),
        }
    }

    async fn ask_carried(&self, session: Arc<Session>, now: Timestamp) -> SessionFound {
        let asked = self.asks(now);
        if session_row::has_ended(&session, &self.records).await? {
            session.liveness.end();
            return Ok(None);
        }
        // The store was asked before: a session that ended meanwhile stays ended.
        let is_ours = self.is_ours(&session);
        if session.has_ended() || now >= session.expires_at(self.idle_lifetime) || !is_ours {
            return Ok(None);
        }
        session.liveness.confirm(asked);
        Ok(Some(session))
    }

    fn is_ours(&self, identity: &SessionPayload) -> bool {
        self.issuers.iter().any(|issuer| issuer.covers(&identity.issuer))
    }

    fn confirm(
        &self, (id, row): (SessionId, Key), found: Found<SessionRecord>, asked: ObservedAt,
    ) -> Option<Arc<Session>> {
        let now = asked.at.wall;
        let kept_until = if found.outdated_seal { now } else { found.expires_at };
        let is_same = |known: &Session| {
            known.has_ended() || (known.claims() == found.value.claims && known.roles == found.value.roles)
        };
        let session = match self.remembered.get(&id) {
            Some(known) if is_same(&known) => known,
            Some(known) => {
                let renewed = Arc::new(Session::new(id, row, found.value, kept_until, now));
                renewed.liveness.validated(Some(known.liveness.validated_at()), now);
                self.remembered.insert(id, Arc::clone(&renewed));
                // A logout may have reached the one before it meanwhile.
                if known.has_ended() {
                    renewed.liveness.end();
                }
                renewed
            }
            None => self.remember(id, || Arc::new(Session::new(id, row, found.value, kept_until, now))),
        };
        // The store was asked before: a session that ended meanwhile stays ended.
        if session.has_ended() {
            return None;
        }
        session.liveness.keep_until(kept_until);
        session.liveness.confirm(asked);
        Some(session)
    }

    /// The moment at which the store is asked. Whoever remembers a session listens to changes from then on, unless the
    /// store is asked anyway.
    fn asks(&self, now: Timestamp) -> ObservedAt {
        if !self.max_staleness.is_zero() {
            self.records.listen();
        }
        ObservedAt { at: self.records.clock.reading_at(now), heard: self.records.invalidations.heard() }
    }

    fn remember(&self, id: SessionId, session: impl FnOnce() -> Arc<Session>) -> Arc<Session> {
        let Ok(session) = self.remembered.get_or_insert_with(&id, || Ok::<_, Infallible>(session()));
        metrics::level(KNOWN, || self.remembered.len());
        session
    }

    /// Writes a new session, which ends by itself at `record.ends_at` at the latest.
    pub(crate) async fn start(&self, id: SessionId, record: SessionRecord, now: Timestamp) -> Result<(), StoreError> {
        let index = self.records.agree_on_index().await?;
        let expires_at = now.saturating_add(self.idle_lifetime).min(record.ends_at);
        let tags = record.tags(&index);
        let (asked, row) = (self.asks(now), id.row(&self.records.keys));
        let written = self.records.swap(&row, None, &record, expires_at, tags).await?;
        written.ok_or_else(|| StoreError::refused("session id collision"))?;
        let session = self.remember(id, || Arc::new(Session::new(id, row.key, record, expires_at, now)));
        session.liveness.confirm(asked);
        session.liveness.begin(now);
        Ok(())
    }

    /// Ends a session: in the store first, so that a store that is away is no half of a logout. What the browser
    /// keeps could come again: until `ends_at` it is noted that it counts no more.
    pub(crate) async fn end(&self, id: SessionId, ends_at: Timestamp) -> Result<(), StoreError> {
        let was_one = match self.carried {
            None => self.records.delete(id.row(&self.records.keys).key, None).await?,
            // Whoever was first has ended it.
            Some(_) => {
                let note = id.ended_row(&self.records.keys);
                self.records.swap(&note, None, &(), ends_at, Vec::new()).await?;
                self.records.invalidations.hear(Change::Row(note.key));
                true
            }
        };
        // What never was a session is not remembered: anybody can send any number of ids.
        match self.remembered.get(&id) {
            Some(session) => session.liveness.end(),
            None if was_one => self.remember(id, || Arc::new(Session::ended(id))).liveness.end(),
            None => {}
        }
        Ok(())
    }

    /// Lets go of what is over. A session that is idle here and used elsewhere is read again when it comes.
    pub(crate) fn forget_over(&self, now: Timestamp) {
        self.remembered.retain(|_, session| now < session.expires_at(self.idle_lifetime));
        metrics::level(KNOWN, || self.remembered.len());
        if let Some(carried) = &self.carried {
            carried.forget_over(now);
        }
    }

    /// Writes the record with a later expiry. A session that ended meanwhile is not written.
    pub(crate) async fn extend(&self, session: &Session, now: Timestamp) {
        let _turn = self.extending.acquire().await;
        let (row, mut until) = (session.id.row(&self.records.keys), now);
        let extended = session_row::rewrite(&row, &self.records, |found| {
            // A clock that is behind takes nothing away.
            until = now.saturating_add(self.idle_lifetime).min(found.value.ends_at).max(found.expires_at);
            found.expires_at = until;
            true
        });
        // A store that is away was reported; the next request tries again.
        if let Ok(true) = extended.await {
            session.liveness.keep_until(until);
        }
        session.liveness.extended();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::clock::{Clock, Random};
    use crate::events::Events;
    use crate::records::seal::KeyRing;
    use crate::store::MemoryStore;
    use crate::store::Store;

    const IDLE: Duration = Duration::from_secs(800);

    struct World {
        sessions: Sessions,
        records: Arc<Records>,
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
            let ring = KeyRing::new(&["secret".into()], b"app");
            let records = Records::new(Arc::new(store.clone()), ring, None, clock, Random::system(), Events::default());
            let (records, staleness) = (Arc::new(records), Duration::from_secs(2));
            let issuers = vec![ProviderIssuer::exact("https://op.test")];
            Self { sessions: Sessions::new(IDLE, staleness, issuers, None, Arc::clone(&records)), records, store, now }
        }

        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.now.load(Ordering::SeqCst))
        }

        fn pass(&self, seconds: u64) {
            self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
        }

        async fn start(&self, name: u8) -> SessionId {
            let id = SessionId::new([name; 32]);
            let identity = SessionPayload {
                issuer: "https://op.test".into(),
                subject: "a1".into(),
                sids: vec!["sid".into()],
                issued_at: 1,
                logout_token: [7; 16],
                ends_at: self.now().saturating_add(Duration::from_secs(10_000)),
                ..SessionPayload::default()
            };
            let claims = r#"{"email":"a@x.test"}"#.into();
            let record = SessionRecord { identity, claims, id_token: "e.y.J".into(), ..SessionRecord::default() };
            self.sessions.start(id, record, self.now()).await.unwrap();
            id
        }

        async fn is_live(&self, id: SessionId) -> bool {
            let found = self.sessions.find(id, self.now()).await.unwrap();
            if let Some(session) = &found
                && session.is_aging(self.sessions.idle_lifetime, self.now())
                && session.liveness.extends()
            {
                self.sessions.extend(session, self.now()).await;
            }
            found.is_some()
        }
    }

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

    /// Ids that were made up leave nothing behind; the end of a session does.
    #[tokio::test]
    async fn the_end_of_what_was_no_session_is_not_remembered() {
        let world = World::new();
        for made_up in 0..100 {
            world.sessions.end(SessionId::new([made_up; 32]), world.now()).await.unwrap();
        }
        assert_eq!(world.sessions.remembered.len(), 0);
        let id = world.start(1).await;
        world.sessions.remembered.clear();
        world.sessions.end(id, world.now()).await.unwrap();
        assert_eq!(world.sessions.remembered.len(), 1);
        assert!(world.sessions.find(id, world.now()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_over_is_let_go_and_what_lasts_stays() {
        let world = World::new();
        for name in 0..100 {
            world.start(name).await;
        }
        world.pass(400);
        let used = world.start(200).await;
        assert!(world.is_live(used).await);
        world.pass(400);
        assert_eq!(world.sessions.remembered.len(), 101);
        world.sessions.forget_over(world.now());
        assert_eq!(world.sessions.remembered.len(), 1, "those that were idle for the idle lifetime");
        assert!(world.is_live(used).await);
        world.sessions.end(used, world.now()).await.unwrap();
        world.pass(800);
        world.sessions.forget_over(world.now());
        assert_eq!(world.sessions.remembered.len(), 0);
    }

    #[tokio::test]
    async fn an_ordinary_request_writes_nothing() {
        let world = World::new();
        let id = world.start(1).await;
        let before = world.store.load(id.row(&world.records.keys).key).await.unwrap().unwrap().version;
        world.pass(90);
        assert!(world.is_live(id).await);
        assert_eq!(world.store.load(id.row(&world.records.keys).key).await.unwrap().unwrap().version, before);
        world.pass(20);
        assert!(world.is_live(id).await);
        assert_ne!(
            world.store.load(id.row(&world.records.keys).key).await.unwrap().unwrap().version,
            before,
            "an eighth is used up"
        );
    }

    /// The race of a logout with a reader of the store.
    #[tokio::test]
    async fn an_ended_session_is_dead_at_once_and_stays_so() {
        let world = World::new();
        let id = world.start(1).await;
        let read_before = match world.records.load::<SessionRecord>(&id.row(&world.records.keys)).await.unwrap() {
            Loaded::Found(found) => found,
            _ => panic!("it is there"),
        };
        let asked = ObservedAt { at: world.records.clock.reading(), heard: 0 };
        let held = world.sessions.find(id, world.now()).await.unwrap().unwrap();
        world.sessions.end(id, world.now()).await.unwrap();
        assert!(!world.is_live(id).await);
        assert!(
            world.sessions.confirm((id, id.row(&world.records.keys).key), *read_before, asked).is_none(),
            "a late reader brings nothing back"
        );
        world.sessions.extend(&held, world.now()).await;
        assert!(world.store.load(id.row(&world.records.keys).key).await.unwrap().is_none(), "nor does a late writer");
    }

    #[tokio::test]
    async fn another_process_learns_of_the_end_within_the_staleness() {
        let here = World::new();
        let there = World::on(here.store.clone(), Arc::clone(&here.now));
        let id = here.start(1).await;
        assert!(there.is_live(id).await);
        here.sessions.end(id, here.now()).await.unwrap();
        here.pass(3);
        assert!(!there.is_live(id).await);
    }
}
