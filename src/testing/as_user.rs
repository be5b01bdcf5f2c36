//! Requests as a chosen user, without a login: a layer in place of [`OidcLayer`](crate::OidcLayer) in an application's
//! tests.

#![expect(clippy::panic, reason = "a test that cannot be set up fails")]

use crate::Config;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{future, mem};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;
use tower::{BoxError, Layer, Service, service_fn};

use super::start_session::start;
use crate::config::resource::Resource;
use crate::extract::request::{Head, RequestState};
use crate::provider::provider_config::ProviderConfig;
use crate::records::grant::TokenSet;
use crate::secret::{Secret, opaque};
use crate::sessions::session::Session;
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::store::{BoxFuture, MemoryStore};

const ISSUER: &str = "https://provider.example";

/// A layer in which every request is this user's, whatever cookies it has.
///
/// Handlers get the same types as with the real layer: `CurrentUser`, `Admin`, `AuthSession` and `UserTokens`. Tokens
/// are sent to their own URLs only.
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
        let nothing_is_sent = service_fn(|_: Request<Bytes>| {
            future::ready(Err::<Response<Bytes>, BoxError>(
                "a test sends nothing: give it `http_client`".into(),
            ))
        });
        let config = Config::new("https://app.example", ProviderConfig::new(ISSUER, "app"))
            .http_client(nothing_is_sent);
        Self { subject, claims: Map::new(), tokens: Vec::new(), config, prepared: Arc::default() }
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

    /// Sets the service that answers the calls to APIs. Without one every call fails.
    #[must_use]
    pub fn http_client<S>(mut self, client: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<Bytes>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        self.config = self.config.http_client(client);
        self
    }

    async fn prepare(&self) -> Prepared {
        let runtime = Runtime::new(self.config.clone(), Arc::new(MemoryStore::new()));
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        let session = match &self.subject {
            None => None,
            Some(subject) => {
                let token_sets = self.tokens.iter().map(|(indicator, access_token)| TokenSet {
                    indicator: Some(indicator.clone()),
                    scopes: None,
                    access_token: access_token.clone(),
                    issued_at: runtime.now(),
                    expires_at: None,
                    after_rejection: false,
                });
                let tokens = Some((None, token_sets.collect()));
                let id = start(&runtime, ISSUER, subject, self.claims.clone(), tokens).await;
                let id = id.unwrap_or_else(|error| panic!("{error}"));
                let found = runtime.sessions.find(id, runtime.now()).await;
                found.unwrap_or_else(|error| panic!("{error}"))
            }
        };
        Prepared { runtime, session }
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
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Future: Send,
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
            let Prepared { runtime, session } = who.prepared.get_or_init(|| who.prepare()).await.clone();
            let (head, _) = Head::read(request.method(), request.headers(), &runtime.settings.cookies, None);
            RequestState::insert(runtime, session, CookieJar::default(), head, &mut request);
            ready.call(request).await
        })
    }
}
