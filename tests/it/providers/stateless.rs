//! Several providers in stateless mode, where the browser carries who it is and what came of it: the issuer is in every
//! seal, so that what one provider gave is never another's.

use axum::Router;
use axum::routing::get;
use axum::{Json, extract::Query};
use http::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use tower_oidc::{Config, Connection, Error, EventCode, GrantLifetime, Resource, UserTokens};

use super::{assert_no_exchange, callback_of, login_at, moved, sign_in, work};
use crate::support::app::{API, APP, OP, OP2, SESSION, World, logout_link, routes};
use crate::support::browser::Browser;
use crate::support::html::Form;
use crate::support::provider::jwt::claims_of;
use crate::support::provider::{CLIENT_ID, LyingProvider};

const HOUR: Duration = Duration::from_secs(3600);
const GRANT: &str = "__Host-tower-oidc-grant";

/// Two providers to sign in at, whose tokens go to `https://api.test/both/`, and the connection `files` at the second.
fn world() -> World {
    let world = World::stateless_with(configured);
    type Asked = Query<HashMap<String, String>>;
    let more = Router::new()
        .route("/list", get(|tokens: UserTokens| async move { tokens.connections().await.map(Json) }))
        .route(
            "/token",
            get(|tokens: UserTokens, Query(asked): Asked| async move {
                Ok::<_, Error>(tokens.access_token(&format!("{API}{}", asked["p"])).await?.expose_secret().to_owned())
            }),
        );
    world.serve(routes().merge(more));
    world
}

fn configured(config: Config) -> Config {
    let resource = |name: &str| Resource::new(name, format!("{API}/{name}/"));
    let files = Connection::new("files").resource(resource("files").scope("files"));
    let both = resource("both");
    config
        .resource(both.clone())
        .add_provider(work().resource(both).connection(files.grant_lifetime(GrantLifetime::Session)))
}

async fn token(browser: &Browser, path: &str) -> Result<String, u16> {
    let page = browser.fetch(Method::GET, &format!("{APP}/token?p={path}"), "", APP).await;
    if page.status == 200 { Ok(page.text()) } else { Err(page.status.as_u16()) }
}

/// At which of the two a token was issued, and to whom; none is both's.
fn issued_at(world: &World, token: &str) -> (&'static str, String) {
    match (world.op.owner_of(token), world.op2.owner_of(token)) {
        (Some(owner), None) => ("op", owner),
        (None, Some(owner)) => ("op2", owner),
        other => panic!("{token}: {other:?}"),
    }
}

async fn owner(world: &World, browser: &Browser) -> (&'static str, String) {
    issued_at(world, &token(browser, "/both/").await.expect("a token"))
}

async fn alice_at_each(world: &World) -> [Browser; 2] {
    let [one, other] = [world.browser(), world.browser()];
    sign_in(&one, &world.op, "default", "alice").await;
    sign_in(&other, &world.op2, "work", "alice").await;
    [one, other]
}

fn grants_of(browser: &Browser) -> Vec<(String, String)> {
    let carried = browser.cookies().into_iter().filter(|cookie| cookie.name.starts_with(GRANT));
    carried.map(|cookie| (cookie.name, cookie.value)).collect()
}

/// Two providers, and no store.
#[tokio::test]
async fn answers_are_not_mixed_up() {
    let world = world();
    let at = [("default", "/auth/callback/default"), ("work", "/auth/callback/work")];
    for ((name, own), (_, others), op) in [(at[0], at[1], &world.op), (at[1], at[0], &world.op2)] {
        op.sign_in_as("alice");
        let browser = world.browser();
        let callback = callback_of(&browser, &login_at(name, "/who")).await;
        assert_eq!(callback.path(), own);
        for iss in [None, Some(OP), Some(OP2)] {
            let wrong = moved(&callback, others, |parameters| {
                parameters.remove("iss");
                iss.into_iter().for_each(|iss| parameters.add("iss", iss));
            });
            assert_eq!(browser.navigate(&wrong).await.status, 400, "{name} at {others}, iss {iss:?}");
        }
        let other_issuer = if name == "work" { OP } else { OP2 };
        let wrong = moved(&callback, own, |parameters| parameters.set("iss", other_issuer));
        assert_eq!(browser.navigate(&wrong).await.status, 400, "{name}");
        assert_no_exchange(&world, name);
        assert_eq!(world.who(&browser).await, Value::Null);
        let page = browser.navigate(callback.as_str()).await;
        assert_eq!(page.json()["issuer"], op.issuer(), "the control: {}", page.text());
        assert_eq!(owner(&world, &browser).await.1, "alice");
        op.forget();
    }
}

/// One subject at two issuers is two people, each refreshed where they came from.
#[tokio::test]
async fn the_same_subject_at_two_providers_is_two_people() {
    let world = world();
    let [one, other] = alice_at_each(&world).await;
    for rounds in 1..=2 {
        world.clock.advance(HOUR);
        assert_eq!(owner(&world, &one).await, ("op", "alice".to_owned()));
        assert_eq!((world.op.refreshes().len(), world.op2.refreshes().len()), (rounds, rounds - 1));
        assert_eq!(owner(&world, &other).await, ("op2", "alice".to_owned()));
        assert_eq!((world.op.refreshes().len(), world.op2.refreshes().len()), (rounds, rounds));
    }
    for op in [&world.op, &world.op2] {
        assert!(op.token_requests().iter().all(|asked| asked.outcome.is_ok()), "{}", op.issuer());
    }
    // Whoever signs in as the other in the same browser is the other, and carries nothing of the first.
    let before = grants_of(&one);
    sign_in(&one, &world.op2, "work", "alice").await;
    assert_eq!(owner(&world, &one).await.0, "op2");
    assert!(!before.is_empty() && grants_of(&one).iter().all(|(name, _)| before.iter().all(|(old, _)| old != name)));
}

/// Cookies that are put together of two people's, who have the same subject, are nobody's.
#[tokio::test]
async fn a_grant_of_one_provider_is_none_beside_a_session_of_another() {
    let world = world();
    let [one, other] = alice_at_each(&world).await;
    let (mine, theirs) = (grants_of(&one), grants_of(&other));
    assert_eq!((mine.len(), theirs.len()), (1, 1));
    let put = |name: &str, value: &str| {
        one.set_cookie(APP, &format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=3600"));
    };
    // In place of her own, and beside it under the other's name.
    put(&mine[0].0, &theirs[0].1);
    assert_eq!(token(&one, "/both/").await, Err(403));
    assert!(world.app.events.has(EventCode::Tampered));
    put(&mine[0].0, &mine[0].1);
    put(&theirs[0].0, &theirs[0].1);
    assert_eq!(owner(&world, &one).await.0, "op", "the control");
    // The other's whole set is the other: it is the cookies that say who it is.
    put(&theirs[0].0, &theirs[0].1);
    put(SESSION, &other.cookie(SESSION).expect("a session").value);
    assert!(world.who(&one).await.is_null(), "nor is a session without its claims");
    other.cookies().iter().filter(|one| one.name.contains("-claims.")).for_each(|one| put(&one.name, &one.value));
    assert_eq!(owner(&world, &one).await.0, "op2");
}

/// Alice of the first provider links Bob's account at the second.
#[tokio::test]
async fn an_account_at_another_provider_is_linked_and_taken_back() {
    const FILES: &str = "/auth/connect?connection=files&return_to=/list";
    let world = world();
    let alice = world.browser();
    sign_in(&alice, &world.op, "default", "alice").await;
    assert_eq!(token(&alice, "/files/").await, Err(403), "not yet");
    world.op.forget();
    world.op2.sign_in_as("bob");
    let callback = callback_of(&alice, &format!("{APP}{FILES}")).await;
    let wrong = moved(&callback, "/auth/callback/default", |parameters| parameters.set("iss", OP));
    assert_eq!(alice.navigate(&wrong).await.status, 400);
    let list = alice.navigate(callback.as_str()).await.json();
    assert_eq!((&list[0]["account"], &list[0]["issuer"]), (&json!("b1"), &json!(OP2)));
    assert_eq!(world.op.token_requests().len() + world.op.authorizations().len(), 0, "it was not asked");

    for refreshes in 1..=2 {
        world.clock.advance(HOUR);
        let files = token(&alice, "/files/").await.expect("a token");
        assert_eq!(issued_at(&world, &files), ("op2", "bob".to_owned()));
        assert_eq!((world.op.refreshes().len(), world.op2.refreshes().len()), (0, refreshes));
    }
    assert_eq!(owner(&world, &alice).await, ("op", "alice".to_owned()), "the login's own grant is another");
    assert_eq!(world.who(&alice).await, "a1");
    // Neither the account's namesake nor the person there has it.
    for (op, name) in [(&world.op, "default"), (&world.op2, "work")] {
        let bob = world.browser();
        sign_in(&bob, op, name, "bob").await;
        assert_eq!(token(&bob, "/files/").await, Err(403), "{name}");
    }
    // Back at the second provider, where she is signed in as somebody: only her own account there is hers.
    let work = world.browser();
    sign_in(&work, &world.op2, "work", "alice").await;
    world.op2.sign_in_as("bob");
    assert_eq!(work.visit(&format!("{APP}{FILES}")).await.status, 403, "another account");
    world.op2.sign_in_as("alice");
    assert_eq!(work.visit(&format!("{APP}{FILES}")).await.json()[0]["account"], "a1", "the control");

    world.op.forget();
    world.op2.forget();
    let disconnect = format!("{APP}/auth/disconnect?connection=files&return_to=/list");
    let older = alice.clone_jar();
    let list = alice.submit_from(APP, &Form::post(&disconnect, &[])).await.json();
    assert_eq!(list[0]["state"], "not_connected");
    let revoked = world.op2.revocations();
    assert_eq!((revoked.len(), revoked[0].owner.as_deref()), (1, Some("bob")));
    assert_eq!(world.op.revocations().len(), 0);
    // Cookies that were copied before bring it back nowhere.
    alice.replace_jar(older);
    assert_eq!(token(&alice, "/files/").await, Err(403));
    assert_eq!(owner(&world, &alice).await.0, "op");
}

/// For each: at the session's provider, with its ID token; and what was copied before counts no more.
#[tokio::test]
async fn a_logout_is_at_the_provider_of_the_session() {
    let world = world();
    let [one, other] = alice_at_each(&world).await;
    for (browser, op, stays) in [(&one, &world.op, Some(&other)), (&other, &world.op2, None)] {
        world.op.forget();
        world.op2.forget();
        let copied = browser.clone_jar();
        let link = logout_link(browser, "/who").await;
        assert_eq!(browser.navigate(&link).await.text(), "null");
        for each in [&world.op, &world.op2] {
            assert_eq!(each.logouts().len(), usize::from(each.issuer() == op.issuer()), "{}", each.issuer());
        }
        let hint = claims_of(op.logouts()[0].get("id_token_hint").expect("a hint"));
        assert_eq!((&hint["iss"], &hint["sub"]), (&json!(op.issuer()), &json!("a1")));
        assert_eq!(grants_of(browser), []);
        browser.replace_jar(copied);
        assert_eq!(world.who(browser).await, Value::Null);
        assert_eq!(token(browser, "/both/").await, Err(401));
        if let Some(stays) = stays {
            assert_eq!(owner(&world, stays).await.0, "op2", "the other is another");
        }
    }
}

/// A provider signs out its own people, by its own keys, and nobody of another's whom it calls the same.
#[tokio::test]
async fn a_provider_signs_out_its_own_people_only() {
    let world = world();
    let [one, other] = alice_at_each(&world).await;
    world.clock.advance(Duration::from_secs(1));
    let logout_token = |op: &LyingProvider, iss: &'static str| {
        op.logout_token(CLIENT_ID, "alice", None, |draft| draft.claim("iss", iss))
    };
    let forged = logout_token(&world.op2, OP);
    assert_eq!(world.back_channel(&forged).await.status(), 400, "in the other's name, by its own key");
    assert_eq!((owner(&world, &one).await.0, owner(&world, &other).await.0), ("op", "op2"));
    assert_eq!(world.back_channel(&logout_token(&world.op2, OP2)).await.status(), 200);
    assert_eq!((token(&other, "/both/").await, owner(&world, &one).await.0), (Err(401), "op"));
    assert_eq!(world.back_channel(&logout_token(&world.op, OP)).await.status(), 200);
    assert_eq!(token(&one, "/both/").await, Err(401));
}
