//! The smallest complete application: sign in, sign out, and one call to an API as the person.
//!
//! `OIDC_ISSUER=development cargo run --example minimal`, then open <http://localhost:3000/> and sign in as anybody. With
//! `OIDC_ISSUER`, `OIDC_CLIENT_ID` and `OIDC_CLIENT_SECRET` of a real provider people sign in there. What is wrong is in the
//! terminal, a line for each mistake.

use axum::{Router, response::Html, routing::get};
use tower_oidc::{AuthSession, Config, CurrentUser, OidcLayer, UserTokens, store::MemoryStore};
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let config = Config::from_env()?.bind(listener.local_addr()?);
    println!("open {0}/ (at the provider, the redirect URI is {0}/auth/callback)", config.public_url);
    let auth = OidcLayer::per_user(config, MemoryStore::new())?;
    let app = Router::new().route("/", get(home)).route("/profile", get(profile)).layer(auth.clone());
    let stopped = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    auth.drain().await; // refreshes under way are finished and written
    Ok(())
}

async fn home(user: Option<CurrentUser>, users: AuthSession) -> Result<Html<String>, tower_oidc::Error> {
    Ok(Html(match user {
        Some(_) => format!("<a href=/profile>profile</a> <a href='{}'>sign out</a>", users.logout_url("/")?),
        None => format!("<a href='{}'>sign in</a>", users.login_url("/profile")?),
    }))
}

async fn profile(_user: CurrentUser, tokens: UserTokens) -> Result<String, tower_oidc::Error> {
    let answer = tokens.client().get(&tokens.user_info_url().await?).await?;
    Ok(String::from_utf8_lossy(answer.bytes()).into_owned())
}
