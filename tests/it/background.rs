//! Work in the background: it has what people granted until they take it back, and nothing of their browsers.

use std::time::Duration;

use axum::extract::Request;
use axum::routing::get;
use tower_oidc::store::MemoryStore;
use tower_oidc::{
    BackgroundTokens, Connection, ConnectionState, Error, ErrorKind, GrantLifetime, OidcLayer, OwnerTokens, Resource,
    SharedAccount,
};

use crate::support::app::{API, APP, App, OP, World, config, routes};
use crate::support::browser::Browser;

/// `mail` is granted until it is taken back; `files` and the login's `cal` end with the session.
fn site() -> (World, App) {
    let world = World::new();
    let resource = |name: &str| Resource::new(name, format!("{API}/{name}/"));
    let app = world.another(|config| {
        config
            .connection(Connection::new("mail").resource(resource("mail")))
            .connection(Connection::new("files").grant_lifetime(GrantLifetime::Session).resource(resource("files")))
    });
    (world, app)
}

async fn connect(browser: &Browser, connection: &str) {
    let url = format!("{APP}/auth/connect?connection={connection}&return_to=/who");
    assert_eq!(browser.visit(&url).await.status, 200);
}

async fn reads_as(tokens: &OwnerTokens, api: &str) -> Result<String, ErrorKind> {
    let answer = tokens.client().get(&format!("{API}/{api}/")).await.map_err(|error: Error| error.kind())?;
    Ok(answer.json::<serde_json::Value>().unwrap()["owner"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn it_acts_as_each_person_without_them() {
    let (world, app) = site();
    let background: BackgroundTokens = app.layer.background_tokens();
    let (alice, bob) = (background.for_user(OP, "a1"), background.for_user(OP, "b1"));
    assert_eq!(reads_as(&alice, "mail").await, Err(ErrorKind::ConsentRequired), "nobody granted it");
    let browser = world.signed_in("alice").await;
    connect(&browser, "mail").await;
    assert_eq!(reads_as(&alice, "mail").await.as_deref(), Ok("alice"));
    assert_eq!(reads_as(&bob, "mail").await, Err(ErrorKind::ConsentRequired));
    // Long after she has left, with tokens that are over.
    browser.submit_from(APP, &crate::support::html::Form::post(&format!("{APP}/auth/logout"), &[])).await;
    world.clock.advance(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(reads_as(&alice, "mail").await.as_deref(), Ok("alice"));
    assert_eq!(world.op.refreshes().len(), 1);
    let status = alice.connection_status("mail").await.unwrap();
    assert_eq!((status.state, status.account.as_deref()), (ConnectionState::Connected, Some("a1")));
    let refused = alice.access_token("https://evil.test/x?key=s3cret").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoTokenForUrl);
    // For the log: what was called, and what there is.
    let said = refused.to_string();
    assert!(said.contains("https://evil.test/x:") && said.contains(&format!("{API}/mail")), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    // The same subject elsewhere is somebody else.
    let elsewhere = background.for_user("https://other.test", "a1");
    assert_eq!(reads_as(&elsewhere, "mail").await, Err(ErrorKind::NoTokenForUrl));
    assert_eq!(elsewhere.connection_status("mail").await.unwrap_err().kind(), ErrorKind::NoSuchConnection);
}

/// What ends with a session is that browser's; the error names what to do.
#[tokio::test]
async fn what_belongs_to_a_session_is_out_of_its_reach() {
    let (world, app) = site();
    let browser = world.signed_in("alice").await;
    connect(&browser, "files").await;
    let alice = app.layer.background_tokens().for_user(OP, "a1");
    for api in ["files", "cal"] {
        let refused = alice.access_token(&format!("{API}/{api}/")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NoSuchConnection, "{api}");
        assert!(refused.to_string().contains("GrantLifetime::Persistent"), "{refused}");
    }
    assert!(alice.connection_status("files").await.is_err());
    let (kept, app) = {
        let world = World::new();
        let app = world.another(|mut config| {
            config.login_grant_lifetime = GrantLifetime::Persistent;
            config
        });
        (world, app)
    };
    kept.signed_in("alice").await;
    let alice = app.layer.background_tokens().for_user(OP, "a1");
    assert_eq!(reads_as(&alice, "cal").await.as_deref(), Ok("alice"), "a login may be kept so too");
}

/// A person takes it back, or the provider refuses: there is nobody to be sent anywhere.
#[tokio::test]
async fn what_was_taken_back_is_gone() {
    let (world, app) = site();
    let browser = world.signed_in("alice").await;
    connect(&browser, "mail").await;
    let alice = app.layer.background_tokens().for_user(OP, "a1");
    assert_eq!(reads_as(&alice, "mail").await.as_deref(), Ok("alice"));
    let form = format!("{APP}/auth/disconnect?connection=mail&return_to=/who");
    browser.submit_from(APP, &crate::support::html::Form::post(&form, &[])).await;
    let refused = alice.access_token(&format!("{API}/mail/")).await.unwrap_err();
    assert_eq!((refused.kind(), refused.url()), (ErrorKind::ConsentRequired, None));
    connect(&browser, "mail").await;
    assert_eq!(reads_as(&alice, "mail").await.as_deref(), Ok("alice"));
    use crate::support::provider::Endpoint;
    world.op.answer_error(Endpoint::Refresh, 400, "invalid_grant");
    world.clock.advance(Duration::from_secs(3700));
    assert_eq!(reads_as(&alice, "mail").await, Err(ErrorKind::ConsentRequired));
    world.op.honest();
    world.op.sign_in_as("alice");
    connect(&browser, "mail").await;
    alice.disconnect("mail").await.unwrap();
    assert_eq!(reads_as(&alice, "mail").await, Err(ErrorKind::ConsentRequired));
}

/// One flight with the requests of the person.
#[tokio::test]
async fn it_shares_the_refresh_with_requests() {
    let (world, app) = site();
    let browser = world.signed_in("alice").await;
    connect(&browser, "mail").await;
    world.clock.advance(Duration::from_secs(3700));
    let alice = app.layer.background_tokens().for_user(OP, "a1");
    let url = format!("{APP}/fetch?u={API}/mail/");
    let tasks = (0..8).map(|_| reads_as(&alice, "mail"));
    let pages = (0..8).map(|_| browser.fetch(http::Method::GET, &url, "", APP));
    let (owners, pages) = tokio::join!(futures_util::future::join_all(tasks), futures_util::future::join_all(pages));
    assert!(owners.iter().all(|owner| owner.as_deref() == Ok("alice")), "{owners:?}");
    assert!(pages.iter().all(|page| page.status == 200));
    assert_eq!(world.op.refreshes().len(), 1);
}

/// With one account for everybody, work has that one, and people have nothing.
#[tokio::test]
async fn with_an_account_it_has_the_accounts() {
    let (world, app) = site();
    assert!(app.layer.background_tokens().account().is_none());
    let config = config(&world.net, &world.clock);
    let layer = OidcLayer::single_user(config, SharedAccount::client_credentials(), MemoryStore::new()).unwrap();
    let background = layer.background_tokens();
    let account = background.account().expect("there is one");
    assert_eq!(reads_as(&account, "cal").await.as_deref(), Ok("app"));
    assert_eq!(account.disconnect("login").await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(reads_as(&background.for_user(OP, "a1"), "cal").await, Err(ErrorKind::NoSuchConnection));
    let refused = background.for_user(OP, "a1").access_token(&format!("{API}/cal/")).await.unwrap_err().to_string();
    assert!(refused.contains("BackgroundTokens::account") && !refused.contains("GrantLifetime"), "{refused}");
}

/// Where browsers keep everything, `GrantLifetime::Persistent` alone would be refused: the error names what to do all the same.
#[tokio::test]
async fn what_browsers_keep_is_out_of_its_reach() {
    let world = World::stateless();
    world.signed_in("alice").await;
    let alice = world.app.layer.background_tokens().for_user(OP, "a1");
    let refused = alice.access_token(&format!("{API}/cal/")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoSuchConnection);
    assert!(refused.to_string().contains("OidcLayer::per_user"), "{refused}");
}

/// Nothing in a request leads to it.
#[tokio::test]
async fn no_request_holds_it() {
    let (world, app) = site();
    let routes = routes().route(
        "/holds",
        get(|request: Request| async move {
            let extensions = request.extensions();
            let holds = extensions.get::<BackgroundTokens>().is_some() || extensions.get::<OidcLayer>().is_some();
            holds.to_string()
        }),
    );
    world.net.serve_service(APP, app.layer.layer(routes));
    let alice = world.signed_in("alice").await;
    assert_eq!(alice.navigate(&format!("{APP}/holds")).await.text(), "false");
}
