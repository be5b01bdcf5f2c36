//! How the provider is told for which API a token is.
//!
//! | provider | what it does here | source |
//! |---|---|---|
//! | Auth0 | an authorization request names one `audience`; a refresh may name another one where the application has multi-resource refresh tokens, and is answered for the first audience where it has none; client credentials name theirs | <https://auth0.com/docs/api/authentication>, <https://auth0.com/docs/secure/tokens/refresh-tokens/multi-resource-refresh-token> |
//! | Entra | the parameter `resource` is refused (AADSTS901002); an authorization request may have the scopes of several APIs, and a token request those of one; a refresh token is good for each API; a response names the scopes of its token alone; client credentials ask for `…/.default` | <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-auth-code-flow>, <https://learn.microsoft.com/en-us/entra/identity-platform/refresh-tokens>, <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>, <https://github.com/microsoft/vscode/issues/254009> |

use crate::params::Params;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiNaming {
    /// RFC 8707.
    Resource,
    /// Auth0, with multi-resource refresh tokens or without.
    Audience { several: bool },
    /// Entra.
    Scope,
}

type Texts = Vec<String>;

impl ApiNaming {
    /// The APIs that an authorization request names.
    pub(super) fn asked(self, params: &Params) -> Result<Texts, &'static str> {
        let all = |name: &str| params.all(name).into_iter().map(str::to_owned).collect::<Vec<_>>();
        match self {
            Self::Resource => Ok(all("resource")),
            Self::Audience { .. } if all("audience").len() > 1 => Err("invalid_request"),
            Self::Audience { .. } => Ok(all("audience")),
            Self::Scope if params.has("resource") || params.has("audience") => Err("invalid_request"),
            Self::Scope => Ok(Vec::new()),
        }
    }

    /// For which APIs a token is, and its scopes; `scope` are those that were asked for or granted, `granted` the APIs of
    /// the authorization.
    pub(super) fn issued(self, params: &Params, scope: Texts, granted: Texts) -> Result<(Texts, Texts), &'static str> {
        let grant_type = params.get("grant_type").unwrap_or_default();
        let asked = self.asked(params)?;
        match self {
            Self::Resource => Ok((if asked.is_empty() { granted } else { asked }, scope)),
            Self::Audience { .. } if grant_type == "client_credentials" && asked.is_empty() => Err("access_denied"),
            Self::Audience { several: true } if grant_type == "refresh_token" && !asked.is_empty() => {
                Ok((asked, scope))
            }
            Self::Audience { .. } if grant_type == "client_credentials" => Ok((asked, scope)),
            Self::Audience { .. } => Ok((granted, scope)),
            Self::Scope => {
                let apis: Vec<_> = scope.iter().filter_map(|scope| api_of(scope)).collect();
                let first = apis.first().copied();
                if grant_type == "authorization_code"
                    && params.has("scope")
                    && apis.iter().any(|api| Some(*api) != first)
                {
                    return Err("invalid_scope");
                }
                if grant_type == "client_credentials" && !scope.iter().all(|scope| scope.ends_with("/.default")) {
                    return Err("invalid_scope");
                }
                let first = first.map(str::to_owned);
                let is_its = |scope: &String| api_of(scope).is_none_or(|api| Some(api) == first.as_deref());
                Ok((first.iter().cloned().collect(), scope.into_iter().filter(is_its).collect()))
            }
        }
    }
}

/// The API that a scope names; none of those of OpenID Connect does.
fn api_of(scope: &str) -> Option<&str> {
    scope.rsplit_once('/').map(|(api, _)| api)
}
