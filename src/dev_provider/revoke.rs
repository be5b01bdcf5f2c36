//! Revocation (RFC 7009).

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::IncomingRequest;
use super::client::authenticate;
use super::response::{self, OAuthError};

impl IncomingRequest<'_> {
    pub(super) fn revoke(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        self.try_revoke(request).map_or_else(OAuthError::into_response, |()| response::empty(StatusCode::OK))
    }

    fn try_revoke(&mut self, request: &Request<Bytes>) -> Result<(), OAuthError> {
        let (form, client) = authenticate(&self.settings.clients, request)?;
        let token = form.required("token")?;
        let refresh = self.state.refresh_tokens.get(token, self.now).map(|token| token.grant.clone());
        let access = self.state.access_tokens.get(token, self.now).map(|token| token.grant.clone());
        let is_refresh = refresh.is_some();
        // Section 2.2: a token that is not there, or no more, is revoked already.
        let Some(id) = refresh.or(access) else { return Ok(()) };
        match self.state.grants.get(&id, self.now) {
            None => {}
            // Section 2.1: another client's token is refused, and that client hears of it.
            Some(grant) if grant.client_id != client.id => {
                return Err(OAuthError::new("unauthorized_client", "the token belongs to another client"));
            }
            // A refresh token takes its access tokens along, spent or not; an access token goes alone.
            Some(_) if is_refresh => drop(self.state.grants.remove(&id, self.now)),
            Some(_) => drop(self.state.access_tokens.remove(token, self.now)),
        }
        Ok(())
    }
}
