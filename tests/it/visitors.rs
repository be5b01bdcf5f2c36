//! Visitors grant access to their own data without signing in, in each mode that has people.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::Query;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::Method;
use serde_json::{Value, json};
use tower_oidc::{
    Config, Connection, CurrentUser, Error, EventCode, GrantLifetime, OidcLayer, Resource, ResponseMode, UserTokens,
};

use crate::refresh::store::{FaultyStore, Mode};
use crate::support::app::{API, APP, App, EVIL, OP, World};
use crate::support::browser::{Browser, Page};
use crate::support::fault::{Fault, Gate};
use crate::support::html::Form;
use crate::support::provider::Endpoint;
use crate::support::random::assert_absent;
use crate::support::store::{Trouble, Verb, WatchedStore};

const VISITOR: &str = "__Host-tower-oidc-visitor";
const HOUR: Duration = Duration::from_secs(3600);

/// `photos` for visitors, without `openid`; `contacts` for visitors, with it; `mail` for people alone.
fn connections(config: Config) -> Config {
    let at = |name: &str| Resource::new(name, format!("{API}/{name}/")).scope(name);
    let connection = |name: &str| {
        Connection::new(name).resource(at(name)).scope("offline_access").grant_lifetime(GrantLifetime::Session)
    };
    config
        .connection(connection("photos").allow_visitors())
        .connection(connection("contacts").scope("openid").allow_visitors())
        .connection(connection("mail"))
}

fn routes() -> Router {
    type Asked = Query<HashMap<String, String>>;
    Router::new()
        .route(
            "/who",
            get(|user: Option<CurrentUser>| async move {
                Json(user.map_or(Value::Null, |user| json!({ "sub": user.subject() })))
            }),
        )
        .route(
            "/token",
            get(|tokens: UserTokens, Query(asked): Asked| async move {
                let token = tokens.access_token(&format!("{API}/{}/x", asked["at"])).await?;
                Ok::<_, Error>(token.expose_secret().to_owned())
            }),
        )
        .route("/list", get(|tokens: UserTokens| async move { tokens.connections().await.map(Json) }))
        .route("/claim", post(|tokens: UserTokens| async move { tokens.adopt_visitor_grants().await.map(Json) }))
}

/// Tokens that are refused are revoked.
fn per_token(config: Config) -> Config {
    let mut config = connections(config);
    config.provider.revocation_is_per_token = true;
    config
}

fn per_user() -> World {
    let world = World::with(connections);
    world.serve(routes());
    world
}

fn stateless() -> World {
    let world = World::stateless_with(connections);
    world.serve(routes());
    world
}

fn worlds() -> [World; 2] {
    [per_user(), stateless()]
}

async fn connect(browser: &Browser, connection: &str) -> Page {
    browser.visit(&format!("{APP}/auth/connect?connection={connection}&return_to=/who")).await
}

/// The token for an API, or the problem's code.
async fn token(browser: &Browser, at: &str) -> Result<String, String> {
    let page = browser.fetch(Method::GET, &format!("{APP}/token?at={at}"), "", APP).await;
    match page.status.as_u16() {
        200 => Ok(page.text()),
        _ => Err(page.json()["code"].as_str().unwrap_or_default().to_owned()),
    }
}

async fn claim(browser: &Browser) -> Value {
    browser.fetch(Method::POST, &format!("{APP}/claim"), "", APP).await.json()
}

async fn sign_out(browser: &Browser) {
    browser.submit_from(APP, &Form::post(&format!("{APP}/auth/logout?return_to=/who"), &[])).await;
}

fn owner(world: &World, token: &str) -> String {
    world.op.owner_of(token).expect("a live token")
}

#[tokio::test]
async fn what_a_visitor_granted_is_their_browsers_alone() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let (first, second) = (world.browser(), world.browser());
        assert_eq!(token(&first, "photos").await, Err("consent_required".into()));
        let page = connect(&first, "photos").await;
        assert_eq!((page.status.as_u16(), page.text().as_str()), (200, "null"), "nobody has signed in");
        let granted = token(&first, "photos").await.unwrap();
        assert_eq!(owner(&world, &granted), "alice");
        assert_eq!(token(&second, "photos").await, Err("consent_required".into()));
        // Their own, too.
        world.op.sign_in_as("bob");
        connect(&second, "photos").await;
        assert_eq!(owner(&world, &token(&second, "photos").await.unwrap()), "bob");
        assert_eq!(token(&first, "photos").await.unwrap(), granted);
        let list = first.fetch(Method::GET, &format!("{APP}/list"), "", APP).await.json();
        let names: Vec<_> = list.as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert_eq!(names, ["photos", "contacts"], "what people alone may have is not theirs to see");
        assert_eq!((&list[0]["state"], &list[0]["account"]), (&"connected".into(), &Value::Null));
    }
}

#[tokio::test]
async fn the_store_learns_nobodys_name() {
    let world = per_user();
    let watched = WatchedStore::new(world.app.store.clone());
    let app = App::over(&world.net, &world.clock, watched.clone(), world.app.store.clone(), connections);
    world.net.serve_service(APP, app.layer.layer(routes()));
    world.op.user("alice", |user| user.sub = "subject-of-alice".into());
    world.op.sign_in_as("alice");
    let browser = world.browser();
    assert_eq!(token(&browser, "photos").await, Err("consent_required".into()));
    assert_eq!(watched.dump().await.len(), 1, "the key for names, and nothing of a visitor who granted nothing");
    connect(&browser, "photos").await;
    let granted = token(&browser, "photos").await.unwrap();
    let visitor = browser.cookie(VISITOR).unwrap().value;
    for (key, stored) in watched.dump().await {
        for text in [&*granted, &*visitor, "subject-of-alice"] {
            assert_absent(text, &stored.record.bytes, &format!("{key:?}"));
        }
    }
    // The name is all that a browser has: another one is another visitor.
    browser.tamper(VISITOR, |_| "A".repeat(43));
    assert_eq!(token(&browser, "photos").await, Err("consent_required".into()));
    browser.tamper(VISITOR, |_| "junk".into());
    assert_eq!(token(&browser, "photos").await, Err("consent_required".into()));
}

/// Without `openid` there is no identity, and none is invented; with it, it must hold.
#[tokio::test]
async fn a_visitor_is_asked_for_what_the_connection_says() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let scope = || world.op.last_authorization().get("scope").unwrap_or_default().to_owned();
        // Nor is it asked how or when they signed in (OpenID Connect Core 1.0 section 3.1.2.1): who speaks of an ID token
        // without `openid` is refused by some.
        let about_it = || {
            let asked = world.op.last_authorization();
            ["nonce", "max_age", "acr_values"].map(|name| asked.get(name).is_some())
        };
        let strictly = "&return_to=/who&max_age=60&acr_values=1";
        browser.visit(&format!("{APP}/auth/connect?connection=photos{strictly}")).await;
        assert_eq!((scope(), about_it()), ("offline_access photos".to_owned(), [false; 3]));
        browser.visit(&format!("{APP}/auth/connect?connection=contacts{strictly}")).await;
        assert_eq!((scope(), about_it()), ("offline_access openid contacts".to_owned(), [true; 3]));
        assert!(token(&browser, "contacts").await.is_ok());
        let list = browser.fetch(Method::GET, &format!("{APP}/list"), "", APP).await.json();
        assert_eq!((&list[0]["account"], &list[1]["account"]), (&Value::Null, &"a1".into()));
        world.op.lie("nonce wrong");
        let refused = connect(&world.browser(), "contacts").await;
        assert_eq!(refused.status, 400);
        assert_eq!(connect(&world.browser(), "photos").await.status, 200, "nobody asked for one");
    }
}

#[tokio::test]
async fn a_visitors_grant_is_no_persons_and_a_persons_no_visitors() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        connect(&browser, "photos").await;
        let visitors = token(&browser, "photos").await.unwrap();
        // Things for people alone want a person.
        assert_eq!(token(&browser, "mail").await, Err("unauthenticated".into()));
        assert_eq!(token(&browser, "cal").await, Err("unauthenticated".into()), "the login's own");
        assert_eq!(claim(&browser).await["code"], "unauthenticated");
        world.sign_in(&browser, "bob").await;
        assert_eq!(token(&browser, "photos").await, Err("consent_required".into()), "signing in takes nothing over");
        connect(&browser, "photos").await;
        let persons = token(&browser, "photos").await.unwrap();
        assert_eq!((owner(&world, &visitors), owner(&world, &persons)), ("alice".into(), "bob".into()));
        sign_out(&browser).await;
        assert_eq!(token(&browser, "photos").await.unwrap(), visitors, "the browser has its own still");
    }
}

#[tokio::test]
async fn a_login_takes_over_by_an_explicit_call_only() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        connect(&browser, "photos").await;
        let granted = token(&browser, "photos").await.unwrap();
        world.sign_in(&browser, "alice").await;
        assert_eq!(claim(&browser).await, json!(["photos"]));
        assert_eq!(token(&browser, "photos").await.unwrap(), granted);
        assert_eq!(claim(&browser).await, json!([]), "twice");
        // It is refreshed as hers, once.
        world.clock.advance(HOUR);
        let refreshed = token(&browser, "photos").await.unwrap();
        assert_ne!(refreshed, granted);
        sign_out(&browser).await;
        assert_eq!(token(&browser, "photos").await, Err("consent_required".into()), "it had one owner at a time");
        assert_eq!(world.op.reuse_detected(), 0);
    }
}

/// A visitor has granted photos at an application over a store that fails on demand, and has signed in since.
async fn about_to_take_over(world: &World) -> (WatchedStore, App, Browser, String) {
    let watched = WatchedStore::new(world.app.store.clone());
    let app = App::over(&world.net, &world.clock, watched.clone(), world.app.store.clone(), connections);
    world.net.serve_service(APP, app.layer.clone().layer(routes()));
    world.op.sign_in_as("alice");
    let browser = world.browser();
    connect(&browser, "photos").await;
    let granted = token(&browser, "photos").await.unwrap();
    world.sign_in(&browser, "alice").await;
    (watched, app, browser, granted)
}

/// Whoever takes over hangs up in the middle, and nothing is lost.
#[tokio::test]
async fn a_hang_up_while_taking_over_loses_nothing() {
    let world = per_user();
    let (watched, app, browser, granted) = about_to_take_over(&world).await;
    let gate = Gate::new();
    // It is the visitor's no more, and not yet hers.
    watched.trouble(Verb::Delete, Trouble::GateAnswer(gate.clone()));
    tokio::select! {
        done = claim(&browser) => panic!("it waits: {done}"),
        () = gate.wait_for_arrivals(1) => {}
    }
    gate.open();
    app.layer.drain().await;
    assert_eq!(token(&browser, "photos").await.unwrap(), granted);
    assert_eq!(app.events.count(EventCode::Connected), 2, "it is told: the visitor's, and taken over");
}

/// It is nowhere but in this process until the store takes it.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_while_it_is_taken_over_loses_nothing() {
    let world = per_user();
    let (watched, _app, browser, granted) = about_to_take_over(&world).await;
    let began = tokio::time::Instant::now();
    watched.trouble(Verb::Swap, Trouble::FailOnce);
    assert_eq!(claim(&browser).await, json!(["photos"]));
    assert!(began.elapsed() >= Duration::from_secs(2), "after a pause");
    assert_eq!(token(&browser, "photos").await.unwrap(), granted);
    sign_out(&browser).await;
    assert_eq!(token(&browser, "photos").await, Err("consent_required".into()), "the control: it was hers");
}

/// Somebody writes the grant while it is taken over: it has one owner all the same.
#[tokio::test]
async fn a_grant_that_is_written_while_it_is_taken_over_has_one_owner() {
    let world = World::new();
    let store = FaultyStore::over(world.app.store.clone());
    let app = App::over(&world.net, &world.clock, store.clone(), world.app.store.clone(), connections);
    world.net.serve_service(APP, app.layer.layer(routes()));
    world.op.sign_in_as("alice");
    let browser = world.browser();
    connect(&browser, "photos").await;
    let granted = token(&browser, "photos").await.unwrap();
    world.sign_in(&browser, "alice").await;
    store.swaps(Mode::Overtaken);
    assert_eq!(claim(&browser).await, json!(["photos"]));
    assert_eq!(token(&browser, "photos").await.unwrap(), granted);
    sign_out(&browser).await;
    assert_eq!(token(&browser, "photos").await, Err("consent_required".into()));
}

/// What a refresh spends would be lost: whoever takes over waits for it.
#[tokio::test]
async fn taking_over_waits_for_a_refresh_under_way() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        connect(&browser, "photos").await;
        let granted = token(&browser, "photos").await.unwrap();
        world.clock.advance(HOUR);
        let gate = Gate::new();
        world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()).once());
        let tab = browser.new_tab();
        let refreshing = tokio::spawn(async move { token(&tab, "photos").await });
        gate.wait_for_arrivals(1).await;
        world.sign_in(&browser, "alice").await;
        let tab = browser.new_tab();
        let taking_over = tokio::spawn(async move { claim(&tab).await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        gate.open();
        assert_eq!(taking_over.await.unwrap(), json!(["photos"]));
        let refreshed = refreshing.await.unwrap().unwrap();
        assert_ne!(refreshed, granted);
        assert_eq!(token(&browser, "photos").await.unwrap(), refreshed);
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
    }
}

#[tokio::test]
async fn what_a_person_has_is_not_replaced_and_what_is_anothers_not_taken() {
    for world in worlds() {
        world.op.sign_in_as("bob");
        let browser = world.browser();
        connect(&browser, "photos").await;
        connect(&browser, "contacts").await;
        world.sign_in(&browser, "alice").await;
        connect(&browser, "photos").await;
        let own = token(&browser, "photos").await.unwrap();
        // Of the contacts an ID token says that they are bob's.
        assert_eq!(claim(&browser).await, json!([]));
        assert_eq!(token(&browser, "photos").await.unwrap(), own);
        assert_eq!(token(&browser, "contacts").await, Err("consent_required".into()));
        sign_out(&browser).await;
        assert_eq!(owner(&world, &token(&browser, "contacts").await.unwrap()), "bob");
    }
}

/// Signing in and out, and refreshes of one's own, leave what the browser has as a visitor.
#[tokio::test]
async fn people_come_and_go_and_the_visitors_grant_stays() {
    for world in worlds() {
        world.op.sign_in_as("bob");
        let browser = world.browser();
        connect(&browser, "photos").await;
        // Shown, and forgotten where processes meet.
        assert!(token(&browser, "photos").await.is_ok());
        world.clock.advance(HOUR / 3);
        world.app.layer.delete_expired().await.unwrap();
        world.sign_in(&browser, "alice").await;
        connect(&browser, "photos").await;
        world.clock.advance(HOUR);
        assert_eq!(owner(&world, &token(&browser, "photos").await.unwrap()), "alice");
        sign_out(&browser).await;
        assert_eq!(owner(&world, &token(&browser, "photos").await.unwrap()), "bob");
        // And with it what others left is not cleared away by a visitor.
        world.clock.advance(HOUR);
        assert_eq!(owner(&world, &token(&browser, "photos").await.unwrap()), "bob");
        assert_eq!(world.op.reuse_detected(), 0);
    }
}

/// Other sites' pages use no visitor's grant, and take none back.
#[tokio::test]
async fn forged_requests_are_no_visitors() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        connect(&browser, "photos").await;
        let forged = browser.fetch(Method::POST, &format!("{APP}/claim"), "", EVIL).await;
        // `SameSite=Lax` keeps the cookie at home; where a browser does not know it, the request is refused.
        assert_ne!(forged.status, 200);
        let cookie = format!("{VISITOR}={}", browser.cookie(VISITOR).unwrap().value);
        let request = http::Request::post(format!("{APP}/claim")).header("cookie", cookie);
        let request = request.header("sec-fetch-site", "cross-site").body(bytes::Bytes::new()).unwrap();
        assert_eq!(browser.raw(request).await.status(), 403);
        let action = format!("{APP}/auth/disconnect?connection=photos&return_to=/who");
        browser.submit_from(EVIL, &Form::post(&action, &[])).await;
        assert!(token(&browser, "photos").await.is_ok());
        browser.submit_from(APP, &Form::post(&action, &[])).await;
        assert_eq!(token(&browser, "photos").await, Err("consent_required".into()));
        assert_eq!(world.op.revocations().len(), 1);
        assert!(world.app.events.has(EventCode::Disconnected));
    }
}

#[tokio::test]
async fn a_visitors_token_is_refreshed_once_and_their_time_ends() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        connect(&browser, "photos").await;
        let first = token(&browser, "photos").await.unwrap();
        // Who granted it is not asked about: whatever comes beside the tokens is not read.
        world.op.edit_refreshed_tokens(|tokens| drop(tokens.insert("id_token".into(), "not an ID token".into())));
        world.clock.advance(HOUR);
        let asked: Vec<_> = (0..20).map(|_| tokio::spawn(world.ask(APP, &browser, "/token?at=photos"))).collect();
        let mut tokens = Vec::new();
        for answer in asked {
            tokens.push(answer.await.unwrap().unwrap().into_body());
        }
        tokens.dedup();
        assert_eq!((tokens.len(), world.op.refreshes().len(), world.op.reuse_detected()), (1, 1, 0));
        assert_ne!(tokens[0], first.as_bytes());
        world.clock.advance(HOUR * 24 * 31);
        assert_eq!(token(&browser, "photos").await, Err("consent_required".into()));
    }
}

/// What the provider refuses the application is not the visitor's to mend; what it refuses them is.
#[tokio::test]
async fn a_refused_application_costs_no_visitor_their_grant() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        connect(&browser, "photos").await;
        for (error, code) in [("invalid_client", "operator_action_required"), ("invalid_grant", "consent_required")] {
            world.clock.advance(HOUR);
            world.op.answer_error(Endpoint::Refresh, 400, error);
            assert_eq!(token(&browser, "photos").await, Err(code.into()));
            world.op.honest();
            world.clock.advance(HOUR);
            assert_eq!(token(&browser, "photos").await.is_ok(), error == "invalid_client");
        }
    }
}

/// Without people: what somebody granted in one browser is not put into another.
#[tokio::test]
async fn a_grant_is_not_injected_into_another_visitors_browser() {
    for world in [World::with(per_token), World::stateless_with(per_token)] {
        world.serve(routes());
        world.op.sign_in_as("alice");
        let (mallory, victim) = (world.browser(), world.browser());
        let leaving = mallory.step(&format!("{APP}/auth/connect?connection=photos&return_to=/who")).await;
        let callback = mallory.follow(&leaving).await.location().unwrap().to_owned();
        let exchanges = world.op.code_exchanges().len();
        assert_eq!(victim.visit(&callback).await.status, 400);
        assert_eq!(world.op.code_exchanges().len(), exchanges);
        assert_eq!(token(&victim, "photos").await, Err("consent_required".into()));
        // In the browser in which it was begun it counts.
        assert_eq!(mallory.visit(&callback).await.status, 200);
        let granted = token(&mallory, "photos").await.unwrap();
        // What a visitor began is nobody's in a browser that has become another visitor meanwhile.
        let callback = begin(&mallory, "photos").await;
        let (theirs, another) = (mallory.cookie(VISITOR).unwrap().value, "A".repeat(43));
        mallory.tamper(VISITOR, |_| another.clone());
        let revoked = world.op.revocations().len();
        assert_eq!(mallory.visit(&callback).await.status, 400);
        assert_eq!(world.op.revocations().len(), revoked + 1, "what came for it is not left about");
        assert_eq!(mallory.cookie(VISITOR).unwrap().value, another, "it is that visitor still");
        assert_eq!(token(&mallory, "photos").await, Err("consent_required".into()));
        mallory.tamper(VISITOR, |_| theirs.clone());
        assert_eq!(token(&mallory, "photos").await.unwrap(), granted);
    }
}

/// Goes to the provider in a tab of its own; the address that comes back from there.
async fn begin(browser: &Browser, connection: &str) -> String {
    let tab = browser.new_tab();
    let leaving = tab.step(&format!("{APP}/auth/connect?connection={connection}&return_to=/who")).await;
    tab.follow(&leaving).await.location().expect("the provider sends it back").to_owned()
}

async fn grants_in_two_tabs(browser: &Browser, world: &World) {
    for connection in ["photos", "contacts"] {
        assert_eq!(owner(world, &token(browser, connection).await.unwrap()), "alice", "{connection}");
    }
    assert_eq!(world.op.revocations().len(), 0);
}

/// The browser has no name before its first grant, whichever tab that is in.
#[tokio::test]
async fn the_first_grants_in_two_tabs_are_one_visitors() {
    for order in [[0, 1], [1, 0]] {
        for world in worlds() {
            world.op.sign_in_as("alice");
            let browser = world.browser();
            let callbacks = [begin(&browser, "photos").await, begin(&browser, "contacts").await];
            for at in order {
                assert_eq!(browser.new_tab().visit(&callbacks[at]).await.status, 200);
            }
            grants_in_two_tabs(&browser, &world).await;
        }
    }
}

/// Tabs that are opened at once know nothing of each other, and finish one after the other or at once.
#[tokio::test]
async fn first_grants_that_begin_at_once_are_one_visitors() {
    // Names are made by chance: no order of them must matter.
    for at_once in [false, true].repeat(5) {
        for world in worlds() {
            world.op.sign_in_as("alice");
            let browser = world.browser();
            let first = begin(&browser, "photos").await;
            let pending = browser.cookies();
            browser.replace_jar(world.browser().clone_jar());
            let second = begin(&browser, "contacts").await;
            for one in pending.iter().filter(|one| one.name.starts_with("__Host-tower-oidc-login-")) {
                browser.set_cookie(APP, &format!("{}={}; Path=/; Secure; HttpOnly", one.name, one.value));
            }
            let before = browser.clone_jar();
            assert_eq!(browser.visit(&first).await.status, 200);
            let granted = browser.cookies();
            if at_once {
                browser.replace_jar(before);
            }
            assert_eq!(browser.visit(&second).await.status, 200);
            // What the first answer set has come meanwhile, but for the name: the second's counts.
            for one in granted.iter().filter(|one| at_once && one.name.contains("-grant.")) {
                browser.set_cookie(APP, &format!("{}={}; Path=/; Secure; HttpOnly", one.name, one.value));
            }
            grants_in_two_tabs(&browser, &world).await;
        }
    }
}

/// A name that somebody put into the browser, of their own making or one that they have, gets nothing that is granted
/// there.
#[tokio::test]
async fn a_planted_name_gets_no_grant() {
    for world in worlds() {
        for made_up in [true, false] {
            world.op.sign_in_as("bob");
            let (mallory, victim) = (world.browser(), world.browser());
            if !made_up {
                assert_eq!(connect(&mallory, "contacts").await.status, 200);
            }
            let planted = if made_up { "A".repeat(43) } else { mallory.cookie(VISITOR).unwrap().value };
            let header = format!("{VISITOR}={planted}; Path=/; Secure; HttpOnly");
            mallory.set_cookie(APP, &header);
            victim.set_cookie(APP, &header);
            world.op.sign_in_as("alice");
            assert_eq!(connect(&victim, "photos").await.status, 200);
            assert_ne!(victim.cookie(VISITOR).unwrap().value, planted);
            assert_eq!(owner(&world, &token(&victim, "photos").await.unwrap()), "alice", "the control");
            assert_eq!(token(&mallory, "photos").await, Err("consent_required".into()));
            // Nor after a refresh, where processes meet.
            world.clock.advance(HOUR + HOUR / 60);
            assert_eq!(owner(&world, &token(&victim, "photos").await.unwrap()), "alice");
            assert_eq!(token(&mallory, "photos").await, Err("consent_required".into()));
        }
    }
}

/// A copy of the cookies from before a grant that was given anew holds nothing of it.
#[tokio::test]
async fn a_former_name_holds_nothing() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let (browser, former) = (world.browser(), world.browser());
        assert_eq!(connect(&browser, "contacts").await.status, 200);
        former.replace_jar(browser.clone_jar());
        assert!(token(&former, "contacts").await.is_ok(), "the control");
        assert_eq!(connect(&browser, "contacts").await.status, 200);
        assert_eq!(token(&former, "contacts").await, Err("consent_required".into()));
        assert!(token(&browser, "contacts").await.is_ok());
    }
}

/// Each grant gives the browser another name, and what it had goes on under it.
#[tokio::test]
async fn a_visitor_has_another_name_after_each_grant() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let (mut names, mut photos) = (Vec::new(), None);
        for connection in ["photos", "contacts", "contacts", "contacts"] {
            assert_eq!(connect(&browser, connection).await.status, 200);
            names.push(browser.cookie(VISITOR).unwrap().value);
            let held = token(&browser, "photos").await.unwrap();
            assert_eq!(photos.get_or_insert(held.clone()), &held, "the same token");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 4);
        grants_in_two_tabs(&browser, &world).await;
        world.clock.advance(HOUR + HOUR / 60);
        grants_in_two_tabs(&browser, &world).await;
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
        // Tabs that were on their way when it changed come to its name.
        let callbacks = [begin(&browser, "photos").await, begin(&browser, "contacts").await];
        for callback in callbacks {
            assert_eq!(browser.new_tab().visit(&callback).await.status, 200);
        }
        grants_in_two_tabs(&browser, &world).await;
    }
}

/// The provider's form comes without the visitor's cookie.
#[tokio::test]
async fn first_grants_that_are_posted_are_one_visitors() {
    // Names are made by chance: no order of them must matter.
    for order in [[0, 1], [1, 0]].repeat(5) {
        let world = World::with(|mut config| {
            config.provider.response_mode = ResponseMode::FormPost;
            connections(config)
        });
        world.serve(routes());
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let mut posts = Vec::new();
        for connection in ["photos", "contacts"] {
            let tab = browser.new_tab();
            let leaving = tab.step(&format!("{APP}/auth/connect?connection={connection}&return_to=/who")).await;
            posts.push((tab.clone(), tab.follow(&leaving).await));
        }
        for at in order {
            let (tab, post) = &posts[at];
            assert_eq!(tab.settle(post.clone()).await.status, 200);
        }
        grants_in_two_tabs(&browser, &world).await;
        // And a visitor who has a name gets another one, with everything that was theirs.
        let name = browser.cookie(VISITOR).unwrap().value;
        assert_eq!(connect(&browser, "photos").await.status, 200);
        assert_ne!(browser.cookie(VISITOR).unwrap().value, name);
        grants_in_two_tabs(&browser, &world).await;
    }
}

/// Fetch Metadata section 2.4: nobody goes to grant something in a picture of another site.
#[tokio::test]
async fn other_sites_pictures_begin_no_grant() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        for connection in ["photos", "mail"] {
            let address = format!("{APP}/auth/connect?connection={connection}&return_to=/who");
            assert_eq!(browser.image(&address, EVIL).await.status, 204);
            assert_eq!(browser.iframe(&address, EVIL).await.status, 403);
            assert_eq!(browser.cookies_for(APP).len(), 0, "nothing is under way");
        }
        // A link there, which somebody follows, and pages of our own are another thing.
        let address = format!("{APP}/auth/connect?connection=photos&return_to=/who");
        assert_eq!(browser.click_from(EVIL, &address).await.status, 200);
        assert!(token(&browser, "photos").await.is_ok());
        assert_eq!(browser.iframe(&address, APP).await.status, 200);
    }
}

/// What cannot be, is refused by a message that names the fix.
#[test]
fn visitors_are_refused_where_they_cannot_be() {
    let world = World::new();
    let config = |edit: fn(Connection) -> Connection| {
        crate::support::app::config(&world.net, &world.clock)
            .connection(edit(Connection::new("photos").grant_lifetime(GrantLifetime::Session).allow_visitors()))
    };
    let store = tower_oidc::store::MemoryStore::new;
    let once = OidcLayer::per_user(config(Connection::single_use), store()).unwrap_err().to_string();
    assert!(once.contains("\"photos\"") && once.contains("one use"), "{once}");
    let account = tower_oidc::SharedAccount::client_credentials();
    let everybody = OidcLayer::single_user(config(|one| one), account, store()).unwrap_err().to_string();
    assert!(everybody.contains("allow_visitors") && everybody.contains("per_user"), "{everybody}");
    let lasting = |lifetime| {
        let mut config = config(|one| one);
        config.visitor_lifetime = lifetime;
        config
    };
    for lifetime in [Duration::ZERO, Duration::from_millis(999)] {
        for refused in
            [OidcLayer::per_user(lasting(lifetime), store()), OidcLayer::stateless(lasting(lifetime), store())]
        {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("visitor_lifetime") && refused.contains("\"photos\""), "{refused}");
        }
    }
    assert!(OidcLayer::per_user(lasting(Duration::from_secs(1)), store()).is_ok());
    let mut nobodys = crate::support::app::config(&world.net, &world.clock);
    nobodys.visitor_lifetime = Duration::ZERO;
    assert!(OidcLayer::per_user(nobodys, store()).is_ok(), "it is for nobody");
    assert!(OidcLayer::per_user(config(|one| one), store()).is_ok());
    assert!(OidcLayer::stateless(config(|one| one), store()).is_ok());
}

/// What was granted ends so long after it was, in a copied cookie too, and however often it is used meanwhile.
#[tokio::test]
async fn a_visitors_grant_ends_though_it_is_used() {
    for world in worlds() {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        assert_eq!(connect(&browser, "photos").await.status, 200);
        let ask = async || {
            let cookies = browser.cookies_for(APP);
            let cookies: Vec<_> = cookies.iter().map(|one| format!("{}={}", one.name, one.value)).collect();
            let cookies = cookies.join("; ");
            (world.with_cookie("/token?at=photos", cookies.as_bytes()).await.status().as_u16(), cookies)
        };
        let mut copied = String::new();
        for _ in 0..29 {
            world.clock.advance(24 * HOUR);
            let token = token(&browser, "photos").await;
            assert_eq!(world.op.owner_of(&token.unwrap()).as_deref(), Some("alice"));
            copied = ask().await.1;
        }
        assert_eq!(ask().await.0, 200);
        world.clock.advance(25 * HOUR);
        assert_ne!(world.with_cookie("/token?at=photos", copied.as_bytes()).await.status(), 200);
    }
}

/// Also where its cookies were sealed for longer, before `visitor_lifetime` was made shorter.
#[tokio::test]
async fn a_shorter_lifetime_counts_for_what_was_granted_before() {
    let world = stateless();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    assert_eq!(connect(&browser, "photos").await.status, 200);
    world.clock.advance(24 * HOUR);
    let serve_for = |days: u32| {
        let app = App::stateless(&world.net, &world.clock, |config| {
            let mut config = connections(config);
            config.visitor_lifetime = days * 24 * HOUR;
            config
        });
        world.net.serve_service(APP, app.layer.layer(routes()));
    };
    serve_for(1);
    assert_eq!(token(&browser, "photos").await, Err("consent_required".into()));
    assert_eq!(world.op.refreshes().len(), 0, "and nothing is spent that could not be kept");
    serve_for(2);
    assert!(token(&browser, "photos").await.is_ok());
}
