//! Tokens for one use, handed to one request and kept nowhere.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::Query;
use axum::routing::get;
use futures_util::future::join_all;
use http::Method;
use tower_oidc::store::MemoryStore;
use tower_oidc::{Connection, Error, OidcLayer, Resource, SharedAccount, SingleUseToken, UserTokens};

use crate::support::app::{API, APP, App, EVIL, World, config, logout_link, routes};
use crate::support::browser::{Browser, Page};
use crate::support::cookies::Cookie;
use crate::support::fault::Gate;
use crate::support::store::{Trouble, Verb, WatchedStore};

const ONCE: &str = "__Host-tower-oidc-once-";

/// The connection `mail` is for one use; `cal` is the login's own.
fn site() -> (World, App, WatchedStore) {
    let world = World::new();
    let store = WatchedStore::new(MemoryStore::new());
    let app = process(&world, &store);
    (world, app, store)
}

fn process(world: &World, store: &WatchedStore) -> App {
    let mail = Resource::new("mail", format!("{API}/mail/")).scope("mail.read");
    let app = App::over(&world.net, &world.clock, store.clone(), store.rows.clone(), |mut config| {
        config.provider.revocation_is_per_token = true;
        config.connection(Connection::new("mail").resource(mail).single_use())
    });
    world.net.serve_service(APP, app.layer.layer(with_routes()));
    app
}

fn with_routes() -> axum::Router {
    routes()
        .route(
            "/export",
            get(|token: SingleUseToken, Query(asked): Query<HashMap<String, String>>| async move {
                let url = asked.get("u").cloned().unwrap_or_else(|| format!("{API}/mail/"));
                let shown = token.access_token(&url)?.expose_secret().to_owned();
                let (connection, scopes) = (token.connection().to_owned(), token.scopes().join(" "));
                if asked.contains_key("revoke") {
                    token.revoke().await;
                }
                Ok::<_, Error>(format!("{connection} {scopes}\n{shown}"))
            }),
        )
        .route(
            "/once",
            get(|tokens: UserTokens, Query(asked): Query<HashMap<String, String>>| async move {
                tokens.connect_single_use_url(&asked["c"], "/export?x=1")
            }),
        )
        .route(
            "/mail",
            get(
                |tokens: UserTokens| async move { tokens.access_token(&format!("{API}/mail/")).await.map(|_| "never") },
            ),
        )
        .route(
            "/both",
            get(|one: Result<SingleUseToken, Error>, other: Result<SingleUseToken, Error>| async move {
                format!("{} {}", one.is_ok(), other.is_ok())
            }),
        )
        .route("/list", get(|tokens: UserTokens| async move { tokens.connections().await.map(axum::Json) }))
}

async fn connect(browser: &Browser, to: &str) -> Page {
    let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
    browser.visit(&format!("{APP}/auth/connect?connection=mail&return_to={to}")).await
}

fn token_in(page: &Page) -> String {
    assert_eq!(page.status, 200, "{}", page.text());
    page.text().lines().nth(1).expect("a token").to_owned()
}

/// What waits in a browser.
fn waiting(browser: &Browser) -> Vec<Cookie> {
    let mut cookies = browser.cookies_for(APP);
    cookies.retain(|one| one.name.starts_with(ONCE));
    cookies
}

fn code(page: &Page) -> String {
    page.json()["code"].as_str().expect("a code").to_owned()
}

async fn script(browser: &Browser, path: &str) -> Page {
    browser.fetch(Method::GET, &format!("{APP}{path}"), "", APP).await
}

#[tokio::test]
async fn a_token_for_one_use_is_handed_out_once() {
    let (world, _, store) = site();
    let alice = world.signed_in("alice").await;
    let before = store.dump().await.len();
    let page = connect(&alice, "/export?x=1").await;
    let token = token_in(&page);
    assert!(page.text().starts_with("mail openid mail.read\n"), "{}", page.text());
    assert_eq!(world.op.owner_of(&token).as_deref(), Some("alice"));
    assert_eq!(page.header("cache-control"), Some("private, no-store"));
    assert_eq!(waiting(&alice).len(), 0, "removed with that answer");
    // One more row: that the login was received. Nothing in them, nothing in a cookie.
    assert_eq!(store.dump().await.len(), before + 1);
    let reload = alice.navigate(&format!("{APP}/export?x=1")).await;
    assert_eq!(reload.status, 410);
    assert!(reload.text().contains("has been used"), "{}", reload.text());
    assert_eq!(code(&script(&alice, "/export").await), "single_use_token_gone");
    let list = script(&alice, "/list").await.json();
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&"mail".into(), &"single_use".into()));
    assert_eq!(code(&script(&alice, "/mail").await), "no_token_for_url", "ordinary calls never use it");
    assert_eq!(world.who(&alice).await, "a1");
    // And once more from the beginning.
    assert_ne!(token_in(&connect(&alice, "/export").await), token);
}

/// However many wait, and however often a handler asks.
#[tokio::test]
async fn one_request_has_one_of_them() {
    let (world, _, _) = site();
    let alice = world.signed_in("alice").await;
    for _ in 0..2 {
        assert_eq!(connect(&alice, "/who").await.status, 200);
    }
    assert_eq!(waiting(&alice).len(), 2);
    for (said, left) in [("true false", 1), ("true false", 0), ("false false", 0)] {
        let page = alice.navigate(&format!("{APP}/both")).await;
        assert_eq!((page.text().as_str(), waiting(&alice).len()), (said, left));
    }
}

/// Of many that ask at the same time, in two processes, one has it.
#[tokio::test]
async fn one_of_many_has_it() {
    let (world, first, store) = site();
    let alice = world.signed_in("alice").await;
    assert_eq!(connect(&alice, "/who").await.status, 200);
    let second = process(&world, &store);
    let mut tabs = Vec::new();
    for app in [&first, &second] {
        for _ in 0..8 {
            let service = app.layer.layer(with_routes());
            let cookies = alice.cookies_for(APP);
            let cookies: Vec<_> = cookies.iter().map(|one| format!("{}={}", one.name, one.value)).collect();
            let request = http::Request::get("/export").header("cookie", cookies.join("; "));
            let request = request.body(axum::body::Body::empty()).unwrap();
            tabs.push(tower::ServiceExt::oneshot(service, request));
        }
    }
    let answers = join_all(tabs).await;
    let statuses: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 410)), "{statuses:?}");
}

/// `mail` and `files`, both for one use.
async fn two_connections() -> (World, Browser) {
    let world = World::new();
    let app = world.another(|config| {
        ["mail", "files"].into_iter().fold(config, |config, name| {
            let resource = Resource::new(name, format!("{API}/{name}/")).scope(name);
            config.connection(Connection::new(name).resource(resource).single_use())
        })
    });
    world.net.serve_service(APP, app.layer.layer(with_routes()));
    let alice = world.signed_in("alice").await;
    (world, alice)
}

/// Grants a connection in a tab of its own, as far as the way to the page.
async fn granted(browser: &Browser, connection: &str, to: &str) -> (Browser, Page) {
    let tab = browser.new_tab();
    let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
    let leaving = tab.step(&format!("{APP}/auth/connect?connection={connection}&return_to={to}")).await;
    let back = tab.follow(&leaving).await;
    let landing = tab.follow(&back).await;
    assert!(landing.location().is_some(), "{}", landing.text());
    (tab, landing)
}

/// The address at which `/export` uses a connection's token.
fn export(connection: &str) -> String {
    format!("/export?u={API}/{connection}/")
}

/// Two tabs are on their way at the same time: neither has what was granted in the other.
#[tokio::test]
async fn each_tab_has_its_own() {
    for order in [[0, 1], [1, 0]] {
        let (_world, alice) = two_connections().await;
        let tabs = [
            ("mail", granted(&alice, "mail", &export("mail")).await),
            ("files", granted(&alice, "files", &export("files")).await),
        ];
        assert_eq!(waiting(&alice).len(), 2);
        for at in order {
            let (connection, (tab, landing)) = &tabs[at];
            let page = tab.follow(landing).await;
            assert!(page.text().starts_with(connection), "{connection}: {}", page.text());
            token_in(&page);
            let reload = tab.navigate(&format!("{APP}/who")).await;
            assert_eq!(reload.status, 200);
        }
        assert_eq!(waiting(&alice).len(), 0);
        assert_eq!(alice.navigate(&format!("{APP}{}", export("mail"))).await.status, 410);
    }
}

/// Scripts have what was granted for the page that they run on.
#[tokio::test]
async fn each_tabs_script_has_its_own() {
    for order in [["mail", "files"], ["files", "mail"]] {
        let (_world, alice) = two_connections().await;
        for connection in ["mail", "files"] {
            let (tab, landing) = granted(&alice, connection, &format!("/who?{connection}")).await;
            assert_eq!(tab.follow(&landing).await.status, 200);
        }
        for connection in order {
            let from = format!("{APP}/who?{connection}");
            let url = format!("{APP}{}", export(connection));
            token_in(&alice.fetch(Method::GET, &url, "", &from).await);
        }
    }
}

/// Two that land at the same address: each request has one of them, and no third.
#[tokio::test]
async fn two_for_one_page() {
    let (world, alice) = two_connections().await;
    let mut tabs = Vec::new();
    for _ in 0..2 {
        tabs.push(granted(&alice, "mail", "/export?u=https%3A%2F%2Fapi.test%2Fmail%2F").await);
    }
    let header: Vec<_> = waiting(&alice).iter().map(|one| format!("{}={}", one.name, one.value)).collect();
    let session = crate::support::app::session_of(&alice);
    let header = format!("{}={session}; {}", crate::support::app::SESSION, header.join("; "));
    // At once: both say that both wait.
    let to = "/export?u=https%3A%2F%2Fapi.test%2Fmail%2F";
    let answers = join_all((0..3).map(|_| world.with_cookie(to, header.as_bytes()))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 410]);
    let mut tokens: Vec<_> = answers.iter().filter(|one| one.status() == 200).map(|one| one.body()).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 2);
}

/// What waits travels with every request: the fifth takes the place of the oldest.
#[tokio::test]
async fn so_many_wait_and_no_more() {
    let (_world, alice) = two_connections().await;
    let mut tabs = Vec::new();
    for at in 0..5 {
        tabs.push(granted(&alice, "mail", &format!("{}&{at}", export("mail"))).await);
        assert_eq!(waiting(&alice).len(), 4.min(at + 1));
    }
    for (tab, landing) in &tabs[1..] {
        token_in(&tab.follow(landing).await);
    }
    let (oldest, landing) = &tabs[0];
    assert_eq!(oldest.follow(landing).await.status, 410);
}

/// Nobody asks for it, and nobody signs in: it is deleted all the same, and not before.
#[tokio::test(start_paused = true)]
async fn what_nobody_used_is_deleted_after_a_minute() {
    let (world, app, store) = site();
    let alice = world.signed_in("alice").await;
    let before = store.dump().await.len();
    let wait = async |seconds| {
        world.clock.advance(Duration::from_secs(seconds));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    };
    assert_eq!(connect(&alice, "/who").await.status, 200);
    wait(59).await;
    assert_eq!(store.dump().await.len(), before + 2, "that it was received, and what was granted");
    token_in(&script(&alice, "/export").await);
    assert_eq!(connect(&alice, "/who").await.status, 200);
    wait(59).await;
    assert_eq!(store.dump().await.len(), before + 3);
    // Those who stop do not wait for it.
    tokio::time::timeout(Duration::from_millis(1), app.layer.drain()).await.expect("nothing to wait for");
    wait(2).await;
    assert_eq!(store.dump().await.len(), before + 2, "of both there is that they were received");
}

/// Only the session in which it was granted, and only for a minute.
#[tokio::test]
async fn nobody_else_has_it() {
    let (world, _, _) = site();
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    world.op.sign_in_as("alice");
    assert_eq!(connect(&alice, "/who").await.status, 200);
    let cookie = waiting(&alice).pop().expect("it waits");
    let set = format!("{}={}; Path=/; Secure; HttpOnly; SameSite=Lax", cookie.name, cookie.value);
    let theirs = world.browser();
    theirs.set_cookie(APP, &set);
    assert_eq!(code(&script(&theirs, "/export").await), "unauthenticated");
    bob.set_cookie(APP, &set);
    assert_eq!(code(&script(&bob, "/export").await), "single_use_token_gone");
    let hers = world.browser();
    world.op.sign_in_as("alice");
    world.sign_in(&hers, "alice").await;
    hers.set_cookie(APP, &set);
    assert_eq!(code(&script(&hers, "/export").await), "single_use_token_gone", "another session of her own");
    token_in(&script(&alice, "/export").await);

    connect(&alice, "/who").await;
    let kept = waiting(&alice).pop().expect("it waits");
    world.clock.advance(Duration::from_secs(59));
    token_in(&script(&alice, "/export").await);
    connect(&alice, "/who").await;
    let late = waiting(&alice).pop().expect("it waits");
    assert_ne!(kept.value, late.value);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(waiting(&alice).len(), 0, "the browser forgets it too");
    alice.set_cookie(APP, &format!("{}={}; Path=/; Secure; HttpOnly", late.name, late.value));
    assert_eq!(code(&script(&alice, "/export").await), "single_use_token_gone");
    let nobodys = format!("AAAAAAAA={}", "A".repeat(51));
    for junk in ["", "=", "x=x", "AAAAAAAA=AAAAAAAA", "BBBBBBBB=AAAAAAAAA", "%00=%00", nobodys.as_str()] {
        alice.set_cookie(APP, &format!("{ONCE}{junk}; Path=/; Secure"));
        assert_eq!(code(&script(&alice, "/export").await), "single_use_token_gone", "{junk}");
    }
}

/// It goes where its connection's resources are, and ends when it is told to.
#[tokio::test]
async fn it_is_released_to_its_own_api_and_revoked() {
    let (world, _, _) = site();
    let alice = world.signed_in("alice").await;
    for outside in [format!("{API}/cal/"), format!("{EVIL}/mail/"), format!("{API}/mailing")] {
        connect(&alice, "/who").await;
        assert_eq!(code(&script(&alice, &format!("/export?u={outside}")).await), "no_token_for_url");
    }
    world.op.forget();
    let token = token_in(&connect(&alice, "/export?revoke=1").await);
    assert!(!world.op.issued(&token).expect("it was issued").live);
    assert_eq!(world.op.revocations().len(), 1);
    let kept = token_in(&connect(&alice, "/export").await);
    assert!(world.op.issued(&kept).expect("it was issued").live, "the control");
    assert_eq!(script(&alice, "/tok").await.status, 200, "the login's own is whole");
}

/// What is asked for one use of an ordinary connection leaves what is kept as it is.
#[tokio::test]
async fn an_ordinary_connection_once() {
    let (world, _, _) = site();
    let files = Resource::new("files", format!("{API}/files/")).scope("files");
    let app = world.another(|config| config.connection(Connection::new("files").resource(files)));
    world.net.serve_service(APP, app.layer.layer(with_routes()));
    let alice = world.signed_in("alice").await;
    let url = script(&alice, "/once?c=files").await.text();
    assert!(url.contains("&once=1&proof="), "{url}");
    let page = alice
        .visit(&format!("{APP}{}&x", url.replace("export%3Fx%3D1", "export%3Fu%3Dhttps%3A%2F%2Fapi.test%2Ffiles%2F")))
        .await;
    assert!(page.text().starts_with("files openid files\n"), "{}", page.text());
    assert_eq!(script(&alice, "/list").await.json()[0]["state"], "not_connected");
    assert_eq!(code(&script(&alice, "/once?c=nothing").await), "no_such_connection");
}

/// A store that is away takes nothing.
#[tokio::test]
async fn it_outlives_an_outage() {
    let (world, _, store) = site();
    let alice = world.signed_in("alice").await;
    connect(&alice, "/who").await;
    store.trouble(Verb::Delete, Trouble::Fail);
    assert_eq!(code(&script(&alice, "/export").await), "unavailable");
    store.heal();
    token_in(&script(&alice, "/export").await);
}

/// Another person's consent is not hers, for one use neither.
#[tokio::test]
async fn another_account_grants_nothing_for_one_use() {
    let (world, _, store) = site();
    let alice = world.signed_in("alice").await;
    world.op.sign_in_as("bob");
    let before = store.dump().await.len();
    assert_eq!(connect(&alice, "/export").await.status, 403);
    assert_eq!(world.op.revocations().len(), 1);
    assert_eq!(store.dump().await.len(), before + 1);
    assert_eq!(code(&script(&alice, "/export").await), "single_use_token_gone");
}

/// An account is for everybody, and nothing of it for one use; a visitor is nobody to hand it to.
#[tokio::test]
async fn one_use_needs_somebody_who_is_signed_in() {
    let world = World::new();
    let visitors = config(&world.net, &world.clock).connection(Connection::new("mail").single_use().allow_visitors());
    let refused = OidcLayer::per_user(visitors, MemoryStore::new());
    assert!(refused.expect_err("it is refused").to_string().contains("allow_visitors"));
    let once = |config: tower_oidc::Config| config.connection(Connection::new("mail").single_use());
    let refused = OidcLayer::single_user(
        once(config(&world.net, &world.clock)),
        SharedAccount::client_credentials(),
        MemoryStore::new(),
    );
    assert!(refused.expect_err("it is refused").to_string().contains("single_use"));
}

/// A logout that overtakes the request: the token is nobody's any more.
#[tokio::test]
async fn a_logout_that_overtakes_the_request_leaves_it_without_the_token() {
    for verb in [Verb::Load, Verb::Delete] {
        let (world, _app, store) = site();
        let alice = world.signed_in("alice").await;
        world.op.sign_in_as("alice");
        let waiting = alice.step(&format!("{APP}/auth/connect?connection=mail&return_to=/export")).await;
        let mut page = waiting;
        while !page.location().is_some_and(|to| to.ends_with("/export")) {
            page = alice.follow(&page).await;
        }
        let link = logout_link(&alice, "/bye").await;
        let gate = Gate::new();
        store.trouble(verb, Trouble::GateAnswer(gate.clone()));
        let asking = tokio::spawn({
            let tab = alice.new_tab();
            async move { tab.fetch(Method::GET, &format!("{APP}/export"), "", APP).await }
        });
        gate.wait_for_arrivals(1).await;
        store.heal();
        alice.new_tab().step(&link).await;
        gate.open();
        let answer = asking.await.unwrap();
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (401, "unauthenticated"), "{verb:?}");
    }
}
