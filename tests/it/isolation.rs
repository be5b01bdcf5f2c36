//! Nobody ever gets what is another's: many people at once, and a database whose
//! rows somebody moves around.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as PropConfig, TestRunner};
use serde_json::Value;
use tower_oidc::EventCode;
use tower_oidc::store::{Key, Stored};

use crate::support::app::{APP, App, SESSION, World, routes, session_of};
use crate::support::browser::Browser;
use crate::support::store::WatchedStore;
use crate::support::test_store::TestStore;

const PEOPLE: [&str; 12] = ["ann", "ben", "cat", "dan", "eve", "flo", "gus", "hal", "ida", "jon", "kim", "leo"];

async fn signed_in_all(world: &World) -> Vec<(&'static str, Browser)> {
    let mut people = Vec::new();
    for name in PEOPLE {
        world.op.user(name, |_| {});
        people.push((name, world.signed_in(name).await));
    }
    people
}

/// Who this browser is, and whose token and whose data it gets.
async fn assert_own(world: &World, name: &str, browser: &Browser) {
    let who = browser.new_tab().navigate(&format!("{APP}/who")).await.json();
    assert_eq!(who["sub"], format!("{}1", &name[..1]), "{name}");
    let token = browser.new_tab().navigate(&format!("{APP}/tok")).await.text();
    assert_eq!(world.op.owner_of(&token).as_deref(), Some(name));
    let data = browser.new_tab().navigate(&format!("{APP}/fetch?u=https://api.test/cal/{name}")).await;
    assert_eq!(data.json()["owner"], name);
}

/// Everybody at once, over and over, with tokens that expire under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_people_at_once_see_their_own() {
    let world = Arc::new(World::new());
    let people = signed_in_all(&world).await;
    for round in 0..4 {
        let tasks = people.iter().flat_map(|person| std::iter::repeat_n(person.clone(), 6)).map(|(name, browser)| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { assert_own(&world, name, &browser).await })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        if round % 2 == 0 {
            // Every token is over: everybody's is refreshed at the same time.
            world.clock.advance(Duration::from_secs(3700));
        }
    }
    assert_eq!(world.op.refreshes().len(), 2 * PEOPLE.len(), "one each, each time");
    assert_eq!(world.op.reuse_detected(), 0);
    for seen in world.api.requests() {
        assert_eq!(seen.owner.as_deref(), seen.path_and_query.strip_prefix("/cal/"), "the API's view");
    }
}

/// Logins that end at the same time in many browsers, callbacks crossed.
#[tokio::test]
async fn crossed_callbacks_sign_nobody_in_as_somebody_else() {
    let world = World::new();
    let mut under_way = Vec::new();
    for name in ["alice", "bob"] {
        world.op.sign_in_as(name);
        let browser = world.browser();
        let mut page = browser.step(&format!("{APP}/auth/login?return_to=/who")).await;
        page = browser.follow(&page).await;
        under_way.push((browser, page.location().unwrap().to_owned()));
    }
    for (mine, theirs) in [(0, 1), (1, 0)] {
        let page = under_way[mine].0.navigate(&under_way[theirs].1).await;
        assert_eq!(page.status, 400, "another browser's callback");
        assert!(under_way[mine].0.cookie(SESSION).is_none());
    }
    assert!(world.op.code_exchanges().is_empty());
    for ((browser, callback), subject) in under_way.into_iter().zip(["a1", "b1"]) {
        assert_eq!(browser.navigate(&callback).await.json()["sub"], subject);
    }
}

struct Rows {
    world: World,
    people: Vec<(&'static str, String)>,
    rows: Vec<(Key, Stored)>,
}

async fn rows() -> Rows {
    let world = World::new();
    let (store, _) = world.watched();
    let mut people = Vec::new();
    for name in ["alice", "bob"] {
        people.push((name, session_of(&world.signed_in(name).await)));
    }
    people.push(("alice", session_of(&world.signed_in("alice").await)));
    let rows = store.dump().await;
    assert!(rows.len() >= 7, "index key, and for each login: session, grant, what was spent");
    Rows { world, people, rows }
}

impl Rows {
    /// The database with what lies in each row taken from the row named, and a new process over it.
    async fn with(&self, places: &[usize]) -> (WatchedStore, App) {
        let store = WatchedStore::new(TestStore::new());
        for ((key, _), from) in self.rows.iter().zip(places) {
            store.plant(*key, self.rows[*from].1.record.clone()).await;
        }
        let app = App::over(&self.world.net, &self.world.clock, store.clone(), store.rows.clone(), |config| config);
        self.world.net.serve_service(APP, app.layer.layer(routes()));
        (store, app)
    }

    /// Each person is themselves with their own token, or is nobody.
    async fn assert_nobody_is_another(&self) -> [usize; 2] {
        let mut known = [0, 0];
        for (name, session) in &self.people {
            let cookie = format!("{SESSION}={session}");
            let who = self.world.with_cookie("/who", cookie.as_bytes()).await;
            // Without the index key nothing can be said, which is 503.
            if who.status() == 200 {
                let subject = &serde_json::from_slice::<Value>(who.body()).unwrap()["sub"];
                let own = *subject == format!("{}1", &name[..1]);
                assert!(own || subject.is_null(), "{name} is {subject}");
                known[0] += usize::from(own);
            } else {
                assert_eq!(who.status(), 503);
            }
            let token = self.world.with_cookie("/tok", cookie.as_bytes()).await;
            if token.status() == 200 {
                let token = String::from_utf8_lossy(token.body()).into_owned();
                assert_eq!(self.world.op.owner_of(&token).as_deref(), Some(*name));
                known[1] += 1;
            }
        }
        known
    }
}

/// Rows moved, copied over each other, in any way at all.
#[test]
fn rows_moved_between_keys_never_open_as_somebody_elses() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(rows());
    let count = rows.rows.len();
    let identity: Vec<usize> = (0..count).collect();
    let known = runtime.block_on(async {
        rows.with(&identity).await;
        rows.assert_nobody_is_another().await
    });
    assert_eq!(known, [3, 3], "the control: unmoved, everybody has everything");
    let mut runner = TestRunner::new(PropConfig { cases: 150, failure_persistence: None, ..PropConfig::default() });
    let index = rows.rows.iter().position(|(_, stored)| stored.record.expires_at.as_millis() > 1 << 60).unwrap();
    let moved = (prop::collection::vec(0..count, count), any::<bool>(), any::<prop::sample::Index>());
    runner
        .run(&moved, |(mut places, keep_index, only)| {
            if keep_index {
                places[index] = index;
            }
            // Half of the time one row alone is overwritten.
            if only.index(2) == 0 {
                let at = only.index(count);
                places = (0..count).map(|row| if row == at { places[at] } else { row }).collect();
            }
            runtime.block_on(async {
                rows.with(&places).await;
                rows.assert_nobody_is_another().await;
            });
            Ok(())
        })
        .unwrap();
}

/// Each single row over each other, and what the operator learns.
#[tokio::test]
async fn every_single_swap_is_noticed() {
    let rows = rows().await;
    let count = rows.rows.len();
    for at in 0..count {
        for from in (0..count).filter(|from| *from != at) {
            let places: Vec<usize> = (0..count).map(|row| if row == at { from } else { row }).collect();
            let (_, app) = rows.with(&places).await;
            let [sessions, grants] = rows.assert_nobody_is_another().await;
            assert!(sessions < 3 || grants < 3 || !app.events.has(EventCode::Tampered), "{from} over {at}");
            if sessions < 3 || grants < 3 {
                assert!(app.events.has(EventCode::Tampered), "{from} over {at}: {:?}", app.events.all());
            }
        }
    }
}

/// What lies in the database says nothing to who reads it.
#[tokio::test]
async fn the_database_holds_no_secret_in_the_clear() {
    let rows = rows().await;
    let mut needles = rows.world.op.secrets();
    needles.extend(["alice", "a1", "https://op.test", "example.com"].map(str::to_owned));
    needles.extend(rows.people.iter().map(|(_, session)| session.clone()));
    for (key, stored) in &rows.rows {
        let all =
            [&key.0[..], &stored.record.bytes[..], &stored.record.tags.iter().flat_map(|t| t.0).collect::<Vec<_>>()]
                .concat();
        for needle in needles.iter().filter(|needle| needle.len() > 3) {
            assert!(memchr::memmem::find(&all, needle.as_bytes()).is_none(), "{needle}");
        }
    }
}
