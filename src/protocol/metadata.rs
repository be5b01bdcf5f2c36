//! What a provider says of itself (OpenID Connect Discovery 1.0, RFC 8414).

use serde::Deserialize;
use url::{Host, Url};

use super::jws::Algorithm;

/// The metadata that we use, checked: every endpoint here may be called.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    pub(crate) jwks_uri: Url,
    pub(crate) userinfo_endpoint: Option<Url>,
    pub(crate) revocation_endpoint: Option<Url>,
    pub(crate) end_session_endpoint: Option<Url>,
    pub(crate) par_endpoint: Option<Url>,
    /// RFC 9126 section 5: every authorization request is pushed.
    pub(crate) requires_par: bool,
    /// RFC 9207: an authorization response without `iss` is then not this provider's.
    pub(crate) sends_iss: bool,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) client_auth_methods: Vec<String>,
}

/// Why a provider's metadata cannot be used. The operator must look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("the discovery document is not what OpenID Connect Discovery 1.0 section 3 says")]
    Malformed,
    #[error("the discovery document names another issuer")]
    Issuer,
    #[error("{0} is not an https URL (http is for loopback only)")]
    Endpoint(&'static str),
    #[error("the provider announces no signature algorithm that is accepted")]
    Algorithms,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    pushed_authorization_request_endpoint: Option<String>,
    #[serde(default)]
    require_pushed_authorization_requests: bool,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    id_token_signing_alg_values_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// Where the discovery document of an issuer lies (OpenID Connect Discovery 1.0 section 4).
pub(crate) fn discovery_url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

/// Reads and checks a discovery document that was fetched for `issuer`.
pub(crate) fn parse(document: &[u8], issuer: &str) -> Result<Metadata, MetadataError> {
    let document: Document = serde_json::from_slice(document).map_err(|_| MetadataError::Malformed)?;
    // Section 4.3: exactly the URL that was asked, a trailing slash included. Anything else would let one
    // provider speak for another.
    if document.issuer != issuer {
        return Err(MetadataError::Issuer);
    }
    let named = document.id_token_signing_alg_values_supported.unwrap_or_else(|| vec!["RS256".to_owned()]);
    let algorithms: Vec<_> = named.iter().filter_map(|name| Algorithm::from_name(name)).collect();
    if algorithms.is_empty() {
        return Err(MetadataError::Algorithms);
    }
    let optional = |name, given: Option<String>| given.map(|url| endpoint(name, &url)).transpose();
    Ok(Metadata {
        authorization_endpoint: endpoint("authorization_endpoint", &document.authorization_endpoint)?,
        token_endpoint: endpoint("token_endpoint", &document.token_endpoint)?,
        jwks_uri: endpoint("jwks_uri", &document.jwks_uri)?,
        userinfo_endpoint: optional("userinfo_endpoint", document.userinfo_endpoint)?,
        revocation_endpoint: optional("revocation_endpoint", document.revocation_endpoint)?,
        end_session_endpoint: optional("end_session_endpoint", document.end_session_endpoint)?,
        par_endpoint: optional(
            "pushed_authorization_request_endpoint",
            document.pushed_authorization_request_endpoint,
        )?,
        requires_par: document.require_pushed_authorization_requests,
        sends_iss: document.authorization_response_iss_parameter_supported,
        algorithms,
        client_auth_methods: document.token_endpoint_auth_methods_supported.unwrap_or_default(),
        issuer: document.issuer,
    })
}

fn endpoint(name: &'static str, given: &str) -> Result<Url, MetadataError> {
    Url::parse(given).ok().filter(is_secure).ok_or(MetadataError::Endpoint(name))
}

/// https, or http where that URL's own host is this machine.
pub(crate) fn is_secure(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// Whether the URL's host is this machine by its name or address alone (RFC 6761 section 6.3 for names).
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn document(edit: impl FnOnce(&mut Value)) -> Result<Metadata, MetadataError> {
        let mut document = json!({
            "issuer": "https://op.test/a",
            "authorization_endpoint": "https://op.test/authorize",
            "token_endpoint": "https://op.test/token",
            "jwks_uri": "https://op.test/jwks",
            "id_token_signing_alg_values_supported": ["none", "HS256", "ES256", "RS256"],
        });
        edit(&mut document);
        parse(document.to_string().as_bytes(), "https://op.test/a")
    }

    #[test]
    fn a_plain_document_is_read_and_only_accepted_algorithms_are_kept() {
        let metadata = document(|_| ()).unwrap();
        assert_eq!(
            metadata.algorithms,
            [Algorithm::from_name("ES256"), Algorithm::from_name("RS256")].map(Option::unwrap)
        );
        assert!(!metadata.sends_iss && metadata.userinfo_endpoint.is_none());
    }

    #[test]
    fn the_issuer_is_compared_exactly() {
        for other in ["https://op.test/a/", "https://op.test", "https://OP.test/a", "https://evil.test/a"] {
            assert_eq!(document(|d| d["issuer"] = other.into()).unwrap_err(), MetadataError::Issuer);
        }
    }

    #[test]
    fn missing_and_insecure_endpoints_are_refused() {
        for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
            assert_eq!(document(|d| d[name] = Value::Null).unwrap_err(), MetadataError::Malformed);
        }
        for name in [
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
            "end_session_endpoint",
        ] {
            let refused = document(|d| d[name] = "http://op.test/x".into()).unwrap_err();
            assert_eq!(refused, MetadataError::Endpoint(name));
            assert!(document(|d| d[name] = "http://127.0.0.1:9/x".into()).is_ok());
        }
    }

    #[test]
    fn no_accepted_algorithm_is_an_error_and_none_named_is_rs256() {
        let only = |names: Value| document(|d| d["id_token_signing_alg_values_supported"] = names);
        assert_eq!(only(json!(["none", "HS256"])).unwrap_err(), MetadataError::Algorithms);
        assert_eq!(only(Value::Null).unwrap().algorithms, [Algorithm::from_name("RS256").unwrap()]);
    }

    #[test]
    fn discovery_lies_below_the_issuer() {
        let expected = "https://op.test/a/.well-known/openid-configuration";
        assert_eq!(discovery_url("https://op.test/a"), expected);
        assert_eq!(discovery_url("https://op.test/a/"), expected);
    }

    #[test]
    fn loopback_is_told_by_the_host_alone() {
        let secure = |url: &str| is_secure(&Url::parse(url).unwrap());
        for url in
            ["http://localhost:1/", "http://a.localhost/", "http://127.1.2.3/", "http://[::1]/", "https://x/"]
        {
            assert!(secure(url), "{url}");
        }
        for url in [
            "http://localhost.evil.test/",
            "http://127.0.0.1.evil.test/",
            "http://evil.test/localhost",
            "ftp://localhost/",
        ] {
            assert!(!secure(url), "{url}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_document_is_read_without_panic(bytes: Vec<u8>, url in ".{0,40}", host in "[a-z0-9:@\\[\\]%._-]{0,20}") {
            let _ = parse(&bytes, "https://op.test/a");
            // Whatever is accepted may be called: it is https, or this machine.
            for url in [url, format!("http://{host}/x"), format!("https://{host}")] {
                if let Ok(metadata) = document(|d| d["token_endpoint"] = url.into()) {
                    proptest::prop_assert!(is_secure(&metadata.token_endpoint));
                }
            }
        }
    }
}
