//! `OIDC_ISSUER`, `OIDC_CLIENT_ID`, `OIDC_CLIENT_SECRET`, then open <http://localhost:3000/>.

use axum::{Router, response::Html, routing::get};
use tower_oidc::{AuthSession, Config, CurrentUser, Error, OidcLayer, UserTokens, store::MemoryStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let config = Config::from_env()?.bind(listener.local_addr()?);
    let auth = OidcLayer::per_user(config, MemoryStore::new())?;
    let app = Router::new().route("/", get(home)).route("/profile", get(profile)).layer(auth);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn home(user: Option<CurrentUser>, auth: AuthSession) -> Result<Html<String>, Error> {
    Ok(Html(match user {
        Some(_) => format!("<a href=/profile>profile</a> <a href='{}'>sign out</a>", auth.logout_url("/")?),
        None => format!("<a href='{}'>sign in</a>", auth.login_url("/profile")?),
    }))
}

async fn profile(_user: CurrentUser, tokens: UserTokens) -> Result<String, Error> {
    let response = tokens.client().get(&tokens.user_info_url().await?).await?;
    Ok(String::from_utf8_lossy(response.bytes()).into_owned())
}
