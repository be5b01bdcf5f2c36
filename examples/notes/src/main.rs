//! Notes that each person keeps for themselves: a table of users beside the layer, HTML pages, a JSON API with a command line tool
//! (`src/bin/notes-cli.rs`), and a page for those with the role `admin`.
//!
//! `OIDC_ISSUER=development cargo run` in this folder, then open <http://localhost:3000/>. With `OIDC_ISSUER`,
//! `OIDC_CLIENT_ID`, `OIDC_CLIENT_SECRET` and `SESSION_SECRET` people sign in at a real provider. The two files of SQLite,
//! one of this application and one of the layer, are in the working directory, or in `DATA_DIR`.
//!
//! At the development provider anyone takes the role `admin` with a field of the sign-in page. At a real provider `OIDC_ROLES` says
//! where roles are, and `API_AUDIENCE` which access tokens the JSON API accepts.

use std::path::PathBuf;

use notes::{Database, SCOPES, app, with_sign_up};
use tower_oidc::store::SqliteStore;
use tower_oidc::{Config, OidcLayer};
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).init();
    let folder = PathBuf::from(std::env::var_os("DATA_DIR").unwrap_or_else(|| ".".into()));
    let database = Database::open(&folder.join("notes.db")).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let mut config = Config::from_env()?.bind(listener.local_addr()?);
    if config.session_secrets.is_empty() && config.provider.issuer == "development" {
        // For the developer's own machine: sessions survive a restart without a secret in the environment.
        config = config.session_secrets(["the sealing secret of a development machine"]);
    }
    config.api = config.api.map(|api| api.scopes(SCOPES));
    let store = SqliteStore::open(folder.join("sessions.db"))?;
    let auth = OidcLayer::per_user(with_sign_up(config, database.clone()), store)?;
    println!("open http://localhost:3000/");
    let stopped = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, app(database).layer(auth.clone())).with_graceful_shutdown(stopped).await?;
    auth.drain().await;
    Ok(())
}
