//! A person of one provider links an account at another: the grant is theirs, the account may be anybody's.

use std::time::Duration;

use axum::extract::Query;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tower_oidc::{Config, Connection, Error, ProviderConfig, Resource, UserTokens};

use super::{assert_no_exchange, callback_of, moved, sign_in, two_logins_with, work};
use crate::support::app::{API, APP, App, OP, OP2, World};
use crate::support::browser::{Browser, Page};
use crate::support::html::Form;

const FILES: &str = "/auth/connect?connection=files&return_to=/list";

type Asked = Query<std::collections::HashMap<String, String>>;

fn routes() -> Router {
    Router::new()
        .route(
            "/list",
            get(|tokens: UserTokens| async move {
                tokens.connections().await.map(|mut all| {
                    all.sort_by(|one, other| one.name.cmp(&other.name));
                    Json(all)
                })
            }),
        )
        .route(
            "/token",
            get(|tokens: UserTokens, Query(asked): Asked| async move {
                let url = format!("{API}{}", asked["p"]);
                Ok::<_, Error>(tokens.access_token(&url).await?.expose_secret().to_owned())
            }),
        )
        .route("/info", get(|tokens: UserTokens| async move { tokens.user_info_url().await }))
        .route(
            "/disconnect",
            post(
                |tokens: UserTokens| async move { tokens.disconnect("files").await.map(|ended| format!("{ended:?}")) },
            ),
        )
}

/// `https://op2.test` is for connections alone, unless `edit` says otherwise: `files` is one there, `mail` one at the
/// login's provider.
fn linked_with(edit: impl FnOnce(ProviderConfig) -> ProviderConfig) -> World {
    let world = World::with(|config| connections(config, edit(work().without_login())));
    world.serve(routes());
    world
}

fn linked() -> World {
    linked_with(|work| work)
}

fn named(name: &str) -> Connection {
    Connection::new(name).resource(Resource::new(name, format!("{API}/{name}/")).scope(name))
}

fn connections(config: Config, work: ProviderConfig) -> Config {
    config.connection(named("mail")).add_provider(work.connection(named("files")))
}

/// Grants `files` as this person of the second provider.
async fn connect(world: &World, browser: &Browser, user: &str) -> Page {
    world.op2.sign_in_as(user);
    browser.visit(&format!("{APP}{FILES}")).await
}

async fn list(browser: &Browser) -> Value {
    browser.fetch(http::Method::GET, &format!("{APP}/list"), "", APP).await.json()
}

async fn token(browser: &Browser, path: &str) -> Result<String, u16> {
    let page = browser.fetch(http::Method::GET, &format!("{APP}/token?p={path}"), "", APP).await;
    if page.status == 200 { Ok(page.text()) } else { Err(page.status.as_u16()) }
}

/// At which of the two a token was issued, and to whom.
fn issued_at(world: &World, token: &str) -> (&'static str, String) {
    match (world.op.owner_of(token), world.op2.owner_of(token)) {
        (Some(owner), None) => ("op", owner),
        (None, Some(owner)) => ("op2", owner),
        other => panic!("{token}: {other:?}"),
    }
}

#[tokio::test]
async fn an_account_at_another_provider_is_linked() {
    let world = linked();
    let alice = world.browser();
    world.op.sign_in_as("alice");
    alice.visit(&format!("{APP}/auth/login?return_to=/list")).await;
    assert_eq!(token(&alice, "/files/").await, Err(403), "not yet");
    world.op.forget();
    let page = connect(&world, &alice, "bob").await;
    assert_eq!(page.path_and_query(), "/list", "{}", page.text());
    assert_eq!(
        page.json(),
        json!([
            {
                "name": "files", "provider": "work", "state": "connected", "scopes": ["openid", "files"],
                "issuer": OP2, "account": "b1",
            },
            {
                "name": "mail", "provider": "default", "state": "not_connected", "scopes": [],
                "issuer": null, "account": null,
            },
        ])
    );
    assert_eq!(world.op.authorizations().len() + world.op.token_requests().len(), 0, "it was not asked");
    let asked = world.op2.last_authorization();
    assert_eq!(asked.get("redirect_uri"), Some("https://app.test/auth/callback/work"));
    assert_eq!(asked.get("scope"), Some("openid files"));
    // She is who she was, and each API gets its own provider's token.
    assert_eq!(issued_at(&world, &token(&alice, "/files/").await.unwrap()), ("op2", "bob".to_owned()));
    assert_eq!(issued_at(&world, &token(&alice, "/cal/").await.unwrap()), ("op", "alice".to_owned()));
    let info = alice.fetch(http::Method::GET, &format!("{APP}/info"), "", APP).await;
    assert_eq!(info.text(), format!("{OP}/userinfo"));
    // Nobody else has it: not the account's namesake at the login's provider, either.
    world.op.sign_in_as("bob");
    let bob = world.browser();
    bob.visit(&format!("{APP}/auth/login?return_to=/list")).await;
    assert_eq!(list(&bob).await[0]["state"], "not_connected");
    assert_eq!(token(&bob, "/files/").await, Err(403));
}

/// For connections.
#[tokio::test]
async fn a_link_ends_at_the_redirect_uri_of_its_provider() {
    let world = linked();
    let alice = world.browser();
    world.op.sign_in_as("alice");
    alice.visit(&format!("{APP}/auth/login?return_to=/list")).await;
    world.op.forget();
    world.op2.sign_in_as("bob");
    let callback = callback_of(&alice, &format!("{APP}{FILES}")).await;
    for iss in [OP, OP2] {
        let wrong = moved(&callback, "/auth/callback/default", |parameters| parameters.set("iss", iss));
        assert_eq!(alice.navigate(&wrong).await.status, 400, "{iss}");
    }
    let wrong = moved(&callback, "/auth/callback/work", |parameters| parameters.set("iss", OP));
    assert_eq!(alice.navigate(&wrong).await.status, 400);
    assert_no_exchange(&world, "a link");
    assert_eq!(alice.navigate(callback.as_str()).await.json()[0]["account"], "b1", "the control");
}

/// Refreshed where it came from, and as the account that it came from: OpenID Connect Core 1.0 section 12.2.
#[tokio::test]
async fn a_linked_account_is_refreshed_at_its_provider_and_stays_the_same() {
    let world = linked_with(|mut work| {
        work.revocation_is_per_token = true;
        work
    });
    let alice = world.browser();
    world.op.sign_in_as("alice");
    alice.visit(&format!("{APP}/auth/login?return_to=/list")).await;
    connect(&world, &alice, "bob").await;
    let first = token(&alice, "/files/").await.unwrap();
    world.clock.advance(Duration::from_secs(3600));
    let second = token(&alice, "/files/").await.unwrap();
    assert_ne!(first, second);
    assert_eq!(issued_at(&world, &second), ("op2", "bob".to_owned()));
    assert_eq!((world.op.refreshes().len(), world.op2.refreshes().len()), (0, 1));

    // Somebody else appears, be it the person who is signed in: nothing of it is used, and it is told where it came from.
    world.op2.edit_refreshed_id_token(|draft| draft.claim("sub", "a1"));
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(token(&alice, "/files/").await, Err(403));
    world.app.layer.drain().await;
    assert_eq!((world.op.revocations().len(), world.op2.revocations().len()), (0, 1));
    assert_eq!(list(&alice).await[0]["state"], "needs_consent");
    assert!(token(&alice, "/cal/").await.is_ok(), "the login's own grant is another");
}

/// The newest consent wins, whichever account it is of.
#[tokio::test]
async fn another_account_replaces_the_one_that_was_linked() {
    let world = linked();
    let alice = world.browser();
    world.op.sign_in_as("alice");
    alice.visit(&format!("{APP}/auth/login?return_to=/list")).await;
    assert_eq!(connect(&world, &alice, "bob").await.json()[0]["account"], "b1");
    assert_eq!(connect(&world, &alice, "alice").await.json()[0]["account"], "a1");
    assert_eq!(issued_at(&world, &token(&alice, "/files/").await.unwrap()), ("op2", "alice".to_owned()));
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(issued_at(&world, &token(&alice, "/files/").await.unwrap()), ("op2", "alice".to_owned()));
    assert_eq!(world.op2.revocations().len(), 0, "what it replaces is not revoked");
}

/// Across providers.
#[tokio::test]
async fn a_linked_account_is_disconnected_at_its_provider() {
    let world = linked();
    let alice = world.browser();
    world.op.sign_in_as("alice");
    alice.visit(&format!("{APP}/auth/login?return_to=/list")).await;
    for by_form in [false, true] {
        connect(&world, &alice, "bob").await;
        world.op2.forget();
        let form = |path: &str| Form::post(&format!("{APP}{path}"), &[]);
        if by_form {
            alice.submit_from(APP, &form("/auth/disconnect?connection=files&return_to=/list")).await;
        } else {
            assert_eq!(alice.submit_from(APP, &form("/disconnect")).await.text(), "Revoked");
        }
        let revoked = world.op2.revocations();
        assert_eq!((revoked.len(), revoked[0].owner.as_deref()), (1, Some("bob")));
        assert_eq!(world.op.revocations().len(), 0);
        assert_eq!(list(&alice).await[0]["state"], "not_connected");
        assert_eq!(token(&alice, "/files/").await, Err(403));
        assert!(token(&alice, "/cal/").await.is_ok());
    }
}

/// At the provider where they signed in it must be the same account, wherever that is.
#[tokio::test]
async fn at_the_logins_own_provider_the_account_is_the_persons() {
    let world = two_logins_with(|config| config.connection(named("mail")), |work| work.connection(named("files")));
    world.serve(routes());
    let connect = async |browser: &Browser, connection: &str| {
        browser.visit(&format!("{APP}/auth/connect?connection={connection}&return_to=/list")).await
    };
    // `files` is at `work`, `mail` at the first.
    for (at, signs_in_at, own, other) in
        [("default", &world.op, "mail", "files"), ("work", &world.op2, "files", "mail")]
    {
        let browser = world.browser();
        signs_in_at.sign_in_as("alice");
        browser.visit(&super::login_at(at, "/list")).await;
        world.op.sign_in_as("bob");
        world.op2.sign_in_as("bob");
        let refused = connect(&browser, own).await;
        assert_eq!(refused.status, 403, "{at}: {}", refused.text());
        assert!(refused.text().contains("AccountMismatch"), "{at}: {}", refused.text());
        let state =
            |list: &Value, name: &str| list.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
        assert_eq!(state(&list(&browser).await, own)["state"], "not_connected", "{at}");
        let page = connect(&browser, other).await;
        assert_eq!(state(&page.json(), other)["account"], "b1", "{at}: at another provider anybody's will do");
        signs_in_at.sign_in_as("alice");
        let page = connect(&browser, own).await;
        assert_eq!(state(&page.json(), own)["account"], "a1", "{at}: the control");
    }
}

/// The login's own grant may be granted anew too, where its person signed in.
#[tokio::test]
async fn the_logins_own_connection_is_at_the_provider_of_the_session() {
    let world = super::two_logins();
    for (op, other, name) in [(&world.op, &world.op2, "default"), (&world.op2, &world.op, "work")] {
        let browser = world.browser();
        sign_in(&browser, op, name, "alice").await;
        other.forget();
        let page = browser.visit(&format!("{APP}/auth/connect?connection=login&return_to=/who")).await;
        assert_eq!(page.json()["issuer"], op.issuer(), "{}", page.text());
        assert_eq!(op.last_authorization().get("redirect_uri"), Some(&*format!("{APP}/auth/callback/{name}")));
        assert_eq!(other.authorizations().len(), 0, "{name}");
    }
}

/// For linked accounts.
#[tokio::test]
async fn a_linked_account_is_of_the_organisation_that_its_provider_is_for() {
    let world = linked_with(|mut work| {
        work.hosted_domain = Some("example.com".to_owned());
        work.revocation_is_per_token = true;
        work
    });
    let alice = world.browser();
    world.op.sign_in_as("alice");
    alice.visit(&format!("{APP}/auth/login?return_to=/list")).await;
    let refused = connect(&world, &alice, "bob").await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!((world.op2.revocations().len(), world.op.revocations().len()), (1, 0), "nobody will use it");
    world.op2.user("bob", |bob| bob.set("hd", "example.com"));
    assert_eq!(connect(&world, &alice, "bob").await.json()[0]["account"], "b1", "the control");
}

/// Whatever the configuration calls it later: what one provider has granted is spent at none but it.
#[tokio::test]
async fn a_connection_that_is_moved_to_another_provider_starts_anew() {
    let world = linked();
    let alice = world.browser();
    world.op.sign_in_as("alice");
    alice.visit(&format!("{APP}/auth/login?return_to=/list")).await;
    connect(&world, &alice, "bob").await;
    world.op.forget();
    world.op2.forget();
    world.clock.advance(Duration::from_secs(3600));

    let serve = |app: &App| world.net.serve_service(APP, app.layer.layer(routes()));
    let moved = |config: Config| {
        let files = Resource::new("files", format!("{API}/files/")).scope("files");
        let work = work().without_login();
        config.add_provider(work).connection(Connection::new("files").resource(files))
    };
    serve(&world.another(moved));
    assert_eq!(list(&alice).await[0]["state"], "not_connected");
    assert_eq!(token(&alice, "/files/").await, Err(403));
    assert_eq!(world.op.token_requests().len() + world.op2.token_requests().len(), 0);

    serve(&world.another(|config| connections(config, work().without_login())));
    assert_eq!(issued_at(&world, &token(&alice, "/files/").await.unwrap()), ("op2", "bob".to_owned()));
}

/// What one provider revokes or forgets is nothing to a grant at another.
#[tokio::test]
async fn trouble_at_one_provider_is_not_the_others() {
    let world = linked();
    let alice = world.browser();
    world.op.sign_in_as("alice");
    alice.visit(&format!("{APP}/auth/login?return_to=/list")).await;
    connect(&world, &alice, "bob").await;
    world.clock.advance(Duration::from_secs(3600));
    world.net.fault(OP2, "/", crate::support::fault::Fault::Refuse);
    assert_eq!(token(&alice, "/files/").await, Err(503));
    assert!(token(&alice, "/cal/").await.is_ok());
    world.net.heal(OP2);
    world.op2.revoke_grants_of("bob");
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(token(&alice, "/files/").await, Err(403));
    assert!(token(&alice, "/cal/").await.is_ok());
}

/// Nor does what is under way at one provider end as a grant of another.
#[tokio::test]
async fn a_connection_that_is_moved_meanwhile_is_not_granted_by_its_old_provider() {
    let world = linked();
    let alice = world.browser();
    world.op.sign_in_as("alice");
    alice.visit(&format!("{APP}/auth/login?return_to=/list")).await;
    world.op2.sign_in_as("bob");
    let callback = callback_of(&alice, &format!("{APP}{FILES}")).await;
    world.op.forget();
    let serve = |app: &App| world.net.serve_service(APP, app.layer.layer(routes()));
    serve(&world.another(|config| {
        let mut config = connections(config, work().without_login());
        config.provider.connections.append(&mut config.more_providers[0].connections);
        config
    }));
    let page = alice.navigate(callback.as_str()).await;
    assert_eq!(page.status, 400, "{}", page.text());
    assert_no_exchange(&world, "moved");
    assert_eq!(list(&alice).await[0]["state"], "not_connected");
    serve(&world.another(|config| connections(config, work().without_login())));
    assert_eq!(alice.navigate(callback.as_str()).await.json()[0]["account"], "b1", "the control");
}

/// In single-user mode: the application's own tokens, at each provider from its own.
#[tokio::test]
async fn an_accounts_connection_at_another_provider_gets_its_tokens_there() {
    use tower_oidc::store::MemoryStore;
    use tower_oidc::{OidcLayer, SharedAccount};
    let world = World::new();
    let config = |work| connections(crate::support::app::config(&world.net, &world.clock), work);
    let single_user = |work: ProviderConfig| {
        OidcLayer::single_user(config(work), SharedAccount::client_credentials(), MemoryStore::new())
    };
    let layer = single_user(work()).unwrap_or_else(|error| panic!("{error}"));
    world.net.serve_service(APP, layer.layer(routes()));
    let anybody = world.browser();
    for _ in 0..2 {
        let (files, cal) = (token(&anybody, "/files/").await.unwrap(), token(&anybody, "/cal/").await.unwrap());
        assert_eq!(issued_at(&world, &files), ("op2", "app".to_owned()));
        assert_eq!(issued_at(&world, &cal), ("op", "app".to_owned()));
        world.clock.advance(Duration::from_secs(3600));
    }
    let mut public = work();
    public.client_secret = None;
    let refused = single_user(public).expect_err("it cannot prove itself").to_string();
    assert!(refused.contains("\"files\"") && refused.contains("client_secret"), "{refused}");
}
