//! Providers without ID tokens: an identity endpoint names the person, in words of its own.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use smart_default::SmartDefault;
use url::{ParseError, Url};

use super::id_token::{IdToken, OriginalIdToken};
use super::json::{Claims, mismatch};
use super::jws::JwtError::{self, Refused};
use crate::clock::Timestamp;

/// The claims of OpenID Connect that are looked for.
const CLAIMS: [&str; 6] = ["name", "nickname", "preferred_username", "email", "email_verified", "picture"];

/// How a provider without ID tokens (OAuth 2.0, and not OpenID Connect) says who signed in.
///
/// After a login the identity endpoint is called with the new access token (RFC 6750), before anything is stored. A JSON
/// pointer (RFC 6901) leads to each value of its answer.
///
/// ```
/// use tower_oidc::{OAuth2, ProviderConfig};
///
/// let mut oauth2 = OAuth2::new("https://api.acme.test/me");
/// oauth2.subject = "/account/id".to_owned();
/// oauth2.claims = [("name".to_owned(), "/account/title".to_owned())].into();
/// let acme = ProviderConfig::new("", "client id")
///     .oauth2(oauth2)
///     .endpoint("authorization_endpoint", "https://acme.test/oauth/authorize")
///     .endpoint("token_endpoint", "https://acme.test/oauth/token")
///     .scopes(["profile"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct OAuth2 {
    /// The endpoint that says whose an access token is.
    pub identity_endpoint: String,
    /// Where the subject is: what never changes and is given to nobody else, a text or a whole number. Never a name or an
    /// e-mail address. By default `/sub`.
    #[default("/sub")]
    pub subject: String,
    /// Where claims are, by their names. `email_verified` counts only where it is `true`: name no member that says less. By
    /// default the claims of OpenID Connect, under their names.
    #[default(CLAIMS.map(|name| (name.to_owned(), format!("/{name}"))).into())]
    pub claims: BTreeMap<String, String>,
    /// A list of the user's e-mail addresses, which then gives `email` and `email_verified` in place of
    /// [`OAuth2::claims`].
    pub email_addresses: Option<EmailAddresses>,
    /// What stands between scopes in a request. By default a space (RFC 6749 section 3.3). Commas separate them in every
    /// answer of such a provider.
    #[default(" ")]
    pub scope_separator: String,
    /// The `iss` of its authorization responses (RFC 9207). By default one with an `iss` is refused.
    pub response_issuer: Option<String>,
    /// Its error codes that mean one of RFC 6749 section 5.2, with that one.
    pub error_codes: BTreeMap<String, String>,
}

/// A list of a user's e-mail addresses: the primary one counts, and only if it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct EmailAddresses {
    /// The endpoint with the list: a URL, or one relative to the identity endpoint.
    pub endpoint: String,
    /// Where the list is in its answer. By default the answer is the list.
    pub list: String,
    /// Where the address is in an entry. By default `/email`.
    #[default("/email")]
    pub address: String,
    /// What is `true` of the primary one. By default `/primary`.
    #[default("/primary")]
    pub primary: String,
    /// What is `true` of a verified one. By default `/verified`.
    #[default("/verified")]
    pub verified: String,
}

impl OAuth2 {
    /// A provider whose identity endpoint answers as a UserInfo endpoint does (OpenID Connect Core 1.0 section 5.3).
    pub fn new(identity_endpoint: impl Into<String>) -> Self {
        Self { identity_endpoint: identity_endpoint.into(), ..Self::default() }
    }

    /// The identity endpoint, and the one with the addresses.
    pub(crate) fn urls(&self) -> Result<(Url, Option<Url>), ParseError> {
        let identity = Url::parse(&self.identity_endpoint)?;
        let addresses = self.email_addresses.as_ref().map(|list| identity.join(&list.endpoint)).transpose()?;
        Ok((identity, addresses))
    }

    /// Whom the endpoints' answers are about, as an ID token would say it.
    pub(crate) fn identity(
        &self, issuer: &str, (answer, addresses): (&Value, Option<&Value>), now: Timestamp,
    ) -> Result<IdToken, JwtError> {
        let found = answer.pointer(&self.subject);
        let subject = match found {
            Some(Value::String(text)) => text.clone(),
            // A fraction is no name, and one beyond 64 bits may have been rounded.
            Some(Value::Number(number)) if number.is_u64() || number.is_i64() => number.to_string(),
            _ => String::new(),
        };
        if subject.is_empty() || subject.len() > 255 {
            let expected = "a text of at most 255 characters, or a whole number";
            return Err(Refused(mismatch(&self.subject, found, expected)));
        }
        let member = |(name, at): (&String, &String)| Some((name.clone(), answer.pointer(at)?.clone()));
        let mut claims: Map<_, _> = self.claims.iter().filter_map(member).collect();
        claims.retain(|_, value| !value.is_null());
        if let Some((rule, list)) = self.email_addresses.as_ref().zip(addresses) {
            rule.replace(&mut claims, list)?;
        }
        let (issuer, issued_at) = (issuer.to_owned(), now.as_secs());
        let facts = OriginalIdToken { issuer, subject, issued_at, ..OriginalIdToken::default() };
        Ok(IdToken { facts, algorithm: None, sid: None, acr: None, claims, unreadable: Vec::new() })
    }
}

impl EmailAddresses {
    fn replace(&self, claims: &mut Claims, answer: &Value) -> Result<(), JwtError> {
        let list = answer.pointer(&self.list).and_then(Value::as_array);
        let list = list.ok_or_else(|| Refused("the e-mail addresses are no list".into()))?;
        let is = |entry: &Value, at: &str| entry.pointer(at) == Some(&Value::Bool(true));
        claims.retain(|name, _| !["email", "email_verified"].contains(&name.as_str()));
        if let Some(primary) = list.iter().find(|entry| is(entry, &self.primary))
            && let Some(address) = primary.pointer(&self.address)
        {
            claims.insert("email".to_owned(), address.clone());
            claims.insert("email_verified".to_owned(), is(primary, &self.verified).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(oauth2: &OAuth2, answer: &Value, list: Option<&Value>) -> Result<IdToken, JwtError> {
        oauth2.identity("oauth2:op.test/token", (answer, list), Timestamp::from_secs(7))
    }

    /// Numeric ids as decimal text; what may be two people's is nobody's.
    #[test]
    fn a_subject_is_a_text_or_a_whole_number() {
        let oauth2 = OAuth2 { subject: "/user/id".into(), ..OAuth2::new("https://op.test/me") };
        let subject = |id: Value| read(&oauth2, &json!({ "user": { "id": id } }), None).map(|one| one.facts.subject);
        assert_eq!(subject(json!(583_231)).unwrap(), "583231");
        assert_eq!(subject(json!(u64::MAX)).unwrap(), "18446744073709551615");
        assert_eq!(subject(json!("u-1")).unwrap(), "u-1");
        assert_eq!(subject(json!(-7)).unwrap(), "-7");
        assert!(subject(json!("x".repeat(255))).is_ok());
        let beyond: Value = serde_json::from_str("18446744073709551616").unwrap();
        for odd in [Value::Null, json!(""), json!(1.5), beyond, json!(true), json!([1]), json!("x".repeat(256))] {
            assert!(subject(odd.clone()).is_err(), "{odd}");
        }
        let missing = read(&oauth2, &json!({ "id": 1 }), None).unwrap_err().to_string();
        assert!(missing.starts_with("is refused: /user/id is missing, expected a text"), "{missing}");
    }

    /// An address is verified by the list alone, where there is one.
    #[test]
    fn an_address_is_the_primary_one_and_verified_where_its_entry_says_so() {
        let mut oauth2 = OAuth2::new("https://op.test/me");
        oauth2.email_addresses = Some(EmailAddresses::default());
        let answer = json!({ "sub": "a", "name": null, "email": "public@x.test", "email_verified": true });
        let entry = |email: &str, primary: Value, verified: Value| json!({ "email": email, "primary": primary, "verified": verified });
        for (list, expected) in [
            (
                json!([entry("b@x.test", json!(false), json!(true)), entry("a@x.test", json!(true), json!(true))]),
                json!({ "email": "a@x.test", "email_verified": true }),
            ),
            (
                json!([entry("a@x.test", json!(true), json!(false))]),
                json!({ "email": "a@x.test", "email_verified": false }),
            ),
            (
                json!([entry("a@x.test", json!(true), json!("true"))]),
                json!({ "email": "a@x.test", "email_verified": false }),
            ),
            (json!([entry("a@x.test", json!(1), json!(true))]), json!({})),
            (json!([]), json!({})),
        ] {
            assert_eq!(Value::Object(read(&oauth2, &answer, Some(&list)).unwrap().claims), expected, "{list}");
        }
        assert!(read(&oauth2, &answer, Some(&json!({ "message": "Not Found" }))).is_err());
    }

    /// A list beside the identity endpoint goes where that goes: no token of one provider reaches another.
    #[test]
    fn a_relative_list_stays_with_the_identity_endpoint() {
        let mut oauth2 = OAuth2::new("https://ghe.test/api/v3/user");
        oauth2.email_addresses = Some(EmailAddresses { endpoint: "user/emails".into(), ..Default::default() });
        let (_, list) = oauth2.urls().unwrap();
        assert_eq!(list.unwrap().as_str(), "https://ghe.test/api/v3/user/emails");
    }
}
