//! The application of these scenarios: two connections beside the login, and routes that use them.
//!
//! `/list`, `/status?c=`, `/urls?c=&to=`, `/token?u=`, `/need?r=&s=`, `/mail` (under [`RequireLayer::connection`]),
//! POST `/disconnect?c=` and `/disconnect-all`, `/fetch?u=&m=` (the ready client) and `/via?u=&m=` (the layer over
//! another client), `/boxed?u=` (an error that was boxed), `/form` whose form POSTs to `/send`, and `/hold`, which
//! leaves the `UserTokens` to the test.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_oidc::store::Store;
use tower_oidc::{Config, Connection, Error, RequireLayer, Resource, UserTokens};

use crate::support::app::{API, APP, App, World};
use crate::support::browser::{Browser, Page};
use crate::support::html::Form;
use crate::support::net::{Net, answer};
use crate::support::store::WatchedStore;
use crate::support::test_store::TestStore;

/// The world, and what its handlers left for the test.
pub(crate) struct Site {
    world: World,
    held: Held,
}

type Held = Arc<Mutex<Option<UserTokens>>>;

impl Deref for Site {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(|config| config)
    }

    /// The login's resources `cal` and `tasks` (with the optional `tasks.write`), and the connections `mail` (with
    /// the optional `mail.send` and `mail.delete`) and `files`.
    pub(crate) fn with(edit: impl FnOnce(Config) -> Config) -> Self {
        Self::around(World::with(|config| edit(configured(config))))
    }

    /// Over this store.
    pub(crate) fn on(store: TestStore) -> Self {
        Self::around(World::on(store, configured))
    }

    fn around(world: World) -> Self {
        let site = Self { world, held: Held::default() };
        site.open();
        site
    }

    /// The process ends, and another one begins over the same database.
    pub(crate) fn restart(&mut self) {
        let store = self.world.app.store.reopened();
        self.world.app = App::unserved(&self.world.net, &self.world.clock, store, configured);
        self.open();
    }

    /// The process again, behind a store that breaks when told, over the same rows.
    pub(crate) fn behind_a_watched_store(&mut self) -> WatchedStore {
        let rows = self.world.app.store.clone();
        let watched = WatchedStore::new(rows.clone());
        self.world.app = App::over(&self.world.net, &self.world.clock, watched.clone(), rows, configured);
        self.open();
        watched
    }

    /// The process again, over the rows of this store.
    pub(crate) fn behind(&mut self, store: impl Store) {
        let rows = self.world.app.store.clone();
        self.world.app = App::over(&self.world.net, &self.world.clock, store, rows, configured);
        self.open();
    }

    fn open(&self) {
        let routes = routes((self.world.net.clone(), self.held.clone()));
        self.world.net.serve_service(APP, self.world.app.layer.layer(routes));
    }

    /// The tokens of the person in this browser, kept after the request.
    pub(crate) async fn hold(&self, browser: &Browser) -> UserTokens {
        assert_eq!(browser.navigate(&at("/hold")).await.status, 200);
        self.held.lock().unwrap().take().unwrap()
    }

    /// An API that answers `insufficient_scope` to a token without this scope.
    pub(crate) fn demands_scope(&self, path: &str, scope: &'static str) {
        let op = self.op.clone();
        self.net.serve(&format!("{API}{path}"), move |request| {
            let header = request.headers().get("authorization").and_then(|header| header.to_str().ok());
            let token = header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
            let issued = op.issued(token).filter(|issued| issued.live);
            let has = issued.is_some_and(|issued| issued.scope.iter().any(|one| one == scope));
            let mut refusal = answer(403, "the API's own words");
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
            refusal.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
            std::future::ready(if has { answer(200, "done") } else { refusal })
        });
    }

    /// What the provider was asked for, newest last.
    pub(crate) fn asked(&self) -> Vec<Vec<String>> {
        let scope = |one: &str| one.split(' ').map(str::to_owned).collect();
        self.op.authorizations().iter().map(|one| scope(one.params.get("scope").unwrap_or_default())).collect()
    }

    pub(crate) fn scope_of(&self, token: &str) -> Vec<String> {
        self.op.issued(token).expect("a token of the provider").scope
    }
}

fn configured(config: Config) -> Config {
    let mail = resource("mail").scope("mail.read").optional_scope("mail.send").optional_scope("mail.delete");
    config
        .resource(resource("tasks").optional_scope("tasks.write"))
        .connection(Connection::new("mail").scope("offline_access").resource(mail))
        .connection(Connection::new("files").resource(resource("files").scope("files")))
}

/// `https://api.test/{name}/`, without scopes.
pub(crate) fn resource(name: &str) -> Resource {
    Resource::new(name, format!("{API}/{name}/"))
}

pub(crate) fn at(path: &str) -> String {
    format!("{APP}{path}")
}

pub(crate) fn connect_path(connection: &str) -> String {
    format!("/auth/connect?connection={connection}&return_to=/list")
}

/// Grants a connection, and lands at `/list`.
pub(crate) async fn connect(browser: &Browser, connection: &str) -> Page {
    browser.visit(&at(&connect_path(connection))).await
}

/// Takes a connection back by the form of a page.
pub(crate) async fn disconnect(browser: &Browser, connection: &str) -> Page {
    let action = at(&format!("/auth/disconnect?connection={connection}&return_to=/list"));
    browser.submit_from(APP, &Form::post(&action, &[])).await
}

/// POSTs as a form of the application does.
pub(crate) async fn send(browser: &Browser, path: &str) -> Page {
    browser.submit_from(APP, &Form::post(&at(path), &[])).await
}

pub(crate) async fn script(browser: &Browser, path: &str) -> Page {
    browser.fetch(Method::GET, &at(path), "", APP).await
}

pub(crate) async fn status(browser: &Browser, connection: &str) -> Value {
    script(browser, &format!("/status?c={connection}")).await.json()
}

pub(crate) async fn state(browser: &Browser, connection: &str) -> String {
    status(browser, connection).await["state"].as_str().expect("a state").to_owned()
}

/// The access token for an API, or the error's code.
pub(crate) async fn token(browser: &Browser, api: &str) -> Result<String, String> {
    let page = script(browser, &format!("/token?u={API}/{api}/")).await;
    if page.status == 200 { Ok(page.text()) } else { Err(page.json()["code"].as_str().unwrap().to_owned()) }
}

pub(crate) async fn log_out(browser: &Browser) {
    send(browser, "/auth/logout?return_to=/who").await;
    assert_eq!(browser.navigate(&at("/who")).await.text(), "null");
}

/// Goes on from a page at which the browser stopped, through redirects and self-submitting forms.
pub(crate) async fn go_on(browser: &Browser, mut page: Page) -> Page {
    while page.status.is_redirection() {
        page = browser.follow(&page).await;
    }
    browser.settle(page).await
}

type Asked = Query<HashMap<String, String>>;
type Here = State<(Net, Held)>;

fn routes(state: (Net, Held)) -> Router {
    Router::new()
        .route(
            "/who",
            get(|user: Option<tower_oidc::CurrentUser>| async move {
                Json(user.map_or(Value::Null, |user| json!({ "sub": user.subject() })))
            }),
        )
        .route("/list", get(|tokens: UserTokens| async move { tokens.connections().await.map(Json) }))
        .route(
            "/status",
            get(|tokens: UserTokens, Query(asked): Asked| async move {
                tokens.connection_status(&asked["c"]).await.map(Json)
            }),
        )
        .route("/urls", get(urls))
        .route(
            "/token",
            get(|tokens: UserTokens, Query(asked): Asked| async move {
                Ok::<_, Error>(tokens.access_token(&asked["u"]).await?.expose_secret().to_owned())
            }),
        )
        .route(
            "/need",
            get(|tokens: UserTokens, Query(asked): Asked| async move {
                let scopes: Vec<_> = asked["s"].split(' ').collect();
                tokens.require_scopes(&asked["r"], &scopes).await.map(|()| "granted")
            }),
        )
        .route("/mail", get(|| async { "your mail" }).layer(RequireLayer::connection("mail")))
        .route("/nowhere", get(|| async { "in" }).layer(RequireLayer::connection("nowhere")))
        .route(
            "/disconnect",
            post(|tokens: UserTokens, Query(asked): Asked| async move {
                tokens.disconnect(&asked["c"]).await.map(|ended| format!("{ended:?}"))
            }),
        )
        .route(
            "/disconnect-all",
            post(|tokens: UserTokens| async move { tokens.disconnect_all().await.map(|ended| format!("{ended:?}")) }),
        )
        .route("/fetch", get(fetch).post(fetch))
        .route("/via", get(via).post(via))
        .route("/boxed", get(boxed))
        .route("/form", get(|| async { Html("<form method=post action=/send><button>Send</button></form>") }))
        .route(
            "/send",
            post(|tokens: UserTokens| async move {
                let sent = tokens.client().post_json(&format!("{API}/mail/send"), &"hello").await?;
                Ok::<_, AppError>(sent.status().to_string())
            }),
        )
        .route(
            "/hold",
            get(|State((_, held)): Here, tokens: UserTokens| async move {
                *held.lock().unwrap() = Some(tokens);
            }),
        )
        .with_state(state)
}

async fn urls(tokens: UserTokens, Query(asked): Asked) -> Result<Json<Value>, Error> {
    let (connection, to) = (&asked["c"], &asked["to"]);
    let connect = tokens.connect_url(connection, to)?;
    Ok(Json(json!({ "connect": connect, "disconnect": tokens.disconnect_url(connection, to)? })))
}

/// An application's own error, which keeps what the layer's error knows.
#[derive(Debug)]
enum AppError {
    Auth(Error),
    BadUrl,
}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        Self::Auth(error)
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match self {
            Self::Auth(error) => error.into_response(),
            Self::BadUrl => (StatusCode::IM_A_TEAPOT, "no URL").into_response(),
        }
    }
}

fn method(asked: &HashMap<String, String>) -> Method {
    asked.get("m").map_or(Method::GET, |method| method.parse().unwrap())
}

/// What the handler saw of the API's answer.
fn saw(status: StatusCode, body: &[u8]) -> Response {
    Json(json!({ "saw": status.as_u16(), "body": String::from_utf8_lossy(body) })).into_response()
}

async fn fetch(tokens: UserTokens, Query(asked): Asked) -> Result<Response, AppError> {
    let called = tokens.client().request(method(&asked), &asked["u"]).body("the body").send().await?;
    Ok(saw(called.status(), called.bytes()))
}

async fn via(State((net, _)): Here, tokens: UserTokens, Query(asked): Asked) -> Result<Response, AppError> {
    let client = service_fn(move |request: Request<Full<Bytes>>| {
        let client = net.client();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
            client.oneshot(Request::from_parts(parts, body)).await.map(|answer| answer.map(Full::new))
        }
    });
    let request = Request::builder().method(method(&asked)).uri(&asked["u"]);
    let request = request.body(Full::new(Bytes::from_static(b"the body"))).map_err(|_| AppError::BadUrl)?;
    let called = tokens.layer().layer(client).call(request).await?;
    let status = called.status();
    let body = called.into_body().collect().await.unwrap_or_else(|never| match never {}).to_bytes();
    Ok(saw(status, &body))
}

/// For errors that lost their type on the way.
struct Boxed(BoxError);

impl<E: Into<BoxError>> From<E> for Boxed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Boxed {
    fn into_response(self) -> Response {
        match self.0.downcast::<Error>() {
            Ok(error) => error.into_response(),
            Err(other) => (StatusCode::IM_A_TEAPOT, other.to_string()).into_response(),
        }
    }
}

async fn boxed(tokens: UserTokens, Query(asked): Asked) -> Result<String, Boxed> {
    Ok(tokens.client().get(&asked["u"]).await?.status().to_string())
}
