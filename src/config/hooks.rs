//! What the application may decide: who signs in, and what a request gets that needs somebody signed in.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, NextStep};
use crate::events::Events;
use crate::page;
use crate::store::BoxFuture;

/// The application's hooks.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) login: Option<Arc<dyn Fn(VerifiedLogin) -> BoxFuture<'static, LoginDecision> + Send + Sync>>,
    pub(crate) unauthenticated: Option<Arc<dyn Fn(&Unauthenticated) -> Response<Bytes> + Send + Sync>>,
    pub(crate) choose: Option<Arc<dyn Fn(&[ProviderChoice]) -> Response<Bytes> + Send + Sync>>,
    pub(crate) events: Events,
}

/// A provider that a person may choose to sign in at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderChoice {
    /// Its name in the configuration.
    pub provider: String,
    /// What people call it. Plain text: whoever puts it into a page escapes it.
    pub display_name: String,
    /// The path that starts the login there. The destination, and what the login asks for, are in it.
    pub login_url: String,
}

impl ProviderChoice {
    /// The layer's own page with a link for each.
    pub fn page(choices: &[Self]) -> Response<Bytes> {
        let links: Vec<_> =
            choices.iter().map(|choice| (choice.login_url.as_str(), choice.display_name.as_str())).collect();
        page::page(StatusCode::OK, "Sign in", "Where do you have an account?", &links)
    }
}

/// Somebody who is about to be signed in: verified, and nothing stored yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifiedLogin {
    /// The provider that vouches for them.
    pub issuer: String,
    /// What it calls them. Together with the issuer this is who they are; an e-mail is not.
    pub subject: String,
    /// What it says about them.
    pub claims: Map<String, Value>,
}

/// What the login hook decides.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LoginDecision {
    /// They are signed in.
    Allow,
    /// They are signed in, and these claims go over those of the provider.
    AllowWith(Map<String, Value>),
    /// They are not. The page says why, in these words.
    Deny(String),
}

/// A request that needs a signed-in person and has none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unauthenticated {
    /// The path that starts a login and comes back to this page.
    pub login_url: String,
    /// Whether a person's browser navigates here, which can be sent on; otherwise a script or a form asks.
    pub navigation: bool,
}

impl Unauthenticated {
    /// The default: a navigation is redirected to the login (303), everything else gets 401 problem+json with
    /// `login_url`.
    pub fn answer(&self) -> Response<Bytes> {
        Error::new(ErrorKind::Unauthenticated, "sign in first")
            .with_next_step(NextStep { url: self.login_url.clone(), redirect: self.navigation })
            .into_response()
    }
}
