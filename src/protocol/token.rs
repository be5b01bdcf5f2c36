//! Token responses (RFC 6749 section 5), and how the application authenticates.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json;
use crate::events::entries;
use crate::secret::Secret;

entries! {
    pub(crate) name: &'static str =>
    /// How the application authenticates at the token endpoint (OpenID Connect Core 1.0 section 9). Each has its name there.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[non_exhaustive]
    pub enum ClientAuthMethod {
        /// `client_secret_basic`.
        ClientSecretBasic = "client_secret_basic",
        /// `client_secret_post`.
        ClientSecretPost = "client_secret_post",
        /// `client_secret_jwt`: an assertion with a keyed hash (HS256) of the client secret, which is not sent.
        ClientSecretJwt = "client_secret_jwt",
        /// `private_key_jwt`: an assertion that one of the [private keys](crate::ProviderConfig::private_keys) signs.
        PrivateKeyJwt = "private_key_jwt",
        /// `private_key_jwt` with an assertion that the platform writes into a
        /// [file](crate::ProviderConfig::client_assertion_file), such as Kubernetes with workload identity.
        AssertionFile = "private_key_jwt",
        /// `client_secret_post` with a secret that one of the [private keys](crate::ProviderConfig::private_keys) signs for each
        /// request, as at Apple.
        SignedClientSecret = "client_secret_post",
        /// No secret: PKCE alone protects the code.
        None = "none",
    }
}

impl ClientAuthMethod {
    /// Whether the secret itself goes to the provider.
    pub(crate) const fn sends_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }

    /// The first of the `possible` methods that the provider announces; the first of all where it announces none (OpenID
    /// Connect Discovery 1.0 section 3). A public client proves nothing, whatever is announced.
    pub(crate) fn announced(announced: &[String], possible: &[Self]) -> Option<Self> {
        let is_announced = |method: &&Self| announced.is_empty() || announced.iter().any(|name| name == method.name());
        if possible.is_empty() { Some(Self::None) } else { possible.iter().find(is_announced).copied() }
    }
}

/// A token endpoint's success (RFC 6749 section 5.1, OpenID Connect Core 1.0 section 3.1.3.3).
#[derive(Debug)]
pub(crate) struct TokenResponse {
    pub(crate) access_token: Secret,
    /// Missing means usable until an API says 401.
    pub(crate) expires_in: Option<Duration>,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) id_token: Option<Secret>,
    /// Missing means as requested.
    pub(crate) scopes: Option<Vec<String>>,
}

/// Why a token request brought no tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// Section 5.2: the provider says no, with the code that it gave.
    Refused(Option<String>),
    Malformed(&'static str),
}

/// A response that promises longer is believed for a year.
const LONGEST: u64 = 365 * 24 * 60 * 60;

/// `is_form` says that the response is one: some providers send no JSON.
pub(crate) fn parse_response(status: u16, body: &[u8], is_form: bool) -> Result<TokenResponse, TokenError> {
    // What cannot be read in a description must not cost the tokens beside it.
    let form = || Some((form_members(body)?, Vec::new()));
    let (members, unreadable) = if is_form { form() } else { json::members(body) }.unzip();
    match (status, members.as_ref().and_then(refusal)) {
        // Some providers answer errors with 200.
        (_, Some(refusal)) => return Err(refusal),
        (200 | 201, None) => {}
        (400.., None) => return Err(TokenError::Refused(None)),
        (_, None) => return Err(TokenError::Malformed("status")),
    }
    let members = members.ok_or(TokenError::Malformed("not a JSON object"))?;
    // It becomes a header value: only what RFC 6750 section 2.1 lets into one.
    let access_token = json::text(&members, "access_token")
        .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or(TokenError::Malformed("access_token"))?;
    // Section 7.1: a type that is not understood must not be used; its name has no case. Where none is named it is the only
    // one that this application asks for.
    let is_bearer = |kind: &Value| kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    if !members.get("token_type").is_none_or(|kind| kind.is_null() || is_bearer(kind)) {
        return Err(TokenError::Malformed("token_type"));
    }
    let secret = |name| json::text(&members, name).map(Secret::from);
    let is_odd = |token: &Value| !token.is_string() && !token.is_null();
    let is_lost = unreadable.iter().flatten().any(|name| name == "refresh_token");
    if members.get("refresh_token").is_some_and(is_odd) || is_lost {
        return Err(TokenError::Malformed("refresh_token"));
    }
    Ok(TokenResponse {
        access_token: access_token.into(),
        expires_in: expires_in(&members),
        refresh_token: secret("refresh_token"),
        id_token: secret("id_token"),
        scopes: members.get("scope").and_then(Value::as_str).map(scopes),
    })
}

/// The fields of a form in which no name stands twice.
fn form_members(body: &[u8]) -> Option<Map<String, Value>> {
    let mut members = Map::new();
    form_urlencoded::parse(body)
        .all(|(name, value)| members.insert(name.into_owned(), value.into_owned().into()).is_none())
        .then_some(members)
}

/// Space-separated (section 3.3). An empty value grants nothing, which is not the same as a missing one.
pub(crate) fn scopes(value: &str) -> Vec<String> {
    value.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

fn refusal(members: &Map<String, Value>) -> Option<TokenError> {
    json::text(members, "error").map(|code| TokenError::Refused(Some(json::printable(code))))
}

/// Lenient on purpose: a rotated refresh token in the same response must not be lost over a lifetime that is
/// spelled oddly. What cannot be read counts as missing, and what is negative as over.
fn expires_in(members: &Map<String, Value>) -> Option<Duration> {
    let value = members.get("expires_in")?;
    let seconds = match value {
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        _ => value.as_f64()?,
    };
    // Saturating: NaN and negative numbers become 0.
    Some(Duration::from_secs((seconds as u64).min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn response(edit: impl FnOnce(&mut Value)) -> Result<TokenResponse, TokenError> {
        let mut body = json!({ "access_token": "at", "token_type": "Bearer", "expires_in": 60 });
        edit(&mut body);
        parse_response(200, body.to_string().as_bytes(), false)
    }

    #[test]
    fn a_success_is_read() {
        let tokens = response(|b| b["scope"] = "a  b".into()).unwrap();
        assert_eq!(tokens.access_token.expose_secret(), "at");
        assert_eq!(
            (tokens.expires_in, tokens.scopes),
            (Some(Duration::from_secs(60)), Some(vec!["a".into(), "b".into()]))
        );
        assert!(tokens.refresh_token.is_none() && tokens.id_token.is_none());
    }

    #[test]
    fn access_token_and_token_type_are_required() {
        for wrong in [Value::Null, json!(""), json!(1), json!("a b"), json!("a\r\nX: 1")] {
            assert_eq!(response(|b| b["access_token"] = wrong).unwrap_err(), TokenError::Malformed("access_token"));
        }
        for wrong in [json!(1), json!(""), json!("DPoP"), json!("mac")] {
            assert_eq!(response(|b| b["token_type"] = wrong).unwrap_err(), TokenError::Malformed("token_type"));
        }
        for right in [json!("bEaReR"), Value::Null] {
            assert!(response(|b| b["token_type"] = right).is_ok());
        }
        let unnamed = br#"{"access_token":"at"}"#;
        assert!(parse_response(201, unnamed, false).is_ok());
        assert!(parse_response(202, unnamed, false).is_err());
        for (given, holds) in [(Value::Null, true), (json!("rt"), true), (json!(1), false), (json!({}), false)] {
            assert_eq!(response(|b| b["refresh_token"] = given.clone()).is_ok(), holds, "{given}");
        }
        let odd = br#"{"access_token":"at","refresh_token":"rt","note":"\ud83d"}"#;
        assert!(parse_response(200, odd, false).unwrap().refresh_token.is_some());
        assert!(parse_response(200, br#"{"access_token":"at","refresh_token":"\ud83d"}"#, false).is_err());
    }

    /// A form is read where the provider says that it sends one, and nowhere else.
    #[test]
    fn a_form_is_read_as_a_form() {
        let tokens = parse_response(200, b"access_token=at%2B&expires_in=60&scope=a+b", true).unwrap();
        assert_eq!((tokens.access_token.expose_secret(), tokens.expires_in), ("at+", Some(Duration::from_secs(60))));
        assert_eq!(tokens.scopes, Some(vec!["a".into(), "b".into()]));
        let refused = |body: &[u8]| parse_response(200, body, true).unwrap_err();
        assert_eq!(refused(b"error=bad_code&access_token=at"), TokenError::Refused(Some("bad_code".into())));
        assert_eq!(refused(b"access_token=a&access_token=b"), TokenError::Malformed("not a JSON object"));
        assert!(parse_response(200, b"access_token=at", false).is_err());
        assert!(parse_response(200, br#"{"access_token":"at"}"#, true).is_err());
    }

    #[test]
    fn lifetimes_are_read_leniently() {
        for (given, expected) in [
            (Value::Null, None),
            (json!("soon"), None),
            (json!([]), None),
            (json!(-5), Some(0)),
            (json!("3600"), Some(3600)),
            (json!(" 3600 "), Some(3600)),
            (json!(59.9), Some(59)),
            (json!(1e300), Some(LONGEST)),
        ] {
            let tokens = response(|b| b["expires_in"] = given.clone()).unwrap();
            assert_eq!(tokens.expires_in, expected.map(Duration::from_secs), "{given}");
        }
    }

    #[test]
    fn failures_are_told_apart() {
        let refused = |code: &str| TokenError::Refused(Some(code.to_owned()));
        for (status, body, expected) in [
            (400, r#"{"error":"invalid_grant"}"#, refused("invalid_grant")),
            (401, r#"{"error":"invalid_client","error_description":"no"}"#, refused("invalid_client")),
            (200, r#"{"error":"bad_verification_code"}"#, refused("bad_verification_code")),
            (400, r#"{"error":"<script>\n"}"#, refused("<script>")),
            (400, r#"{"error":"temporarily_unavailable"}"#, refused("temporarily_unavailable")),
            (503, r#"{"error":"invalid_grant"}"#, refused("invalid_grant")),
            (500, "<html>", TokenError::Refused(None)),
            (429, "", TokenError::Refused(None)),
            (400, "invalid_grant", TokenError::Refused(None)),
            (404, "<html>invalid_grant</html>", TokenError::Refused(None)),
            (302, "", TokenError::Malformed("status")),
            (200, "", TokenError::Malformed("not a JSON object")),
            (200, "[]", TokenError::Malformed("not a JSON object")),
            (
                200,
                r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#,
                TokenError::Malformed("not a JSON object"),
            ),
        ] {
            assert_eq!(parse_response(status, body.as_bytes(), false).unwrap_err(), expected, "{status} {body}");
        }
        assert_eq!(response(|b| b["scope"] = "".into()).unwrap().scopes, Some(vec![]));
    }

    /// Why responses are read here: the library refuses all of one, the rotated refresh token included, for one odd member.
    #[test]
    fn the_library_refuses_what_is_read_here() {
        use openidconnect::core::CoreTokenResponse;
        // A person whose provider spells `email_verified` as a number.
        let id_token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL29wLnRlc3QiLCJzdWIiOiJhIiwiYXVkIjoiYyIsImV4cCI6MSwiaWF0IjoxLCJlbWFpbF92ZXJpZmllZCI6MX0.AAAA";
        let usual = json!({ "access_token": "at", "token_type": "Bearer", "refresh_token": "rt" });
        assert!(serde_json::from_value::<CoreTokenResponse>(usual.clone()).is_ok(), "the control");
        for (member, odd) in [
            ("expires_in", json!("3600")),
            ("expires_in", json!(3600.5)),
            ("expires_in", json!(-1)),
            ("scope", json!(["a", "b"])),
            ("id_token", json!(id_token)),
        ] {
            let mut body = usual.clone();
            body[member] = odd;
            let tokens = parse_response(200, body.to_string().as_bytes(), false).unwrap();
            assert_eq!(tokens.refresh_token.unwrap().expose_secret(), "rt", "{body}");
            assert!(serde_json::from_value::<CoreTokenResponse>(body).is_err(), "{member} is read by the library");
        }
    }

    #[test]
    fn the_announced_method_is_used_and_the_first_where_none_is() {
        use ClientAuthMethod::{AssertionFile, ClientSecretBasic, ClientSecretJwt, ClientSecretPost, PrivateKeyJwt};
        let announced = |names: &[&str], possible: &[ClientAuthMethod]| {
            ClientAuthMethod::announced(&names.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>(), possible)
        };
        let secret = [ClientSecretBasic, ClientSecretPost, ClientSecretJwt];
        assert_eq!(announced(&[], &secret), Some(ClientSecretBasic));
        assert_eq!(announced(&["client_secret_post"], &secret), Some(ClientSecretPost));
        assert_eq!(announced(&["client_secret_post", "client_secret_basic"], &secret), Some(ClientSecretBasic));
        assert_eq!(announced(&["client_secret_jwt"], &secret), Some(ClientSecretJwt));
        assert_eq!(announced(&["private_key_jwt", "none"], &secret), None);
        assert_eq!(announced(&["private_key_jwt"], &[PrivateKeyJwt]), Some(PrivateKeyJwt));
        assert_eq!(announced(&["private_key_jwt"], &[AssertionFile]), Some(AssertionFile));
        assert_eq!(announced(&["client_secret_basic"], &[PrivateKeyJwt]), None);
        assert_eq!(announced(&["client_secret_basic"], &[]), Some(ClientAuthMethod::None));
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_panic(status in 100_u16..600, body: Vec<u8>) {
            let _ = parse_response(status, &body, false);
            let _ = parse_response(status, &body, true);
        }
    }
}
