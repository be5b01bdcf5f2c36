//! Work that waits for the end of a session: [`CurrentUser::ended`].
//!
//! Tokio's clock goes by itself where nothing else goes on, and says how long somebody waited; the application's, which says
//! how long sessions last, is moved by hand.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::Request;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tower_oidc::store::{Change, Key, Record, Store, StoreError, StoreFuture, Stored, Tag, Version};
use tower_oidc::{Api, Config, CurrentUser, SharedAccount, Timestamp};

use super::{TWO, act, with_sessions};
use crate::single_user::app::start;
use crate::support::app::{APP, App, OP, World, logout_link};
use crate::support::browser::Browser;
use crate::support::fault::Gate;
use crate::support::net::Caller;
use crate::support::store::{Trouble, Verb, WatchedStore};

const HOUR: Duration = Duration::from_secs(3600);
/// Longer than any pause between two looks.
const LONG: Duration = Duration::from_secs(11 * 60);
/// What a look takes that nothing holds up.
const AT_ONCE: Duration = Duration::from_millis(100);
/// `max_staleness`, and the look.
const STALE: Duration = Duration::from_millis(2100);

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The users of requests to `/keep`, as a WebSocket would keep them.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<CurrentUser>>>);

impl Kept {
    fn routes(&self) -> Router {
        let kept = self.clone();
        let keep = move |user: CurrentUser| async move { kept.0.lock().unwrap().push(user) };
        with_sessions().route("/keep", get(keep))
    }

    fn last(&self) -> CurrentUser {
        self.0.lock().unwrap().pop().expect("somebody is kept")
    }

    async fn user(&self, world: &World, origin: &str, browser: &Browser) -> CurrentUser {
        assert_eq!(world.ask(origin, browser, "/keep").await.unwrap().status(), 200);
        self.last()
    }

    /// Somebody waits for the end of this browser's session in this process, and it lasts.
    async fn waits(&self, world: &World, origin: &str, browser: &Browser) -> Waiting {
        let mut waiting: Waiting = Box::pin(self.user(world, origin, browser).await.ended());
        assert!(!ends(&mut waiting).await, "it lasts");
        waiting
    }
}

async fn ends(waiting: &mut Waiting) -> bool {
    ends_within(waiting, LONG).await
}

async fn ends_within(waiting: &mut Waiting, limit: Duration) -> bool {
    timeout(limit, waiting).await.is_ok()
}

/// Where sessions are, and whose tokens are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    PerUser,
    Stateless,
    SingleUser,
}

/// A process at `APP` and one at `TWO`, which hear nothing of each other if `deaf`; the second one's view of the store.
struct Processes {
    world: World,
    kept: Kept,
    _two: App,
    seen_by_two: WatchedStore,
}

impl Mode {
    fn processes(self, deaf: bool) -> Processes {
        self.processes_with(deaf, |config| config)
    }

    fn processes_with(self, deaf: bool, edit: impl Fn(Config) -> Config) -> Processes {
        let (world, kept) = (World::new(), Kept::default());
        let (net, clock, store) = (&world.net, &world.clock, world.app.store.clone());
        let (seen_by_one, seen_by_two) = (WatchedStore::new(store.clone()), WatchedStore::new(store.clone()));
        if deaf {
            [&seen_by_one, &seen_by_two].iter().for_each(|seen| seen.trouble(Verb::Listen, Trouble::Hang));
        }
        let app = |before: WatchedStore| match self {
            Self::PerUser => App::over(net, clock, before, store.clone(), &edit),
            Self::Stateless => App::stateless_at(net, clock, before, store.clone(), &edit),
            Self::SingleUser => {
                let app = start(&world, SharedAccount::client_credentials(), before, &edit);
                App { store: store.clone(), ..app }
            }
        };
        let (two, one) = (app(seen_by_two.clone()), app(seen_by_one));
        net.serve_service(APP, one.layer.layer(kept.routes()));
        net.serve_service(TWO, two.layer.layer(kept.routes()));
        Processes { world: World { app: one, ..world }, kept, _two: two, seen_by_two }
    }
}

const MODES: [Mode; 3] = [Mode::PerUser, Mode::Stateless, Mode::SingleUser];

/// The ways in which a session ends at once.
#[derive(Clone, Copy, Debug)]
enum End {
    Logout,
    ByProvider,
    ByAdministrator,
    All,
    AnotherLogin,
}

const ENDS: [End; 5] = [End::Logout, End::ByProvider, End::ByAdministrator, End::All, End::AnotherLogin];

impl End {
    async fn of(self, world: &World, browser: &Browser) {
        match self {
            Self::Logout => {
                let link = logout_link(browser, "/bye").await;
                assert_eq!(browser.step(&link).await.status, 303);
            }
            Self::ByProvider => {
                assert_eq!(world.back_channel(&world.logout_token("alice")).await.status(), 200);
            }
            Self::ByAdministrator => {
                world.app.layer.session_admin().end_all_sessions(OP, "a1").await.unwrap();
            }
            Self::All => assert_eq!(act(browser, "end-all").await.status, 200),
            Self::AnotherLogin => world.sign_in(browser, "alice").await,
        }
    }
}

/// No clock of the application moves.
#[tokio::test(start_paused = true)]
async fn an_end_in_this_process_is_told_at_once() {
    for mode in MODES {
        // Whatever the store tells: the process knows itself what it did.
        for deaf in [false, true] {
            let Processes { world, kept, .. } = mode.processes(deaf);
            let bob = world.signed_in("bob").await;
            let mut bobs = kept.waits(&world, APP, &bob).await;
            for end in ENDS {
                let alice = world.signed_in("alice").await;
                let user = kept.user(&world, APP, &alice).await;
                let mut waiting = kept.waits(&world, APP, &alice).await;
                end.of(&world, &alice).await;
                assert!(ends_within(&mut waiting, AT_ONCE).await, "{mode:?} {end:?} deaf: {deaf}");
                // Nothing is left to be heard.
                world.told().await;
                tokio::time::sleep(AT_ONCE).await;
                let mut late: Waiting = Box::pin(user.ended());
                assert!(ends_within(&mut late, STALE).await, "who asks afterwards: {mode:?} {end:?}");
            }
            assert!(!ends(&mut bobs).await, "{mode:?}: his lasts");
        }
    }
}

/// The store tells the other process, and no clock of the application moves.
#[tokio::test(start_paused = true)]
async fn an_end_in_another_process_is_told_by_the_store() {
    for mode in MODES {
        let Processes { world, kept, .. } = mode.processes(false);
        let bob = world.signed_in("bob").await;
        let mut bobs = kept.waits(&world, TWO, &bob).await;
        for end in ENDS {
            let alice = world.signed_in("alice").await;
            let mut waiting = kept.waits(&world, TWO, &alice).await;
            end.of(&world, &alice).await;
            world.told().await;
            assert!(ends_within(&mut waiting, AT_ONCE).await, "{mode:?} {end:?}");
        }
        assert!(!ends(&mut bobs).await, "{mode:?}: his lasts");
    }
}

/// Without a feed it is found out within `max_staleness`, 2 s by default.
#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_tells_of_is_found_out() {
    for mode in MODES {
        let Processes { world, kept, .. } = mode.processes(true);
        let bob = world.signed_in("bob").await;
        let mut bobs = kept.waits(&world, TWO, &bob).await;
        for end in ENDS {
            let alice = world.signed_in("alice").await;
            let mut waiting = kept.waits(&world, TWO, &alice).await;
            end.of(&world, &alice).await;
            assert!(ends_within(&mut waiting, STALE).await, "{mode:?} {end:?}");
        }
        assert!(!ends(&mut bobs).await, "{mode:?}: his lasts");
    }
}

/// The end that was expected is none: another process has extended the session.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_used_elsewhere_lasts() {
    for deaf in [false, true] {
        let Processes { world, kept, _two, .. } = Mode::PerUser.processes(deaf);
        let alice = world.signed_in("alice").await;
        let mut waiting = kept.waits(&world, TWO, &alice).await;
        world.clock.advance(23 * HOUR);
        assert!(!ends(&mut waiting).await);
        assert_eq!(world.who(&alice).await, "a1");
        world.app.layer.drain().await;
        world.clock.advance(2 * HOUR);
        assert!(!ends(&mut waiting).await, "it was used elsewhere");
        world.clock.advance(22 * HOUR);
        assert!(ends(&mut waiting).await, "the control");
    }
}

/// Whoever heard nothing for minutes, because there was nothing to hear, looks again when there is nothing to be heard.
#[tokio::test(start_paused = true)]
async fn a_store_that_stops_telling_is_noticed() {
    let (world, kept, gate) = (World::new(), Kept::default(), Gate::new());
    let store = Telling::new(WatchedStore::new(world.app.store.clone()), &gate);
    let two = App::over(&world.net, &world.clock, store, world.app.store.clone(), |config| config);
    world.serve(kept.routes());
    world.net.serve_service(TWO, two.layer.layer(kept.routes()));
    let alice = world.signed_in("alice").await;
    let mut waiting = kept.waits(&world, TWO, &alice).await;
    gate.open();
    tokio::time::sleep(AT_ONCE).await;
    act(&alice, "end-all").await;
    assert!(ends_within(&mut waiting, STALE).await);
}

/// A store that goes away takes the word of changes with it, and of sessions nothing: what was known a moment ago is not
/// asked for again before `max_staleness` is over.
#[tokio::test(start_paused = true)]
async fn a_store_that_stops_telling_ends_no_memory() {
    let (world, kept, gate) = (World::new(), Kept::default(), Gate::new());
    let seen = WatchedStore::new(world.app.store.clone());
    let store = Telling::new(seen.clone(), &gate);
    let two = App::over(&world.net, &world.clock, store, world.app.store.clone(), |config| config);
    world.net.serve_service(TWO, two.layer.layer(kept.routes()));
    let alice = world.signed_in("alice").await;
    let asks = async || {
        let before = seen.loads();
        kept.user(&world, TWO, &alice).await;
        seen.loads() - before
    };
    assert!(asks().await > 0);
    tokio::time::sleep(AT_ONCE).await;
    asks().await;
    assert_eq!(asks().await, 0, "known");
    gate.open();
    tokio::time::sleep(AT_ONCE).await;
    assert_eq!(asks().await, 0, "known as before");
    world.clock.advance(STALE);
    assert!(asks().await > 0, "and not for longer");
}

/// How many bytes one takes that waits, and how long it takes until all know: of 10,000, or of as many as
/// `TOWER_OIDC_WAITING` says (100000: about a kilobyte each with its task, and 200 s).
#[tokio::test(start_paused = true)]
async fn many_wait() {
    if std::env::var("TOWER_OIDC_TEST_STORE").is_ok_and(|store| store != "memory") {
        return;
    }
    let many = std::env::var("TOWER_OIDC_WAITING").ok().and_then(|many| many.parse().ok());
    let many: usize = many.unwrap_or(10_000);
    for deaf in [false, true] {
        let Processes { world, kept, .. } = Mode::PerUser.processes(deaf);
        let alice = world.signed_in("alice").await;
        let user = kept.user(&world, TWO, &alice).await;
        let before = resident();
        let waiting: Vec<_> = (0..many).map(|_| tokio::spawn(user.ended())).collect();
        tokio::time::sleep(AT_ONCE).await;
        let bytes = resident().saturating_sub(before) / many;
        act(&alice, "end-all").await;
        let told = Instant::now();
        for waiting in waiting {
            waiting.await.unwrap();
        }
        let all = told.elapsed();
        println!("{many}, deaf: {deaf}: {bytes} bytes more each, with their tasks, and {all:?} until all know");
        assert!(bytes < 2500, "{bytes}");
        // 20 ms of tokio's clock may be 21, and who waits looks again after 2 s.
        assert!(all < Duration::from_millis(many as u64 * 21 / 10 + 2500), "{all:?}");
    }
}

/// What this process has in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}

/// A store that tells of changes until a gate opens, and never again.
#[derive(Clone)]
struct Telling {
    rows: WatchedStore,
    until: Gate,
    is_mute: Arc<AtomicBool>,
}

impl Telling {
    fn new(rows: WatchedStore, until: &Gate) -> Self {
        Self { rows, until: until.clone(), is_mute: Arc::default() }
    }
}

impl Store for Telling {
    fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>> {
        self.rows.load(key)
    }

    fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>> {
        self.rows.swap(key, expected, record)
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool> {
        self.rows.delete(key, expected)
    }

    fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>> {
        self.rows.find(tag)
    }

    fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64> {
        self.rows.delete_expired(older_than)
    }

    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            if !self.is_mute.load(Ordering::SeqCst) {
                tokio::select! {
                    ended = self.rows.subscribe(heard) => return ended,
                    () = self.until.wait() => self.is_mute.store(true, Ordering::SeqCst),
                }
            }
            Err(StoreError::unavailable("the test closed it", "on purpose"))
        })
    }
}

/// To wait is no use of a session.
#[tokio::test(start_paused = true)]
async fn an_idle_session_and_an_old_one_end() {
    for mode in MODES {
        for deaf in [false, true] {
            let Processes { world, kept, .. } = mode.processes(deaf);
            let alice = world.signed_in("alice").await;
            let mut waiting = kept.waits(&world, APP, &alice).await;
            for _ in 0..23 {
                world.clock.advance(HOUR);
                assert!(!ends(&mut waiting).await, "{mode:?}");
            }
            world.clock.advance(HOUR);
            assert!(ends(&mut waiting).await, "idle for a day: {mode:?}");

            world.sign_in(&alice, "alice").await;
            let mut waiting = kept.waits(&world, APP, &alice).await;
            for _ in 0..13 {
                world.clock.advance(12 * HOUR);
                assert_eq!(world.who(&alice).await, "a1");
                world.app.layer.drain().await;
                assert!(!ends(&mut waiting).await, "it is in use: {mode:?}");
            }
            world.clock.advance(12 * HOUR);
            assert!(ends(&mut waiting).await, "seven days old: {mode:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_user_of_an_access_token_ends_with_it() {
    let api = |config: Config| config.api(Api::new("https://app.test/api"));
    let Processes { world, kept, .. } = Mode::PerUser.processes_with(false, api);
    let token = world.op.access_jwt(Some("alice"), "https://app.test/api", |jwt| {
        jwt.claim("exp", world.clock.now() + 600);
    });
    let request = Request::get(format!("{APP}/keep")).header("authorization", format!("Bearer {token}"));
    let answer = world.net.call(Caller::Application, request.body(Bytes::new()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.body());
    let mut waiting: Waiting = Box::pin(kept.last().ended());
    assert!(!ends(&mut waiting).await);
    world.clock.advance(Duration::from_secs(599));
    assert!(!ends(&mut waiting).await);
    world.clock.advance(Duration::from_secs(1));
    assert!(ends(&mut waiting).await);
}

/// While the store is away nothing ends, and what ended meanwhile is found out afterwards.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_ends_nothing() {
    for deaf in [false, true] {
        let Processes { world, kept, seen_by_two, .. } = Mode::PerUser.processes(deaf);
        let alice = world.signed_in("alice").await;
        let mut waiting = kept.waits(&world, TWO, &alice).await;
        seen_by_two.trouble(Verb::Load, Trouble::Fail);
        act(&alice, "end-all").await;
        world.told().await;
        assert!(!ends(&mut waiting).await, "deaf: {deaf}");
        seen_by_two.heal();
        assert!(ends_within(&mut waiting, STALE).await, "deaf: {deaf}");
    }
}

/// Who does not ask costs nothing, and who leaves is forgotten.
#[tokio::test(start_paused = true)]
async fn nobody_is_looked_at_who_does_not_wait() {
    let Processes { world, kept, seen_by_two, .. } = Mode::PerUser.processes(true);
    let alice = world.signed_in("alice").await;
    let user = kept.user(&world, TWO, &alice).await;
    let looks = async || {
        let before = seen_by_two.loads();
        tokio::time::sleep(Duration::from_secs(21)).await;
        seen_by_two.loads() - before
    };
    assert_eq!(looks().await, 0);
    let waiting: Waiting = Box::pin(user.ended());
    assert_eq!(looks().await, 0, "nobody has polled it");
    let waiting = tokio::spawn(waiting);
    assert_eq!(looks().await, 10, "the control");
    waiting.abort();
    assert_eq!(looks().await, 0);
}

/// Many who wait are looked at one after the other, at most 500 a second by tokio's clock.
#[tokio::test(start_paused = true)]
async fn looks_are_spread() {
    let Processes { world, kept, seen_by_two, .. } = Mode::PerUser.processes(true);
    let alice = world.signed_in("alice").await;
    let user = kept.user(&world, TWO, &alice).await;
    let waiting: Vec<_> = (0..3000).map(|_| tokio::spawn(user.ended())).collect();
    let begin = seen_by_two.loads();
    for second in 1..=20 {
        let before = seen_by_two.loads();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let looks = seen_by_two.loads() - before;
        assert!(looks <= 510, "{looks} in second {second}");
    }
    let looks = seen_by_two.loads() - begin;
    assert!(looks > 6000, "{looks} in 20 seconds");
    act(&alice, "end-all").await;
    let told = Instant::now();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    let all = told.elapsed();
    assert!(all > Duration::from_secs(3) && all < Duration::from_millis(6500), "{all:?}");
    assert_eq!(world.who(&alice).await, Value::Null);
}
