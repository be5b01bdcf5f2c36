//! A client calls the application as an API: which access tokens are accepted, and what each of the others is answered.

mod accepted;
mod introspection;
mod refused;

use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use serde_json::{Value, json};
use tower_oidc::{Api, Config, CurrentClient, CurrentUser, OidcLayer, RequireLayer, UserTokens};

use crate::support::app::{APP, App, Events, World, about, config, routes};
use crate::support::browser::Browser;
use crate::support::net::Caller;
use crate::support::provider::jwt::Draft;

/// What the provider calls this application as an API.
const AUDIENCE: &str = "https://app.test/api";

fn api(config: Config) -> Config {
    config.api(Api::new(AUDIENCE).scopes(["notes.read"]))
}

/// An application that is an API, too; served with routes that say who asks.
fn world(edit: impl FnOnce(Config) -> Config) -> World {
    let world = World::new();
    let events = Events::default();
    let config = edit(api(config(&world.net, &world.clock))).on_event(events.hook());
    let layer = OidcLayer::from_config(config, world.app.store.clone());
    let app = App { layer: layer.unwrap_or_else(|error| panic!("{error}")), events, store: world.app.store.clone() };
    let world = World { app, ..world };
    world.serve(with_api());
    world
}

fn with_api() -> Router {
    routes()
        .route("/api/me", get(me).post(me))
        .route("/api/notes", get(|| async { "notes" }).layer(RequireLayer::scope("notes.read")))
        .route("/api/all", get(|| async { "all" }).layer(RequireLayer::scope("notes.all")))
        .route("/api/nightly", post(|client: CurrentClient| async move { Json(json!(client.client_id())) }))
        .route("/api/tokens", get(|_: UserTokens| async { "tokens" }))
}

async fn me(user: CurrentUser, client: Option<CurrentClient>) -> Json<Value> {
    let mut me = about(&user);
    me["scopes"] = json!(user.scopes());
    me["client"] = json!(user.client_id());
    me["client_is"] = json!(client.map(|client| (client.issuer().to_owned(), client.scopes().join(" "))));
    me["pseudonym"] = json!(user.pseudonym("api"));
    Json(me)
}

fn request(path: &str, token: &str) -> http::request::Builder {
    Request::get(format!("{APP}{path}")).header(AUTHORIZATION, format!("Bearer {token}"))
}

impl World {
    /// What a client that is no browser is answered.
    async fn asks(&self, request: http::request::Builder) -> Response<Bytes> {
        self.net.call(Caller::Application, request.body(Bytes::new()).unwrap()).await.unwrap()
    }

    async fn api(&self, path: &str, token: &str) -> Response<Bytes> {
        self.asks(request(path, token)).await
    }

    fn token(&self, user: &str, edit: impl Fn(&mut Draft)) -> String {
        self.op.access_jwt(Some(user), AUDIENCE, edit)
    }
}

fn body(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_else(|error| panic!("{error}: {:?}", answer.body()))
}

fn challenge(answer: &Response<Bytes>) -> &str {
    answer.headers().get("www-authenticate").map_or("", |challenge| challenge.to_str().unwrap())
}

/// Where the metadata are, as every challenge says.
const METADATA: &str = "resource_metadata=\"https://app.test/.well-known/oauth-protected-resource/api\"";

/// What the browser's own person is here.
async fn by_cookie(browser: &Browser) -> Value {
    browser.navigate(&format!("{APP}/who")).await.json()["sub"].clone()
}
