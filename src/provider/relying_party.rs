//! This application as its providers know it.

use serde_json::{Map, Value};
use url::Url;

use crate::protocol::authorization::{PushedAuthorizationRequests, ResponseMode};
use crate::protocol::issuer::ProviderIssuer;
use crate::protocol::jws::Algorithm;
use crate::protocol::oauth2::OAuth2;
use crate::protocol::token::ClientAuthMethod;
use crate::protocol::user_info::FetchUserInfo;
use crate::secret::Secret;

/// Which provider, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProviderId(pub(crate) usize);

impl ProviderId {
    /// That of the configuration's own fields.
    pub(crate) const FIRST: Self = Self(0);
}

/// This application as one provider knows it, checked.
#[derive(Clone, Debug)]
pub(crate) struct RelyingParty {
    pub(crate) id: ProviderId,
    pub(crate) name: String,
    pub(crate) display_name: String,
    /// Whether people sign in there.
    pub(crate) login: bool,
    pub(crate) issuer: ProviderIssuer,
    /// Stands for the issuer in the URLs that the application itself calls.
    pub(crate) internal_url: Option<Url>,
    /// The `iss` of its authorization responses.
    pub(crate) response_issuer: ProviderIssuer,
    /// Members of its metadata that count in place of those that it publishes.
    pub(crate) metadata: Map<String, Value>,
    /// How it says who signed in, where it issues no ID tokens.
    pub(crate) oauth2: Option<OAuth2>,
    pub(crate) client_id: String,
    /// Issuer and client id, as one: what grants are bound to.
    pub(crate) client: [u8; 32],
    pub(crate) client_secret: Option<Secret>,
    pub(crate) client_auth: Option<ClientAuthMethod>,
    pub(crate) redirect_uri: String,
    pub(crate) response_mode: ResponseMode,
    pub(crate) pushed_requests: PushedAuthorizationRequests,
    pub(crate) hosted_domain: Option<String>,
    pub(crate) fetch_user_info: FetchUserInfo,
    pub(crate) additional: Vec<(String, String)>,
    /// Claims that rules of the configuration decide by, and the login hook.
    pub(crate) decisive: Vec<String>,
    pub(crate) trusted_audiences: Vec<String>,
    /// The one algorithm of ID and logout tokens, where it is configured.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) revoke_at_logout: bool,
    pub(crate) revocation_is_per_token: bool,
    pub(crate) logout_at_provider: bool,
}
