//! What a provider says of itself (OpenID Connect Discovery 1.0, RFC 8414).

use serde_json::{Map, Value};
use url::{Host, Url};

use super::issuer::ProviderIssuer;
use super::json::{self, mismatch};
use super::jws::{self, Algorithm};

/// The metadata that we use, checked: every endpoint here may be called.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    /// `None` where no ID tokens are issued.
    pub(crate) jwks_uri: Option<Url>,
    pub(crate) userinfo_endpoint: Option<Url>,
    pub(crate) revocation_endpoint: Option<Url>,
    pub(crate) introspection_endpoint: Option<Url>,
    pub(crate) end_session_endpoint: Option<Url>,
    pub(crate) par_endpoint: Option<Url>,
    /// RFC 9126 section 5: every authorization request is pushed.
    pub(crate) requires_par: bool,
    /// RFC 9207: an authorization response without `iss` is then not this provider's.
    pub(crate) sends_iss: bool,
    pub(crate) algorithms: Vec<Algorithm>,
    /// The accepted algorithms of signed UserInfo responses.
    pub(crate) user_info_algorithms: Vec<Algorithm>,
    pub(crate) client_auth_methods: Vec<String>,
    pub(crate) scopes: Vec<String>,
}

/// Why a provider's metadata cannot be used. The operator must look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("the discovery document is not a JSON object (OpenID Connect Discovery 1.0 section 3)")]
    Malformed,
    #[error(
        "the discovery document names the issuer {found}, expected {expected:?}: configure the issuer exactly so (OIDC_ISSUER)"
    )]
    Issuer { found: String, expected: String },
    #[error("the discovery document's {0}")]
    Member(String),
    #[error(
        "the discovery document's token_endpoint_auth_methods_supported is {0:?}, and this application can do {1:?} alone: configure \
         what the provider takes (OIDC_CLIENT_SECRET, OIDC_PRIVATE_KEY_FILE, OIDC_CLIENT_ASSERTION_FILE), or name the method that it \
         takes and does not announce (OIDC_CLIENT_AUTH_METHOD)"
    )]
    ClientAuth(Vec<String>, Vec<&'static str>),
}

const EXPECTED_URL: &str = "an https URL (http where the issuer itself is http on loopback)";

/// Where the discovery document lies below this URL (OpenID Connect Discovery 1.0 section 4).
pub(crate) fn discovery_url(base: &str) -> String {
    format!("{}/.well-known/openid-configuration", base.trim_end_matches('/'))
}

/// The same place below another base URL, for a URL that lies below `base`.
fn moved(url: &Url, base: &Url, to: &Url) -> Option<Url> {
    let path = url.path().strip_prefix(base.path().trim_end_matches('/'))?;
    let is_below = url.origin() == base.origin() && (path.is_empty() || path.starts_with('/'));
    let mut moved = to.clone();
    moved.set_path(&format!("{}{path}", to.path().trim_end_matches('/')));
    moved.set_query(url.query());
    is_below.then_some(moved)
}

/// The document of a provider of which nothing needs to be fetched, because the configuration says where it is asked.
pub(crate) fn by_hand(issuer: &ProviderIssuer, configured: &Map<String, Value>) -> Option<Vec<u8>> {
    let needed = ["authorization_endpoint", "token_endpoint", "jwks_uri"];
    let needed = &needed[..if issuer.issues_id_tokens() { 3 } else { 2 }];
    let document = || serde_json::json!({ "issuer": issuer.announced() }).to_string().into_bytes();
    needed.iter().all(|name| configured.contains_key(*name)).then(document)
}

/// Reads and checks a discovery document that was fetched for `issuer`, with the `configured` members in place of its own.
/// The second says which optional members are ignored because they cannot be used, and why.
///
/// | member | null, empty or missing | cannot be read or used |
/// |---|---|---|
/// | issuer, authorization, token and key set endpoint | refused | refused |
/// | other endpoints, list of methods | absent | absent, ignored |
/// | what adds a check (`iss` in responses, pushed requests required) | false | true: the check is made |
/// | algorithms (of signed UserInfo: none is left where no entry is accepted) | RS256 | entries are skipped; if none is left, RS256 |
///
/// `internal_url` stands for the issuer in the URLs of the endpoints that this application calls itself.
pub(crate) fn parse(
    document: &[u8], issuer: &ProviderIssuer, (configured, internal_url): (&Map<String, Value>, Option<&Url>),
) -> Result<(Metadata, Vec<String>), MetadataError> {
    let (mut members, mut unreadable) = json::members(document).ok_or(MetadataError::Malformed)?;
    unreadable.retain(|name| !configured.contains_key(name));
    members.extend(configured.clone());
    let (issuer_url, ignored) = (&issuer.url, Vec::new());
    let mut document = Document { members, unreadable, issuer: issuer_url, configured, internal_url, ignored };
    // Section 4.3: exactly the URL that was asked, a trailing slash included. Anything else would let one
    // provider speak for another.
    let (named, expected) = (document.members.get("issuer"), issuer.announced());
    if named.and_then(Value::as_str) != Some(expected.as_str()) {
        let found = json::shown(named);
        return Err(MetadataError::Issuer { found, expected });
    }
    let metadata = Metadata {
        authorization_endpoint: document.required("authorization_endpoint", Document::url)?,
        token_endpoint: document.required("token_endpoint", Document::called)?,
        jwks_uri: issuer.issues_id_tokens().then(|| document.required("jwks_uri", Document::called)).transpose()?,
        userinfo_endpoint: document.optional("userinfo_endpoint", Document::called),
        revocation_endpoint: document.optional("revocation_endpoint", Document::called),
        introspection_endpoint: document.optional("introspection_endpoint", Document::called),
        end_session_endpoint: document.optional("end_session_endpoint", Document::url),
        par_endpoint: document.optional("pushed_authorization_request_endpoint", Document::called),
        requires_par: document.adds_check("require_pushed_authorization_requests"),
        sends_iss: document.adds_check("authorization_response_iss_parameter_supported"),
        algorithms: document.algorithms("id_token_signing_alg_values_supported")?,
        user_info_algorithms: document.algorithms("userinfo_signing_alg_values_supported").unwrap_or_default(),
        client_auth_methods: document.texts("token_endpoint_auth_methods_supported"),
        scopes: document.texts("scopes_supported"),
    };
    let unread = document.unreadable.into_iter().map(|name| format!("{name} cannot be read"));
    document.ignored.extend(unread);
    Ok((metadata, document.ignored))
}

/// A discovery document, as it is read.
struct Document<'a> {
    members: Map<String, Value>,
    /// Members whose values are no JSON.
    unreadable: Vec<String>,
    issuer: &'a str,
    internal_url: Option<&'a Url>,
    configured: &'a Map<String, Value>,
    ignored: Vec<String>,
}

impl Document<'_> {
    fn is_absent(&self, name: &str) -> bool {
        let empty = |value: &Value| value.is_null() || value.as_str() == Some("");
        self.members.get(name).is_none_or(empty) && !self.unreadable.iter().any(|unreadable| unreadable == name)
    }

    /// What is no JSON is told of once, at the end.
    fn ignore(&mut self, name: &str, expected: &str) {
        if let found @ Some(_) = self.members.get(name) {
            self.ignored.push(mismatch(name, found, expected));
        }
    }

    fn url(&self, name: &str) -> Option<Url> {
        let url = Url::parse(self.members.get(name)?.as_str()?).ok()?;
        // A provider out there names no service of this machine. Whoever configures the application may.
        let may_be_local = || {
            self.configured.contains_key(name) || Url::parse(self.issuer).is_ok_and(|issuer| issuer.scheme() == "http")
        };
        let is_local = || is_secure(&url) && may_be_local();
        (url.scheme() == "https" || is_local()).then_some(url)
    }

    /// Where this application calls an endpoint. Some providers name the URL under which they were asked.
    fn called(&self, name: &str) -> Option<Url> {
        let Some(internal) = self.internal_url.filter(|_| !self.configured.contains_key(name)) else {
            return self.url(name);
        };
        let named = Url::parse(self.members.get(name)?.as_str()?).ok()?;
        let public = Url::parse(self.issuer).ok();
        let inside = public.and_then(|public| moved(&named, &public, internal));
        inside.or_else(|| moved(&named, internal, internal)).or_else(|| self.url(name))
    }

    fn required(&self, name: &str, read: fn(&Self, &str) -> Option<Url>) -> Result<Url, MetadataError> {
        let wrong = || MetadataError::Member(mismatch(name, self.members.get(name), EXPECTED_URL));
        read(self, name).ok_or_else(wrong)
    }

    fn optional(&mut self, name: &str, read: fn(&Self, &str) -> Option<Url>) -> Option<Url> {
        let url = read(self, name);
        if url.is_none() && !self.is_absent(name) {
            self.ignore(name, EXPECTED_URL);
        }
        url
    }

    fn adds_check(&mut self, name: &str) -> bool {
        match self.members.get(name) {
            Some(Value::Bool(value)) => *value,
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => true,
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => false,
            _ if self.is_absent(name) => false,
            _ => {
                self.ignore(name, "true or false; it counts as true");
                true
            }
        }
    }

    /// The texts of a list. What is no text in it is skipped.
    fn texts(&mut self, name: &str) -> Vec<String> {
        let list = self.members.get(name).and_then(Value::as_array);
        let texts: Vec<_> = list.into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect();
        if !self.is_absent(name) && list.is_none_or(|list| list.len() > texts.len()) {
            self.ignore(name, "a list of texts");
        }
        texts
    }

    fn algorithms(&mut self, name: &str) -> Result<Vec<Algorithm>, MetadataError> {
        let mut named = self.texts(name);
        if named.is_empty() {
            named.push("RS256".to_owned());
        }
        let algorithms: Vec<_> = named.iter().filter_map(|name| Algorithm::from_name(name)).collect();
        if algorithms.is_empty() {
            let accepted = jws::ACCEPTED.each_ref().map(|(name, _)| *name).join(", ");
            let found = self.members.get(name);
            return Err(MetadataError::Member(mismatch(name, found, format_args!("one of {accepted}"))));
        }
        Ok(algorithms)
    }
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
    use serde_json::json;

    fn parse(document: &[u8], issuer: &str, internal: Option<&Url>) -> Result<(Metadata, Vec<String>), MetadataError> {
        super::parse(document, &ProviderIssuer::exact(issuer), (&Map::new(), internal))
    }

    fn document(edit: impl FnOnce(&mut Value)) -> Result<Metadata, MetadataError> {
        let mut document = json!({
            "issuer": "https://op.test/a",
            "authorization_endpoint": "https://op.test/authorize",
            "token_endpoint": "https://op.test/token",
            "jwks_uri": "https://op.test/jwks",
            "id_token_signing_alg_values_supported": ["none", "HS256", "ES256", "RS256"],
        });
        edit(&mut document);
        parse(document.to_string().as_bytes(), "https://op.test/a", None).map(|(metadata, _)| metadata)
    }

    /// Which members are ignored.
    fn ignored(edit: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut document = json!({
            "issuer": "https://op.test/a", "authorization_endpoint": "https://op.test/authorize",
            "token_endpoint": "https://op.test/token", "jwks_uri": "https://op.test/jwks",
        });
        edit(&mut document);
        let (_, ignored) = parse(document.to_string().as_bytes(), "https://op.test/a", None).unwrap();
        ignored.iter().map(|text| text.split(' ').next().unwrap().to_owned()).collect()
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
            let refused = document(|d| d["issuer"] = other.into()).unwrap_err();
            let text = format!(
                "the discovery document names the issuer {other:?}, expected \"https://op.test/a\": configure the issuer \
                 exactly so (OIDC_ISSUER)"
            );
            assert_eq!(refused.to_string(), text);
        }
        assert!(document(|d| d["issuer"] = Value::Null).is_err());
    }

    #[test]
    fn missing_and_insecure_endpoints_are_refused_where_they_are_needed() {
        let odd =
            [Value::Null, json!(""), json!("/x"), json!(7), json!("http://op.test/x"), json!("http://127.0.0.1:9/x")];
        for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
            for given in &odd {
                let refused = document(|d| d[name] = given.clone()).unwrap_err();
                assert_eq!(refused, MetadataError::Member(format!("{name} is {given}, expected {EXPECTED_URL}")));
            }
        }
        for name in ["userinfo_endpoint", "revocation_endpoint", "end_session_endpoint"] {
            for (at, given) in odd.iter().enumerate() {
                let told = ignored(|d| d[name] = given.clone());
                // Null and nothing say that there is none.
                assert_eq!(told, if at < 2 { vec![] } else { vec![name.to_owned()] }, "{given}");
            }
            assert!(ignored(|d| d[name] = "https://op.test/x".into()).is_empty());
        }
        assert!(document(|d| d["end_session_endpoint"] = "/x".into()).unwrap().end_session_endpoint.is_none());
    }

    /// Plain http is for a provider on this machine, and names nothing on this machine for one that is elsewhere.
    #[test]
    fn http_is_for_an_issuer_on_loopback() {
        let local = |token_endpoint: &str| {
            let document = json!({
                "issuer": "http://127.0.0.1:9", "authorization_endpoint": "http://127.0.0.1:9/a",
                "token_endpoint": token_endpoint, "jwks_uri": "http://127.0.0.1:9/jwks",
            });
            parse(document.to_string().as_bytes(), "http://127.0.0.1:9", None)
        };
        assert!(local("http://127.0.0.1:9/token").is_ok() && local("http://localhost:8/token").is_ok());
        assert!(local("https://op.test/token").is_ok());
        assert!(local("http://op.test/token").is_err());
    }

    /// What lies below the issuer is called below the internal URL, or where the provider named that itself; what the browser
    /// is sent to stays.
    #[test]
    fn endpoints_below_the_issuer_are_called_at_the_internal_url() {
        let internal = Url::parse("http://keycloak:8080/auth/a").unwrap();
        let read = |token_endpoint: &str, configured: &Map<String, Value>| {
            let document = json!({
                "issuer": "https://op.test/a", "authorization_endpoint": "https://op.test/a/authorize",
                "token_endpoint": token_endpoint, "jwks_uri": "https://op.test/a/jwks?v=1",
                "end_session_endpoint": "https://op.test/a/logout",
            });
            let (document, op) = (document.to_string(), ProviderIssuer::exact("https://op.test/a"));
            super::parse(document.as_bytes(), &op, (configured, Some(&internal))).map(|(found, _)| found)
        };
        let token_at = |token_endpoint: &str| read(token_endpoint, &Map::new());
        let metadata = token_at("https://op.test/a/token").unwrap();
        assert_eq!(metadata.token_endpoint.as_str(), "http://keycloak:8080/auth/a/token");
        assert_eq!(metadata.jwks_uri.unwrap().as_str(), "http://keycloak:8080/auth/a/jwks?v=1");
        assert_eq!(metadata.authorization_endpoint.as_str(), "https://op.test/a/authorize");
        assert_eq!(metadata.end_session_endpoint.unwrap().as_str(), "https://op.test/a/logout");
        assert_eq!(token_at("https://op.test/a").unwrap().token_endpoint.as_str(), "http://keycloak:8080/auth/a");
        let own = "https://op.test/a/own";
        let configured = Map::from_iter([("token_endpoint".to_owned(), json!(own))]);
        assert_eq!(read("https://op.test/a/token", &configured).unwrap().token_endpoint.as_str(), own, "as configured");
        for stays in [
            "https://tokens.test/a/token",
            "https://op.test:8443/a/token",
            "https://op.test/ab/token",
            "https://op.test/token",
            "http://keycloak:8080/auth/a/token",
        ] {
            assert_eq!(token_at(stays).unwrap().token_endpoint.as_str(), stays);
        }
        for refused in ["http://op.test/a/token", "http://keycloak:8080/other", "http://keycloak/auth/a/token"] {
            assert!(token_at(refused).is_err(), "{refused}");
        }
    }

    /// Nothing is fetched where everything is configured; a provider without ID tokens has no keys.
    #[test]
    fn a_document_by_hand_needs_all_that_a_login_needs() {
        let members = |names: &[&str]| -> Map<String, Value> {
            names.iter().map(|name| ((*name).to_owned(), json!("http://127.0.0.1:9/x"))).collect()
        };
        let [two, three] = [
            &["authorization_endpoint", "token_endpoint"][..],
            &["authorization_endpoint", "token_endpoint", "jwks_uri"],
        ]
        .map(members);
        let (op, pseudo) = (ProviderIssuer::exact("https://op.test"), ProviderIssuer::exact("oauth2:op.test/token"));
        assert!(by_hand(&op, &two).is_none() && by_hand(&pseudo, &members(&["token_endpoint"])).is_none());
        for (issuer, configured) in [(&op, &three), (&pseudo, &two)] {
            let document = by_hand(issuer, configured).unwrap();
            let (metadata, ignored) = super::parse(&document, issuer, (configured, None)).unwrap();
            assert_eq!(metadata.jwks_uri.is_some(), issuer.issues_id_tokens());
            assert!(ignored.is_empty(), "{ignored:?}");
        }
        // What is configured goes over what was published, and only that may be of this machine.
        let document = json!({ "issuer": "https://op.test", "authorization_endpoint": 7, "token_endpoint": "http://127.0.0.1:9/x",
            "jwks_uri": "https://op.test/jwks" });
        let read =
            |configured: &Map<String, Value>| super::parse(document.to_string().as_bytes(), &op, (configured, None));
        assert_eq!(read(&two).unwrap().0.token_endpoint.as_str(), "http://127.0.0.1:9/x");
        assert!(read(&members(&["authorization_endpoint"])).is_err());
    }

    #[test]
    fn what_adds_a_check_counts_where_it_cannot_be_read() {
        for (given, expected) in [
            (Value::Null, false),
            (json!(false), false),
            (json!("false"), false),
            (json!("False"), false),
            (json!(true), true),
            (json!("true"), true),
            (json!("yes"), true),
            (json!(1), true),
            (json!([]), true),
        ] {
            let metadata = document(|d| {
                d["require_pushed_authorization_requests"] = given.clone();
                d["authorization_response_iss_parameter_supported"] = given.clone();
            });
            let metadata = metadata.unwrap();
            assert_eq!((metadata.requires_par, metadata.sends_iss), (expected, expected), "{given}");
        }
        let name = "require_pushed_authorization_requests";
        for (given, is_told) in
            [(json!("true"), false), (json!("False"), false), (json!("yes"), true), (json!(1), true)]
        {
            assert_eq!(ignored(|d| d[name] = given.clone()) == [name], is_told, "{given}");
        }
    }

    #[test]
    fn no_accepted_algorithm_is_an_error_and_none_named_is_rs256() {
        let only = |names: Value| document(|d| d["id_token_signing_alg_values_supported"] = names);
        let refused = only(json!(["none", "HS256"])).unwrap_err();
        let text = "the discovery document's id_token_signing_alg_values_supported is [\"none\",\"HS256\"], expected one of RS256, ";
        assert!(refused.to_string().starts_with(text), "{refused}");
        for unsaid in [Value::Null, json!([]), json!("RS256"), json!([null, 7])] {
            assert_eq!(only(unsaid).unwrap().algorithms, [Algorithm::from_name("RS256").unwrap()]);
        }
        let skipped = only(json!([null, "ES256", 7])).unwrap();
        assert_eq!(skipped.algorithms, [Algorithm::from_name("ES256").unwrap()]);
    }

    /// One event for one member, and no check less.
    #[test]
    fn a_value_that_is_no_json_is_told_of_once() {
        let document = br#"{"issuer":"https://op.test/a","authorization_endpoint":"https://op.test/authorize",
            "token_endpoint":"https://op.test/token","jwks_uri":"https://op.test/jwks",
            "userinfo_endpoint":null,"end_session_endpoint":"\ud83d","authorization_response_iss_parameter_supported":"\ud83d"}"#;
        let (metadata, ignored) = parse(document, "https://op.test/a", None).unwrap();
        assert!(metadata.end_session_endpoint.is_none() && metadata.sends_iss);
        let names = ["end_session_endpoint", "authorization_response_iss_parameter_supported"];
        assert_eq!(ignored, names.map(|name| format!("{name} cannot be read")));
        let configured = Map::from_iter([(names[0].to_owned(), json!("https://op.test/end"))]);
        let op = ProviderIssuer::exact("https://op.test/a");
        let (metadata, ignored) = super::parse(document, &op, (&configured, None)).unwrap();
        assert!(metadata.end_session_endpoint.is_some(), "what is configured stands in its place");
        assert_eq!(ignored, [format!("{} cannot be read", names[1])]);
    }

    #[test]
    fn a_list_that_is_none_is_ignored() {
        let name = "token_endpoint_auth_methods_supported";
        assert_eq!(ignored(|d| d[name] = "client_secret_basic".into()), [name]);
        assert_eq!(ignored(|d| d[name] = json!(["client_secret_basic", 7])), [name]);
        assert!(ignored(|d| d[name] = json!(["client_secret_basic"])).is_empty());
        assert!(ignored(|d| d[name] = Value::Null).is_empty());
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
        for url in ["http://localhost:1/", "http://a.localhost/", "http://127.1.2.3/", "http://[::1]/", "https://x/"] {
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
            let _ = parse(&bytes, "https://op.test/a", None);
            // Whatever is accepted may be called.
            for url in [url, format!("http://{host}/x"), format!("https://{host}")] {
                if let Ok(metadata) = document(|d| d["token_endpoint"] = url.into()) {
                    proptest::prop_assert_eq!(metadata.token_endpoint.scheme(), "https");
                }
            }
        }
    }
}
