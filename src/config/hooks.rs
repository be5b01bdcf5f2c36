//! The hooks of the application: for logins, for unauthenticated requests, for the provider selection page.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::{Map, Value};

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
        let links: Vec<_> =
            choices.iter().map(|choice| (choice.login_url.as_str(), choice.display_name.as_str())).collect();
        page::page(StatusCode::OK, "Sign in", "Where do you have an account?", &links)
    }
}

/// A user who is about to be signed in: verified, and not stored yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifiedLogin {
    /// The provider's issuer.
    pub issuer: String,
    /// The user's identifier there. Issuer and subject identify the user; an e-mail address does not.
    pub subject: String,
    /// The user's claims, from ID token and UserInfo, or from the access token.
    pub claims: Map<String, Value>,
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
    /// Do not sign the user in. The page shows this text; for an access token it is the `detail` of the response.
    Deny(String),
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
