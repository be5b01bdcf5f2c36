//! This application as a client of a provider: each of its requests as data. `openidconnect` builds them and sends none.

use openidconnect::core::CoreClient;
use openidconnect::url::ParseError;
use openidconnect::{AuthUrl, ClientId, EndpointSet, IssuerUrl, JsonWebKeySet, RedirectUrl};

use super::metadata::Metadata;

/// This application as a client of one provider, with the endpoints of the provider's metadata.
pub(crate) struct Client {
    pub(super) library: CoreClient<EndpointSet>,
}

impl Client {
    pub(crate) fn new(metadata: &Metadata, client_id: &str, redirect_uri: &str) -> Result<Self, ParseError> {
        // The authorization endpoint's own query is no parameter of ours.
        let mut authorization = metadata.authorization_endpoint.clone();
        authorization.set_query(None);
        let issuer = IssuerUrl::new(metadata.issuer.clone())?;
        let library = CoreClient::new(ClientId::new(client_id.to_owned()), issuer, JsonWebKeySet::default())
            .disable_openid_scope()
            .set_redirect_uri(RedirectUrl::new(redirect_uri.to_owned())?)
            .set_auth_uri(AuthUrl::from_url(authorization));
        Ok(Self { library })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn client(client_id: &str) -> Client {
        let document = json!({
            "issuer": "https://op.test",
            "authorization_endpoint": "https://op.test/authorize?own=1",
            "token_endpoint": "https://op.test/token",
            "jwks_uri": "https://op.test/jwks",
        });
        let metadata = crate::protocol::metadata::parse(document.to_string().as_bytes(), "https://op.test");
        Client::new(&metadata.unwrap(), client_id, "https://app.test/auth/callback").unwrap()
    }
}
