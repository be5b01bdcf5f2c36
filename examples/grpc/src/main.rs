//! A gRPC service behind the layer. Browsers sign in at `/auth/login`, and call it with their session's cookie.
//!
//! `OIDC_ISSUER=development cargo run` in this folder. tonic's response bodies are not made of bytes, so the layer is
//! `auth.any_body()`.

use grpc::{People, PeopleServer};
use tonic::transport::Server;
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, OidcLayer};
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).init();
    let address = ([127, 0, 0, 1], 3000);
    let auth = OidcLayer::per_user(Config::from_env()?.bind(address), MemoryStore::new())?;
    println!("open http://localhost:3000/auth/login");
    let stopped = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    // Browsers ask for the login with HTTP/1.1, gRPC with HTTP/2.
    let mut server = Server::builder().accept_http1(true).layer(auth.any_body());
    server.add_service(PeopleServer::new(People)).serve_with_shutdown(address.into(), stopped).await?;
    auth.drain().await;
    Ok(())
}
