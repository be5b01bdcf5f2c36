//! The client that sent an access token, as handlers see it.

use std::sync::Arc;

use http::Extensions;

use super::request::RequestState;
use crate::error::Error;
use crate::secret::opaque;
use crate::sessions::Session;

/// The client (RFC 6749 section 1.1) that sent an access token with this request: for its user, who is then the
/// [`CurrentUser`](crate::CurrentUser), or for itself ([`Api::allow_clients`](crate::Api)).
///
/// It is an axum extractor. `Option<CurrentClient>` is `None` for requests without an access token.
///
/// ```
/// use tower_oidc::{CurrentClient, CurrentUser};
///
/// async fn nightly(client: CurrentClient, user: Option<CurrentUser>) -> String {
///     format!("{:?} at {}, for a user: {}", client.client_id(), client.issuer(), user.is_some())
/// }
/// ```
#[derive(Clone)]
pub struct CurrentClient(Arc<Session>);

impl CurrentClient {
    pub(crate) fn of(state: &RequestState) -> Option<Self> {
        state.bearer().cloned().map(Self)
    }

    /// Reads the client from the extensions of a request that passed the layer, for services without axum.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::MissingLayer`](crate::ErrorKind::MissingLayer) if the request did not pass the layer.
    pub fn from_extensions(extensions: &Extensions) -> Result<Option<Self>, Error> {
        Ok(Self::of(RequestState::of(extensions)?))
    }

    /// The issuer of the access token (`iss`).
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The client's id at that issuer (`client_id`, RFC 9068 section 2.2), if the token names it.
    pub fn client_id(&self) -> Option<&str> {
        self.0.token()?.1
    }

    /// The scopes of the access token (RFC 9068 section 2.2.3).
    pub fn scopes(&self) -> Vec<&str> {
        self.0.token().unwrap_or_default().0
    }
}

opaque!(CurrentClient, |client| issuer = client.issuer(), client_id = client.client_id());
