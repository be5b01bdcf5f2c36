//! Nothing is kept on the server: who is signed in, and the tokens for one API, travel in the browser's sealed cookies.
//!
//! `OIDC_ISSUER=development cargo run --example stateless` needs nothing else; with `OIDC_ISSUER`, `OIDC_CLIENT_ID`,
//! `OIDC_CLIENT_SECRET` and a `SESSION_SECRET` it is a client of that provider, and a restart signs nobody out.

use axum::{Router, response::Html, routing::get};
use tower_oidc::store::MemoryStore;
use tower_oidc::{AuthSession, Config, CurrentUser, Error, OidcLayer, UserTokens};
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let config = Config::from_env()?.bind(listener.local_addr()?);
    println!("open {0}/ (at the provider, the redirect URI is {0}/auth/callback)", config.public_url);
    let auth = OidcLayer::stateless(config, MemoryStore::new())?;
    let app = Router::new().route("/", get(home)).route("/me", get(me)).layer(auth.clone());
    let stopped = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    auth.drain().await;
    Ok(())
}

async fn home(user: Option<CurrentUser>, users: AuthSession) -> Result<Html<String>, Error> {
    Ok(Html(match user {
        Some(_) => format!("<a href=/me>Who am I?</a> <a href='{}'>Sign out</a>", users.logout_url("/")?),
        None => format!("<a href='{}'>Sign in</a>", users.login_url("/")?),
    }))
}

/// What the provider says about the person, by their own access token.
async fn me(_user: CurrentUser, tokens: UserTokens) -> Result<String, Error> {
    let user_info = tokens.client().get(&tokens.user_info_url().await?).await?;
    Ok(String::from_utf8_lossy(user_info.bytes()).into_owned())
}
