//! Sign in, sign out, and one call to an API as the user: axum-login keeps the session, openidconnect speaks to the provider,
//! and what lies between is written here.
//!
//! It does what `by_layer` does for one process and one provider, when nothing goes wrong. Out of its reach, among others: a
//! store that outlives the process, tokens that are kept sealed, two tabs that sign in at once, a callback that is repeated,
//! a return to the page where the login began, consent, logout at the provider and by the provider, new signing keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{Router, routing::get};
use axum_login::{AuthManagerLayerBuilder, AuthUser, AuthnBackend, UserId};
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreTokenResponse, CoreUserInfoClaims,
};
use openidconnect::{
    AccessToken, AccessTokenHash, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RefreshToken, Scope, SubjectIdentifier, TokenResponse, reqwest,
};
use serde::{Deserialize, Serialize};
use tower_sessions::cookie::SameSite;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type AuthSession = axum_login::AuthSession<Backend>;

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Before a token expires it is refreshed.
const LEEWAY: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Backend {
    client: Arc<Client>,
    http: reqwest::Client,
    users: Arc<Mutex<HashMap<String, User>>>,
}

#[derive(Clone, Debug)]
pub struct User {
    pub subject: String,
    pub email: Option<String>,
    /// Whoever holds the lock refreshes; the others wait.
    tokens: Arc<tokio::sync::Mutex<Tokens>>,
}

#[derive(Debug)]
struct Tokens {
    access: AccessToken,
    refresh: Option<RefreshToken>,
    expires_at: SystemTime,
}

impl Tokens {
    fn new(response: &CoreTokenResponse, former: Option<RefreshToken>) -> Self {
        let lifetime = response.expires_in().unwrap_or(Duration::from_secs(300));
        Self {
            access: response.access_token().clone(),
            refresh: response.refresh_token().cloned().or(former),
            expires_at: SystemTime::now() + lifetime,
        }
    }
}

impl AuthUser for User {
    type Id = String;

    fn id(&self) -> String {
        self.subject.clone()
    }

    fn session_auth_hash(&self) -> &[u8] {
        self.subject.as_bytes()
    }
}

/// What is kept between the redirect to the provider and the callback.
#[derive(Serialize, Deserialize)]
struct Pending {
    state: CsrfToken,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
}

pub struct Credentials {
    code: String,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
}

#[derive(Debug)]
pub struct Failure(BoxError);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, "the sign-in failed").into_response()
    }
}

fn failure(error: impl Into<BoxError>) -> Failure {
    Failure(error.into())
}

impl AuthnBackend for Backend {
    type User = User;
    type Credentials = Credentials;
    type Error = Failure;

    async fn authenticate(&self, credentials: Credentials) -> Result<Option<User>, Failure> {
        let code = AuthorizationCode::new(credentials.code);
        let request =
            self.client.exchange_code(code).map_err(failure)?.set_pkce_verifier(credentials.verifier);
        let response = request.request_async(&self.http).await.map_err(failure)?;
        let id_token = response.id_token().ok_or_else(|| failure("there is no ID token"))?;
        let verifier = self.client.id_token_verifier();
        let claims = id_token.claims(&verifier, &credentials.nonce).map_err(failure)?;
        if let Some(expected) = claims.access_token_hash() {
            let algorithm = id_token.signing_alg().map_err(failure)?;
            let key = id_token.signing_key(&verifier).map_err(failure)?;
            let actual =
                AccessTokenHash::from_token(response.access_token(), algorithm, key).map_err(failure)?;
            if actual != *expected {
                return Err(failure("the access token is not the one of the ID token"));
            }
        }
        let user = User {
            subject: claims.subject().to_string(),
            email: claims.email().map(|email| email.to_string()),
            tokens: Arc::new(tokio::sync::Mutex::new(Tokens::new(&response, None))),
        };
        self.users.lock().unwrap().insert(user.subject.clone(), user.clone());
        Ok(Some(user))
    }

    async fn get_user(&self, id: &UserId<Self>) -> Result<Option<User>, Failure> {
        Ok(self.users.lock().unwrap().get(id).cloned())
    }
}

impl Backend {
    pub async fn discover(issuer: &str, id: &str, secret: &str, public_url: &str) -> Result<Self, BoxError> {
        let http = reqwest::ClientBuilder::new().redirect(reqwest::redirect::Policy::none()).build()?;
        let metadata =
            CoreProviderMetadata::discover_async(IssuerUrl::new(issuer.to_owned())?, &http).await?;
        let secret = Some(ClientSecret::new(secret.to_owned()));
        let client = CoreClient::from_provider_metadata(metadata, ClientId::new(id.to_owned()), secret)
            .set_redirect_uri(RedirectUrl::new(format!("{public_url}/callback"))?);
        Ok(Self { client: Arc::new(client), http, users: Arc::default() })
    }

    /// A token that is still good, refreshed where it has to be.
    pub async fn access_token(&self, user: &User) -> Result<AccessToken, Failure> {
        let mut tokens = user.tokens.lock().await;
        if tokens.expires_at < SystemTime::now() + LEEWAY {
            let refresh = tokens.refresh.clone().ok_or_else(|| failure("sign in again"))?;
            let request = self.client.exchange_refresh_token(&refresh).map_err(failure)?;
            let response = request.request_async(&self.http).await.map_err(failure)?;
            *tokens = Tokens::new(&response, Some(refresh));
        }
        Ok(tokens.access.clone())
    }
}

/// The application's routes, and those that a login needs.
pub fn with_login(app: Router, backend: Backend) -> Router {
    // The way back from the provider begins at another site.
    let sessions = SessionManagerLayer::new(MemoryStore::default()).with_same_site(SameSite::Lax);
    app.route("/login", get(login))
        .route("/callback", get(callback))
        .route("/logout", get(logout))
        .layer(AuthManagerLayerBuilder::new(backend, sessions).build())
}

async fn login(auth: AuthSession, session: Session) -> Result<Redirect, Failure> {
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let request = auth.backend.client.authorize_url(
        CoreAuthenticationFlow::AuthorizationCode,
        CsrfToken::new_random,
        Nonce::new_random,
    );
    let request = request.add_scope(Scope::new("email".into())).add_scope(Scope::new("profile".into()));
    let (url, state, nonce) = request.set_pkce_challenge(challenge).url();
    session.insert("pending", Pending { state, nonce, verifier }).await.map_err(failure)?;
    Ok(Redirect::to(url.as_str()))
}

#[derive(Deserialize)]
struct Callback {
    code: String,
    state: String,
}

async fn callback(
    mut auth: AuthSession,
    session: Session,
    Query(query): Query<Callback>,
) -> Result<Redirect, Failure> {
    let pending: Option<Pending> = session.remove("pending").await.map_err(failure)?;
    let pending = pending.ok_or_else(|| failure("no login is under way"))?;
    if pending.state.secret() != &query.state {
        return Err(failure("the state is another login's"));
    }
    let credentials = Credentials { code: query.code, nonce: pending.nonce, verifier: pending.verifier };
    let user = auth.authenticate(credentials).await.map_err(failure)?;
    auth.login(&user.ok_or_else(|| failure("nobody"))?).await.map_err(failure)?;
    Ok(Redirect::to("/profile"))
}

async fn logout(mut auth: AuthSession) -> Result<Redirect, Failure> {
    auth.logout().await.map_err(failure)?;
    Ok(Redirect::to("/"))
}

pub fn pages() -> Router {
    Router::new().route("/", get(home)).route("/profile", get(profile))
}

async fn home(auth: AuthSession) -> Html<&'static str> {
    Html(match auth.user {
        Some(_) => "<a href=/profile>profile</a> <a href=/logout>sign out</a>",
        None => "<a href=/login>sign in</a>",
    })
}

async fn profile(auth: AuthSession) -> Result<Response, Failure> {
    let Some(user) = auth.user else { return Ok(Redirect::to("/login").into_response()) };
    let token = auth.backend.access_token(&user).await?;
    let subject = SubjectIdentifier::new(user.subject);
    let request = auth.backend.client.user_info(token, Some(subject)).map_err(failure)?;
    let info: CoreUserInfoClaims = request.request_async(&auth.backend.http).await.map_err(failure)?;
    Ok(axum::Json(info).into_response())
}
