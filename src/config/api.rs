//! This application as an API, for requests with access tokens.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use smart_default::SmartDefault;
use url::{Position, Url};

use super::{Config, seconds};
use crate::protocol::setters::setters;
use crate::provider::RelyingParty;

/// This application as an API (a protected resource, RFC 6749 section 1.1): which access tokens it accepts in
/// `Authorization: Bearer` (RFC 6750), besides the sessions of browsers.
///
/// ```
/// # use tower_oidc::{Api, Config};
/// # fn configured(config: Config) -> Config {
/// config.api(Api::new("https://app.example.org/api").scopes(["notes.read", "notes.write"]))
/// # }
/// ```
///
/// Tokens are JWTs (RFC 9068) of a provider for logins, whose keys verify them, or opaque ones that the provider of
/// [`Api::introspect_at`] vouches for. [`docs::apis`](crate::docs::apis) says what is refused, and with which answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Api {
    /// The audience that each token must name (`aud`): as the provider calls this API, never a client id of this application.
    pub audience: String,
    /// Scopes that clients can ask for, for the metadata of this API (RFC 9728 section 2, `scopes_supported`).
    pub scopes: Vec<String>,
    /// The name of the provider that is asked about tokens that are no JWTs of a provider for logins (RFC 7662). By default
    /// none: such tokens are refused.
    pub introspect_at: Option<String>,
    /// For how long the answer about a token counts. By default 30 seconds, at most five minutes: a token that was
    /// revoked is accepted for that long.
    #[default(Duration::from_secs(30))]
    #[serde(deserialize_with = "seconds")]
    pub introspection_age: Duration,
    /// Whether tokens that a client got for itself are accepted (RFC 6749 section 4.4). Off by default. A client is no
    /// [`CurrentUser`](crate::CurrentUser) and matches no rule for admins; handlers get it as
    /// [`CurrentClient`](crate::CurrentClient).
    pub allow_clients: bool,
}

impl Api {
    /// An API with this audience.
    pub fn new(audience: impl Into<String>) -> Self {
        Self { audience: audience.into(), ..Self::default() }
    }

    setters! {
        list scopes: String;
        some introspect_at: String;
        value introspection_age: Duration;
        value allow_clients: bool;
    }
}

/// An accepted token is looked at again after this time: keys are withdrawn, and the hook decides anew.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(5 * 60);

/// Where metadata of protected resources lie (RFC 9728 section 3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A checked [`Api`], with its metadata.
pub(crate) struct CheckedApi {
    pub(crate) api: Api,
    /// The path of the metadata.
    path: String,
    pub(crate) metadata: Bytes,
    /// The URL of the metadata, as a parameter of challenges (RFC 9728 section 5.1).
    resource_metadata: String,
}

impl CheckedApi {
    pub(super) fn check(
        config: &Config, public_url: &Url, relying_parties: &[RelyingParty], problems: &mut Vec<String>,
    ) -> Option<Self> {
        let api = config.api.clone()?;
        let audience = &api.audience;
        let names_ours = |one: &RelyingParty| one.client_id == *audience || one.trusted_audiences.contains(audience);
        let may_be_any = |one: &RelyingParty| one.any_audience_with_azp && one.plain_jwt_access_tokens;
        if audience.is_empty() || relying_parties.iter().any(|one| names_ours(one) || may_be_any(one)) {
            problems.push(format!(
                "the API's audience is {audience:?}: use the name that the provider has for this API, and no client id or \
                 trusted audience, which ID tokens have (nor any_audience_with_azp with plain_jwt_access_tokens)"
            ));
        }
        if config.hooks.login.is_some() && config.hooks.bearer.is_none() {
            problems.push("on_login decides who may sign in: set on_bearer too, for access tokens".to_owned());
        }
        let logins = || relying_parties.iter().filter(|one| one.login && one.issuer.issues_id_tokens());
        let named = |name: &String| logins().any(|one| one.name == *name && one.has_client_credentials());
        if let Some(name) = api.introspect_at.as_ref().filter(|name| !named(name)) {
            problems.push(format!(
                "introspect_at is {name:?}: use the name of an OpenID Provider for logins at which this application \
                 proves itself"
            ));
        }
        if api.introspection_age > LOOK_AGAIN {
            problems.push("introspection_age is longer than five minutes: shorten it".to_owned());
        }
        // RFC 9728 section 1.2: the resource is an https URL. An audience that is none stands for the whole application.
        let own = Url::parse(audience).ok().filter(|url| url.origin() == public_url.origin());
        let resource = own.as_ref().unwrap_or(public_url);
        let path = format!("{WELL_KNOWN}{}", resource.path().trim_end_matches('/'));
        let issuers: Vec<_> = logins().map(|one| &one.issuer.url).collect();
        let metadata = serde_json::json!({
            "resource": own.as_ref().map_or(public_url.as_str(), |_| audience),
            "authorization_servers": issuers,
            "scopes_supported": api.scopes,
            "bearer_methods_supported": ["header"],
        });
        let url = format!("{}{path}", &resource[..Position::BeforePath]);
        Some(Self { path, metadata: metadata.to_string().into(), resource_metadata: url, api })
    }

    /// A challenge with these parameters (RFC 6750 section 3), and where the metadata are (RFC 9728 section 5.1).
    pub(crate) fn challenge(&self, parameters: &str) -> String {
        let comma = if parameters.is_empty() { "" } else { ", " };
        format!("Bearer {parameters}{comma}resource_metadata=\"{}\"", self.resource_metadata)
    }

    /// Whether the API's metadata are at this path.
    pub(crate) fn is_metadata(&self, path: &str) -> bool {
        path.starts_with(WELL_KNOWN) && (path == self.path || path == WELL_KNOWN)
    }
}
