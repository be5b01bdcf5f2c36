//! What a process believes of the rendezvous without asking it again: for as long as a session, and nothing that it has
//! done, heard or seen to be otherwise.

use std::time::Duration;

use axum::routing::get;
use bytes::Bytes;
use http::header::{COOKIE, ORIGIN};
use http::{HeaderValue, Method, Request};
use tower_oidc::store::MemoryStore;
use tower_oidc::{Error, UserTokens};

use super::{HOUR, REPLICA, settle, two_processes};
use crate::support::app::{API, APP, App, World, routes};
use crate::support::browser::Browser;
use crate::support::fault::Gate;
use crate::support::net::Caller;
use crate::support::store::{Trouble, Verb, WatchedStore};

/// Longer than a session is believed.
const STALE: Duration = Duration::from_millis(2001);

/// Two processes that meet at a store, which tells them of changes or does not.
struct Processes {
    world: World,
    meeting: WatchedStore,
    _apps: [App; 2],
}

impl Processes {
    fn start(tells: bool, max_staleness: Duration) -> Self {
        let world = World::new();
        let rows = MemoryStore::new();
        let meeting = WatchedStore::new(rows.clone());
        if !tells {
            meeting.trouble(Verb::Listen, Trouble::Hang);
        }
        let apps = [APP, REPLICA].map(|origin| {
            let app = App::stateless_at(&world.net, &world.clock, meeting.clone(), rows.clone(), |mut config| {
                config.max_staleness = max_staleness;
                config
            });
            let routes = routes().route("/state", get(state));
            world.net.serve_service(origin, app.layer.layer(routes));
            app
        });
        Self { world, meeting, _apps: apps }
    }

    async fn tok(&self, origin: &str, browser: &Browser) -> u16 {
        self.world.tok_at(origin, browser).await.0
    }

    /// The person takes their login's grant back at one process. Their browser has kept the cookies.
    async fn disconnect(&self, origin: &str, browser: &Browser) {
        let cookies = browser.cookies_for(APP);
        let cookies: Vec<_> = cookies.iter().map(|c| format!("{}={}", c.name, c.value)).collect();
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("{origin}/auth/disconnect?connection=login&return_to=/who").parse().unwrap();
        request.headers_mut().insert(COOKIE, cookies.join("; ").parse().unwrap());
        request.headers_mut().insert(ORIGIN, HeaderValue::from_static(APP));
        let answer = self.world.net.call(Caller::Browser, request).await.unwrap();
        assert_eq!(answer.status(), 303, "{answer:?}");
    }
}

async fn state(tokens: UserTokens) -> Result<String, Error> {
    Ok(format!("{:?}", tokens.connection_status("login").await?.state))
}

/// Whether there is a newer grant is asked for as often as whether the session has ended, and not for each token.
#[tokio::test]
async fn the_rendezvous_is_asked_once_in_a_while() {
    let processes = Processes::start(true, Duration::from_secs(2));
    let Processes { world, meeting, .. } = &processes;
    let alice = world.signed_in("alice").await;
    let asked = async || {
        let before = meeting.loads();
        for _ in 0..20 {
            assert_eq!(processes.tok(APP, &alice).await, 200);
        }
        meeting.loads() - before
    };
    assert_eq!(asked().await, 1);
    assert_eq!(asked().await, 0);
    world.clock.advance(STALE);
    assert_eq!(
        asked().await,
        5,
        "how rows are named, which the process asks for all; whether the session ended: itself, by its `sub`, by its \
         `sid`; and the grant"
    );
    // With nobody to ask, what is known serves; later nothing does.
    meeting.break_down(&Trouble::Fail);
    assert_eq!(processes.tok(APP, &alice).await, 200);
    world.clock.advance(STALE);
    assert_eq!(processes.tok(APP, &alice).await, 503);
    meeting.heal();
    assert_eq!(processes.tok(APP, &alice).await, 200);
}

#[tokio::test]
async fn nothing_is_believed_where_the_configuration_says_so() {
    let processes = Processes::start(true, Duration::ZERO);
    let alice = processes.world.signed_in("alice").await;
    for _ in 0..3 {
        let before = processes.meeting.loads();
        assert_eq!(processes.tok(APP, &alice).await, 200);
        let loads = processes.meeting.loads() - before;
        assert_eq!(loads, 10, "three looks at the session, and the grant");
    }
}

/// A token that its API refused is not served to who comes late with it, though it says of itself that it is fresh.
#[tokio::test]
async fn a_late_cookie_finds_what_was_refreshed_early() {
    for world in [World::stateless(), two_processes().0] {
        let alice = world.signed_in("alice").await;
        let ((_, first), late) = (world.tok(&alice).await, alice.clone_jar());
        world.api.refuse("/cal/", 1, "Bearer");
        let fetched = alice.navigate(&format!("{APP}/fetch?u={API}/cal/x")).await;
        assert_eq!((fetched.status.as_u16(), world.op.refreshes().len()), (200, 1));
        // Others have shown what came, twice: it is known.
        let second = world.token_of(&alice, "alice").await;
        assert_eq!(world.token_of(&alice, "alice").await, second);
        alice.replace_jar(late);
        assert_ne!(first, second);
        assert_eq!(world.token_of(&alice, "alice").await, second);
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
    }
}

/// What a person took back serves nobody who has kept the cookies: at once where it was taken back, as soon as it is
/// heard elsewhere, and after `max_staleness` at the latest.
#[tokio::test]
async fn what_was_taken_back_counts_no_more_where_it_was_known() {
    for tells in [true, false] {
        let processes = Processes::start(tells, Duration::from_secs(2));
        let alice = processes.world.signed_in("alice").await;
        // The first of them begins to listen, and drops what it has read before that.
        for origin in [APP, REPLICA, APP, REPLICA] {
            assert_eq!(processes.tok(origin, &alice).await, 200);
            settle().await;
        }
        processes.disconnect(APP, &alice).await;
        assert_eq!(processes.tok(APP, &alice).await, 403, "here");
        settle().await;
        assert_eq!(processes.tok(REPLICA, &alice).await, if tells { 403 } else { 200 }, "there");
        processes.world.clock.advance(STALE);
        assert_eq!(processes.tok(REPLICA, &alice).await, 403, "there, later");
    }
}

/// What a process has said to be gone it does not serve, though it was told of it by nobody.
#[tokio::test]
async fn what_was_seen_to_be_gone_is_not_believed_to_be_there() {
    for says_so_itself in [true, false] {
        let processes = Processes::start(false, Duration::from_secs(2));
        let alice = processes.world.signed_in("alice").await;
        assert_eq!(processes.tok(REPLICA, &alice).await, 200);
        processes.disconnect(APP, &alice).await;
        assert_eq!(processes.tok(REPLICA, &alice).await, 200);
        if says_so_itself {
            let answer = processes.world.ask(REPLICA, &alice, "/state").await.unwrap();
            assert_eq!(answer.body(), "NotConnected");
        } else {
            processes.disconnect(REPLICA, &alice).await;
        }
        assert_eq!(processes.tok(REPLICA, &alice).await, 403);
    }
}

/// An answer is as old as its question, however long it takes.
#[tokio::test]
async fn what_was_asked_long_ago_is_not_believed_for_longer() {
    let processes = Processes::start(false, Duration::from_secs(2));
    let Processes { world, meeting, .. } = &processes;
    let alice = world.signed_in("alice").await;
    assert_eq!(world.ask(REPLICA, &alice, "/who").await.unwrap().status(), 200);
    let gate = Gate::new();
    meeting.trouble(Verb::Load, Trouble::GateAnswer(gate.clone()));
    let asking = tokio::spawn(world.ask(REPLICA, &alice, "/tok"));
    gate.wait_for_arrivals(1).await;
    processes.disconnect(APP, &alice).await;
    world.clock.advance(Duration::from_millis(1500));
    gate.open();
    assert_eq!(asking.await.unwrap().unwrap().status(), 200, "as it was when it asked");
    world.clock.advance(Duration::from_millis(501));
    assert_eq!(processes.tok(REPLICA, &alice).await, 403);
}

/// Whoever comes with a refresh token that was spent long ago spends it again, and the provider ends the grant. What
/// a browser shows of the same generation is over too.
#[tokio::test]
async fn what_the_provider_has_ended_stays_so() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    let late = alice.clone_jar();
    world.clock.advance(HOUR);
    alice.navigate(&format!("{APP}/tok")).await;
    let second = world.token_of(&alice, "alice").await;
    world.clock.advance(Duration::from_secs(3 * 60));
    assert_eq!(world.token_of(&alice, "alice").await, second);
    world.app.layer.drain().await;
    world.clock.advance(Duration::from_secs(11 * 60));
    world.app.layer.delete_expired().await.unwrap();
    let newest = alice.clone_jar();
    alice.replace_jar(late);
    assert_eq!(world.tok(&alice).await.0, 403);
    assert_eq!(world.op.reuse_detected(), 1);
    alice.replace_jar(newest);
    for _ in 0..4 {
        assert_eq!(world.tok(&alice).await.0, 403);
        world.app.layer.drain().await;
    }
}
