//! What the provider says about itself.

use bytes::Bytes;
use http::Response;
use serde_json::json;

use super::{IncomingRequest, response};

impl IncomingRequest<'_> {
    /// OpenID Connect Discovery 1.0 section 3, RFC 8414, RFC 9207 section 3.
    pub(super) fn metadata(&self) -> Response<Bytes> {
        let issuer = &self.settings.issuer;
        let client_authentication = ["client_secret_basic", "client_secret_post", "none"];
        response::json(&json!({
            "issuer": issuer.as_str(),
            "authorization_endpoint": issuer.url("/authorize"),
            "token_endpoint": issuer.url("/token"),
            "userinfo_endpoint": issuer.url("/userinfo"),
            "revocation_endpoint": issuer.url("/revoke"),
            "end_session_endpoint": issuer.url("/end_session"),
            "jwks_uri": issuer.url("/jwks"),
            "scopes_supported": ["openid", "email", "profile", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "form_post"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": client_authentication,
            "revocation_endpoint_auth_methods_supported": client_authentication,
            "code_challenge_methods_supported": ["S256"],
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "claims_supported": [
                "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "sid", "at_hash",
                "email", "email_verified", "name", "admin",
            ],
            "authorization_response_iss_parameter_supported": true,
            "claims_parameter_supported": false,
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
        }))
    }

    pub(super) fn key_set(&self) -> Response<Bytes> {
        response::json(&self.state.keys.public())
    }
}
