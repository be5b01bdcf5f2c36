//! The application with an account: the scenarios' routes, and `/status` (of the login's connection), `/need?s=` (a
//! scope of `mail`) and POST `/disconnect`.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::Query;
use axum::routing::{get, post};
use tower_oidc::store::{BoxFuture, Key, MemoryStore, Record, Store, StoreError, Stored, Tag, Version};
use tower_oidc::{AccountState, AccountStatus, Config, OidcLayer, Resource, SharedAccount, Timestamp, UserTokens};

use crate::support::app::{API, APP, App, Events, World, config, routes};
use crate::support::browser::{Browser, Page};

/// Where everybody reads what is the account's.
pub(crate) const CAL: &str = "https://app.test/fetch?u=https://api.test/cal/";

/// A store that outlives processes, as far as anybody here can tell.
#[derive(Clone)]
pub(crate) struct Durable<S>(pub(crate) S);

impl<S: Store> Store for Durable<S> {
    fn load(&self, key: Key) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        self.0.load(key)
    }

    fn swap(
        &self, key: Key, expected: Option<Version>, record: Record,
    ) -> BoxFuture<'_, Result<Option<Version>, StoreError>> {
        self.0.swap(key, expected, record)
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.0.delete(key, expected)
    }

    fn find(&self, tag: Tag) -> BoxFuture<'_, Result<Vec<Key>, StoreError>> {
        self.0.find(tag)
    }

    fn delete_expired(&self, now: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.0.delete_expired(now)
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.wait(key, after, within)
    }
}

/// The resource `cal`, `mail` with a scope, and alice as an admin.
pub(crate) fn configured(world: &World) -> Config {
    let mail = Resource::new("mail", format!("{API}/mail/")).scope("mail.read").optional_scope("mail.send");
    let mut config = config(&world.net, &world.clock).resource(mail);
    config.admins = vec!["alice@example.com".into()];
    config
}

/// Starts a process of the application, and serves it in the place of the one that was there.
pub(crate) fn start(
    world: &World, account: SharedAccount, store: impl Store, edit: impl FnOnce(Config) -> Config,
) -> App {
    let events = Events::default();
    let config = edit(configured(world)).on_event(events.hook());
    let layer = OidcLayer::single_user(config, account, store).unwrap_or_else(|error| panic!("{error}"));
    let routes = routes()
        .route("/status", get(|tokens: UserTokens| async move { tokens.connection_status("login").await.map(Json) }))
        .route(
            "/need",
            get(|tokens: UserTokens, Query(asked): Query<HashMap<String, String>>| async move {
                tokens.require_scopes("mail", &[&asked["s"]]).await.map(|()| "granted")
            }),
        )
        .route(
            "/disconnect",
            post(
                |tokens: UserTokens| async move { tokens.disconnect("login").await.map(|ended| format!("{ended:?}")) },
            ),
        );
    world.net.serve_service(APP, layer.layer(routes));
    App { layer, store: MemoryStore::new().into(), events }
}

/// A refresh token that this person granted to the application, somewhere else.
pub(crate) async fn refresh_token_of(world: &World, name: &str) -> String {
    let issued = |world: &World| world.op.live_refresh_tokens().into_iter().map(|(token, _)| token);
    let before: Vec<String> = issued(world).collect();
    let elsewhere = world.another(|config| config);
    world.signed_in(name).await;
    drop(elsewhere);
    world.op.forget();
    issued(world).find(|token| !before.contains(token)).expect("a refresh token")
}

/// Whose data this browser gets at the API; the problem's code, or else the status.
pub(crate) async fn reads_as(browser: &Browser) -> String {
    reads_as_at(browser, CAL).await
}

/// The same where another API is read.
pub(crate) async fn reads_as_at(browser: &Browser, url: &str) -> String {
    let page = script(browser, url).await;
    if page.status == 200 {
        return page.json()["owner"].as_str().expect("an owner").to_owned();
    }
    let code = serde_json::from_slice::<serde_json::Value>(&page.body).ok();
    let code = code.and_then(|problem| problem["code"].as_str().map(str::to_owned));
    code.unwrap_or_else(|| page.status.to_string())
}

pub(crate) async fn script(browser: &Browser, url: &str) -> Page {
    browser.fetch(http::Method::GET, url, "", APP).await
}

pub(crate) async fn login_status(app: &App) -> AccountStatus {
    let mut all = app.layer.account_status().await;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

pub(crate) async fn state(app: &App) -> AccountState {
    login_status(app).await.state
}
