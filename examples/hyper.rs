//! Without axum: the layer around a plain hyper service.
//!
//! `OIDC_ISSUER=development cargo run --example hyper`, then open <http://localhost:3000/>.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tower_oidc::store::MemoryStore;
use tower_oidc::{AuthSession, Config, CurrentUser, Error, OidcLayer, UserTokens};
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let config = Config::from_env()?.bind(listener.local_addr()?);
    println!("open {0}/ (at the provider, the redirect URI is {0}/auth/callback)", config.public_url);
    let auth = OidcLayer::per_user(config, MemoryStore::new())?;
    let app = auth.layer(tower::service_fn(answer));
    let mut stopped = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = &mut stopped => break,
        };
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let connection = auto::Builder::new(TokioExecutor::new());
            // A browser that hangs up is no news.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
    auth.drain().await; // refreshes under way are finished and written
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = match request.uri().path() {
        "/" => home(&request),
        "/profile" => profile(&request).await,
        _ => Ok("Not found.".to_owned()),
    };
    Ok(match answer {
        Ok(text) => Response::builder()
            .header("content-type", "text/html; charset=utf-8")
            .body(Full::from(text))
            .unwrap_or_default(),
        // A redirect to the login, a 401, a 503: the error knows.
        Err(error) => error.into_response(),
    })
}

fn home<B>(request: &Request<B>) -> Result<String, Error> {
    let users = AuthSession::from_extensions(request.extensions())?;
    Ok(match request.extensions().get::<CurrentUser>() {
        Some(_) => format!("<a href=/profile>profile</a> <a href='{}'>sign out</a>", users.logout_url("/")?),
        None => format!("<a href='{}'>sign in</a>", users.login_url("/profile")?),
    })
}

async fn profile<B>(request: &Request<B>) -> Result<String, Error> {
    let tokens = UserTokens::from_extensions(request.extensions())?;
    let url = tokens.user_info_url().await?;
    let answer = tokens.client().get(&url).await?;
    Ok(format!("<pre>{}</pre>", String::from_utf8_lossy(answer.bytes()).replace('<', "&lt;")))
}
