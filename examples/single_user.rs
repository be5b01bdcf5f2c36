//! One account's token for everybody: a page that anybody may read, of data that only the application can fetch.
//!
//! `OIDC_ISSUER=development cargo run --example single_user` starts with the development provider; put a real API in
//! place of `WEATHER`. With `OIDC_ISSUER`, `OIDC_CLIENT_ID` and `OIDC_CLIENT_SECRET` it is a client of that provider.
//! (`OidcLayer::from_config` with `MODE=single-user` reads the source of the account's grant from the environment, too.)

use axum::{Router, routing::get};
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, Error, OidcLayer, Resource, SharedAccount, UserTokens};
use tracing_subscriber::filter::LevelFilter;

const WEATHER: &str = "https://weather.example/today";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let config = Config::from_env()?
        .bind(listener.local_addr()?)
        .resource(Resource::new("weather", WEATHER).scope("weather.read"));
    let auth = OidcLayer::single_user(config, SharedAccount::client_credentials(), MemoryStore::new())?;
    for account in auth.account_status().await {
        println!("the account: {:?} {}", account.state, account.why.unwrap_or_default());
    }
    let app = Router::new().route("/", get(weather)).layer(auth.clone());
    println!("open http://localhost:3000/");
    let stopped = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    auth.drain().await;
    Ok(())
}

/// The same handler as where people have their own tokens.
async fn weather(tokens: UserTokens) -> Result<String, Error> {
    Ok(tokens.client().get(WEATHER).await?.text().into_owned())
}
