//! This application as a client of a provider: each of its requests as data. `openidconnect` builds them and sends none.

use std::error::Error;

use openidconnect::core::{CoreClient, CoreRevocableToken};
use openidconnect::url::ParseError;
use openidconnect::{
    AccessToken, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, DeviceAuthorizationUrl,
    EmptyExtraDeviceAuthorizationFields, EndpointSet, ErrorResponse, HttpRequest, HttpResponse, IntrospectionUrl,
    IssuerUrl, JsonWebKeySet, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, RevocationUrl, Scope,
    TokenUrl,
};
use url::Url;
use zeroize::Zeroize;

use serde::{Deserialize, Serialize};

use super::metadata::Metadata;
use super::token::ClientAuthMethod;
use crate::events::entries;
use crate::secret::{Secret, derefs, opaque};

/// The library's client, with each endpoint that it is asked for.
type Library = CoreClient<EndpointSet, EndpointSet, EndpointSet, EndpointSet, EndpointSet>;

entries! {
    pub(crate) parameter: &'static str =>
    /// How a provider is told for which API an access token is.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[non_exhaustive]
    pub enum ApiNaming {
        /// By the parameter `resource` (RFC 8707 section 2), with the [indicator](crate::Resource::indicator) of the API.
        #[default]
        Resource = "resource",
        /// By the parameter `audience`, with the indicator of the API, as at Auth0. An authorization request names the first
        /// of several APIs. A refresh for another one needs a provider that issues tokens for it: one that ignores the
        /// parameter issues a token for the first again, which then goes to the other API.
        Audience = "audience",
        /// By the scopes of the API alone, as at Microsoft Entra ID, which refuses the parameter `resource`. Each API with
        /// scopes has tokens of its own, as if it had an indicator, and a token request has the scopes of one API.
        Scope = "scope",
    }
}

/// A request to be sent. It holds secrets: its body is to be wiped, and its credentials are not to be printed.
pub(crate) type Built = Result<HttpRequest, Box<dyn Error + Send + Sync>>;

/// This application as a client of one provider, and the provider's metadata.
pub(crate) struct ProviderClient {
    metadata: Metadata,
    pub(super) library: Library,
    scope_separator: String,
    pub(super) api_naming: ApiNaming,
    pub(crate) auth: ClientAuthMethod,
}

derefs!(ProviderClient => metadata: Metadata);

impl ProviderClient {
    pub(crate) fn new(
        metadata: Metadata, client_id: &str, client_secret: Option<&Secret>, auth: ClientAuthMethod,
        redirect_uri: &str, (scope_separator, api_naming): (&str, ApiNaming),
    ) -> Result<Self, ParseError> {
        // The authorization endpoint's own query is no parameter of ours.
        let mut authorization = metadata.authorization_endpoint.clone();
        authorization.set_query(None);
        // Where the provider has no such endpoint, nothing is asked for there.
        let or_token = |endpoint: &Option<Url>| endpoint.as_ref().unwrap_or(&metadata.token_endpoint).clone();
        let par = or_token(&metadata.par_endpoint);
        // The library revokes at https alone (RFC 7009 section 2); `revocation` puts the endpoint's own URL back.
        let mut revocation = or_token(&metadata.revocation_endpoint);
        let _ = revocation.set_scheme("https");
        let introspection = or_token(&metadata.introspection_endpoint);
        // The library verifies nothing here: who issues tokens is none of its affairs.
        let issuer = IssuerUrl::from_url(metadata.token_endpoint.clone());
        let mut library = CoreClient::new(ClientId::new(client_id.to_owned()), issuer, JsonWebKeySet::default())
            .disable_openid_scope()
            .set_redirect_uri(RedirectUrl::new(redirect_uri.to_owned())?)
            .set_auth_uri(AuthUrl::from_url(authorization))
            .set_token_uri(TokenUrl::from_url(metadata.token_endpoint.clone()))
            .set_introspection_url(IntrospectionUrl::from_url(introspection))
            .set_revocation_url(RevocationUrl::from_url(revocation))
            .set_device_authorization_url(DeviceAuthorizationUrl::from_url(par));
        if auth != ClientAuthMethod::ClientSecretBasic {
            library = library.set_auth_type(AuthType::RequestBody);
        }
        if let Some(secret) = client_secret.filter(|_| auth.sends_secret()) {
            library = library.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
        }
        Ok(Self { metadata, library, scope_separator: scope_separator.to_owned(), api_naming, auth })
    }

    /// Scopes as this provider wants them, as if they were one.
    pub(super) fn joined(&self, scopes: &[String]) -> Option<Scope> {
        (!scopes.is_empty()).then(|| Scope::new(scopes.join(&self.scope_separator)))
    }

    /// The parameter that names an API, unless its scopes do.
    pub(super) fn named<'a>(&self, indicator: Option<&'a str>) -> Option<(&'static str, &'a str)> {
        Some((self.api_naming.parameter(), indicator?)).filter(|_| self.api_naming != ApiNaming::Scope)
    }

    /// RFC 6749 section 4.1.3, RFC 7636 section 4.5. The scopes are said where they name the API.
    pub(crate) fn exchange(&self, code: &str, verifier: &str, indicator: Option<&str>, scopes: &[String]) -> Built {
        let request = self
            .library
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()));
        let scope = self.joined(scopes).filter(|_| self.api_naming == ApiNaming::Scope);
        let named = self.named(indicator).or(scope.as_ref().map(|scope| ("scope", scope.as_str())));
        let request = named.into_iter().fold(request, |request, (name, value)| request.add_extra_param(name, value));
        captured(request.request(&capture))
    }

    /// RFC 6749 section 6: a token for one API, with what that API needs and no more (RFC 8707 section 2.2).
    pub(crate) fn refresh(&self, token: &Secret, indicator: Option<&str>, scopes: &[String]) -> Built {
        let token = RefreshToken::new(token.expose_secret().to_owned());
        let request = self.library.exchange_refresh_token(&token);
        let named = self.named(indicator).into_iter();
        let request = named.fold(request, |request, (name, value)| request.add_extra_param(name, value));
        let built = captured(request.add_scopes(self.joined(scopes)).request(&capture));
        token.into_secret().zeroize();
        built
    }

    /// RFC 6749 section 4.4.2: by nothing but the application's own credentials.
    pub(crate) fn client_credentials(&self, indicator: Option<&str>, scopes: &[String]) -> Built {
        let request = self.library.exchange_client_credentials();
        let named = self.named(indicator).into_iter();
        let request = named.fold(request, |request, (name, value)| request.add_extra_param(name, value));
        captured(request.add_scopes(self.joined(scopes)).request(&capture))
    }

    /// RFC 7009 section 2.1, for the provider's revocation endpoint.
    pub(crate) fn revocation(&self, endpoint: &Url, token: &Secret, hint: &str) -> Built {
        let token = token.expose_secret().to_owned();
        let token: CoreRevocableToken = match hint {
            "access_token" => AccessToken::new(token).into(),
            _ => RefreshToken::new(token).into(),
        };
        let mut request = captured(self.library.revoke_token(token)?.request(&capture))?;
        *request.uri_mut() = endpoint.as_str().parse()?;
        Ok(request)
    }

    /// RFC 7662 section 2.1.
    pub(crate) fn introspection(&self, token: &Secret) -> Built {
        let token = AccessToken::new(token.expose_secret().to_owned());
        captured(self.library.introspect(&token).set_token_type_hint("access_token").request(&capture))
    }

    /// RFC 9126 section 2.1: the parameters of an authorization request, with the client's authentication. The library
    /// has no such request. Its device authorization request (RFC 8628 section 3.1) is that form and nothing more.
    pub(crate) fn pushed(&self, parameters: &[(String, String)]) -> Built {
        // Where the client authenticates in the body, its id is there already.
        let in_body = matches!(self.library.auth_type(), AuthType::RequestBody);
        let request = parameters
            .iter()
            .filter(|(name, _)| !in_body || name != "client_id")
            .fold(self.library.exchange_device_code(), |request, (name, value)| request.add_extra_param(name, value));
        captured(request.request::<_, EmptyExtraDeviceAuthorizationFields>(&capture))
    }
}

/// The HTTP client that the library is given: each request leaves it as the error that nothing was sent.
fn capture(request: HttpRequest) -> Result<HttpResponse, Captured> {
    Err(Captured(Box::new(request)))
}

#[derive(thiserror::Error)]
#[error("nothing was sent")]
struct Captured(Box<HttpRequest>);

// Without the request: it holds secrets.
opaque!(Captured);

fn captured<T, E: ErrorResponse + 'static>(asked: Result<T, RequestTokenError<Captured, E>>) -> Built {
    match asked {
        Err(RequestTokenError::Request(Captured(request))) => Ok(*request),
        Err(error) => Err(error.to_string().into()),
        Ok(_) => Err("nothing was asked".into()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::json;

    /// A public client.
    pub(crate) fn client(client_id: &str) -> ProviderClient {
        at("https", client_id, None, None)
    }

    fn at(scheme: &str, client_id: &str, secret: Option<&str>, auth: Option<ClientAuthMethod>) -> ProviderClient {
        let endpoint = |path: &str| format!("{scheme}://127.0.0.1:7000/{path}");
        let document = json!({
            "issuer": endpoint(""),
            "authorization_endpoint": endpoint("authorize?own=1"),
            "token_endpoint": endpoint("token"),
            "jwks_uri": endpoint("jwks"),
            "revocation_endpoint": endpoint("revoke?own=1"),
            "pushed_authorization_request_endpoint": endpoint("par"),
        });
        let metadata = {
            let issuer = crate::protocol::issuer::ProviderIssuer::exact(&endpoint(""));
            crate::protocol::metadata::parse(document.to_string().as_bytes(), &issuer, (&serde_json::Map::new(), None))
        };
        let secret = secret.map(Secret::from);
        let secrets = if secret.is_some() { ClientAuthMethod::ClientSecretBasic } else { ClientAuthMethod::None };
        ProviderClient::new(
            metadata.unwrap().0,
            client_id,
            secret.as_ref(),
            auth.unwrap_or(secrets),
            "https://app.test/auth/callback",
            (" ", ApiNaming::Resource),
        )
        .unwrap()
    }

    /// The URL, the credentials of the header, and the parameters in the order of their names.
    fn sent(built: Built) -> (String, Option<String>, Vec<String>) {
        let request = built.unwrap();
        assert_eq!(request.method(), "POST");
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("content-type").as_deref(), Some("application/x-www-form-urlencoded"));
        assert_eq!(header("accept").as_deref(), Some("application/json"));
        let pairs = form_urlencoded::parse(request.body());
        let mut parameters: Vec<_> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
        parameters.sort();
        (request.uri().to_string(), header("authorization"), parameters)
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// Each request says what its specification names, and nothing else.
    #[test]
    fn each_request_is_as_specified() {
        let client = at("http", "c", None, None);
        let (url, authorization, parameters) =
            sent(client.exchange("code", "verifier", Some("https://a.test"), &strings(&["a"])));
        assert_eq!((url.as_str(), authorization), ("http://127.0.0.1:7000/token", None));
        let expected = [
            "client_id=c",
            "code=code",
            "code_verifier=verifier",
            "grant_type=authorization_code",
            "redirect_uri=https://app.test/auth/callback",
            "resource=https://a.test",
        ];
        assert_eq!(parameters, expected);
        let (.., parameters) = sent(client.exchange("code", "verifier", None, &strings(&["a"])));
        assert_eq!(parameters, expected[..5], "the authorization request said the scopes");
        let scopes = strings(&["a", "b"]);
        let (url, _, parameters) = sent(client.refresh(&"token".into(), Some("https://a.test"), &scopes));
        assert_eq!(url, "http://127.0.0.1:7000/token");
        let refresh = ["client_id=c", "grant_type=refresh_token", "refresh_token=token"];
        assert_eq!(parameters, [&refresh[..], &["resource=https://a.test", "scope=a b"]].concat());
        let (.., parameters) = sent(client.refresh(&"token".into(), None, &[]));
        assert_eq!(parameters, refresh);
        let (.., parameters) = sent(client.client_credentials(None, &scopes));
        assert_eq!(parameters, ["client_id=c", "grant_type=client_credentials", "scope=a b"]);
    }

    /// The library refuses to revoke at http, which a provider on this machine may have.
    #[test]
    fn a_revocation_goes_to_the_endpoint_itself() {
        for scheme in ["http", "https"] {
            let endpoint = format!("{scheme}://127.0.0.1:7000/revoke?own=1");
            for hint in ["access_token", "refresh_token"] {
                let client = at(scheme, "c", None, None);
                let (url, _, parameters) = sent(client.revocation(&endpoint.parse().unwrap(), &"token".into(), hint));
                assert_eq!(url, endpoint);
                assert_eq!(parameters, ["client_id=c", "token=token", &format!("token_type_hint={hint}")]);
            }
        }
        let direct = |url: &str| {
            let client = at("http", "c", None, None).library;
            let client = client.set_revocation_url(RevocationUrl::new(url.to_owned()).unwrap());
            client.revoke_token(AccessToken::new("token".to_owned()).into()).is_ok()
        };
        assert_eq!([direct("http://127.0.0.1/"), direct("https://127.0.0.1/")], [false, true], "why it is so");
    }

    /// What is pushed is what was asked, and the client is named once by each method.
    #[test]
    fn a_pushed_request_has_the_parameters_and_the_authentication() {
        let parameters =
            [("client_id", "c"), ("state", "s"), ("scope", "openid a")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let mut expected = strings(&["client_id=c", "scope=openid a", "state=s"]);
        for auth in [ClientAuthMethod::ClientSecretBasic, ClientAuthMethod::None] {
            let (url, authorization, sent) = sent(at("http", "c", Some("secret"), Some(auth)).pushed(&parameters));
            assert_eq!((url.as_str(), sent), ("http://127.0.0.1:7000/par", expected.clone()), "{auth:?}");
            assert_eq!(authorization.is_some(), auth == ClientAuthMethod::ClientSecretBasic);
        }
        expected.insert(1, "client_secret=secret".to_owned());
        let (_, authorization, sent) =
            sent(at("http", "c", Some("secret"), Some(ClientAuthMethod::ClientSecretPost)).pushed(&parameters));
        assert_eq!((authorization, sent), (None, expected));
    }

    #[test]
    fn nothing_prints_a_request() {
        let client = at("http", "c", Some("hidden"), Some(ClientAuthMethod::ClientSecretPost));
        let error = capture(client.refresh(&"hidden".into(), None, &[]).unwrap()).unwrap_err();
        assert_eq!((format!("{error:?}"), error.to_string()), ("Captured".into(), "nothing was sent".into()));
    }

    proptest! {
        /// Special characters in either half come back as they were, by both methods.
        #[test]
        fn credentials_survive_their_encoding(id in ".{1,20}", secret in ".{1,20}", token in ".{1,20}") {
            let given = token.as_str().into();
            let basic = at("https", &id, Some(&secret), None).refresh(&given, None, &[]);
            let (_, authorization, parameters) = sent(basic);
            let authorization = authorization.unwrap();
            let decoded = STANDARD.decode(authorization.strip_prefix("Basic ").unwrap()).unwrap();
            let decoded = String::from_utf8(decoded).unwrap();
            let (left, right) = decoded.split_once(':').unwrap();
            let plain = |half: &str| form_urlencoded::parse(format!("x={half}").as_bytes()).next().unwrap().1.into_owned();
            prop_assert_eq!((plain(left), plain(right)), (id.clone(), secret.clone()));
            let token = format!("refresh_token={token}");
            prop_assert_eq!(&parameters, &["grant_type=refresh_token", &token]);
            let post = at("https", &id, Some(&secret), Some(ClientAuthMethod::ClientSecretPost)).refresh(&given, None, &[]);
            let (_, authorization, parameters) = sent(post);
            let (id, secret) = (format!("client_id={id}"), format!("client_secret={secret}"));
            prop_assert_eq!(authorization, None);
            prop_assert_eq!(&parameters, &[&id, &secret, "grant_type=refresh_token", &token]);
        }
    }
}
