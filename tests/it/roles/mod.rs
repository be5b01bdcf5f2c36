//! Roles: in what a provider says them, whose they are, and what they open.

mod bearer;
mod configuration;
mod routes;
mod sources;
mod withdrawn;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tower_oidc::{ClaimSource, Config, CurrentUser, RequireLayer, RoleClaim};

use crate::provider_logout::Mode;
use crate::support::app::{APP, World, routes};
use crate::support::browser::Browser;
use crate::support::provider::LyingProvider;
use http::Method;

/// The audience of the access tokens in which roles are.
const AUDIENCE: &str = "https://app.test/api";

const SOURCES: [ClaimSource; 3] = [ClaimSource::IdToken, ClaimSource::UserInfo, ClaimSource::AccessToken];

/// Served with `/roles`, which says what somebody has, and with routes that require roles.
fn world(mode: Mode, edit: impl FnOnce(Config) -> Config) -> World {
    let world = mode.world(edit);
    world.serve(with_roles());
    world
}

fn with_roles() -> Router {
    let route = |layer: RequireLayer| get(|| async { "in" }).post(|| async { "in" }).layer(layer);
    routes()
        .route("/roles", get(roles))
        .route("/editors", route(RequireLayer::role("editor")))
        .route("/any", route(RequireLayer::any_role(["editor", "author"])))
        .route("/all", route(RequireLayer::all_roles(["editor", "author"])))
        .route("/any-of-none", route(RequireLayer::any_role([""; 0])))
        .route("/all-of-none", route(RequireLayer::all_roles([""; 0])))
}

async fn roles(user: CurrentUser) -> Json<Value> {
    let editor = user.has_role("editor");
    Json(json!({ "roles": user.roles(), "editor": editor, "admin": user.is_admin(), "user": user }))
}

/// With rules for roles at the first provider.
fn rules(mut config: Config, rules: &[(ClaimSource, &str)]) -> Config {
    config.provider.roles = rules.iter().map(|(from, at)| RoleClaim::new(*from, *at)).collect();
    config.provider.access_token_audience = Some(AUDIENCE.to_owned());
    config
}

/// The first provider says these roles of everybody in this source, at `/groups`, and nothing elsewhere.
fn say(op: &LyingProvider, source: ClaimSource, roles: Option<Value>) {
    op.honest();
    match source {
        ClaimSource::IdToken => say_in_id_tokens(op, roles),
        ClaimSource::UserInfo => op.edit_userinfo(move |claims| {
            roles.iter().for_each(|roles| drop(claims.insert("groups".to_owned(), roles.clone())));
        }),
        _ => say_in_access_tokens(op, AUDIENCE, "alice", roles),
    }
}

fn say_in_id_tokens(op: &LyingProvider, roles: Option<Value>) {
    let refreshed = roles.clone();
    op.edit_id_token(move |token| roles.iter().for_each(|roles| token.claim("groups", roles.clone())));
    op.edit_refreshed_id_token(move |token| {
        refreshed.iter().for_each(|roles| token.claim("groups", roles.clone()));
    });
}

/// Access tokens are JWTs of this person for this audience, with these roles.
fn say_in_access_tokens(op: &LyingProvider, audience: &str, user: &str, roles: Option<Value>) {
    let token = op.access_jwt(Some(user), audience, |token| {
        roles.iter().for_each(|roles| token.claim("groups", roles.clone()));
    });
    give_access_token(op, token);
}

/// Whoever signs in or refreshes gets this access token.
fn give_access_token(op: &LyingProvider, token: String) {
    let (new, refreshed) = (token.clone(), token);
    op.edit_tokens(move |tokens| drop(tokens.insert("access_token".to_owned(), new.clone().into())));
    op.edit_refreshed_tokens(move |tokens| {
        drop(tokens.insert("access_token".to_owned(), refreshed.clone().into()));
    });
    // It is of the other access token.
    op.edit_id_token(|token| token.without("at_hash"));
    op.edit_refreshed_id_token(|token| token.without("at_hash"));
}

/// What `/roles` says in this browser; `null` where nobody is signed in.
async fn roles_in(browser: &Browser) -> Value {
    let page = browser.fetch(Method::GET, &format!("{APP}/roles"), "", APP).await;
    if page.status == 401 { Value::Null } else { page.json()["roles"].clone() }
}

async fn status(browser: &Browser, path: &str) -> u16 {
    browser.navigate(&format!("{APP}{path}")).await.status.as_u16()
}
