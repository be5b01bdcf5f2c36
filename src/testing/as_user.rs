//! Without a login: requests as a chosen user, by a layer in place of [`OidcLayer`] in an application's tests, and sessions for
//! requests to the real one.

#![expect(clippy::panic, reason = "a test that cannot be set up fails")]

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{future, mem};

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;
use tower::{BoxError, Layer, Service, service_fn};

use crate::clock::Timestamp;
use crate::config::{Config, Resource};
use crate::error::Error;
use crate::extract::request::{Head, RequestState};
use crate::layer::OidcLayer;
use crate::protocol::{ClaimSource, OriginalIdToken, RoleClaim};
use crate::provider::ProviderConfig;
use crate::records::{Grant, GrantSource, LOGIN, TokenSet};
use crate::secret::{Secret, opaque};
use crate::sessions::{Session, SessionId, SessionPayload, SessionRecord};
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::store::{BoxFuture, MemoryStore};

const ISSUER: &str = "https://provider.example";

/// A layer in which every request is this user's, whatever cookies it has.
///
/// Handlers get the same types as with the real layer: `CurrentUser`, `Admin`, `AuthSession` and `UserTokens`. Tokens
/// are sent to their own URLs only. The user's issuer is `https://provider.example` ([`SignedInLayer::issuer`]), and the public
/// URL `https://app.example`.
pub fn as_user(subject: impl Into<String>) -> SignedInLayer {
    SignedInLayer::new(Some(subject.into()))
}

/// A layer in which every request is anonymous.
pub fn as_anonymous() -> SignedInLayer {
    SignedInLayer::new(None)
}

/// A layer for tests; see [`as_user`].
#[derive(Clone)]
pub struct SignedInLayer {
    subject: Option<String>,
    claims: Map<String, Value>,
    tokens: Vec<(String, Secret)>,
    config: Config,
    prepared: Arc<OnceCell<Prepared>>,
}

#[derive(Clone)]
struct Prepared {
    runtime: Arc<Runtime>,
    session: Option<Arc<Session>>,
}

impl SignedInLayer {
    fn new(subject: Option<String>) -> Self {
        let why = "a test sends nothing: give its configuration an `http_client`";
        let refuse = move |_: Request<Bytes>| future::ready(Err::<Response<Full<Bytes>>, BoxError>(why.into()));
        let provider = ProviderConfig::new(ISSUER, "app");
        let config = Config::new("https://app.example", provider).http_client(service_fn(refuse));
        Self { subject, claims: Map::new(), tokens: Vec::new(), config, prepared: Arc::default() }
    }

    /// Sets the issuer at which the user signed in. Without it the issuer is `https://provider.example`.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.config.provider.issuer = issuer.into();
        self
    }

    /// Sets the verified e-mail address of the user.
    #[must_use]
    pub fn email(self, email: impl Into<String>) -> Self {
        self.claim("email", email.into()).claim("email_verified", true)
    }

    /// Adds a claim.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// Gives the user these roles.
    #[must_use]
    pub fn roles(mut self, roles: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.config.provider.roles = vec![RoleClaim::new(ClaimSource::IdToken, "/roles")];
        self.claim("roles", roles.into_iter().map(Into::into).collect::<Vec<String>>())
    }

    /// Makes the user an admin.
    #[must_use]
    pub fn admin(mut self) -> Self {
        self.config.admin_subjects.extend(self.subject.clone());
        self
    }

    /// Adds an access token for the URLs below a prefix. It never expires.
    #[must_use]
    pub fn token(mut self, url_prefix: impl Into<String>, access_token: impl Into<Secret>) -> Self {
        let url_prefix = url_prefix.into();
        // A resource of its own for each, so that each has its own token.
        let resource = Resource::new(url_prefix.clone(), url_prefix.clone()).indicator(url_prefix.clone());
        self.config = self.config.resource(resource);
        self.tokens.push((url_prefix, access_token.into()));
        self
    }

    /// Changes the configuration of the layer. [`Config::http_client`] sets the service that answers the calls to APIs:
    /// without one every call fails.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(Config) -> Config) -> Self {
        self.config = change(self.config);
        self
    }

    async fn prepare(&self) -> Result<Prepared, BoxError> {
        let runtime = Runtime::new(self.config.clone(), Arc::new(MemoryStore::new()))?;
        let Some(subject) = &self.subject else { return Ok(Prepared { runtime, session: None }) };
        let tokens = self.tokens.iter().cloned();
        let token_sets = tokens.map(|(at, token)| token_set(Some(at), token, runtime.now())).collect();
        let record = record(&runtime, (&self.config.provider.issuer, subject), self.claims.clone())?;
        let id = start(&runtime, record, Some((None, token_sets))).await?;
        let session = runtime.sessions.find(id, runtime.now()).await?;
        Ok(Prepared { runtime, session })
    }
}

opaque!(SignedInLayer, |layer| subject = layer.subject);

impl<S> Layer<S> for SignedInLayer {
    type Service = SignedIn<S>;

    fn layer(&self, inner: S) -> SignedIn<S> {
        SignedIn { inner, who: self.clone() }
    }
}

/// The service of [`SignedInLayer`].
#[derive(Clone, Debug)]
pub struct SignedIn<S> {
    inner: S,
    who: SignedInLayer,
}

impl<S, B> Service<Request<B>> for SignedIn<S>
where
    S: Service<Request<B>, Future: Send> + Clone + Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let who = self.who.clone();
        let ready = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            let prepared = who.prepared.get_or_try_init(|| who.prepare()).await;
            let Prepared { runtime, session } = prepared.unwrap_or_else(|error| panic!("{error}")).clone();
            let (head, _) = Head::read(request.method(), request.headers(), &runtime.settings.cookies, None);
            RequestState::insert(runtime, session, CookieJar::default(), head, &mut request);
            ready.call(request).await
        })
    }
}

/// How long the access token of [`start_session_with_tokens`] is good for.
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// Starts a session as a login does, without a browser and without a provider. Returns the value of the `Cookie`
/// header that the browser would send. The user's roles are read from the claims, whatever source the configuration names.
/// There is no grant, so the user has no tokens.
///
/// # Errors
///
/// [`ErrorKind::NoSuchConnection`](crate::ErrorKind::NoSuchConnection) if users sign in at no provider with this issuer, and
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer, or if the session is too
/// large for cookies (stateless mode).
pub async fn start_session(
    layer: &OidcLayer, issuer: &str, subject: &str, claims: Map<String, Value>,
) -> Result<String, Error> {
    begin(&layer.runtime, record(&layer.runtime, (issuer, subject), claims)?, None).await
}

/// Like [`start_session`], with the tokens of the login: an access token for the provider's default audience, valid
/// for an hour, and a refresh token.
///
/// # Errors
///
/// Those of [`start_session`].
pub async fn start_session_with_tokens(
    layer: &OidcLayer, issuer: &str, subject: &str, claims: Map<String, Value>, access_token: impl Into<Secret>,
    refresh_token: impl Into<Secret>,
) -> Result<String, Error> {
    let record = record(&layer.runtime, (issuer, subject), claims)?;
    let now = record.stored_at;
    let expires_at = Some(now.saturating_add(TOKEN_LIFE));
    let set = TokenSet { expires_at, ..token_set(None, access_token.into(), now) };
    begin(&layer.runtime, record, Some((Some(refresh_token.into()), vec![set]))).await
}

/// A token that never expires.
fn token_set(indicator: Option<String>, access_token: Secret, issued_at: Timestamp) -> TokenSet {
    TokenSet { indicator, scopes: None, access_token, issued_at, expires_at: None, after_rejection: false }
}

/// What a login yields: a refresh token, and access tokens.
type Tokens = (Option<Secret>, Vec<TokenSet>);

async fn begin(runtime: &Arc<Runtime>, record: SessionRecord, tokens: Option<Tokens>) -> Result<String, Error> {
    let jar = CookieJar::of(runtime, &HeaderMap::new(), runtime.now());
    let Some(carried) = jar.contents() else {
        let id = start(runtime, record, tokens).await?;
        return Ok(format!("{}={}", runtime.settings.session_cookie, id.to_cookie()));
    };
    let id = SessionId::new(runtime.random.bytes());
    let grant = tokens.map(|tokens| grant(runtime, &record, tokens));
    let begun = carried.begun(id, &record, grant.as_ref(), None);
    let begun =
        begun.map_err(|too_large| Error::unavailable("it is more than cookies may hold", too_large.to_string()))?;
    carried.begin(begun);
    let mut headers = HeaderMap::new();
    jar.settle(&mut headers);
    let pairs = headers.get_all(SET_COOKIE).iter().filter_map(|set| set.to_str().ok()?.split(';').next());
    Ok(pairs.collect::<Vec<_>>().join("; "))
}

/// Starts a session that is kept in the store.
async fn start(runtime: &Arc<Runtime>, record: SessionRecord, tokens: Option<Tokens>) -> Result<SessionId, Error> {
    let id = SessionId::new(runtime.random.bytes());
    if let Some(tokens) = tokens {
        let provider = runtime.providers.of_issuer(&record.issuer);
        let login = provider.and_then(|one| runtime.settings.connections(one.relying_party.id).sign_in.as_ref());
        let login = login.ok_or_else(|| Error::no_such_connection("nobody signs in there"))?;
        let rows = runtime.session_rows(id, &record);
        let place = runtime.grant_place(record.owner(), login, Some(rows)).await?;
        let grant = Grant { scopes: login.scopes.clone(), ..grant(runtime, &record, tokens) };
        place.keep(grant, login.grant_lifetime.kept_until(record.ends_at)).await?;
    }
    runtime.sessions.start(id, record, runtime.now()).await?;
    Ok(id)
}

/// What a login keeps of somebody.
fn record(runtime: &Runtime, user: (&str, &str), claims: Map<String, Value>) -> Result<SessionRecord, Error> {
    let unknown = || Error::no_such_connection("users sign in at no provider of the configuration with this issuer");
    let (now, provider) = (runtime.now(), runtime.providers.of_issuer(user.0).ok_or_else(unknown)?);
    let identity = SessionPayload {
        issuer: user.0.into(),
        subject: user.1.into(),
        auth_time: Some(now.as_secs()),
        issued_at: now.as_secs(),
        began_at: now,
        stored_at: now,
        logout_token: runtime.random.bytes(),
        ends_at: now.saturating_add(runtime.settings.absolute_lifetime),
        roles: provider.roles([Some(&claims); 4], &Box::default()),
        ..SessionPayload::default()
    };
    let claims = Value::Object(claims).to_string();
    Ok(SessionRecord { identity, claims, ..SessionRecord::default() })
}

fn grant(runtime: &Runtime, record: &SessionRecord, (refresh_token, token_sets): Tokens) -> Grant {
    let facts = OriginalIdToken {
        issuer: record.issuer.to_string(),
        subject: record.subject.to_string(),
        issued_at: record.issued_at,
        auth_time: record.auth_time,
        ..OriginalIdToken::default()
    };
    let provider = runtime.providers.of_issuer(&record.issuer);
    let client = provider.map(|provider| provider.relying_party.client).unwrap_or_default();
    Grant {
        refresh_token,
        original: Some(facts),
        token_sets,
        ..Grant::new(record.owner(), client, LOGIN, GrantSource::Consent)
    }
}
