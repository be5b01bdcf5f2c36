//! The hooks of the application: for logins, for unauthenticated requests, for the provider selection page.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Map, Value};

use super::login_api::LoginApi;
use crate::error::{Error, ErrorKind, NextStep};
use crate::events::Events;
use crate::page;
use crate::store::BoxFuture;

/// Decides about somebody who is verified.
type Decide = Arc<dyn Fn(VerifiedLogin) -> BoxFuture<'static, LoginDecision> + Send + Sync>;

/// The application's hooks.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) login: Option<Decide>,
    pub(crate) bearer: Option<Decide>,
    pub(crate) unauthenticated: Option<Arc<dyn Fn(&Unauthenticated) -> Response<Bytes> + Send + Sync>>,
    pub(crate) choose: Option<Arc<dyn Fn(&[ProviderChoice]) -> Response<Bytes> + Send + Sync>>,
    pub(crate) events: Events,
}

/// A response that a hook returns: with feature `axum` every [`IntoResponse`](axum_core::response::IntoResponse), and always
/// a `Response<Bytes>`. The layer sends it as bytes: a body that is not there at once, or has more than 1 MiB, is answered
/// with 500, and logged. `Kind` tells the two apart and is inferred.
pub trait HookResponse<Kind> {
    /// The response with its whole body.
    fn into_bytes(self) -> Response<Bytes>;
}

impl HookResponse<Bytes> for Response<Bytes> {
    fn into_bytes(self) -> Self {
        self
    }
}

/// A provider on the provider selection page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderChoice {
    /// Its name in the configuration.
    pub provider: String,
    /// Its display name, as plain text: escape it in HTML.
    pub display_name: String,
    /// The path that starts the login there, with the destination and the options of the login.
    pub login_url: String,
}

impl ProviderChoice {
    /// The layer's own page with a link for each provider.
    pub fn page(choices: &[Self]) -> Response<Bytes> {
        let links: Vec<_> = choices.iter().map(|one| (one.login_url.as_str(), one.display_name.as_str())).collect();
        page::page(StatusCode::OK, "Sign in", "Where do you have an account?", &links)
    }
}

/// A user who is about to be signed in: verified, and not stored yet. For [`Config::on_bearer`](crate::Config::on_bearer) the
/// user of an access token, without address and headers.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifiedLogin {
    /// The provider's issuer.
    pub issuer: String,
    /// The user's identifier there. Issuer and subject identify the user; an e-mail address does not.
    pub subject: String,
    /// The user's claims, from ID token and UserInfo, or from the access token.
    pub claims: Map<String, Value>,
    /// The name of the provider in the configuration.
    pub provider: String,
    /// The authentication context class (`acr`), if the provider says it.
    pub acr: Option<String>,
    /// How the user authenticated (`amr`, RFC 8176), such as `pwd` and `otp`.
    pub amr: Vec<String>,
    /// The scopes that were granted.
    pub scopes: Vec<String>,
    /// The address of the machine at the other end of the callback's connection, where the server gives it
    /// ([`PeerAddr`](crate::PeerAddr)). Behind a proxy it is the proxy's.
    pub peer: Option<SocketAddr>,
    /// The headers of the callback's request, such as `User-Agent` and `Accept-Language`, without `Cookie` and
    /// `Authorization`.
    pub headers: HeaderMap,
    pub(crate) api: Option<Arc<LoginApi>>,
}

impl VerifiedLogin {
    /// The user, as a login and an access token name one.
    pub(crate) fn new(
        provider: &str, (issuer, subject): (&str, &str), (acr, scopes): (Option<&str>, &[String]),
        claims: &Map<String, Value>,
    ) -> Self {
        let methods = claims.get("amr").and_then(Value::as_array);
        let text = |method: &Value| method.as_str().map(str::to_owned);
        Self {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            provider: provider.to_owned(),
            acr: acr.map(str::to_owned),
            amr: methods.into_iter().flatten().filter_map(text).collect(),
            scopes: scopes.to_vec(),
            claims: claims.clone(),
            ..Self::default()
        }
    }

    /// Calls an API with the access token of this login, before anything is kept. A resource of the login must cover the URL
    /// ([`ProviderConfig::resource`](crate::ProviderConfig::resource)); otherwise nothing is sent. With several
    /// [indicators](crate::Resource::indicator) the login has no token for them yet. A redirect is returned and not followed.
    /// The response of any status is no error; its body has at most 16 MiB. All calls of the hook together must leave time in
    /// the 20 seconds of the callback.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoTokenForUrl`] if no resource of the login covers the URL, in single-user mode, and for an access token
    /// that a client sent; [`ErrorKind::UpstreamError`] if the API does not answer within ten seconds.
    pub async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        self.api.as_ref().ok_or_else(Error::no_token_for_url)?.call(request).await
    }
}

/// The decision of the login hook.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LoginDecision {
    /// Sign the user in.
    Allow,
    /// Sign the user in with these claims, which replace those of the provider with the same names. An `email` is not
    /// verified unless `email_verified` is among them; the same holds for `phone_number`.
    AllowWith(Map<String, Value>),
    /// Sign the user in with these claims, and for this time at most. [`LoginDecision::lifetime`] makes it.
    AllowFor(Duration, Map<String, Value>),
    /// Do not sign the user in. The page shows this text; for an access token it is the `detail` of the response.
    Deny(String),
}

impl LoginDecision {
    /// The session ends this long after its login, even with requests: shorter for a shared computer, longer where somebody
    /// wants to be remembered. It is never longer than [`Config::absolute_lifetime`](crate::Config::absolute_lifetime), and it
    /// still ends after [`Config::idle_lifetime`](crate::Config::idle_lifetime) without a request. It says
    /// nothing of an access token.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_oidc::{LoginDecision, VerifiedLogin};
    ///
    /// /// An hour for those who authenticated with a password alone.
    /// fn by_strength(login: &VerifiedLogin) -> LoginDecision {
    ///     match login.amr.iter().any(|method| method == "otp" || method == "hwk") {
    ///         true => LoginDecision::Allow,
    ///         false => LoginDecision::Allow.lifetime(Duration::from_secs(60 * 60)),
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        self.granted().map_or_else(Self::Deny, |(claims, _)| Self::AllowFor(lifetime, claims))
    }

    /// The claims that are added and the longest lifetime, or why there is no login.
    pub(crate) fn granted(self) -> Result<(Map<String, Value>, Duration), String> {
        match self {
            Self::Allow => Ok((Map::new(), Duration::MAX)),
            Self::AllowWith(claims) => Ok((claims, Duration::MAX)),
            Self::AllowFor(lifetime, claims) => Ok((claims, lifetime)),
            Self::Deny(why) => Err(why),
        }
    }
}

/// A request that needs a signed-in user and has none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unauthenticated {
    /// The path that starts a login and returns to this page; for a script, to the page on which it runs (same-origin
    /// `Referer`), or to the public URL.
    pub login_url: String,
    /// Whether a browser navigates to the page and can be redirected; otherwise it is a request of a script or a form.
    pub navigation: bool,
    /// The request's method.
    pub method: Method,
    /// The request's path and query, as the layer saw them.
    pub path: String,
    /// The request's headers. `Debug` shows neither `Cookie` nor `Authorization`.
    pub headers: HeaderMap,
}

impl Unauthenticated {
    /// The default response: a navigation is redirected to the login (303), every other request gets 401
    /// `application/problem+json` with `login_url`.
    pub fn answer(&self) -> Response<Bytes> {
        Error::new(ErrorKind::Unauthenticated, "sign in first")
            .with_next_step(NextStep { url: self.login_url.clone(), redirect: self.navigation })
            .into_response()
    }
}
