//! The same application with each of the crates. Its page greets whoever is signed in.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;

use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use axum_oidc::error::MiddlewareError;
use axum_oidc::{EmptyAdditionalClaims, OidcAuthLayer, OidcClaims, OidcLoginLayer};
use axum_oidc_client::auth::AuthenticationLayer;
use axum_oidc_client::auth_builder::OAuthConfigurationBuilder;
use axum_oidc_client::auth_cache::AuthCache;
use axum_oidc_client::cache::{TwoTierAuthCache, config::TwoTierCacheConfig};
use axum_oidc_client::logout::handle_default_logout::DefaultLogoutHandler;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower::make::Shared;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, CurrentUser, OidcLayer, ProviderConfig, Resource, UserTokens};
use tower_sessions::cookie::SameSite;
use tower_sessions::{Session, SessionManagerLayer};

use crate::world::{APP, CLIENT, Provider, SECRET, request};

/// For whom tower-oidc gets tokens; the page of each peer shows one.
const API: &str = "https://api.test/";

type Call = Box<dyn Fn(Request) -> BoxFuture<'static, Response>>;

pub struct Peer {
    pub name: &'static str,
    /// Where a login begins; empty for nobody.
    pub login: &'static str,
    /// Whether `/token` shows a token that is refreshed when it has expired.
    pub refreshes: bool,
    /// Whether a provider is asked who signs in.
    pub by_provider: bool,
    call: Call,
    measured: Box<dyn FnMut(Vec<Request>)>,
    listen: Box<dyn Fn(std::net::TcpListener) + Send + Sync>,
}

impl Peer {
    fn new<S>(name: &'static str, login: &'static str, service: S) -> Self
    where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        let (asked, listening, mut service) = (service.clone(), service.clone(), service);
        Self {
            name,
            login,
            refreshes: false,
            by_provider: true,
            call: Box::new(move |request| {
                let answer = asked.clone().oneshot(request);
                Box::pin(async move { answer.await.unwrap_or_else(|never| match never {}) })
            }),
            measured: Box::new(move |requests| {
                for request in requests {
                    let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).now_or_never();
                    assert!(matches!(ready, Some(Ok(()))), "axum is always ready");
                    let response = service.call(request).now_or_never().expect("nothing here waits");
                    assert!(black_box(response).is_ok_and(|response| response.status().is_success()), "{name}");
                }
            }),
            listen: Box::new(move |listener| {
                let service = Shared::new(listening.clone());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.expect("a runtime").block_on(async move {
                        let listener = TcpListener::from_std(listener).expect("a listener");
                        axum::serve(listener, service).await
                    })
                });
            }),
        }
    }

    pub async fn call(&self, path: &str, cookie: &str) -> Response {
        (self.call)(request(path, cookie)).await
    }

    pub fn serve(&mut self, requests: Vec<Request>) {
        (self.measured)(requests);
    }

    /// Serves on a thread of its own, until the program ends.
    pub fn listen(&self, listener: std::net::TcpListener) {
        (self.listen)(listener);
    }
}

pub const NAMES: &[&str] = &[
    "axum alone",
    "tower-sessions",
    "axum-login",
    "axum-oidc",
    "axum-oidc-client",
    "tower-oidc, around the router",
    "tower-oidc, Router::layer",
];

pub async fn peer(name: &'static str, provider: &Provider) -> Peer {
    match name {
        "axum alone" => Peer { by_provider: false, ..Peer::new(name, "", ready(page(get(nobody)))) },
        "tower-sessions" => Peer { by_provider: false, ..Peer::new(name, "/login", sessions()) },
        "axum-login" => Peer { refreshes: true, ..Peer::new(name, "/login", by_hand(provider).await) },
        "axum-oidc" => Peer::new(name, "/login", axum_oidc(provider).await),
        "axum-oidc-client" => Peer { refreshes: true, ..Peer::new(name, "/auth", axum_oidc_client(provider)) },
        "tower-oidc, around the router" => {
            let app = ready(page(get(by_layer)).route("/token", get(by_layer_token)));
            Peer { refreshes: true, ..Peer::new(name, "/auth/login", tower_oidc(provider).layer(app)) }
        }
        "tower-oidc, Router::layer" => {
            Peer::new(name, "/auth/login", ready(page(get(by_layer)).layer(tower_oidc(provider))))
        }
        _ => panic!("there is no peer {name}"),
    }
}

/// `axum::serve` does the same: without it axum builds each handler anew at every request.
fn ready(router: Router) -> Router {
    router.with_state(())
}

fn page(page: axum::routing::MethodRouter) -> Router {
    Router::new().route("/", get(nobody)).route("/page", page).route("/other/{id}", get(nobody))
}

async fn nobody() -> &'static str {
    "Hello!"
}

/// The smallest that tells people apart: no provider, and the claims in the session.
#[derive(Debug, Serialize, Deserialize)]
struct Person {
    subject: String,
    email: String,
}

fn sessions() -> Router {
    async fn login(session: Session) {
        let person = Person { subject: "0123456789".into(), email: "person@example.com".into() };
        session.insert("person", person).await.expect("a session");
    }
    async fn known(session: Session) -> Result<&'static str, StatusCode> {
        let person: Option<Person> = session.get("person").await.expect("a session");
        black_box(&person.ok_or(StatusCode::UNAUTHORIZED)?.subject);
        Ok("Hello!")
    }
    let layer = SessionManagerLayer::new(tower_sessions::MemoryStore::default()).with_same_site(SameSite::Lax);
    ready(page(get(known)).route("/login", get(login)).layer(layer))
}

/// axum-login with openidconnect, put together in `by_hand`.
async fn by_hand(provider: &Provider) -> Router {
    use by_hand::{AuthSession, Backend, Failure, with_login};
    async fn known(auth: AuthSession) -> Result<&'static str, StatusCode> {
        black_box(&auth.user.ok_or(StatusCode::UNAUTHORIZED)?.subject);
        Ok("Hello!")
    }
    async fn token(auth: AuthSession) -> Result<String, Failure> {
        let user = auth.user.expect("somebody");
        Ok(auth.backend.access_token(&user).await?.secret().clone())
    }
    let backend = Backend::discover(&provider.issuer, CLIENT, SECRET, APP).await.expect("a provider");
    ready(with_login(page(get(known)).route("/token", get(token)), backend))
}

async fn axum_oidc(provider: &Provider) -> Router {
    async fn login() -> &'static str {
        "Hello!"
    }
    async fn known(claims: OidcClaims<EmptyAdditionalClaims>) -> &'static str {
        black_box(claims.subject());
        "Hello!"
    }
    async fn failed(error: MiddlewareError) -> Response {
        error.into_response()
    }
    let scopes = ["email", "profile"].map(str::to_owned).to_vec();
    let (issuer, secret) = (provider.issuer.clone(), Some(SECRET.to_owned()));
    let app = APP.parse().expect("a URL");
    let layer = OidcAuthLayer::<EmptyAdditionalClaims>::discover_client(app, issuer, CLIENT.into(), secret, scopes);
    let layer = layer.await.expect("a provider");
    let sessions = SessionManagerLayer::new(tower_sessions::MemoryStore::default()).with_same_site(SameSite::Lax);
    let login_layer = OidcLoginLayer::<EmptyAdditionalClaims>::new();
    let required = ServiceBuilder::new().layer(HandleErrorLayer::new(failed)).layer(login_layer);
    let login = Router::new().route("/login", get(login)).layer(required);
    let known_to = ServiceBuilder::new().layer(HandleErrorLayer::new(failed)).layer(layer);
    ready(page(get(known)).merge(login).layer(known_to).layer(sessions))
}

fn axum_oidc_client(provider: &Provider) -> Router {
    use axum_oidc_client::auth_session::AuthSession;
    use axum_oidc_client::extractors::AccessToken;
    async fn known(session: AuthSession) -> &'static str {
        black_box(&session.id_token);
        "Hello!"
    }
    async fn token(token: AccessToken) -> String {
        (*token).clone()
    }
    let endpoint = |path: &str| format!("{}{path}", provider.issuer);
    let config = OAuthConfigurationBuilder::default()
        .with_authorization_endpoint(&endpoint("/authorize"))
        .with_token_endpoint(&endpoint("/token"))
        .with_client_id(CLIENT)
        .with_client_secret(SECRET)
        .with_redirect_uri(&format!("{APP}/auth/callback"))
        .with_private_cookie_key("a key for cookies of these benchmarks, of sixty-four bytes or more")
        .with_scopes(vec!["openid", "email", "profile"])
        .with_post_logout_redirect_uri("/")
        .with_session_max_age(60)
        .build()
        .expect("a valid configuration");
    let cache = TwoTierAuthCache::new(None, TwoTierCacheConfig::default()).expect("a cache");
    let cache: Arc<dyn AuthCache + Send + Sync> = Arc::new(cache);
    let layer = AuthenticationLayer::new(Arc::new(config), cache, Arc::new(DefaultLogoutHandler));
    ready(page(get(known)).route("/token", get(token)).layer(layer))
}

fn tower_oidc(provider: &Provider) -> OidcLayer {
    let registered = ProviderConfig::new(&provider.issuer, CLIENT).client_secret(SECRET);
    let mut config = Config::new(APP, registered).resource(Resource::new("api", API));
    // Under valgrind two seconds are over soon, and then sessions are not known any more.
    config.max_staleness = std::time::Duration::from_secs(24 * 60 * 60);
    OidcLayer::per_user(config, MemoryStore::new()).expect("a valid configuration")
}

async fn by_layer(user: CurrentUser) -> &'static str {
    black_box(user.subject());
    "Hello!"
}

async fn by_layer_token(tokens: UserTokens) -> Result<String, tower_oidc::Error> {
    Ok(tokens.access_token(API).await?.expose_secret().to_owned())
}

/// What a body says.
pub async fn text(response: Response<Body>) -> String {
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    String::from_utf8(body.to_vec()).expect("text")
}
