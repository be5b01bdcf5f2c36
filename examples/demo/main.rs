//! The reference application: everything that the layer gives an application, on one page.
//!
//! `cargo run --example demo` needs nothing else: without an issuer it takes the development provider, on loopback only.
//! `cargo run --example demo -- check` (or `check --json`) says what would fail, and serves nothing.
//! `cargo run --example demo -- reset-keys STORE` begins anew in a store whose `SESSION_SECRET` is lost.
//! With an environment it is a real relying party:
//!
//! | variable | meaning (default) |
//! |---|---|
//! | `BIND`, `PUBLIC_URL` | address (`127.0.0.1:3000`) and the URL that browsers use (`http://localhost:PORT`) |
//! | `OIDC_ISSUER`, `OIDC_CLIENT_ID`, `OIDC_CLIENT_SECRET`, `OIDC_SCOPES` | the provider (the development provider) |
//! | `OIDC_PROVIDERS` | more providers by name, comma separated; for `work`: `OIDC_WORK_ISSUER`, `OIDC_WORK_CLIENT_ID`, … (none) |
//! | `OIDC_RESPONSE_MODE` | `query` or `form_post` (`query`) |
//! | `OIDC_DISPLAY_NAME` | what people read of the first provider where they choose (its host) |
//! | `OIDC_CLIENT_SECRET_FILE`, `SESSION_SECRET_FILE`, `ACCOUNT_REFRESH_TOKEN_FILE` | files that hold these instead |
//! | `OIDC_CA_FILE` | extra root certificates, PEM |
//! | `RUST_LOG` | what is logged (`tower_oidc=info`) |
//! | `MODE` | `per-user`, `single-user` or `stateless` (`per-user`) |
//! | `ACCOUNT` | single-user's account: `client-credentials`, `refresh-token` (with `ACCOUNT_REFRESH_TOKEN`) or `operator` (`client-credentials`) |
//! | `TOKEN_STORE` | `memory`, or with the cargo feature of its name `sqlite:PATH`, `postgres://…`, `redis://…` or `rediss://…` (`memory`); in stateless mode where processes meet |
//! | `SESSION_SECRET` | at least 32 bytes; several, comma separated: the first seals, all open (made up at start, beside `memory` only) |
//! | `ADMINS` | verified e-mails, comma separated; with several providers `work:root@example.org` |
//! | `API_URL` | the API that `/api` calls (the provider's UserInfo) |
//! | `CONNECTIONS` | what people may grant besides, by name, comma separated (with the development provider `calendar`, whose API this is, too) |
//! | `CONNECTION_CAL_API_URL` | for `cal`: the API that `/api/cal` calls |
//! | `CONNECTION_CAL_SCOPES`, `CONNECTION_CAL_OPTIONAL_SCOPES` | what is asked for, and what may be asked for later, space separated (none) |
//! | `CONNECTION_CAL_PROVIDER` | where it is granted, one of `OIDC_PROVIDERS` (the first provider) |
//! | `CONNECTION_CAL_FOR` | `people`, `visitors` who need not sign in, or `one-use`, after which nothing is kept (`people`) |

mod connections;
mod page;
mod stores;

use std::error::Error as StdError;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_oidc::{
    Admin, ApiResponse, AuthSession, Config, CurrentUser, Error, LoginOptions, Mode, OidcLayer, ProviderChoice,
    Resource, UserTokens,
};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::connections::Connected;
use crate::page::{BACK, escape, page};
use crate::stores::store;

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let filter = variable("RUST_LOG").and_then(|wanted| wanted.parse().ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_target("tower_oidc", Level::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(filter).init();
    if let Err(error) = run().await {
        eprintln!("{error}");
        std::process::exit(1);
    }
    Ok(())
}

async fn run() -> Result<(), Box<dyn StdError>> {
    let api_url = variable("API_URL");
    let provider = ["OIDC_ISSUER", "OIDC_PROVIDERS", "OIDC_PRESET", "OIDC_PRESET_FILE", "OIDC_IDENTITY_ENDPOINT"];
    let development = provider.iter().all(|name| variable(name).is_none());
    let bind = variable("BIND").unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    // The layer refuses the development provider where BIND is not loopback.
    let mut config = Config::from_env_with(|name| match name {
        "OIDC_ISSUER" if development => Some("development".to_owned()),
        "BIND" => Some(bind.clone()),
        _ => variable(name),
    })?;
    if let Some(api_url) = &api_url {
        config = config.resource(Resource::new("api", api_url));
    }
    let public_url = config.public_url.clone();
    let (config, connected) = connections::from_env(config)?;
    let auth = layer(config)?;
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("check") => return check(&auth, arguments.iter().any(|argument| argument == "--json")).await,
        Some("reset-keys") => return reset_keys(&auth, arguments.get(1)).await,
        _ => {}
    }
    let app = Router::new()
        .route("/", get(home))
        .route("/me", get(me))
        .route("/who", get(who))
        .route("/private", get(private).post(private))
        .route("/admin", get(admin))
        .route("/api", get(api).post(api))
        .route("/api/{connection}", get(connections::call))
        .route("/once/{connection}", get(connections::once))
        .route("/calendar", get(connections::calendar))
        .with_state(Demo { auth: auth.clone(), api_url, connected: connected.into() });
    let listener = TcpListener::bind(&bind).await.map_err(|error| format!("BIND={bind}: {error}"))?;
    println!("open {public_url}");
    if development {
        println!("anybody can sign in as anybody: this is the development provider (set OIDC_ISSUER for another)");
    }
    // Around the whole router: nothing is outside the layer, and it is the quickest place.
    let app = axum::ServiceExt::<axum::extract::Request>::into_make_service(auth.layer(app));
    axum::serve(listener, app).with_graceful_shutdown(told_to_stop()).await?;
    auth.drain().await;
    Ok(())
}

fn layer(mut config: Config) -> Result<OidcLayer, Box<dyn StdError>> {
    if let Mode::SingleUser(account) = config.mode {
        // A demo may be connected again after each start.
        config.mode = Mode::SingleUser(account.allow_volatile_store());
    }
    Ok(OidcLayer::from_config(config, store()?)?)
}

/// Prints what would fail when users come, and ends with status 1 where something is wrong.
async fn check(auth: &OidcLayer, as_json: bool) -> Result<(), Box<dyn StdError>> {
    let report = auth.check().await;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    if report.is_ok() { Ok(()) } else { Err("something is wrong".into()) }
}

/// Begins anew where the secret is lost, once the operator has named the store: every session and grant in it ends.
async fn reset_keys(auth: &OidcLayer, named: Option<&String>) -> Result<(), Box<dyn StdError>> {
    let store = stores::name();
    if named != Some(&store) {
        return Err(
            format!("this ends every session and grant in {store}: if you mean it, run reset-keys {store}").into()
        );
    }
    if auth.reset_keys().await? {
        println!("{store} begins anew: all users sign in again");
    } else {
        println!("SESSION_SECRET opens {store}: nothing was changed");
    }
    Ok(())
}

/// What handlers know besides their request.
#[derive(Clone)]
pub(crate) struct Demo {
    auth: OidcLayer,
    api_url: Option<String>,
    connected: Arc<[Connected]>,
}

pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn told_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let mut terminated = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(terminated) => terminated,
            Err(_) => return interrupted.await.unwrap_or_default(),
        };
        tokio::select! { _ = interrupted => {}, _ = terminated.recv() => {} }
    }
    #[cfg(not(unix))]
    interrupted.await.unwrap_or_default();
}

async fn home(
    user: Option<CurrentUser>, users: AuthSession, tokens: Option<UserTokens>, State(demo): State<Demo>,
) -> Result<Html<String>, Error> {
    let mut content = match &user {
        Some(user) => signed_in(user, &users)?,
        None => format!(
            "<p class=lead>Nobody is signed in.</p>{}\
             <p class=note>Or open a page that needs you: <a href=/private>private</a>, <a href=/admin>admin</a>.</p>",
            login_links(&users)?,
        ),
    };
    content.push_str(&connections::section(&demo, user.as_ref(), tokens.as_ref()).await);
    Ok(page("tower-oidc", &content))
}

/// One provider: a link. Several: one for each.
fn login_links(users: &AuthSession) -> Result<String, Error> {
    let choices = users.login_choices("/", &LoginOptions::default())?;
    if choices.len() < 2 {
        let url = escape(&users.login_url("/")?);
        return Ok(format!("<p><a class=button id=login href=\"{url}\">Sign in</a></p>"));
    }
    let link = |choice: &ProviderChoice| {
        let (url, name) = (escape(&choice.login_url), escape(&choice.display_name));
        format!("<p><a class=button id=login-{} href=\"{url}\">Sign in at {name}</a></p>", choice.provider)
    };
    Ok(choices.iter().map(link).collect())
}

fn signed_in(user: &CurrentUser, users: &AuthSession) -> Result<String, Error> {
    let row = |name: &str, value: &str| format!("<dt>{name}</dt><dd>{}</dd>", escape(value));
    let id_row = |name: &str, id: &str| format!("<dt>{name}</dt><dd><code>{}</code></dd>", escape(id));
    let verified = if user.email_verified() { "verified" } else { "not verified" };
    Ok(format!(
        "<header><p class=lead>Hello, <strong id=name>{}</strong>{}</p>\
         <a class=button id=logout href=\"{}\">Sign out</a></header>\
         <dl>{}{}{}{}</dl>\
         <nav>Try <a href=/me>/me</a><a href=/who>/who</a><a href=/private>/private</a><a href=/admin>/admin</a>\
         <a href=/api>/api</a></nav>",
        escape(user.nickname()),
        if user.is_admin() { " <span class=badge>admin</span>" } else { "" },
        escape(&users.logout_url("/")?),
        row("E-mail", &user.email().map_or("none".to_owned(), |email| format!("{email} ({verified})"))),
        id_row("Subject", user.subject()),
        row("Issuer", user.issuer()),
        id_row("Public id", &user.pseudonym("demo")),
    ))
}

fn about(user: &CurrentUser) -> Value {
    json!({
        "sub": user.subject(),
        "issuer": user.issuer(),
        "email": user.email(),
        "email_verified": user.email_verified(),
        "name": user.name(),
        "admin": user.is_admin(),
    })
}

async fn me(user: CurrentUser) -> Json<Value> {
    Json(about(&user))
}

async fn who(user: Option<CurrentUser>) -> Json<Value> {
    Json(user.as_ref().map_or(Value::Null, about))
}

async fn private(user: CurrentUser) -> Html<String> {
    let name = escape(user.nickname());
    page("Private", &format!("<p class=lead>Only <strong id=name>{name}</strong> sees this.</p>{BACK}"))
}

async fn admin(admin: Admin) -> Html<String> {
    let name = escape(admin.nickname());
    page("Admin", &format!("<p class=lead><strong id=name>{name}</strong> may do everything here.</p>{BACK}"))
}

/// Calls the API as the person, and relays what it says.
async fn api(tokens: UserTokens, State(demo): State<Demo>) -> Result<Response, Error> {
    let url = match demo.api_url {
        Some(url) => url,
        None => tokens.user_info_url().await?,
    };
    Ok(relay(&tokens.client().get(&url).await?))
}

pub(crate) fn relay(answer: &ApiResponse) -> Response {
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let kind = kind.unwrap_or(header::HeaderValue::from_static("application/octet-stream"));
    (status, [(header::CONTENT_TYPE, kind)], answer.bytes().clone()).into_response()
}
