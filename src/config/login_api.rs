//! Calls to APIs with the tokens of a login that is not finished.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, Response, Uri};

use super::resources::{ResourceRoute, Resources, parse};
use crate::error::Error;
use crate::provider::{API_BODY, CALL_DEADLINE, Outbound, bearer};
use crate::records::LOGIN;
use crate::secret::{Secret, opaque};

/// A login's access token, and the resources to which it may go.
pub(crate) struct LoginApi {
    pub(crate) access_token: Secret,
    pub(crate) indicator: Option<String>,
    pub(crate) resources: Resources,
    pub(crate) outbound: Outbound,
}

opaque!(LoginApi);

impl LoginApi {
    /// Calls an API for the hook.
    pub(super) async fn call(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let url = parse(&request.uri().to_string()).ok_or_else(Error::no_token_for_url)?;
        let is_own = |route: &&Arc<ResourceRoute>| route.connection == LOGIN && route.indicator == self.indicator;
        let route = self.resources.covering(&url).filter(is_own).ok_or_else(|| self.resources.none_covers(&url));
        let authorization = route.map(|_| bearer(&self.access_token))?.ok_or_else(Error::no_token_for_url)?;
        *request.uri_mut() = Uri::try_from(url.as_str()).map_err(Error::unanswered)?;
        request.headers_mut().insert(AUTHORIZATION, authorization);
        request.headers_mut().remove(HOST);
        self.outbound.send(request, CALL_DEADLINE, API_BODY).await.map_err(Error::unanswered)
    }
}
