//! Several processes whose clocks differ: a clock that is wrong makes its own process wrong, and destroys nothing that
//! others keep.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tower_oidc::store::{Key, Store, Stored};
use tower_oidc::{Connection, GrantLifetime, Resource};

use crate::single_user::app::reads_as_at;
use crate::support::app::{API, APP, App, OP, World, routes};
use crate::support::browser::Browser;
use crate::support::clock::TestClock;
use crate::support::provider::{LyingProvider, RevocationReach};
use crate::support::store::WatchedStore;

const MAIL: &str = "https://app.test/fetch?u=https://api.test/mail/";
const HOUR: Duration = Duration::from_secs(3601);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longer than a session lasts that is not used.
const ERROR: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// A process with a clock and a connection to the store of its own.
struct Process {
    clock: TestClock,
    app: App,
    store: WatchedStore,
}

/// A world in which it is as late as on this machine, because servers of databases have clocks of their own. Bob
/// signed in two months ago: what was kept for him has expired for everybody.
async fn world() -> (World, BTreeMap<Key, Stored>) {
    let world = World::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    world.clock.advance(now - Duration::from_secs(TestClock::START) - 60 * DAY);
    let long_ago = process(&world, |_| {});
    long_ago.signs_in(&world, "bob").await;
    world.clock.advance(60 * DAY);
    let rows = long_ago.store.dump().await.into_iter().collect();
    (world, rows)
}

fn process(world: &World, started: impl Fn(&TestClock)) -> Process {
    let clock = world.clock.of_a_process();
    started(&clock);
    let rows = world.app.store.seen_with(&clock);
    let store = WatchedStore::new(rows.clone());
    let app = App::over(&world.net, &clock, store.clone(), rows, |mut config| {
        config.absolute_lifetime = 10 * DAY;
        config
    });
    Process { clock, app, store }
}

impl Process {
    fn serve(&self, world: &World) {
        world.net.serve_service(APP, self.app.layer.layer(routes()));
    }

    /// A real login, at a provider on the same machine: with another clock the ID token would be refused.
    async fn signs_in(&self, world: &World, name: &str) -> Browser {
        let provider = LyingProvider::start(&world.net, OP, &self.clock);
        provider.sign_in_as(name);
        self.serve(world);
        let browser = Browser::new(&world.net, &self.clock).strict_for(APP);
        let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
        assert!(page.json()["sub"].is_string(), "{name} signs in: {}", page.text());
        self.app.layer.drain().await;
        browser
    }

    async fn who(&self, world: &World, browser: &Browser) -> Value {
        self.serve(world);
        world.who(browser).await
    }

    async fn sweeps(&self) {
        self.app.layer.delete_expired().await.expect("a store that works");
    }
}

/// What is kept now of what these wrote.
async fn rows(processes: [&Process; 2]) -> BTreeMap<Key, Stored> {
    let mut rows = BTreeMap::new();
    for process in processes {
        rows.extend(process.store.dump().await);
    }
    rows
}

/// What has expired for everybody is deleted, and the rest is not.
async fn is_gone(world: &World, process: &Process, expired: &BTreeMap<Key, Stored>) {
    let mut deleted = 0;
    for (key, row) in expired {
        let lasts = row.record.expires_at.as_millis() > world.clock.millis();
        let there = process.store.rows.load(*key).await.expect("a store that works").is_some();
        assert_eq!(there, lasts, "{row:?}");
        deleted += usize::from(!there);
    }
    assert!(deleted >= 2, "a session, and a login that was spent");
}

fn remembers_in_memory() -> bool {
    matches!(std::env::var("TOWER_OIDC_TEST_STORE").as_deref(), Err(_) | Ok("" | "memory"))
}

/// `wrong` makes a clock wrong, before its process starts or while it runs.
async fn nothing_is_lost_by(name: &str, wrong: impl Fn(&TestClock)) {
    for at_start in [false, true] {
        // Memory ends with its process: no other has kept anything there.
        if at_start && remembers_in_memory() {
            continue;
        }
        let (world, expired) = world().await;
        let right = process(&world, |_| {});
        let erring = process(&world, |clock| {
            if at_start {
                wrong(clock)
            }
        });
        erring.signs_in(&world, "bob").await;
        let alice = right.signs_in(&world, "alice").await;
        erring.who(&world, &alice).await;
        if !at_start {
            wrong(&erring.clock);
        }
        let before = rows([&right, &erring]).await;
        erring.who(&world, &alice).await;
        erring.sweeps().await;
        erring.signs_in(&world, "bob").await;
        erring.sweeps().await;
        right.sweeps().await;
        let after = rows([&right, &erring]).await;
        for (key, row) in before {
            let lasts = row.record.expires_at.as_millis() > world.clock.millis();
            assert!(!lasts || after.contains_key(&key), "{name}, at start {at_start}: {row:?} is lost");
        }
        assert_eq!(right.who(&world, &alice).await, "a1", "{name}, at start {at_start}");
        // The control.
        is_gone(&world, &right, &expired).await;
        erring.clock.correct();
        assert_eq!(erring.who(&world, &alice).await, "a1", "{name}, at start {at_start}: not ended for good");
    }
}

#[tokio::test]
async fn a_clock_that_is_ahead_destroys_nothing() {
    nothing_is_lost_by("ahead", |clock| clock.set_forward(ERROR)).await;
}

#[tokio::test]
async fn a_clock_that_is_behind_destroys_nothing() {
    nothing_is_lost_by("behind", |clock| clock.rewind(ERROR)).await;
}

#[tokio::test]
async fn a_clock_that_is_set_forth_and_back_destroys_nothing() {
    nothing_is_lost_by("forth and back", |clock| {
        clock.set_forward(2 * ERROR);
        clock.rewind(ERROR);
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_stands_still_destroys_nothing() {
    let (world, _) = world().await;
    let right = process(&world, |_| {});
    let erring = process(&world, |_| {});
    let alice = right.signs_in(&world, "alice").await;
    erring.clock.stand_still();
    for _ in 0..16 {
        world.clock.advance(DAY / 2);
        assert_eq!(right.who(&world, &alice).await, "a1");
        // The session was used, and this is written before the clock moves on.
        right.app.layer.drain().await;
        erring.who(&world, &alice).await;
        erring.signs_in(&world, "bob").await;
        erring.sweeps().await;
    }
    assert_eq!(right.who(&world, &alice).await, "a1", "used all the time");
}

/// A request that nothing vouches for deletes nothing; a login does, and deletes what has expired for all.
#[tokio::test]
async fn a_callback_without_a_login_deletes_nothing() {
    let (world, expired) = world().await;
    let right = process(&world, |_| {});
    let alice = right.signs_in(&world, "alice").await;
    // The control.
    is_gone(&world, &right, &expired).await;
    let ahead = process(&world, |clock| clock.set_forward(ERROR));
    ahead.serve(&world);
    let before = rows([&right, &ahead]).await;
    assert!(before.len() >= 3, "a session, a grant, and a login that was spent");
    let page = world.browser().navigate(&format!("{APP}/auth/callback?code=x&state=y")).await;
    assert_eq!(page.status, 400, "{}", page.text());
    ahead.app.layer.drain().await;
    assert_eq!(rows([&right, &ahead]).await, before, "nothing is deleted");
    assert_eq!(right.who(&world, &alice).await, "a1");
}

/// In stateless mode, two processes that meet at a store, of which one is ahead by an hour. Rows are kept there for ten
/// minutes after their browser has shown what they hold: by the second clock they have expired.
struct Meeting {
    world: World,
    right: Process,
    ahead: Process,
    browser: Browser,
}

impl Meeting {
    async fn of_alice() -> Self {
        let world = World::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        world.clock.advance(now - Duration::from_secs(TestClock::START));
        // Its ID tokens have expired by the clock that is ahead.
        world.op.set(|settings| settings.id_token_on_refresh = false);
        let process = |clock: TestClock| {
            let rows = world.app.store.seen_with(&clock);
            let store = WatchedStore::new(rows.clone());
            let app = App::stateless_at(&world.net, &clock, store.clone(), rows, |config| {
                let mail = Resource::new("mail", format!("{API}/mail/"));
                config.connection(Connection::new("mail").resource(mail).grant_lifetime(GrantLifetime::Session))
            });
            Process { clock, app, store }
        };
        let (right, ahead) = (process(world.clock.of_a_process()), process(world.clock.of_a_process()));
        ahead.clock.set_forward(HOUR);
        right.serve(&world);
        let browser = world.signed_in("alice").await;
        browser.visit(&format!("{APP}/auth/connect?connection=mail&return_to=/who")).await;
        Self { world, right, ahead, browser }
    }

    /// Another tab, from which a request comes later with the cookies that there are now.
    fn late(&self) -> Browser {
        let late = self.world.browser();
        late.replace_jar(self.browser.clone_jar());
        late
    }

    /// The access token is refreshed at the process that is right, and the browser shows what came.
    async fn refreshed(&self) {
        self.right.serve(&self.world);
        self.world.clock.advance(HOUR);
        for _ in 0..2 {
            assert_eq!(reads_as_at(&self.browser, MAIL).await, "alice");
            self.right.app.layer.drain().await;
            self.world.clock.advance(Duration::from_secs(5 * 60));
        }
    }
}

#[tokio::test]
async fn in_stateless_mode_a_clock_that_is_ahead_spends_no_refresh_token_again() {
    let meeting = Meeting::of_alice().await;
    let late = meeting.late();
    meeting.refreshed().await;
    meeting.ahead.serve(&meeting.world);
    assert_eq!(reads_as_at(&late, MAIL).await, "alice");
    let op = &meeting.world.op;
    assert_eq!((op.refreshes().len(), op.reuse_detected()), (2, 0), "what was refreshed is refreshed again");
    meeting.refreshed().await;
    assert_eq!(op.reuse_detected(), 0);
}

#[tokio::test]
async fn in_stateless_mode_a_clock_that_is_ahead_takes_back_what_others_refreshed() {
    let meeting = Meeting::of_alice().await;
    meeting.world.op.set(|settings| settings.revocation_reach = RevocationReach::Token);
    let late = meeting.late();
    meeting.refreshed().await;
    meeting.refreshed().await;
    meeting.ahead.serve(&meeting.world);
    let take_back = format!("{APP}/auth/disconnect?connection=mail&return_to=/who");
    late.fetch(http::Method::POST, &take_back, "", APP).await;
    for process in [&meeting.ahead, &meeting.right] {
        process.serve(&meeting.world);
        assert_eq!(reads_as_at(&meeting.browser, MAIL).await, "consent_required");
    }
}
