//! What the application may decide: who signs in, and what a request gets that needs somebody signed in.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Remedy};
use crate::events::Events;
use crate::store::BoxFuture;

/// The application's hooks.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) login: Option<Arc<dyn Fn(NewLogin) -> BoxFuture<'static, Verdict> + Send + Sync>>,
    pub(crate) unauthenticated: Option<Arc<dyn Fn(&Unauthenticated) -> Response<Bytes> + Send + Sync>>,
    pub(crate) events: Events,
}

/// Somebody who is about to be signed in: verified, and nothing stored yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewLogin {
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
pub enum Verdict {
    /// They are signed in.
    Accept,
    /// They are signed in, and these claims go over those of the provider.
    Enrich(Map<String, Value>),
    /// They are not. The page says why, in these words.
    Refuse(String),
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
            .with_remedy(Remedy { url: self.login_url.clone(), redirect: self.navigation })
            .into_response()
    }
}
